"""`hedgerow site approve`, `approve-task`: which code may meet a site's rows, by its hash."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from federation.audit_log import AuditLog
from federation.errors import UsageError

if TYPE_CHECKING:
    from client.site_home import SiteHome
    from federation.app_bundle import AppBundle

app = typer.Typer(add_completion=False)

Home = Annotated[Path, typer.Argument(help="The site's home: the folder with its site.toml.")]
Yes = Annotated[bool, typer.Option("--yes", help="Approve without asking.")]
Withdraw = Annotated[bool, typer.Option("--withdraw", help="Approve it no longer.")]


@app.command("approve")
def approve(
    home: Home,
    bundle: Annotated[
        str, typer.Argument(help="An app bundle, or the SHA-256 of one that was offered.")
    ],
    note: Annotated[str, typer.Option(help="Who approves and why; kept with the approval.")] = "",
    yes: Yes = False,  # noqa: FBT002 - an option
    withdraw: Withdraw = False,  # noqa: FBT002 - an option
) -> None:
    """Look into an app bundle, see what changed since the last one, and approve it.

    Nothing in the bundle is run. A bundle that was not approved never starts here: the agent and
    the node refuse its messages. Bundles that were offered and refused lie in HOME/bundles.

    \b
    Exit codes:
      0    approved (or was already), or withdrawn
      2    no such bundle, or the answer was no
      6    it is no bundle, or not the one of its name
    """  # noqa: D301 - \b keeps the lines apart
    from client.bundle_review import kept_bundle, read_bundle  # noqa: PLC0415 - help is quick
    from client.site_home import SiteHome  # noqa: PLC0415 - imports torch
    from federation.approvals import Approvals  # noqa: PLC0415 - help is quick

    place = SiteHome(home)
    place.require()
    if withdraw:
        _withdraw_bundle(place, bundle)
        return
    approvals = Approvals.read(place.approvals)
    offered = read_bundle(bundle, place.bundles)
    if approvals.is_approved(offered.digest):
        typer.echo(f"approved already: {offered.digest}")
        return
    before = approvals.latest_bundle
    _show(offered, kept_bundle(before, place.bundles), before)
    _ask(yes, f"approve bundle {offered.digest}?")
    _approve_bundle(place, bundle, offered, note)


@app.command("approve-task")
def approve_task(
    home: Home,
    task: Annotated[str, typer.Argument(help="A task's name, or package.module:attribute.")],
    yes: Yes = False,  # noqa: FBT002 - an option
    withdraw: Withdraw = False,  # noqa: FBT002 - an option
) -> None:
    """Approve the code of a task as it is installed here now, by its hash.

    Nothing of it is run. Once its code changes, by an update or otherwise, the agent refuses runs
    of the task until it is approved again.

    \b
    Exit codes:
      0    approved (or was already), or withdrawn
      2    no such task, or the answer was no
      3    its code has no hash: it is in no file, or behind a link
    """  # noqa: D301 - \b keeps the lines apart
    from client.bundle_review import visible  # noqa: PLC0415 - help is quick
    from client.site_home import SiteHome  # noqa: PLC0415 - imports torch
    from federation.approvals import Approvals, TaskApproval, change_approvals  # noqa: PLC0415
    from federation.task_digest import task_code  # noqa: PLC0415 - help is quick
    from federation.task_loading import add_search_folder  # noqa: PLC0415 - as above

    place = SiteHome(home)
    place.require()
    if withdraw:
        change_approvals(place.approvals, lambda old: old.without_task(task))
        AuditLog(place.audit).append("task_withdrawn", task=task)
        typer.echo(f"withdrawn: {task}")
        return
    add_search_folder(place.tasks)  # where a task of the site's own may lie
    code = task_code(task)
    was = Approvals.read(place.approvals).tasks.get(task)
    if was is not None and was.sha256 == code.digest:
        typer.echo(f"approved already: {task} {code.digest}")
        return
    typer.echo(f"{task}: {code.root}")
    for path, digest in code.files.items():
        typer.echo(f"{digest}  {visible(path)}")
    typer.echo(f"SHA-256 of all: {code.digest}; approved before: {was.sha256 if was else 'never'}")
    _ask(yes, f"approve this code of {task}?")
    if task_code(task) != code:
        raise UsageError(f"the code of {task} changed while it was looked at; nothing was approved")
    approval = TaskApproval(sha256=code.digest, approved=_now())
    change_approvals(place.approvals, lambda old: old.with_task(task, approval))
    AuditLog(place.audit).append("task_approved", task=task, sha256=code.digest)
    typer.echo(f"approved: {task} {code.digest}")


def _withdraw_bundle(place: "SiteHome", digest: str) -> None:
    from federation.approvals import change_approvals  # noqa: PLC0415 - help is quick

    change_approvals(place.approvals, lambda old: old.without_bundle(digest))
    AuditLog(place.audit).append("bundle_withdrawn", bundle=digest)
    typer.echo(f"withdrawn: {digest}")


def _approve_bundle(place: "SiteHome", named: str, bundle: "AppBundle", note: str) -> None:
    from client.bundle_review import keep_bundle, visible  # noqa: PLC0415 - help is quick
    from federation.approvals import BundleApproval, change_approvals  # noqa: PLC0415 - as above

    keep_bundle(named, bundle, place.bundles)
    version = visible(bundle.version)[:64]
    approval = BundleApproval(version=version, approved=_now(), note=note)
    change_approvals(place.approvals, lambda old: old.with_bundle(bundle.digest, approval))
    AuditLog(place.audit).append(
        "bundle_approved", bundle=bundle.digest, version=version, note=note
    )
    typer.echo(f"approved: {bundle.digest}")


def _show(bundle: "AppBundle", before: "AppBundle | None", digest: str | None) -> None:
    from client.bundle_review import (  # noqa: PLC0415 - help is quick
        as_installed,
        difference,
        files_of,
        has_installed_courier,
        visible,
    )

    known = as_installed(bundle) if before is None else before
    for file in files_of(bundle, known):
        typer.echo(f"{file.sha256}  {file.size:>8}  {file.change:8} {file.path}")
    for line in difference(bundle, known):
        typer.echo(line)
    typer.echo("")
    typer.echo(f"bundle   {visible(bundle.name)} {visible(bundle.version)}, {bundle.digest}")
    if digest is None:
        typer.echo("before   none was approved: held against the hedgerow that is installed here")
    elif before is None:
        typer.echo(f"before   {digest}, whose file is not in HOME/bundles: held against the "
                   "hedgerow that is installed here")  # fmt: skip
    else:
        typer.echo(f"before   {digest}")
    typer.echo(f"at sites {visible(bundle.client_app) or 'it names no client app'}")
    if has_installed_courier(bundle):
        typer.echo("courier  the one that is installed here, byte for byte")
    else:
        typer.echo(
            "courier  NOT THE ONE THAT IS INSTALLED HERE: it is of another version of hedgerow, or "
            "of somebody else; read it above before you approve it"
        )


def _ask(yes: bool, question: str) -> None:  # noqa: FBT001 - the option
    if yes:
        return
    try:
        agreed = typer.confirm(question)
    except click.exceptions.Abort as error:
        raise UsageError("nothing was approved: it takes an answer, y or n, or --yes") from error
    if not agreed:
        raise UsageError("nothing was approved")


def _now() -> str:
    # To the millisecond: which bundle was approved last is asked for.
    return datetime.now(UTC).isoformat(timespec="milliseconds")
