"""The table `simulation` of a federation.toml: how one machine plays all the sites."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from federation.drift_choice import InjectedDrift
from federation.errors import ConfigError
from federation.fault_choice import (
    Availability,
    CoordinatorKind,
    Crash,
    Dropout,
    Faults,
    Stragglers,
)
from federation.partition_choice import NATURAL, PartitionChoice, parse_partition_choice
from federation.section import Name, Section


class Attack(Section):
    """What a malicious site does in every training round."""

    kind: Literal[
        "label_flip",
        "targeted_label_flip",
        "sign_flip",
        "scaled_update",
        "noise_update",
        "backdoor",
    ] = "sign_flip"
    """`label_flip`: trains on reversed labels. `targeted_label_flip`: on rows of class `source`
    that say `target`. `sign_flip`: sends minus its update. `scaled_update`: sends a multiple of it,
    past the clip that honest sites keep to. `noise_update`: adds Gaussian noise to it. `backdoor`:
    trains on rows that carry a trigger and say `target`."""
    factor: Annotated[float, Field(ge=-1e6, le=1e6)] = 10.0
    """Of scaled_update: the multiple; below 0 it also points the other way. Of noise_update: the
    noise's expected length, in units of `training.update_clip`."""
    source: str = ""
    """Of targeted_label_flip: the class of the rows that are changed."""
    target: str = ""
    """Of targeted_label_flip and backdoor: the class that they are made to say."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of backdoor: share of its train rows that carry the trigger."""
    feature: str = ""
    """Of backdoor: the feature that is the trigger, where the model's input is made of features."""
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Of backdoor: what the feature, or the input at `positions`, is set to; of a categorical
    feature, the index of the level."""
    positions: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Of backdoor: places in the flattened model input, such as pixels, in place of `feature`."""


class Attacker(Attack):
    """A site that poisons its update in every training round, for simulations and tests."""

    site: Name
    """Which site."""


class RandomAttackers(Attack):
    """As many attackers as a share of the sites, drawn from `run.seed`."""

    rate: Annotated[float, Field(gt=0, lt=1)]
    """Share of all sites, rounded to whole sites; those named in `attackers` are drawn from, too,
    and keep what is said there."""


class Simulation(Section):
    """How this machine plays all the sites."""

    backend: Literal["embedded", "ray"] = "embedded"
    """`embedded`: worker processes of this machine. `ray`: Flower's engine on Ray."""
    workers: Annotated[int, Field(ge=1, le=256)] = 2
    """Worker processes, or cores that Ray may use; changes no result."""
    ray_address: str = ""
    """`host:port` of a running Ray cluster's head node, with backend = "ray"; its machines need
    the same versions and see the folder of runs under the same path. Empty: RAY_ADDRESS of the
    environment, else Ray is started on this machine."""
    secure_aggregation: Literal["real", "arithmetic"] = "real"
    """`real`: every site is an agent with keys, journal and ledger, and the whole protocol runs.
    `arithmetic`: the same vectors are encoded, noised and added modulo the same rings by one party,
    without keys, masks, homes and ledgers; the same model, for thousands of sites; stamped on every
    output."""
    engine: Literal["per-site", "batched"] = "per-site"
    """`per-site`: each site trains by itself, as it will when deployed. `batched`: many sites are
    trained at once, with the same batches and noise; the update of a site differs by rounding."""
    device: Literal["cpu", "cuda"] = "cpu"
    """`cuda`: with engine = "batched" and one worker, that one trains on a GPU, in float32 and in
    chunks as large as its memory allows; noise is drawn on the processor."""
    noise: Literal["as-deployed", "rehearsal"] = "as-deployed"
    """`as-deployed`: the sampler that sites have when they are deployed. `rehearsal`: the same law
    in single precision at a twentieth of the time, with `secure_aggregation = "arithmetic"`."""
    baselines: bool = True
    """Put each site alone and the centralized model beside the result."""
    dropouts: tuple[Dropout, ...] = ()
    """Sites that fall silent, for trying out what a federation survives."""
    attackers: tuple[Attacker, ...] = ()
    """Sites that poison their updates, for trying out `robustness`."""
    random_attackers: RandomAttackers | None = None
    """So many sites that do the same, in place of naming each."""
    faults: Faults = Faults()
    """Sites that fall silent at random."""
    stragglers: Stragglers | None = None
    """How long sites would train, and by when they must have."""
    crashes: tuple[Crash, ...] = ()
    """Worker processes that really die."""
    availability: Availability = Availability()
    """Which sites are online in which rounds."""
    coordinator: CoordinatorKind = "honest"
    """A coordinator that lies, to see the sites refuse: such a run ends with their refusal."""
    drift: tuple[InjectedDrift, ...] = ()
    """Changes of held-out rows, with their truth written down."""
    windows: Annotated[int, Field(ge=0, le=1000)] = 0
    """Deal the held-out rows at random: a third is the reference, the rest so many windows,
    `window-001` and on; 0 leaves the task's own."""
    partition: PartitionChoice = NATURAL
    """How the task's rows are shared out over the sites; its own sites if left out."""

    @field_validator("partition", mode="before")
    @classmethod
    def _one_kind_of_partition(cls, table: object) -> PartitionChoice:
        return parse_partition_choice(table)

    @model_validator(mode="after")
    def _an_address_is_of_ray(self) -> Self:
        if self.ray_address and self.backend != "ray":
            raise ConfigError(
                "simulation.ray_address", self.ray_address,
                f"it to be left out with simulation.backend = {self.backend!r}",
                "choose backend = 'ray'",
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _one_process_has_the_gpu(self) -> Self:
        if self.device == "cpu":
            return self
        needed: tuple[tuple[str, object, object, str], ...] = (
            ("backend", self.backend, "embedded", "on Ray every core is a worker"),
            ("engine", self.engine, "batched", "a GPU gains by training many sites at once"),
            ("workers", self.workers, 1, "one process has the GPU"),
        )
        for key, value, expected, why in needed:
            if value != expected:
                raise ConfigError(
                    f"simulation.{key}", value, f"{expected!r} with simulation.device = 'cuda'", why
                )
        return self


INJECTED = (
    "dropouts", "attackers", "random_attackers", "faults", "stragglers", "crashes", "availability",
    "coordinator", "drift", "windows",
)  # fmt: skip
"""Settings of what only a machine that plays the sites can do to them."""
