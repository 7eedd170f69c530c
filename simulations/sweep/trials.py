"""Which trials a sweep is made of: every combination, some drawn of them, or a drawn number."""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from federation.errors import ConfigError
from simulations.sweep.variation import Range, Setting, Value, Values, Variation, written

Law = Literal["grid", "random", "poisson", "geometric"]
"""How many trials, and which. Under the last two the number itself is drawn: so it may be charged
as repeat-and-select (Papernot and Steinke 2022, arXiv:2110.03620)."""

SHAPES: dict[Law, float] = {"poisson": math.inf, "geometric": 1.0}
"""Of the law of the number of trials, as `privacy.event.RepeatAndSelect` has it."""

MOST_RUNS = 10_000
"""Of a sweep: more are a slip of the keyboard."""

_TRIES = 1000
"""Draws in a row that may repeat what was drawn before, until a range counts as exhausted."""


@dataclass(frozen=True, slots=True)
class Search:
    """How trials are found.

    Attributes:
        trials: of `random`: how many.
        mean: of a drawn number: its mean, >= 1.
    """

    law: Law = "grid"
    trials: int = 0
    mean: float = 0.0

    @property
    def number_is_drawn(self) -> bool:
        """Whether the number of trials is random, as repeat-and-select needs it."""
        return self.law in SHAPES


@dataclass(frozen=True, slots=True)
class Trial:
    """One choice of the varied settings, and the seeds it is run with."""

    number: int
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]


def parse_search(text: str | None) -> Search:
    """What `--random` says: `N`, `poisson:MEAN` or `geometric:MEAN`; a grid if it is left out.

    Raises:
        ConfigError: it says something else.
    """
    if text is None:
        return Search()
    if text.isdigit() and 1 <= int(text) <= MOST_RUNS:
        return Search("random", trials=int(text))
    found = re.fullmatch(r"(poisson|geometric):(\d+(?:\.\d+)?)", text)
    if found and 1 <= float(found[2]) <= MOST_RUNS:
        law: Law = "poisson" if found[1] == "poisson" else "geometric"
        return Search(law, mean=float(found[2]))
    raise ConfigError(
        "--random", text, f"a number of trials up to {MOST_RUNS}, poisson:MEAN or geometric:MEAN",
        "the last two draw the number of trials, too: docs/sweep.md says what for",
    )  # fmt: skip


def parse_seeds(text: str, first: int) -> tuple[int, ...]:
    """What `--seeds` says: a number of seeds, counted from `first`, or the seeds themselves.

    Raises:
        ConfigError: it says something else, or a seed twice.
    """
    if text.isdigit() and 1 <= int(text) <= MOST_RUNS:
        return tuple(range(first, first + int(text)))
    parts = [part.strip() for part in text.rstrip(",").split(",")]
    if "," in text and all(part.isdigit() and int(part) < 2**63 for part in parts):
        seeds = tuple(map(int, parts))
        if len(set(seeds)) == len(seeds):
            return seeds
    raise ConfigError(
        "--seeds", text, "how many (3), or different seeds themselves (1,2,3; one of them: 7,)"
    )


def trials(
    search: Search, variations: Sequence[Variation], seeds: tuple[int, ...], draw_seed: int
) -> tuple[Trial, ...]:
    """All trials, numbered from 1.

    Where the number is drawn, trials are drawn independently, and each has seeds of its own, as
    many as `seeds`: equal ones would give the same model twice rather than a repetition.

    Args:
        search: how they are found.
        variations: of different keys.
        seeds: that every trial is run with.
        draw_seed: of all that is drawn; same seed, same trials.

    Raises:
        ConfigError: a key is varied twice; a grid or a drawn number has a range without points; a
            random search asks for more trials than there are; or there are too many runs, or none.
    """
    keys = [one.key for one in variations]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        raise ConfigError("--vary", twice, "each key once", "all its values behind one --vary")
    random = np.random.Generator(np.random.PCG64([draw_seed, 0x5EED]))
    if search.number_is_drawn:
        return _of_drawn_number(search, variations, seeds, random)
    if search.law == "random":
        chosen = _distinct(variations, search.trials, random)
    else:
        chosen = list(itertools.product(*map(_settings, variations)))
    _require_few(len(chosen) * len(seeds))
    return tuple(Trial(number, one, seeds) for number, one in enumerate(chosen, start=1))


def support(variations: Sequence[Variation]) -> list[tuple[Setting, ...]]:
    """Every combination that lists of values allow.

    Raises:
        ConfigError: one of them is a range without points.
    """
    return list(itertools.product(*map(_settings, variations)))


def _settings(variation: Variation) -> list[Setting]:
    if isinstance(variation, Range):
        raise ConfigError(
            "--vary", f"{variation.key}={variation.low:g}..{variation.high:g}",
            "a number of points behind a range, such as :log:5",
            "or --random N, which draws from ranges as they are",
        )  # fmt: skip
    return [(variation.key, value) for value in variation.values]


def _draw(variation: Variation, random: np.random.Generator) -> Setting:
    if isinstance(variation, Range):
        return variation.key, variation.draw(random)
    value: Value = variation.values[int(random.integers(len(variation.values)))]
    return variation.key, value


def _distinct(
    variations: Sequence[Variation], count: int, random: np.random.Generator
) -> list[tuple[Setting, ...]]:
    if all(isinstance(one, Values) for one in variations):
        whole = support(variations)
        if count > len(whole):
            raise ConfigError(
                "--random", count, f"at most the {len(whole)} combinations there are",
                "leave --random out for all of them",
            )  # fmt: skip
        return [whole[place] for place in random.permutation(len(whole))[:count]]
    found: dict[str, tuple[Setting, ...]] = {}
    in_vain = 0
    while len(found) < count and in_vain < _TRIES:
        drawn = tuple(_draw(one, random) for one in variations)
        name = "\n".join(f"{key}={written(value)}" for key, value in drawn)
        in_vain = in_vain + 1 if name in found else 0
        found[name] = drawn
    if len(found) < count:
        raise ConfigError(
            "--random", count, f"about {len(found)} trials, as many as these ranges hold"
        )
    return list(found.values())


def _of_drawn_number(
    search: Search,
    variations: Sequence[Variation],
    seeds: tuple[int, ...],
    random: np.random.Generator,
) -> tuple[Trial, ...]:
    support(variations)  # finite, so that the dearest trial that might have been drawn is known
    if search.law == "poisson":
        count = int(random.poisson(search.mean))
    else:
        count = int(random.geometric(1 / search.mean))
    if count == 0:
        raise ConfigError(
            "--random", f"poisson:{search.mean:g}",
            "a drawn number of trials above 0; this seed draws 0, and by this law there is then "
            "no winner",
            "a larger mean makes that rarer, geometric:MEAN never draws 0",
        )  # fmt: skip
    _require_few(count * len(seeds))
    made = []
    for number in range(1, count + 1):
        first = seeds[0] + (number - 1) * len(seeds)
        drawn = tuple(_draw(one, random) for one in variations)
        made.append(Trial(number, drawn, tuple(range(first, first + len(seeds)))))
    return tuple(made)


def _require_few(runs: int) -> None:
    if runs > MOST_RUNS:
        raise ConfigError("--vary", f"{runs} runs", f"at most {MOST_RUNS} runs in a sweep")
