"""The evaluation in a terminal: verdicts, gaps, drift and alerts in a few safe, narrow lines."""

import pytest
from sample_evaluation import SIZES, odd_names, sample

from evaluation.report.evaluation_terminal import WIDTH, lines
from federation.evaluation_summary import EvaluationSummary

NAMES = [name for name in SIZES if name != "large"]
every_sample = pytest.mark.parametrize("summary", NAMES, indirect=True)


class Summaries(dict[str, EvaluationSummary]):
    """Each made when it is first asked for."""

    def __missing__(self, name: str) -> EvaluationSummary:
        self[name] = sample(SIZES[name])
        return self[name]


SAMPLES = Summaries()


@pytest.fixture
def summary(request: pytest.FixtureRequest) -> EvaluationSummary:
    return SAMPLES[request.param]


@every_sample
def test_lines_fit_a_terminal_and_name_every_verdict(summary) -> None:
    found = lines(summary)
    assert all(len(line) <= WIDTH and "\n" not in line for line in found)
    text = " ".join(" ".join(found).split())
    for tile in summary.verdicts:
        assert f"{tile.grade} {tile.topic}: {tile.headline}." in text
    assert f"recommendation: {summary.recommendation.action}" in text


@every_sample
def test_the_number_of_alerts_and_their_meaning_are_told(summary) -> None:
    (told,) = [line for line in lines(summary) if line.startswith("alerts: ")]
    meaning = ("nothing to watch", "something to watch", "something to act on")
    assert told == f"alerts: {len(summary.alerts)} ({meaning[summary.exit_code]})"


def test_the_judged_gap_of_each_attribute_stands_with_its_interval() -> None:
    summary = SAMPLES["hospitals"]
    text = " ".join(" ".join(lines(summary)).split())
    for attribute in ("sex", "race", "age", "sex & age"):
        assert f"{attribute}: equal opportunity difference 0." in text
    wanted = ("race", "equal_opportunity_difference")
    gaps = summary.fairness[0].disparities
    gap = next(one for one in gaps if (one.attribute, one.metric) == wanted)
    assert f"lowest {gap.between[0]}, highest {gap.between[1]}, adjusted p < 0.001" in text


def test_suppressed_groups_noise_and_many_classes_are_said() -> None:
    suppressed = "\n".join(lines(SAMPLES["all suppressed"]))
    assert "20 of 20 groups are suppressed" in suppressed
    assert "not estimable" in suppressed
    assert "noise of standard deviation 2.8" in "\n".join(lines(SAMPLES["noised"]))
    assert "sex: accuracy difference" in "\n".join(lines(SAMPLES["many classes"]))
    assert "names no sensitive attribute" in "\n".join(lines(SAMPLES["no groups"]))


def test_sites_are_told_as_numbers() -> None:
    summary = SAMPLES["hospitals"]
    text = "\n".join(lines(summary))
    flagged = [flags for flags in summary.site_flags if flags.by_level["act"]]
    assert flagged
    assert all(f"{one.by_level['act']} of {one.sites} sites act" in text for one in flagged)


def test_a_name_cannot_steer_the_terminal() -> None:
    base = SAMPLES["hospitals"]
    subject = base.subject.model_copy(update={"name": "heart\x1b[2J\r\nok\u202e"})
    found = lines(base.model_copy(update={"subject": subject}))
    assert found[0].startswith("heart?[2J??ok?: window")
    assert all(character.isprintable() for line in found for character in line)


def test_very_long_names_are_wrapped() -> None:
    assert all(len(line) <= WIDTH for line in lines(odd_names(SAMPLES["hospitals"])))
