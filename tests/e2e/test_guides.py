"""The operating guides, followed by a newcomer: every shell block in them is executed.

`make venv` alone is not: the environment is the one that these tests run in.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from guide_player import STAND_INS, Block, Desk, blocks, free_ports, missing

from federation.run_folder import RunFolder
from server.certificate_authority import new_authority, server_certificate

OPERATING = Path("docs/operating").absolute()
FIRST, SITE, COORDINATOR = (
    OPERATING / name for name in ("first-federation.md", "site.md", "coordinator.md")
)
SITES = ("north", "south", "west")
PATIENCE = 300.0


def running_in(folder: Path) -> list[str]:
    """Command lines of living processes that began in the folder, or name it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            began = str((process / "cwd").readlink())
        except OSError:  # it has ended meanwhile
            continue
        if (
            line
            and int(process.name) != os.getpid()
            and (str(folder) in line or str(folder) in began)
        ):
            found.append(line)
    return found


def eventually(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not claim():
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.1)


@pytest.mark.parametrize("guide", [FIRST, SITE, COORDINATOR], ids=lambda path: path.stem)
def test_a_guide_says_what_is_seen_after_most_of_what_is_typed(guide: Path) -> None:
    told = blocks(guide)
    assert len(told) >= 8
    assert sum(bool(block.shown) for block in told) >= len(told) / 2


