"""The doctor's checks of a site's own folder and machine; `client.network_doctor` has the others.

A check returns what it found and what to do. It raises nothing, and it prints no row's value.
"""

import math
import os
import shutil
import stat
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from client.agent_socket import LineError, ask_status
from client.data_doctor import LoadTask, check_data, load_policys_task
from client.doctor_check import Check, Verdict, fail, from_error, ok, warn
from client.home_opening import verify_home
from client.site_home import SiteHome
from client.site_processes import FLOWER_SWITCHES
from client.site_status import account_of
from federation import node_key
from federation.approvals import Approvals
from federation.audit_log import AuditLog
from federation.errors import HedgerowError
from federation.shell_word import quoted
from federation.site_connection import SiteConnection
from federation.site_policy import SitePolicy
from federation.software import Software, require_compatible
from federation.task_digest import task_digest
from federation.task_loading import add_search_folder
from privacy.ledger import verify

SCARCE_BYTES, TOO_FEW_BYTES = 2 * 2**30, 200 * 2**20
"""Room on the disk: from which the doctor warns, and below which it fails."""
SOON_DAYS = 30
MOSTLY_USED = 0.9


def check_home(home: SiteHome, ledger: Path, load: LoadTask = load_policys_task) -> list[Check]:
    """All checks that need no network."""
    try:
        policy = SitePolicy.read(home.policy)
    except HedgerowError as error:
        return [from_error("policy", error, "mend site.toml; nothing else can be checked without")]
    add_search_folder(home.tasks)
    code = [check_task_code(home, task) for task in policy.tasks]
    return [
        check_policy(policy),
        check_permissions(home, ledger),
        check_node_key(home),
        *_check_what_was_given(home, ledger),
        check_disk(home, shutil.disk_usage(home.path).free),
        check_budget(home, ledger),
        check_bundles(home),
        *code,
        # Code that was not approved is not run, by the doctor neither.
        *(
            check_data(policy, task, load, home.path)
            for task, approved in zip(policy.tasks, code, strict=True)
            if approved.verdict is not Verdict.FAIL
        ),
        check_audit_log(home),
        check_environment(os.environ),
        check_agent(home),
    ]


def _check_what_was_given(home: SiteHome, ledger: Path) -> list[Check]:
    """Of a site that has joined: the rest of its files."""
    if not is_joined(home):
        remedy = (
            f"hedgerow site join {quoted(home.path)} SITE.hedgerow, with the coordinator's package"
        )
        return [fail("joined", "this site has joined no federation yet", remedy)]
    roster = check_roster(home, time.time())
    return [check_files(home, ledger), roster, check_versions(home)]


def is_joined(home: SiteHome) -> bool:
    """Whether the site ever installed a package of the consortium's."""
    return home.connection.exists() or home.given.consortium.exists()


def check_policy(policy: SitePolicy) -> Check:
    """Whether the policy is one for a deployment."""
    lax = [
        name
        for name, is_lax in (
            ("allow_without_privacy = true", policy.allow_without_privacy),
            ("allow_exact_analytics = true", policy.allow_exact_analytics),
            ("no epsilon_budget", policy.epsilon_budget is None),
        )
        if is_lax
    ]
    if lax:
        return warn("policy", ", ".join(lax), "meant so? else change site.toml")
    return ok("policy", f"site {policy.site}, dataset {policy.dataset}")


def check_permissions(home: SiteHome, ledger: Path) -> Check:
    """Whether what is secret is its owner's alone."""
    secret = [home.identity, home.node_key, ledger, home.policy, home.journal, home.approvals]
    open_ones = [home.path, *secret]
    wrong = [path for path in open_ones if path.exists() and not _is_private(path)]
    if wrong:
        paths = " ".join(str(path) for path in wrong)
        return fail("permissions", f"others may read or write: {paths}", f"chmod go-rwx {paths}")
    return ok("permissions", "secrets are their owner's alone")


def _is_private(path: Path) -> bool:
    return not stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO)


def check_files(home: SiteHome, ledger: Path) -> Check:
    """Whether an agent could open the home: key, ledger, roster, run rules, journal."""
    try:
        verify_home(home, ledger)
    except Exception as error:  # noqa: BLE001 - a doctor does not die of what it finds
        return from_error("files", error, "restore the file from a backup, or ask the consortium")
    return ok("files", "key, ledger, roster, run rules and journal are whole and fit together")


def check_roster(home: SiteHome, now: float) -> Check:
    """How long the certificates in the roster still hold."""
    try:
        roster = home.given.read_roster_of_any_time()
        roster.require_current(int(now))
    except HedgerowError as error:
        return from_error("roster", error, "get a newer site package from the coordinator")
    days = min(certificate.not_after - now for certificate in roster.certificates) / 86_400
    if days < SOON_DAYS:
        return warn("roster", f"a certificate ends in {days:.0f} days", "ask for a newer package")
    return ok("roster", f"{len(roster.keys)} sites, {roster.digest()[:16]}")


def check_node_key(home: SiteHome) -> Check:
    """Whether the node has its key, and the public one beside it is of it."""
    public = home.node_key.with_name(f"{home.node_key.name}.pub")
    try:
        line = node_key.public_line(node_key.read_private(home.node_key.read_bytes()))
        told = public.read_text(encoding="ascii").strip()
    except OSError as error:
        return fail("node key", f"{error.filename}: {error.strerror}", "run hedgerow site init")
    except (HedgerowError, UnicodeDecodeError) as error:
        return from_error("node key", error, "restore node-key and node-key.pub from a backup")
    if " ".join(told.split()[:2]) != line:
        return fail("node key", f"{public} is of another key", "restore both from one backup")
    return ok("node key", line[-20:])


