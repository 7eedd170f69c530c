"""Folders of images: the pixels of a lossless file are its own, and a bad one is a number."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from client.connectors import open_source
from federation.data_choice import parse_data_choice
from federation.data_source import DataSource, ImageSource
from federation.errors import DataError
from federation.task import SiteRequest
from simulations.tasks.heart import HeartTask

PERSON = "mueller-hans"


def digits(folder: Path, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    bunch = load_digits()
    images, labels = bunch.images[:count].astype(np.uint8), bunch.target[:count]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / str(label) / f"{PERSON}-{number:03d}.png")
    return images, labels


def opened(folder: Path, **changes) -> ImageSource:
    table = {"kind": "images", "path": "scans", "height": 8, "width": 8, "channels": 1} | changes
    source = open_source(parse_data_choice(table), folder)
    assert isinstance(source, ImageSource)
    assert not isinstance(source, DataSource)
    return source


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_pixels_and_labels_of_sub_folders(tmp_path: Path, rows: int) -> None:
    images, labels = digits(tmp_path / "scans")
    order = np.argsort(labels, kind="stable")  # by folder, then by name
    source = opened(tmp_path, levels={"label": {"0": "zero"}})
    parts = list(source.images(rows))
    assert max(map(len, parts)) <= rows
    np.testing.assert_array_equal(np.concatenate(parts), images[order][:, None])
    cells = [v for chunk in source.cells.chunks(["label"], rows) for v in chunk["label"]]
    assert cells == ["zero" if d == 0 else str(d) for d in labels[order]]


def test_a_table_of_labels_gives_order_and_more_columns(tmp_path: Path) -> None:
    images, labels = digits(tmp_path / "scans", 6)
    lines = [f"{d}/{PERSON}-{n:03d}.png,{d},{'F' if n % 2 else 'M'}" for n, d in enumerate(labels)]
    (tmp_path / "scans" / "labels.csv").write_text("\n".join(["file,y,sex", *lines[::-1]]))
    source = opened(tmp_path, labels="labels.csv")
    np.testing.assert_array_equal(np.concatenate(list(source.images(4))), images[::-1][:, None])
    assert source.cells.columns() == ("file", "y", "sex")


def test_colour_size_and_orientation(tmp_path: Path) -> None:
    (tmp_path / "scans" / "a").mkdir(parents=True)
    Image.new("RGB", (4, 6), (10, 20, 30)).save(tmp_path / "scans" / "a" / "1.png")
    part = next(opened(tmp_path, channels=3, height=3, width=2).images(9))
    assert part.shape == (1, 3, 3, 2)
    assert part[0, :, 0, 0].tolist() == [10, 20, 30]


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(path)


def several(path: Path) -> None:
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 200)]
    frames[0].save(path.with_suffix(".tif"), save_all=True, append_images=frames[1:])
    path.unlink()


def bomb(path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.write_bytes(b"no image"), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (sixteen_bits, "convert it to 8 bits"),
        (several, "several pictures"),
        (bomb, "pixels|cannot be read"),
    ],
    ids=["text", "cut", "empty", "16 bits", "frames", "bomb"],
)
def test_a_bad_image_is_told_by_number_and_not_by_name(tmp_path: Path, spoil, says) -> None:
    digits(tmp_path / "scans")
    files = sorted((tmp_path / "scans").rglob("*.png"))
    spoil(files[11])
    source = opened(tmp_path)
    with pytest.raises(DataError, match=rf"image 12 of 40 .*({says})") as caught:
        list(source.images(5))
    assert PERSON not in str(caught.value)
    assert source.unreadable() == (12,)


def test_folders_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        opened(tmp_path)
    (tmp_path / "scans").mkdir()
    with pytest.raises(DataError, match="no sub-folder with images"):
        opened(tmp_path)
    labels = tmp_path / "scans" / "labels.csv"
    labels.write_text("file,label\n../site.toml,1\n")
    with pytest.raises(DataError, match="data row 1 names a file outside"):
        opened(tmp_path, labels="labels.csv")
    labels.write_text(f"file,label\n{PERSON}.png,1\n")
    with pytest.raises(DataError, match="1 of 1 images are not in") as caught:
        opened(tmp_path, labels="labels.csv")
    assert PERSON not in str(caught.value)


def test_a_task_of_tables_refuses_images(tmp_path: Path) -> None:
    digits(tmp_path / "scans")
    with pytest.raises(DataError, match="reads a table"):
        HeartTask().load(SiteRequest("hungary", 1, opened(tmp_path)))
