"""Write what the code already knows: settings, the results' JSON schemas, the wire's tables.

python docs/write_reference.py           writes docs/configuration.md, docs/*.schema.json and the
                                         tables in docs/secure-sum.md
python docs/write_reference.py --check   exits 1 if any of them differs from what it would write
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import secure_sum_tables
from pydantic import BaseModel

from evaluation.audit.document import SCHEMA as SITE_AUDIT
from evaluation.audit.document import SiteAudit
from federation.analysis import ANALYSIS, Analysis
from federation.analytics_config import AnalyticsConfig, AnalyticsSitePolicy
from federation.analytics_query import Query
from federation.config import FederationConfig, PrivacyChoice, SharedNoiseChoice, SiteLevelChoice
from federation.data_choice import KINDS
from federation.drift_choice import InjectedDrift
from federation.evaluation_summary import EVALUATION, EvaluationSummary
from federation.fault_choice import Availability, Crash, Dropout, DropoutRate, Stragglers
from federation.partition_choice import KINDS as PARTITIONS
from federation.partition_choice import Resampled, SharedOut
from federation.run_rules import RunRules
from federation.section import Section
from federation.simulation_choice import Attacker, RandomAttackers, Simulation
from federation.site_policy import Limits, LogChoice, SitePolicy
from federation.summary import SCHEMA as SUMMARY
from federation.summary import Summary
from privacy.report.document import SCHEMA as PRIVACY_REPORT
from privacy.report.document import PrivacyReport
from simulations.sweep.results import SCHEMA as SWEEP
from simulations.sweep.results import SweepResults

DOCS = Path(__file__).parent

HEAD = """\
# Settings

Written by `make docs` from the types that read the files; every line may be left out.
`hedgerow init` writes a commented file to start from. An unknown key, a wrong type or an impossible
value is refused with the key, the value, what was expected and the nearest valid name. Any setting
can be overridden on the command line: `--set privacy.epsilon=4`.

What all sites must agree to (`task`, `federation`, `cohorts`, `training`, `server`, `robustness`,
`privacy`, `mitigation`, `evaluation`) is hashed into every message of a run. `site_policy` and
`simulation` concern one machine only.
"""

POLICY = """\
# A site's own policy: `site.toml`

Written by the site, outside anything a coordinator can ship. In a simulation every site's policy
is made from `[site_policy]`. A proposal that goes past any of these is refused.

"""
RULES = """
# The consortium's run rules: `run-rules.json`

Signed by the consortium and installed at every site beside `consortium.pub`, the key that the site
pins, and `roster.json`, the certificates of all sites' keys. A proposal must keep to these rules
and to the site's own policy: the stricter of both holds. Every agreement names their digest, so
that all sites sign that they hold the same. In a simulation they are made from the other settings,
and are as strict as these allow.

Runs of queries are held to the three minima, and to `allow_without_privacy` where an answer is
exact; the rest is about training.

"""

ANALYTICS = """\
# Queries: `analytics.toml`

What `hedgerow analytics run` reads; [analytics.md](analytics.md) explains it. `[task]` and
`[federation]` are as above.

