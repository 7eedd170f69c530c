"""What crosses the wire of a round: no site's vector, count or metric is in it, and replays die."""

import json
from dataclasses import replace

import numpy as np
import pytest
from federation_in_process import Federation

from client.contribution import Workbench, evaluation_contribution, training_contribution
from federation.agreement import Agreement
from federation.entropy import SeededEntropy
from federation.envelope import Phase, Reply, Request, parse_reply
from federation.errors import DataError, UsageError
from federation.ring_vector import RingVector
from federation.round_layout import RoundKind
from federation.round_messages import Work
from federation.task import SiteRequest
from federation.task_loading import load_task
from privacy.secure_sum.messages import Bundle, Dealt, Envelopes, VouchedAdvert
from simulations.sites import simulated_site

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    federation = Federation(tmp_path_factory.mktemp("runs"), {"run": {"name": "w", "rounds": 1}})
    line = federation.transport()
    federation.play(line)
    return federation, line.wire


def bench_of(federation: Federation, agreement: Agreement, site: str) -> Workbench:
    task = load_task("heart", {})
    entropy = SeededEntropy(federation.config.run.seed)
    data = task.load(SiteRequest(site, agreement.seed))
    return Workbench(site, agreement, task, data, entropy)


def agreement_on(wire) -> Agreement:
    bodies = [request.body for _, request, _ in wire if request.phase is Phase.AGREE]
    return Agreement.from_bytes(bodies[0])


def models_on(wire, round_: int) -> np.ndarray:
    for _, request, _ in wire:
        if request.phase is Phase.TRAIN and request.round == round_:
            length = int.from_bytes(request.body[:8], "big")
            return np.frombuffer(request.body[8 : 8 + length], "<f4").astype(float)
    raise AssertionError("no model crossed")


def everything(wire) -> bytes:
    return b"\0".join(request.to_bytes() + (reply or b"") for _, request, reply in wire)


@pytest.mark.parametrize("round_", [1, 2], ids=["training", "evaluation"])
def test_no_part_of_a_sites_vector_appears_in_clear(recorded, round_: int) -> None:
    federation, wire = recorded
    agreement, crossed = agreement_on(wire), everything(wire)
    for site in SITES:
        bench = bench_of(federation, agreement, site)
        model = models_on(wire, round_)
        kind = RoundKind.TRAIN if round_ == 1 else RoundKind.EVALUATE
        vector = (
            training_contribution(bench, model, 1).vector
            if kind is RoundKind.TRAIN
            else evaluation_contribution(bench, model)
        )
        for name, part in by_segment(bench, kind, vector):
            for encoding in ("<u2", "<u4", ">u4", "<u8", "<f4", "<f8"):
                encoded = part.astype(encoding).tobytes()
                if np.count_nonzero(part) >= 3:  # shorter strings occur by chance
                    assert encoded not in crossed, (site, name, encoding)
        for part in vector.pack()[:40], vector.pack()[-40:]:
            assert part not in crossed


def by_segment(bench: Workbench, kind: RoundKind, vector: RingVector):
    for stretch, words in zip(vector.stretches, vector.parts(), strict=True):
        at = 0
        for segment in bench.layout(kind).segments:
            if segment.bits == stretch.bits:
                yield segment.name, words[at : at + segment.length]
                at += segment.length


def test_the_recording_would_have_been_found_out(recorded) -> None:
    # The search above can fail: the vector is found where it is not masked.
    federation, wire = recorded
    bench = bench_of(federation, agreement_on(wire), "hungary")
    vector = training_contribution(bench, models_on(wire, 1), 1).vector
    leaked = everything(wire) + vector.pack()
    parts = dict(by_segment(bench, RoundKind.TRAIN, vector))
    assert parts["update"].astype("<u4").tobytes() in leaked
    assert vector.pack()[:40] in leaked


def test_masked_words_look_uniform_and_the_sum_does_not(recorded) -> None:
    _, wire = recorded
    for _, request, reply in wire:
        if request.phase is not Phase.TRAIN or reply is None:
            continue
        body = np.frombuffer(parse_reply(reply)[0].body[-4000:], np.uint8)
        counts = np.bincount(body, minlength=256)
        expected = len(body) / 256
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        assert chi_square < 370  # 255 degrees of freedom: exceeded once in 400,000 recordings


def ask(federation: Federation, node: int, request: Request, **changes) -> Reply:
    later = replace(request, expires=request.expires + 1e3, nonce="f" * 32, **changes)
    return parse_reply(simulated_site(federation.folder.path, node)(later.to_bytes()))[0]


def test_every_reply_is_one_of_the_protocols_messages(recorded) -> None:
    _, wire = recorded
    for _, request, reply in wire:
        body = parse_reply(reply)[0].body
        if request.phase in (Phase.ENLIST, Phase.WITNESS, Phase.CLOSE):
            continue  # public facts as JSON: the site's declared rows and heads of ledgers
        if request.phase is Phase.AGREE:
            assert len(body) == 32
        else:
            assert body[:2] == b"HS"


