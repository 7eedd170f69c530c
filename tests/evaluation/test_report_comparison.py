"""The sentences say what the yardsticks say, no more."""

import pytest
from sample_summary import hospitals, stopped_without_privacy, utility

from evaluation.report import comparison
from federation.summary import Baseline, Estimate, Summary

BASE = hospitals()


def baseline(name: str, auc: float | None = 0.8, **own) -> Baseline:
    return Baseline(
        name=name, description="", simulation_only=True, utility=utility(0.7, auc, 0.5), **own
    )


def site(name: str, own: float | None, joint: float | None) -> Baseline:
    return baseline(
        f"alone: {name}",
        on_own_rows=utility(0.7, own, 0.5, rows=50),
        federated_on_own_rows=utility(0.75, joint, 0.5, rows=50),
    )


def having(*baselines: Baseline, mode: str = "record") -> Summary:
    privacy = BASE.privacy.model_copy(update={"mode": mode})
    return BASE.model_copy(update={"baselines": baselines, "privacy": privacy})


def test_the_final_utility_is_that_of_the_last_round_in_any_order() -> None:
    shuffled = BASE.model_copy(update={"utility": tuple(reversed(BASE.utility))})
    assert comparison.final_utility(shuffled) == BASE.utility[-1].overall
    assert comparison.final_utility(BASE.model_copy(update={"utility": ()})) is None


def test_the_federated_model_stands_last_once_recorded_or_not() -> None:
    recorded = comparison.yardsticks(BASE)
    assert [one.name for one in recorded].count("federated") == 1
    assert recorded[-1].utility == BASE.baselines[-1].utility
    added = comparison.yardsticks(having(baseline("centralized")))
    assert [one.name for one in added] == ["centralized", "federated"]
    assert added[-1].utility == BASE.utility[-1].overall
    assert not comparison.yardsticks(BASE.model_copy(update={"utility": (), "baselines": ()}))


def test_auc_is_compared_only_where_everyone_has_one() -> None:
    assert comparison.overall_metric(having(baseline("centralized"))) == "AUC"
    assert comparison.overall_metric(having(baseline("centralized", None))) == "accuracy"
    no_auc_for_majority = having(baseline("majority class", None), baseline("centralized"))
    assert comparison.overall_metric(no_auc_for_majority) == "AUC"
    one_sided = having(site("a", 0.7, 0.8), site("b", None, 0.8))
    assert comparison.own_rows_metric(one_sided) == "accuracy"
    assert comparison.site_gains(one_sided)[0].gain == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("auc", "metric"),
    [
        (Estimate(value=0.7, low=0.5, high=0.699, kind="exact_bounds"), "AUC"),
        (Estimate(value=0.7, low=0.5, high=0.701, kind="exact_bounds"), "accuracy"),
        (Estimate(value=0.7, low=0.5, high=0.9, kind="confidence_95"), "AUC"),
        (Estimate(value=0.7, kind="exact_bounds"), "AUC"),
        (Estimate(value=None, reason="one class"), "accuracy"),
    ],
)
def test_an_auc_that_the_histogram_does_not_determine_is_not_compared(auc, metric) -> None:
    one = utility(0.7, 0.7, 0.5).model_copy(update={"auc": auc})
    assert comparison.metric_for((one,)) == metric


@pytest.mark.parametrize(
    ("own", "joint", "level_or_worse", "worse"),
    [
        (0.0, 0.01, False, False),
        (0.0, 0.0099, True, False),
        (0.8, 0.8, True, False),
        (0.0099, 0.0, True, False),
        (0.01, 0.0, True, True),
    ],
)
def test_gains_are_level_within_less_than_a_hundredth(own, joint, level_or_worse, worse) -> None:
    summary = having(site("a", own, joint))
    text = comparison.sentences(summary)[0]
    assert ("at 1 of 1 sites" in text) == (not level_or_worse)
    assert ("as good" in text) == (level_or_worse and not worse)
    assert ("alone scores higher" in text) == worse
    gain = comparison.site_gains(summary)[0]
    assert (gain.is_level_or_worse, gain.is_worse) == (level_or_worse, worse)
    assert (gain.site, gain.rows) == ("a", 50)


def test_a_gain_without_values_is_none_and_says_nothing() -> None:
    nothing = utility(0.7, None, 0.5).model_copy(update={"accuracy": Estimate(value=None)})
    one = baseline("alone: a", None, on_own_rows=nothing, federated_on_own_rows=nothing)
    gain = comparison.site_gains(having(one))[0]
    assert gain.gain is None
    assert not gain.is_level_or_worse
    assert not gain.is_worse
    assert not any("alone at" in text for text in comparison.sentences(having(one)))


