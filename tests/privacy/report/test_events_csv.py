"""From the CSV alone anybody gets the report's epsilon, with accountants that are not ours."""

import csv
import io
import re
import warnings
from collections import Counter
from pathlib import Path

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from opacus.accountants import PRVAccountant, RDPAccountant
from sample_ledgers import DELTA, QUERIES, SHARED, create, play, written

from privacy.accountant import RDP_ORDERS
from privacy.event import PoissonSampledGaussian, RepeatAndSelect, from_plain
from privacy.report.build import privacy_report
from privacy.report.events_csv import COLUMNS, events_csv
from privacy.report.source import CheckedLedger, Trust, read_ledger


def checked(path: Path) -> CheckedLedger:
    return read_ledger(path, Trust())


def rows(*ledgers: CheckedLedger) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(events_csv(ledgers))))


def counted(ledger: CheckedLedger) -> list[dict[str, str]]:
    return [row for row in rows(ledger) if row["state"] != "voided" and row["unit"] == "record"]


def steps(ledger: CheckedLedger) -> Counter[tuple[float, float]]:
    """(noise multiplier, sampling rate) and how often, of Poisson-sampled Gaussians."""
    counts = Counter[tuple[float, float]]()
    for row in counted(ledger):
        assert row["mechanism"] == "poisson_sampled_gaussian"
        counts[float(row["noise_multiplier"]), float(row["sampling_rate"])] += int(row["count"])
    return counts


@pytest.fixture
def ledger(tmp_path) -> CheckedLedger:
    """Two runs of training, one with a charge that was given back."""
    opened = play(create(tmp_path), "first", PoissonSampledGaussian(0.05, 1.1, 2), 6, charged=3)
    opened.void(opened.reserve("first", 4, 1), "it never left")
    opened.reserve("first", 5, 1)
    play(opened, "second", PoissonSampledGaussian(0.02, 0.9, 3), 5).close()
    return checked(tmp_path / "ulm.sqlite")


def test_by_opacus_rdp(ledger) -> None:
    accountant = RDPAccountant()
    accountant.history = [(*key, count) for key, count in steps(ledger).items()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = accountant.get_epsilon(DELTA, alphas=list(RDP_ORDERS))
    ours = privacy_report([ledger]).ledgers[0].record.epsilon_rdp
    assert theirs == pytest.approx(ours, rel=1e-6)


def test_by_opacus_prv(ledger) -> None:
    accountant = PRVAccountant()
    accountant.history = [(*key, count) for key, count in steps(ledger).items()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = accountant.get_epsilon(DELTA)
    assert theirs == pytest.approx(privacy_report([ledger]).ledgers[0].record.epsilon, abs=0.02)


def test_by_dp_accounting(ledger) -> None:
    rdp, pld = RdpAccountant(RDP_ORDERS), PLDAccountant()
    for (noise, rate), count in steps(ledger).items():
        event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
        rdp.compose(event, count)
        pld.compose(event, count)
    record = privacy_report([ledger]).ledgers[0].record
    assert pld.get_epsilon(DELTA) == pytest.approx(record.epsilon_pld, rel=1e-3)
    assert rdp.get_epsilon(DELTA) == pytest.approx(record.epsilon_rdp, rel=1e-6)


def test_queries_by_adding_up(tmp_path) -> None:
    play(create(tmp_path), "queries", QUERIES, 3).close()
    ledger = checked(tmp_path / "ulm.sqlite")
    total = sum(
        int(row["sensitivity"]) / float(row["scale"]) * int(row["count"]) for row in counted(ledger)
    )
    ours = privacy_report([ledger]).ledgers[0].record.epsilon
    assert ours <= total <= 1.01 * ours
    assert [row["part"] for row in counted(ledger)] == ["1", "2"] * 3


def test_every_parameter_reads_back_exactly(tmp_path) -> None:
    selection = RepeatAndSelect(PoissonSampledGaussian(0.1, 2.3, 1), 4.0, 1.0, 1)
    opened = play(create(tmp_path, float("inf")), "shared", SHARED, 1)
    play(opened, "tuned", selection, 1).close()
    shared, tuned = rows(checked(tmp_path / "ulm.sqlite"))
    names = {"sampling_rate": float, "noise_multiplier": float, "dimension": int, "honest": int,
             "squared_sensitivity": int, "dropouts": int, "count": int}  # fmt: skip
    plain = {name: kind(shared[name]) for name, kind in names.items()}
    assert from_plain(plain | {"mechanism": shared["mechanism"]}) == SHARED
    assert (float(tuned["mean"]), float(tuned["shape"])) == (4.0, 1.0)
    assert '"noise_multiplier":2.3' in tuned["event"].replace(" ", "")


def test_states_and_units_are_named(tmp_path) -> None:
    voided = rows(checked(written(tmp_path / "voids", "with_voids")))
    assert [row["state"] for row in voided] == ["committed"] * 3 + ["voided", "open"]
    both = rows(checked(written(tmp_path / "site", "of_site")))
    assert [row["unit"] for row in both] == ["record", "site"] * 3
    assert {row["delta"] for row in both} == {"1e-05", "0.0001"}


def test_an_empty_ledger_has_the_names_of_the_columns_alone(tmp_path) -> None:
    assert events_csv([checked(written(tmp_path, "empty"))]) == ",".join(COLUMNS) + "\n"


def test_no_cell_is_a_formula(tmp_path) -> None:
    ledger = create(tmp_path, dataset="=HYPERLINK(1)")
    play(ledger, "@run", SHARED, 1).close()
    (row,) = rows(checked(tmp_path / "ulm.sqlite"))
    assert (row["dataset"], row["run"]) == ("'=HYPERLINK(1)", "'@run")


def test_the_recipe_in_the_guide_gives_the_reports_epsilon(ledger, tmp_path, monkeypatch, capsys):
    guide = Path("docs/privacy-report.md").read_text("utf-8")
    (recipe,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "privacy-events.csv").write_text(events_csv([ledger]), "utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(recipe, "docs/privacy-report.md", "exec"), {})
    printed = float(capsys.readouterr().out)
    assert printed == pytest.approx(privacy_report([ledger]).ledgers[0].record.epsilon, rel=1e-3)
