"""Setting a site up and joining: keys stay, and only what is for this site and newer gets in."""

import os
import shutil
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sample_consortium import KEY, OTHER, roster_of, signed_rules
from sample_enrolment import CREATED, NOW, SOFTWARE, authority, identity, line, membership_of

from client import joining, site_setup
from client.home_opening import verify_home
from client.policy_text import FirstPolicy, usual_delta
from client.site_home import SiteHome
from federation import node_key
from federation.countersignature import Countersignature, require_countersigned
from federation.errors import ConfigError, IntegrityError, UsageError
from federation.file_lock import hold
from federation.membership import Membership, read_membership
from federation.release import Release, SignedRelease
from federation.site_connection import SiteConnection
from federation.site_package import SitePackage, ca_digest
from federation.site_policy import SitePolicy
from federation.site_request import SiteEnrolment, require_exchange
from federation.software import Software
from privacy.account import Charge, ChargePlan
from privacy.event import PoissonSampledGaussian
from privacy.ledger import Ledger
from privacy.open_ledger import open_ledger
from server.certificate_authority import new_authority

POLICY = FirstPolicy(
    site="a", dataset='rows "of" 2026', public_rows=300, tasks=("heart", "mytask:Task"),
    split_seed=7, epsilon=4.0, delta=1e-3,
)  # fmt: skip
LATER = "2027-03-01T11:00:00+00:00"


@pytest.fixture(scope="module")
def made_once(tmp_path_factory) -> SiteHome:
    home = SiteHome(tmp_path_factory.mktemp("site") / "a")
    site_setup.set_up(home, POLICY, "f", SOFTWARE, CREATED)
    return home


@pytest.fixture
def home(made_once, tmp_path) -> SiteHome:
    shutil.copytree(made_once.path, tmp_path / "a")
    return SiteHome(tmp_path / "a")


def own_identity(home: SiteHome) -> bytes:
    return home.read_identity().public_key().public_bytes_raw()


def own_line(home: SiteHome) -> str:
    return home.node_key_public.read_text().strip()


def members_with(home: SiteHome, key=KEY, sites="bc", own=None, node=None, **changes) -> Membership:
    """The consortium's word on this site and others."""
    federation = changes.pop("federation", "f")
    keys = {site: identity(site) for site in sites} | {"a": own or own_identity(home)}
    roster, rules = roster_of(keys, federation, key), signed_rules(key, federation=federation)
    lines = {site: line(site) for site in sites} | {"a": node or own_line(home)}
    like = membership_of().release.model_dump()
    release = like | {
        "federation": federation,
        "node_keys": lines,
        "roster_digest": roster.digest(),
        "rules_digest": rules.digest(),
    }
    signed = SignedRelease.sign(key, Release.model_validate(release | changes))
    return Membership(roster, rules, signed)


def package(home: SiteHome, members: Membership, ca: bytes | None = None, site: str = "a"):
    path = home.path.parent / "a.hedgerow"
    path.write_bytes(SitePackage(site, ca or authority(), members).to_bytes())
    return path


def join(
    home: SiteHome, members: Membership, now=NOW, software=SOFTWARE, **given
) -> Countersignature:
    found = joining.examine(home, package(home, members, **given), software, now)
    return joining.install_package(home, found)


def snapshot(home: SiteHome) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.path.iterdir() if path.is_file()}


def test_the_folder_is_for_its_owner_and_the_request_holds_no_secret(home) -> None:
    for secret in (home.identity, home.node_key, home.ledger, home.policy):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600, secret
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    data = home.request("a").read_bytes()
    request = SiteEnrolment.from_bytes(data)
    assert (request.site, request.federation, request.public_rows) == ("a", "f", 300)
    assert bytes.fromhex(request.identity_key) == own_identity(home)
    assert request.node_key == own_line(home)
    assert home.read_identity().private_bytes_raw().hex().encode() not in data
    assert b"PRIVATE" not in data


def test_the_policy_says_what_was_chosen_and_the_ledger_holds_it(home) -> None:
    policy = SitePolicy.read(home.policy)
    assert policy.tasks == POLICY.tasks
    assert (policy.dataset, policy.epsilon_budget, policy.delta) == ('rows "of" 2026', 4.0, 1e-3)
    assert (policy.split_seed, policy.public_rows) == (7, 300)
    assert not policy.allow_without_privacy
    join(home, members_with(home))
    verify_home(home, home.ledger)  # key, roster, rules, ledger and policy fit together


