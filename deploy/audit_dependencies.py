"""Looks up known vulnerabilities of every locked dependency, and never mistakes silence for health.

Run by `make audit` with the interpreter of .tools. pip-audit ends with 0 when its source knows none
of the packages, as behind a mirror that serves files alone; here that is told, in capitals.

    python deploy/audit_dependencies.py [--require] [CONSTRAINTS]

Exit codes: 0 nothing known, or nobody could be asked; 1 vulnerabilities, or a part of the packages
could not be looked up; with --require (releases) 2 if nobody could be asked.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SOURCES = ("osv", "pypi")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==")


def locked(constraints: Path) -> set[str]:
    """Names of the packages that a constraints file pins, normalized as PyPI does."""
    found = filter(None, map(PIN.match, constraints.read_text().splitlines()))
    return {normalized(match[1]) for match in found}


def normalized(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def ask(source: str, constraints: Path) -> dict | None:
    """pip-audit's report with one source; None if it made none."""
    command = (
        sys.executable, "-m", "pip_audit", "--vulnerability-service", source, "--format", "json",
        "--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "20",
        "--requirement", str(constraints),
    )  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:]
        print(f"{source}: no answer: {' '.join(last)[:200]}")
        return None


def verdict(report: dict, names: set[str]) -> tuple[list[str], set[str]]:
    """The findings in words, and the packages that were looked up."""
    findings, audited = [], set()
    for package in report["dependencies"]:
        if "skip_reason" in package:
            continue
        audited.add(normalized(package["name"]))
        for one in package["vulns"]:
            fixed = ", ".join(one["fix_versions"]) or "no release"
            findings.append(
                f"{package['name']} {package['version']}: {one['id']}, fixed in {fixed}"
            )
    return findings, audited & names


def conclude(reports: Sequence[dict | None], names: set[str], *, required: bool) -> int:
    """Print what was found in all; the exit code."""
    findings: set[str] = set()
    audited: set[str] = set()
    for report in reports:
        if report is not None:
            found, looked_up = verdict(report, names)
            findings.update(found)
            audited |= looked_up
    for finding in sorted(findings):
        print(f"VULNERABLE {finding}")
    if not audited:
        print(
            f"NOT AUDITED: no source of advisories could be asked for any of {len(names)} packages"
        )
        return 2 if required else 0
    left = sorted(names - audited)
    if left:
        print(f"NOT AUDITED: {len(left)} of {len(names)}: {', '.join(left)}")
    else:
        print(f"audited {len(audited)} packages: {len(findings)} findings")
    return 1 if findings or left else 0


def main(arguments: Sequence[str]) -> int:
    """Ask the sources in turn until one knows every package."""
    required = "--require" in arguments
    paths = [Path(one) for one in arguments if one != "--require"]
    constraints = paths[0] if paths else Path("constraints.txt")
    names, reports, known = locked(constraints), [], set()
    for source in SOURCES:
        report = ask(source, constraints)
        reports.append(report)
        if report is not None:
            known |= verdict(report, names)[1]
        if known == names:
            break
    return conclude(reports, names, required=required)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
