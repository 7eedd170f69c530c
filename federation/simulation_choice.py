"""The table `simulation` of a federation.toml: how one machine plays all the sites."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from federation.partition_choice import NATURAL, PartitionChoice, parse_partition_choice
from federation.section import Name, Section


class Dropout(Section):
    """A site that falls silent in one phase of one round, for simulations and tests."""

    site: Name
    """Which site."""
    round: Annotated[int, Field(ge=1)]
    """In which round."""
    phase: Literal["advertise", "share", "train", "sign", "open"] = "train"
    """From which phase of the round on it is silent."""
    attempts: Annotated[int, Field(ge=1)] = 1
    """How many attempts at that round it misses."""


class Attacker(Section):
    """A site that poisons its update in every training round, for simulations and tests."""

    site: Name
    """Which site."""
    kind: Literal["label_flip", "sign_flip", "scaled_update"] = "sign_flip"
    """`label_flip`: trains on reversed labels. `sign_flip`: sends minus its update.
    `scaled_update`: sends a multiple of it, past the clip that honest sites keep to."""
    factor: Annotated[float, Field(ge=-1e6, le=1e6)] = 10.0
    """Of scaled_update: the multiple; below 0 it also points the other way."""


class Simulation(Section):
    """How this machine plays all the sites."""

    backend: Literal["embedded", "ray"] = "embedded"
    """`embedded`: worker processes of this machine. `ray`: Flower's engine on Ray."""
    workers: Annotated[int, Field(ge=1, le=256)] = 2
    """Worker processes, or cores that Ray may use; changes no result."""
    baselines: bool = True
    """Put each site alone and the centralized model beside the result."""
    dropouts: tuple[Dropout, ...] = ()
    """Sites that fall silent, for trying out what a federation survives."""
    attackers: tuple[Attacker, ...] = ()
    """Sites that poison their updates, for trying out `robustness`."""
    partition: PartitionChoice = NATURAL
    """How the task's rows are shared out over the sites; its own sites if left out."""

    @field_validator("partition", mode="before")
    @classmethod
    def _one_kind_of_partition(cls, table: object) -> PartitionChoice:
        return parse_partition_choice(table)
