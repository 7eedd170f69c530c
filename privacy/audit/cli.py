"""`hedgerow privacy audit`: what attacks on our own mechanisms show, beside what is proven."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from privacy.audit.result import AuditResult

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Attack the code that protects, and compare with what is proven of it.

    Shadow runs only: nothing is charged, nothing of a run or of its keys is used.
    """


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Seed = Annotated[int, typer.Option(help="Fixes the whole result.")]
Confidence = Annotated[float, typer.Option(help="Of all findings together.")]


@app.command()
def mechanism(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    noise_multiplier: Annotated[float, typer.Option(help="Noise per step over the clip.")] = 1.0,
    sampling_rate: Annotated[
        float, typer.Option(help="Chance of a row to be in a step's batch.")
    ] = 0.25,
    steps: Annotated[int, typer.Option(help="Of the plan; each is seen by the attacker.")] = 8,
    delta: Annotated[float, typer.Option(help="Of the plan's guarantee.")] = 1e-3,
    trials: Annotated[
        int, typer.Option(help="Runs with the record, and as many without, per experiment.")
    ] = 50_000,
    seed: Seed = 2026,
    confidence: Confidence = 0.95,
    shared: Annotated[
        bool, typer.Option("--shared", help="Noise that sites share, in one-step rounds.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run sampler, clip, noise and encoder with one record and without, many times.

    Exit codes: 0 nothing leaks more than is proven; 3 VIOLATION; 2 an option is wrong.
    """
    from privacy.audit import mechanism as audits  # noqa: PLC0415 - torch only when it is used

    wanted = audits.MechanismAudit(
        noise_multiplier, sampling_rate, steps, delta, trials, seed, confidence
    )
    audit = audits.audit_shared_noise if shared else audits.audit_own_noise
    _report(audit(wanted), as_json)


def _report(result: "AuditResult", as_json: bool) -> None:  # noqa: FBT001 - passed on from an option
    """Print a result and leave with its exit code.

    Raises:
        typer.Exit: VIOLATION.
    """
    from privacy.audit.result import VIOLATION_EXIT_CODE, to_plain  # noqa: PLC0415 - as above

    if as_json:
        typer.echo(json.dumps(to_plain(result), allow_nan=False))
    else:
        _print(result)
    if result.verdict == "VIOLATION":
        raise typer.Exit(VIOLATION_EXIT_CODE)


def _print(result: "AuditResult") -> None:
    table = Table(
        title=f"audit of the {result.kind}: a shadow run, nothing is charged",
        title_justify="left", box=box.SIMPLE, header_style="bold",
    )  # fmt: skip
    table.add_column("what was run", overflow="fold")
    for column in ("delta", "proven epsilon", "shown epsilon", "half noise would show"):
        table.add_column(column, justify="right")
    for finding in result.findings:
        table.add_row(
            finding.name,
            f"{finding.delta:g}",
            _upper(finding.proven_epsilon),
            f">= {finding.empirical_epsilon:.3f}" + (" !" if finding.is_violated else ""),
            "-" if finding.half_noise_epsilon is None else f">= {finding.half_noise_epsilon:.3f}",
        )
    Console().print(table)
    for line in _summary(result):
        typer.echo(line)


def _upper(epsilon: float | None) -> str:
    return "unbounded" if epsilon is None else f"<= {epsilon:.3f}"


def _summary(result: "AuditResult") -> list[str]:
    settings = ", ".join(f"{name} {value}" for name, value in result.parameters.items())
    violated = [finding.name for finding in result.findings if finding.is_violated]
    lines = [
        f"{settings}, seed {result.seed}",
        f"{result.trials} trials; all findings hold together at {100 * result.confidence:g} %",
    ]
    if result.proven_epsilon is not None:
        gap = result.proven_epsilon - result.empirical_epsilon
        lines.append(
            f"the plan: proven epsilon <= {result.proven_epsilon:.3f}, shown "
            f">= {result.empirical_epsilon:.3f} at delta {result.delta:g}, gap {gap:.3f}"
        )
    if violated:
        return [
            *lines,
            f"VIOLATION: more leaks than is proven: {'; '.join(dict.fromkeys(violated))}",
        ]
    return [*lines, "PASS: nothing leaks more than is proven"]
