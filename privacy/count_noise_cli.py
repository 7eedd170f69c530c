"""`hedgerow privacy count-noise`: how much noise on evaluation counts a target takes."""

import json
import math
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from federation.errors import ConfigError, PrivacyRefusal

if TYPE_CHECKING:
    from privacy.count_noise import CountNoisePlan, CountRelease

app = typer.Typer(add_completion=False)


@app.command(name="count-noise")
def count_noise(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    epsilon: Annotated[float, typer.Option(help="Of all releases together.")],
    delta: Annotated[float, typer.Option(help="In (0, 1), below 1 / rows.")],
    tables: Annotated[int, typer.Option(help="Tables in which one record is counted once each.")],
    sites: Annotated[int, typer.Option(help="Sites of the federation.")],
    cells: Annotated[int, typer.Option(help="Of all tables together.")] = 1000,
    releases: Annotated[int, typer.Option(help="Windows that are released.")] = 1,
    quorum: Annotated[
        int | None, typer.Option(help="Fewest sites that a sum is of; else all.")
    ] = None,
    colluders: Annotated[int, typer.Option(help="Sites that may tell their noise.")] = 0,
    windows: Annotated[
        str, typer.Option(help="overlapping, or disjoint: each record is in one window only.")
    ] = "overlapping",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,  # noqa: FBT002 - an option
) -> None:
    """Find the noise on evaluation counts for a target, by both mechanisms.

    Exit codes: 0 printed; 2 an option is wrong; 4 no noise meets the target.
    """
    from privacy.count_calibration import (  # noqa: PLC0415 - scipy only when it is used
        choose_count_noise,
        gaussian_count_noise,
        laplace_count_noise,
    )
    from privacy.count_noise import CountRelease, Windows  # noqa: PLC0415 - as above

    named = next((one for one in get_args(Windows) if one == windows), None)
    if named is None:
        raise ConfigError("--windows", windows, "overlapping or disjoint")
    if not 1 <= tables <= cells:
        raise ConfigError("--tables", tables, f"a whole number from 1 to --cells {cells}")
    opened = sites if quorum is None else quorum
    if not 1 <= opened <= sites:
        raise ConfigError("--quorum", opened, f"a whole number from 1 to --sites {sites}")
    if not 0 <= colluders < opened:
        raise ConfigError("--colluders", colluders, "a whole number from 0 and below the quorum")
    release = CountRelease((1,) * tables, cells, opened - colluders, sites, releases, named)
    chosen = choose_count_noise(epsilon, delta, release)
    found = {}
    for solve in (laplace_count_noise, gaussian_count_noise):
        try:
            each = solve(epsilon, delta, release)
        except (ConfigError, PrivacyRefusal):
            continue
        found[each.mechanism] = each
    facts = [_facts(each, opened) for each in found.values()]
    if as_json:
        asked = {"epsilon": epsilon, "delta": delta, "tables": tables, "cells": cells,
                 "releases": releases, "sites": sites, "quorum": opened, "colluders": colluders,
                 "windows": windows}  # fmt: skip
        answer = {"chosen": chosen.mechanism, "mechanisms": facts, "charges": release.charges}
        typer.echo(json.dumps(asked | answer, allow_nan=False))
        return
    typer.echo(
        f"{chosen.mechanism}: {_times(release.charges, 'charge')} of {_times(tables, 'table')}, "
        f"epsilon {epsilon:g} at delta {delta:g} in all"
    )
    Console().print(_table(facts, opened, sites))
    for line in _notes(release, opened, colluders):
        typer.echo(f"- {line}")


def _facts(plan: "CountNoisePlan", quorum: int) -> dict[str, str | float | int]:
    from privacy.count_shares import LaplaceShares  # noqa: PLC0415 - as above

    shares, release = plan.shares, plan.release
    noise = shares.scale if isinstance(shares, LaplaceShares) else shares.noise_multiplier
    return {
        "mechanism": plan.mechanism,
        "noise": noise,
        "deviation_planned": math.sqrt(shares.variance(release.honest)),
        "deviation_at_quorum": math.sqrt(plan.variance(quorum)),
        "deviation_at_all_sites": math.sqrt(plan.variance(release.sites)),
        "largest": plan.largest,
        "epsilon": plan.spent_epsilon(),
    }


def _table(facts: list[dict[str, str | float | int]], quorum: int, sites: int) -> Table:
    table = Table(
        title="Standard deviation of the noise in each cell", title_justify="left", box=box.SIMPLE,
        header_style="bold",
    )  # fmt: skip
    for column in ("mechanism", "planned", f"{quorum} sites", f"{sites} sites", "never above",
                   "epsilon"):  # fmt: skip
        table.add_column(column, overflow="fold")
    for each in facts:
        table.add_row(
            str(each["mechanism"]), *(
                f"{each[name]:.2f}"
                for name in ("deviation_planned", "deviation_at_quorum", "deviation_at_all_sites")
            ), str(each["largest"]), f"{math.ceil(float(each['epsilon']) * 1e4 - 1e-6) / 1e4:.4f}",
        )  # fmt: skip
    return table


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _notes(release: "CountRelease", quorum: int, colluders: int) -> tuple[str, ...]:
    if release.windows == "disjoint":
        paid = (
            f"each record is in one of {_times(release.releases, 'window')} only, a promise that "
            "sites keep where rows are loaded: it pays for one"
        )
    elif release.releases == 1:
        paid = "one window is released, and a record in it pays for that"
    else:
        paid = f"a record may be in all of {_times(release.releases, 'window')}, and pays for each"
    return (
        paid,
        f"planned is the noise of {_times(release.honest, 'honest share')}: a quorum of {quorum}, "
        f"of which {colluders} may collude; every further site adds its share on top",
        "never above: but for one release in 2^60, where a cell wraps around; privacy stays",
    )
