"""The line to an agent: who is listened to, one answer at a time, and what breaks nothing."""

import json
import os
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.agent_service import MOST_CALLERS, AgentService
from client.agent_socket import (
    LARGEST_GREETING,
    LENGTH_BYTES,
    AgentLine,
    Greeting,
    LineError,
    ask_status,
    receive_frame,
    send_frame,
)
from federation.envelope import Phase, Request
from federation.errors import ProtocolViolation, UsageError

GOOD, BAD = "a" * 64, "b" * 64


def request(round_number: int = 3, body: bytes = b"") -> bytes:
    expires = time.time() + 60
    return Request("run-1", round_number, 1, Phase.SHARE, "0" * 32, expires, body).to_bytes()


@contextmanager
def served(path, answer, approved=frozenset({GOOD}), told=None):
    """An agent service whose answers are made in this test's thread of its own."""
    heard = told if told is not None else []
    service = AgentService(
        path, "site-a", answer, approved.__contains__, lambda event, _: heard.append(event)
    )
    thread = threading.Thread(target=service.serve)
    thread.start()
    try:
        yield service
    finally:
        service.stopping.set()
        thread.join(10)
        assert not thread.is_alive()
        assert not path.exists()


def test_every_request_of_an_approved_bundle_is_answered_in_order(tmp_path) -> None:
    path = tmp_path / "agent.sock"
    with served(path, lambda data: data[::-1]), AgentLine(path, GOOD) as line:
        assert [line.answer(data) for data in (b"abc", b"", b"x" * 3_000_000)] == [
            b"cba", b"", b"x" * 3_000_000
        ]  # fmt: skip


def test_a_question_put_again_gets_the_same_bytes_without_asking_the_agent_again(tmp_path) -> None:
    path, asked = tmp_path / "agent.sock", []

    def answer(data: bytes) -> bytes:
        asked.append(data)
        return b"%d" % len(asked)

    with served(path, answer), AgentLine(path, GOOD) as line:
        assert [line.answer(data) for data in (b"a", b"a", b"b", b"a")] == [b"1", b"1", b"2", b"3"]
        with AgentLine(path, GOOD) as other:
            assert other.answer(b"a") == b"3"
    assert asked == [b"a", b"b", b"a"]


def test_a_reply_too_large_to_be_kept_is_made_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("client.agent_service.LARGEST_REMEMBERED", 3)
    replies = iter((b"long", b"shrt", b"no"))
    path = tmp_path / "agent.sock"
    with served(path, lambda _: next(replies)), AgentLine(path, GOOD) as line:
        assert [line.answer(b"a") for _ in range(4)] == [b"long", b"shrt", b"no", b"no"]


@pytest.mark.parametrize("bundle", [BAD, ""])
def test_a_bundle_that_is_not_approved_is_not_listened_to(tmp_path, bundle) -> None:
    asked, told = [], []
    with served(tmp_path / "s", asked.append, told=told):
        with pytest.raises(LineError, match="has not approved the app bundle") as refused:
            AgentLine(tmp_path / "s", bundle)
        assert refused.value.code == "bundle_not_approved"
        assert ask_status(tmp_path / "s")["unheard"] == 1
    assert asked == []
    assert told == ["turned_away"]


def test_an_approval_that_is_taken_back_holds_for_the_next_line(tmp_path) -> None:
    approved = {GOOD}
    with served(tmp_path / "s", lambda data: data, approved):
        AgentLine(tmp_path / "s", GOOD).close()
        approved.clear()
        with pytest.raises(LineError, match="not approved"):
            AgentLine(tmp_path / "s", GOOD)


def test_two_callers_are_answered_one_at_a_time(tmp_path) -> None:
    inside, most = [], []

    def answer(data):
        inside.append(data)
        most.append(len(inside))
        threading.Event().wait(0.02)
        inside.pop()
        return data

    with served(tmp_path / "s", answer):
        lines = [AgentLine(tmp_path / "s", GOOD) for _ in range(4)]
        replies = [None] * 4

        def ask(index):
            replies[index] = lines[index].answer(bytes([index]))

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for line in lines:
            line.close()
    assert replies == [bytes([index]) for index in range(4)]
    assert most == [1, 1, 1, 1]


