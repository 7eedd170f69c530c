"""`hedgerow privacy audit`: what attacks on our own mechanisms show, beside what is proven."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from privacy.audit.result import AuditResult
    from privacy.audit.shadow import Shadow

app = typer.Typer(add_completion=False, no_args_is_help=True)

CANARIES, QUICK_CANARIES = 2000, 400
TITLES = {
    "mechanism": "audit of the mechanism",
    "training": "audit of training",
    "attack": "audit by the usual attacks",
}
MEMBERSHIP = (
    ("membership by loss: AUC", "loss_auc"),
    ("membership by loss: TPR at 1 % FPR", "loss_tpr"),
    ("membership by shadow models: AUC", "lira_auc"),
    ("membership by shadow models: TPR at 1 % FPR", "lira_tpr"),
)


@app.callback()
def _group() -> None:
    """Attack the code that protects, and compare with what is proven of it.

    Shadow runs only: nothing is charged, nothing of a run or of its keys is used.
    """


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Seed = Annotated[int, typer.Option(help="Fixes the whole result.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="A setting of the file: section.key=value.")
]
LedgerPath = Annotated[
    Path | None, typer.Option(help="A site's ledger to keep the result in; costs nothing.")
]
KeyPath = Annotated[Path | None, typer.Option(help="The site's identity key, for the ledger.")]
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
    ledger: LedgerPath = None,
    key: KeyPath = None,
    as_json: AsJson = False,
) -> None:
    """Run sampler, clip, noise and encoder with one record and without, many times.

    Exit codes: 0 nothing leaks more than is proven; 3 VIOLATION; 2 an option is wrong.
    """
    from privacy.audit import mechanism as audits  # noqa: PLC0415 - torch only when it is used

    _one_thread()
    wanted = audits.MechanismAudit(
        noise_multiplier, sampling_rate, steps, delta, trials, seed, confidence
    )
    audit = audits.audit_shared_noise if shared else audits.audit_own_noise
    _report(lambda: audit(wanted), ledger, key, as_json)


@app.command()
def training(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    config: Annotated[Path, typer.Argument(help="A federation.toml.")],
    canaries: Annotated[
        int, typer.Option(help="Per site; about half of them take part.")
    ] = CANARIES,
    quick: Annotated[
        bool, typer.Option("--quick", help=f"At most {QUICK_CANARIES} canaries per site.")
    ] = False,
    overrides: Overrides = None,
    seed: Seed = 2026,
    confidence: Confidence = 0.95,
    ledger: LedgerPath = None,
    key: KeyPath = None,
    as_json: AsJson = False,
) -> None:
    """Train a shadow federation on the real rows, with canaries at every site.

    Exit codes: 0 nothing leaks more than is proven; 3 VIOLATION; 2 an option or the file is wrong.
    """
    from privacy.audit.training import audit_training  # noqa: PLC0415 - torch only when it is used

    asked = min(canaries, QUICK_CANARIES) if quick else canaries
    shadow = _shadow(config, overrides)
    _report(lambda: audit_training(shadow, asked, seed, confidence), ledger, key, as_json)


@app.command()
def attack(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    config: Annotated[
        Path | None, typer.Argument(help="A federation.toml; the built-in default if left out.")
    ] = None,
    site: Annotated[str, typer.Option(help="Whose rows; the first site's if left out.")] = "",
    shadow_models: Annotated[
        int, typer.Option(help="Models that membership inference learns from.")
    ] = 32,
    overrides: Overrides = None,
    seed: Seed = 2026,
    confidence: Confidence = 0.95,
    ledger: LedgerPath = None,
    key: KeyPath = None,
    as_json: AsJson = False,
) -> None:
    """Attack a site's updates and models, with the plan's privacy and without any.

    Exit codes: 0 nothing leaks more than is proven; 3 VIOLATION; 2 an option or the file is wrong.
    """
    from privacy.audit.attack import AttackAudit, audit_attack  # noqa: PLC0415 - as above

    shadow = _shadow(config, overrides)
    wanted = AttackAudit(shadow, site or shadow.sites[0], shadow_models, seed, confidence)
    _report(lambda: audit_attack(wanted), ledger, key, as_json)


def _shadow(path: Path | None, overrides: list[str] | None) -> "Shadow":
    """The configuration as audits run it."""
    from federation import config_file  # noqa: PLC0415 - as above
    from federation.errors import ConfigError  # noqa: PLC0415 - as above
    from federation.task_loading import add_search_folder, load_task  # noqa: PLC0415 - as above
    from privacy.audit.shadow import shadow  # noqa: PLC0415 - as above

    _one_thread()
    changes = overrides or []
    config = config_file.parse({}, changes) if path is None else config_file.read(path, changes)
    if config.mitigation.method != "none":
        # Its rows carry groups in their labels, and its guarantee does not rest on the loss.
        raise ConfigError(
            "mitigation.method",
            config.mitigation.method,
            "'none' in an audit",
            "clip and noise are the same with any loss: audit with --set mitigation.method=none",
        )
    add_search_folder(Path() if path is None else path.parent)
    return shadow(load_task(config.task.name, config.task.options), config)


def _one_thread() -> None:
    """Of torch: the matrices are small, and more threads only get in each other's way."""
    import torch  # noqa: PLC0415 - as above

    torch.set_num_threads(1)