def test_what_a_guide_shows_is_looked_for_in_its_order() -> None:
    output = "made fed;  at 12:01\nkey: 1a2b\nready\n"
    assert missing(("made fed; at ...", "key: ...", "ready"), output) == []
    assert missing(("ready", "made fed"), output) == ["made fed"]
    assert missing(("made fed; at noon",), output) == ["made fed; at noon"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_first_federation_works(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "a b", free_ports())
    try:
        for block in blocks(FIRST):
            began = time.monotonic()
            desk.play(block)
            print(f"{time.monotonic() - began:6.1f} s  {block.section}")  # noqa: T201 - with -s
    finally:
        desk.leave()
    assert running_in(tmp_path) == []


class Partners:
    """A coordinator and three sites, each at a desk of its own; files go by hand, digests by phone.

    Attributes:
        coordinator, sites: the desks.
    """

    def __init__(self, folder: Path) -> None:
        words = free_ports() | STAND_INS
        self.coordinator = Desk(folder / "coordinator", words)
        self.sites = {site: Desk(folder / site, words | {"north": site}) for site in SITES}
        self._left = {guide: blocks(guide) for guide in (SITE, COORDINATOR)}
        self._all = {guide: tuple(told) for guide, told in self._left.items()}

    @property
    def left(self) -> list[Block]:
        """Blocks of both guides that nobody has played."""
        return [block for told in self._left.values() for block in told]

    def of(self, guide: Path, number: str) -> list[Block]:
        """The blocks of the section that begins so."""
        found = [block for block in self._all[guide] if block.section.startswith(number)]
        assert found, f"{guide.name} has no section {number}"
        self._left[guide] = [block for block in self._left[guide] if block not in found]
        return found

    def coordinator_does(self, *numbers: str) -> str:
        return "".join(
            self.coordinator.play(block)
            for number in numbers
            for block in self.of(COORDINATOR, number)
        )

    def site_does(self, site: str, *numbers: str, typed: str = "") -> str:
        return "".join(
            self.sites[site].play(block, typed)
            for number in numbers
            for block in self.of(SITE, number)
        )

    def to_coordinator(self, pattern: str) -> None:
        """Send what sites made."""
        incoming = self.coordinator.folder / "incoming"
        incoming.mkdir(exist_ok=True)
        for path in incoming.iterdir():
            path.unlink()
        for desk in self.sites.values():
            for path in (desk.folder / "site").glob(pattern):
                shutil.copy(path, incoming)

    def to_sites(self, *patterns: str) -> None:
        """Send each site its package, and everybody the bundle."""
        for site, desk in self.sites.items():
            for pattern in patterns:
                for path in (self.coordinator.folder / "fed").glob(pattern.format(site=site)):
                    shutil.copy(path, desk.folder)

    def roster_digest(self) -> str:
        """As the coordinator reads it from its screen."""
        (show,) = (b for b in self._all[COORDINATOR] if b.text.endswith("roster show fed"))
        said = self.coordinator.play(Block(show.section, show.text.splitlines()[-1], ()))
        return next(
            line.removeprefix("roster ") for line in said.splitlines() if line.startswith("roster ")
        )

    def leave(self) -> None:
        for desk in (*self.sites.values(), self.coordinator):
            desk.leave()


@pytest.fixture
def partners(tmp_path: Path) -> Iterator[Partners]:
    made = Partners(tmp_path)
    rows = pd.read_csv("simulations/tasks/data/heart.csv", dtype=str).drop(columns="site")
    shuffled = rows.sample(frac=1.0, random_state=1)
    for number, desk in enumerate(made.sites.values()):
        shuffled.iloc[number :: len(SITES)].to_csv(desk.folder / "rows.csv", index=False)
    try:
        yield made
    finally:
        made.leave()
    assert running_in(tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_guides_fit_together(partners: Partners) -> None:
    coordinator, sites = partners.coordinator, partners.sites
    partners.coordinator_does("1.", "2.", "3.")
    for site in SITES:
        partners.site_does(site, "1.", "2.")
    partners.to_coordinator("*.request")
    partners.coordinator_does("4.", "5.")
    partners.to_sites("packages/{site}.hedgerow", "app/*.fab")
    digest = partners.roster_digest()
    for site in SITES:
        partners.site_does(site, "3.", typed=f"{digest}\n")
    partners.to_coordinator("*.countersign")
    partners.coordinator_does("6.", "7.")
    for site in SITES:
        partners.site_does(site, "4.", typed="y\n")
    partners.site_does("north", "5.")
    for site in SITES:
        partners.site_does(site, "6.")

    _run_that_is_stopped_and_goes_on(partners)
    partners.coordinator_does("8.")
    coordinator.close_terminal()  # the console
    partners.site_does("north", "7.")
    sites["north"].close_terminal()

    partners.site_does("north", "8.")
    partners.to_coordinator("*.rotate.request")
    partners.coordinator_does("11.", "12.")
    partners.to_sites("packages/{site}.hedgerow")
    sites["north"].close_terminal()
    partners.site_does("north", "3.", typed=f"{partners.roster_digest()}\n")
    partners.site_does("north", "6.", "9.")

    _with_a_ca_of_the_house(partners)
    assert partners.left == []


def _run_that_is_stopped_and_goes_on(partners: Partners) -> None:
    (run,) = partners.of(COORDINATOR, "9.")
    (go_on,) = partners.of(COORDINATOR, "10.")
    runs = partners.coordinator.folder / "fed" / "runs"

    def has_a_round() -> bool:
        return any(path.stat().st_size > 1000 for path in runs.glob("*/rounds.jsonl"))

    stopped = partners.coordinator.interrupt_once(run, lambda: eventually(has_a_round))
    assert "go on with: hedgerow coordinator run fed --resume" in stopped
    partners.coordinator.play(Block(go_on.section, go_on.text, run.shown))
    (folder,) = runs.iterdir()
    assert RunFolder(folder).model.is_file()


def _with_a_ca_of_the_house(partners: Partners) -> None:
    now, folder = datetime.now(UTC), partners.coordinator.folder
    house = new_authority("house", now)
    (folder / "our-ca.pem").write_bytes(house.certificate)
    ask, install = partners.of(COORDINATOR, "With a CA")
    partners.coordinator.play(ask)
    key = (folder / "fed-of-our-ca" / "tls" / "server.key").read_bytes()
    (folder / "server.pem").write_bytes(server_certificate(house, ("localhost",), key, now, 90))
    partners.coordinator.play(install)
