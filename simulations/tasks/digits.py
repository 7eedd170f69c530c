"""scikit-learn's digits: 1,797 images of 8 x 8 pixels over sites that see different digits.

Alpaydin and Kaynak 1998, https://doi.org/10.24432/C50P49, CC BY 4.0; shipped with scikit-learn.
"""

from functools import cache

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from torch import nn

from federation.errors import DataError
from federation.task import Codes, Floats
from simulations.tasks.image_task import ImageTask

IMAGES = 1_797
PER_DIGIT = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
BRIGHTEST = 16.0
DIGITS = tuple(str(digit) for digit in range(10))


class DigitsTask(ImageTask):
    """Which digit is this? Sites draw their digits from a Dirichlet distribution."""

    label, classes, images, side = "digit", DIGITS, IMAGES, 8
    residual_widths = (8, 16)

    def _convolutions(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.Tanh(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.GroupNorm(4, 16), nn.Tanh(),
            nn.Flatten(), nn.Linear(16 * 4 * 4, 10),
        )  # fmt: skip

    def _pool(self) -> tuple[npt.NDArray[np.generic], Codes]:
        images, digits = _shipped()
        counts = tuple(int(n) for n in np.bincount(digits, minlength=10))
        if images.shape != (IMAGES, 8, 8) or counts != PER_DIGIT:
            raise DataError(
                f"scikit-learn's digits: {len(images)} images with {counts} per digit, published "
                f"are {IMAGES} with {PER_DIGIT}"
            )
        return images, digits

    def _brightness(self, images: npt.NDArray[np.generic]) -> Floats:
        bright: Floats = images.astype(np.float64) / BRIGHTEST
        return bright


@cache
def _shipped() -> tuple[Floats, Codes]:
    bunch = load_digits()
    return bunch.images, bunch.target.astype(np.int64)