def test_public_facts_say_nothing_beyond_what_is_declared(recorded) -> None:
    _, wire = recorded
    enlist = parse_reply(next(r for _, q, r in wire if q.phase is Phase.ENLIST))[0].body
    close = parse_reply(next(r for _, q, r in wire if q.phase is Phase.CLOSE))[0].body
    assert set(json.loads(enlist)) == {
        "public_rows", "roster_digest", "rules_digest", "delta", "epsilon_budget", "epsilon_spent",
        "ledger", "remembered", "names_itself",
    }  # fmt: skip
    witness = parse_reply(next(r for _, q, r in wire if q.phase is Phase.WITNESS))[0].body
    assert json.loads(witness)["setbacks"] == []
    head = {"run", "site", "dataset", "seq", "hash"}
    for statement in (*json.loads(witness)["statements"], json.loads(close)["ledger"]):
        assert set(statement) == {"head", "signer", "signature"}
        assert set(statement["head"]) == head
    assert set(json.loads(close)) == {
        "ledger", "delta", "epsilon_spent", "epsilon_pld", "epsilon_rdp", "epsilon_budget",
        "reserved", "committed", "voided", "refused", "ledger_head", "noise_source",
        "records_per_person", "neighbouring_relation",
        "site_level_delta", "site_level_epsilon_spent", "site_level_epsilon_budget",
    }  # fmt: skip


@pytest.mark.parametrize("phase", list(Phase)[3:8])
def test_a_replayed_request_is_refused(recorded, phase: Phase) -> None:
    federation, wire = recorded
    node, request, _ = next(item for item in wire if item[1].phase is phase)
    replayed = replace(request, expires=request.expires + 1e3)
    reply, _ = parse_reply(simulated_site(federation.folder.path, node)(replayed.to_bytes()))
    assert (reply.status, reply.code) == ("refused", "protocol")


def test_an_expired_request_is_refused(recorded) -> None:
    federation, wire = recorded
    node, request, _ = wire[0]
    reply, _ = parse_reply(
        simulated_site(federation.folder.path, node)(replace(request, expires=1.0).to_bytes())
    )
    assert "expired" in reply.reason
    for_ever = replace(request, expires=request.expires + 1e6)
    reply, _ = parse_reply(simulated_site(federation.folder.path, node)(for_ever.to_bytes()))
    assert "more than a day" in reply.reason


def test_a_coordinator_cannot_ask_for_another_layout_model_or_agreement(recorded) -> None:
    federation, wire = recorded
    node, request, _ = next(item for item in wire if item[1].phase is Phase.ADVERTISE)
    for field in ("layout_digest", "agreement_digest"):
        plain = json.loads(request.body)
        plain[field] = "0" * 64
        body = json.dumps(plain).encode()
        asked = replace(request, body=body, attempt=7, expires=request.expires + 1e3)
        reply, _ = parse_reply(simulated_site(federation.folder.path, node)(asked.to_bytes()))
        assert reply.code == "protocol"
    assert "beyond the agreement" in ask(federation, node, request, round=99).reason


def test_held_out_rows_are_judged_once_a_round_and_on_one_model(recorded) -> None:
    federation, wire = recorded
    invitations = [item for item in wire if item[1].phase is Phase.ADVERTISE]
    node, training, _ = next(item for item in invitations if item[1].round == 1)
    _, evaluation, _ = next(item for item in invitations if item[1].round == 2)
    # Evaluation rounds in place of training, as many as the coordinator has models for.
    layout = json.loads(evaluation.body)["layout_digest"]
    asked = json.loads(training.body) | {"kind": "evaluate", "layout_digest": layout}
    reply = ask(federation, node, training, body=json.dumps(asked).encode(), attempt=7)
    assert "round 1 is not for kind evaluate" in reply.reason
    # A training round more than was agreed.
    reply = ask(federation, node, training, round=2, attempt=7)
    assert "round 2 is not for kind train" in reply.reason
    # A training round once more, when its vectors are forgotten.
    assert "another vector of this site" in ask(federation, node, training, attempt=8).reason
    # Another model in a round that has had one, in a session of its own with all the others.
    reply = ask_on_another_model(federation, wire, evaluation)
    assert "another one before" in reply.reason


def ask_on_another_model(federation: Federation, wire, invitation: Request) -> Reply:
    """What the first site says to `train` with another model, after an honest exchange of keys."""
    nodes = range(len(SITES))
    adverts = {}
    for node in nodes:
        reply = ask(federation, node, invitation, attempt=8)
        adverts[SITES[node]] = VouchedAdvert.from_bytes(reply.body, SITES).advert
    bundle = Bundle(adverts, {}).to_bytes(SITES)
    dealt = {}
    for node in nodes:
        reply = ask(federation, node, invitation, attempt=8, phase=Phase.SHARE, body=bundle)
        dealt[SITES[node]] = Dealt.from_bytes(reply.body, SITES)
    envelopes = Envelopes({
        dealer: each.envelopes[SITES[0]]
        for dealer, each in dealt.items()
        if dealer != SITES[0]
    })  # fmt: skip
    model = models_on(wire, invitation.round).astype("<f4") + np.float32(1)
    work = Work(model.tobytes(), envelopes.to_bytes(SITES)).to_bytes()
    return ask(federation, 0, invitation, attempt=8, phase=Phase.TRAIN, body=work)


def test_an_error_text_never_leaves_a_site(recorded, monkeypatch) -> None:
    federation, wire = recorded
    node, request, _ = next(item for item in wire if item[1].phase is Phase.CLOSE)
    for error in (DataError, ValueError, UsageError):

        def fail(*_: object, kind: type[Exception] = error) -> None:
            raise kind("could not convert 'Jane Doe, born 1961-03-02'")

        monkeypatch.setattr("privacy.account.Account.spent", fail)
        reply = ask(federation, node, request)
        assert (reply.status, reply.code) == ("failed", "internal")
        assert "Jane" not in reply.reason
    faults = federation.folder.site_home("cleveland") / "faults.log"
    assert faults.read_text().count("Jane Doe") >= 3
