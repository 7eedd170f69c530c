"""Each rule of the verdicts, on both sides of its bound."""

import pytest
from sample_summary import hospitals, stopped_without_privacy, utility

from evaluation.report import verdicts
from evaluation.report.verdict_rules import RULES
from federation.summary import Baseline, Disparity, Estimate, Fairness, Summary, UtilityPoint

BASE = hospitals()


def changed(part: str, **update) -> Summary:
    return BASE.model_copy(update={part: getattr(BASE, part).model_copy(update=update)})


def with_final(final, *, earlier=(), baselines=None) -> Summary:
    baselines = [majority(0.5)] if baselines is None else baselines
    points = [
        UtilityPoint(after_round=i, sites=4, overall=one, cohorts={})
        for i, one in enumerate((*earlier, final))
    ]
    return BASE.model_copy(update={"utility": tuple(points), "baselines": tuple(baselines)})


def majority(accuracy: float, log_loss: float = 0.69) -> Baseline:
    return Baseline(
        name="majority class",
        description="",
        simulation_only=False,
        utility=utility(accuracy, 0.5, log_loss),
    )


def alone(site: str, own: float, joint: float) -> Baseline:
    return Baseline(
        name=f"alone: {site}",
        description="",
        simulation_only=True,
        utility=utility(0.7, own, 0.5),
        on_own_rows=utility(0.7, own, 0.5),
        federated_on_own_rows=utility(0.7, joint, 0.5),
    )


def test_every_topic_has_its_tile_in_order() -> None:
    assert [one.topic for one in verdicts.verdicts(BASE)] == [
        "Utility",
        "Fairness",
        "Drift",
        "Privacy",
    ]
    assert all(one.sentence.endswith(".") for one in verdicts.verdicts(BASE))


def test_every_grade_but_ok_is_explained_for_every_topic() -> None:
    explained = {(rule.topic, rule.grade) for rule in RULES}
    topics = ("Utility", "Fairness", "Drift", "Privacy")
    assert explained == {(topic, grade) for topic in topics for grade in ("Act", "Watch", "Off")}


# -- utility ---------------------------------------------------------------------------


def test_a_model_that_beats_guessing_is_ok_and_says_its_auc() -> None:
    verdict = verdicts.utility(with_final(utility(0.8, 0.86, 0.4), baselines=[majority(0.55)]))
    assert (verdict.grade, verdict.headline) == ("OK", "AUC 0.860")
    assert "276 held-out rows" in verdict.sentence


def test_without_auc_the_headline_is_accuracy() -> None:
    assert verdicts.utility(with_final(utility(0.8, None, 0.4))).headline == "accuracy 0.80"


@pytest.mark.parametrize(
    ("accuracy", "auc", "grade"),
    [
        (0.55, None, "Act"),
        (0.551, None, "OK"),
        (0.55, Estimate(value=0.51, low=0.5, high=0.52), "Act"),
        (0.55, Estimate(value=0.51, low=0.501, high=0.52), "OK"),
        (0.55, Estimate(value=0.501), "OK"),
        (0.55, Estimate(value=0.5), "Act"),
    ],
)
def test_a_model_that_does_not_beat_guessing_is_act(accuracy, auc, grade) -> None:
    final = utility(accuracy, 0.5, 0.6)
    final = final.model_copy(update={"auc": auc or Estimate(value=None, reason="one class")})
    summary = with_final(final, baselines=[majority(0.55)])
    assert verdicts.utility(summary).grade == grade


def test_a_run_that_did_not_complete_is_watch() -> None:
    verdict = verdicts.utility(stopped_without_privacy())
    assert verdict.grade == "Watch"
    assert verdict.sentence == "The run was stopped after 2 of 10 rounds."
    interrupted = with_final(utility(0.8, 0.86, 0.4))
    run = interrupted.run.model_copy(update={"status": "interrupted"})
    assert verdicts.utility(interrupted.model_copy(update={"run": run})).grade == "Watch"


def test_without_a_guess_to_compare_with_no_model_is_ok() -> None:
    verdict = verdicts.utility(with_final(utility(0.99, 0.99, 0.1), baselines=()))
    assert verdict.grade == "Watch"
    assert "not measured" in verdict.sentence


@pytest.mark.parametrize(("log_loss", "grade"), [(0.69, "OK"), (0.691, "Watch")])
def test_probabilities_worse_than_the_base_rate_are_watch(log_loss, grade) -> None:
    summary = with_final(utility(0.8, 0.86, log_loss), baselines=[majority(0.55, 0.69)])
    assert verdicts.utility(summary).grade == grade


@pytest.mark.parametrize(("log_loss", "grade"), [(0.42, "OK"), (0.421, "Watch")])
def test_a_log_loss_above_an_earlier_rounds_by_five_percent_is_watch(log_loss, grade) -> None:
    summary = with_final(utility(0.8, 0.86, log_loss), earlier=[utility(0.8, 0.86, 0.4)])
    assert verdicts.utility(summary).grade == grade


