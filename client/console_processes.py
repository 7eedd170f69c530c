"""What a site's console says of its agent and node: whether they run, and what they are at."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from client.agent_socket import LineError, ask_status
from client.site_home import SiteHome
from federation.errors import IntegrityError
from federation.file_lock import is_held
from federation.report_page.number_text import duration

PATIENCE_SECONDS = 0.5
"""For the agent's word; a page waits for it."""
RUNNING, NOT_RUNNING = "running", "not running"


@dataclass(frozen=True, slots=True)
class ProcessNow:
    """One of a site's processes.

    Attributes:
        name: agent or node.
        state: in a word or two.
        is_well: whether that is as it should be.
        doing: what it is at, or why it is not well; empty if nothing is known.
    """

    name: str
    state: str
    is_well: bool
    doing: str


def agent_now(home: SiteHome, now: float) -> ProcessNow:
    """The agent, which holds the home's lock while it runs."""
    if not is_held(home.lock):
        return ProcessNow("Agent", NOT_RUNNING, is_well=False, doing="")
    if not home.socket.exists():  # of a simulation: its agents answer within their processes
        return ProcessNow("Agent", RUNNING, is_well=True, doing="")
    try:
        told = ask_status(home.socket, PATIENCE_SECONDS)
    except LineError as error:
        return ProcessNow("Agent", "does not answer", is_well=False, doing=str(error))
    return ProcessNow("Agent", RUNNING, is_well=True, doing=_doing(told, now))


def node_now(home: SiteHome, now: float) -> ProcessNow | None:
    """The node, by what it last said; None if the site has not been up yet.

    Raises:
        IntegrityError: the file is not what was written.
    """
    try:
        told = json.loads(home.node_state.read_bytes())
        state, since = str(told["state"]), datetime.fromisoformat(told["since"]).timestamp()
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise IntegrityError(f"{home.node_state} is not what was written; remove it") from error
    why = " – ".join(str(told[name]) for name in ("reason", "remedy") if told.get(name))
    ago = f"for {duration(max(0.0, now - since))}"
    return ProcessNow("Node", state, state == "online", f"{ago}: {why}" if why else ago)


def _doing(told: Mapping[str, object], now: float) -> str:
    busy, last = told.get("busy"), told.get("last")
    if isinstance(busy, Mapping):
        gone = duration(max(0.0, now - _number(busy.get("since"))))
        return f"at {_place(busy)} for {gone}"
    if isinstance(last, Mapping):
        gone = duration(max(0.0, now - _number(last.get("at"))))
        return f"last answered {_place(last)}, {gone} ago"
    return "nothing was asked since it started"


def _place(of: Mapping[str, object]) -> str:
    number = of.get("round")
    where = f"round {number}, " if number else ""
    return f"{where}{of.get('phase')} of {of.get('run', 'no run')}"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
