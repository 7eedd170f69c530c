"""Windows against a reference: real drift is found, named and sized; no drift seldom alarms."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_windows import SPEC, columns, grids_of, noisy, window

from evaluation.monitoring.bin_texts import bin_texts
from evaluation.monitoring.edge_search import frozen_grid, refinement
from evaluation.monitoring.feature_grid import FeatureGrid, survey_grid
from evaluation.monitoring.rate_drift import nearest_to_no_change
from evaluation.monitoring.window_counts import DriftRules, Marks, WindowCounts
from evaluation.monitoring.window_drift import drift_findings
from federation.drift_summary import WindowDrift
from federation.errors import ConfigError, DataError
from federation.schema import Categorical, Numeric
from federation.task import SiteRequest
from simulations.tasks.acs_employment import AcsEmploymentTask

RULES = DriftRules(families=SPEC.families)
GRIDS = grids_of(columns(np.random.default_rng(1), 8000))
REFERENCE = window(np.random.default_rng(1), 8000, GRIDS, "reference")


def judged(now, previous=None, rules=RULES, reference=REFERENCE):
    return drift_findings(GRIDS, reference, now, previous, rules, "overall")


def verdicts(drift, against="reference"):
    return {(f.subject, f.statistic): f.verdict for f in drift.findings if f.against == against}


def test_windows_without_drift_alarm_no_more_often_than_the_contract() -> None:
    """Fresh references, both comparisons, 45 findings and more a window; 5 % of windows at most."""
    rng = np.random.default_rng(3)
    significant = alarms = 0
    for place in range(60):
        rows = (150, 400, 1000)[place % 3]
        reference = window(rng, 4000, GRIDS, "reference")
        previous, now = window(rng, rows, GRIDS, "before"), window(rng, rows, GRIDS)
        found = judged(now, previous, reference=reference)
        significant += any(f.significant for f in found.findings)
        alarms += found.verdict in {"watch", "act"}
    assert significant <= 8  # of 60 at 5 %: mean 3, and 3 deviations
    assert alarms <= significant


@pytest.mark.slow
@pytest.mark.parametrize(("deviation", "windows"), [(0.0, 3000), (1.4, 1500)])
def test_thousands_of_windows_without_drift(deviation, windows) -> None:
    rng = np.random.default_rng(4)
    alarms = 0
    for place in range(windows):
        if place % 20 == 0:
            reference = window(rng, 8000, GRIDS, "reference")
            reference = noisy(rng, reference, deviation) if deviation else reference
        now = window(rng, (200, 500, 1000, 3000)[place % 4], GRIDS)
        now = noisy(rng, now, deviation) if deviation else now
        alarms += any(f.significant for f in judged(now, reference=reference).findings)
    assert alarms / windows <= 0.06


def test_noise_alone_alarms_seldom() -> None:
    rng = np.random.default_rng(6)
    reference = noisy(rng, REFERENCE, 1.4)
    alarms = 0
    for _ in range(30):
        now = noisy(rng, window(rng, 800, GRIDS), 1.4)
        alarms += any(f.significant for f in judged(now, reference=reference).findings)
    assert alarms <= 6


def test_noise_too_large_for_the_window_is_said() -> None:
    rng = np.random.default_rng(6)
    found = judged(noisy(rng, window(rng, 200, GRIDS), 12.0), reference=noisy(rng, REFERENCE, 12.0))
    psi = [f for f in found.findings if f.statistic == "psi"]
    told = {f.subject: f for f in psi}
    for name in ("age", "ward", "scores"):
        assert told[name].verdict == "window too small"
        assert told[name].p_value is None
    assert "noise" in told["age"].reason


@pytest.mark.parametrize(
    ("change", "subject", "statistic", "kind"),
    [
        ({"older": 15.0}, "age", "psi", "covariate"),
        ({"missing": 0.2}, "age", "change in missing share", "data quality"),
        ({"flipped": 0.35}, "overall", "change in error rate", "concept"),
        ({"flipped_f": 0.4}, "sex=F", "change in true_positive_rate", "fairness"),
        ({"flipped_f": 0.4}, "sex", "change in true_positive_rate gap", "fairness"),
    ],
)
def test_what_has_changed_is_acted_on(change, subject, statistic, kind) -> None:
    rng = np.random.default_rng(8)
    previous = window(rng, 6000, GRIDS, "before")
    found = judged(window(rng, 6000, GRIDS, **change), previous)
    for against in ("reference", "previous window"):
        assert verdicts(found, against)[subject, statistic] == "act"
    assert found.verdict == "act"
    (finding, *_) = (f for f in found.findings if (f.subject, f.statistic) == (subject, statistic))
    assert finding.kind == kind
    assert abs(finding.value) > finding.critical
    assert finding.p_value <= RULES.false_alarms


def test_a_harmless_change_is_significant_and_ok() -> None:
    """Two years of age: beyond chance in 40,000 rows, a PSI far below .1."""
    rng = np.random.default_rng(9)
    reference = window(rng, 40_000, GRIDS, "reference")
    found = judged(window(rng, 40_000, GRIDS, older=2.0), reference=reference)
    (age,) = (f for f in found.findings if (f.subject, f.statistic) == ("age", "psi"))
    assert age.significant
    assert age.verdict == "ok"


def test_a_small_window_says_so_and_does_not_alarm() -> None:
    found = judged(window(np.random.default_rng(2), 60, GRIDS))
    assert found.verdict == "ok"  # what can be told of it
    assert verdicts(found)["age", "psi"] == verdicts(found)["scores", "psi"] == "window too small"
    empty = window(np.random.default_rng(2), 0, GRIDS)
    assert judged(empty).verdict == "window too small"
    assert judged(empty).comparisons == 0


def test_value_critical_value_and_p_value_agree() -> None:
    rng = np.random.default_rng(10)
    found = judged(window(rng, 900, GRIDS, older=6, missing=0.08), window(rng, 900, GRIDS, "b"))
    tested = [f for f in found.findings if f.p_value is not None]
    assert len(tested) == found.comparisons
    for finding in tested:
        assert finding.significant == (finding.p_value <= RULES.false_alarms)
        assert abs(finding.value) >= finding.critical or not finding.significant
        assert abs(finding.value) <= finding.critical or finding.significant
    assert WindowDrift.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("rows", [40, 300, 2500])
def test_no_charted_bin_is_of_few_rows(rows) -> None:
    rng = np.random.default_rng(rows)
    found = judged(window(rng, rows, GRIDS, older=20, missing=0.1))
    for finding in (f for f in found.findings if f.chart):
        for shares, total in (
            (finding.chart.before, finding.rows_before),
            (finding.chart.now, finding.rows_now),
        ):
            counts = np.array(shares) * total
            assert np.all((counts < 0.5) | (counts > RULES.minimum_cell - 0.5))
            assert sum(shares) == pytest.approx(1)
        assert 2 <= len(finding.chart.bins) == len(set(finding.chart.bins)) <= 12


def test_findings_do_not_tell_which_small_count_it_was() -> None:
    """1 to 9 missing rows of 3,000 give the same finding; 10 give another."""
    grid = FeatureGrid(Categorical("w", ("a", "b")), (), ((0,), (1,), (2,), (3,)))

    def found(missing):
        counts = np.array([1500, 1500 - missing, 0, missing])
        before = np.array([2500, 2440, 0, 60])
        windows = [
            WindowCounts(n, int(c.sum()), {"w": c}) for n, c in (("r", before), ("n", counts))
        ]
        drift = drift_findings([grid], *windows, None, DriftRules(), "overall")
        (one,) = (f for f in drift.findings if "missing" in f.statistic)
        return one.value, one.p_value, one.now

    assert len({found(missing) for missing in range(1, 10)}) == 1
    assert found(1)[2] is None
    assert found(10) != found(9)


@given(st.data())
def test_small_counts_move_no_further_than_they_could_be(data) -> None:
    whole = np.array(data.draw(st.tuples(st.integers(1, 300), st.integers(1, 300))))[:, None]
    part = np.array([[data.draw(st.integers(0, int(n)))] for n in whole[:, 0]])
    moved, small = nearest_to_no_change(part, whole, 10)
    assert np.array_equal(moved[~small], part[~small])
    assert np.all((moved >= 0) & (moved <= whole))
    before, after = np.ptp(part / whole), np.ptp(moved / whole)
    assert after <= before + 1 / whole.min()  # nearest, up to a whole row
    for side in (0, 1):
        if small[side, 0]:
            few = min(moved[side, 0], whole[side, 0] - moved[side, 0])
            assert few < 10


def test_a_group_of_few_rows_is_hidden_and_not_alone() -> None:
    counts = window(np.random.default_rng(2), 1000, GRIDS)
    rare = dict(counts.confusions)
    rare["race=r"] = np.array([3, 2, 2, 1])
    rare["race=p"] = rare["overall"] - rare["race=q"] - rare["race=r"] - rare["race=unknown"]
    now = WindowCounts("now", 1000, counts.features, counts.scores, rare)
    subjects = {f.subject for f in judged(now).findings if f.kind == "fairness"}
    assert "race=r" not in subjects
    assert "race=q" not in subjects  # else it would follow from the others
    assert {"race=p", "sex=F", "sex=M"} <= subjects
    told = WindowCounts("now", 1000, counts.features, counts.scores, counts.confusions,
                        hidden=frozenset({"sex=F"}))  # fmt: skip
    assert "sex=F" not in {f.subject for f in judged(told).findings}


def test_windows_that_disagree_are_refused() -> None:
    good = window(np.random.default_rng(2), 500, GRIDS)
    fewer = {name: counts for name, counts in good.features.items() if name != "age"}
    for bad in (
        WindowCounts("now", 500, fewer, good.scores, good.confusions),
        WindowCounts("now", 501, good.features, good.scores, good.confusions),
        WindowCounts("now", 500, good.features, good.scores[:, :-1], good.confusions),
        WindowCounts("now", 500, good.features | {"age": good.features["ward"]}),
        WindowCounts("now", 500, good.features, None, {"sex=F": np.zeros(4, int)}),
    ):
        with pytest.raises(DataError, match=r"window|age"):
            judged(bad)


@pytest.mark.parametrize(
    "kwargs",
    [{"false_alarms": 0.0}, {"false_alarms": 1.0}, {"minimum_cell": 0}, {"psi": Marks(0.3, 0.2)},
     {"error": Marks(0.0, 0.2)}],
)  # fmt: skip
def test_rules_that_cannot_be_are_refused(kwargs) -> None:
    with pytest.raises(ConfigError, match=next(iter(kwargs))):
        DriftRules(**kwargs)


def test_bins_are_named_so_that_a_reader_knows_them() -> None:
    grid = FeatureGrid(Numeric("x", 0, 100), (0.0, 39.98, 40.02, 70.0, 100.0))
    places = ((0,), (1,), (2,), (3, 4), (5, 6))
    assert bin_texts(grid, places) == ("below 0", "0 to 39.98", "about 40", "40.02 to 100",
                                       "above 100, missing")  # fmt: skip
    assert bin_texts(grid, ((0, 1, 2, 3, 4, 5),)) == ("any number",)


def test_real_years_without_drift_do_not_alarm() -> None:
    """ACS Massachusetts, 2015 against 2016 to 2018: research 3.2 has every PSI at .004 or less."""
    task = AcsEmploymentTask(sites_by="year")
    years: dict[str, list] = {}
    for site in task.sites:
        data = task.load(SiteRequest(site, 1))
        years.setdefault(site[:5], []).extend([data.train, data.reference, data.current])

    def column(year, name):
        return np.concatenate([part.features[name] for part in years[year]])

    grids = []
    for feature in task.schema.features:
        values = column("y2015", feature.name)
        counts = survey_grid(feature).count(values)
        finer = refinement(feature, counts)
        grids.append(
            frozen_grid(feature, counts, None if finer is None else (finer, finer.count(values)))
        )

    def counted(year):
        features = {g.feature.name: g.count(column(year, g.feature.name)) for g in grids}
        return WindowCounts(year, int(features["AGEP"].sum()), features)

    windows = [counted(f"y{year}") for year in (2015, 2016, 2017, 2018)]
    for previous, now in pairwise(windows):
        found = drift_findings(grids, windows[0], now, previous, DriftRules(), "overall")
        assert found.verdict == "ok"
        # 6,000 rows of the survey's 69,000: chance alone makes .005 to .01 of the research's .004.
        assert max(f.value for f in found.findings if f.statistic == "psi") < 0.02
