"""Every site's ledger is shown to all others, at the start of a run and at its end."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from federation import canonical
from federation.durable_file import write_atomically
from federation.envelope import Phase
from federation.errors import IntegrityError, ProtocolViolation, RoundFailed
from federation.ledger_head import HeadStatement
from federation.round_messages import Enlistment, Heads, Setback, Statement, Witnessed
from federation.run_folder import RunFolder
from privacy.message_sizes import LARGEST_ANSWER
from server.conversation import Answers, Conversation, Place, Question


@dataclass(frozen=True, slots=True)
class Shown:
    """What sites say of ledgers: their own claims, and what each remembers of others'."""

    claims: tuple[HeadStatement, ...]
    remembered: tuple[HeadStatement, ...] = ()

    @classmethod
    def at_the_start(cls, enlisted: Mapping[str, Enlistment]) -> "Shown":
        """Out of the answers to `enlist`."""
        in_order = [enlisted[site] for site in sorted(enlisted)]
        return cls(
            tuple(one.ledger for one in in_order),
            tuple(statement for one in in_order for statement in one.remembered),
        )

    @classmethod
    def at_the_end(cls, statements: Mapping[str, Statement]) -> "Shown":
        """Out of the answers to `close`."""
        return cls(tuple(statements[site].ledger for site in sorted(statements)))

    def question(self, place: Place, sites: Iterable[str]) -> Question:
        """What each site is asked to compare and to remember."""
        bodies = {
            site: Heads(
                claims=self.claims,
                about_you=tuple(one for one in self.remembered if one.head.site == site),
            ).to_bytes()
            for site in sites
        }
        return Question(Phase.WITNESS, place, bodies, LARGEST_ANSWER[Phase.WITNESS])


def show_at_the_end(
    conversation: Conversation,
    folder: RunFolder,
    statements: Mapping[str, Statement],
    timeout: float,
) -> None:
    """Have the sites that made a closing statement witness the others', and keep what they sign.

    Raises:
        IntegrityError: a ledger lost entries while the run went on.
    """
    shown = Shown.at_the_end(statements)
    asked = shown.question(Place(folder.id), statements)
    answers, _ = conversation.ask_with_rider(asked, None, timeout)
    keep(folder, shown, answers)


def keep(folder: RunFolder, shown: Shown, answers: Answers) -> None:
    """Write what was claimed and witnessed to the run folder; sites that are silent count not.

    Raises:
        IntegrityError: a site was shown a ledger with less in it, or else, than before.
    """
    witnessed, setbacks = _read(answers)
    statements = [one.model_dump(mode="json") for one in (*shown.claims, *witnessed)]
    write_atomically(folder.witness, canonical.encode({"v": 1, "statements": statements}) + b"\n")
    if setbacks:
        raise IntegrityError(
            "; ".join(
                f"{witness} saw entry {one.remembered} of {one.site}'s ledger, which now ends at "
                f"entry {one.shown} or holds something else there"
                for witness, one in setbacks
            )
            + ": it was cut, rolled back or exchanged; its site must restore it before a run"
        )


def _read(answers: Answers) -> tuple[list[HeadStatement], list[tuple[str, Setback]]]:
    witnessed: list[HeadStatement] = []
    setbacks: list[tuple[str, Setback]] = []
    for site, body in sorted(answers.bodies.items()):
        try:
            said = Witnessed.from_bytes(body)
        except ProtocolViolation as error:
            raise RoundFailed(f"{site} does not say what it saw of ledgers: {error}") from error
        witnessed += said.statements
        setbacks += [(site, one) for one in said.setbacks]
    return witnessed, setbacks
