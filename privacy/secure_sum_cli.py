"""`hedgerow secure-sum graph`: what degree and threshold a federation of some size needs."""

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from privacy.secure_sum.graph_parameters import GraphParameters, GraphRequirements

app = typer.Typer(add_completion=False, no_args_is_help=True)

SCALES = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand"), (1, ""))


ROWS = (
    "neighbours of a site",
    "threshold: shares that open a secret",
    "quorum: sites that sign who survived",
    "colluders withstood",
    "a part of the sum is opened apart",
    "random losses end the round",
)


@app.callback()
def _group() -> None:
    """Plan the secure sum: how many neighbours, which threshold, what can go wrong."""


@app.command()
def graph(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    sites: Annotated[int, typer.Option(help="How many sites are invited.")],
    dropouts: Annotated[float, typer.Option(help="Share of the sites that may be lost.")],
    colluders: Annotated[
        float, typer.Option(help="Share that may collude with a coordinator that lies.")
    ],
    security: Annotated[
        float, typer.Option(help="Bits: the sites' order protects, but for 2^-BITS.")
    ] = 40,
    grinding: Annotated[
        float, typer.Option(help="Bits: orders a coordinator can try in one attempt.")
    ] = 60,
    correctness: Annotated[
        float, typer.Option(help="Bits: random losses are withstood, but for 2^-BITS.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,  # noqa: FBT002 - an option
) -> None:
    """Set the complete graph beside the sparsest that suffices.

    Exit codes: 0 printed; 2 an option is wrong, or no graph can meet what is asked.
    """
    from privacy.secure_sum import graph_parameters  # noqa: PLC0415 - numpy only when it is used

    needs = graph_parameters.GraphRequirements(
        sites, colluders, dropouts, security, grinding, correctness
    )
    complete = graph_parameters.complete_graph_parameters(needs)
    sparse = graph_parameters.sparse_graph_parameters(needs)
    chosen = "sparse" if graph_parameters.preferred(complete, sparse) == sparse else "complete"
    if as_json:
        typer.echo(_as_json(needs, complete, sparse, chosen))
        return
    Console().print(_table(needs, complete, sparse))
    if chosen == "sparse":
        why = "a site masks and deals with fewer"
    elif sparse is None:
        why = "no sparse one withstands this"
    else:
        why = f"up to {graph_parameters.COMPLETE_GRAPH_SITES} sites it is affordable"
    typer.echo(f"choose the {chosen} graph: {why}")


def odds(log2_probability: float) -> str:
    """A probability as a power of two and in words, both rounded towards the likelier.

    >>> odds(-40.0), odds(-21.57), odds(-math.inf)
    ('2^-40.0, 1 in 1 trillion', '2^-21.5, 1 in 3 million', 'never')
    """
    if log2_probability == -math.inf:
        return "never"
    power = f"2^-{math.floor(-10 * log2_probability) / 10}"
    if log2_probability <= -50:
        return f"{power}, 1 in 10^{math.floor(-log2_probability * math.log10(2))}"
    one_in = math.exp2(-log2_probability)
    scale, name = next((scale, name) for scale, name in SCALES if one_in >= scale)
    return f"{power}, 1 in {math.floor(one_in / scale)} {name}".rstrip()


def _table(
    needs: "GraphRequirements", complete: "GraphParameters", sparse: "GraphParameters | None"
) -> Table:
    from privacy.secure_sum.terms import tolerated_colluders  # noqa: PLC0415 - as above

    table = Table(
        title=f"{needs.sites} sites: {needs.colluders} may collude, {needs.dropouts} may be lost",
        title_justify="left", box=box.SIMPLE, header_style="bold",
    )  # fmt: skip
    for column in ("", "complete", "sparse"):
        table.add_column(column, overflow="fold")
    withstood = tolerated_colluders(complete.threshold, complete.quorum, complete.sites)
    cells = [_cells(complete, withstood)]
    cells.append(_cells(sparse, sparse.colluders) if sparse else ("–",) * len(ROWS))
    for row in zip(ROWS, *cells, strict=True):
        table.add_row(*row)
    return table


def _cells(parameters: "GraphParameters", withstood: int) -> tuple[str, ...]:
    return (
        str(parameters.degree),
        str(parameters.threshold),
        str(parameters.quorum),
        str(withstood),
        odds(parameters.log2_security_failure),
        odds(parameters.log2_correctness_failure),
    )


def _as_json(
    needs: "GraphRequirements",
    complete: "GraphParameters",
    sparse: "GraphParameters | None",
    chosen: str,
) -> str:
    """A failure that cannot happen has null for its logarithm: JSON has no infinity."""
    return json.dumps(
        {
            "requirements": asdict(needs),
            "complete": _finite(complete),
            "sparse": sparse and _finite(sparse),
            "chosen": chosen,
        },
        allow_nan=False,
    )


def _finite(parameters: "GraphParameters") -> dict[str, float | None]:
    return {
        name: None if value == -math.inf else value for name, value in asdict(parameters).items()
    }
