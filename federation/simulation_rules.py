"""Whether the settings of a simulation are possible together and for these sites and rounds."""

from collections.abc import Iterator, Sequence

from federation.drift_choice import InjectedDrift
from federation.errors import ConfigError
from federation.simulation_choice import Attack, Simulation


def check_simulation(simulation: Simulation, *, in_groups: bool) -> None:
    """Return if the settings of each table fit each other.

    Args:
        simulation: its settings.
        in_groups: whether sites sum in random groups.

    Raises:
        ConfigError: names the first that do not.
    """
    _check_availability(simulation)
    _check_coordinator(simulation, in_groups=in_groups)
    for key, attack in _attacks(simulation):
        _check_attack(key, attack)
    for number, drift in enumerate(simulation.drift):
        _check_drift(f"simulation.drift.{number}", drift)


def check_simulated_sites(simulation: Simulation, sites: Sequence[str], rounds: int) -> None:
    """Return if everything that is injected is at a site, and in a round, that there is.

    Args:
        simulation: its settings.
        sites: of the federation.
        rounds: training rounds; one evaluation round follows them.

    Raises:
        ConfigError: names the first that is not.
    """
    for key, named in _named_sites(simulation):
        unknown = sorted(set(named) - set(sites))
        if unknown:
            raise ConfigError(key, unknown, f"one of {', '.join(sites)}")
    for crash in simulation.crashes:
        if crash.round > rounds + 1:
            raise ConfigError(
                "simulation.crashes.round",
                crash.round,
                f"at most {rounds + 1}, the evaluation round",
            )


def _named_sites(simulation: Simulation) -> Iterator[tuple[str, tuple[str, ...]]]:
    for crash in simulation.crashes:
        yield "simulation.crashes.site", (crash.site,)
    for drift in simulation.drift:
        yield "simulation.drift.sites", drift.sites


def _check_availability(simulation: Simulation) -> None:
    choice = simulation.availability
    if (choice.kind == "trace") != bool(choice.file):
        raise ConfigError(
            "simulation.availability.file",
            choice.file,
            "a CSV or Parquet file if, and only if, simulation.availability.kind = 'trace'",
        )


def _check_coordinator(simulation: Simulation, *, in_groups: bool) -> None:
    if simulation.coordinator != "honest" and in_groups:
        raise ConfigError(
            "simulation.coordinator",
            simulation.coordinator,
            "'honest' where robustness.aggregate is not 'mean': its lies are about one sum",
        )
    if simulation.coordinator != "honest" and simulation.backend != "embedded":
        raise ConfigError(
            "simulation.backend",
            simulation.backend,
            "'embedded' where simulation.coordinator lies: it asks the sites in this process",
        )


def _attacks(simulation: Simulation) -> Iterator[tuple[str, Attack]]:
    for number, attacker in enumerate(simulation.attackers):
        yield f"simulation.attackers.{number}", attacker
    if simulation.random_attackers is not None:
        yield "simulation.random_attackers", simulation.random_attackers


def _check_attack(key: str, attack: Attack) -> None:
    if attack.kind == "targeted_label_flip" and not (attack.source and attack.target):
        raise ConfigError(
            f"{key}.source", attack.source, "source and target, two classes of the task"
        )
    if attack.kind == "noise_update" and not attack.factor > 0:
        raise ConfigError(f"{key}.factor", attack.factor, "a number > 0")
    if attack.kind == "backdoor":
        _check_backdoor(key, attack)


def _check_backdoor(key: str, attack: Attack) -> None:
    if not attack.target:
        raise ConfigError(f"{key}.target", attack.target, "a class of the task")
    if bool(attack.feature) == bool(attack.positions):
        raise ConfigError(
            f"{key}.feature", attack.feature, "the trigger's feature, or else its positions"
        )
    if attack.value is None:
        raise ConfigError(f"{key}.value", None, "what the trigger is set to")


def _check_drift(key: str, drift: InjectedDrift) -> None:
    if drift.kind == "covariate" and not drift.feature:
        raise ConfigError(f"{key}.feature", drift.feature, "the feature that drifts")
    if drift.kind == "concept" and not 0 < drift.strength <= 1:
        raise ConfigError(f"{key}.strength", drift.strength, "a chance in (0, 1] for a concept")
    if drift.how == "shift" and drift.kind != "covariate":
        raise ConfigError(f"{key}.how", drift.how, "'resample': only a covariate can be shifted")
    if drift.strength == 0:
        raise ConfigError(f"{key}.strength", drift.strength, "a number other than 0")