def _report(
    audit: "Callable[[], AuditResult]",
    ledger: Path | None,
    key: Path | None,
    as_json: bool,  # noqa: FBT001 - passed on from an option
) -> None:
    """Audit, keep the result if asked to, print it, and leave with its exit code.

    Raises:
        typer.Exit: VIOLATION.
        UsageError: a ledger without a key, or a key without a ledger.
    """
    from privacy.audit.result import VIOLATION_EXIT_CODE, to_plain  # noqa: PLC0415 - as above

    with _recorder(ledger, key) as record:
        result = audit()
        entry = record(to_plain(result))
    if as_json:
        typer.echo(json.dumps(to_plain(result), allow_nan=False))
    else:
        _print(result)
        if entry:
            typer.echo(f"kept as entry {entry} of {ledger}")
    if result.verdict == "VIOLATION":
        raise typer.Exit(VIOLATION_EXIT_CODE)


@contextmanager
def _recorder(
    ledger: Path | None, key: Path | None
) -> Iterator[Callable[[dict[str, object]], int]]:
    """What keeps a result and returns the entry's number, or 0 where there is no ledger."""
    from federation.errors import UsageError  # noqa: PLC0415 - as above

    if ledger is None and key is None:
        yield lambda _: 0
        return
    if ledger is None or key is None:
        raise UsageError("--ledger and --key: expected both, the site's ledger and its key")
    from privacy.open_ledger import open_ledger  # noqa: PLC0415 - as above

    with open_ledger(ledger, key) as opened:
        yield opened.record_audit


def _print(result: "AuditResult") -> None:
    table = Table(
        title=f"{TITLES[result.kind]}: a shadow run, nothing is charged",
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
    console = Console()
    console.print(table)
    if result.kind == "attack":
        console.print(_attack_table(result.measures))
    for line in _summary(result):
        typer.echo(line)


def _attack_table(measures: Mapping[str, float]) -> Table:
    table = Table(box=box.SIMPLE, header_style="bold")
    for column in ("attack", "without privacy", "with the plan's", "at most / by chance"):
        table.add_column(column, overflow="fold")
    for name, key in MEMBERSHIP:
        cells = (measures[f"{key}_without"], measures[f"{key}_with"])
        allowed = measures["allowed_auc" if "auc" in key else "allowed_tpr"]
        table.add_row(name, *(f"{value:.3f}" for value in cells), f"<= {allowed:.3f}")
    for key in measures:
        if key.startswith("inversion_") and key.endswith("_by_chance"):
            size = key.removesuffix("_by_chance")
            of_batch = (measures[f"{size}_without"], measures[f"{size}_with"], measures[key])
            name = f"gradient inversion, batch of {size.removeprefix('inversion_')}: cosine"
            table.add_row(name, *(f"{value:.3f}" for value in of_batch))
    return table


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
    lines += _power(result)
    if result.kind == "attack" and "inversion_1_without" not in result.measures:
        lines.append("gradient inversion is not tried: the model's first layer is not linear")
    if violated:
        return [
            *lines,
            f"VIOLATION: more leaks than is proven: {'; '.join(dict.fromkeys(violated))}",
        ]
    return [*lines, "PASS: nothing leaks more than is proven"]


def _power(result: "AuditResult") -> list[str]:
    """Whether this audit could have seen half the noise, as far as that was rehearsed."""
    of_plan = [
        (finding.half_noise_epsilon - finding.proven_epsilon, finding)
        for finding in result.findings
        if finding.name == result.findings[-1].name
        and finding.half_noise_epsilon is not None
        and finding.proven_epsilon is not None
    ]
    if not of_plan:
        return []
    margin, finding = max(of_plan, key=lambda each: each[0])
    told = (
        f"the plan with half the noise would show >= {finding.half_noise_epsilon:.3f} of a proven "
        f"{finding.proven_epsilon:.3f} at delta {finding.delta:g}: "
    )
    return [told + ("it would be caught" if margin > 0 else "too little to be caught; try more")]
