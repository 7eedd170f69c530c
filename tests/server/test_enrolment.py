"""Who gets in, who is shut out, and what the consortium signs: each attack by name."""

import shutil
import stat
from datetime import timedelta

import pytest
from sample_consortium import KEY, OTHER
from sample_enrolment import (
    NOW,
    SOFTWARE,
    Founded,
    found,
    identity,
    keys_of,
    line,
    request_of,
)

from federation.config import Training
from federation.countersignature import countersign
from federation.errors import ConfigError, IntegrityError, UsageError
from federation.membership import read_membership
from federation.revocation import RevocationList
from federation.site_package import SitePackage
from federation.site_request import RequestedSite, SiteKeys, make_exchange
from federation.software import Software
from server import enrolment, roster_signing
from server.coordinator_config import CoordinatorConfig
from server.countersigning import accept, missing, require_ready
from server.federation_home import FederationHome
from server.federation_setup import set_up
from server.rules_draft import read_draft

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def founded_once(tmp_path_factory) -> Founded:
    return found(tmp_path_factory.mktemp("kit") / "fed")


@pytest.fixture
def fed(founded_once, tmp_path) -> FederationHome:
    shutil.copytree(founded_once.home.path, tmp_path / "fed")
    return FederationHome(tmp_path / "fed")


@pytest.fixture
def running(fed) -> FederationHome:
    """Three sites, signed and countersigned."""
    enroll(fed, "a", "b", "c")
    sign(fed)
    for site in "abc":
        accept(fed, countersigned(fed, site))
    return fed


def enroll(fed: FederationHome, *names: str) -> None:
    for name in names:
        enrolment.enroll(fed, request_of(name), NOW, SOFTWARE)


def sign(fed: FederationHome, now=NOW):
    return roster_signing.sign(fed, KEY, now, SOFTWARE)


def countersigned(fed: FederationHome, site: str, key: str = "") -> bytes:
    members = read_membership(fed.given)
    identity_key = keys_of(key or site).identity
    return countersign(site, identity_key, members.roster, members.signed_rules).to_bytes()


def exchange(site: str, new: SiteKeys, created: str = "2027-03-01T11:00:00+00:00", held=None):
    wanted = RequestedSite(site=site, federation="f", public_rows=100, delta=1e-3)
    held = held or request_of(site)
    return make_exchange(wanted, new, SOFTWARE, created, held, keys_of(site))


def new_node(site: str) -> SiteKeys:
    return SiteKeys(keys_of(site).identity, keys_of(f"{site}-new").node)


def test_secrets_are_for_their_owner_alone(fed) -> None:
    set_up(
        FederationHome(fed.path.parent / "own"), CoordinatorConfig(name="f", hosts=("x",)), NOW,
        existing_ca=None, consortium=None,
    )  # fmt: skip
    own = FederationHome(fed.path.parent / "own")
    for secret in (own.ca_key, own.server_key, own.loopback_key, own.consortium_key):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600, secret
    for folder in (own.path, own.consortium_key.parent, own.ca_key.parent, own.superlink):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    assert roster_signing.read_consortium_key(own.consortium_key).public == (
        own.given.read_consortium()
    )


def test_a_folder_that_is_not_empty_is_left_alone(fed) -> None:
    before = sorted(fed.path.rglob("*"))
    with pytest.raises(UsageError, match="exists and is not empty"):
        set_up(fed, fed.config(), NOW, existing_ca=None, consortium=None)
    assert sorted(fed.path.rglob("*")) == before


