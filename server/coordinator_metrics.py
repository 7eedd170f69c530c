"""The coordinator's status as metrics for Prometheus; names end in their unit."""

from collections.abc import Iterator

from server.alert_sinks import Labels, Sample, prometheus_text
from server.coordinator_status import CoordinatorStatus, RunStatus

HELP = {
    "hedgerow_certificate_days": "Days until a certificate of the coordinator or a site ends.",
    "hedgerow_process_restarts": "Restarts of a process since the coordinator came up.",
    "hedgerow_process_up": "Whether a process of the coordinator is ready.",
    "hedgerow_round_seconds": "Seconds per completed round, of the latest ten, on average.",
    "hedgerow_rounds_completed": "Completed rounds of a run.",
    "hedgerow_rounds_failed": "Failed rounds of a run.",
    "hedgerow_run_active": "Whether a process is at work on a run.",
    "hedgerow_site_last_seen_timestamp_seconds": "Unix time of a site's last heartbeat.",
    "hedgerow_site_online": "Whether a site is online.",
    "hedgerow_sites": "Sites in the roster in force.",
    "hedgerow_sites_online": "Sites that are online.",
    "hedgerow_strangers": "Registered nodes that no release names.",
    "hedgerow_superlink_up": "Whether the SuperLink answers.",
    "hedgerow_warnings": "Warnings that the status shows.",
}


def coordinator_metrics(status: CoordinatorStatus) -> str:
    """The text that a collector reads."""
    return prometheus_text(sorted(_samples(status)), HELP)


def _samples(status: CoordinatorStatus) -> Iterator[Sample]:
    of: Labels = (("federation", status.federation),)
    yield "hedgerow_superlink_up", of, float(status.superlink)
    yield "hedgerow_sites", of, float(len(status.sites))
    yield "hedgerow_sites_online", of, float(sum(one.state == "online" for one in status.sites))
    yield "hedgerow_strangers", of, float(status.strangers)
    yield "hedgerow_warnings", of, float(len(status.warnings))
    for process in status.processes:
        labels = (*of, ("process", process.name))
        yield "hedgerow_process_up", labels, float(process.phase == "ready")
        yield "hedgerow_process_restarts", labels, float(process.restarts)
    for site in status.sites:
        labels = (*of, ("site", site.name))
        yield "hedgerow_site_online", labels, float(site.state == "online")
        if site.last_seen is not None:
            yield "hedgerow_site_last_seen_timestamp_seconds", labels, site.last_seen
        certificate = (*of, ("certificate", f"site {site.name}"))
        yield "hedgerow_certificate_days", certificate, site.certificate_days
    for own in status.certificates:
        yield "hedgerow_certificate_days", (*of, ("certificate", own.name)), own.days
    for run in status.runs:
        yield from _run_samples(of, run)


def _run_samples(of: Labels, run: RunStatus) -> Iterator[Sample]:
    labels = (*of, ("run", run.id))
    yield "hedgerow_run_active", labels, float(run.state == "running")
    yield "hedgerow_rounds_completed", labels, float(run.rounds_completed)
    yield "hedgerow_rounds_failed", labels, float(run.rounds_failed)
    if run.seconds_per_round is not None:
        yield "hedgerow_round_seconds", labels, run.seconds_per_round
