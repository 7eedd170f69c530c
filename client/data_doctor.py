"""The doctor's look at a site's rows: do they load, do they keep to the schema, how many are they.

For the site's own eyes: numbers of rows by split and group, and never a row's value.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from client.audit_rows import rows_of
from client.connectors import key_columns, open_source
from client.data_contract import Finding, check_source
from client.doctor_check import Check, fail, from_error, ok, warn
from evaluation.audit.rows import require_rows
from federation.schema import TaskSchema
from federation.site_policy import SitePolicy
from federation.task import Rows, SiteData, SiteRequest, Task
from federation.task_loading import load_task

IN_SITE_TOML = "mend the data, or name its columns and codes: rename and levels of [data]"

LoadTask = Callable[[str, SitePolicy], Task]


def load_policys_task(name: str, policy: SitePolicy) -> Task:
    """The task as the site's agent would construct it: the one place where the doctor loads one."""
    return load_task(name, policy.task_options.get(name, {}))


def check_data(policy: SitePolicy, name: str, load: LoadTask, home: Path | None = None) -> Check:
    """Whether the rows load and are what the task's schema says, and how many there are.

    Args:
        policy: whose rows.
        name: of the task.
        load: finds it.
        home: the site's folder, which paths of `[data]` are seen from.
    """
    found: tuple[Finding, ...] = ()
    try:
        task, source = load(name, policy), None
        if policy.data is not None and home is not None:
            source = open_source(policy.data, home)
            found = check_source(
                source, task, policy.public_rows, key_columns(policy.data)
            ).findings
            if any(finding.verdict == "act" for finding in found):
                return fail(f"data of {name}", _told(found), IN_SITE_TOML)
        data = task.load(SiteRequest(policy.site, policy.split_seed, source))
        for split, rows in splits(data).items():
            require_rows(task.schema, rows_of(rows), split)
    except Exception as error:  # noqa: BLE001 - a task's code may raise anything
        return from_error(f"data of {name}", error, "mend the data, or the task that reads them")
    finding = rows_found(task.schema, data)
    if len(data.train.targets) < policy.public_rows:
        return warn(
            f"data of {name}",
            f"{finding}; fewer to train on than the {policy.public_rows} declared in public",
            "declare what is there: public_rows in a new site request",
        )
    if found:
        return warn(f"data of {name}", f"{finding}; {_told(found)}", IN_SITE_TOML)
    return ok(f"data of {name}", finding)


def _told(findings: Sequence[Finding]) -> str:
    return "; ".join(finding.text for finding in findings)


def splits(data: SiteData) -> dict[str, Rows]:
    """The rows by what they may be used for."""
    return {"train": data.train, "reference": data.reference, "current": data.current}


def rows_found(schema: TaskSchema, data: SiteData) -> str:
    """Numbers of rows by split, class and group."""
    return "; ".join(f"{name} {_counted(schema, rows)}" for name, rows in splits(data).items())


def _counted(schema: TaskSchema, rows: Rows) -> str:
    columns = {schema.label: (schema.classes, rows.targets.numpy())}
    columns |= {a.name: (a.groups, rows.groups[a.name]) for a in schema.attributes}
    counts = []
    for name, (levels, codes) in columns.items():
        found = np.bincount(codes, minlength=len(levels))
        told = (f"{level} {count}" for level, count in zip(levels, found, strict=True) if count)
        counts.append(f"{name}: {', '.join(told)}")
    return f"{len(rows)} rows ({'; '.join(counts)})"