def test_the_status_tells_what_the_agent_is_at_and_waits_for_no_answer(tmp_path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def answer(data):
        begun.set()
        assert go_on.wait(30)
        return data

    with served(tmp_path / "s", answer), AgentLine(tmp_path / "s", GOOD) as line:
        thread = threading.Thread(target=line.answer, args=(request(),))
        thread.start()
        assert begun.wait(30)
        busy = ask_status(tmp_path / "s")
        go_on.set()
        thread.join()
        idle = ask_status(tmp_path / "s")
    assert busy["busy"]["run"] == "run-1"
    assert (busy["busy"]["round"], busy["busy"]["phase"], busy["last"]) == (3, "share", None)
    assert (idle["busy"], idle["answered"], idle["last"]["phase"]) == (None, 1, "share")
    assert idle["pid"] == os.getpid()


def test_what_is_no_request_ends_that_line_and_no_other(tmp_path) -> None:
    def answer(data):
        if data == b"bad":
            raise ProtocolViolation("message header: not JSON")
        return data

    with served(tmp_path / "s", answer), AgentLine(tmp_path / "s", GOOD) as other:
        with AgentLine(tmp_path / "s", GOOD) as line, pytest.raises(LineError):
            line.answer(b"bad")
        assert other.answer(b"good") == b"good"


def test_a_caller_that_leaves_within_a_frame_harms_nothing(tmp_path) -> None:
    with served(tmp_path / "s", lambda data: data):
        for sent in (b"", b"\x00" * 3, (1 << 60).to_bytes(8, "big"), (9).to_bytes(8, "big") + b"{"):
            with socket.socket(socket.AF_UNIX) as raw:
                raw.connect(str(tmp_path / "s"))
                raw.sendall(sent)
        with AgentLine(tmp_path / "s", GOOD) as line:
            assert line.answer(b"still there") == b"still there"


@given(st.binary(max_size=200))
def test_no_bytes_are_a_greeting_but_greetings(data) -> None:
    try:
        greeting = Greeting.from_bytes(data)
    except LineError:
        return
    assert Greeting.from_bytes(greeting.to_bytes()) == greeting


@given(st.sampled_from([GOOD, BAD, ""]), st.sampled_from(["answers", "status"]), st.text())
def test_greetings_come_back_as_they_were(bundle, asks, version) -> None:
    greeting = Greeting(bundle, asks, version)
    assert Greeting.from_bytes(greeting.to_bytes()) == greeting


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"protocol": 2}, "protocol 2: expected 1; install one version"),
        ({"bundle": "A" * 64}, "bundle is no SHA-256"),
        ({"bundle": 7}, "every field is text"),
        ({"asks": "everything"}, "neither answers nor status"),
        ({"more": ""}, "expected protocol, bundle, asks and hedgerow"),
    ],
)
def test_a_greeting_of_another_make_is_answered_with_what_is_wrong(tmp_path, changed, says) -> None:
    table = json.loads(Greeting(GOOD, "answers", "0").to_bytes()) | changed
    with served(tmp_path / "s", lambda data: data), socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(tmp_path / "s"))
        send_frame(raw, json.dumps(table).encode())
        told = json.loads(receive_frame(raw, LARGEST_GREETING))
    assert told["code"] == "protocol"
    assert says in told["reason"]


def test_more_callers_than_there_is_room_for_are_sent_away_and_the_rest_served(tmp_path) -> None:
    told = []
    with served(tmp_path / "s", lambda data: data, told=told):
        lines = [AgentLine(tmp_path / "s", GOOD) for _ in range(MOST_CALLERS)]
        with pytest.raises(LineError):
            AgentLine(tmp_path / "s", GOOD)
        assert lines[-1].answer(b"x") == b"x"
        for line in lines:
            line.close()
    assert told.count("turned_away") == 1


def test_nobody_but_owner_and_group_may_open_the_socket(tmp_path) -> None:
    with served(tmp_path / "s", lambda data: data):
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o660


def test_a_socket_that_a_dead_agent_left_is_replaced_and_a_file_is_not(tmp_path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    with served(tmp_path / "s", lambda data: data):
        assert ask_status(tmp_path / "s")["site"] == "site-a"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is no socket"):
        AgentService(tmp_path / "file", "a", lambda data: data, bool)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_link_leads_the_socket_to_a_folder_that_the_node_may_open(tmp_path) -> None:
    shared, home = tmp_path / "run", tmp_path / "home"
    shared.mkdir()
    home.mkdir(mode=0o700)
    link = home / "agent.sock"
    link.symlink_to(shared / "agent.sock")
    for _ in range(2):  # the link outlives an agent
        with served(link, lambda data: data[::-1]), AgentLine(link, GOOD) as line:
            assert line.answer(b"abc") == b"cba"
            assert (shared / "agent.sock").is_socket()
        assert link.is_symlink()


def test_a_home_may_lie_deeper_than_a_socket_s_name_is_long(tmp_path) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 8)
    deep.mkdir(parents=True)
    with served(deep / "agent.sock", lambda data: data), AgentLine(deep / "agent.sock", GOOD) as at:
        assert at.answer(b"far down") == b"far down"
        assert (deep / "agent.sock").is_socket()


def test_no_agent_is_said_in_one_line(tmp_path) -> None:
    with pytest.raises(LineError, match=r"no agent answers at .*start it with"):
        AgentLine(tmp_path / "none", GOOD)


def test_a_frame_that_claims_more_than_is_allowed_reserves_no_memory() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall((1 << 40).to_bytes(LENGTH_BYTES, "big"))
        with pytest.raises(LineError, match="expected at most"):
            receive_frame(ours, LARGEST_GREETING)
