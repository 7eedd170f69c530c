"""Real agents from round to round: who verifies whose signature, and what a site remembers."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from federation_in_process import Federation, asked
from lying_coordinator import Sites, Sitting

from client.agent import SiteAgent
from federation.envelope import Phase, Request
from federation.round_messages import COMPLETED, Invitation
from privacy.secure_sum import keys, site
from privacy.secure_sum.messages import VouchedAdvert
from simulations.sites import simulated_site

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
OTHERS = len(SITES) - 1
SESSIONS = 4
"""Of a run of three rounds: one each, and one for the evaluation."""
TABLE = {
    "run": {"name": "test", "rounds": 20},
    "privacy": {"mode": "off"},
    "training": {"local_steps": 1, "sampling_rate": 0.05},
}


@pytest.fixture
def verified(monkeypatch) -> list[keys.Label]:
    """The labels of all signatures that sites verify; the coordinator's are not among them."""
    asked: list[keys.Label] = []

    def is_signed(key, signature: bytes, label: keys.Label, *parts: bytes) -> bool:
        asked.append(label)
        return keys.is_signed(key, signature, label, *parts)

    counting = SimpleNamespace(**vars(keys) | {"is_signed": is_signed})
    monkeypatch.setattr(site, "keys", counting)
    return asked


