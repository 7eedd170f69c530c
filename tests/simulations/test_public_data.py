"""Public sets: a real server of this machine, files in the published form, and ways to fail."""

import gzip
import hashlib
import http.server
import struct
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from typer.testing import CliRunner

from federation.errors import ConfigError, DataError
from federation.task import SiteRequest
from federation.task_loading import load_task
from simulations import data_cli, public_data
from simulations.public_data import PublicFile, PublicSet
from simulations.tasks import adult, mnist

# Real rows, byte for byte, of both files of UCI Adult (Becker and Kohavi 1996, CC BY 4.0).
ADULT_DATA = b"""\
39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, 40, United-States, <=50K
50, Self-emp-not-inc, 83311, Bachelors, 13, Married-civ-spouse, Exec-managerial, Husband, White, Male, 0, 0, 13, United-States, <=50K
52, Self-emp-not-inc, 209642, HS-grad, 9, Married-civ-spouse, Exec-managerial, Husband, White, Male, 0, 0, 45, United-States, >50K
54, ?, 180211, Some-college, 10, Married-civ-spouse, ?, Husband, Asian-Pac-Islander, Male, 0, 0, 60, South, >50K

"""  # noqa: E501
ADULT_TEST = b"""\
|1x3 Cross validator
25, Private, 226802, 11th, 7, Never-married, Machine-op-inspct, Own-child, Black, Male, 0, 0, 40, United-States, <=50K.
28, Local-gov, 336951, Assoc-acdm, 12, Married-civ-spouse, Protective-serv, Husband, White, Male, 0, 0, 40, United-States, >50K.

"""  # noqa: E501


def packed_idx(array: np.ndarray) -> bytes:
    """As Yann LeCun's page describes the form."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes())


@pytest.fixture
def served(tmp_path):
    """A folder, and the address at which a server of this machine serves it."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=folder)
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def publish(monkeypatch, name: str, files: dict[str, bytes], url: str = "http://127.0.0.1:9/"):
    pinned = tuple(
        PublicFile(file, url + file, len(data), hashlib.sha256(data).hexdigest())
        for file, data in files.items()
    )
    known = PublicSet("a set", "CC0", "this test", pinned)
    monkeypatch.setitem(public_data.SETS, name, known)
    return known


FILES = {"one.bin": b"first" * 1000, "two.bin": b"second"}


def test_a_set_is_fetched_checked_and_kept(served, tmp_path, monkeypatch) -> None:
    folder, url = served
    publish(monkeypatch, "small", FILES, url)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    kept = tmp_path / "kept"
    assert set(public_data.states("small", kept).values()) == {"missing"}
    paths = public_data.fetch("small", kept)
    assert [path.read_bytes() for path in paths] == list(FILES.values())
    assert public_data.read("small", kept) == FILES
    # Whole already: nothing is asked of the server again.
    for name in FILES:
        (folder / name).unlink()
    assert public_data.fetch("small", kept) == paths


@pytest.mark.parametrize("sent", [b"", b"another", FILES["two.bin"][:-1]])
def test_another_file_is_refused_and_nothing_of_it_is_kept(
    served, tmp_path, monkeypatch, sent: bytes
) -> None:
    folder, url = served
    publish(monkeypatch, "small", {"two.bin": FILES["two.bin"]}, url)
    (folder / "two.bin").write_bytes(sent)
    with pytest.raises(
        DataError, match=r"is not the published file.*nothing of it was kept"
    ) as caught:
        public_data.fetch("small", tmp_path / "kept")
    assert hashlib.sha256(FILES["two.bin"]).hexdigest() in str(caught.value)
    assert list((tmp_path / "kept" / "small").iterdir()) == []


def test_a_connection_that_is_cut_is_refused_and_nothing_is_kept(tmp_path, monkeypatch) -> None:
    class Cut(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(FILES["one.bin"])))
            self.end_headers()
            self.wfile.write(FILES["one.bin"][:100])

        def log_message(self, *_) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Cut) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        publish(monkeypatch, "small", {"one.bin": FILES["one.bin"]}, url)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(DataError):
            public_data.fetch("small", tmp_path)
        thread.join()
    assert list((tmp_path / "small").iterdir()) == []


