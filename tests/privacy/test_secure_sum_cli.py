"""`hedgerow secure-sum graph` prints what `graph_parameters` finds, in numbers and in words."""

import json
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import ConfigError
from privacy.secure_sum.graph_parameters import (
    GraphRequirements,
    complete_graph_parameters,
    sparse_graph_parameters,
)

# typer asks click for names that click deprecates; both are imported late, under this filter.
pytestmark = pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")


def call(*arguments: object):
    from typer.testing import CliRunner  # noqa: PLC0415 - see pytestmark

    from privacy.secure_sum_cli import app  # noqa: PLC0415 - see pytestmark

    return CliRunner().invoke(app, ["graph", *map(str, arguments)], env={"COLUMNS": "100"})


def rows(output: str) -> dict[str, list[str]]:
    """Per first cell of the table, the other cells."""
    lines = (line.strip() for line in output.splitlines())
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    return {first: rest for first, *rest in filter(None, cells)}


USUAL = ("--sites", 500, "--dropouts", 0.1, "--colluders", 0.2)


def test_it_sets_both_graphs_side_by_side() -> None:
    outcome = call(*USUAL)
    assert outcome.exit_code == 0
    assert "500 sites: 100 may collude, 50 may be lost" in outcome.output
    sparse = sparse_graph_parameters(GraphRequirements(500, 0.2, 0.1))
    table = rows(outcome.output)
    assert table["neighbours of a site"] == ["499", str(sparse.degree)]
    assert table["threshold: shares that open a secret"] == ["251", str(sparse.threshold)]
    assert table["quorum: sites that sign who survived"] == ["450", "450"]
    assert table["colluders withstood"] == ["250", "100"]
    assert table["a part of the sum is opened apart"] == ["never", "2^-41.2, 1 in 2 trillion"]
    assert table["random losses end the round"] == ["never", "2^-22.0, 1 in 4 million"]
    assert outcome.output.endswith("choose the sparse graph: a site masks and deals with fewer\n")


def test_few_sites_are_told_to_take_the_complete_graph() -> None:
    outcome = call("--sites", 200, "--dropouts", 0.1, "--colluders", 0.2)
    assert rows(outcome.output)["neighbours of a site"] == ["199", "80"]
    assert outcome.output.endswith("choose the complete graph: up to 200 sites it is affordable\n")


def test_where_no_sparse_graph_suffices_it_says_so() -> None:
    outcome = call("--sites", 500, "--dropouts", 0.3, "--colluders", 0.3)
    assert rows(outcome.output)["neighbours of a site"] == ["499", "–"]
    assert outcome.output.endswith("choose the complete graph: no sparse one withstands this\n")
    printed = call("--sites", 500, "--dropouts", 0.3, "--colluders", 0.3, "--json")
    assert json.loads(printed.output)["sparse"] is None


def test_json_holds_all_of_it_and_null_for_never() -> None:
    needs = GraphRequirements(500, 0.2, 0.1, security=50, grinding=10, correctness=30)
    outcome = call(*USUAL, "--security", 50, "--grinding", 10, "--correctness", 30, "--json")
    printed = json.loads(outcome.output)
    assert printed["chosen"] == "sparse"
    assert GraphRequirements(**printed["requirements"]) == needs
    for name, found in (
        ("complete", complete_graph_parameters(needs)), ("sparse", sparse_graph_parameters(needs))
    ):  # fmt: skip
        assert printed[name]["degree"] == found.degree
        assert printed[name]["threshold"] == found.threshold
        is_certain = found.log2_security_failure == -math.inf
        assert printed[name]["log2_security_failure"] == (
            None if is_certain else found.log2_security_failure
        )


def test_what_cannot_be_met_is_one_line_with_the_code_of_a_wrong_setting() -> None:
    outcome = call("--sites", 500, "--dropouts", 0.5, "--colluders", 0.2)
    assert isinstance(outcome.exception, ConfigError)
    assert outcome.exception.exit_code == 2
    assert "graph.dropout_share = 0.5: expected at least 301" in str(outcome.exception)
    assert "\n" not in str(outcome.exception)
    assert call("--sites", "many", "--dropouts", 0.5, "--colluders", 0.2).exit_code == 2
    assert call("--sites", 500).exit_code == 2


def test_the_command_is_mounted() -> None:
    from click.testing import CliRunner  # noqa: PLC0415 - see pytestmark

    import hedgerow  # noqa: PLC0415 - see pytestmark

    asked = ["secure-sum", "graph", *map(str, USUAL)]
    outcome = CliRunner().invoke(hedgerow.command_line(), asked)
    assert outcome.output == CliRunner().invoke(hedgerow.command_line("secure-sum"), asked).output
    assert outcome.exit_code == 0
    assert "choose the sparse graph" in outcome.output


@pytest.mark.parametrize(
    ("log2_probability", "words"),
    [
        (-math.inf, "never"),
        (0.0, "2^-0.0, 1 in 1"),
        (-1.0, "2^-1.0, 1 in 2"),
        (-9.99, "2^-9.9, 1 in 1 thousand"),
        (-20.0, "2^-20.0, 1 in 1 million"),
        (-40.0, "2^-40.0, 1 in 1 trillion"),
        (-49.9, "2^-49.9, 1 in 1050 trillion"),
        (-100.0, "2^-100.0, 1 in 10^30"),
    ],
)
def test_odds_in_words(log2_probability: float, words: str) -> None:
    from privacy.secure_sum_cli import odds  # noqa: PLC0415 - see pytestmark

    assert odds(log2_probability) == words


@given(st.floats(-49.9, -0.01))
def test_odds_never_promise_too_much(log2_probability: float) -> None:
    from privacy.secure_sum_cli import odds  # noqa: PLC0415 - see pytestmark

    power, words = odds(log2_probability).removeprefix("2^").split(", 1 in ")
    number, _, name = words.partition(" ")
    scale = {"": 1, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
    assert float(power) >= log2_probability
    assert Fraction(1, int(number) * scale[name]) >= 2**log2_probability
