"""The coordinator's metrics, by what Prometheus demands of the text."""

import re

from server.coordinator_metrics import HELP, coordinator_metrics
from server.coordinator_status import (
    CertificateStatus,
    CoordinatorStatus,
    ProcessStatus,
    RunStatus,
    SiteStatus,
)

STATUS = CoordinatorStatus(
    federation="trial",
    time="2027-01-01T00:00:00+00:00",
    superlink=True,
    release=3,
    processes=(
        ProcessStatus(name="edge", phase="ready", pid=7, restarts=2, reason=""),
        ProcessStatus(name="superlink", phase="starting", pid=8, restarts=0, reason=""),
    ),
    sites=(
        SiteStatus(
            name="a", state="online", last_seen=1.8e9, certificate_days=9, countersigned=True
        ),
        SiteStatus(
            name="b", state="never", last_seen=None, certificate_days=700, countersigned=False
        ),
    ),
    strangers=1,
    certificates=(CertificateStatus(name="server", days=12.5),),
    runs=(
        RunStatus(
            id="r1", state="running", rounds_completed=4, rounds_failed=1, last_round=5,
            seconds_per_round=1.25,
        ),
    ),
    warnings=("b has not countersigned yet",),
)  # fmt: skip

SAMPLE = re.compile(r'^[a-z_]+(\{([a-z_]+="[^"\\\n]*",?)+\})? [-+0-9.e]+$')


def test_every_line_is_one_that_prometheus_reads_and_metrics_stand_together() -> None:
    lines = coordinator_metrics(STATUS).splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert all(SAMPLE.match(line) for line in samples)
    names = [re.split(r"[{ ]", line)[0] for line in samples]
    assert names == sorted(names)
    assert sum(line.startswith("# TYPE") for line in lines) == len(set(names))
    assert set(names) == set(HELP)


def test_the_values_are_those_of_the_status() -> None:
    text = coordinator_metrics(STATUS)
    for line in (
        'hedgerow_sites_online{federation="trial"} 1',
        'hedgerow_process_restarts{federation="trial",process="edge"} 2',
        'hedgerow_process_up{federation="trial",process="superlink"} 0',
        'hedgerow_site_last_seen_timestamp_seconds{federation="trial",site="a"} 1800000000',
        'hedgerow_certificate_days{federation="trial",certificate="server"} 12.5',
        'hedgerow_rounds_failed{federation="trial",run="r1"} 1',
        'hedgerow_round_seconds{federation="trial",run="r1"} 1.25',
    ):
        assert line in text.splitlines()


def test_a_site_that_never_came_has_no_time_of_last_contact() -> None:
    assert 'last_seen_timestamp_seconds{federation="trial",site="b"}' not in coordinator_metrics(
        STATUS
    )
