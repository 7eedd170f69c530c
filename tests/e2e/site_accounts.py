"""What a site's ledger must hold after a run, whatever befell the site: never less than it gave."""

import json
from collections import Counter
from pathlib import Path

import dp_accounting
import pytest
from dp_accounting import pld
from scripted_agent import Script

from client.site_home import SiteHome
from federation.agreement import Agreement
from federation.run_folder import RunFolder
from privacy.ledger import Ledger, verify


def rounds_of(run: RunFolder) -> list[dict]:
    """The rounds as the coordinator recorded them, in order."""
    lines = [json.loads(line) for line in run.rounds.read_text().splitlines()]
    return [line["record"]["round"] for line in lines if line["event"] == "round"]


def assert_never_undercounted(home: Path, run: RunFolder) -> int:
    """What the site gave is charged, once and for one vector each; returns how often it was.

    The ledger's chain is verified; every vector that was made stands under a reservation made
    before it, no two under one; every sum that the site is in is committed with that vector's
    hash; and what the ledger says is spent is what dp-accounting makes of so many charges.
    """
    site, key = SiteHome(home), SiteHome(home).read_identity()
    entries = verify(site.ledger, key.public_key())
    by_seq = {entry.seq: entry for entry in entries}
    made = [one for one in Script(home).vectors if one["run"] == run.id and one["entry"]]
    by_charge: dict[int, set[str]] = {}
    for one in made:
        assert by_seq[one["entry"]].kind == "reserve"
        by_charge.setdefault(one["entry"], set()).add(one["sha256"])
    assert all(len(vectors) == 1 for vectors in by_charge.values()), by_charge
    per_round = Counter(
        entry.body["round"]
        for entry in entries
        if entry.kind == "reserve" and entry.body["run"] == run.id
    )
    agreement = Agreement.from_bytes(run.agreement.read_bytes())
    assert set(per_round.values()) <= {1}
    assert len(per_round) <= agreement.rounds
    commits = (entry.body for entry in entries if entry.kind == "commit")
    committed = {body["reservation"]: body for body in commits}
    name = home.name
    for done in rounds_of(run):
        if done["kind"] == "train" and done["status"] == "completed" and name in done["survivors"]:
            (charge,) = {one["entry"] for one in made if one["round"] == done["round"]}
            assert {committed[charge]["released_sha256"]} == by_charge[charge]
    _assert_cost_is_the_accountants(site, agreement, entries)
    return len(per_round)


def _assert_cost_is_the_accountants(site: SiteHome, agreement: Agreement, entries) -> None:
    plans = {e.body["run"] for e in entries if e.kind == "reserve"}
    if plans != {agreement.run}:
        return  # the event is this run's
    charges = sum(e.kind == "reserve" for e in entries) - sum(e.kind == "void" for e in entries)
    training, privacy = agreement.training, agreement.privacy
    accountant = pld.PLDAccountant()
    one = dp_accounting.PoissonSampledDpEvent(
        training.sampling_rate, dp_accounting.GaussianDpEvent(privacy.noise_multiplier)
    )
    accountant.compose(one, training.local_steps * charges)
    ledger = Ledger.open(site.ledger, site.read_identity(), lambda: "")
    try:
        spent = ledger.spent().epsilon
        delta = ledger.account().in_force().record.delta
    finally:
        ledger.close()
    assert spent == pytest.approx(accountant.get_epsilon(delta), rel=1e-3)
