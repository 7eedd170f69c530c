"""scikit-learn's digits: 1,797 images of 8 x 8 pixels over sites that see different digits.

Alpaydin and Kaynak 1998, https://doi.org/10.24432/C50P49, CC BY 4.0; shipped with scikit-learn.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from federation.errors import ConfigError, DataError
from federation.schema import Numeric, SensitiveAttribute, TaskSchema
from federation.table_columns import split_generator
from federation.task import Codes, Floats, RowOrder, Rows, SiteData, SiteOrder, SiteRequest

IMAGES = 1_797
PER_DIGIT = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
BRIGHTEST = 16.0
DIGITS = tuple(str(digit) for digit in range(10))


class DigitsTask:
    """Which digit is this? A small CNN; sites draw their digits from a Dirichlet distribution."""

    def __init__(
        self, clients: int = 8, concentration: float = 0.5, held_out_fraction: float = 0.3
    ) -> None:
        """Choose how the images are spread (Hsu et al. 2019, arXiv:1909.06335).

        Args:
            clients: number of sites, 3 to 50.
            concentration: of the Dirichlet distribution; small means that sites differ much.
            held_out_fraction: share of a site's images that are never trained on.

        Raises:
            ConfigError: a bound is broken.
        """
        if not 3 <= clients <= 50:
            raise ConfigError("task.options.clients", clients, "a whole number from 3 to 50")
        if not concentration > 0:
            raise ConfigError("task.options.concentration", concentration, "a number > 0")
        if not 0 < held_out_fraction < 1:
            raise ConfigError(
                "task.options.held_out_fraction", held_out_fraction, "a number in (0, 1)"
            )
        self._clients, self._concentration = clients, concentration
        self._held_out_fraction = held_out_fraction

    @cached_property
    def schema(self) -> TaskSchema:
        """Mean brightness of the image's quarters, for drift; the digit itself as the group."""
        quarters = ("upper_left", "upper_right", "lower_left", "lower_right")
        return TaskSchema(
            tuple(Numeric(f"ink_{name}", 0, 1) for name in quarters),
            "digit",
            DIGITS,
            (SensitiveAttribute("digit", DIGITS),),
            maximum_rows=IMAGES,
        )

    @property
    def sites(self) -> tuple[str, ...]:
        """`site-01` and on."""
        return tuple(f"site-{number:02d}" for number in range(1, self._clients + 1))

    def build_model(self) -> nn.Module:
        """Two convolutions with group normalisation (batch normalisation mixes records)."""
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.Tanh(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.GroupNorm(4, 16), nn.Tanh(),
            nn.Flatten(), nn.Linear(16 * 4 * 4, 10),
        )  # fmt: skip

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy per image, nats, shape (B,)."""
        return cross_entropy(output, target, reduction="none")

    def probabilities(self, output: Tensor) -> Tensor:
        """Softmax, shape (N, 10)."""
        return output.double().softmax(dim=1)

    def load(self, request: SiteRequest) -> SiteData:
        """One site's images.

        Raises:
            DataError: scikit-learn ships another data set than the published one.
        """
        return SiteData(*(self._rows(part) for part in self._split(request)))

    def order(self, request: SiteRequest) -> SiteOrder:
        """Where the images stand in the data set."""
        return SiteOrder(*(RowOrder(part + 1, None) for part in self._split(request)))

    def _split(self, request: SiteRequest) -> tuple[Codes, Codes, Codes]:
        """Which images are trained on, reference and current."""
        chosen = self._owners[self.sites.index(request.site)]
        shuffled = split_generator(request.site, request.split_seed).permutation(chosen)
        held_out = min(max(round(self._held_out_fraction * len(chosen)), 1), len(chosen) - 1)
        return shuffled[held_out:], shuffled[1:held_out:2], shuffled[:held_out:2]

    @cached_property
    def _images(self) -> tuple[Floats, Codes]:
        bunch = load_digits()
        images, digits = bunch.images / BRIGHTEST, bunch.target.astype(np.int64)
        counts = tuple(int(n) for n in np.bincount(digits, minlength=10))
        if images.shape != (IMAGES, 8, 8) or counts != PER_DIGIT:
            raise DataError(
                f"scikit-learn's digits: {len(images)} images with {counts} per digit, published "
                f"are {IMAGES} with {PER_DIGIT}"
            )
        return images, digits

    @cached_property
    def _owners(self) -> list[npt.NDArray[np.int64]]:
        """Per site the indices of its images; every site has at least two."""
        generator = np.random.default_rng(2026)
        digits = self._images[1]
        owner = np.empty(IMAGES, np.int64)
        for digit in range(10):
            members = np.flatnonzero(digits == digit)
            shares = generator.dirichlet([self._concentration] * self._clients)
            owner[members] = generator.choice(self._clients, len(members), p=shares)
        for site in range(self._clients):
            while (owner == site).sum() < 2:
                owner[generator.integers(IMAGES)] = site
        return [np.flatnonzero(owner == site) for site in range(self._clients)]

    def _rows(self, chosen: npt.NDArray[np.int64]) -> Rows:
        images, digits = self._images
        part = images[chosen]
        quarters = [part[:, :4, :4], part[:, :4, 4:], part[:, 4:, :4], part[:, 4:, 4:]]
        names = [feature.name for feature in self.schema.features]
        return Rows(
            torch.from_numpy(part[:, None].astype(np.float32)),
            torch.from_numpy(digits[chosen].copy()),
            {name: q.mean(axis=(1, 2)) for name, q in zip(names, quarters, strict=True)},
            {"digit": digits[chosen].copy()},
        )