@pytest.fixture(scope="module")
def by_signature(tmp_path_factory):
    """A run in which no site ever knows another from the session before."""
    federation = Federation(tmp_path_factory.mktemp("runs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site, "acquaintances", lambda _channels, _roster: {})
        federation.play()
    return federation


def agent(federation: Federation, name: str) -> SiteAgent:
    return simulated_site(federation.folder.path, SITES.index(name)).__self__


def restart(federation: Federation, name: str) -> None:
    """What a kill does to one site: another process has what was installed, and no more."""
    one = agent(federation, name)
    one.__init__(one._assets)


def test_from_the_second_round_on_no_site_verifies_an_advert(
    verified, by_signature, tmp_path
) -> None:
    federation, seen = Federation(tmp_path), {}
    line = federation.transport()

    def look(_node: int, request: Request) -> None:
        for one in (request, request.rider):
            if one is not None and one.phase is Phase.TRAIN:
                seen[one.round] = len(verified)

    line.before = look
    federation.play(line)
    # When the first model is shown, and ever after.
    assert seen == dict.fromkeys(range(1, SESSIONS + 1), len(SITES) * OTHERS)
    assert set(verified) == {keys.Label.ADVERT}
    assert len(verified) == len(SITES) * OTHERS
    assert federation.model == by_signature.model


def test_without_acquaintances_every_session_verifies_all(verified, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(site, "acquaintances", lambda _channels, _roster: {})
    Federation(tmp_path).play()
    assert len(verified) == SESSIONS * len(SITES) * OTHERS


def test_a_restarted_site_signs_and_verifies_as_in_a_first_session(
    verified, by_signature, tmp_path
) -> None:
    """The coordinator is killed, one site too, and the round's keys are exchanged anew."""
    federation = Federation(tmp_path)
    federation.play_until_killed(asked(2, Phase.TRAIN))
    verified.clear()
    restart(federation, "hungary")
    federation.play()
    # It verifies the others, the others verify it, and among themselves they know each other.
    assert len(verified) == 2 * OTHERS
    assert [r.attempts for r in federation.folder.read_summary().rounds] == [1, 2, 1, 1]
    assert federation.model == by_signature.model


def test_a_site_that_is_lost_in_a_round_is_verified_when_it_is_back(verified, tmp_path) -> None:
    dropout = {"site": "hungary", "round": 2, "phase": "advertise"}
    federation = Federation(tmp_path, {"simulation": {"dropouts": [dropout], "baselines": False}})
    federation.play()
    survivors = [len(r.survivors) for r in federation.folder.read_summary().rounds]
    assert survivors == [4, 3, 4, 4]
    # The first round, and for the third: it is verified by the others, and knows of an earlier
    # session only what they have forgotten.
    assert len(verified) == len(SITES) * OTHERS + 2 * OTHERS


# -- what a site remembers, and for how long -----------------------------------------------


@pytest.fixture
def sites(tmp_path) -> Sites:
    return Sites(Federation(tmp_path, TABLE))


def known(sites: Sites) -> dict[str, set[str]]:
    """Per run that the first site remembers a session of, the peers."""
    return {run: set(peers) for run, peers in sites.agent(sites.names[0])._acquaintances.items()}


def test_a_site_knows_the_peers_of_its_latest_session_until_the_run_is_closed(sites) -> None:
    first, *others = sites.names
    assert known(sites) == {}
    sitting = Sitting(sites, sites.fresh_evaluation(), attempt=1)
    sitting.step(Phase.ADVERTISE)
    assert known(sites) == {}
    sitting.step(Phase.SHARE)
    assert known(sites) == {sites.run: set(others)}
    keys_before = dict(sites.agent(first)._acquaintances[sites.run])
    second = Sitting(sites, sites.fresh_evaluation(), attempt=1)
    second.play()
    assert known(sites) == {sites.run: set(others)}
    keys_after = sites.agent(first)._acquaintances[sites.run]
    assert all(keys_after[name] != keys_before[name] for name in others)
    assert sites.ask(first, sites.request(Phase.CLOSE, 0, 0, COMPLETED)).status == "ok"
    assert known(sites) == {}


def test_a_site_forgets_whom_it_knew_in_a_run_when_it_agrees_to_another(sites) -> None:
    first = sites.names[0]
    sitting = Sitting(sites, sites.fresh_evaluation(), attempt=1)
    sitting.step(Phase.ADVERTISE)
    sitting.step(Phase.SHARE)
    assert set(known(sites)) == {sites.run}
    other = sites.agreement.model_copy(update={"run": f"{sites.run}-b"})
    asked = replace(sites.request(Phase.AGREE, 0, 0, other.to_bytes()), run=other.run)
    assert sites.ask(first, asked).status == "ok"
    assert known(sites) == {}


def test_runs_that_take_turns_vouch_for_each_other_in_nothing(sites) -> None:
    """A session of the first run is still open when the site agrees to the second."""
    first, round_ = sites.names[0], sites.fresh_evaluation()
    sitting = Sitting(sites, round_, attempt=1)
    sitting.step(Phase.ADVERTISE)
    sitting.prepare(Phase.SHARE)
    invitation = Invitation.from_bytes(sites.invitation(round_))
    other = sites.agreement.model_copy(update={"run": f"{sites.run}-b"})
    asked = replace(sites.request(Phase.AGREE, 0, 0, other.to_bytes()), run=other.run)
    assert sites.ask(first, asked).status == "ok"
    # Nothing here makes the site look at its rows for the first run again.
    sitting.put(Phase.SHARE, sitting.shown[Phase.SHARE])
    assert set(known(sites)) == {sites.run}
    body = invitation.model_copy(update={"agreement_digest": other.digest().hex()}).to_bytes()
    asked = replace(sites.request(Phase.ADVERTISE, round_, 1, body), run=other.run)
    advert = VouchedAdvert.from_bytes(sites.ask(first, asked).body, sites.names)
    assert len(advert.vouchers) == 0


def test_nothing_of_it_is_written_to_the_disk(sites) -> None:
    Sitting(sites, sites.fresh_evaluation(), attempt=1).play()
    secrets = [
        key
        for name in sites.names
        for peer in sites.agent(name)._acquaintances[sites.run].values()
        for key in (peer.out, peer.into)
    ]
    assert len(set(secrets)) == len(sites.names) * (len(sites.names) - 1)
    files = [each for each in sites.federation.folder.path.rglob("*") if each.is_file()]
    assert len(files) > len(sites.names)
    for data in (each.read_bytes() for each in files):
        assert not any(secret in data or secret.hex().encode() in data for secret in secrets)