def test_a_set_up_that_fails_leaves_nothing(tmp_path) -> None:
    home = FederationHome(tmp_path / "new")
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nonsense")
    config = CoordinatorConfig(name="f", hosts=("x",))
    with pytest.raises(IntegrityError, match="no certificate in PEM"):
        set_up(home, config, NOW, existing_ca=wrong, consortium=None)
    with pytest.raises(IntegrityError, match=r"wrong\.pem: it holds no public key"):
        set_up(home, config, NOW, existing_ca=None, consortium=wrong)
    assert list(tmp_path.iterdir()) == [wrong]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name = "f"\nhosts = []', "hosts"),
        ('name = "f"\nhosts = ["Fed.example.org"]', "a host name in lower case"),
        ('name = "f"\nhosts = ["a b"]', "a host name"),
        ('name = "f"\nhosts = ["127.0.0.01"]', "a host name"),
        ('name = "f"\nhosts = ["x"]\nprot = 1', "did you mean port"),
        ('name = "f"\nhosts = ["x"]\nport = 18443', "another port than"),
        ('name = "f"\nhosts = ["x"]\nport = 70000', "<= 65535"),
        ('name = "f"\nhosts = ["x"]\nserver_certificate_days = 398', "<= 397"),
    ],
)
def test_a_wrong_setting_is_named(fed, text: str, says: str) -> None:
    fed.config_file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        fed.config()


def test_a_site_is_in_the_roster_once_that_is_signed(fed) -> None:
    enroll(fed, "a", "b", "c")
    assert fed.node_keys() == {}
    done = sign(fed)
    assert dict(done.membership.roster.keys) == {site: identity(site) for site in "abc"}
    assert fed.node_keys() == {site: line(site) for site in "abc"}
    assert fed.given.read_roster(int(NOW.timestamp())) == done.membership.roster
    assert fed.given.read_run_rules(done.membership.roster) == done.membership.signed_rules
    for site in "abc":
        package = SitePackage.from_bytes(fed.package(site).read_bytes())
        assert (package.site, package.membership) == (site, done.membership)


@pytest.mark.parametrize(
    ("request_", "kind", "says"),
    [
        (request_of("d", federation="g"), IntegrityError, "for the federation g, and this is f"),
        (request_of("a"), UsageError, "a is enrolled already with this request"),
        (request_of("a", keys=keys_of("d")), UsageError, "a is enrolled already, with another"),
        (request_of("d", keys=keys_of("a")), IntegrityError, "identity key of d is that of a"),
        (
            request_of("d", keys=SiteKeys(keys_of("d").identity, keys_of("b").node)),
            IntegrityError,
            "node key of d is that of b already",
        ),
        (request_of("d", created="2027-01-01T00:00:00+00:00"), IntegrityError, "expired"),
        (request_of("d", created="2027-03-03T00:00:00+00:00"), IntegrityError, "two clocks"),
        (exchange("a", new_node("a")), UsageError, "hedgerow coordinator rotate"),
    ],
)
def test_a_request_that_must_not_get_in(running, request_, kind, says: str) -> None:
    with pytest.raises(kind, match=says):
        enrolment.enroll(running, request_, NOW, SOFTWARE)
    assert sorted(enrolment.enrolled(running)) == ["a", "b", "c"]


def test_a_site_with_other_software_is_told_what_to_install(fed) -> None:
    with pytest.raises(
        UsageError, match=r"the site a runs flwr 1\.41\.0 and this machine .* 1\.50"
    ):
        enrolment.enroll(fed, request_of("a"), NOW, Software(hedgerow="0.1.0", flwr="1.50.0"))


def test_a_request_altered_in_the_folder_is_named(running) -> None:
    path = running.request("b")
    path.write_bytes(path.read_bytes().replace(b'"public_rows":100', b'"public_rows":900'))
    with pytest.raises(IntegrityError, match=rf"{path}: the request of b was altered"):
        sign(running)


def test_signing_again_changes_nothing_until_something_has_changed(running) -> None:
    before = running.given.membership.read_bytes()
    assert sign(running, NOW + DAY).changes == []
    assert running.given.membership.read_bytes() == before
    draft = running.rules_draft
    draft.write_text(draft.read_text().replace("most_rounds = 1000", "most_rounds = 50"))
    done = sign(running, NOW + DAY)
    assert done.changes == ["run rules: most_rounds was 1000, now 50"]
    assert (done.membership.release.version, done.membership.rules.version) == (2, 2)


