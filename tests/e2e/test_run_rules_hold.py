"""A coordinator cannot lower what the consortium signed, nor run where the sites hold two sets."""

from dataclasses import replace

import pytest
from federation_in_process import Federation
from sample_consortium import KEY, OTHER, roster_of, signed_rules

from client.agent import SiteAgent
from client.site_home import SiteHome
from federation.consortium_files import ConsortiumFiles
from federation.envelope import Phase, Request, parse_reply
from federation.errors import PrivacyRefusal
from federation.roster import Roster
from federation.run_rules import SignedRunRules
from simulations.sites import simulated_site, verify_sites

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")


@pytest.fixture
def federation(tmp_path) -> Federation:
    return Federation(tmp_path, None, "run.rounds=1")


def home(federation: Federation, site: str) -> SiteHome:
    return SiteHome(federation.folder.site_home(site))


def refound(federation: Federation, signed: SignedRunRules, key=KEY) -> Roster:
    """The same sites under a consortium whose key the test holds."""
    keys = {
        site: home(federation, site).read_identity().public_key().public_bytes_raw()
        for site in SITES
    }
    roster = roster_of(keys, federation="test", key=key)
    for site in SITES:
        home(federation, site).given.write(roster, signed)
    ConsortiumFiles(federation.folder.path).write(roster, signed)
    return roster


def rules(**changes: object) -> SignedRunRules:
    return signed_rules(federation="test", **changes)


def agent_of(federation: Federation, node: int) -> SiteAgent:
    return simulated_site(federation.folder.path, node).__self__


def test_a_simulation_is_certified_and_its_rules_are_as_strict_as_its_settings(federation) -> None:
    files = [home(federation, site).given for site in SITES]
    files.append(ConsortiumFiles(federation.folder.path))
    for name in ("consortium", "roster", "run_rules"):
        assert len({getattr(one, name).read_bytes() for one in files}) == 1
    assert not any(
        b"PRIVATE" in path.read_bytes()
        for path in federation.folder.path.rglob("*")
        if path.is_file() and path.name != "identity.pem"
    )
    federation.play()
    roster = files[0].read_roster(2_000_000_000)
    signed = files[0].read_run_rules(roster)
    summary, agreement = federation.folder.read_summary(), federation.folder.agreement.read_text()
    assert summary.secure_sum.roster_digest == roster.digest()
    assert summary.secure_sum.rules_digest == signed.digest()
    assert signed.digest() in agreement
    report = federation.folder.report.read_text()
    assert roster.digest() in report
    assert signed.digest() in report
    config = federation.config
    assert signed.rules.minimum_quorum == config.federation.quorum
    assert signed.rules.minimum_threshold == config.federation.threshold
    assert signed.rules.most_rounds == 1
    assert signed.rules.largest_update_clip == config.training.update_clip
    noise = summary.privacy.noise_multiplier
    assert 0.98 * noise < signed.rules.least_noise_multiplier <= noise
    assert not signed.rules.allow_without_privacy


def test_every_run_folder_has_a_consortium_of_its_own(federation, tmp_path) -> None:
    other = Federation(tmp_path / "other", None, "run.rounds=1")
    keys = {ConsortiumFiles(f.folder.path).consortium.read_bytes() for f in (federation, other)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"minimum_quorum": 4}, "quorum 3 is below the consortium's minimum, 4"),
        ({"largest_update_clip": 19.0}, "update_clip 20 is above the consortium's maximum, 19"),
        ({"least_noise_multiplier": 1e3}, "below the consortium's minimum, 1000"),
    ],
)
def test_a_run_below_the_rules_is_agreed_to_by_nobody(federation, changes, says: str) -> None:
    refound(federation, rules(**changes))
    with pytest.raises(PrivacyRefusal, match="not every site agreed") as refused:
        federation.play()
    assert str(refused.value).count(says) == len(SITES)


def test_sites_with_different_rules_start_no_run(federation) -> None:
    roster = refound(federation, rules())
    home(federation, "hungary").given.write(roster, rules(version=2))
    line = federation.transport()
    with pytest.raises(PrivacyRefusal) as refused:
        federation.play(line)
    first, second = rules().digest()[:16], rules(version=2).digest()[:16]
    assert (
        f"different run rules (cleveland, switzerland, va_long_beach: {first}...; "
        f"hungary: {second}...)" in str(refused.value)
    )
    assert {request.phase for _, request, _ in line.wire} == {Phase.ENLIST}


def test_a_coordinator_that_hides_the_difference_has_no_agreement(federation, monkeypatch) -> None:
    roster = refound(federation, rules())
    home(federation, "hungary").given.write(roster, rules(version=2))
    monkeypatch.setattr("server.coordination.common_rules", lambda _: rules().digest())
    with pytest.raises(
        PrivacyRefusal, match=r"hungary: agree: refused: \w+: this site holds version 2"
    ):
        federation.play()


def test_a_coordinator_under_another_consortium_finds_no_common_roster(federation) -> None:
    mine = refound(federation, rules())
    theirs = roster_of(dict(mine.keys), federation="test", key=OTHER)
    ConsortiumFiles(federation.folder.path).write(theirs, signed_rules(OTHER, federation="test"))
    with pytest.raises(PrivacyRefusal, match="pins another roster"):
        federation.play()


def test_an_agent_that_outlives_a_certificate_refuses_to_agree(federation) -> None:
    outcome = federation.play()
    agent = agent_of(federation, 1)
    assets = agent._assets
    body = outcome.agreement.to_bytes()
    request = Request(
        federation.folder.id, 0, 0, Phase.AGREE, "0" * 32, assets.clock() + 60, body
    )  # fmt: skip
    assert parse_reply(agent.answer(request.to_bytes()))[0].status == "ok"
    expired = roster_of(dict(assets.roster.keys), federation="test", validity=(0, 1000))
    agent._assets = replace(assets, roster=expired)
    reply = parse_reply(agent.answer(request.to_bytes()))[0]
    assert (reply.status, reply.code) == ("refused", "certificate_not_current")
    assert "expired at 1970-01-01" in reply.reason


def given(federation: Federation) -> dict[str, bytes]:
    """All that the consortium gave to anyone."""
    names = ("consortium.pub", "roster.json", "run-rules.json")
    return {
        str(path): path.read_bytes()
        for name in names
        for path in federation.folder.path.rglob(name)
    }


def test_a_run_resumes_under_the_certificates_and_rules_it_began_with(tmp_path) -> None:
    undisturbed = Federation(tmp_path / "undisturbed", None, "run.rounds=2")
    undisturbed.play()
    federation = Federation(tmp_path / "cut short", None, "run.rounds=2")
    before = given(federation)
    assert len(before) == 3 * (len(SITES) + 1)
    federation.play_until_killed(lambda _, request: request.round == 2)
    federation.restart_agents()
    verify_sites(federation.folder, federation.config)
    federation.play()
    assert federation.folder.read_summary().run.resumed == 1
    assert federation.model == undisturbed.model
    assert given(federation) == before