def test_a_file_that_was_spoilt_is_named_and_fetched_anew(served, tmp_path, monkeypatch) -> None:
    folder, url = served
    publish(monkeypatch, "small", {"two.bin": FILES["two.bin"]}, url)
    (folder / "two.bin").write_bytes(FILES["two.bin"])
    (path,) = public_data.fetch("small", tmp_path)
    path.write_bytes(b"seconds")
    assert public_data.states("small", tmp_path) == {"two.bin": "wrong"}
    with pytest.raises(DataError, match="remove it and run hedgerow data fetch small"):
        public_data.read("small", tmp_path)
    public_data.fetch("small", tmp_path)
    assert public_data.read("small", tmp_path) == {"two.bin": FILES["two.bin"]}


def test_what_the_server_has_not_is_told_with_its_answer(served, tmp_path, monkeypatch) -> None:
    publish(monkeypatch, "small", FILES, served[1])
    with pytest.raises(DataError, match=r"refuses it \(404\)"):
        public_data.fetch("small", tmp_path)


def test_offline_one_error_says_what_to_put_where(tmp_path, monkeypatch) -> None:
    known = publish(monkeypatch, "small", FILES)  # at a port that nothing listens on
    with pytest.raises(DataError, match="cannot be reached") as caught:
        public_data.fetch("small", tmp_path)
    for file in known.files:
        assert str(tmp_path / "small" / file.name) in str(caught.value)
        assert file.url in str(caught.value)
        assert file.sha256 in str(caught.value)
    # What the error asks for is enough: nothing but the files is looked at.
    for file in known.files:
        (tmp_path / "small" / file.name).parent.mkdir(exist_ok=True)
        (tmp_path / "small" / file.name).write_bytes(FILES[file.name])
    assert public_data.read("small", tmp_path) == FILES


def test_the_command_lists_fetches_and_verifies(served, tmp_path, monkeypatch) -> None:
    folder, url = served
    publish(monkeypatch, "small", {"two.bin": FILES["two.bin"]}, url)
    (folder / "two.bin").write_bytes(FILES["two.bin"])
    run, where = CliRunner().invoke, ["--data", str(tmp_path)]
    missing = run(data_cli.app, ["verify", "small", *where])
    assert isinstance(missing.exception, DataError)
    assert "missing" in missing.output
    assert run(data_cli.app, ["fetch", "small", *where]).exit_code == 0
    assert run(data_cli.app, ["verify", "small", *where]).exit_code == 0
    assert "small" in run(data_cli.app, ["list", *where]).output
    assert isinstance(run(data_cli.app, ["fetch", "smal", *where]).exception, ConfigError)


def test_the_folder_is_the_variables_or_the_cache() -> None:
    assert str(public_data.data_folder({public_data.FOLDER_VARIABLE: "/srv/sets"})) == "/srv/sets"
    assert public_data.data_folder({}).name == "hedgerow"


@pytest.mark.parametrize("name", public_data.SETS)
def test_a_simulation_never_downloads_and_says_what_would(name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(public_data.FOLDER_VARIABLE, str(tmp_path))
    mnist._published.cache_clear()
    task = load_task(name, {})
    assert task.build_model() is not None
    with pytest.raises(DataError, match=f"run hedgerow data fetch {name}"):
        task.load(SiteRequest(task.sites[0], 1))


def test_pins_are_digests_of_files_at_different_places() -> None:
    files = [file for known in public_data.SETS.values() for file in known.files]
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in files)
    assert len({file.url for file in files}) == len({file.sha256 for file in files}) == len(files)


@pytest.fixture
def small_adult(tmp_path, monkeypatch):
    """The published form with the published counts' place taken by this table's."""
    files = {"adult.data": ADULT_DATA * 30, "adult.test": ADULT_TEST.rstrip() + b"\n"}
    publish(monkeypatch, "adult", files)
    monkeypatch.setitem(adult.FACTS, "train", (120, 60))
    monkeypatch.setitem(adult.FACTS, "test", (2, 1))
    monkeypatch.setenv(public_data.FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / "adult").mkdir()
    for name, data in files.items():
        (tmp_path / "adult" / name).write_bytes(data)


