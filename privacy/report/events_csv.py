"""Every charge as a row with all its parameters, so that anybody can recompute epsilon from it.

Parameters are decimal text as the ledger holds them. What is charged together (`composed`) is a row
for each part. A charge counts unless it was voided.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence

from privacy.account import UNITS, Charge
from privacy.event import Composed, PrivacyEvent, to_plain
from privacy.ledger_entry import Entry
from privacy.report.source import CheckedLedger

PARAMETERS = (
    "sampling_rate",
    "noise_multiplier",
    "count",
    "sensitivity",
    "scale",
    "dimension",
    "squared_sensitivity",
    "honest",
    "dropouts",
    "mean",
    "shape",
    "event",
)
"""Of all mechanisms; `event` is the JSON of what a selection repeats."""
PLACE = ("site", "dataset", "entry", "at", "run", "round", "charge", "state", "delta",
         "records_per_person", "neighbouring_relation")  # fmt: skip
COLUMNS = (*PLACE, "unit", "part", "mechanism", *PARAMETERS)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the start of a formula."""


def events_csv(ledgers: Sequence[CheckedLedger]) -> str:
    """The charges of all ledgers in order, with a line of column names first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    in_order = sorted(ledgers, key=lambda one: _holder(one.entries))
    for ledger in in_order:
        writer.writerows([_harmless(cell) for cell in row] for row in _rows(ledger.entries))
    return text.getvalue()


def _holder(entries: Sequence[Entry]) -> tuple[str, str]:
    return str(entries[0].body["site"]), str(entries[0].body["dataset"])


def _rows(entries: Sequence[Entry]) -> Iterator[Iterable[str]]:
    states = {
        entry.body["reservation"]: {"commit": "committed", "void": "voided"}[entry.kind]
        for entry in entries
        if entry.kind in {"commit", "void"}
    }
    budget = [entry for entry in entries if entry.kind == "budget"][-1]
    for entry in entries:
        if entry.kind != "reserve":
            continue
        place = [
            *_holder(entries),
            str(entry.seq),
            *(str(entry.body[name]) for name in ("at", "run", "round", "charge")),
            states.get(entry.seq, "open"),
        ]
        charge = Charge.from_plain(entry.body)
        for unit in UNITS:
            event = charge.of(unit)
            name = "delta" if unit == "record" else "site_level_delta"
            delta = json.dumps(budget.body.get(name, budget.body["delta"]))
            for number, part in enumerate(_parts(event) if event else (), start=1):
                plain = to_plain(part)
                cells = (_cell(plain.get(each)) for each in PARAMETERS)
                hidden = _hidden(budget) if unit == "record" else ("1", "add-or-remove-one")
                where = (*place, delta, *hidden, unit, str(number), str(plain["mechanism"]))
                yield (*where, *cells)


def _hidden(budget: Entry) -> tuple[str, str]:
    return str(budget.body["records_per_person"]), str(budget.body["neighbouring_relation"])


def _parts(event: PrivacyEvent) -> tuple[PrivacyEvent, ...]:
    return event.events if isinstance(event, Composed) else (event,)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
