"""Images of ten classes over sites that see different ones: what digits and MNIST share."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from federation.errors import ConfigError
from federation.schema import Numeric, SensitiveAttribute, TaskSchema
from federation.task import Codes, Floats, RowOrder, Rows, SiteData, SiteOrder, SiteRequest
from simulations.tasks.random_split import require_share, split
from simulations.tasks.residual_network import residual_network

ImageModel = Literal["cnn", "resnet"]
QUARTERS = ("upper_left", "upper_right", "lower_left", "lower_right")


class ImageTask(ABC):
    """Which class is this grey image of? Sites draw their classes from a Dirichlet distribution."""

    def __init__(
        self,
        clients: int = 8,
        concentration: float = 0.5,
        held_out_fraction: float = 0.3,
        *,
        model: ImageModel = "cnn",
    ) -> None:
        """Choose the model, and how the images are spread (Hsu et al. 2019, arXiv:1909.06335).

        Args:
            clients: number of sites, 3 to 50.
            concentration: of the Dirichlet distribution; small means that sites differ much.
            held_out_fraction: share of a site's images that are never trained on.
            model: `cnn`, two convolutions; or `resnet`, two residual blocks. Both with group
                normalisation.

        Raises:
            ConfigError: a bound is broken.
        """
        if not 3 <= clients <= 50:
            raise ConfigError("task.options.clients", clients, "a whole number from 3 to 50")
        if not concentration > 0:
            raise ConfigError("task.options.concentration", concentration, "a number > 0")
        require_share(held_out_fraction)
        self._clients, self._concentration = clients, concentration
        self._held_out_fraction, self._model = held_out_fraction, model

    label: str
    """What the class is called."""
    classes: tuple[str, ...]
    """Ten of them."""
    images: int
    """How many there are."""
    side: int
    """Height and width of an image."""
    residual_widths: tuple[int, ...]
    """Channels of each residual block."""

    @cached_property
    def schema(self) -> TaskSchema:
        """Mean brightness of the image's quarters, for drift; the class itself as the group."""
        return TaskSchema(
            tuple(Numeric(f"ink_{name}", 0, 1) for name in QUARTERS),
            self.label,
            self.classes,
            (SensitiveAttribute(self.label, self.classes),),
            maximum_rows=self.images,
        )

    @property
    def sites(self) -> tuple[str, ...]:
        """`site-01` and on."""
        return tuple(f"site-{number:02d}" for number in range(1, self._clients + 1))

    def build_model(self) -> nn.Module:
        """Convolutions with group normalisation (batch normalisation mixes records)."""
        if self._model == "resnet":
            return residual_network(1, len(self.classes), self.residual_widths)
        return self._convolutions()

    @abstractmethod
    def _convolutions(self) -> nn.Module:
        """The small convolutional network, for images of this size."""

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy per image, nats, shape (B,)."""
        return cross_entropy(output, target, reduction="none")

    def probabilities(self, output: Tensor) -> Tensor:
        """Softmax, shape (N, 10)."""
        return output.double().softmax(dim=1)

    def load(self, request: SiteRequest) -> SiteData:
        """One site's images.

        Raises:
            DataError: the data set is missing, or not the published one.
        """
        return SiteData(*(self._rows(part) for part in self._split(request)))

    def order(self, request: SiteRequest) -> SiteOrder:
        """Where the images stand in the data set."""
        return SiteOrder(*(RowOrder(part + 1, None) for part in self._split(request)))

    def _split(self, request: SiteRequest) -> tuple[Codes, Codes, Codes]:
        """Which images are trained on, reference and current."""
        chosen = self._owners[self.sites.index(request.site)]
        return split(chosen, request, self._held_out_fraction)

    @abstractmethod
    def _pool(self) -> tuple[npt.NDArray[np.generic], Codes]:
        """All images, brightness of any dtype, shape (N, side, side), and their classes, (N,)."""

    @abstractmethod
    def _brightness(self, images: npt.NDArray[np.generic]) -> Floats:
        """In [0, 1], of the same shape."""

    @cached_property
    def _owners(self) -> list[npt.NDArray[np.int64]]:
        """Per site the indices of its images; every site has at least two."""
        generator = np.random.default_rng(2026)
        classes = self._pool()[1]
        owner = np.empty(len(classes), np.int64)
        for code in range(len(self.classes)):
            members = np.flatnonzero(classes == code)
            shares = generator.dirichlet([self._concentration] * self._clients)
            owner[members] = generator.choice(self._clients, len(members), p=shares)
        for site in range(self._clients):
            while (owner == site).sum() < 2:
                owner[generator.integers(len(owner))] = site
        return [np.flatnonzero(owner == site) for site in range(self._clients)]

    def _rows(self, chosen: Codes) -> Rows:
        images, classes = self._pool()
        part, half = self._brightness(images[chosen]), self.side // 2
        quarters = [
            part[:, :half, :half], part[:, :half, half:],
            part[:, half:, :half], part[:, half:, half:],
        ]  # fmt: skip
        names = [feature.name for feature in self.schema.features]
        return Rows(
            torch.from_numpy(part[:, None].astype(np.float32)),
            torch.from_numpy(classes[chosen].copy()),
            {name: q.mean(axis=(1, 2)) for name, q in zip(names, quarters, strict=True)},
            {self.label: classes[chosen].copy()},
        )
