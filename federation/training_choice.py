"""The table `training` of a federation.toml: what one site does in one round.

**What sites may keep from round to round.** Two settings let a site keep a state of its own: the
control of SCAFFOLD (`federation.control_variates`) and layers that stay at the site
(`federation.local_layers`). With `privacy.shared_noise` both are refused: there a site's own steps
carry no noise, the sum does. What is kept would be a function of unprotected gradients, and it
changes the gradient of every record in the next round; so one record would move a sum by more than
its own clipped gradient, which is all that the noise was made for. With noise of the site's own,
what is kept follows from steps that are noised already (post-processing). With site-level noise a
site's whole update is clipped before the noise hides it, whatever the site kept.

SCAFFOLD asks more of the sum, since the coordinator makes its control of it: that it is the sum of
the updates which the sites know to have sent. Noise in the sum would add up in the control from
round to round, and a median is no sum.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from federation.errors import ConfigError
from federation.section import Fraction, Positive, Rate, Section

UNCHOSEN: tuple[object, ...] = ("sgd", (), [])

LayerPattern = Annotated[str, Field(min_length=1, max_length=200)]


class Training(Section):
    """What one site does in one round."""

    local_steps: Annotated[int, Field(ge=1, le=100_000)] = 3
    """Gradient steps at each site in each round."""
    sampling_rate: Rate = 0.25
    """Probability with which each row joins the batch of each step."""
    learning_rate: Positive = 0.5
    """Of the gradient steps."""
    momentum: Fraction = 0.0
    """Of the gradient steps; starts from zero every round."""
    proximal_mu: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Above 0: FedProx' pull towards the global model (Li et al. 2020, arXiv:1812.06127)."""
    update_clip: Positive = 20.0
    """Largest L2 norm of a site's update in a round; longer ones are scaled down."""
    algorithm: Literal["sgd", "scaffold"] = "sgd"
    """`scaffold`: every step is corrected by how the site's gradient differs from all sites' mean
    (Karimireddy et al. 2020, arXiv:1910.06378, option II)."""
    local_layers: tuple[LayerPattern, ...] = ()
    """Parameters that stay at each site, by name or pattern such as `head.*` (Arivazhagan et al.
    2019, arXiv:1912.00818); the others are federated."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_chosen(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A run without these two is agreed on in the same bytes as before there were any."""
        fields: dict[str, Any] = dump(self)
        absent = {name for name in ("algorithm", "local_layers") if fields.get(name) in UNCHOSEN}
        return {name: v for name, v in fields.items() if name not in absent}

    @property
    def is_scaffold(self) -> bool:
        """Whether sites and coordinator keep controls."""
        return self.algorithm == "scaffold"

    @property
    def keeps_state(self) -> bool:
        """Whether a site keeps something of its training from round to round."""
        return self.is_scaffold or bool(self.local_layers)

    @property
    def travelled(self) -> float:
        """Steps times learning rate: what SCAFFOLD divides an update by to have a gradient."""
        return self.local_steps * self.learning_rate


def require_state_safe(
    training: Training, *, shared_noise: bool, site_level: bool, grouped: bool
) -> None:
    """Return if sites may keep what this training would have them keep.

    Args:
        training: as configured or agreed.
        shared_noise: whether the noise that hides records is in the sum alone.
        site_level: whether the sum carries noise that hides whole sites.
        grouped: whether sites sum in groups, for a median or trimmed mean.

    Raises:
        ConfigError: they may not; says which of two settings excludes the other.
    """
    if training.local_layers and shared_noise:
        raise ConfigError(
            "training.local_layers", list(training.local_layers),
            "none with privacy.shared_noise",
            "layers that stay at a site would be trained there without any noise, and the next "
            "update would show them; let each site add its own noise",
        )  # fmt: skip
    if not training.is_scaffold:
        return
    excluded = {
        "privacy.shared_noise": (shared_noise, "a site's control would be made without any noise"),
        "privacy.site_level": (site_level, "the noise of every sum would add up in the control"),
        "robustness.aggregate": (grouped, "the control follows the mean update of all sites"),
        "training.momentum": (training.momentum > 0, "a control stands for the mean gradient"),
        "training.proximal_mu": (training.proximal_mu > 0, "both correct the same drift"),
    }
    for key, (is_set, why) in excluded.items():
        if is_set:
            raise ConfigError("training.algorithm", "scaffold", f"another one with {key}", why)
