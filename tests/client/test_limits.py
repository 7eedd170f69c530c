"""Limits on the agent: what would go past one is refused, and the agent lives on."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from client.consent import Refusal
from client.limits import answer_limit
from federation.errors import UsageError


def endless() -> None:
    while True:
        pass


def test_work_that_takes_too_long_is_refused_and_the_alarm_is_off_again():
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(Refusal) as refused, answer_limit(0.01):
        endless()
    assert refused.value.code == "too_slow"
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getsignal(signal.SIGALRM) is before


def test_the_text_of_the_refusal_is_the_same_whatever_the_limit_was():
    texts = set()
    for seconds in (0.01, 0.02):
        with pytest.raises(Refusal) as refused, answer_limit(seconds):
            endless()
        texts.add(str(refused.value))
    assert len(texts) == 1


def test_code_that_swallows_the_alarm_meets_the_next(monkeypatch):
    monkeypatch.setattr("client.limits.AGAIN_SECONDS", 0.01)
    swallowed = []

    def stubborn():
        for _ in range(2):
            try:
                endless()
            except Exception as error:  # noqa: BLE001 - that is what it is about
                swallowed.append(error)
        endless()

    with pytest.raises(Refusal), answer_limit(0.01):
        stubborn()
    assert len(swallowed) == 2


def test_work_in_time_is_left_alone():
    with answer_limit(600):
        done = 1
    with answer_limit(None):
        done += 1
    assert done == 2
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_limit_that_no_alarm_would_keep_is_an_error():
    errors = []

    def work():
        try:
            with answer_limit(1):
                pass
        except UsageError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == ["limits.seconds_per_answer: rows are worked on in the main thread only"]


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match="shape"), answer_limit(600):
        raise RuntimeError("shape mismatch")


def in_a_process(code: str) -> str:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BOUNDED = """
import numpy, torch
from client.limits import MIB, answer_limit, apply_limits, memory_taken
from client.consent import Refusal
from federation.errors import ConfigError
from federation.site_policy import Limits
try:
    apply_limits(Limits.model_construct(threads=None, memory_mb=1))
except ConfigError as error:
    print("refused:", error.key)
apply_limits(Limits(memory_mb=memory_taken() // MIB + 512))
for make in (torch.zeros, numpy.ones, lambda size: [0] * size):
    with answer_limit(None):
        make(30 * MIB if make is torch.zeros else 8 * MIB)
    try:
        with answer_limit(None):
            make(300 * MIB)
    except Refusal as refusal:
        print(refusal.code)
"""


def test_memory_past_the_limit_is_refused_and_the_process_goes_on():
    said = in_a_process(BOUNDED).split("\n")
    assert said == ["refused: limits.memory_mb", *["out_of_memory"] * 3, ""]


THREADS = """
import os, torch
from client.limits import apply_limits
from federation.site_policy import Limits
apply_limits(Limits(threads=1))
import threadpoolctl, numpy
print(torch.get_num_threads(), len(os.sched_getaffinity(0)),
      {pool["num_threads"] for pool in threadpoolctl.threadpool_info()})
"""


def test_all_that_computes_keeps_to_the_threads():
    assert in_a_process(THREADS) == "1 1 {1}\n"