@pytest.mark.parametrize(("joint", "grade"), [(0.8125, "OK"), (0.805, "Watch"), (0.7, "Watch")])
def test_a_site_that_does_as_well_alone_is_watch_by_name(joint, grade) -> None:
    summary = with_final(
        utility(0.8, 0.86, 0.4), baselines=[majority(0.5), alone("basel", 0.8, joint)]
    )
    verdict = verdicts.utility(summary)
    assert verdict.grade == grade
    assert ("basel" in verdict.sentence) == (grade == "Watch")


def test_without_evaluation_utility_is_off() -> None:
    assert verdicts.utility(BASE.model_copy(update={"utility": ()})).grade == "Off"
    unknown = utility(0.5, None, 0.6).model_copy(update={"accuracy": Estimate(value=None)})
    assert verdicts.utility(with_final(unknown)).grade == "Off"


def test_the_worst_finding_wins_over_an_earlier_milder_one() -> None:
    useless = with_final(utility(0.5, None, 0.9), baselines=[majority(0.55, 0.69)])
    run = useless.run.model_copy(update={"status": "stopped"})
    assert verdicts.utility(useless.model_copy(update={"run": run})).grade == "Act"


def test_among_findings_of_one_grade_the_first_named_rule_wins() -> None:
    blunt = with_final(utility(0.8, 0.86, 0.9), baselines=[majority(0.55, 0.69)])
    run = blunt.run.model_copy(update={"status": "stopped"})
    assert "stopped" in verdicts.utility(blunt.model_copy(update={"run": run})).sentence


# -- fairness --------------------------------------------------------------------------


def gap(value, low, high, *, metric="demographic_parity_difference", chance=0.05) -> Disparity:
    return Disparity(
        attribute="sex",
        metric=metric,
        estimate=Estimate(value=value, low=low, high=high),
        null_expectation=chance,
        between=("female", "male"),
    )


def fairness_of(*gaps: Disparity, scope: str = "overall"):
    groups = BASE.fairness[0].groups
    fairness = (Fairness(scope=scope, groups=groups, disparities=gaps),)
    return verdicts.fairness(fairness)


@pytest.mark.parametrize(
    ("disparity", "grade"),
    [
        (gap(0.2, 0.06, 0.3), "Act"),
        (gap(0.199, 0.06, 0.3), "Watch"),
        (gap(0.2, 0.05, 0.3), "Watch"),
        (gap(0.1, 0.06, 0.15), "Watch"),
        (gap(0.1, 0.05, 0.15), "OK"),
        (gap(0.099, 0.06, 0.15), "OK"),
        (gap(0.2, 0.01, 0.3, chance=None), "Act"),
        (gap(0.2, None, None), "Watch"),
        (gap(0.79, 0.7, 0.88, metric="demographic_parity_ratio", chance=0.9), "Watch"),
        (gap(0.8, 0.7, 0.88, metric="demographic_parity_ratio", chance=0.9), "OK"),
        (gap(0.79, 0.7, 0.9, metric="demographic_parity_ratio", chance=0.9), "OK"),
        (gap(0.79, 0.7, 0.99, metric="demographic_parity_ratio", chance=None), "Watch"),
        (gap(0.79, None, None, metric="demographic_parity_ratio"), "OK"),
    ],
)
def test_a_gap_is_graded_by_size_and_by_chance(disparity, grade) -> None:
    assert fairness_of(disparity).grade == grade


def test_the_gravest_gap_makes_the_tile_and_names_groups_and_cohort() -> None:
    verdict = fairness_of(gap(0.05, 0.0, 0.1), gap(0.3, 0.2, 0.4), scope="north")
    assert verdict.headline == "gap of 0.30"
    assert verdict.sentence == (
        "Demographic parity difference by sex (female and male) in cohort north is beyond chance."
        " Not judged, for want of groups with enough rows: age_group and sex & age_group."
    )


def test_a_large_gap_within_chance_says_so() -> None:
    assert "too small to be sure" in fairness_of(gap(0.3, 0.0, 0.6)).sentence
    assert "too small to be sure" in fairness_of(gap(0.3, 0.05, 0.6, chance=0.05)).sentence
    ratio = gap(0.5, 0.3, 0.7, metric="demographic_parity_ratio", chance=0.9)
    assert fairness_of(ratio).headline == "ratio 0.50"
    assert "beyond chance" in fairness_of(ratio).sentence


def test_a_difference_is_shown_before_a_ratio_of_the_same_grade() -> None:
    ratio = gap(0.95, 0.9, 0.99, metric="demographic_parity_ratio", chance=0.9)
    assert fairness_of(ratio, gap(0.03, 0.0, 0.06)).headline == "gap of 0.03"


def test_no_gap_at_all_is_not_called_the_widest() -> None:
    assert fairness_of(gap(0.0, 0.0, 0.1)).sentence.startswith("All groups have the same rates.")
    assert "the widest is" in fairness_of(gap(0.001, 0.0, 0.1)).sentence


def test_gaps_that_cannot_be_estimated_are_watch_not_ok() -> None:
    assert fairness_of(gap(None, None, None)).grade == "Watch"
    assert fairness_of().grade == "Watch"


