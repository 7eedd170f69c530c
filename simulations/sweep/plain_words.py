"""What a sweep says to a person who must choose an epsilon."""

from collections.abc import Iterator
from itertools import pairwise

from federation.report_page.number_text import epsilon, listing, rate
from simulations.sweep.choice import Choice
from simulations.sweep.results import SweepResults
from simulations.sweep.standing import Spread, Standing, as_shown

FEWEST_SEEDS = 3
"""With fewer, even one configuration ahead on every seed says next to nothing."""


def aim_name(found: SweepResults) -> str:
    """What is to be large, for people."""
    return {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "auc": "AUC"}[
        found.aim
    ]


def by_number(found: SweepResults) -> dict[int, Standing]:
    """The trials."""
    return {one.trial: one for one in found.standings}


def frontier_words(found: SweepResults) -> list[str]:
    """One sentence for each configuration on the frontier, in the order of epsilon."""
    trials = _frontier(found)
    if not trials:
        return ["No trial with a known epsilon completed on all its seeds."]
    return [_point(found, one) for one in trials]


def step_words(found: SweepResults) -> list[str]:
    """What each step along the frontier buys, and whether on every seed."""
    # Of configurations that are level at one epsilon, the first stands for all.
    by_epsilon = {one.epsilon and as_shown(one.epsilon): one for one in _frontier(found)[::-1]}
    steps = pairwise(reversed(by_epsilon.values()))
    return [_step(found, before, after) for before, after in steps]


def _frontier(found: SweepResults) -> list[Standing]:
    trials = by_number(found)
    return [trials[number] for number in found.frontier]


def _point(found: SweepResults, one: Standing) -> str:
    spread = one.spread(found.aim)
    assert spread is not None
    seeds = f" over {len(one.runs)} seeds" if len(one.runs) > 1 else ""
    words = (
        f"At ε = {epsilon(one.epsilon)} {aim_name(found)} is {_ranged(spread)}{seeds}"
        f"{_against_no_privacy(found, spread)}"
    )
    if one.site_level_epsilon is not None:
        words += f"; what a whole site changes is held to ε = {epsilon(one.site_level_epsilon)}"
    gap = one.worst_group_gap
    if gap is not None:
        words += f"; groups differ by up to {_ranged(gap)}"
    return f"{words} (trial {one.trial}: {one.words})."


def _against_no_privacy(found: SweepResults, spread: Spread) -> str:
    theirs = None if found.reference is None else found.reference.spread(found.aim)
    if theirs is None:
        return ""
    return f", {_points(spread.mean - theirs.mean)} training without privacy"


def _step(found: SweepResults, before: Standing, after: Standing) -> str:
    ours, theirs = before.by_seed(found.aim), after.by_seed(found.aim)
    gains = [theirs[seed] - ours[seed] for seed in ours if seed in theirs]
    words = f"From ε = {epsilon(before.epsilon)} to {epsilon(after.epsilon)}"
    if not gains:
        return f"{words}: no seed was run with both."
    mean = sum(gains) / len(gains)
    bought = f"{words}: {_signed(mean)} points of {aim_name(found)} on average"
    if len(gains) == 1:
        return f"{bought}, by one seed."
    between = f"{_signed(min(gains))} to {_signed(max(gains))} by seed"
    held = "on every seed" if min(gains) > 0 else "not on every seed"
    return f"{bought}, {between}: {held}."


def choice_words(found: SweepResults) -> list[str]:
    """Which configuration is best under the limits, which is next, and how sure that is."""
    under = f" under {listing(tuple(map(str, found.limits)))}" if found.limits else ""
    if found.choice is None:
        return [f"No trial that completed on all its seeds is fit{under}."]
    best = by_number(found)[found.choice.best]
    spread = best.spread(found.aim)
    assert spread is not None
    private = f"ε = {epsilon(best.epsilon)}" if best.epsilon is not None else "no guarantee"
    said = [
        f"Best{under}: trial {best.trial} ({best.words}), {aim_name(found)} {_ranged(spread)} at "
        f"{private}."
    ]
    return [*said, *_sureness(found, found.choice)]


def _sureness(found: SweepResults, choice: Choice) -> Iterator[str]:
    if choice.runner_up is None:
        yield "No other trial keeps to the limits." if found.limits else "There is no other trial."
        return
    second = by_number(found)[choice.runner_up]
    differences = choice.differences
    words = f"Next is trial {second.trial} ({second.words})"
    if not differences:
        yield f"{words}; no seed was run with both, so how sure the order is, is not known."
        return
    mean = sum(differences) / len(differences)
    seeds = len(differences)
    yield (
        f"{words}, {_size(mean)} behind on average; by seed the best is between "
        f"{_signed(min(differences))} and {_signed(max(differences))} points ahead, and ahead on "
        f"{choice.ahead} of {seeds}."
    )
    if seeds < FEWEST_SEEDS:
        yield "So few seeds cannot tell the two apart: run more."
    elif choice.is_ahead_on_every_seed:
        yield (
            f"Were the two alike, one of them would be ahead on all {seeds} seeds with probability "
            f"{choice.by_chance:g}; of the best of many trials that is worth less still."
        )
    else:
        yield (
            "Seeds disagree on which of the two is better: the one of less epsilon, or of the "
            "smaller gap, may be taken without regret."
        )


def _ranged(spread: Spread) -> str:
    if spread.least == spread.largest:
        return rate(spread.mean)
    return f"{rate(spread.mean)} ({rate(spread.least)} to {rate(spread.largest)})"


def _points(difference: float) -> str:
    """A difference of two rates as points, and in which direction.

    >>> _points(-0.0123), _points(0.02), _points(0.0)
    ('1.2 points below', '2.0 points above', 'as good as')
    """
    if round(abs(difference), 4) == 0:
        return "as good as"
    return f"{100 * abs(difference):.1f} points {'below' if difference < 0 else 'above'}"


def _size(difference: float) -> str:
    """A difference of two rates as points: 0.012 is `1.2 points`."""
    return f"{100 * difference:.1f} points".replace("-", "−")


def _signed(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")
