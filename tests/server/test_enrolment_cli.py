"""Three sites and a coordinator, by the commands that people type."""

from pathlib import Path

import pytest
import typer
from cryptography import x509
from sample_consortium import KEY
from typer.testing import CliRunner

from client import joining_cli
from federation.audit_log import AuditLog
from federation.errors import HedgerowError, IntegrityError, UsageError
from privacy.ledger import stated_public_key
from server import enrolment_cli
from server.certificate_authority import KeyAndCertificate, new_authority, server_certificate
from server.coordinator_service import require_certificate
from server.countersigning import require_ready
from server.federation_home import FederationHome
from server.roster_signing import write_consortium_key

app = typer.Typer()
app.add_typer(enrolment_cli.app, name="coordinator")
app.add_typer(joining_cli.app, name="site")


INIT = "site init new --federation heart --dataset rows --epsilon 4"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str, *more: str) -> str:
    """What a command prints; its error is raised."""
    result = CliRunner().invoke(app, [*command.split(), *more])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def refused(command: str, *more: str) -> str:
    """The one line of its error."""
    with pytest.raises(HedgerowError) as caught:
        run(command, *more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def set_up(*sites: str) -> None:
    run("coordinator init fed --name heart --host fed.example.org --host 127.0.0.1")
    for site in sites:
        run(
            f"site init {site} --name {site} --federation heart --task heart --dataset rows "
            "--rows 300 --epsilon 4"
        )
    run("coordinator enroll fed", *(f"{site}/{site}.request" for site in sites))


def digest_told() -> str:
    shown = run("coordinator roster show fed").splitlines()
    return next(line.removeprefix("roster ") for line in shown if line.startswith("roster "))


def join(site: str) -> str:
    return run(f"site join {site} fed/packages/{site}.hedgerow --roster-digest", digest_told())


def event_names(path: Path) -> list[str]:
    log = AuditLog(path)
    log.verify()
    return [entry.event for entry in log.entries()]


def now():
    return enrolment_cli._now()


def test_three_sites_join_one_is_revoked_and_the_others_go_on(here) -> None:
    set_up("a", "b", "c", "d")
    fed = FederationHome(here / "fed")
    assert "signed release 1 with 4 sites" in run("coordinator roster sign fed")
    for site in "abcd":
        assert "joined heart, release 1" in join(site)
        accepted = run(f"coordinator roster accept fed {site}/{site}.countersign")
    assert "every site has countersigned" in accepted
    assert set(require_ready(fed, now()).roster.keys) == set("abcd")

    run("coordinator revoke fed d --reason", "key on a lost laptop")
    with pytest.raises(UsageError, match="must sign"):
        require_ready(fed, now())
    assert "site revoked: d" in run("coordinator roster sign fed")
    for site in "abc":
        assert "site revoked: d" in join(site)
    assert "every site" in run(
        "coordinator roster accept fed", *(f"{site}/{site}.countersign" for site in "abc")
    )
    assert set(require_ready(fed, now()).roster.keys) == set("abc")
    assert set(fed.node_keys()) == set("abc")
    assert "revoked" in refused("coordinator enroll fed d/d.request")
    assert event_names(fed.audit) == [
        "federation_made", *["site_enrolled"] * 4, "roster_signed",
        *["countersignature_accepted"] * 4, "site_revoked", "roster_signed",
        *["countersignature_accepted"] * 3,
    ]  # fmt: skip
    assert event_names(here / "a" / "audit.jsonl") == [
        "site_set_up", "federation_joined", "federation_joined"
    ]  # fmt: skip


def test_the_digest_must_be_the_one_that_was_told(here) -> None:
    set_up("a", "b", "c")
    run("coordinator roster sign fed")
    command = "site join a fed/packages/a.hedgerow"
    assert "nobody compared the roster's digest" in refused(command)
    assert "you were told another one" in refused(f"{command} --roster-digest {'0' * 64}")
    assert "16 groups of four" in refused(f"{command} --roster-digest 1234")
    assert not (here / "a" / "membership.json").exists()
    run(f"{command} --roster-digest", digest_told())


@pytest.mark.parametrize(("answer", "installed"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_it_asks_whether_the_digests_agree(
    here, monkeypatch, answer, installed
) -> None:
    set_up("a", "b", "c")
    run("coordinator roster sign fed")
    monkeypatch.setattr("client.joining_cli._is_terminal", lambda: True)
    result = CliRunner().invoke(app, ["site", "join", "a", "fed/packages/a.hedgerow"], input=answer)
    assert digest_told() in result.output
    assert (here / "a" / "membership.json").exists() is installed
    assert (result.exit_code == 0) is installed


def test_a_node_key_is_rotated_by_both_ends(here) -> None:
    set_up("a", "b", "c")
    run("coordinator roster sign fed")
    for site in "abc":
        join(site)
    run("coordinator roster accept fed", *(f"{site}/{site}.countersign" for site in "abc"))
    old = FederationHome(here / "fed").node_keys()["b"]
    run("site rotate-keys b")
    assert "hedgerow coordinator rotate" in refused("coordinator enroll fed b/b.rotate.request")
    run("coordinator rotate fed b/b.rotate.request")
    assert "not signed yet" in run("coordinator roster show fed")
    assert "node key exchanged: b" in run("coordinator roster sign fed")
    for site in "abc":
        assert "node key exchanged: b" in join(site)
    fed = FederationHome(here / "fed")
    assert fed.node_keys()["b"] == (here / "b" / "node-key.pub").read_text().strip() != old
    assert fed.revoked_node_keys() == (old,)
    require_ready(fed, now())


def test_an_identity_key_is_rotated_by_both_ends(here) -> None:
    set_up("a", "b", "c")
    run("coordinator roster sign fed")
    for site in "abc":
        join(site)
    told = digest_told()
    run("site rotate-keys b --identity")
    run("coordinator rotate fed b/b.rotate.request")
    assert "identity key exchanged: b" in run("coordinator roster sign fed")
    assert digest_told() != told
    for site in "abc":
        join(site)
    run("coordinator roster accept fed", *(f"{site}/{site}.countersign" for site in "abc"))
    fed = FederationHome(here / "fed")
    members = require_ready(fed, now())
    assert [one.serial for one in members.roster.certificates] == [1, 4, 3]
    assert stated_public_key(here / "b" / "ledger.sqlite") == members.roster.keys["b"].hex()


def test_the_consortium_signs_elsewhere(here) -> None:
    write_consortium_key(here / "safe.key", KEY)
    (here / "consortium.pub").write_bytes(KEY.public.to_pem())
    run("coordinator init fed --name heart --host localhost --consortium-pub consortium.pub")
    assert not FederationHome(here / "fed").consortium_key.exists()
    for site in "abc":
        run(
            f"site init {site} --name {site} --federation heart --task heart --dataset rows "
            "--rows 300 --epsilon 4"
        )
        run(f"coordinator enroll fed {site}/{site}.request")
    assert "--consortium-key PATH" in refused("coordinator roster sign fed")
    run("coordinator roster export fed stick")
    run("coordinator roster sign stick --consortium-key safe.key")
    run("coordinator roster import fed stick")
    join("a")


def test_an_existing_ca_signs_the_request(here) -> None:
    company = new_authority("company", now())
    (here / "company.pem").write_bytes(company.certificate)
    said = run("coordinator init fed --name heart --host fed.example.org --existing-ca company.pem")
    assert "have your CA sign fed/tls/server.csr" in said
    fed = FederationHome(here / "fed")
    asked = x509.load_pem_x509_csr(fed.server_request.read_bytes())
    assert asked.is_signature_valid

    def signed_by(authority: KeyAndCertificate, host: str) -> None:
        pem = server_certificate(authority, (host,), fed.server_key.read_bytes(), now(), 90)
        (here / "server.pem").write_bytes(pem)

    signed_by(company, "other.example.org")
    assert "is not for fed.example.org" in refused("coordinator certificate install fed server.pem")
    signed_by(new_authority("company", now()), "fed.example.org")
    assert "a site would refuse it" in refused("coordinator certificate install fed server.pem")
    assert not fed.server_certificate.exists()
    signed_by(company, "fed.example.org")
    run("coordinator certificate install fed server.pem")
    assert "the coordinator's certificate: 90 days left, good" in run(
        "coordinator certificate show fed"
    )
    assert "whoever runs it makes a new one" in refused(
        "coordinator certificate renew fed --new-authority"
    )
    assert "wrote fed/tls/server.csr" in run("coordinator certificate renew fed --new-key")


def test_without_a_certificate_nothing_is_brought_up(here) -> None:
    company = new_authority("company", now())
    (here / "company.pem").write_bytes(company.certificate)
    run("coordinator init fed --name heart --host x --existing-ca company.pem")
    run("coordinator init own --name heart --host x")
    waiting, own = FederationHome(here / "fed"), FederationHome(here / "own")
    with pytest.raises(UsageError, match=r"sign .*server.csr, then: .* certificate install"):
        require_certificate(waiting)
    require_certificate(own)
    own.server_key.unlink()
    with pytest.raises(UsageError, match=r"no .*server.key: .* certificate renew .* --new-key$"):
        require_certificate(own)
    run("coordinator certificate renew own --new-key")
    require_certificate(own)


def test_a_new_authority_reaches_the_sites_with_the_next_release(here) -> None:
    set_up("a", "b", "c")
    run("coordinator roster sign fed")
    join("a")
    before = (here / "a" / "ca.pem").read_bytes()
    fed = FederationHome(here / "fed")
    served = fed.server_certificate.read_bytes()
    run("coordinator certificate renew fed")
    assert fed.server_certificate.read_bytes() != served
    assert "nothing has changed" in run("coordinator roster sign fed")
    run("coordinator certificate renew fed --new-authority")
    assert "CA of the coordinator: now" in run("coordinator roster sign fed")
    join("a")
    assert (here / "a" / "ca.pem").read_bytes() == fed.ca.read_bytes() != before


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("coordinator enroll nowhere a.request", "is no federation's folder"),
        ("coordinator enroll fed nowhere.request", "cannot read the site request"),
        ("coordinator enroll fed fed/coordinator.toml", "it is no site request"),
        ("coordinator roster sign fed", "no site is enrolled"),
        ("coordinator roster show fed", "no roster is signed yet"),
        ("coordinator revoke fed x --reason y", "there is no site x here; no site is enrolled"),
        ("coordinator init fed --name heart --host x", "exists and is not empty"),
        ("coordinator init new --name Heart --host x", "--name = 'Heart'"),
        ("coordinator init new --name heart --host x_y", "--host = 'x_y': expected a host name"),
        ("coordinator init new --name heart --host x --port 99999", "--port = 99999"),
        ("coordinator init new --name heart --host x --port 18443", "another port than"),
        ("site join nowhere fed/coordinator.toml", "hedgerow site init makes a site's folder"),
        ("coordinator enroll fed fed/ca/ca.pem", "fed/ca/ca.pem: it is no site request"),
        ("coordinator roster accept fed fed/ca/ca.pem", "as hedgerow site join writes"),
        (
            "coordinator init new --name heart --host x --existing-ca fed/coordinator.toml",
            "fed/coordinator.toml: the CA file holds no certificate",
        ),
        (
            "coordinator certificate install fed fed/coordinator.toml",
            "fed/coordinator.toml: it holds no certificate",
        ),
        (f"{INIT} --name s --rows 9 --task hart", "did you mean heart?"),
        (f"{INIT} --name s --rows 100 --task heart --delta 0.5", "at most 1 / rows = 0.01"),
        (f"{INIT} --name S --rows 9 --task heart", "--name = 'S': expected a name of lower-case"),
        (f"{INIT} --name s --rows 9 --task heart --epsilon -1", "--epsilon = -1.0"),
        (f"{INIT} --name s --rows 9999999999 --task heart", "--rows = 9999999999"),
        (
            "site init new --name s --federation A- --dataset d --epsilon 4 --rows 9 --task heart",
            "--federation = 'A-': expected a name of lower-case letters",
        ),
        ("site rotate-keys s", "cannot read the site policy s/site.toml"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(here, command: str, says: str) -> None:
    run("coordinator init fed --name heart --host localhost")
    assert says in refused(command)
    assert not (here / "new").exists()


def test_keys_that_nobody_knows_are_not_exchanged(here) -> None:
    run(f"{INIT} --name s --rows 100 --task heart")
    assert "has joined no federation yet" in refused("site rotate-keys new")
    assert not list((here / "new").glob("*.rotate.request"))


def test_a_command_that_is_told_can_be_typed_wherever_the_folder_is(here) -> None:
    said = run("coordinator init", "of the heart", "--name", "heart", "--host", "localhost")
    assert "next: hedgerow coordinator enroll 'of the heart' SITE.request..." in said


def test_init_says_that_the_consortiums_key_should_leave(here) -> None:
    said = run("coordinator init fed --name heart --host localhost")
    assert "MOVE fed/consortium/consortium.key off this machine" in said
    key = (here / "fed" / "consortium" / "consortium.key").read_text()
    assert key.splitlines()[1] not in said
    with pytest.raises(IntegrityError, match="holds no Ed25519 key"):
        run("coordinator roster sign fed --consortium-key fed/tls/server.key")
