"""Plays a guide: its shell blocks are run as they stand, and its shown output is looked for.

Two things of a block are put in other words, since tests share a machine: the ports and the host
that `STAND_INS` and `Guide` name. All else is typed as a reader would type it, by bash, in a folder
of its own.
"""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deployment import Process, flower_environment, free_port

FENCE = re.compile(r"^```(\w*)$")
PORTS = ("8443", "18443", "18444", "18445", "18446")
"""The ports that `hedgerow coordinator init` writes; each is replaced by a free one."""
STAND_INS = {"fed.example.org": "localhost"}
READY = {
    "hedgerow coordinator up": "all processes are ready",
    "hedgerow site up": "node: online",
    "hedgerow console": "open http://",
}
"""Commands that stay: what they say when a reader goes on to the next step."""
COMMAND_SECONDS, STARTING_SECONDS = 900.0, 300.0


@dataclass(frozen=True)
class Block:
    """One fenced block of shell.

    Attributes:
        section: the heading above it.
        text: what is typed.
        shown: the output that the guide shows below it, line by line; `...` stands for anything.
    """

    section: str
    text: str
    shown: tuple[str, ...]

    @property
    def stays(self) -> str | None:
        """What the command says when it is ready, if it is one that stays."""
        return next((said for start, said in READY.items() if self.text.startswith(start)), None)


def blocks(guide: Path) -> list[Block]:
    """The shell blocks of a guide, in order, each with the `text` block that follows it."""
    found: list[Block] = []
    for section, kind, text in _fenced(guide.read_text("utf-8")):
        if kind == "sh":
            found.append(Block(section, text, ()))
        elif kind == "text":
            last = found.pop()
            found.append(Block(last.section, last.text, (*last.shown, *text.splitlines())))
    return found


def _fenced(text: str) -> Iterator[tuple[str, str, str]]:
    section, kind, lines = "", None, []
    for line in text.splitlines():
        fence = FENCE.match(line)
        if kind is not None:
            if line == "```":
                yield section, kind, "\n".join(lines)
                kind, lines = None, []
            else:
                lines.append(line)
        elif fence:
            kind = fence.group(1)
        elif line.startswith("## "):
            section = line.removeprefix("## ")


def missing(shown: tuple[str, ...], output: str) -> list[str]:
    """Lines that a guide shows and the output has not, or not in that order.

    Runs of spaces are alike, and `...` is any text, also over several lines.
    """
    rest, lost = " ".join(output.split()), []
    for line in shown:
        parts = [re.escape(" ".join(part.split())) for part in line.split("...")]
        found = re.search(r"\s*.*?\s*".join(parts), rest)
        if found is None:
            lost.append(line)
        else:
            rest = rest[found.end() :]
    return lost


class Desk:
    """A folder that somebody types in, and what was started from there.

    Attributes:
        folder: where.
    """

    def __init__(self, folder: Path, words: Mapping[str, str]) -> None:
        """A new folder; `words` are put in place of those of the guide."""
        folder.mkdir(parents=True)
        self.folder, self._words = folder, words
        self._environment = flower_environment(folder / ".flwr")
        self._staying: list[Process] = []

    def play(self, block: Block, typed: str = "") -> str:
        """Run a block, answer its questions with `typed`; returns what it said.

        Raises:
            AssertionError: it failed, or does not show what the guide shows.
        """
        text = self._in_our_words(block.text)
        if block.stays:
            process = Process(["bash", "-c", f"exec {text}"], self._environment, self.folder)
            self._staying.append(process)
            process.wait_for(block.stays, seconds=STARTING_SECONDS)
            output = "".join(process.lines)
        else:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", text], input=typed, text=True,
                cwd=self.folder, env=self._environment, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=COMMAND_SECONDS, check=False,
            )  # fmt: skip
            output = done.stdout
            assert done.returncode == 0, f"{text}\n{output}"
        self._use_free_ports()
        lost = missing(tuple(map(self._in_our_words, block.shown)), output)
        assert not lost, f"the guide shows, under {block.section!r}, {lost}; there is\n{output}"
        return output

    def interrupt_once(self, block: Block, is_time: Callable[[], None]) -> str:
        """Run a block and type Ctrl-C when it is time; returns what it said."""
        with subprocess.Popen(
            ["bash", "-c", self._in_our_words(block.text)], cwd=self.folder, text=True,
            env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:  # fmt: skip
            try:
                is_time()
                os.killpg(process.pid, signal.SIGINT)
                output, _ = process.communicate(timeout=STARTING_SECONDS)
            finally:
                process.kill()
        return output

    def close_terminal(self) -> None:
        """End the latest of the commands that stay."""
        process = self._staying.pop()
        process.end()
        process.close()

    def leave(self) -> None:
        """End all that stays."""
        while self._staying:
            self.close_terminal()

    def _in_our_words(self, text: str) -> str:
        for word, ours in self._words.items():
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", ours, text)
        return text

    def _use_free_ports(self) -> None:
        for settings in self.folder.glob("*/coordinator.toml"):
            written = settings.read_text("utf-8")
            ours = self._in_our_words(written)
            if ours != written:
                settings.write_text(ours, "utf-8")


def free_ports() -> dict[str, str]:
    """What stands in for the ports of the guides."""
    return {port: str(free_port()) for port in PORTS}
