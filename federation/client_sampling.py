"""Which of the sites take part in a training round: all, each by a coin, or so many drawn.

What a sample buys in privacy (`privacy.sampled_sites`) it buys only against who does not know it.
Here it follows from the agreement, so that every side and every engine draws the same one; the
sites and the coordinator know it. So samples are drawn in simulations, to see what they would do;
a deployed federation refuses them.
"""

import hashlib
import math
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from federation.errors import ConfigError
from federation.section import FEWEST_SITES, Rate, Section


class ClientSampling(Section):
    """Which of the sites take part in a training round; only simulations may sample."""

    kind: Literal["all", "poisson", "fixed"] = "all"
    """`all`: every site, every round. `poisson`: each site by a coin of its own. `fixed`: so many,
    drawn without replacement."""
    rate: Rate | None = None
    """Of `poisson`: the probability with which a site takes part in a round."""
    sites: Annotated[int, Field(ge=FEWEST_SITES)] | None = None
    """Of `fixed`: how many take part in a round."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        for key, value, kind in (("rate", self.rate, "poisson"), ("sites", self.sites, "fixed")):
            if (value is not None) != (self.kind == kind):
                raise ConfigError(
                    f"sampling.{key}",
                    value,
                    f"given with sampling.kind = {kind!r}, and left out otherwise",
                )
        return self

    def expected(self, sites: int) -> float:
        """How many of `sites` sites take part in a round, on average."""
        if self.kind == "poisson":
            return (self.rate or 0.0) * sites
        return sites if self.sites is None else self.sites

    def most(self, sites: int) -> int:
        """How many of `sites` sites take part in a round at most."""
        return sites if self.sites is None else self.sites

    def drawn(self, sites: tuple[str, ...], seed: bytes) -> tuple[str, ...]:
        """The sample of one round, in the order of `sites`.

        Args:
            sites: all of them.
            seed: of the round; it fixes the sample.
        """
        if self.kind == "all":
            return sites
        coins = np.frombuffer(hashlib.shake_256(seed).digest(8 * len(sites)), "<u8")
        if self.kind == "poisson":
            # Off by 2**-53 at most; a rate of 1 takes every site.
            chosen = coins * 2.0**-64 < (self.rate or 0.0) if self.rate != 1 else coins >= 0
            return tuple(site for site, taken in zip(sites, chosen, strict=True) if taken)
        first = np.argsort(coins, kind="stable")[: self.sites]
        return tuple(sites[index] for index in np.sort(first))


def sample_quorum(sampling: ClientSampling, sites: int, quorum: int) -> int:
    """Fewest sites of a sample whose sum may be opened: the federation's share of the expected one.

    The same in every round, whatever the sample: what hides a site must not depend on a draw.
    """
    share = math.ceil(quorum * sampling.expected(sites) / sites)
    if sampling.kind == "fixed":
        return max(FEWEST_SITES, sampling.most(sites) // 2 + 1, share)
    return max(FEWEST_SITES, share)
