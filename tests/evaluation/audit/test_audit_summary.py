"""The shared audit: only counts leave, partitions do not matter, small cells do not show."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import SCHEMA, clean, planted, take

from evaluation.audit.confident_learning import (
    CONFIDENT,
    confidence_segments,
    confidence_sums,
    confidence_thresholds,
    confident_counts,
    confident_segments,
    label_noise,
)
from evaluation.audit.rows import HELD_OUT, AuditData
from evaluation.audit.summary_counts import count_audit, count_rows
from evaluation.audit.summary_findings import audit_findings
from evaluation.audit.summary_spec import AuditSpec, audit_segments
from federation.errors import ConfigError, DataError, PrivacyRefusal
from federation.layout import VectorLayout

SPEC = AuditSpec(SCHEMA)
ADDITIVE = ("audit/labels", "audit/groups/", "audit/feature/")


def summed(parts):
    return {name: np.sum([part[name] for part in parts], axis=0) for name in parts[0]}


def through_the_vector(spec, parts):
    """Encode, add modulo the rings, decode: what the coordinator reads."""
    layout = VectorLayout(audit_segments(spec, len(parts)), len(parts))
    return summed([layout.decode(layout.encode(part)) for part in parts])


def findings(spec=SPEC, sites=None, minimum_cell=10, minimum_contributors=3):
    sites = sites or [clean(seed) for seed in range(3)]
    sums = through_the_vector(spec, [count_audit(spec, site) for site in sites])
    return audit_findings(spec, sums, len(sites), minimum_cell, minimum_contributors)


def scattered(data: AuditData, site) -> AuditData:
    """The rows of each split whose place, modulo its length, is drawn for a site."""
    return AuditData(*(take(rows, np.flatnonzero(site[: len(rows)])) for rows in
                       (data.train, data.reference, data.current)))  # fmt: skip


@given(st.integers(2, 8), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=15)
def test_any_partition_gives_the_pooled_counts(sites, seed, include) -> None:
    spec, data = replace(SPEC, include_training_rows=include), planted()
    owner = np.random.default_rng(seed).integers(sites, size=2000)
    parts = [count_audit(spec, scattered(data, owner == number)) for number in range(sites)]
    together, pooled = through_the_vector(spec, parts), count_audit(spec, data)
    for name, values in pooled.items():
        if name.startswith(ADDITIVE):
            assert np.array_equal(together[name], values), name


def test_what_leaves_are_counts_within_their_bounds_and_nothing_else() -> None:
    for spec in (SPEC, AuditSpec(SCHEMA, 7, include_training_rows=True, overlap_flags=False)):
        counts = count_audit(spec, planted())
        segments = {segment.name: segment for segment in audit_segments(spec, 5)}
        assert set(counts) == set(segments)
        for name, values in counts.items():
            assert values.shape == (segments[name].length,)
            assert np.array_equal(values, np.rint(values))
            assert values.min() >= 0
            assert values.max() <= segments[name].bound
            assert segments[name].step == 1.0
            if name.startswith("audit/sites/"):
                assert values.max() <= 1


def test_training_rows_change_nothing_but_the_overlap_flag() -> None:
    data, other = planted(), clean(5)
    changed = AuditData(other.train, data.reference, data.current)
    before, after = count_audit(SPEC, data), count_audit(SPEC, changed)
    assert {n for n in before if not np.array_equal(before[n], after[n])} == {"audit/sites/overlap"}
    silent = replace(SPEC, overlap_flags=False)
    before, after = count_audit(silent, data), count_audit(silent, changed)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert "audit/sites/overlap" not in before
    assert count_audit(SPEC, data)["audit/labels"].sum() == len(data.reference) + len(data.current)
    everything = count_audit(replace(SPEC, include_training_rows=True), data)
    assert everything["audit/labels"].sum() == sum(len(data.split(s)) for s in ("train", *HELD_OUT))


def test_rows_of_one_window_can_be_counted_alone() -> None:
    silent, data = replace(SPEC, overlap_flags=False), planted()
    nothing = take(data.train, [])
    alone = count_rows(silent, data.current)
    assert set(alone) == {segment.name for segment in audit_segments(silent, 3)}
    beside = count_audit(silent, AuditData(data.train, nothing, data.current))
    assert all(np.array_equal(alone[name], beside[name]) for name in beside)


def test_more_rows_than_were_declared_are_refused() -> None:
    fitting = AuditSpec(replace(SCHEMA, maximum_rows=300))
    assert count_audit(fitting, clean())["audit/labels"].sum() == 300
    everything = replace(fitting, include_training_rows=True)
    assert count_audit(everything, clean())["audit/labels"].sum() == 1000
    small = AuditSpec(replace(SCHEMA, maximum_rows=299))
    with pytest.raises(DataError, match="300 rows: expected at most 299"):
        count_audit(small, clean())


def test_the_findings_are_those_of_the_rows() -> None:
    sites = [planted(seed) for seed in range(3)]
    found = findings(sites=sites)
    held_out = [site.pooled(HELD_OUT) for site in sites]
    features = {feature.name: feature for feature in found.features}
    ages = np.concatenate([rows.features["age"] for rows in held_out])
    pressure = np.concatenate([rows.features["pressure"] for rows in held_out])
    labels = np.concatenate([rows.targets for rows in held_out])
    assert found.rows.rows == len(ages)
    assert features["age"].above.rows == (ages > 100).sum()
    assert features["age"].below.rows == 0
    assert features["pressure"].missing.rows == np.isnan(pressure).sum()
    assert features["pressure"].missing_by_label == (0, np.isnan(pressure[labels == 1]).sum())
    assert features["ward"].other.rows == sum((r.features["ward"] == 2).sum() for r in held_out)
    assert [f.sites_constant for f in found.features] == [0, 0, 0, 3, 0]
    assert [f.sites_red for f in found.features] == [0, 0, 0, 0, 3]
    assert features["discharge_code"].leak == "red"
    assert features["age"].leak == "none"
    assert found.overlap.model_dump() == {
        "none": 0, "below_1_percent": 0, "below_5_percent": 3, "more": 0
    }  # fmt: skip
    assert found.majority_accuracy == max(labels.mean(), 1 - labels.mean())
    assert sum(found.label_skew[0].sites) == 3
    assert found.counted == "held-out rows"


def test_small_cells_are_hidden_after_the_sum_and_show_where_sites_together_are_many() -> None:
    sites = []
    for seed in range(4):
        site = clean(seed)
        site.reference.features["pressure"][:4] = np.nan  # four at a site, sixteen in all
        site.reference.features["age"][:1] = 500.0  # four in all
        sites.append(site)
    found = {feature.name: feature for feature in findings(sites=sites).features}
    assert found["pressure"].missing.rows == 16
    assert found["age"].above.rows is None
    assert found["age"].above.withheld == "small cell"
    assert '"rows":4,' not in findings(sites=sites).model_dump_json()
    shown = {f.name: f for f in findings(sites=sites, minimum_cell=4).features}
    assert shown["age"].above.rows == 4


@pytest.mark.parametrize(("rows", "shown"), [(9, False), (10, True), (0, True)])
def test_a_cell_shows_from_the_minimum_on_and_so_does_what_is_left(rows, shown) -> None:
    for missing in (rows, 900 - rows):
        sites = [clean(seed) for seed in range(3)]
        places = [(s, split, row) for s in range(3) for split in HELD_OUT for row in range(150)]
        for site, split, row in places[:missing]:
            sites[site].split(split).features["age"][row] = np.nan
        (age,) = [f for f in findings(sites=sites).features if f.name == "age"]
        assert age.missing.rows == (missing if shown else None)


def test_a_breakdown_by_class_never_completes_a_small_cell() -> None:
    sites = [clean(seed) for seed in range(3)]
    for site in sites:
        for label, count in ((0, 20), (1, 2)):
            chosen = np.flatnonzero(site.current.targets == label)[:count]
            site.current.features["age"][chosen] = np.nan
    (age,) = [f for f in findings(sites=sites).features if f.name == "age"]
    assert age.missing.rows == 66
    assert age.missing_by_label is None


def test_groups_are_suppressed_so_that_no_difference_gives_one_away() -> None:
    sites = [clean(seed) for seed in range(3)]
    for site in sites:
        site.reference.groups["sex"][:1] = 2  # three `unknown` in all
    hidden = {group.group: group.labels for group in findings(sites=sites).groups}
    assert hidden["unknown"] is None
    assert sum(labels is None for labels in hidden.values()) >= 2
    assert all(group.labels is not None for group in findings().groups if group.group != "unknown")


def test_too_few_sites_are_not_read() -> None:
    with pytest.raises(PrivacyRefusal, match="minimum_contributors = 3"):
        findings(sites=[clean(0), clean(1)])
    assert findings(sites=[clean(0), clean(1)], minimum_contributors=2).sites == 2


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("audit/labels", 1, "rows per class"),
        ("audit/feature/age", 0.5, "whole numbers"),
        ("audit/feature/age", 1, "rows per class"),
        ("audit/groups/sex", 1, "rows per class"),
        ("audit/sites/red", 9, "at most one per site"),
        ("audit/sites/skew", 1, "one flag per site"),
        ("audit/repeats", -1e6, "whole numbers"),
    ],
)
def test_sums_that_contradict_each_other_are_refused(name, change, named) -> None:
    sums = summed([count_audit(SPEC, clean(seed)) for seed in range(3)])
    sums[name] = sums[name].copy()
    sums[name][1] += change
    with pytest.raises(DataError, match=named):
        audit_findings(SPEC, sums, 3, 10, 3)


def test_sites_without_rows_or_without_a_class_are_counted_as_such() -> None:
    nothing = take(clean().train, [])
    negatives = take(clean().train, np.flatnonzero(clean().train.targets == 0))
    sites = [clean(0), AuditData(nothing, nothing, nothing), AuditData(nothing, negatives, nothing)]
    found = findings(sites=sites)
    assert found.sites_lacking_a_class == 2
    assert found.label_skew[0].sites_without_rows == 1
    assert found.label_skew[0].sites[0] == 1
    empty = findings(sites=[AuditData(nothing, nothing, nothing)] * 3)
    assert empty.rows.rows == 0
    assert all(feature.leak == "not estimable" for feature in empty.features)


def test_the_base_rate_bucket_is_exact_at_its_edge() -> None:
    for positives, bucket in ((29, 2), (30, 3), (100, 9), (0, 0)):
        rows = clean().train
        targets = np.zeros(100, dtype=np.int64)
        targets[:positives] = 1
        held_out = replace(take(rows, range(100)), targets=targets)
        counts = count_audit(SPEC, AuditData(rows, held_out, take(rows, [])))
        assert counts["audit/sites/skew"].argmax() == bucket


def test_label_noise_of_all_sites_is_that_of_the_pooled_rows() -> None:
    draw = np.random.default_rng(0)
    sites = [clean(seed) for seed in range(3)]
    labels = [site.pooled(HELD_OUT).targets for site in sites]
    believed = [np.where(draw.random(300) < 0.2, 1 - one, one) for one in labels]
    predicted = [np.where(np.eye(2)[one] > 0, 0.9, 0.1) for one in believed]
    summands = len(sites)
    layout = VectorLayout(confidence_segments(SCHEMA, summands), summands)
    first = summed(
        [
            layout.decode(layout.encode(confidence_sums(p, y)))
            for p, y in zip(predicted, labels, strict=True)
        ]
    )
    thresholds = confidence_thresholds(first)
    counts = summed([
        {CONFIDENT: confident_counts(p, y, thresholds).ravel().astype(float)}
        for p, y in zip(predicted, labels, strict=True)
    ])  # fmt: skip
    assert confident_segments(SCHEMA, summands)[0].length == 4
    sums = through_the_vector(SPEC, [count_audit(SPEC, site) for site in sites]) | first | counts
    found = audit_findings(SPEC, sums, 3, 10, 3).label_noise
    pooled = label_noise(np.concatenate(predicted), np.concatenate(labels))
    assert np.array_equal(found.joint, pooled.joint)
    assert found.share == pytest.approx(0.2, abs=0.05)
    hidden = audit_findings(SPEC, sums, 3, 200, 3).label_noise
    assert hidden.joint is None
    sums[CONFIDENT] = sums[CONFIDENT] + 1000
    with pytest.raises(DataError, match="rows per given class"):
        audit_findings(SPEC, sums, 3, 10, 3)


def test_a_summary_is_json_that_a_reader_can_check() -> None:
    found = findings()
    assert type(found).model_validate_json(found.model_dump_json()) == found
    assert json.loads(found.model_dump_json())["label_noise"] is None


def test_too_few_bins_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"audit\.bins = 1"):
        AuditSpec(SCHEMA, bins=1)
