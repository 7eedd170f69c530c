"""A first `site.toml`, with the reasons beside the settings."""

import json
import math
from dataclasses import dataclass

LARGEST_DELTA = 1e-3

_TEMPLATE = """\
# The policy of the site {site}: yours alone. No coordinator and no bundle can change it, and the
# agent refuses every run that goes past it. docs/configuration.md lists all settings.

# The name in the roster, and the rows that the ledger keeps the budget of.
site = {site}
dataset = {dataset}

# The number of training rows that you declare in public; the true number never leaves.
public_rows = {public_rows}

# The tasks you run, by name. What one of them is constructed with, exactly:
# [task_options.heart]
# name = value
tasks = {tasks}

# Which rows are held out comes from this and from nothing a coordinator says.
split_seed = {split_seed}

# The budget: over all runs on the dataset, the ledger never lets more than this epsilon be spent,
# at this delta (1 / public_rows at most). It stands in the ledger, too: to change it, use
# `hedgerow privacy amend`, which asks for the reason.
epsilon_budget = {epsilon}
delta = {delta}

# A budget per person, where the dataset holds so many records of one at most.
records_per_person = {records_per_person}

# Fewest sites whose sum you help to open, that together can open anything, and in a cohort whose
# sum is read apart. The consortium's run rules hold beside them: the stricter counts.
minimum_quorum = 3
minimum_threshold = 2
minimum_contributors = 3

# Runs without record-level differential privacy, and noise that other sites add for you: no.
allow_without_privacy = false
allow_shared_noise = false
"""


@dataclass(frozen=True, slots=True)
class FirstPolicy:
    """What a site must decide before anything else.

    Attributes:
        site: name in the roster.
        dataset: name of the rows.
        public_rows: declared in public.
        tasks: names.
        split_seed: of what is held out.
        epsilon: budget, > 0.
        delta: in (0, 1).
        records_per_person: at most.
    """

    site: str
    dataset: str
    public_rows: int
    tasks: tuple[str, ...]
    split_seed: int
    epsilon: float
    delta: float
    records_per_person: int = 1

    def text(self) -> str:
        """The file; `SitePolicy.read` says whether the values are in range."""
        return _TEMPLATE.format(
            site=_toml(self.site),
            dataset=_toml(self.dataset),
            public_rows=self.public_rows,
            tasks=f"[{', '.join(map(_toml, self.tasks))}]",
            split_seed=self.split_seed,
            epsilon=repr(float(self.epsilon)),
            delta=repr(float(self.delta)),
            records_per_person=self.records_per_person,
        )


def usual_delta(public_rows: int) -> float:
    """The largest power of ten that is not above 1 / rows, and 0.001 at most.

    >>> usual_delta(300), usual_delta(50_000)
    (0.001, 1e-05)
    """
    exponent = math.ceil(math.log10(max(public_rows, 1)))
    return min(LARGEST_DELTA, float(f"1e-{exponent}"))


def _toml(text: str) -> str:
    # A JSON string is a basic string of TOML: the same escapes.
    return json.dumps(text)
