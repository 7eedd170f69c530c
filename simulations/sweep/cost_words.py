"""What choosing costs, for people: which epsilon holds for which thing that is published."""

from dataclasses import dataclass

from federation.report_page.number_text import epsilon, setting
from simulations.sweep.choosing_cost import ChoosingCost
from simulations.sweep.results import SweepResults

_NO_BOUND = "no bound"


@dataclass(frozen=True, slots=True)
class CostLine:
    """An epsilon, and of what it holds.

    Attributes:
        holds: whether it holds for this sweep; else it is there to compare with.
    """

    what: str
    epsilon: str
    why: str
    holds: bool


def cost_lines(found: SweepResults) -> list[CostLine]:
    """From the least that might be claimed to the most that is paid."""
    cost = found.cost
    if cost.delta is None:
        return []
    lines = [
        CostLine(
            "The winner, had it been the only run",
            _epsilon(cost.winner),
            "What its own ledgers say. It leaves out that it was chosen by how well it did.",
            holds=False,
        )
    ]
    if found.mean:
        lines.append(
            CostLine(
                "The winner alone, chosen from a drawn number of trials",
                _epsilon(cost.selected),
                f"Repeat-and-select: the number of trials was drawn from the {found.search} law of "
                f"mean {setting(found.mean)}, and each trial independently of the others.",
                holds=cost.selected is not None,
            )
        )
    lines.append(
        CostLine(
            f"All {cost.runs} runs together",
            _epsilon(cost.composed),
            "Composition of everything the ledgers were charged: it holds whatever is published "
            "of this sweep, this page included.",
            holds=cost.composed is not None,
        )
    )
    if cost.if_drawn is not None:
        trials = len(found.standings)
        lines.append(
            CostLine(
                "Had the number of trials been drawn",
                _epsilon(cost.if_drawn),
                f"Repeat-and-select of Poisson-many trials, {trials} on average, of these "
                f"settings (--random poisson:{trials})"
                + (", which would cost more" if _is_dearer(cost) else "")
                + ". It does not hold for this sweep.",
                holds=False,
            )
        )
    return lines


def cost_notes(found: SweepResults) -> list[str]:
    """When a line applies, exactly."""
    notes = [
        "On public or synthetic rows, or rows that come with a package, nothing of this is owed: "
        "choose there, then train once on the private rows with the settings chosen, and the "
        "winner's own epsilon is all that is paid.",
        "It is owed where the runs were made on the private rows themselves.",
    ]
    if found.mean:
        notes.append(
            "The drawn number's line holds if nothing but the winning model and its settings "
            "leaves those who ran the sweep (not this page, not the number of trials), if the "
            "measure and the limits were fixed before, if the draws and the noise came from the "
            "operating system rather than from a seed, and if the scores that decide come from "
            "the models and from rows that are not protected, or are noised and charged, too "
            "(Papernot and Steinke 2022, arXiv:2110.03620)."
        )
    else:
        notes.append(
            f"A {'grid' if found.search == 'grid' else 'fixed number of trials'} is not a drawn "
            "number of trials: for it no cheaper bound is proven than composition."
        )
    if found.reference is not None:
        notes.append(
            "The runs without privacy have no epsilon at all and are in none of these lines: on "
            "private rows leave them out (--no-reference)."
        )
    if any(one.site_level_epsilon is not None for one in found.standings):
        notes.append(
            "All lines are about records. The guarantee of a whole site's updates is told per run "
            "and not added up over runs: on private rows, take it for one run only."
        )
    notes.append(
        "Held-out rows, whose counts decide, are outside every epsilon here unless "
        "evaluation.epsilon is set; then their charges are within it."
    )
    if found.cost.unknown:
        notes.append(found.cost.unknown)
    return notes


def _is_dearer(cost: ChoosingCost) -> bool:
    return cost.if_drawn is not None and cost.composed is not None and cost.if_drawn > cost.composed


def _epsilon(value: float | None) -> str:
    if value is None or value == float("inf"):
        return _NO_BOUND
    return epsilon(value)