@pytest.mark.parametrize(
    ("line_", "says"),
    [
        ("minimum_quorum = 2", "minimum_quorum = 2: expected a number >= 3"),
        ("least_nois_multiplier = 1.0", "did you mean least_noise_multiplier"),
        ("version = 9", "no such key: signing counts it"),
        ('federation = "g"', "no such key: the coordinator's settings name it"),
        ("ring_bits = [17]", "some of 16, 20, 24 and 32"),
    ],
)
def test_a_wrong_rule_is_named_and_nothing_is_signed(fed, line_: str, says: str) -> None:
    enroll(fed, "a")
    kept = [
        one
        for one in fed.rules_draft.read_text().splitlines()
        if not one.startswith(line_.partition(" ")[0])
    ]
    fed.rules_draft.write_text("\n".join([*kept, line_]))
    with pytest.raises(ConfigError, match=says):
        sign(fed)
    assert not fed.given.membership.exists()


def test_the_drafted_rules_allow_the_usual_settings_of_a_run(fed) -> None:
    rules = read_draft(fed.rules_draft, "f", None)
    assert rules.largest_update_clip >= Training().update_clip
    assert (rules.minimum_quorum, rules.minimum_threshold, rules.minimum_contributors) == (3, 2, 3)
    assert not rules.allow_without_privacy


def test_nobody_but_the_consortium_signs(fed) -> None:
    enroll(fed, "a", "b", "c")
    with pytest.raises(IntegrityError, match="the key is of another consortium"):
        roster_signing.sign(fed, OTHER, NOW, SOFTWARE)
    with pytest.raises(UsageError, match=r"--consortium-key PATH"):
        roster_signing.read_consortium_key(fed.consortium_key)
    with pytest.raises(IntegrityError, match="holds no private key"):
        roster_signing.read_consortium_key(fed.ca)
    with pytest.raises(IntegrityError, match="holds no Ed25519 key"):
        roster_signing.read_consortium_key(fed.server_key)


def test_an_empty_federation_has_no_roster(fed) -> None:
    with pytest.raises(UsageError, match="no site is enrolled"):
        sign(fed)


def test_a_revoked_site_cannot_connect_at_once_and_leaves_the_next_roster(running) -> None:
    enrolment.revoke(running, "c", NOW)
    assert set(running.node_keys()) == {"a", "b"}
    assert running.revoked_node_keys() == (line("c"),)
    with pytest.raises(UsageError, match="key of c was revoked: the consortium must sign"):
        require_ready(running, NOW)
    done = sign(running)
    assert done.changes == ["site revoked: c"]
    assert set(done.membership.roster.keys) == {"a", "b"}
    assert not running.package("c").exists()
    assert running.revoked_node_keys() == (line("c"),)


@pytest.mark.parametrize(
    "keys",
    [
        keys_of("c"),
        SiteKeys(keys_of("c").identity, keys_of("fresh").node),
        SiteKeys(keys_of("fresh").identity, keys_of("c").node),
    ],
)
def test_a_revoked_key_never_comes_back(running, keys: SiteKeys) -> None:
    enrolment.revoke(running, "c", NOW)
    sign(running)
    for name in ("c", "d"):
        with pytest.raises(IntegrityError, match=r"was revoked .*it is never good again"):
            enrolment.enroll(running, request_of(name, keys=keys), NOW, SOFTWARE)


def test_a_revoked_site_that_is_put_back_by_hand_is_not_signed(running) -> None:
    kept = running.request("c").read_bytes()
    enrolment.revoke(running, "c", NOW)
    sign(running)
    running.request("c").write_bytes(kept)
    running.write_revocations(RevocationList())  # the signed list still has it
    with pytest.raises(IntegrityError, match="certifies a revoked identity key"):
        sign(running)


