"""`hedgerow privacy epsilon` and `plan`: what noise costs, and how much of it a target takes."""

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from privacy.noise_plan import MissingShares, NoiseChoice, NoiseRequest
    from privacy.risk import TradeOff
    from privacy.statement import Statement

app = typer.Typer(add_completion=False, no_args_is_help=True)

Rate = Annotated[float, typer.Option(help="Probability of a record to be in a step's batch.")]
Delta = Annotated[float, typer.Option(help="In (0, 1), below 1 / rows.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

BAR = 40
"""Columns of the longest bar of a curve."""


@app.command()
def epsilon(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    noise_multiplier: Annotated[
        float, typer.Option(help="Deviation of the noise over the clip norm.")
    ],
    sampling_rate: Rate,
    steps: Annotated[int, typer.Option(help="Noised steps of the whole run, at one site.")],
    delta: Delta,
    accountant: Annotated[
        str, typer.Option(help="pld, rdp or prv: whose epsilon is the headline.")
    ] = "pld",
    relation: Annotated[
        str, typer.Option(help="add-or-remove-one or replace-one.")
    ] = "add-or-remove-one",
    sampling: Annotated[
        str, typer.Option(help="poisson, or none: shuffled batches, no amplification.")
    ] = "poisson",
    records_per_person: Annotated[int, typer.Option(help="Most records of a person.")] = 1,
    rows: Annotated[int | None, typer.Option(help="Of the site: delta is held against it.")] = None,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Say what a run of DP-SGD costs, what that means, and what it rests on.

    Exit codes: 0 printed; 2 an option is wrong; 4 an accountant that is no bound.
    """
    from privacy import statement  # noqa: PLC0415 - scipy only when it is used
    from privacy.neighbours import Neighbours, relation_named  # noqa: PLC0415 - as above

    statement.check_accountant(accountant)
    noise = statement.TrainingNoise(noise_multiplier, sampling_rate, steps, sampling)
    neighbours = Neighbours(relation_named(relation), records_per_person)
    said = statement.state(noise, delta, neighbours, accountant, rows)
    if as_json:
        asked = asdict(noise) | asdict(neighbours) | {"delta": delta, "accountant": accountant}
        typer.echo(_statement_json(asked, said, accountant))
        return
    typer.echo(
        f"epsilon = {_number(said.epsilons[accountant])} at delta = {delta:g} ({accountant})"
    )
    others = [name for name in ("pld", "rdp", "prv") if name != accountant]
    shown = (f"{name} {_number(said.epsilons[name])}" for name in others if name in said.epsilons)
    typer.echo(f"others: {', '.join(shown)}" + ("" if "prv" in said.epsilons else PRV_NOT_ASKED))
    Console().print(_risk_table(said.trade_off))
    typer.echo("This rests on:")
    for line in said.assumptions:
        typer.echo(f"- {line}")
    for line in said.warnings:
        typer.echo(f"warning: {line}", err=True)


PRV_NOT_ASKED = " (prv takes seconds: --accountant prv)"


@app.command()
def plan(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    epsilon: Annotated[float, typer.Option(help="Target of the whole run.")],
    delta: Delta,
    rows: Annotated[int, typer.Option(help="Public estimate of each site's rows.")],
    rounds: Annotated[int, typer.Option(help="Rounds of the run.")],
    sites: Annotated[int, typer.Option(help="Sites of the federation.")],
    local_steps: Annotated[int, typer.Option(help="Noised steps of a round, at each site.")] = 1,
    sampling_rate: Annotated[
        float | None, typer.Option(help="Probability of a record to be in a batch; else chosen.")
    ] = None,
    quorum: Annotated[
        int | None, typer.Option(help="Fewest sites that a sum is of; else all.")
    ] = None,
    colluders: Annotated[int, typer.Option(help="Sites that may tell their noise.")] = 0,
    as_json: AsJson = False,  # noqa: FBT002 - an option
) -> None:
    """Find the noise for a target, beside other choices, and what happens if shares are missing.

    Exit codes: 0 printed; 2 an option is wrong; 4 no noise meets the target.
    """
    from privacy import noise_plan  # noqa: PLC0415 - scipy only when it is used
    from privacy.event import PoissonSampledGaussian  # noqa: PLC0415 - as above

    request = noise_plan.NoiseRequest(
        epsilon, delta, rows, sites, rounds, local_steps, quorum if quorum is not None else sites,
        colluders,
    )  # fmt: skip
    rates: tuple[float, ...] = noise_plan.USUAL_RATES
    if sampling_rate is not None:
        rates = tuple(sorted({sampling_rate, min(1.0, 2 * sampling_rate)}))
    found = noise_plan.choices(request, rates)
    best = noise_plan.chosen(found)
    if sampling_rate is not None:
        best = next(each for each in found if each.sampling_rate == sampling_rate)
    curve = noise_plan.curve(request, best)
    event = PoissonSampledGaussian(best.sampling_rate, best.noise_multiplier, request.steps)
    missing = noise_plan.missing_shares(event, request.honest, delta)
    if as_json:
        typer.echo(_plan_json(request, found, best, curve, missing))
        return
    typer.echo(
        f"noise_multiplier = {best.noise_multiplier:g} at sampling_rate = {best.sampling_rate:g}: "
        f"epsilon {epsilon:g} at delta {delta:g} after {request.steps} steps"
    )
    for table in (_choice_table(request, found), _curve_table(curve), _missing_table(missing)):
        Console().print(table)
    for line in _plan_notes(request):
        typer.echo(f"- {line}")
    if delta > 1 / rows:
        typer.echo(f"warning: delta {delta:g} is above 1 / {rows} rows", err=True)


def _number(value: float) -> str:
    """Rounded up at the third decimal."""
    return "none" if math.isinf(value) else f"{math.ceil(value * 1000 - 1e-6) / 1000:.3f}"


def _percent(share: float) -> str:
    """Rounded up at the second decimal."""
    return f"{min(100.0, math.ceil(share * 10_000) / 100):.2f} %"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _risk_table(trade_off: "TradeOff") -> Table:
    from privacy.risk import FALSE_POSITIVE_RATES  # noqa: PLC0415 - as above

    table = _table("An adversary who guesses who took part", "of those who did not, accused",
                   "of those who did, found at most")  # fmt: skip
    for rate in FALSE_POSITIVE_RATES:
        table.add_row(f"{rate:.1%}", _percent(trade_off.true_positive_rate(rate)))
    table.add_row("largest difference (advantage)", _percent(trade_off.advantage()))
    mu = trade_off.gaussian_mu()
    table.add_row("as one draw of N(0, 1) against N(mu, 1), mu", _number(mu))
    return table


def _choice_table(request: "NoiseRequest", found: "list[NoiseChoice]") -> Table:
    table = _table(
        f"Choices for {request.sites} sites of {request.rows} rows, {request.steps} steps: noise "
        "on the mean of a step, in clip norms",
        "sampling rate", "batch", "noise multiplier", "each site its own", "shared in the sum",
    )  # fmt: skip
    for each in found:
        table.add_row(
            f"{each.sampling_rate:g}", f"{each.batch:.1f}", f"{each.noise_multiplier:.4f}",
            f"{each.own_noise:.5f}", f"{each.shared_noise:.5f}",
        )  # fmt: skip
    return table


def _curve_table(curve: list[tuple[float, float]]) -> Table:
    table = _table("Epsilon against noise", "noise multiplier", "epsilon", "")
    most = max((value for _, value in curve if math.isfinite(value)), default=1.0)
    for noise, value in curve:
        bar = BAR if math.isinf(value) else round(BAR * value / most)
        table.add_row(f"{noise:.4f}", _number(value), "█" * bar)
    return table


def _missing_table(missing: "list[MissingShares]") -> Table:
    table = _table(
        "Noise shared in the sum: what if more shares are missing than planned for",
        "missing", "variance left", "epsilon of the run",
    )  # fmt: skip
    for each in missing:
        table.add_row(str(each.missing), f"{each.variance:.3f}", _number(each.epsilon))
    return table


def _plan_notes(request: "NoiseRequest") -> tuple[str, ...]:
    return (
        f"noise is enough for {request.honest} honest shares: a quorum of {request.quorum}, of "
        f"which {request.colluders} may collude; missing is who drops out or colludes beyond that",
        "shared noise takes one local step a round"
        + ("" if request.local_steps == 1 else f", not {request.local_steps}")
        + "; own noise protects each site without the others",
        "sites' rows are of different people; a person at m sites pays for m histories",
        "for planning: a run solves for its noise again, and ledgers judge it",
    )


def _statement_json(asked: dict[str, object], said: "Statement", accountant: str) -> str:
    from privacy.risk import FALSE_POSITIVE_RATES  # noqa: PLC0415 - as above

    curve = said.trade_off
    return json.dumps(
        asked
        | {
            "epsilon": _finite(said.epsilons[accountant]),
            "epsilons": {name: _finite(value) for name, value in said.epsilons.items()},
            "advantage": curve.advantage(),
            "true_positive_rates": {
                f"{rate:g}": curve.true_positive_rate(rate) for rate in FALSE_POSITIVE_RATES
            },
            "gaussian_mu": _finite(curve.gaussian_mu()),
            "assumptions": said.assumptions,
            "warnings": said.warnings,
        },
        allow_nan=False,
    )


def _plan_json(
    request: "NoiseRequest",
    found: "list[NoiseChoice]",
    best: "NoiseChoice",
    curve: list[tuple[float, float]],
    missing: "list[MissingShares]",
) -> str:
    return json.dumps(
        {
            "request": asdict(request),
            "chosen": asdict(best),
            "choices": [asdict(each) for each in found],
            "curve": [
                {"noise_multiplier": noise, "epsilon": _finite(value)} for noise, value in curve
            ],
            "missing_shares": [
                asdict(each) | {"epsilon": _finite(each.epsilon)} for each in missing
            ],
        },
        allow_nan=False,
    )


def _finite(value: float) -> float | None:
    """JSON has no infinity: null where there is no bound."""
    return value if math.isfinite(value) else None
