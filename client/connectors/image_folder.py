"""A folder of images: labels in a table or in the names of sub-folders, pixels in parts.

An image is named by its number in the order in which it is read, never by its file: names of files
often hold those of people.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from client.connectors.column_mapping import MappedSource
from client.connectors.csv_files import CsvSource
from federation.data_choice import ImageFolder
from federation.data_source import ROWS_PER_CHUNK, DataSource, FrameSource, Pixels
from federation.errors import DataError, UsageError
from federation.table_columns import require_columns

try:
    from PIL import Image, ImageOps
except ImportError as missing:
    raise UsageError(
        "data.kind = 'images' takes Pillow: pip install 'hedgerow[images]'"
    ) from missing

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
LARGEST_IMAGE = 100_000_000
"""Pixels; a file may claim more than any memory holds."""

_EIGHT_BITS = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Pillow's names for what is 8 bits per channel; others would be cut off, not scaled."""


@dataclass(frozen=True, slots=True)
class FolderImages:
    """The images of a site.

    Attributes:
        cells: a row per image.
        files: of the images, in the order of `cells`.
        shape: channels, height and width that they are brought to.
    """

    cells: DataSource
    files: tuple[Path, ...]
    shape: tuple[int, int, int]

    def images(self, rows: int) -> Iterator[Pixels]:
        """All images, shape (N, channels, height, width), N <= rows.

        Raises:
            DataError: one cannot be read; tells its number.
        """
        for start in range(0, len(self.files), rows):
            files = self.files[start : start + rows]
            pixels = np.empty((len(files), *self.shape), dtype=np.uint8)
            for place, path in enumerate(files):
                try:
                    pixels[place] = _decoded(path, self.shape)
                except _BadImageError as error:
                    number = start + place + 1
                    raise DataError(
                        f"{self.cells.name}: image {number} of {len(self.files)} {error}"
                    ) from None
            yield pixels

    def unreadable(self) -> tuple[int, ...]:
        """The numbers, from 1, of the images that cannot be read; decodes all of them."""
        return tuple(
            number
            for number, path in enumerate(self.files, start=1)
            if _fault(path, self.shape) is not None
        )


def open_images(choice: ImageFolder, home: Path) -> FolderImages:
    """The images that a site's policy means; none is decoded yet.

    Raises:
        DataError: there is no such folder, no image, or `labels` names a file that is not in it.
    """
    folder = home / choice.path
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; data.path in site.toml is seen from {home}")
    if choice.labels is None:
        files, cells = _by_sub_folder(folder, choice.label_column)
    else:
        files, cells = _by_table(folder, choice)
    mapped = MappedSource(cells, choice.rename, choice.levels)
    return FolderImages(mapped, files, (choice.channels, choice.height, choice.width))


def _by_sub_folder(folder: Path, label: str) -> tuple[tuple[Path, ...], DataSource]:
    files = tuple(
        path
        for sub_folder in sorted(folder.iterdir())
        if sub_folder.is_dir()
        for path in sorted(sub_folder.iterdir())
        if path.is_file() and path.suffix.lower() in SUFFIXES
    )
    if not files:
        raise DataError(f"{folder} has no sub-folder with images ({', '.join(SUFFIXES)})")
    labels = pd.Series([path.parent.name for path in files], dtype="str")
    return files, FrameSource(pd.DataFrame({label: labels}), str(folder))


def _by_table(folder: Path, choice: ImageFolder) -> tuple[tuple[Path, ...], DataSource]:
    cells = CsvSource((folder / str(choice.labels),))
    there = cells.columns()
    require_columns(pd.DataFrame(columns=list(there)), [choice.file_column], cells.name)
    names = pd.concat(cells.chunks([choice.file_column], ROWS_PER_CHUNK))[choice.file_column]
    root = os.path.realpath(folder)
    files, absent = [], 0
    for number, name in enumerate(names, start=1):
        # Links are followed before it is asked whether the file lies in the folder.
        path = os.path.realpath(folder / str(name))
        if not path.startswith(root + os.sep):
            raise DataError(f"{cells.name}: data row {number} names a file outside {folder}")
        absent += not os.path.isfile(path)  # noqa: PTH113 - hundreds of thousands of times
        files.append(Path(path))
    if absent:
        raise DataError(f"{cells.name}: {absent} of {len(files)} images are not in {folder}")
    return tuple(files), cells


class _BadImageError(Exception):
    """An image is not what it should be; the text tells how, after its number."""


def _fault(path: Path, shape: tuple[int, int, int]) -> str | None:
    try:
        _decoded(path, shape)
    except _BadImageError as error:
        return str(error)
    return None


def _decoded(path: Path, shape: tuple[int, int, int]) -> Pixels:
    """One image, shape (channels, height, width), upright and without transparency."""
    channels, height, width = shape
    try:
        with Image.open(path) as image:
            _require_plain(image)
            upright = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
    except _BadImageError:
        raise
    except Exception as error:  # noqa: BLE001 - see below
        # A damaged file makes a decoder fail in any way; its text may hold the file's name.
        raise _BadImageError(f"cannot be read ({type(error).__name__})") from None
    if upright.size != (width, height):
        upright = upright.resize((width, height), Image.Resampling.BILINEAR)
    pixels: Pixels = np.asarray(upright, dtype=np.uint8).reshape(height, width, channels)
    return pixels.transpose(2, 0, 1)


def _require_plain(image: Any) -> None:
    if image.width * image.height > LARGEST_IMAGE:
        raise _BadImageError(f"has more than {LARGEST_IMAGE:,} pixels")
    if image.mode not in _EIGHT_BITS:
        raise _BadImageError(
            f"has pixels of the kind {image.mode}; convert it to 8 bits, grey or RGB"
        )
    if getattr(image, "n_frames", 1) > 1:
        raise _BadImageError("holds several pictures; keep one in each file")