def test_a_site_with_new_keys_may_come_back_under_its_name(running) -> None:
    enrolment.revoke(running, "c", NOW)
    sign(running)
    enrolment.enroll(running, request_of("c", keys=keys_of("c-anew")), NOW, SOFTWARE)
    members = sign(running).membership
    assert members.roster.keys["c"] == identity("c-anew")
    assert [one.serial for one in members.roster.certificates] == [1, 2, 4]


def test_revoking_goes_on_after_a_crash_in_between(running, monkeypatch) -> None:
    monkeypatch.setattr("pathlib.Path.unlink", _refuse)
    with pytest.raises(OSError, match="power"):
        enrolment.revoke(running, "c", NOW)
    monkeypatch.undo()
    assert "c" not in running.node_keys()
    with pytest.raises(IntegrityError, match="revoked"):
        sign(running)
    enrolment.revoke(running, "c", NOW)
    assert len(running.revocations().revoked) == 2
    assert set(sign(running).membership.roster.keys) == {"a", "b"}


def _refuse(*_, **__) -> None:
    raise OSError("power cut")


def test_a_node_key_is_exchanged_and_the_roster_stays(running) -> None:
    enrolment.rotate(running, exchange("b", new_node("b")), NOW, SOFTWARE, node_lost=False)
    assert "b" not in running.node_keys()  # the old one is shut out, the new one not signed yet
    before = read_membership(running.given)
    done = sign(running)
    assert done.changes == ["node key exchanged: b"]
    assert running.node_keys()["b"] == line("b-new")
    assert running.revoked_node_keys() == (line("b"),)
    assert done.membership.roster == before.roster
    assert require_ready(running, NOW) == done.membership  # countersignatures still hold


def test_an_exchange_of_the_wrong_kind_is_refused(running) -> None:
    good = exchange("b", new_node("b"))
    for request, says in (
        (exchange("b", new_node("b"), held=request_of("a")), "other keys than those in force"),
        (exchange("b", SiteKeys(keys_of("b").identity, keys_of("a").node)), "is that of a already"),
        (request_of("b"), "exchanged by this request already"),
        (request_of("b", created="2027-03-01T10:30:00+00:00"), "asks to be enrolled"),
        (exchange("b", keys_of("b")), "has the same keys"),
    ):
        with pytest.raises((IntegrityError, UsageError), match=says):
            enrolment.rotate(running, request, NOW, SOFTWARE, node_lost=False)
    with pytest.raises(UsageError, match="there is no site d here; enrolled are a, b, c"):
        enrolment.rotate(running, _named(good, "d"), NOW, SOFTWARE, node_lost=False)
    enrolment.rotate(running, good, NOW, SOFTWARE, node_lost=False)
    with pytest.raises(UsageError, match="exchanged by this request already"):
        enrolment.rotate(running, good, NOW, SOFTWARE, node_lost=False)
    second = SiteKeys(keys_of("b").identity, keys_of("b-newer").node)
    enrolment.rotate(
        running,
        make_exchange(
            RequestedSite(site="b", federation="f", public_rows=100, delta=1e-3), second, SOFTWARE,
            "2027-03-01T11:30:00+00:00", good, new_node("b"),
        ),
        NOW, SOFTWARE, node_lost=False,
    )  # fmt: skip
    with pytest.raises(IntegrityError, match="other keys than those in force"):
        enrolment.rotate(running, good, NOW, SOFTWARE, node_lost=False)  # played again


def _named(request, site: str):
    return request.model_copy(update={"site": site})


def test_certificates_are_renewed_before_they_end(running) -> None:
    before = read_membership(running.given).roster.certificates[0]
    assert sign(running, NOW + 639 * DAY).changes == []
    done = sign(running, NOW + 641 * DAY)
    assert [change.partition(",")[0] for change in done.changes] == [
        f"certificate renewed: {site}" for site in "abc"
    ]
    after = done.membership.roster.certificates[0]
    assert (before.serial, after.serial) == (1, 4)
    assert after.not_after - before.not_after == 641 * 86_400
    assert set(missing(running, done.membership)) == {"a", "b", "c"}


