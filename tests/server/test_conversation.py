"""Who is believed: only what a site of the roster signed for this very question."""

import itertools
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sample_consortium import roster_of

from federation.envelope import Phase, Reply
from federation.errors import PrivacyRefusal, RoundFailed
from privacy.message_sizes import LARGEST_ANSWER
from server.conversation import Answers, Conversation, Place, Question
from server.transport import Lost

SITES = ("a", "b", "c")
LARGEST = 8
KEYS = {site: Ed25519PrivateKey.generate() for site in SITES}
ROSTER = roster_of({site: key.public_key().public_bytes_raw() for site, key in KEYS.items()})


def signed(request, site: str, key=None, **changes) -> bytes:
    reply = replace(Reply(site, "ok", body=b"yes " + site.encode()), **changes)
    return reply.sign("f", request, key or KEYS[site])


class Nodes:
    """Node k speaks for the k-th site; `answers` replaces what single nodes say."""

    def __init__(self, online=None, **answers) -> None:
        self._online = iter(online or itertools.repeat([0, 1, 2]))
        self._last = []
        self.answers = {int(name[1:]): answer for name, answer in answers.items()}
        self.asked = []

    def nodes(self) -> list[int]:
        self._last = next(self._online, self._last)
        return list(self._last)

    def exchange(self, requests, timeout):
        self.asked.append(dict(requests))
        said = {}
        for node, request in requests.items():
            answer = self.answers.get(node, lambda r, n=node: signed(r, SITES[n]))
            said[node] = answer(request)
        return iter([(node, answer) for node, answer in said.items() if answer is not None])


def ask(nodes: Nodes):
    line = Conversation(ROSTER, nodes, dict(zip(SITES, range(3), strict=True)))
    question = Question(Phase.SHARE, Place("r", 3, 1), dict.fromkeys(SITES, b"body"), LARGEST)
    return line.ask_with_rider(question, None, 1.0)[0]


def test_each_site_is_asked_at_its_address_with_a_nonce_of_its_own() -> None:
    nodes = Nodes()
    answers = ask(nodes)
    assert dict(answers.bodies) == {site: b"yes " + site.encode() for site in SITES}
    assert (answers.lost, answers.refusals) == ({}, {})
    (requests,) = nodes.asked
    assert len({request.nonce for request in requests.values()}) == 3
    assert {(r.run, r.round, r.attempt, r.phase) for r in requests.values()} == {
        ("r", 3, 1, Phase.SHARE)
    }


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda _: None, "no reply"),
        (lambda _: Lost("gone"), "gone"),
        (lambda _: b"", "share"),
        (lambda _: b"\xff" * 500, "share"),
        (lambda r: signed(r, "b", KEYS["a"]), "signature"),
        (lambda r: signed(r, "a"), "share"),  # a valid reply of another site
        (lambda r: signed(replace(r, nonce="0" * 32), "b"), "share"),  # to another question
        (lambda r: signed(replace(r, round=2), "b"), "share"),  # of another round
        (lambda r: signed(r, "b")[:-1], "share"),
        (lambda r: signed(r, "b", body=bytes(LARGEST + 1)), "a body of 9 bytes in phase share"),
        (lambda r: signed(r, "b", status="failed", code="x", reason="disk"), "failed: x: disk"),
    ],
)  # fmt: skip
def test_what_a_site_did_not_sign_for_this_question_is_a_loss(answer, says: str) -> None:
    answers = ask(Nodes(n1=answer))
    assert set(answers.bodies) == {"a", "c"}
    assert says in answers.lost["b"]
    assert answers.refusals == {}


def test_a_refusal_keeps_its_code() -> None:
    refuse = lambda r: signed(r, "b", status="refused", code="budget", reason="spent")  # noqa: E731
    answers = ask(Nodes(n1=refuse))
    assert answers.refusals == {"b": "budget"}
    assert answers.lost == {"b": "share: refused: budget: spent"}


def with_rider(answer) -> tuple[Answers, Answers]:
    line = Conversation(ROSTER, Nodes(n1=answer), dict(zip(SITES, range(3), strict=True)))
    asked = dict.fromkeys(SITES, b"body")
    question = Question(Phase.OPEN, Place("r", 3, 1), asked, LARGEST)
    rider = Question(Phase.SHARE, Place("r", 4, 1), {"b": b"early"}, LARGEST + 4)
    return line.ask_with_rider(question, rider, 1.0)


@pytest.mark.parametrize("excess", [0, 1])
def test_a_riders_answer_has_a_size_of_its_own_and_too_large_costs_the_rider_only(excess) -> None:
    body = bytes(LARGEST + 4 + excess)
    answers, early = with_rider(
        lambda r: signed(r, "b", rider=signed(r.rider, "b", body=body)),
    )
    assert set(answers.bodies) == set(SITES)
    if excess:
        assert early.lost == {
            "b": "share: a body of 13 bytes in phase share: the largest that can be is 12"
        }
    else:
        assert early.bodies == {"b": body}


def find(nodes: Nodes, timeout: float = 60.0):
    return Conversation(ROSTER, nodes).find_sites(SITES, Place("r"), timeout)


def test_nodes_that_come_late_are_waited_for_and_asked_once() -> None:
    nodes = Nodes(online=[[], [2], [2], [0, 2], [0, 1, 2]])
    addresses, bodies = find(nodes)
    assert addresses == {"a": 0, "b": 1, "c": 2}
    assert bodies["c"] == b"yes c"
    assert [sorted(requests) for requests in nodes.asked] == [[2], [0], [1]]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda _: Lost("node is down"), "missing: b; node is down"),
        (lambda r: signed(r, "b", KEYS["a"]), "signature"),
        (lambda r: signed(r, "z", KEYS["a"]), "'z', which no roster knows"),
        (lambda r: signed(r, "b", status="failed", code="x", reason="disk"), "b: failed: x: disk"),
        (
            lambda r: signed(r, "b", body=bytes(LARGEST_ANSWER[Phase.ENLIST] + 1)),
            "bytes in phase enlist: the largest that can be",
        ),
        (lambda r: signed(r, "a"), "missing: b"),  # a node that speaks for a site already found
    ],
)
def test_a_site_that_is_not_found_is_named_with_what_is_known(answer, says: str) -> None:
    with pytest.raises(RoundFailed, match="2 of 3 sites are online") as failed:
        find(Nodes(n1=answer), timeout=0.0)
    assert says in str(failed.value)


def test_a_site_that_will_not_ends_the_search_at_once_and_a_stranger_who_will_not_does_not() -> (
    None
):
    refuse = lambda r: signed(r, "b", status="refused", code="x", reason="not ours")  # noqa: E731
    with pytest.raises(PrivacyRefusal, match="b: refused: x: not ours"):
        find(Nodes(n1=refuse))
    found, _ = Conversation(ROSTER, Nodes(n1=refuse)).find_sites(("a", "c"), Place("r"), 60.0)
    assert found == {"a": 0, "c": 2}


def test_a_node_that_gave_no_answer_is_asked_again() -> None:
    said = iter([Lost("gone"), None])
    nodes = Nodes(n1=lambda r: next(said, signed(r, "b")))
    assert find(nodes)[0] == {"a": 0, "b": 1, "c": 2}
    assert [sorted(requests) for requests in nodes.asked] == [[0, 1, 2], [1], [1]]
