"""A seeded agent that says what it is asked, and stops there where a test wants to break things.

`HOME/hold` names a moment, as `ROUND PHASE`. Asked for that, the agent says `holds ROUND PHASE`
and answers only when the file is gone or names another one. Moments are those of riders, too: a
question that rides on another one is asked at the same time. Where `HOME/tap` exists, all that
comes in and goes out is added to it: what Flower carries, before TLS and behind it.
"""

import signal
import sys
import time
from pathlib import Path

from client.agent_service import AgentService
from client.deployed_agent import bundle_gate
from client.home_opening import open_simulated_agent
from client.site_home import SiteHome
from federation.agreement_kinds import AnyAgreement
from federation.entropy import SeededEntropy
from federation.envelope import Received
from federation.site_policy import SitePolicy
from federation.task import Task
from federation.task_loading import load_task

HOLD, TAP = "hold", "tap"
LOOK_SECONDS = 0.02


def main(home: Path, seed: int) -> None:
    site = SiteHome(home)

    def load(agreement: AnyAgreement) -> Task:
        return load_task(agreement.task.name, agreement.task.options)

    agent = open_simulated_agent(site, site.ledger, load, SeededEntropy(seed))
    name = SitePolicy.read(site.policy).site

    def answer(data: bytes) -> bytes:
        received = Received.from_bytes(data)
        asked = [received.head] + ([received.rider.head] if received.rider else [])
        for head in asked:
            say(f"asked {head.round} {head.phase}")
            wait_while_held(home / HOLD, f"{head.round} {head.phase}")
        reply = agent.answer(data)
        if (home / TAP).exists():
            with (home / TAP).open("ab") as tap:
                tap.write(data + reply)
        return reply

    service = AgentService(site.socket, name, answer, bundle_gate(site), refuse=agent.refuse)
    signal.signal(signal.SIGTERM, lambda *_: service.stopping.set())
    say(f"agent of {name} listens")
    service.serve()


def wait_while_held(hold: Path, moment: str) -> None:
    if held(hold) != moment:
        return
    say(f"holds {moment}")
    while held(hold) == moment:
        time.sleep(LOOK_SECONDS)


def held(hold: Path) -> str:
    """The moment that is held now; empty if none is."""
    try:
        return hold.read_text()
    except FileNotFoundError:
        return ""


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