@pytest.mark.parametrize(
    ("rows", "delta"), [(1, 1e-3), (300, 1e-3), (1000, 1e-3), (1001, 1e-4), (50_000, 1e-5)]
)
def test_delta_is_no_larger_than_one_over_rows(rows: int, delta: float) -> None:
    assert usual_delta(rows) == delta
    assert delta <= 1 / rows


def test_a_site_is_set_up_once(home) -> None:
    before = snapshot(home)
    with pytest.raises(UsageError, match="never started over"):
        site_setup.set_up(home, POLICY, "f", SOFTWARE, CREATED)
    assert snapshot(home) == before


def test_a_set_up_that_fails_leaves_nothing(tmp_path) -> None:
    wrong = FirstPolicy("A b", "rows", 300, ("heart",), 7, 4.0, 1e-3)
    with pytest.raises(ConfigError, match="site"):
        site_setup.set_up(SiteHome(tmp_path / "x"), wrong, "f", SOFTWARE, CREATED)
    with pytest.raises(ConfigError, match="epsilon_budget"):
        site_setup.set_up(
            SiteHome(tmp_path / "x"), FirstPolicy("a", "r", 3, (), 7, -1.0, 0.1), "f", SOFTWARE,
            CREATED,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_joining_installs_pins_and_countersigns(home) -> None:
    members = members_with(home)
    signed = join(home, members)
    require_countersigned(signed, members.roster, members.signed_rules)
    assert Countersignature.from_bytes(home.countersignature("a").read_bytes()) == signed
    assert home.given.read_consortium() == KEY.public
    assert read_membership(home.given) == members
    assert home.given.read_roster(int(NOW.timestamp())) == members.roster
    assert home.given.read_run_rules(members.roster) == members.signed_rules
    assert home.authority.read_bytes() == authority()
    assert SiteConnection.read(home.connection).superlink == "fed.example.org:8443"


def _refused(home: SiteHome, says: str, make, error=IntegrityError) -> None:
    before = snapshot(home)
    with pytest.raises(error, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert snapshot(home) == before


ANOTHER = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
EXPIRED = new_authority("old", NOW - timedelta(days=20), days=10).certificate


@pytest.mark.parametrize(
    ("changes", "given", "says"),
    [
        ({"federation": "g"}, {}, "of the federation g, and this site asked to join f"),
        ({"own": ANOTHER}, {}, "certifies another identity key for a .*call the coordinator"),
        ({"node": line("eve")}, {}, "names another node key for a .*call the coordinator"),
        ({}, {"site": "b"}, "the package is for the site b, and this is a"),
        (
            {"ca_sha256": ca_digest(EXPIRED)},
            {"ca": EXPIRED},
            "the CA CN=hedgerow CA of old is good from .* to .*; this machine's clock says",
        ),
    ],
)
def test_what_is_not_for_this_site_is_refused(home, changes, given, says: str) -> None:
    _refused(home, says, lambda: join(home, members_with(home, **changes), **given))


def test_what_is_altered_is_refused(home) -> None:
    path = package(home, members_with(home))
    path.write_bytes(path.read_bytes().replace(b"fed.example.org", b"bad.example.org"))
    _refused(
        home, rf"{path}: the release was altered",
        lambda: joining.examine(home, path, SOFTWARE, NOW),
    )  # fmt: skip
    path.write_bytes(b"x" * 10)
    _refused(home, "no site package", lambda: joining.examine(home, path, SOFTWARE, NOW))
    path.unlink()
    _refused(
        home, f"cannot read the site package {path}",
        lambda: joining.examine(home, path, SOFTWARE, NOW), UsageError,
    )  # fmt: skip


def test_a_coordinator_of_other_software_is_refused(home) -> None:
    newer = Software(hedgerow="0.1.0", flwr="1.42.0")
    _refused(
        home, r"the coordinator runs flwr 1\.41\.0 and this machine flwr 1\.42\.0",
        lambda: join(home, members_with(home), software=newer), UsageError,
    )  # fmt: skip


def test_another_consortium_than_the_pinned_one_is_refused(home) -> None:
    join(home, members_with(home))
    _refused(
        home, "another consortium .* than the pinned one",
        lambda: join(home, members_with(home, key=OTHER, version=9)),
    )  # fmt: skip


def test_a_consortium_that_was_pinned_by_hand_is_the_only_one(home) -> None:
    home.given.consortium.write_bytes(OTHER.public.to_pem())
    _refused(
        home, "another consortium .* than the pinned one", lambda: join(home, members_with(home))
    )
    join(home, members_with(home, key=OTHER))


def test_an_older_release_does_not_come_back(home) -> None:
    old = members_with(home, sites="bcd")
    join(home, old)
    newer = members_with(home, version=2)
    join(home, newer)
    _refused(home, "it is release 1, and release 2 is in force here", lambda: join(home, old))
    twin = members_with(home, sites="bd", version=2)
    _refused(home, "signed two of one number", lambda: join(home, twin))
    join(home, newer)  # again is allowed: it finishes what a crash cut off


def test_a_revoked_site_that_is_in_the_roster_again_is_refused(home) -> None:
    gone = [
        {"site": "c", "kind": kind, "key": key, "reason": "revoked", "at": "t"}
        for kind, key in (("identity", identity("c").hex()), ("node", line("c")))
    ]
    revoked = {"version": 1, "revoked": tuple(gone)}
    join(home, members_with(home, sites="bcd"))
    join(home, members_with(home, sites="bd", version=2, revoked=revoked))
    _refused(
        home, "the revocation of the identity key of c was taken back",
        lambda: join(home, members_with(home, sites="bcd", version=3)),
    )  # fmt: skip
    with pytest.raises(IntegrityError, match="certifies a revoked identity key"):
        members_with(home, sites="bcd", version=3, revoked=revoked)


def test_while_the_agent_runs_nothing_is_replaced(home) -> None:
    lock = hold(home.lock)
    try:
        _refused(
            home, "the agent of .* is running .*stop it", lambda: join(home, members_with(home)),
            UsageError,
        )  # fmt: skip
    finally:
        os.close(lock)
    join(home, members_with(home))


@pytest.mark.parametrize("written", range(1, 7))
def test_a_joining_that_was_cut_off_is_finished_by_doing_it_again(
    home, monkeypatch, written
) -> None:
    members = members_with(home)
    wanted = SiteHome(home.path.parent / "whole")
    shutil.copytree(home.path, wanted.path)
    join(wanted, members)
    _cut_off_after(monkeypatch, written)
    with pytest.raises(OSError, match="power"):
        join(home, members)
    monkeypatch.undo()
    join(home, members)
    assert snapshot(home) == snapshot(wanted)


def _cut_off_after(monkeypatch, writes: int) -> None:
    left, original = [writes], Path.replace

    def counted(path, target):
        left[0] -= 1
        if left[0] < 0:
            raise OSError("power cut")
        return original(path, target)

    monkeypatch.setattr(Path, "replace", counted)


def test_a_node_key_is_exchanged_when_the_release_names_the_new_one(home) -> None:
    join(home, members_with(home))
    before = own_line(home)
    request = site_setup.rotate_keys(home, SOFTWARE, LATER, node_key_lost=False)
    in_force = SiteEnrolment.from_bytes(home.request("a").read_bytes())
    require_exchange(request, in_force, node_lost=False)
    assert stat.S_IMODE(home.next_node_key.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="asks for an exchange already"):
        site_setup.rotate_keys(home, SOFTWARE, LATER, node_key_lost=False)
    join(home, members_with(home, sites="bcd", version=2))  # the consortium was not so far yet
    assert own_line(home) == before
    join(home, members_with(home, version=3, node=request.node_key))
    assert own_line(home) == request.node_key != before
    assert node_key.public_line(node_key.read_private(home.node_key.read_bytes())) == own_line(home)
    assert not home.next_node_key.exists()
    assert SiteEnrolment.from_bytes(home.request("a").read_bytes()) == request
    site_setup.rotate_keys(home, SOFTWARE, LATER, node_key_lost=False)  # and so on


def spend(home: SiteHome) -> float:
    """Something that must stay spent."""
    with open_ledger(home.ledger, home.identity) as ledger:
        ledger.register(ChargePlan("r", Charge(PoissonSampledGaussian(0.25, 3.0, 3)), 10, 3))
        ledger.reserve("r", 1, 1)
        return ledger.spent().epsilon


def test_an_identity_key_is_exchanged_and_the_ledger_goes_on(home) -> None:
    join(home, members_with(home))
    old, spent = home.read_identity(), spend(home)
    request = site_setup.rotate_keys(home, SOFTWARE, LATER, with_identity=True)
    in_force = SiteEnrolment.from_bytes(home.request("a").read_bytes())
    require_exchange(request, in_force, node_lost=False)
    assert own_identity(home).hex() == in_force.identity_key != request.identity_key
    new = bytes.fromhex(request.identity_key)
    members = members_with(home, version=2, own=new, node=request.node_key)
    signed = join(home, members)
    require_countersigned(signed, members.roster, members.signed_rules)
    assert own_identity(home) == new
    verify_home(home, home.ledger)
    with open_ledger(home.ledger, home.identity) as ledger:
        assert ledger.spent().epsilon == spent
        ledger.reserve("r", 2, 1)
        assert ledger.spent().epsilon > spent
    with pytest.raises(IntegrityError, match="not signed by the site"):
        Ledger.open(home.ledger, old, lambda: LATER)
    assert not home.next_identity.exists()


@pytest.mark.parametrize("written", range(9))
def test_an_exchange_that_was_cut_off_is_finished_by_joining_again(
    home, monkeypatch, written
) -> None:
    join(home, members_with(home))
    spent = spend(home)
    request = site_setup.rotate_keys(home, SOFTWARE, LATER, with_identity=True)
    new = bytes.fromhex(request.identity_key)
    members = members_with(home, version=2, own=new, node=request.node_key)
    path = package(home, members)
    _cut_off_after(monkeypatch, written)
    with pytest.raises(OSError, match="power"):
        joining.install_package(home, joining.examine(home, path, SOFTWARE, NOW))
    monkeypatch.undo()
    joining.install_package(home, joining.examine(home, path, SOFTWARE, NOW))
    verify_home(home, home.ledger)
    with open_ledger(home.ledger, home.identity) as ledger:
        assert ledger.spent().epsilon == spent
        assert [entry.kind for entry in ledger.entries()].count("identity") == 1
    assert SiteEnrolment.from_bytes(home.request("a").read_bytes()) == request


def test_a_lost_node_key_is_exchanged_on_the_word_of_the_identity_key(home) -> None:
    join(home, members_with(home))
    in_force = SiteEnrolment.from_bytes(home.request("a").read_bytes())
    home.node_key.unlink()
    with pytest.raises(UsageError, match="cannot read the node key"):
        site_setup.rotate_keys(home, SOFTWARE, LATER, node_key_lost=False)
    request = site_setup.rotate_keys(home, SOFTWARE, LATER, node_key_lost=True)
    require_exchange(request, in_force, node_lost=True)
    join(home, members_with(home, version=2, node=request.node_key))
    assert own_line(home) == request.node_key


def test_a_request_is_made_anew_until_the_site_has_joined(home) -> None:
    old = SiteEnrolment.from_bytes(home.request("a").read_bytes())
    new = site_setup.renew_request(home, SOFTWARE, LATER)
    assert (new.created, new.keys_digest()) == (LATER, old.keys_digest())
    join(home, members_with(home))
    with pytest.raises(UsageError, match="has joined already"):
        site_setup.renew_request(home, SOFTWARE, LATER)


@pytest.mark.parametrize("file", ["node_key", "identity"])
def test_a_damaged_key_is_named(home, file: str) -> None:
    path, members = getattr(home, file), members_with(home)
    join(home, members)
    path.write_bytes(b"nonsense")
    for attempt in (
        lambda: site_setup.rotate_keys(home, SOFTWARE, LATER, node_key_lost=False),
        lambda: join(home, members_with_foreign(home)),
    ):
        with pytest.raises(IntegrityError, match=str(path)):
            attempt()


def members_with_foreign(home: SiteHome) -> Membership:
    request = SiteEnrolment.from_bytes(home.request("a").read_bytes())
    return members_with(home, own=bytes.fromhex(request.identity_key))
