"""What a chunk counts at once is what its sites count one by one."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from client.observation import judged_rows, outcome_tallies, report_tallies, window_tallies
from evaluation.tally_spec import TallySpec
from federation.errors import DataError
from federation.initial_model import initial_model
from federation.layout import VectorLayout
from federation.ring_vector import RingVector
from federation.task import Rows, SiteRequest
from federation.task_loading import load_task
from simulations.chunk_tallies import chunk_report, chunk_tallies, counts_by_scope


def sites_of(name: str):
    task = load_task(name, {})
    model = initial_model(task, 7)
    data = [task.load(SiteRequest(site, 1)) for site in task.sites]
    return task, model, data, TallySpec(task.schema)


@pytest.mark.parametrize("name", ["heart", "acs-employment", "digits"])
@pytest.mark.parametrize("summands", [8, 20_000], ids=["fine steps", "coarse steps"])
def test_the_sum_of_a_chunk_is_the_sum_of_its_sites(name: str, summands: int) -> None:
    task, model, data, spec = sites_of(name)
    spec = TallySpec(type(task.schema)(**{**vars_of(task.schema), "maximum_rows": 5000}))
    layout = VectorLayout(tuple(spec.segments(summands)), summands)
    apart = RingVector.zeros(layout.stretches)
    for one in data:
        apart.add(layout.encode(outcome_tallies(task, model, one, spec)))
    together = layout.encoded_sum((), chunk_tallies(spec, judged(task, model, data)))
    for words, same in zip(apart.signed(), together.signed(), strict=True):
        np.testing.assert_array_equal(words, same)


@pytest.mark.parametrize("name", ["heart", "acs-employment", "digits"])
@pytest.mark.parametrize("summands", [8, 20_000], ids=["fine steps", "coarse steps"])
def test_what_a_chunk_reports_is_what_its_sites_report(name: str, summands: int) -> None:
    task, model, data, spec = sites_of(name)
    spec = TallySpec(type(task.schema)(**{**vars_of(task.schema), "maximum_rows": 5000}))
    # As a round would have it whose sites have next to no rows.
    few = Rows(*(_first_rows(getattr(data[0].current, part), 3) for part in ROWS))
    data = [*data, replace(data[0], reference=few, current=few)]
    windows = (spec.window_segments(window, summands) for window in ("reference", "current"))
    segments = spec.segments(summands), spec.report_segments(summands), *windows
    layout = VectorLayout(tuple(chain.from_iterable(segments)), summands)
    apart = RingVector.zeros(layout.stretches)
    for one in data:
        report = report_tallies(task, model, one, spec) | window_tallies(one, spec)
        apart.add(layout.encode(report))
    together = layout.encoded_sum((), chunk_report(spec, judged(task, model, data)))
    for words, same in zip(apart.signed(), together.signed(), strict=True):
        np.testing.assert_array_equal(words, same)


def judged(task, model, data):
    return [(judged_rows(task, model, one), one) for one in data]


ROWS = ("inputs", "targets", "features", "groups")


def _first_rows(part, count: int):
    if isinstance(part, dict):
        return {name: column[:count] for name, column in part.items()}
    return part[:count]


def vars_of(schema) -> dict[str, object]:
    return {name: getattr(schema, name) for name in schema.__dataclass_fields__}


def test_a_cohort_that_no_site_of_the_chunk_is_in_counts_nothing() -> None:
    task, model, data, spec = sites_of("heart")
    tallies = chunk_tallies(spec, judged(task, model, data[:2]))
    counts = counts_by_scope(("overall", "a", "b"), {"a": tallies})
    np.testing.assert_array_equal(counts["overall/rows"], counts["a/rows"])
    assert not counts["b/rows"].any()


def test_too_many_rows_of_one_site_are_told() -> None:
    task, model, data, _ = sites_of("heart")
    schema = type(task.schema)(**{**vars_of(task.schema), "maximum_rows": 10})
    with pytest.raises(DataError, match="maximum_rows = 10"):
        chunk_tallies(TallySpec(schema), judged(task, model, data[:1]))


def test_a_site_without_a_feature_is_told() -> None:
    task, model, data, spec = sites_of("heart")
    bare = replace(data[0].current, features={})
    spoilt = [data[0], replace(data[1], current=bare)]
    with pytest.raises(DataError, match="column age is absent"):
        chunk_report(spec, judged(task, model, spoilt))
