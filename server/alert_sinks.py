"""Where alerts go: a file of JSON lines, a text file for Prometheus, a webhook."""

import json
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from federation.alert import Alert
from federation.durable_file import write_atomically
from federation.errors import UsageError

WEBHOOK_SECONDS = 10.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")

Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float]
"""Name of a metric, its labels, its value."""


def write_lines(path: Path, alerts: Sequence[Alert]) -> None:
    """Replace the file by one JSON object a line; an empty file says that nothing is wrong."""
    lines = (json.dumps(alert.model_dump(mode="json"), sort_keys=True) for alert in alerts)
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def prometheus_text(samples: Sequence[Sample], help_texts: dict[str, str]) -> str:
    """The text exposition format, version 0.0.4, every metric a gauge.

    Args:
        samples: of one metric together.
        help_texts: per metric.
    """
    lines: list[str] = []
    last = ""
    for name, labels, value in samples:
        if name != last:
            lines += [f"# HELP {name} {help_texts[name]}", f"# TYPE {name} gauge"]
            last = name
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
        lines.append(f"{name}{{{inside}}} {value:.10g}" if inside else f"{name} {value:.10g}")
    return "\n".join(lines) + "\n"


def require_webhook(url: str) -> None:
    """Return if alerts may be sent there.

    Raises:
        UsageError: no address, or one that would carry them in clear over a network.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--webhook {url}: expected an address such as https://host/path")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise UsageError(f"--webhook {url}: expected https; http only to this machine itself")


def send(url: str, run: str, alerts: Sequence[Alert]) -> str | None:
    """POST the alerts as one JSON object; returns what went wrong, if anything did.

    A report is not lost because nobody answers: the caller says so and goes on.

    Raises:
        UsageError: as `require_webhook`.
    """
    require_webhook(url)
    body = {"run": run, "alerts": [alert.model_dump(mode="json") for alert in alerts]}
    request = Request(  # noqa: S310 - the scheme was checked
        url,
        json.dumps(body, sort_keys=True).encode(),
        {"Content-Type": "application/json", "User-Agent": "hedgerow"},
        method="POST",
    )
    try:
        with build_opener(_NoRedirect).open(request, timeout=WEBHOOK_SECONDS):
            return None
    except (URLError, HTTPException, OSError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        return f"the webhook {url} did not take the alerts: {reason}"


class _NoRedirect(HTTPRedirectHandler):
    """What was addressed to one host goes to no other."""

    def redirect_request(self, *_: object) -> None:
        """Refuse."""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
