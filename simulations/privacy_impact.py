"""The same simulated federation at several epsilons: what privacy costs each group."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from federation import config_file
from federation.config import FederationConfig
from federation.errors import UsageError
from federation.privacy_impact import GapImpact, GroupImpact, ImpactPoint, PrivacyImpact
from federation.summary import Estimate, Fairness, GroupRates, Summary
from simulations.simulate import run
from simulations.sites import prepare

Report = Callable[[float | None, int], None]
Key = tuple[str, str]
"""Of a group or a gap: whose groups they are, and which."""


def privacy_impact(
    config: FederationConfig,
    epsilons: Sequence[float],
    seeds: Sequence[int],
    task_folder: Path | None,
    report: Report,
) -> PrivacyImpact:
    """Train without privacy and at every epsilon, with every seed.

    Args:
        config: of the federation; its epsilon, noise and seed are replaced.
        epsilons: each > 0.
        seeds: of the initial model, batches and noise.
        task_folder: where the user's task module lies, if it is not installed.
        report: told before each run which epsilon (None: without privacy) and seed it has.

    Raises:
        UsageError: no epsilon or no seed, or one twice.
        HedgerowError: as `simulations.simulate.run`.
    """
    _require_some("--epsilon", epsilons)
    _require_some("--seed", seeds)
    settings: list[float | None] = [None, *sorted(epsilons, reverse=True)]
    points = []
    with tempfile.TemporaryDirectory(prefix="hedgerow-impact-") as parent:
        for epsilon in settings:
            summaries = []
            for seed in seeds:
                report(epsilon, seed)
                one = _at(config, epsilon, seed)
                folder = prepare(one, Path(parent), task_folder)
                summaries.append(run(folder, config_file.read(folder.config), lambda _: None))
            points.append(_point(epsilon, summaries))
    return PrivacyImpact(seeds=tuple(seeds), rounds=config.run.rounds, points=tuple(points))


def _at(config: FederationConfig, epsilon: float | None, seed: int) -> FederationConfig:
    table = config.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    table["run"] = table.get("run", {}) | {"seed": seed}
    table["simulation"] = table.get("simulation", {}) | {"baselines": False}
    table["privacy"] = _privacy(table.get("privacy", {}), epsilon)
    policy = dict(table.get("site_policy", {}))
    policy.pop("epsilon_budget", None)
    table["site_policy"] = policy
    return config_file.parse(table)


def _privacy(before: dict[str, object], epsilon: float | None) -> dict[str, object]:
    """Delta and the bound on gradients stay; without privacy nothing is clipped, either."""
    if epsilon is None:
        return {"mode": "off"}
    noise = ("mode", "noise_multiplier")
    return {name: value for name, value in before.items() if name not in noise} | {
        "epsilon": epsilon
    }


def _require_some(option: str, values: Sequence[float]) -> None:
    if not values or len(set(values)) != len(values) or any(value <= 0 for value in values):
        told = ", ".join(f"{value:g}" for value in values) or "none"
        raise UsageError(f"{option} {told}: expected one or more numbers > 0, none twice")


def _point(epsilon: float | None, summaries: Sequence[Summary]) -> ImpactPoint:
    fairness = [_overall(summary) for summary in summaries]
    by_seed = [{(g.attribute, g.group): g for g in one.groups} for one in fairness]
    gaps_by_seed = [
        {(g.attribute, g.metric): g.estimate for g in one.disparities} for one in fairness
    ]
    return ImpactPoint(
        epsilon=epsilon,
        accuracy=_over_seeds([summary.utility[-1].overall.accuracy for summary in summaries]),
        # Rows are split by the seed, so a group may be large enough to be shown in some splits.
        groups=tuple(_group([one[key] for one in by_seed]) for key in _in_all(by_seed)),
        gaps=tuple(
            GapImpact(
                attribute=key[0], metric=key[1], value=_over_seeds([s[key] for s in gaps_by_seed])
            )
            for key in _in_all(gaps_by_seed)
        ),
    )


def _group(groups: Sequence[GroupRates]) -> GroupImpact:
    binary = any(group.true_positive_rate is not None for group in groups)
    return GroupImpact(
        attribute=groups[0].attribute,
        group=groups[0].group,
        rows=min(group.rows for group in groups),
        accuracy=_over_seeds([group.accuracy for group in groups]),
        true_positive_rate=(
            _over_seeds([group.true_positive_rate for group in groups]) if binary else None
        ),
    )


def _in_all(by_seed: Sequence[Mapping[Key, object]]) -> list[Key]:
    return [key for key in by_seed[0] if all(key in one for one in by_seed)]


def _overall(summary: Summary) -> Fairness:
    found = next((one for one in summary.fairness if one.scope == "overall"), None)
    if found is None:
        raise UsageError(
            f"the run ended without an evaluation: {summary.run.stopped_because or 'see its notes'}"
        )
    return found


def _over_seeds(estimates: Sequence[Estimate | None]) -> Estimate:
    """Mean, smallest and largest; no value if one of them has none."""
    known = [one.value for one in estimates if one is not None and one.value is not None]
    if len(known) < len(estimates):
        reasons = (one.reason for one in estimates if one is not None and one.value is None)
        return Estimate(value=None, reason=next(reasons, "not measured"))
    mean = sum(known) / len(known)
    return Estimate(value=mean, low=min(known), high=max(known), kind="exact_bounds")
