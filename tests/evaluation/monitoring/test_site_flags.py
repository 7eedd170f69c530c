"""Drift at one of ten sites: invisible in the sum, told by the flags, without a name."""

import numpy as np
import pytest
from simulated_windows import columns, grids_of, window

from evaluation.monitoring.change_detection import ErrorReference, FalseAlarmContract
from evaluation.monitoring.feature_grid import FeatureGrid
from evaluation.monitoring.site_flags import (
    ACT,
    LEVELS,
    OK,
    SLIGHT,
    TOO_SMALL,
    SiteHistory,
    cusum_flag,
    flag_findings,
    flag_names,
    flag_segments,
    flag_values,
    site_flags,
)
from evaluation.monitoring.window_counts import DriftRules, WindowCounts
from evaluation.monitoring.window_drift import drift_findings
from federation.errors import ConfigError, DataError
from federation.layout import VectorLayout
from federation.schema import Categorical

RULES = DriftRules()
GRIDS = grids_of(columns(np.random.default_rng(1), 8000))
SITES = 10


def pooled(windows):
    first = windows[0]
    return WindowCounts(
        "now",
        sum(w.rows for w in windows),
        {name: sum(w.features[name] for w in windows) for name in first.features},
        sum(w.scores for w in windows),
        {"overall": sum(w.confusions["overall"] for w in windows)},
        sites=len(windows),
    )


def secure_sum(flags):
    layout = VectorLayout(flag_segments(list(flags[0]), len(flags)), len(flags))
    vectors = [layout.encode(flag_values(each)) for each in flags]
    total = vectors[0]
    for vector in vectors[1:]:
        total.add(vector)
    return layout.decode(total)


def flagged(windows, reference):
    return [site_flags(GRIDS, reference, each, RULES, SITES) for each in windows]


def test_ten_years_of_age_at_one_of_ten_sites() -> None:
    """Research 3.5: cohort PSI .005, which nobody would act on; that site's own PSI .65."""
    rng = np.random.default_rng(4)
    reference = window(rng, 20_000, GRIDS, "reference")
    windows = [window(rng, 1000, GRIDS, older=10.0 * (site == 3)) for site in range(SITES)]
    cohort = drift_findings(GRIDS, reference, pooled(windows), None, RULES, "overall")
    (age,) = (f for f in cohort.findings if (f.subject, f.statistic) == ("age", "psi"))
    assert age.value < 0.02
    assert age.verdict == "ok"
    told = {f.subject: f for f in flag_findings(secure_sum(flagged(windows, reference)), 3)}
    assert told["age"].by_level["act"] == 1
    assert told["age"].text == "age: 1 of 10 sites: act"
    assert told["ward"].by_level == dict.fromkeys(LEVELS, 0) | {"ok": 10}


def test_sites_without_drift_raise_no_flag() -> None:
    """5 % of the rounds of ten sites at most have any flag beyond chance."""
    rng = np.random.default_rng(5)
    raised = 0
    for _ in range(12):
        reference = window(rng, 8000, GRIDS, "reference")
        windows = [window(rng, (200, 600, 1500)[site % 3], GRIDS) for site in range(SITES)]
        levels = [level for each in flagged(windows, reference) for level in each.values()]
        raised += any(level not in {OK, TOO_SMALL} for level in levels)
    assert raised <= 3


@pytest.mark.slow
def test_thousands_of_site_windows_without_drift() -> None:
    rng = np.random.default_rng(6)
    raised = 0
    for place in range(300):
        if place % 10 == 0:
            reference = window(rng, 8000, GRIDS, "reference")
        windows = [window(rng, int(rng.integers(150, 2000)), GRIDS) for _ in range(SITES)]
        levels = [level for each in flagged(windows, reference) for level in each.values()]
        raised += any(level not in {OK, TOO_SMALL} for level in levels)
    assert raised / 300 <= 0.08


def test_errors_and_labels_at_a_site_are_flagged() -> None:
    rng = np.random.default_rng(7)
    reference = window(rng, 8000, GRIDS, "reference")
    flags = site_flags(GRIDS, reference, window(rng, 2000, GRIDS, flipped=0.2), RULES, SITES)
    assert flags["errors"] == ACT
    assert flags["scores"] == OK
    tiny = site_flags(GRIDS, reference, window(rng, 30, GRIDS), RULES, SITES)
    assert set(tiny.values()) == {TOO_SMALL}


def test_a_change_that_does_not_matter_is_slight() -> None:
    rng = np.random.default_rng(8)
    reference = window(rng, 30_000, GRIDS, "reference")
    assert site_flags(GRIDS, reference, window(rng, 30_000, GRIDS, older=2), RULES)["age"] == SLIGHT


def test_without_predictions_their_flags_say_so() -> None:
    full = window(np.random.default_rng(2), 3000, GRIDS)
    bare = WindowCounts("now", 3000, full.features)
    flags = site_flags(GRIDS, bare, bare, RULES)
    assert (flags["scores"], flags["errors"], flags["age"]) == (TOO_SMALL, TOO_SMALL, OK)


def test_fewer_sites_than_the_minimum_are_told_nothing_of() -> None:
    sums = secure_sum([{"age": OK}, {"age": ACT}])
    (told,) = flag_findings(sums, 3)
    assert told.by_level is None
    assert "fewer than 3" in told.text
    (told,) = flag_findings(sums, 2)
    assert told.by_level["act"] == 1


@pytest.mark.parametrize("counts", [[3, 0, 0, 0, -1], [2.5, 0, 0, 0, 0.5], [1, 0, 0, 0, 0]])
def test_sums_that_are_no_flags_are_refused(counts) -> None:
    good = np.array([1.0, 1, 0, 0, 0])
    with pytest.raises(DataError, match="flags/"):
        flag_findings({"flags/age": good, "flags/ward": np.array(counts, float)}, 1)
    with pytest.raises(DataError, match="level 5"):
        flag_values({"age": 5})


def test_a_feature_called_like_another_flag_is_refused() -> None:
    with pytest.raises(ConfigError, match="errors"):
        flag_names([FeatureGrid(Categorical("errors", ("a",)))])


def test_a_sites_cusum_finds_what_the_cohorts_sum_does_not() -> None:
    """+10 points at one of ten sites, windows of 100 rows a site: found at the site in some 10."""
    rng = np.random.default_rng(9)
    history = SiteHistory(ErrorReference(3000, 450), FalseAlarmContract.of_chance(0.1, 300, SITES))
    levels = []
    for _ in range(25):
        history, level, reading = cusum_flag(history, 100, rng.binomial(100, 0.25))
        levels.append(level)
        assert (level == ACT) == reading.alarm
    assert ACT in levels[:15]
    _, level, _ = cusum_flag(history, 0, 0)
    assert level == TOO_SMALL


def test_a_history_survives_its_json() -> None:
    history = SiteHistory(
        ErrorReference(300, 45), FalseAlarmContract(50.0, 10), ((100, 12), (0, 0))
    )
    assert SiteHistory.from_json(history.to_json()) == history
    for change in ({"windows": [[1]]}, {"reference": [3, 4]}, {"contract": [1.0, 1, "up"]},
                   {"more": 1}, {"windows": [["1", 0]]}):  # fmt: skip
        with pytest.raises((DataError, ConfigError)):
            SiteHistory.from_json(history.to_json() | change)
