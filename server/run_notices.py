"""What in a run calls for somebody."""

from collections.abc import Iterator

from federation.console_page.page import Notice, Tile, gravest_first
from federation.report_page.number_text import listing
from server.run_contents import RunContents


def notices(read: RunContents, tiles: tuple[Tile, ...]) -> tuple[Notice, ...]:
    """Of damage, rounds, verdicts and evaluations, the gravest first.

    Args:
        read: what the run holds.
        tiles: verdicts on its model; those of a later evaluation speak for themselves.
    """
    verdicts = () if read.evaluation else tiles
    found = [
        *_damage(read),
        *_round_notices(read),
        *(
            Notice(
                "Act",
                one.topic.lower(),
                f"{one.headline[:1].upper()}{one.headline[1:]}. {one.sentence}",
            )
            for one in verdicts
            if one.grade == "Act"
        ),
        *_evaluation_notices(read),
    ]
    return gravest_first(found)


def _damage(read: RunContents) -> Iterator[Notice]:
    for text in read.damage:
        yield Notice("Act", "damage", text)


def _round_notices(read: RunContents) -> Iterator[Notice]:
    for one in read.record.rounds:
        if one.round.noise is not None and one.round.noise.alarm:
            yield Notice(
                "Act", "noise", f"Round {one.round.round}: the noise in the sum is not as promised."
            )
    last = read.record.rounds[-1].round if read.record.rounds else None
    if last is not None and last.status == "failed":
        yield Notice(
            "Act", "rounds", f"Round {last.round} failed: {last.reason or 'no reason told'}"
        )
    if last is not None and last.dropped:
        names = listing(tuple(last.dropped))
        yield Notice("Watch", "sites", f"Round {last.round} went on without {names}.")
    if read.state == "stopped" and read.summary is not None:
        yield Notice("Act", "run", f"The run stopped: {read.summary.run.stopped_because}")
    if read.state == "interrupted":
        done, planned = read.record.completed_rounds, read.config.run.rounds
        yield Notice(
            "Watch",
            "run",
            f"Nobody works on it, and {done} of {planned} rounds are done: it can be resumed.",
        )


def _evaluation_notices(read: RunContents) -> Iterator[Notice]:
    for alert in read.evaluation.alerts if read.evaluation else ():
        yield Notice(
            "Act" if alert.level == "act" else "Watch",
            alert.topic,
            f"Window {alert.window}: {alert.sentence}",
        )
