"""The page of a sweep, and its tables."""

import csv
import io
import math
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sample_sweep import outcomes, plan

from simulations.sweep.choice import parse_limit
from simulations.sweep.folder import SweepFolder
from simulations.sweep.frontier_charts import epsilon_axis
from simulations.sweep.page import render
from simulations.sweep.plain_words import choice_words, frontier_words, step_words
from simulations.sweep.results import SweepResults, results
from simulations.sweep.tables import write


def found(*limits: str) -> SweepResults:
    made = plan()
    return results(made, outcomes(made), "accuracy", tuple(map(parse_limit, limits)))


def test_the_words_say_what_an_epsilon_reaches_and_what_the_next_one_buys() -> None:
    said = frontier_words(found())
    assert said[1] == (
        "At ε = 1.00 accuracy is 0.800 (0.790 to 0.810) over 3 seeds, 4.0 points below training "
        "without privacy; groups differ by up to 0.200 (trial 2: privacy.epsilon = 1)."
    )
    assert len(said) == 3
    assert step_words(found()) == [
        "From ε = 0.500 to 1.00: +6.0 points of accuracy on average, +6.0 to +6.0 by seed: on "
        "every seed.",
        "From ε = 1.00 to 2.00: +2.0 points of accuracy on average, +2.0 to +2.0 by seed: on every "
        "seed.",
    ]


def test_no_step_is_told_between_configurations_that_are_level_at_one_epsilon() -> None:
    made = plan()
    level = [
        one.model_copy(update={"epsilon": 0.9999, "accuracy": 0.8}) if one.trial in {1, 2} else one
        for one in outcomes(made)
    ]
    told = results(made, level, "accuracy", ())
    assert told.frontier == (1, 2, 3)
    (step,) = step_words(told)
    assert step.startswith("From ε = 1.00 to 2.00: +2.0 points")


def test_the_choice_says_how_sure_it_is() -> None:
    said = choice_words(found("epsilon<=1"))
    assert said[0].startswith("Best under ε ≤ 1: trial 2 (privacy.epsilon = 1)")
    assert "6.0 points behind on average" in said[1]
    assert "ahead on 3 of 3" in said[1]
    assert "0.25" in said[2]
    assert choice_words(found("epsilon<=0.1")) == [
        "No trial that completed on all its seeds is fit under ε ≤ 0.1."
    ]


def test_the_page_loads_nothing_and_holds_what_it_must() -> None:
    page = render(found("epsilon<=1"))
    assert not re.search(r"<script|<link|https?://(?!www\.w3)|@import|url\((?!#)", page)
    assert page.count("<figure") == 3
    for words in (
        "Best under ε ≤ 1", "Had the number of trials been drawn", "All 9 runs together",
        "without privacy", "they protect nobody", "Without limits it would be trial 3",
        "is not a drawn number of trials",
    ):  # fmt: skip
        assert words in page, words


def test_a_page_of_a_drawn_number_states_its_conditions() -> None:
    made = plan("privacy.epsilon=1,2", random="geometric:2", seeds="1")
    page = render(results(made, [], "accuracy", ()))
    assert "Not finished" in page
    assert "the number of trials" in page


def test_settings_are_escaped() -> None:
    made = plan("task.options.note=<b>x</b>,y", seeds="1")
    assert "<b>x" not in render(results(made, [], "accuracy", ()))


def test_failures_are_told_with_their_reasons() -> None:
    made = plan()
    ended = outcomes(made)
    ended[-1] = ended[-1].model_copy(
        update={"status": "crashed", "reason": "its process was killed by signal 9"}
    )
    page = render(results(made, ended, "accuracy", ()))
    assert "its process was killed by signal 9" in page
    assert "2 of 3" in page


def test_the_epsilon_axis_is_logarithmic_and_labelled_at_round_numbers() -> None:
    axis = epsilon_axis([place / 10 for place in range(-10, 11)])
    assert [axis.label(tick) for tick in axis.ticks] == ["0.1", "0.2", "0.5", "1", "2", "5", "10"]
    assert axis.at(0.0) - axis.at(-1.0) == pytest.approx(axis.at(1.0) - axis.at(0.0))
    few = epsilon_axis([math.log10(3), math.log10(0.24991)])
    assert [few.label(tick) for tick in few.ticks] == ["0.25", "3"]
    one = epsilon_axis([0.0])
    assert [one.label(tick) for tick in one.ticks] == ["1"]


def test_both_tables_hold_every_run(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    write(SweepFolder(tmp_path / "sweep"), found())
    text = (tmp_path / "sweep" / "results.csv").read_text(encoding="utf-8")
    by_csv = list(csv.DictReader(io.StringIO(text)))
    by_parquet = pq.read_table(tmp_path / "sweep" / "results.parquet").to_pylist()
    assert len(by_csv) == len(by_parquet) == 12
    assert list(by_csv[0]) == list(by_parquet[0])
    last = by_parquet[-1]
    assert (last["trial"], last["seed"], last["privacy.epsilon"]) == (3, 2028, 2.0)
    assert (last["epsilon"], last["worst_group_gap"], last["status"]) == (2.0, 0.25, "completed")
    assert float(by_csv[-1]["accuracy"]) == last["accuracy"]
    assert by_parquet[0]["privacy.epsilon"] is None
    again = SweepResults.model_validate_json((tmp_path / "sweep" / "results.json").read_bytes())
    assert again == found()


def test_the_guarantee_of_whole_sites_is_told_beside_that_of_records() -> None:
    made = plan()
    seen = [
        one.model_copy(update={"site_level_epsilon": 2 * one.epsilon if one.epsilon else None})
        for one in outcomes(made)
    ]
    found = results(made, seen, "accuracy", (parse_limit("site_level_epsilon<=2"),))
    assert "what a whole site changes is held to ε = 2.00; groups" in frontier_words(found)[1]
    assert choice_words(found)[0].startswith("Best under ε of a site’s update ≤ 2: trial 2")
    page = render(found)
    assert "Site-level epsilon" in page
    assert "not added up over runs" in page
    assert [one.site_level_epsilon for one in found.standings] == [1.0, 2.0, 4.0]


def test_a_site_level_epsilon_unknown_for_one_seed_is_unknown() -> None:
    made = plan()
    seen = [
        one.model_copy(
            update={"site_level_epsilon": 1.0 if one.seed != made.trials[0].seeds[0] else None}
        )
        for one in outcomes(made)
    ]
    found = results(made, seen, "accuracy", ())
    assert {one.site_level_epsilon for one in found.standings} == {None}
    assert "Site-level epsilon" not in render(found)
