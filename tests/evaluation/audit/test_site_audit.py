"""The site's audit finds what was planted, names rows and never values, and its page is whole."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from planted import CANARY, SCHEMA, clean, planted

from evaluation.audit.document import SiteAudit
from evaluation.audit.page import render, tiles
from evaluation.audit.predicted_labels import RowPredictions
from evaluation.audit.rows import SPLITS, AuditData, AuditRows
from evaluation.audit.rules import RULES
from evaluation.audit.site_audit import AuditFacts, site_audit
from federation.errors import DataError
from federation.schema import Categorical, Numeric, SensitiveAttribute, TaskSchema

FACTS = AuditFacts("clinic-a", "patients/2026", "readmission", 7)
NOTHING = RowPredictions("none", {}, reason="None was asked for.")


def believing(data: AuditData, sure=0.9, classes=2) -> RowPredictions:
    """Predictions that give every label `sure`."""
    rest = (1 - sure) / (classes - 1)
    return RowPredictions(
        "out-of-fold",
        {s: np.where(np.eye(classes)[data.split(s).targets] > 0, sure, rest) for s in SPLITS},
        folds=5,
    )


def audit_of(data, predicted=None, schema=SCHEMA, top=10) -> SiteAudit:
    return site_audit(FACTS, schema, data, predicted or believing(data), top)


def verdicts(audit: SiteAudit) -> dict[str, str]:
    return {check.key: check.verdict for check in audit.checks}


def test_clean_rows_are_ok_in_every_check() -> None:
    found = verdicts(audit_of(clean()))
    assert found == dict.fromkeys(RULES, "ok") | {"annotators": "off"}


def test_every_planted_problem_is_found() -> None:
    data = planted()
    found = audit_of(data)
    assert verdicts(found) == {
        "missing": "watch",
        "missing_by_label": "watch",
        "range": "act",
        "levels": "act",
        "constant": "watch",
        "duplicates": "act",
        "conflicts": "watch",
        "overlap": "act",
        "balance": "ok",
        "groups": "watch",
        "leakage": "act",
        "label_noise": "ok",
        "yardstick": "ok",
        "annotators": "off",
    }
    columns = {column.name: column for column in found.columns}
    assert columns["age"].above == 3 * (19 + 19) + 0
    assert columns["discharge_code"].verdict == "act"
    assert columns["site_code"].constant
    assert found.splits[0].repeated_with_label == 52
    assert found.repetition.conflicting_sets == 6
    assert found.repetition.shared_with_label == 20
    assert all(check.remedy for check in found.checks if check.verdict in {"watch", "act"})
    assert not any(check.remedy for check in found.checks if check.verdict in {"ok", "off"})


@pytest.mark.parametrize(("share", "verdict"), [(0.05, "ok"), (0.15, "watch"), (0.3, "act")])
def test_label_noise_is_graded_and_flipped_rows_are_listed_where_they_stand(share, verdict) -> None:
    data = clean()
    wrong = np.random.default_rng(3).random(150) < share
    current = replace(data.current, targets=np.where(wrong, 1 - data.current.targets,
                                                     data.current.targets))  # fmt: skip
    seen = {"current": believing(data).probabilities["current"]}
    predicted = RowPredictions("model", seen, model_sha256="ab" * 32)
    found = audit_of(AuditData(data.train, data.reference, current), predicted, top=150)
    assert verdicts(found)["label_noise"] == verdict
    assert {row.row for row in found.likely_mislabelled} == set(np.flatnonzero(wrong).tolist())
    assert {row.split for row in found.likely_mislabelled} == {"current"}
    assert found.predictions.rows == 150


def test_rows_of_the_list_are_rows_of_their_splits() -> None:
    data = clean()
    numbered = AuditData(*(
        replace(data.split(s), numbers=np.arange(len(data.split(s))) + 1000 * place)
        for place, s in enumerate(SPLITS)
    ))  # fmt: skip
    predicted = believing(numbered)
    for place, split in enumerate(SPLITS):
        predicted.probabilities[split][10 + place] = [0.5, 0.5]
    uncertain = audit_of(numbered, predicted, top=3).most_uncertain
    assert {(r.split, r.row, r.number) for r in uncertain} == {
        ("train", 10, 10), ("reference", 11, 1011), ("current", 12, 2012)
    }  # fmt: skip


def test_noise_is_no_reason_to_act_where_predictions_do_not_beat_guessing() -> None:
    data = clean()
    draw = np.random.default_rng(0)
    guessed = {s: draw.dirichlet([1, 1], len(data.split(s))) for s in SPLITS}
    found = verdicts(audit_of(data, RowPredictions("out-of-fold", guessed, folds=5)))
    coin = {s: np.full((len(data.split(s)), 2), 0.5) for s in SPLITS}
    assert found["label_noise"] in {"watch", "act"}
    unknowing = verdicts(audit_of(data, RowPredictions("out-of-fold", coin, folds=5)))
    assert unknowing["yardstick"] == "watch"
    assert unknowing["label_noise"] != "act"


def test_annotators_are_judged_by_their_least_kappa() -> None:
    data = clean()
    good = data.train.targets
    bad = np.random.default_rng(0).permutation(good)
    for labels, verdict in (
        ({"a": good}, "ok"),
        ({"a": bad}, "act"),
        ({"a": good, "b": bad}, "act"),
    ):
        notes = [
            replace(data.split(s), annotations=dict.fromkeys(labels, np.full(150, -1)))
            for s in ("reference", "current")
        ]
        annotated = AuditData(replace(data.train, annotations=labels), *notes)
        found = audit_of(annotated)
        assert verdicts(found)["annotators"] == verdict
        assert found.raters[0].rows == len(good)
    assert len(audit_of(annotated).raters) == 1  # the task's own label is no annotator's beside two


def test_the_same_rows_give_the_same_bytes_and_another_row_another_digest() -> None:
    first, second = audit_of(planted()), audit_of(planted())
    assert render(first) == render(second)
    assert first == SiteAudit.model_validate_json(second.model_dump_json())
    assert audit_of(clean(1)).rows_sha256 != audit_of(clean(2)).rows_sha256


def test_no_value_of_a_row_is_told() -> None:
    found = audit_of(planted())
    told = found.model_dump_json() + render(found)
    assert str(CANARY) not in told
    assert "87.65" not in told


def test_predictions_of_other_rows_are_refused() -> None:
    data = clean()
    with pytest.raises(DataError, match=r"train, predictions: expected \(700, 2\), got \(3, 2\)"):
        audit_of(data, RowPredictions("model", {"train": np.full((3, 2), 0.5)}))


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open, self.tags, self.words = [], [], []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data.strip())


def page_of(audit: SiteAudit) -> tuple[str, Page]:
    text = render(audit)
    page = Page()
    page.feed(text)
    assert not page.open
    return text, page


def empty(schema) -> AuditData:
    nothing = AuditRows(
        {feature.name: np.zeros(0) for feature in schema.features},
        np.zeros(0, dtype=np.int64),
        {attribute.name: np.zeros(0, dtype=np.int64) for attribute in schema.attributes},
    )
    return AuditData(nothing, nothing, nothing)


def wide(classes=10, groups=72) -> tuple[TaskSchema, AuditData]:
    schema = TaskSchema(
        tuple(Categorical(f"f{n}", tuple("abcdef")) for n in range(30)),
        "digit",
        tuple(str(n) for n in range(classes)),
        (SensitiveAttribute("region", tuple(f"r{n}" for n in range(groups))),),
    )
    draw = np.random.default_rng(0)

    def rows(count):
        features = {f"f{n}": draw.integers(7, size=count).astype(float) for n in range(30)}
        return AuditRows(
            features,
            draw.integers(classes, size=count),
            {"region": draw.integers(groups, size=count)},
        )

    return schema, AuditData(rows(400), rows(100), rows(0))


def odd_audits() -> list[SiteAudit]:
    schema, many = wide()
    one_class = AuditData(
        *(replace(rows, targets=np.zeros(len(rows), dtype=np.int64))
          for rows in map(clean().split, SPLITS))
    )  # fmt: skip
    bare = TaskSchema((), "<y>", ("a & b", "<c>"))
    ungrouped = AuditData(*(AuditRows({}, np.array([0, 1])) for _ in SPLITS))
    return [
        audit_of(planted()),
        audit_of(clean(), NOTHING),
        audit_of(empty(SCHEMA), NOTHING),
        audit_of(one_class),
        audit_of(many, believing(many, classes=10), schema),
        audit_of(ungrouped, believing(ungrouped), bare),
    ]


@pytest.mark.parametrize("place", range(6))
def test_the_page_is_whole_whatever_the_audit(place) -> None:
    audit = odd_audits()[place]
    text, page = page_of(audit)
    assert len(text) < 1_000_000
    assert not {"script", "link", "img", "iframe", "form"} & {tag for tag, _ in page.tags}
    assert not re.search(r"(src|href)=\"(?!#)", text)
    assert not re.search(r"\bon\w+=", text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for tag, a in page.tags if tag == "a"}
    assert targets <= set(ids)
    for check in audit.checks:
        assert check.name in page.words
    words = " ".join(page.words)
    assert "For this site alone" in words
    # The colour of every verdict is doubled by its word.
    badges = [
        a["class"].split()[1] for tag, a in page.tags if a.get("class", "").startswith("badge")
    ]
    assert badges
    assert all(re.search(rf"\b{badge}\b", words, re.IGNORECASE) for badge in badges)


def test_texts_are_escaped() -> None:
    text, _ = page_of(odd_audits()[5])
    assert "&lt;c&gt;" in text
    assert "<c>" not in text


def test_tiles_show_the_worst_check_of_each_topic() -> None:
    found = {tile.topic: tile for tile in tiles(audit_of(planted()))}
    assert found["Leakage"].grade == "Act"
    assert found["Leakage"].headline == "Leakage"
    assert found["Labels"].headline == RULES["groups"].name
    assert {tile.grade for tile in tiles(audit_of(clean()))} == {"OK"}


def test_numeric_and_categorical_columns_say_what_is_outside() -> None:
    _, page = page_of(audit_of(planted()))
    words = " ".join(page.words)
    assert "114 above" in words
    assert re.search(r"\d+ other", words)
    assert isinstance(SCHEMA.features[0], Numeric)


def test_people_who_are_alike_by_chance_are_no_reason_to_act() -> None:
    schema = TaskSchema(
        (Categorical("a", tuple("stuv")), Categorical("b", tuple("wxyz"))), "y", ("no", "yes")
    )
    draw = np.random.default_rng(0)

    def rows(count):
        features = {n: draw.integers(4, size=count).astype(float) for n in "ab"}
        return AuditRows(features, draw.integers(2, size=count))

    data = AuditData(rows(300), rows(60), rows(60))
    found = verdicts(audit_of(data, believing(data), schema))
    assert {found[key] for key in ("duplicates", "conflicts", "overlap")} == {"watch"}