"""
INJECTIONS = {
    "Each of `dropouts`": Dropout,
    "Each of `attackers`": Attacker,
    "`[simulation.random_attackers]`": RandomAttackers,
    "`[simulation.faults.dropout_rate]`": DropoutRate,
    "`[simulation.stragglers]`": Stragglers,
    "Each of `crashes`": Crash,
    "`[simulation.availability]`": Availability,
    "Each of `drift`": InjectedDrift,
}
RESULTS: dict[str, tuple[str, type[BaseModel]]] = {
    "summary": (SUMMARY, Summary),
    "analytics": (ANALYSIS, Analysis),
    "evaluation": (EVALUATION, EvaluationSummary),
    "privacy-report": (PRIVACY_REPORT, PrivacyReport),
    "site-audit": (SITE_AUDIT, SiteAudit),
    "sweep": (SWEEP, SweepResults),
}
"""By the name of its schema's file: the schema's own name, and the type that is written."""
ELSEWHERE = frozenset({"task", "federation", "site_policy", "queries"})


def configuration() -> str:
    """docs/configuration.md."""
    schema = FederationConfig.model_json_schema()
    parts = [HEAD]
    for name, field in FederationConfig.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            parts += [f"\n## `[{name}]`\n\n{_first_line(section)}\n\n", *_table(section)]
            if section is Simulation:
                for heading, entry in INJECTIONS.items():
                    parts += [f"\n### {heading}\n\n{_first_line(entry)}\n\n", *_table(entry)]
                parts += _partitions()
            if section is PrivacyChoice:
                for key, entry in (("shared_noise", SharedNoiseChoice),
                                   ("site_level", SiteLevelChoice)):  # fmt: skip
                    head = f"\n### `[privacy.{key}]`\n\n{_first_line(entry)}\n\n"
                    parts += [head, *_table(entry)]
        elif name == "cohorts":
            text = schema["properties"][name]["description"]
            parts.append(f"\n## `[cohorts]`\n\n{text} Each has at least\n"
                         "`evaluation.minimum_contributors` sites, no site is in two, and none or "
                         "that many\nare in no cohort: else a difference of sums would give a site "
                         "away.\n")  # fmt: skip
    parts += ["\n", POLICY, *_table(SitePolicy)]
    named = {"`[limits]`": Limits, "`[log]`": LogChoice}
    named |= {f'`[data]` with `kind = "{kind}"`': section for kind, section in KINDS.items()}
    for heading, entry in named.items():
        parts += [f"\n## {heading}\n\n{_first_line(entry)}\n\n", *_table(entry)]
    parts += [RULES, *_table(RunRules)]
    parts += ["\n", ANALYTICS, *_table(AnalyticsConfig, skip=ELSEWHERE)]
    for heading, section in (("[site_policy]", AnalyticsSitePolicy), ("[[queries]]", Query)):
        parts += [f"\n## `{heading}`\n\n{_first_line(section)}\n\n", *_table(section)]
    return "".join(parts)


def _partitions() -> Iterator[str]:
    """`[simulation.partition]`, kind by kind."""
    yield "\n### `[simulation.partition]`\n\n"
    yield "How rows are shared out over sites; [simulation-partition.md](simulation-partition.md)\n"
    yield "explains it. Its keys depend on the kind.\n"
    for kind, section in PARTITIONS.items():
        yield f'\n#### `kind = "{kind}"`\n\n{_first_line(section)}\n\n'
        shared = next((one for one in (Resampled, SharedOut) if issubclass(section, one)), Section)
        own = section.model_fields.keys() - shared.model_fields.keys() - {"kind"}
        if own:
            yield from _table(section, skip=frozenset(section.model_fields.keys() - own))
    yield f"\n#### `iid`, `dirichlet` and `quantity` alike\n\n{_first_line(Resampled)}\n\n"
    yield from _table(Resampled, skip=frozenset(SharedOut.model_fields))
    yield f"\n#### Every kind but `natural`\n\n{_first_line(SharedOut)}\n\n"
    yield from _table(SharedOut)


def _first_line(section: type[Section]) -> str:
    return (section.__doc__ or "").strip().split("\n\n", maxsplit=1)[0]


def _table(section: type[Section], skip: frozenset[str] = frozenset()) -> Iterator[str]:
    schema = section.model_json_schema()
    yield "| key | value | default | what it is |\n|---|---|---|---|\n"
    for key, facts in schema["properties"].items():
        if key in skip:
            continue
        said = key not in {"quorum", "threshold"} and facts.get("default") is not None
        said = said and "$ref" not in facts and not isinstance(facts["default"], dict)
        default = _literal(facts["default"]) if said else ""
        text = " ".join(facts["description"].split())
        yield f"| `{key}` | {_kind(facts)} | {default} | {text} |\n"


def _literal(value: object) -> str:
    return f"`{json.dumps(value)}`"


def _kind(facts: dict[str, Any]) -> str:  # noqa: PLR0911 - one line per kind of JSON schema
    if "anyOf" in facts:
        kinds = (_kind(f) for f in facts["anyOf"] if f.get("type") != "null")
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in facts:
        return " or ".join(_literal(value) for value in facts["enum"])
    if "const" in facts:
        return _literal(facts["const"])
    if "prefixItems" in facts:
        return f"[{', '.join(_kind(f) for f in facts['prefixItems'])}]"
    if facts.get("type") == "array":
        items = facts.get("items", {})
        return "list of tables" if "$ref" in items else f"list of {_plural(_kind(items))}"
    if facts.get("type") == "object" or "$ref" in facts:
        return "table"
    if facts.get("type") == "boolean":
        return "`true` or `false`"
    word = {"integer": "whole number", "number": "number", "string": "text"}[facts["type"]]
    signs = (
        ("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")
    )  # fmt: skip
    bounds = ", ".join(f"{sign} {_number(facts[key])}" for key, sign in signs if key in facts)
    return f"{word} {bounds}".strip()


def _number(value: float) -> str:
    powers = {2**bits: f"2^{bits}" for bits in (31, 63)}
    return powers.get(value) or f"{value:g}"


def _plural(kind: str) -> str:
    return {
        "text": "names",
        "whole number": "whole numbers",
        "list of names": "lists of names",
    }.get(kind, kind)


def result_schema(name: str, kind: type[BaseModel]) -> str:
    """A file of docs/*.schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": name}
    return json.dumps(schema | kind.model_json_schema(), indent=1) + "\n"


def secure_sum() -> str:
    """docs/secure-sum.md, with its tables as the code has them."""
    return secure_sum_tables.filled((DOCS / "secure-sum.md").read_text(encoding="utf-8"))


def main() -> None:
    """Write all, or check all."""
    wanted = {
        "configuration.md": configuration(),
        **{f"{file}.schema.json": result_schema(*one) for file, one in RESULTS.items()},
        "secure-sum.md": secure_sum(),
    }
    stale = []
    for name, text in wanted.items():
        path = DOCS / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    print(f"{'stale' if '--check' in sys.argv else 'written'}: {', '.join(stale) or 'none'}")
    sys.exit(1 if stale and "--check" in sys.argv else 0)


if __name__ == "__main__":
    main()