def test_half_a_comparison_is_none() -> None:
    known = utility(0.7, None, 0.5)
    unknown = known.model_copy(update={"accuracy": Estimate(value=None)})
    for own, joint in ((known, unknown), (unknown, known)):
        one = baseline("alone: a", None, on_own_rows=own, federated_on_own_rows=joint)
        assert comparison.site_gains(having(one))[0].gain is None
    assert not comparison.site_gains(having(baseline("alone: a", on_own_rows=known)))


def test_winners_ties_and_losers_are_all_named() -> None:
    summary = having(site("won", 0.7, 0.8), site("tied", 0.8, 0.805), site("lost", 0.9, 0.85))
    first = comparison.sentences(summary)[0]
    assert "at 1 of 3 sites (AUC −0.050 to +0.100), but by no more than" in first
    assert "At tied training alone is as good." in first
    assert "At lost training alone scores higher" in first
    all_won = comparison.sentences(having(site("won", 0.7, 0.8)))[0]
    assert "as good" not in all_won
    assert "alone scores" not in all_won


@pytest.mark.parametrize(
    ("gains", "says"),
    [
        ((0.17, 0.2), "at 2 of 2 sites (AUC +0.170 to +0.200), by more than chance"),
        ((0.1, 0.2), "at 2 of 2 sites (AUC +0.100 to +0.200), by more than chance among so few rows"
         " at b."),
        ((0.1, 0.12), "(AUC +0.100 to +0.120), but by no more than chance among so few rows."),
        ((-0.1, 0.2), "At a training alone scores higher, but by no more than chance"),
        ((-0.2, 0.2), "At a training alone scores higher, by more than chance"),
    ],
)  # fmt: skip
def test_what_chance_among_so_few_rows_may_do_is_no_win(gains, says) -> None:
    """The interval of an accuracy of 0.7 on 50 rows is 0.12 to either side of it."""
    text = comparison.sentences(
        having(*(site(name, 0.5, 0.5 + gain) for name, gain in zip("ab", gains, strict=True)))
    )[0]
    assert says in text


def test_the_price_of_privacy_adds_up_with_the_price_of_distance() -> None:
    texts = comparison.sentences(BASE)
    assert any("changes AUC by −0.008: the price of privacy" in text for text in texts)
    assert any("a further −0.014" in text for text in texts)
    assert any("AUC 0.884; the federated model reaches 0.022 less" in text for text in texts)


@pytest.mark.parametrize(
    ("federated", "words"),
    [(0.9, "reaches 0.100 more"), (0.7, "reaches 0.100 less"), (0.795, "is level with it (0.795)")],
)
def test_centralized_is_compared_in_both_directions(federated, words) -> None:
    summary = having(baseline("centralized", 0.8), baseline("federated", federated))
    assert any(words in text for text in comparison.sentences(summary))


def test_no_price_of_privacy_without_privacy_or_without_its_yardstick() -> None:
    both = (baseline("centralized", 0.8), baseline("centralized with the same DP", 0.78))
    assert any("price of privacy" in text for text in comparison.sentences(having(*both)))
    off = comparison.sentences(having(*both, mode="off"))
    assert not any("price of privacy" in text for text in off)
    lacking = comparison.sentences(having(both[0]))
    assert not any("price of privacy" in text for text in lacking)


def test_without_yardsticks_nothing_is_said() -> None:
    assert comparison.sentences(stopped_without_privacy()) == ()
    assert comparison.sentences(having(mode="off")) == ()


def test_the_resolution_of_the_rows_is_stated_from_their_interval() -> None:
    assert (
        "With 276 held-out rows an accuracy is known to about ±0.05"
        in (comparison.sentences(BASE)[-1])
    )
    assert "on one site's own rows to ±0.15 at the smallest site" in comparison.sentences(BASE)[-1]
    alone = tuple(one for one in BASE.baselines if one.on_own_rows is None)
    assert "own rows" not in comparison.sentences(having(*alone))[-1]
    for accuracy in (Estimate(value=0.7), Estimate(value=0.7, low=0.6)):
        blunt = utility(0.7, 0.8, 0.5).model_copy(update={"accuracy": accuracy})
        only = BASE.baselines[-1].model_copy(update={"utility": blunt})
        assert not any("known to about" in text for text in comparison.sentences(having(only)))