def test_runs_begin_when_every_invited_site_has_countersigned_what_is_in_force(running) -> None:
    require_ready(running, NOW)
    enroll(running, "d")
    with pytest.raises(UsageError, match="d is enrolled and not in the roster"):
        require_ready(running, NOW)
    old = countersigned(running, "a")
    sign(running)
    with pytest.raises(UsageError, match=r"a countersigned another roster .*roster accept FED"):
        require_ready(running, NOW)
    with pytest.raises(IntegrityError, match="a countersigned another roster"):
        accept(running, old)
    for site in "abc":
        accept(running, countersigned(running, site))
    require_ready(running, NOW, ["a", "b", "c"])
    with pytest.raises(UsageError, match="d has not countersigned the roster"):
        require_ready(running, NOW)
    with pytest.raises(UsageError, match="x is not in the roster, which has a, b, c, d"):
        require_ready(running, NOW, ["x"])
    with pytest.raises(IntegrityError, match="expired"):
        require_ready(running, NOW + 731 * DAY)


def test_a_countersignature_by_another_site_is_refused(running) -> None:
    with pytest.raises(IntegrityError, match="not by the key that the roster certifies"):
        accept(running, countersigned(running, "a", key="b"))
    running.countersignature("a").write_bytes(countersigned(running, "b"))
    with pytest.raises(UsageError, match="is the countersignature of b"):
        require_ready(running, NOW)


def test_before_anything_is_signed_no_run_begins(fed) -> None:
    with pytest.raises(UsageError, match="no roster is signed yet"):
        require_ready(fed, NOW)


def test_it_is_signed_on_another_machine_and_comes_back(running, tmp_path) -> None:
    enroll(running, "d")
    away = tmp_path / "stick"
    roster_signing.export_unsigned(running, away)
    copied = {path.name for path in away.rglob("*") if path.is_file()}
    assert not {name for name in copied if "key" in name or name.startswith("server")}
    sign(FederationHome(away))
    done = roster_signing.import_signed(running, away)
    assert [change.partition(",")[0] for change in done.changes] == ["site added: d"]
    assert running.package("d").exists()
    assert roster_signing.import_signed(running, away).changes == []
    enrolment.revoke(running, "d", NOW)
    with pytest.raises(IntegrityError, match="is not what is enrolled here: the identity key of d"):
        roster_signing.import_signed(running, away)
    sign(running)
    with pytest.raises(IntegrityError, match="it is release 2, and release 3 is in force here"):
        roster_signing.import_signed(running, away)


def test_a_copy_that_another_consortium_signed_is_refused(running, tmp_path) -> None:
    away = tmp_path / "stick"
    roster_signing.export_unsigned(running, away)
    FederationHome(away).given.consortium.write_bytes(OTHER.public.to_pem())
    FederationHome(away).given.membership.unlink()
    with pytest.raises(UsageError, match="sign it there first"):
        roster_signing.import_signed(running, away)
    roster_signing.sign(FederationHome(away), OTHER, NOW, SOFTWARE)
    with pytest.raises(IntegrityError, match=r"another consortium .* than the pinned one"):
        roster_signing.import_signed(running, away)


def test_two_commands_do_not_change_the_folder_at_once(fed, monkeypatch) -> None:
    monkeypatch.setattr("server.federation_home.PATIENCE_SECONDS", 0.0)
    with fed.claimed(), pytest.raises(UsageError, match="another command"), fed.claimed():
        pass
    with fed.claimed():
        pass


def test_what_is_no_federation_is_said(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"it holds no coordinator\.toml"):
        FederationHome.opened(tmp_path)
    assert list(tmp_path.iterdir()) == []
