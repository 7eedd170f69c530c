"""From what was typed after `hedgerow sweep` to a plan, checked to the last trial."""

from dataclasses import dataclass
from pathlib import Path

from federation.config_file import require_known
from federation.errors import ConfigError, UsageError
from federation.settings_file import read_table
from simulations.defaults import DEFAULT_TASK, built_in_table
from simulations.sweep.choice import AIMS, Aim, Limit, parse_limit
from simulations.sweep.folder import SweepFolder
from simulations.sweep.plan import (
    SweepPlan,
    check,
    planned,
    require_same,
    without_privacy,
)
from simulations.sweep.trials import parse_search, parse_seeds, support, trials
from simulations.sweep.variation import parse


@dataclass(frozen=True, slots=True)
class Request:
    """The options, as typed.

    Attributes:
        reference: whether a trial without privacy stands beside the others.
    """

    config: Path | None
    task: str | None
    vary: tuple[str, ...]
    settings: tuple[str, ...]
    random: str | None
    seeds: str
    reference: bool

    def plan(self, aim: Aim, limits: tuple[Limit, ...]) -> SweepPlan:
        """The sweep, every trial of it valid.

        Raises:
            UsageError: an option is wrong, or the file cannot be read.
            ConfigError: the settings of a trial are wrong; names it.
        """
        if not self.vary:
            raise UsageError("give --vary SECTION.KEY=V1,V2,...: what the trials differ in")
        table = self._table()
        variations = tuple(map(parse, self.vary))
        search = parse_search(self.random)
        base = _seed(table, self.settings)
        seeds = parse_seeds(self.seeds, base)
        found = planned(trials(search, variations, seeds, base))
        keys = {one.key for one in variations}
        if self.reference and "privacy.mode" not in keys:
            found = (without_privacy(seeds), *found)
        plan = SweepPlan(
            name=_name(table),
            file="" if self.config is None else str(self.config.resolve()),
            table=table,
            settings=self.settings,
            variations=self.vary,
            search=search.law,
            mean=search.mean,
            support=tuple(support(variations)) if search.number_is_drawn else (),
            trials=found,
            aim=aim,
            limits=limits,
        )
        check(plan)
        return plan

    def _table(self) -> dict[str, object]:
        if self.config is not None:
            return read_table(self.config, "the configuration")
        return built_in_table(self.task or DEFAULT_TASK, self.settings)

    def resumed(self, folder: SweepFolder, aim: Aim, limits: tuple[Limit, ...]) -> SweepPlan:
        """The plan of a sweep that goes on; if options were typed beside it, they must mean it.

        Raises:
            UsageError: it is no sweep, or another one; or its winner was to be chosen otherwise.
            ConfigError: an option is wrong.
        """
        recorded = folder.read_plan()
        if self.vary or self.config is not None or self.task is not None:
            require_same(recorded, self.plan(aim, limits), folder.path)
        elif self.settings or self.random is not None:
            raise UsageError("--resume goes on with the sweep as it was begun: leave options out")
        return recorded


def parse_aim(text: str) -> Aim:
    """What `--maximise` says.

    Raises:
        ConfigError: it is none of what can be.
    """
    require_known("--maximise", text, AIMS)
    return next(one for one in AIMS if one == text)


def parse_limits(texts: tuple[str, ...]) -> tuple[Limit, ...]:
    """What the `--limit`s say.

    Raises:
        ConfigError: one says something else.
    """
    return tuple(map(parse_limit, texts))


def _seed(table: dict[str, object], settings: tuple[str, ...]) -> int:
    """The seed of the configuration: of the first run of each trial, and of what is drawn."""
    given = [text.partition("=")[2] for text in settings if text.partition("=")[0] == "run.seed"]
    run = table.get("run", {})
    seed = given[-1] if given else run.get("seed", 2026) if isinstance(run, dict) else 2026
    if not str(seed).isdigit():
        raise ConfigError("run.seed", seed, "a whole number >= 0")
    return int(str(seed))


def _name(table: dict[str, object]) -> str:
    run = table.get("run", {})
    return str(run.get("name", "heart")) if isinstance(run, dict) else "heart"