def test_adult_is_read_as_it_is_published(small_adult) -> None:
    table = adult.people(ADULT_DATA, ADULT_TEST)
    assert table["income"].tolist() == ["<=50K", "<=50K", ">50K", ">50K", "<=50K", ">50K"]
    assert table["split"].tolist() == ["train"] * 4 + ["test"] * 2
    assert table["workclass"].isna().tolist() == [False, False, False, True, False, False]
    task = load_task("adult", {"clients": 3, "model": "embedding"})
    data = [task.load(SiteRequest(site, 1)) for site in task.sites]
    assert sum(len(d.train) + len(d.reference) for d in data) == 120
    assert sum(len(d.current) for d in data) == 2
    train = data[0].train
    assert (
        np.isnan(train.features["workclass"]).sum() == np.isnan(train.features["occupation"]).sum()
    )
    assert set(train.groups["race"]) <= {0, 1}
    assert task.build_model()(train.inputs).shape == (len(train), 2)


def test_adult_with_other_counts_or_columns_is_refused(small_adult, monkeypatch) -> None:
    monkeypatch.setitem(adult.FACTS, "train", (120, 61))
    task = load_task("adult", {})
    with pytest.raises(DataError, match="120 rows with 60 positive, published are 120 with 61"):
        task.load(SiteRequest("site-01", 1))
    with pytest.raises(DataError, match="3 columns, published are 15"):
        adult.people(b"1, 2, 3\n", ADULT_TEST)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_images_are_read_as_they_are_published(name: str, tmp_path, monkeypatch) -> None:
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (60, 28, 28), np.uint8)
    labels = np.arange(60, dtype=np.uint8) % 10
    files = {
        "train-images-idx3-ubyte.gz": packed_idx(images[:50]),
        "train-labels-idx1-ubyte.gz": packed_idx(labels[:50]),
        "t10k-images-idx3-ubyte.gz": packed_idx(images[50:]),
        "t10k-labels-idx1-ubyte.gz": packed_idx(labels[50:]),
    }
    publish(monkeypatch, name, files)
    monkeypatch.setenv(public_data.FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / name).mkdir()
    for file, data in files.items():
        (tmp_path / name / file).write_bytes(data)
    mnist._published.cache_clear()
    task = load_task(name, {"clients": 3, "model": "resnet"})
    parts = [
        part
        for site in task.sites
        for data in [task.load(SiteRequest(site, 1))]
        for part in (data.train, data.reference, data.current)
    ]
    mnist._published.cache_clear()
    assert sum(len(part) for part in parts) == 60
    found = {
        (image * 255).round().astype(np.uint8).tobytes(): int(target)
        for part in parts
        for image, target in zip(part.inputs.numpy()[:, 0], part.targets, strict=True)
    }
    assert found == {
        image.tobytes(): int(label) for image, label in zip(images, labels, strict=True)
    }
    assert task.build_model()(parts[0].inputs).shape == (len(parts[0]), 10)


@given(arrays.arrays(np.uint8, st.tuples(*[st.integers(0, 4)] * 3)))
def test_an_idx_file_gives_back_the_array(array: np.ndarray) -> None:
    assert (mnist.idx(packed_idx(array), mnist.IMAGES_MAGIC) == array).all()


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        (b"<html>", "no gzipped IDX file"),
        (packed_idx(np.zeros((2, 3, 3)))[:-12], "no gzipped IDX file"),
        (packed_idx(np.zeros(4)), "no IDX file of unsigned bytes in 3 dimensions"),
        (gzip.compress(b""), "no IDX file"),
        (gzip.compress(gzip.decompress(packed_idx(np.zeros((2, 3, 3))))[:-1]), "with 17 entries"),
    ],
    ids=["no gzip", "cut", "of labels", "empty", "an entry short"],  # gzip writes the time
)
def test_another_form_is_refused(packed: bytes, text: str) -> None:
    with pytest.raises(DataError, match=text):
        mnist.idx(packed, mnist.IMAGES_MAGIC)


def test_a_set_knows_its_size() -> None:
    known = public_data.SETS["mnist"]
    assert known.size == 11_594_722
    assert replace(known, files=known.files[:1]).size == 9_912_422
