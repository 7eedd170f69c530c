"""Ledgers that were cut, rolled back or exchanged are found by what other sites saw."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.consent import Refusal
from client.journal import MOST_WITNESSED, Journal
from client.ledger_witness import LedgerWitness
from federation.errors import ProtocolViolation
from federation.ledger_head import sign_head, verify_head
from federation.round_messages import Heads
from privacy.account import Charge, ChargePlan
from privacy.budget import Budget, DatasetPolicy
from privacy.event import PoissonSampledGaussian
from privacy.ledger import Ledger

SITES = ("aachen", "berlin", "celle")
PLAN = ChargePlan("r", Charge(PoissonSampledGaussian(0.1, 5.0, 1)), 10, 3)


class Site:
    def __init__(self, folder, name, keys, dataset="heart"):
        self.folder, self.name, self.keys, self.dataset = folder, name, keys, dataset
        folder.mkdir()
        self.path = folder / "ledger.sqlite"
        Ledger.create(
            self.path, keys[name], (name, dataset), DatasetPolicy(Budget(9.0, 1e-3)), lambda: "now"
        ).close()
        self.open()

    def open(self):
        self.ledger = Ledger.open(self.path, self.keys[self.name], lambda: "now")
        self.journal = Journal(self.folder / "journal.sqlite")
        public = {name: key.public_key() for name, key in self.keys.items()}
        self.witness = LedgerWitness(
            "clinics", self.name, self.keys[self.name], public, self.ledger, self.journal
        )

    def charge(self, rounds=1):
        self.ledger.register(PLAN)
        for _ in range(rounds):
            number = self.ledger.account().charged("r") + 1
            self.ledger.commit(self.ledger.reserve("r", number, 1), "00" * 32)

    def put_back(self, copy: bytes):
        self.ledger.close()
        self.path.write_bytes(copy)
        self.open()


def show(sites, run="run-1"):
    """What a coordinator does at the start and at the end of a run."""
    claims = tuple(site.witness.own_head(run) for site in sites)
    remembered = [one for site in sites for one in site.witness.remembered(run)]
    return {
        site.name: site.witness.answer(
            run,
            Heads(
                claims=claims,
                about_you=tuple(one for one in remembered if one.head.site == site.name),
            ),
        )
        for site in sites
    }


@pytest.fixture
def sites(tmp_path):
    keys = {name: Ed25519PrivateKey.generate() for name in SITES}
    return [Site(tmp_path / name, name, keys) for name in SITES]


def test_what_is_witnessed_is_signed_by_whoever_saw_it(sites) -> None:
    said = show(sites)
    public = {name: key.public_key() for name, key in sites[0].keys.items()}
    for name, answer in said.items():
        assert {one.head.site for one in answer.statements} == set(SITES) - {name}
        for statement in answer.statements:
            assert statement.signer == name
            verify_head(statement, "clinics", public)
            with pytest.raises(ProtocolViolation, match="not signed by"):
                verify_head(statement, "banks", public)


def test_a_ledger_that_grew_is_what_was_expected(sites) -> None:
    show(sites)
    sites[0].charge(3)
    said = show(sites, "run-2")
    assert all(not answer.setbacks for answer in said.values())
    seen = {site: seq for site, _, seq, _ in sites[1].journal.witnessed_heads()}
    assert seen == {"aachen": 8, "celle": 1}


def test_a_ledger_put_back_from_a_backup_is_found_by_its_own_site_and_by_others(sites) -> None:
    sites[0].charge(1)
    backup = sites[0].path.read_bytes()
    sites[0].charge(2)
    show(sites)
    sites[0].put_back(backup)
    with pytest.raises(Refusal, match=r"ends at entry 4, and berlin saw entry 8") as refused:
        show(sites, "run-2")
    assert refused.value.code == "ledger_behind_witness"
    with pytest.raises(Refusal, match="restore it before anything is charged"):
        sites[0].witness.require_not_behind()
    claim = (sites[0].witness.own_head("run-2"),)
    setback = sites[1].witness.answer("run-2", Heads(claims=claim, about_you=())).setbacks[0]
    assert (setback.site, setback.shown, setback.remembered) == ("aachen", 4, 8)


def test_a_fork_that_has_grown_past_what_was_seen_is_found_by_its_own_site(sites) -> None:
    sites[0].charge(1)
    backup = sites[0].path.read_bytes()
    sites[0].charge(1)
    show(sites)
    sites[0].put_back(backup)
    sites[0].ledger.register(ChargePlan("other", PLAN.charge, 10, 3))
    for number in range(1, 9):
        sites[0].ledger.reserve("other", number, 1)
    with pytest.raises(Refusal, match="which it does not hold"):
        show(sites, "run-2")


def test_a_fork_of_the_same_length_is_found_by_others(sites) -> None:
    backup = sites[0].path.read_bytes()
    sites[0].charge(1)
    show(sites)
    sites[0].put_back(backup)
    sites[0].ledger.register(PLAN)
    sites[0].ledger.commit(sites[0].ledger.reserve("r", 1, 1), "11" * 32)
    claim = (sites[0].witness.own_head("run-2"),)
    (setback,) = sites[1].witness.answer("run-2", Heads(claims=claim, about_you=())).setbacks
    assert setback.shown == setback.remembered == 4


def test_a_ledger_started_over_for_the_same_dataset_is_found(sites) -> None:
    sites[0].charge(1)
    show(sites)
    sites[0].ledger.close()
    sites[0].path.unlink()
    Ledger.create(
        sites[0].path, sites[0].keys["aachen"], ("aachen", "heart"),
        DatasetPolicy(Budget(9.0, 1e-3)), lambda: "now",
    ).close()  # fmt: skip
    sites[0].open()
    with pytest.raises(Refusal, match="ends at entry 1"):
        show(sites, "run-2")


def test_another_dataset_has_a_ledger_of_its_own(sites, tmp_path) -> None:
    sites[0].charge(2)
    show(sites)
    other = Site(tmp_path / "other", "aachen", sites[0].keys, "lungs")
    said = show([other, *sites[1:]], "run-2")
    assert all(not answer.setbacks for answer in said.values())


def test_statements_of_another_run_or_about_others_or_forged_are_refused(sites) -> None:
    a, b, _ = sites
    old, mine = a.witness.own_head("run-0"), b.witness.own_head("run-1")
    stranger = Ed25519PrivateKey.generate()
    forged = sign_head(mine.head, "clinics", "celle", stranger)
    unknown = sign_head(mine.head, "clinics", "dresden", stranger)
    hearsay = sign_head(a.witness.own_head("run-1").head, "clinics", "berlin", b.keys["berlin"])
    wrong = [
        (Heads(claims=(old,), about_you=()), "shown in another run"),
        (Heads(claims=(hearsay,), about_you=()), "not its owner's claim"),
        (Heads(claims=(mine, mine), about_you=()), "two claims of one site"),
        (Heads(claims=(), about_you=(mine,)), "not another site's statement"),
        (Heads(claims=(), about_you=(forged,)), "not signed by celle"),
        (Heads(claims=(), about_you=(unknown,)), "dresden is not in the roster"),
    ]
    for heads, complaint in wrong:
        with pytest.raises(ProtocolViolation, match=complaint):
            b.witness.answer("run-1", heads)
    assert b.journal.witnessed_heads() == []
    b.witness.require_not_behind()


def test_a_site_with_more_datasets_than_a_message_holds_hides_no_other(sites) -> None:
    show(sites)
    for number in range(MOST_WITNESSED + 5):
        sites[1].journal.witness_head("celle", f"{number:064}", 1, "0" * 64)
    show(sites, "run-2")
    spoken = sites[1].witness.remembered("run-3")
    assert len(spoken) == MOST_WITNESSED
    assert sites[0].witness.own_head("run-2").head.dataset in {one.head.dataset for one in spoken}


def test_the_digest_of_a_dataset_is_the_sites_own(sites) -> None:
    digests = {site.witness.own_head("r").head.dataset for site in sites}
    assert len(digests) == 3
    assert all("heart" not in digest for digest in digests)