def test_without_groups_fairness_is_off() -> None:
    assert verdicts.fairness(stopped_without_privacy().fairness).grade == "Off"
    empty = (Fairness(scope="overall", groups=(), disparities=()),)
    assert verdicts.fairness(empty).grade == "Off"


# -- drift -----------------------------------------------------------------------------


def drift_of(*kinds: str):
    template = BASE.drift[0]
    rows = tuple(
        template.model_copy(update={"feature": f"f{i}", "verdict": kind, "psi": 0.1 * (i + 1)})
        for i, kind in enumerate(kinds)
    )
    return verdicts.drift(rows)


@pytest.mark.parametrize(
    ("kinds", "grade"),
    [
        (("ok", "watch", "act"), "Act"),
        (("ok", "watch", "window too small"), "Watch"),
        (("ok", "window too small"), "OK"),
        (("window too small",), "Watch"),
        ((), "Off"),
    ],
)
def test_drift_takes_the_gravest_verdict_of_its_features(kinds, grade) -> None:
    assert drift_of(*kinds).grade == grade


def test_the_most_drifted_features_are_named_first_and_the_rest_counted() -> None:
    assert drift_of("act", "act", "act", "act", "act").sentence.endswith(": f4, f3, f2 and 2 more.")
    assert drift_of("act", "ok", "act").sentence.endswith(": f2 and f0.")


def test_three_drifted_features_are_all_named_and_the_largest_psi_is_shown() -> None:
    verdict = drift_of("act", "act", "act")
    assert verdict.sentence.endswith(": f2, f1 and f0.")
    assert verdict.headline == "PSI up to 0.300"


def test_features_without_enough_rows_are_mentioned() -> None:
    assert "1 more have too few rows" in drift_of("ok", "window too small").sentence
    assert "more" not in drift_of("ok").sentence


# -- privacy ---------------------------------------------------------------------------


def with_site(**update) -> Summary:
    sites = dict(BASE.privacy.sites)
    calm = {"reserved": 5, "committed": 5, "voided": 0}
    sites = {name: one.model_copy(update=calm) for name, one in sites.items()}
    sites["hungary"] = sites["hungary"].model_copy(update=update)
    return changed("privacy", sites=sites)


@pytest.mark.parametrize(
    ("update", "grade", "reason"),
    [
        ({}, "OK", "the largest of all sites"),
        ({"epsilon_spent": 3.0, "epsilon_budget": 3.0}, "OK", "within its budget"),
        ({"epsilon_spent": 3.0001, "epsilon_budget": 3.0}, "Act", "hungary has spent more"),
        ({"epsilon_spent": None}, "Act", "What hungary has spent is not known"),
        ({"epsilon_spent": 10.0, "epsilon_budget": None}, "OK", "not every site"),
        ({"epsilon_spent": 10.1, "epsilon_budget": None}, "Watch", "above 10 is a weak guarantee"),
        ({"public_rows": 999}, "OK", "delta 0.001"),
        ({"public_rows": 1000}, "Watch", "Delta is not below 1 / rows of hungary"),
        ({"refused": 1}, "Watch", "hungary refused work"),
        ({"reserved": 6}, "Watch", "hungary holds an open reservation"),
        ({"reserved": 6, "voided": 1}, "OK", "within its budget"),
    ],
)
def test_privacy_rules_on_both_sides(update, grade, reason) -> None:
    verdict = verdicts.privacy(with_site(**update))
    assert verdict.grade == grade
    assert reason in verdict.sentence


def test_a_site_without_an_account_is_act_and_hides_the_headline() -> None:
    sites = {name: one for name, one in BASE.privacy.sites.items() if name != "hungary"}
    verdict = verdicts.privacy(changed("privacy", sites=sites))
    assert (verdict.grade, verdict.headline) == ("Act", "ε unknown")
    assert "hungary" in verdict.sentence


def test_seeded_noise_is_watch_however_small_epsilon_is() -> None:
    seeded = changed("privacy", noise_source="seeded (simulation)")
    assert verdicts.privacy(seeded).grade == "Watch"
    assert "protecting nobody" in verdicts.privacy(seeded).sentence


def test_privacy_off_is_off_even_with_accounts() -> None:
    verdict = verdicts.privacy(changed("privacy", mode="off"))
    assert (verdict.grade, verdict.headline) == ("Off", "no guarantee")


def test_the_headline_is_the_largest_epsilon_rounded_up() -> None:
    assert verdicts.privacy(with_site(epsilon_spent=2.5011)).headline == "ε ≤ 2.51"
    assert verdicts.largest_epsilon(with_site(epsilon_spent=2.5)) == 2.5
    nobody = BASE.model_copy(
        update={
            "run": BASE.run.model_copy(update={"sites": ()}),
            "privacy": BASE.privacy.model_copy(update={"sites": {}}),
        }
    )
    assert verdicts.largest_epsilon(nobody) is None


def test_a_missing_budget_is_not_called_kept() -> None:
    assert (
        "not every site has set a budget"
        in verdicts.privacy(with_site(epsilon_budget=None)).sentence
    )
    assert "each within its budget" in verdicts.privacy(with_site()).sentence
