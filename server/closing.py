"""The last question of a run: what each site's ledger says."""

from collections.abc import Iterable
from contextlib import suppress

from federation.envelope import Phase
from federation.errors import ProtocolViolation
from federation.round_messages import Statement
from server.conversation import Conversation, Place


def closing_statements(
    conversation: Conversation, run: str, sites: Iterable[str], body: bytes, timeout: float
) -> dict[str, Statement]:
    """Every site's ledger statement; a silent site has none.

    Args:
        conversation: the line to the sites.
        run: id of the run.
        sites: who is asked.
        body: `COMPLETED` if the sites may forget the vectors of the run; else they may be resent.
        timeout: seconds to wait at most.
    """
    asked = tuple(sites)
    answers = conversation.ask(Phase.CLOSE, Place(run), dict.fromkeys(asked, body), timeout)
    if answers.silent:
        # A site that was cut off just now would keep what it was asked to forget.
        again = dict.fromkeys(answers.silent, body)
        answers = answers.completed_by(conversation.ask(Phase.CLOSE, Place(run), again, timeout))
    statements = {}
    for site, said in answers.bodies.items():
        # A site whose statement cannot be read has made none.
        with suppress(ProtocolViolation):
            statements[site] = Statement.from_bytes(said)
    return statements
