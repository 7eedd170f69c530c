"""Take the README's pictures: the default run in a terminal, reports and console in a browser.

    python docs/take_screenshots.py [--chromium PATH]

Needs Chromium and the extra `docs`. Runs `hedgerow simulate` in a folder of its own, so that the
pictures show what the command prints today.
"""

import argparse
import io
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import MONOKAI
from rich.text import Text

DOCS = Path(__file__).parent
COLUMNS = 112


def run_default(folder: Path) -> pyte.Screen:
    """Run the main job on a terminal; returns the screen at its end."""
    screen = pyte.Screen(COLUMNS, 200)
    stream = pyte.ByteStream(screen)
    stream.feed(b"$ make simulate\r\n")
    ours, theirs = pty.openpty()
    terminal = {"COLUMNS": str(COLUMNS), "LINES": "50", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-m", "hedgerow", "simulate"],
        cwd=folder,
        env=os.environ | terminal | {"PYTHONPATH": str(DOCS.parent.resolve())},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        while chunk := os.read(ours, 65536):
            stream.feed(chunk)
    except OSError:
        pass  # how Linux says that the other end was closed
    if process.wait() != 0:
        raise SystemExit("\n".join(screen.display))
    return screen


def as_text(screen: pyte.Screen) -> Text:
    """What stands on the screen, with its colours."""
    text = Text()
    for number, line in enumerate(screen.display):
        if any(rest.strip() for rest in screen.display[number:]):
            for column in range(len(line.rstrip())):
                cell = screen.buffer[number][column]
                text.append(cell.data, Style(color=_colour(cell.fg), bold=cell.bold,
                                             italic=cell.italics))  # fmt: skip
            text.append("\n")
    return text


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    return f"#{name}" if re.fullmatch("[0-9a-f]{6}", name) else name.replace("brown", "yellow")


def picture_of_terminal(screen: pyte.Screen, chromium: str, folder: Path) -> None:
    """docs/terminal.png."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(as_text(screen), end="")
    svg = console.export_svg(title="hedgerow", theme=MONOKAI)
    # The system's monospaced font; the export would fetch one from the network.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code", "DejaVu Sans Mono")
    (folder / "terminal.svg").write_text(svg, encoding="utf-8")
    width, height = (float(x) for x in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0])
    take(chromium, folder / "terminal.svg", "terminal.png", (int(width) + 1, int(height) + 1))


def budget_report(run: Path, folder: Path) -> Path:
    """The privacy-budget report of one of the run's ledgers."""
    ledger, roster = run / "ledgers" / "cleveland.sqlite", run / "roster.json"
    witness = run / "witness.json"
    asked = [ledger, "--roster", roster, "--witness", witness, "--out", folder]
    hedgerow(folder.parent, "privacy", "report", *map(str, asked))
    return folder / "privacy-report.html"


def evaluation_page(folder: Path) -> Path:
    """The page on four years of a census model."""
    hedgerow(
        folder, "simulate", "--task", "acs-employment", "--set", "privacy.delta=1e-4",
        "--set", "simulation.baselines=false", "--out", "census",
    )  # fmt: skip
    (run,) = (folder / "census").iterdir()
    later = [part for year in ("2016", "2017", "2018") for part in ("--window", year)]
    hedgerow(folder, "evaluation", "run", str(run), "--reference", "2015", *later)
    return run / "evaluation" / "evaluation.html"


def sweep_page(folder: Path) -> Path:
    """The page of a sweep over epsilon and the steps of a round."""
    hedgerow(
        folder, "sweep", "--vary", "privacy.epsilon=0.25,0.5,1,2,4,8", "--vary",
        "training.local_steps=1,3", "--limit", "epsilon<=2", "--quiet",
    )  # fmt: skip
    (page,) = folder.glob("sweeps/*/sweep.html")
    return page


def hedgerow(folder: Path, *words: str) -> None:
    """Run a command."""
    subprocess.run(
        [sys.executable, "-m", "hedgerow", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(DOCS.parent.resolve())},
        check=True,
        capture_output=True,
    )


def picture_of_console(chromium: str, folder: Path) -> None:
    """docs/console.png: a run under way, which ends with the picture."""
    run = started(folder, "simulate", "--rounds", "400", "--set", "simulation.baselines=false")
    try:
        wait_for_rounds(folder / "runs", 40)
        console = started(folder, "console", "runs")
        try:
            assert console.stdout is not None
            address = console.stdout.readline().removeprefix("open ").strip()
            take_address(chromium, address, "console.png", (1180, 1500))
        finally:
            ended(console)
    finally:
        ended(run)


def wait_for_rounds(runs: Path, rounds: int) -> None:
    """Until so many are recorded."""
    for _ in range(1200):
        recorded = [path.read_bytes() for path in runs.glob("*/rounds.jsonl")]
        if any(text.count(b'"event": "round"') >= rounds for text in recorded):
            return
        time.sleep(0.25)
    raise SystemExit("the run for the picture of the console does not come along")


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A command that goes on."""
    return subprocess.Popen(
        [sys.executable, "-m", "hedgerow", *words],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": str(DOCS.parent.resolve()), "PYTHONUNBUFFERED": "1", "HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> None:
    """End it as Ctrl-C does."""
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def take(chromium: str, page: Path, name: str, size: tuple[int, int]) -> None:
    """Photograph a page into docs/."""
    take_address(chromium, page.resolve().as_uri(), name, size)


def take_address(chromium: str, address: str, name: str, size: tuple[int, int]) -> None:
    """Photograph what stands at an address into docs/."""
    subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--window-size={size[0]},{size[1]}", f"--screenshot={(DOCS / name).resolve()}",
            address,
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip


def main() -> None:
    """Run, and photograph all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    chromium = parser.parse_args().chromium
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        screen = run_default(folder)
        picture_of_terminal(screen, chromium, folder)
        (report,) = folder.glob("runs/*/report.html")
        take(chromium, report, "report.png", (1180, 1900))
        budget = budget_report(report.parent, folder / "budget")
        take(chromium, budget, "privacy-report.png", (1180, 1800))
        take(chromium, evaluation_page(folder), "evaluation.png", (1180, 1700))
        take(chromium, sweep_page(folder), "sweep.png", (1180, 1900))
        (folder / "live").mkdir()
        picture_of_console(chromium, folder / "live")
    names = ("terminal", "report", "privacy-report", "evaluation", "sweep", "console")
    print(f"written: {', '.join(f'docs/{name}.png' for name in names)}")


if __name__ == "__main__":
    main()
