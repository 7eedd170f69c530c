"""The terminal shows the same verdicts, yardsticks and epsilons as the page."""

import pytest
from sample_summary import hospitals, stopped_without_privacy

from evaluation.report.page import render
from evaluation.report.terminal import summary_tables


@pytest.mark.parametrize("summary", [hospitals(), stopped_without_privacy()])
def test_every_row_is_as_long_as_its_columns(summary) -> None:
    for table in summary_tables(summary):
        assert table.rows
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_verdicts_yardsticks_and_epsilons_are_shown() -> None:
    verdicts, models, privacy = summary_tables(hospitals())
    assert [row[0] for row in verdicts.rows] == ["Utility", "Fairness", "Drift", "Privacy"]
    assert models.rows[-1][:4] == ("federated", "276", "0.79", "0.862")
    assert ("va_long_beach", "1.89", "2.00") in privacy.rows
    assert "|" not in verdicts.title


def of_persons(records: int):
    base = hospitals()
    sites = {
        name: account.model_copy(update={"records_per_person": records})
        for name, account in base.privacy.sites.items()
    }
    return base.model_copy(update={"privacy": base.privacy.model_copy(update={"sites": sites})})


def test_an_epsilon_of_persons_says_so() -> None:
    names = [row[0] for row in summary_tables(of_persons(3))[-1].rows]
    assert all(name.endswith("(a person of up to 3 records)") for name in names)
    page = render(of_persons(3))
    assert page.count("ε is of a person with up to 3 records") == len(names)
    assert "a person with up to" not in render(of_persons(1))


def test_privacy_off_is_shouted_in_the_titles() -> None:
    titles = [table.title for table in summary_tables(stopped_without_privacy())]
    assert titles[0] == "verdicts | PRIVACY OFF"
    assert titles[-1] == "privacy: off | PRIVACY OFF"


def test_an_untouched_ledger_does_not_read_as_a_guarantee_when_privacy_is_off() -> None:
    base = stopped_without_privacy()
    sites = {
        name: account.model_copy(update={"epsilon_spent": 0.0})
        for name, account in base.privacy.sites.items()
    }
    privacy = base.privacy.model_copy(update={"sites": sites})
    rows = summary_tables(base.model_copy(update={"privacy": privacy}))[-1].rows
    assert {row[1] for row in rows} == {"no bound"}


def test_empty_tables_are_left_out() -> None:
    base = stopped_without_privacy()
    privacy = base.privacy.model_copy(update={"sites": {}})
    bare = base.model_copy(update={"utility": (), "privacy": privacy})
    assert len(summary_tables(bare)) == 1
