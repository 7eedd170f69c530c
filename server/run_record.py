"""What a run has recorded so far, read from `rounds.jsonl`: the past that a resumed run has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from federation.run_folder import RunFolder
from federation.summary import Drift, Fairness, Part, Round, Utility, UtilityPoint


class RoundRecord(Part):
    """One line of `rounds.jsonl`: a finished round and what its sum said.

    Attributes:
        round: as the summary shows it.
        utility: of the model the round started from; None if the round failed.
        fairness: of that same model, one per scope.
    """

    round: Round
    utility: UtilityPoint | None = None
    training_loss: float | None = None
    fairness: tuple[Fairness, ...] = ()
    drift: tuple[Drift, ...] = ()
    majority: Utility | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The recorded past.

    Attributes:
        started: UTC, ISO 8601; of the first start.
        starts: how often the run was started or resumed.
        rounds: finished rounds in order.
        attempts: per round number, how many attempts were begun.
    """

    started: str
    starts: int
    rounds: tuple[RoundRecord, ...]
    attempts: Mapping[int, int]

    @property
    def last_trained(self) -> int:
        """Number of the last completed training round; 0 if none."""
        done = [
            r.round.round
            for r in self.rounds
            if r.round.kind == "train" and r.round.status == "completed"
        ]
        return max(done, default=0)

    def next_round(self, on_failed_round: Literal["stop", "continue"]) -> int:
        """Number of the training round to go on with.

        A failed round that stopped the run is tried again: its sites resend what they have, which
        costs nothing. Where a run goes on after a failed round, it went on.
        """
        trained = [r.round for r in self.rounds if r.round.kind == "train"]
        if not trained:
            return 1
        again = trained[-1].status == "failed" and on_failed_round == "stop"
        return trained[-1].round + (0 if again else 1)

    @property
    def completed_rounds(self) -> int:
        """How many training rounds changed the model."""
        return sum(r.round.kind == "train" and r.round.status == "completed" for r in self.rounds)

    @property
    def final_evaluation(self) -> RoundRecord | None:
        """The evaluation round, if it was completed."""
        for record in reversed(self.rounds):
            if record.round.kind == "evaluate" and record.round.status == "completed":
                return record
        return None

    @property
    def evaluated_after(self) -> int | None:
        """After how many rounds the model was that the final evaluation judged."""
        final = self.final_evaluation
        return None if final is None or final.utility is None else final.utility.after_round


def read_record(folder: RunFolder) -> RunRecord:
    """The past of a run; a torn last line is dropped from the file, too.

    Raises:
        IntegrityError: a whole line is not what was written.
    """
    lines = folder.read_rounds()
    folder.rewrite_rounds(lines)
    starts = [str(line["at"]) for line in lines if line["event"] == "start"]
    rounds = TypeAdapter(tuple[RoundRecord, ...]).validate_python(
        tuple(line["record"] for line in lines if line["event"] == "round"), strict=False
    )
    attempts: dict[int, int] = {}
    for line in lines:
        if line["event"] == "attempt":
            attempts[int(str(line["round"]))] = int(str(line["attempt"]))
    return RunRecord(starts[0] if starts else "", len(starts), rounds, attempts)


def record_start(folder: RunFolder, at: str) -> None:
    """Note that the run starts or goes on, at a UTC time."""
    folder.append_round({"event": "start", "at": at})


def record_attempt(folder: RunFolder, round_: int, attempt: int) -> None:
    """Note that an attempt begins; the number is never used again, whatever happens to it."""
    folder.append_round({"event": "attempt", "round": round_, "attempt": attempt})


def record_round(folder: RunFolder, record: RoundRecord) -> None:
    """Note how a round ended."""
    folder.append_round({"event": "round", "record": record.model_dump(mode="json")})