def check_versions(home: SiteHome) -> Check:
    """Whether this machine's software speaks with the coordinator's."""
    try:
        there = SiteConnection.read(home.connection)
        here = Software.installed()
        require_compatible(here, Software(hedgerow=there.hedgerow, flwr=there.flwr), "coordinator")
    except HedgerowError as error:
        return from_error("versions", error, "join with the site package, or install that version")
    if (here.hedgerow, here.flwr) != (there.hedgerow, there.flwr):
        return warn(
            "versions",
            f"hedgerow {here.hedgerow}, flwr {here.flwr}; coordinator: {there.hedgerow}, "
            f"{there.flwr}",
            "they speak with each other; install the same when convenient",
        )
    return ok("versions", f"hedgerow {here.hedgerow}, flwr {here.flwr}, as the coordinator has")


def check_disk(home: SiteHome, free: int) -> Check:
    """Whether ledger and journal have room; they refuse rather than lose."""
    finding = f"{free / 2**30:.1f} GiB free at {home.path}"
    if free < TOO_FEW_BYTES:
        return fail("disk", finding, "make room: no round is begun without")
    if free < SCARCE_BYTES:
        return warn("disk", finding, "make room soon")
    return ok("disk", finding)


def check_budget(home: SiteHome, ledger: Path) -> Check:
    """How much of the dataset's budget is left."""
    try:
        account = account_of(verify(ledger, home.read_identity().public_key()))
    except HedgerowError as error:
        return from_error("budget", error, "restore the ledger from a backup; never start it over")
    budget, used = account.in_force().record, account.share_used()
    spent = account.spent("record", budget.delta).epsilon
    if not math.isfinite(budget.epsilon):
        return warn("budget", f"epsilon {spent:.3g} spent, without a bound", "meant so?")
    finding = f"epsilon {spent:.3g} of {budget.epsilon:g} spent at delta {budget.delta:g}"
    if used >= 1 or spent >= budget.epsilon:
        return warn("budget", f"{finding}: used up", "new runs are refused; see privacy amend")
    if used >= MOSTLY_USED:
        return warn("budget", f"{finding}, {used:.0%} of what may be used", "plan what is left")
    return ok("budget", finding)


def check_bundles(home: SiteHome) -> Check:
    """Whether the site approved an app bundle, and the one that the consortium named."""
    try:
        approvals = Approvals.read(home.approvals)
        named = _named_bundle(home)
    except HedgerowError as error:
        return from_error("bundles", error, "restore approvals.json, or approve anew")
    if not approvals.bundles:
        wanted = named or "BUNDLE"
        remedy = f"hedgerow site approve {quoted(home.path)} {wanted}"
        return warn("bundles", "none is approved: every message is refused", remedy)
    if named is not None and not approvals.is_approved(named):
        remedy = f"look at it: hedgerow site approve {quoted(home.path)} {named}"
        return warn("bundles", f"the consortium's, {named[:16]}..., is not approved", remedy)
    return ok("bundles", f"{len(approvals.bundles)} approved, the last {approvals.latest_bundle}")


def _named_bundle(home: SiteHome) -> str | None:
    """The bundle that the consortium named, if it named one."""
    return SiteConnection.read(home.connection).bundle_sha256 if is_joined(home) else None


def check_task_code(home: SiteHome, task: str) -> Check:
    """Whether the task's code is what the site approved."""
    name = f"code of {task}"
    try:
        digest = task_digest(task)
        approved = Approvals.read(home.approvals).tasks.get(task)
    except HedgerowError as error:
        return from_error(name, error, "install the task, or take it out of site.toml")
    if approved is None or approved.sha256 != digest:
        was = "never approved" if approved is None else f"{approved.sha256[:16]}... was approved"
        remedy = (
            f"look at what changed, then: hedgerow site approve-task {quoted(home.path)} {task}"
        )
        return fail(name, f"{digest[:16]}... is installed, {was}", remedy)
    return ok(name, f"{digest[:16]}..., approved {approved.approved}")


def check_audit_log(home: SiteHome) -> Check:
    """Whether the audit log's chain is whole."""
    try:
        number, digest = AuditLog(home.audit).verify()
    except HedgerowError as error:
        return from_error("audit log", error, "keep the file and find out who changed it")
    return ok("audit log", f"{number} entries, hash {digest[:16]}")


def check_environment(environment: Mapping[str, str]) -> Check:
    """Whether Flower is told to send nothing home and to install nothing at run time."""
    wrong = [
        f"{name}={value}"
        for name, value in FLOWER_SWITCHES.items()
        if environment.get(name, value) != value
    ]
    if wrong:
        return warn("environment", f"set to something else than {', '.join(wrong)}",
                    "hedgerow sets them for its own processes; set them for all")  # fmt: skip
    return ok("environment", "telemetry, update checks and run-time installs are off")


def check_agent(home: SiteHome) -> Check:
    """Whether the agent answers at its socket."""
    try:
        told = ask_status(home.socket)
    except LineError as error:
        return warn("agent", str(error), "a site that takes no part in a run needs none")
    since = datetime.fromtimestamp(float(str(told["since"])), UTC).isoformat(timespec="seconds")
    return ok("agent", f"up since {since}, {told['answered']} requests answered")
