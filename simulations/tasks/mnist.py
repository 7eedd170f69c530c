"""MNIST and Fashion-MNIST: 70,000 images of 28 x 28 pixels over sites that see different classes.

LeCun, Cortes and Burges 1998; Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747. Brought here by
`hedgerow data fetch mnist` (or `fashion-mnist`). Who wrote a digit is not in the files, so sites
are simulated. FEMNIST knows its writers, but no SHA-256 of its files was found, so it is not here.
"""

import gzip
import zlib
from functools import cache

import numpy as np
import numpy.typing as npt
from torch import nn

from federation.errors import DataError
from federation.task import Codes, Floats
from simulations import public_data
from simulations.tasks.image_task import ImageTask

SIDE = 28
BRIGHTEST = 255.0
IMAGES_MAGIC, LABELS_MAGIC = 0x0803, 0x0801
"""What an IDX file of unsigned bytes with three dimensions, or with one, begins with."""

Bytes = npt.NDArray[np.uint8]


class MnistTask(ImageTask):
    """Which digit is this? Sites draw their digits from a Dirichlet distribution."""

    name = "mnist"
    label, classes, images, side = "digit", tuple("0123456789"), 70_000, SIDE
    residual_widths = (16, 32)

    def _convolutions(self) -> nn.Module:
        """The network that Papernot et al. 2021 (arXiv:2007.14191) and Opacus' example use."""
        return nn.Sequential(
            nn.Conv2d(1, 16, 8, stride=2, padding=3), nn.Tanh(), nn.MaxPool2d(2, stride=1),
            nn.Conv2d(16, 32, 4, stride=2), nn.Tanh(), nn.MaxPool2d(2, stride=1),
            nn.Flatten(), nn.Linear(32 * 4 * 4, 32), nn.Tanh(), nn.Linear(32, 10),
        )  # fmt: skip

    def _pool(self) -> tuple[npt.NDArray[np.generic], Codes]:
        return _published(self.name)

    def _brightness(self, images: npt.NDArray[np.generic]) -> Floats:
        bright: Floats = images.astype(np.float64) / BRIGHTEST
        return bright


class FashionMnistTask(MnistTask):
    """Which piece of clothing is this? Sites draw their classes from a Dirichlet distribution."""

    name = "fashion-mnist"
    label = "garment"
    classes = (
        "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
        "ankle boot",
    )  # fmt: skip


# One process plays many sites, each of which reads the images.
@cache
def _published(name: str) -> tuple[Bytes, Codes]:
    files = public_data.read(name)
    images = [
        idx(files[f"{part}-images-idx3-ubyte.gz"], IMAGES_MAGIC) for part in ("train", "t10k")
    ]
    labels = [
        idx(files[f"{part}-labels-idx1-ubyte.gz"], LABELS_MAGIC) for part in ("train", "t10k")
    ]
    pool, classes = np.concatenate(images), np.concatenate(labels).astype(np.int64)
    if pool.shape != (len(classes), SIDE, SIDE) or not (classes < 10).all():
        raise DataError(f"{name}: images of shape {pool.shape} with {len(classes)} labels")
    return pool, classes


def idx(packed: bytes, magic: int) -> Bytes:
    """The array in a gzipped IDX file of unsigned bytes.

    The form: four bytes of magic, whose last is the number of dimensions; each dimension as a
    big-endian unsigned 32-bit number; the entries, last dimension fastest.

    Raises:
        DataError: it has another form.
    """
    try:
        data = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"no gzipped IDX file: {error}") from error
    dimensions = magic & 0xFF
    start = 4 * (1 + dimensions)
    header = np.frombuffer(data[: len(data[:start]) // 4 * 4], ">u4")
    if len(header) != 1 + dimensions or header[0] != magic:
        raise DataError(f"no IDX file of unsigned bytes in {dimensions} dimensions")
    shape = tuple(int(length) for length in header[1:])
    if len(data) - start != int(np.prod(shape, dtype=np.int64)):
        raise DataError(f"an IDX file of shape {shape} with {len(data) - start} entries")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
