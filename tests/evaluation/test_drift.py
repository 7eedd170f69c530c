"""Drift statistics agree with other implementations and seldom alarm without drift."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from evaluation.drift import (
    critical_psi,
    jensen_shannon_distance,
    population_stability_index,
    verdict,
)
from evaluation.drift_bins import LEAST_EXPECTED, counts_in, join_rare, reference_quantiles
from evaluation.feature_drift import feature_drift
from evaluation.tallies import count_features
from evaluation.tally_spec import TallySpec
from federation.schema import Categorical, Numeric, TaskSchema

AGE = Numeric("age", 0.0, 100.0)
WARD = Categorical("ward", ("A", "B", "C", "D", "E", "F"))
SPEC = TallySpec(TaskSchema((AGE, WARD), "died", ("no", "yes")))
ONE = TallySpec(TaskSchema((AGE,), "died", ("no", "yes")))

histograms = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=2, max_size=40
).map(lambda pairs: tuple(np.array(pairs).T))


def aged(reference, current, spec=SPEC):
    return feature_drift(spec, AGE, binned(reference), binned(current), "overall")


def binned(values):
    histogram = count_features(ONE, {"age": np.asarray(values, float)}, "current")
    return histogram["current/age"].astype(int)


def warded(reference, current):
    return feature_drift(SPEC, WARD, np.array(reference), np.array(current), "overall")


def test_psi_by_hand() -> None:
    """Shares .9/.1 and .7/.3 after half a row per bin: (.2) ln(9/7) + (.2) ln 3."""
    expected = 0.2 * np.log(9 / 7) + 0.2 * np.log(3)
    psi = population_stability_index(np.array([89.5, 9.5]), np.array([69.5, 29.5]))
    assert psi == pytest.approx(expected, rel=1e-12)


@given(histograms)
def test_psi_is_symmetric_positive_and_zero_for_equal_shares(pair) -> None:
    reference, current = pair
    psi = population_stability_index(reference, current)
    assert psi >= 0
    assert psi == pytest.approx(population_stability_index(current, reference), rel=1e-9)
    assert population_stability_index(reference, reference) == 0


@given(histograms.filter(lambda pair: pair[0].any() and pair[1].any()))
def test_jensen_shannon_is_scipys(pair) -> None:
    expected = jensenshannon(*pair, base=2)
    assert jensen_shannon_distance(*pair) == pytest.approx(float(expected), abs=1e-7)


def test_jensen_shannon_of_windows_that_share_nothing_is_one() -> None:
    assert jensen_shannon_distance(np.array([5, 0]), np.array([0, 9])) == 1.0


def kolmogorov_smirnov_of_rows(reference, current):
    """Largest gap of the empirical distribution functions, taken at every value and beyond it."""
    reference, current = np.sort(reference), np.sort(current)
    gaps = []
    for side in ("left", "right"):
        for value in np.concatenate([reference, current]):
            before = np.searchsorted(reference, value, side=side) / len(reference)
            now = np.searchsorted(current, value, side=side) / len(current)
            gaps.append(abs(before - now))
    return max(gaps)


ages = st.lists(st.floats(-20, 120), min_size=1, max_size=80)


@given(ages, ages)
def test_kolmogorov_smirnov_of_the_bins_is_at_most_that_of_the_rows(reference, current) -> None:
    bound = aged(reference, current).ks
    assert bound <= kolmogorov_smirnov_of_rows(reference, current) + 1e-12


@given(st.lists(st.integers(0, 63), min_size=1), st.lists(st.integers(0, 63), min_size=1))
def test_kolmogorov_smirnov_is_exact_where_a_bin_has_one_value(reference, current) -> None:
    middles = (np.arange(64) + 0.5) * 100 / 64
    exact = kolmogorov_smirnov_of_rows(middles[reference], middles[current])
    bound = aged(middles[reference], middles[current]).ks
    assert bound == pytest.approx(float(exact), abs=1e-12)


@pytest.mark.parametrize(
    ("n", "m", "bins", "published"),
    [(10_000, 100, 10, 0.1709), (10_000, 250, 10, 0.0694), (200, 200, 10, 0.169)],
)
def test_critical_values_of_the_chi_square_law(n, m, bins, published) -> None:
    assert critical_psi(n, m, bins, 1) == pytest.approx(published, abs=5e-4)


def test_comparing_more_features_takes_more_to_alarm() -> None:
    assert critical_psi(1000, 500, 10, 20) > critical_psi(1000, 500, 10, 1)


@pytest.mark.parametrize(("rows_reference", "rows_current"), [(5_000, 400), (300, 300), (90, 80)])
def test_features_that_did_not_change_alarm_in_one_of_twenty_comparisons(
    rows_reference, rows_current
) -> None:
    rng = np.random.default_rng(11)
    above = [
        one.psi > one.psi_critical
        for one in (
            aged(rng.normal(55, 16, rows_reference), rng.normal(55, 16, rows_current), ONE)
            for _ in range(600)
        )
    ]
    assert 0.02 <= np.mean(above) <= 0.075  # 5 % +- 2.8 sd of 600 trials


def test_levels_that_did_not_change_alarm_no_more_often_for_being_rare() -> None:
    rng = np.random.default_rng(13)
    shares = [0.55, 0.3, 0.1, 0.03, 0.015, 0.003, 0.001, 0.001]
    above = []
    for _ in range(600):
        one = warded(rng.multinomial(3000, shares), rng.multinomial(250, shares))
        above.append(one.psi > one.psi_critical)
    assert np.mean(above) <= 0.05  # two features share the 5 %: each alarms at 2.5 %


def test_a_real_shift_is_found() -> None:
    rng = np.random.default_rng(5)
    one = aged(rng.normal(50, 15, 3000), rng.normal(62, 15, 800))
    assert one.verdict == "act"
    small = aged(rng.normal(50, 15, 3000), rng.normal(55.5, 15, 3000))
    assert small.verdict == "watch"


@pytest.mark.parametrize(
    ("psi", "critical", "expected"),
    [
        (0.0999, 0.01, "ok"),
        (0.1, 0.01, "ok"),
        (0.1001, 0.01, "watch"),
        (0.25, 0.01, "watch"),
        (0.2501, 0.01, "act"),
        (0.15, 0.15, "ok"),
        (0.1501, 0.15, "watch"),
        (0.2, 0.25, "ok"),
        (0.2, 0.2501, "window too small"),
        (0.3, 0.3, "window too small"),
        (0.3, 0.2999, "act"),
    ],
)
def test_it_takes_a_large_shift_and_one_beyond_chance(psi, critical, expected) -> None:
    assert verdict(psi, critical) == expected


@given(st.lists(st.integers(0, 300), min_size=3, max_size=64).map(np.array))
def test_quantile_bins_hold_every_place_once_in_order(reference) -> None:
    bins = reference_quantiles(reference, 10)
    assert [place for run in bins for place in run] == list(range(len(reference)))


@given(st.lists(st.integers(0, 300), min_size=3, max_size=64).map(np.array))
def test_atoms_stand_alone_and_no_other_bin_outweighs_two_tenths(reference) -> None:
    total = reference.sum()
    for run in reference_quantiles(reference, 10):
        if len(run) > 1:
            assert all(10 * reference[place] < max(total, 1) for place in run)
            assert 10 * reference[list(run)].sum() <= 2 * total


@pytest.mark.parametrize(
    ("reference", "bins"),
    [
        # A fine bin belongs to the tenth in which its middle row stands: at .95 and at 1.05 tenths.
        ([7, 5, *[4] * 22], ((0, 1), (2, 3))),
        ([7, 7, 6, *[4] * 20], ((0,), (1, 2))),
        # Exactly a tenth is an atom; one row less is not.
        ([5, 10, 5, *[4] * 20], ((0,), (1,), (2,))),
        ([6, 9, 5, *[4] * 20], ((0,), (1, 2))),
    ],
)
def test_tenths_are_cut_where_they_say(reference, bins) -> None:
    assert reference_quantiles(np.array(reference), 10)[: len(bins)] == bins


@given(histograms.filter(lambda pair: pair[0].any() and pair[1].any()))
def test_joined_bins_lose_no_row_and_none_is_rare(pair) -> None:
    reference, current = pair
    both, fewest = reference + current, min(reference.sum(), current.sum())
    bins = join_rare(tuple((place,) for place in range(len(both))), reference, current)
    assert counts_in(bins, both).sum() == both.sum()
    if len(bins) > 1:
        expected = counts_in(bins, both) / both.sum() * fewest
        assert expected.min() >= LEAST_EXPECTED
        assert counts_in(bins, both).min() >= 10


@pytest.mark.parametrize(("rare", "bins"), [(10, 3), (9, 2)])
def test_five_expected_rows_are_enough_for_a_bin_and_fewer_are_not(rare, bins) -> None:
    reference, current = np.array([50, 50 - rare, rare]), np.array([50, 50, 0])
    assert len(join_rare(((0,), (1,), (2,)), reference, current)) == bins


def test_a_rare_bin_goes_to_its_rarer_neighbour() -> None:
    counts = np.array([90, 2, 40, 60])
    assert join_rare(((0,), (1,), (2,), (3,)), counts, counts) == ((0,), (1, 2), (3,))


@pytest.mark.parametrize("quantiles", [4, 7, 10])
def test_there_are_as_many_bins_as_asked_for(quantiles) -> None:
    assert len(reference_quantiles(np.full(64, 50), quantiles)) == quantiles


@pytest.mark.parametrize(
    ("rows", "bins", "judged"), [(136, 10, True), (135, 9, True), (63, 4, True), (62, 4, False)]
)
def test_smaller_windows_are_compared_on_fewer_bins(rows, bins, judged) -> None:
    """One feature, windows of equal size: 10 bins from 136 rows on, 4 down to 63."""
    values = np.linspace(0.1, 99.9, rows)
    one = aged(values, values, ONE)
    assert len(one.bins) == bins
    assert (one.verdict == "ok") == judged == (one.psi_critical <= 0.25)


@pytest.mark.parametrize(
    ("low", "high", "bin_"),
    [(0.0, 7.0, "0.11 to 0.22"), (0.0, 200_000.0, "3125 to 6250"), (18.0, 100.0, "19.3 to 20.6")],
)
def test_edges_are_shown_to_a_tenth_of_a_bin(low, high, bin_) -> None:
    assert SPEC.bin_labels(Numeric("x", low, high))[2] == bin_


def test_numbers_are_charted_in_order_with_readable_ranges() -> None:
    rng = np.random.default_rng(2)
    reference = np.concatenate([rng.uniform(0, 100, 900), np.full(60, -5.0), np.full(40, np.nan)])
    one = aged(reference, reference)
    assert one.bins[0] == "below 0"
    assert one.bins[1].startswith("0 to ")
    assert one.bins[-2].endswith(" to 100")
    assert one.bins[-1] == "missing"
    assert sum(one.reference) == pytest.approx(1)
    assert (one.psi, one.ks, one.jensen_shannon, one.verdict) == (0, 0, 0, "ok")


def test_missing_and_outside_are_shares_of_all_rows() -> None:
    one = aged([50.0] * 16 + [-1.0, 101.0, 102.0, np.nan], [50.0] * 3 + [np.nan])
    assert (one.missing_reference, one.outside_reference) == (0.05, 0.15)
    assert (one.missing_current, one.outside_current) == (0.25, 0)
    levels = warded([10, 0, 0, 0, 0, 0, 6, 4], [10, 0, 0, 0, 0, 0, 0, 0])
    assert (levels.missing_reference, levels.outside_reference) == (0.2, 0.3)


def test_a_rare_range_is_named_with_what_it_was_joined_to() -> None:
    reference = np.concatenate([np.linspace(1, 99, 1000), [np.nan, 120.0]])
    one = aged(reference, reference)
    assert one.bins[-1].startswith("above ")
    assert one.bins[-1].endswith(", missing")
    low = aged(np.append(np.linspace(1, 99, 1000), -3), np.linspace(1, 99, 1000))
    assert low.bins[0].startswith("below ")
    assert low.bins[0] != "below 0"


def test_few_numbers_among_missing_ones_share_a_bin() -> None:
    rows = [-1.0, 10.0, 30.0, 50.0, 70.0, 101.0] + [np.nan] * 14
    assert aged(rows, rows).bins == ("any number", "missing")


def test_levels_are_charted_in_the_schemas_order_with_the_rare_ones_together() -> None:
    one = warded([50, 300, 2, 1, 3, 2, 60, 0], [50, 300, 1, 3, 2, 2, 60, 0])
    assert one.bins == ("A", "B", "4 rare levels", "other")
    one = warded([50, 300, 90, 90, 6, 7, 60, 0], [50, 300, 90, 90, 2, 4, 60, 0])
    assert one.bins == ("A", "B", "C", "D", "E, F", "other")
    assert one.ks is None


def test_a_level_that_is_new_in_the_current_window_has_a_bin() -> None:
    one = warded([500, 500, 0, 0, 0, 0, 0, 0], [400, 400, 0, 200, 0, 0, 0, 0])
    assert one.bins == ("A", "B", "D")
    assert one.verdict == "act"


@pytest.mark.parametrize(("rows", "compared"), [(10, True), (9, False)])
def test_windows_too_small_for_two_bins_are_not_compared(rows, compared) -> None:
    half = [rows // 2, rows - rows // 2, 0, 0, 0, 0, 0, 0]
    one = warded(half, half)
    assert (one.psi is not None) == compared
    assert len(one.bins) == len(one.reference) == (2 if compared else 0)
    assert one.verdict == "window too small"


@pytest.mark.parametrize(("reference", "current"), [([], [50.0]), ([50.0], []), ([], [])])
def test_an_empty_window_has_no_statistics(reference, current) -> None:
    one = aged(reference, current)
    assert (one.psi, one.psi_critical, one.ks, one.jensen_shannon) == (None, None, None, None)
    assert (one.verdict, one.bins, one.missing_reference) == ("window too small", (), 0)
    assert (one.rows_reference, one.rows_current) == (len(reference), len(current))


def test_only_missing_values_have_no_kolmogorov_smirnov_distance() -> None:
    assert aged([np.nan] * 50, [50.0] * 50).ks is None


@given(ages, ages)
def test_no_charted_bin_holds_fewer_than_ten_rows(reference, current) -> None:
    one = aged(reference, current)
    before = np.array(one.reference) * one.rows_reference
    now = np.array(one.current) * one.rows_current
    assert np.all(before + now >= 10 - 1e-6)
