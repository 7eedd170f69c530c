"""What many sites count of a model, added up: their rows are judged apart and counted at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from client.observation import Judged
from evaluation.tallies import count_outcomes, exact_sums, row_losses
from evaluation.tally_spec import OVERALL, TallySpec
from federation.errors import DataError
from federation.round_layout import scoped
from federation.task import Codes, Floats

MOST_ROWS = 1 << 31


def counts_by_scope(
    scopes: Sequence[str], spec: TallySpec, judged: Mapping[str, Sequence[Judged]]
) -> dict[str, Floats]:
    """The counted segments of a round, as `VectorLayout.encoded_sum` adds them up.

    Args:
        scopes: of the run: `overall` and its cohorts.
        spec: what is counted.
        judged: per scope, the judged rows of the sites that are in no narrower one; not empty.

    Raises:
        DataError: as `chunk_tallies`.
    """
    tallies = {scope: chunk_tallies(spec, sites) for scope, sites in judged.items()}
    parts = list(tallies.values())
    overall = {name: _joined([one[name] for one in parts]) for name in parts[0]}
    none = {name: np.zeros(value.shape[-1]) for name, value in overall.items()}
    by_name = {**dict.fromkeys(scopes, none), **tallies, OVERALL: overall}
    return {
        scoped(scope, name): value for scope in scopes for name, value in by_name[scope].items()
    }


def chunk_tallies(spec: TallySpec, judged: Sequence[Judged]) -> dict[str, Floats]:
    """`client.observation.outcome_tallies` of many sites, as `VectorLayout.encoded_sum` adds them.

    Each site's rows went through the model by themselves: in a larger batch the last bits of a
    probability could be others, and so its bin. Counting is exact however rows are spread, but for
    the sums of losses: their two words are split and rounded site by site.

    Args:
        spec: what is counted.
        judged: per site, at least one.

    Returns:
        per segment name: the sum over the sites, shape (segment.length,); or of losses, what each
        site has, shape (sites, segment.length).

    Raises:
        DataError: as `outcome_tallies`.
    """
    for _, targets, _ in judged:
        if len(targets) > spec.schema.maximum_rows:
            raise DataError(
                f"{len(targets)} rows: expected at most schema.maximum_rows = "
                f"{spec.schema.maximum_rows}; raise it in the task's schema"
            )
    probabilities = np.concatenate([one for one, _, _ in judged])
    targets = np.concatenate([one for _, one, _ in judged])
    groups = {
        attribute.name: np.concatenate([one[attribute.name] for _, _, one in judged])
        for attribute in spec.schema.attributes
    }
    wide = replace(spec, schema=replace(spec.schema, maximum_rows=MOST_ROWS))
    tallies = count_outcomes(wide, probabilities, targets, groups)
    ends = np.cumsum([len(one) for _, one, _ in judged])
    losses = zip(("log_loss", "brier"), row_losses(spec, probabilities, targets), strict=True)
    for name, codes in losses:
        parts = exact_sums(name, _sums_by_site(codes, ends))
        tallies |= {part: words[:, np.newaxis] for part, words in parts.items()}
    return tallies


def _sums_by_site(codes: Codes, ends: Codes) -> Codes:
    """Sums of consecutive stretches that end before `ends`, shape (sites,); one may be empty."""
    running = np.concatenate([[0], np.cumsum(codes)])
    return np.diff(running[ends], prepend=0)


def _joined(counts: Sequence[Floats]) -> Floats:
    """The sum of counts; of what sites have one by one, all of it."""
    return np.concatenate(counts) if counts[0].ndim == 2 else np.sum(counts, axis=0)
