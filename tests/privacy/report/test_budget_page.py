"""The page is whole, self-contained and accessible, and every number on it is in the document."""

import math
import re
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from sample_ledgers import KINDS, QUERIES, TRAINING, create, play, written

from federation.report_page import number_text
from privacy import event
from privacy.account import PlanTerms
from privacy.report import wording
from privacy.report.build import privacy_report
from privacy.report.document import (
    GroupUtility,
    NoiseRound,
    PrivacyReport,
    RunFacts,
)
from privacy.report.page import render
from privacy.report.source import Trust, read_ledger
from privacy.report.terms import TERMS

VOID = {"meta", "br", "hr", "img", "input", "link"}
HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"


class Outline(HTMLParser):
    """Checks that tags balance; collects texts by tag, and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def outline(page: str) -> Outline:
    found = Outline()
    found.feed(page)
    found.close()
    assert found.open == []
    return found


def many(folder) -> PrivacyReport:
    for number, site in enumerate(("ulm", "bonn", "jena"), start=1):
        play(create(folder, site=site), "a", TRAINING, number).close()
    ledgers = [read_ledger(path, Trust()) for path in sorted(folder.glob("*.sqlite"))]
    noise = NoiseRound(
        round=3, noise_multiplier=1.5234, ratio=0.4, p_value=1e-9, alarm=True, too_little=True
    )
    group = GroupUtility(
        attribute="sex", group="f", rows=311, accuracy=0.8123, auc=None, note="no positives"
    )
    run = RunFacts(
        run="a", task="heart", status="completed", noise_source="operating system", rows=622,
        accuracy=0.8345, noise=(noise,), groups=(group,),
    )  # fmt: skip
    return privacy_report(ledgers).model_copy(update={"runs": (run,)})


def hostile(folder) -> PrivacyReport:
    ledger = create(folder, dataset=HOSTILE)
    play(ledger, HOSTILE, QUERIES, 2, charged=1, terms=PlanTerms(task=HOSTILE, software=HOSTILE))
    ledger.void(ledger.reserve(HOSTILE, 2, 1), HOSTILE)
    ledger.record_audit({"kind": HOSTILE, "verdict": HOSTILE})
    ledger.close()
    return privacy_report([read_ledger(folder / "ulm.sqlite", Trust())])


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, PrivacyReport]:
    folder = tmp_path_factory.mktemp("pages")
    made = {
        kind: privacy_report([read_ledger(written(folder / kind, kind), Trust())]) for kind in KINDS
    }
    for name, make in (("many", many), ("hostile", hostile)):
        (folder / name).mkdir()
        made[name] = make(folder / name)
    return made


every = pytest.mark.parametrize("kind", [*KINDS, "many", "hostile"])


@every
def test_tags_balance_ids_are_unique_and_links_have_their_targets(reports, kind) -> None:
    page = outline(render(reports[kind]))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.named("a")} <= set(ids)
    assert {a["aria-labelledby"] for a in page.named("section")} <= set(ids)


@every
def test_the_page_loads_nothing_and_runs_nothing(reports, kind) -> None:
    text = render(reports[kind])
    page = outline(text)
    tags = {tag for tag, _ in page.tags}
    assert not {"script", "iframe", "link", "img", "object", "base", "form"} & tags
    assert not re.search(r"https?:|@import|url\((?!#)|javascript:", text)
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
    policy = [a for a in page.named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0]["content"].startswith("default-src 'none'")


@every
def test_tables_have_captions_headers_scopes_and_pictures_words(reports, kind) -> None:
    text = render(reports[kind])
    page = outline(text)
    assert len(page.named("caption")) == len(page.named("table"))
    assert all(a.get("scope") in {"col", "row"} for a in page.named("th"))
    for picture in re.findall(r"<svg[^>]*>.*?</svg>", text, flags=re.DOTALL):
        titled = re.search(r'role="img"><title>[^<]+</title><desc>[^<]+</desc>', picture)
        assert titled or 'aria-hidden="true"' in picture
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@every
def test_nothing_is_drawn_outside_its_picture(reports, kind) -> None:
    pictures = re.findall(r"<svg[^>]*viewBox.*?</svg>", render(reports[kind]), flags=re.DOTALL)
    for picture in map(ET.fromstring, pictures):
        _, _, width, height = map(float, picture.get("viewBox").split())
        for part in picture.iter():
            if part.tag == "path":
                found = re.findall(r"[ML]([\d.-]+),([\d.-]+)", part.get("d"))
                assert all(-0.11 <= float(x) <= width + 0.11 for x, _ in found)
                assert all(-0.11 <= float(y) <= height + 0.11 for _, y in found)


def leaves(value: object):
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from leaves(each)
    elif isinstance(value, list):
        yield len(value)
        for each in value:
            yield from leaves(each)
    else:
        yield value


def renderings(value: object):
    if isinstance(value, str):
        yield value
        yield number_text.moment(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    yield str(value)
    yield f"{value:,}"
    for shown in (
        number_text.setting, number_text.rate, number_text.significant, wording.bound,
        wording.left, wording.percent_up, number_text.percent,
        lambda one: number_text.significant(one, 4),
    ):  # fmt: skip
        yield shown(value)
    yield number_text.setting(100 * value)


NUMBER = re.compile(r"\d[\d.,]*")
FIXED = {"0", "1", "5", "10"}
"""In the page's own words: N(0, 1), `a delta of 10⁻⁵`, `above 10`."""


def numbers_not_in(document: PrivacyReport, page: PrivacyReport) -> set[str]:
    """Numbers that a page shows and a document does not hold in any form that pages show."""
    plain = document.model_dump(mode="json")
    known = set(FIXED)
    for leaf in leaves(plain):
        for text in renderings(leaf):
            known.update(one.rstrip(".,") for one in NUMBER.findall(text))
    for one in plain["ledgers"]:
        spent, budget = one["record"]["epsilon"], one["record"]["budget"]
        if spent is not None and budget:
            known.update(NUMBER.findall(number_text.percent(spent / budget)))
    body = re.sub(r"<svg.*?</svg>|<style>.*?</style>", " ", render(page), flags=re.DOTALL)
    shown = " ".join(text for _, text in outline(body).texts)
    without_cut_digests = re.sub(r"[0-9a-f]{16}…", "", shown)
    return {one.rstrip(".,") for one in NUMBER.findall(without_cut_digests)} - known


@every
def test_every_number_on_the_page_is_in_the_document(reports, kind) -> None:
    assert numbers_not_in(reports[kind], reports[kind]) == set()


def test_a_number_of_another_document_is_noticed(reports) -> None:
    assert numbers_not_in(reports["plain"], reports["mixed"])
    assert numbers_not_in(reports["mixed"], reports["plain"])


@every
def test_every_sentence_of_the_document_is_on_the_page(reports, kind) -> None:
    page = outline(render(reports[kind]))
    texts = {text for _, text in page.texts}
    for ledger in reports[kind].ledgers:
        sentences = (
            *ledger.assumptions, *ledger.not_covered, *ledger.warnings, ledger.headline,
            *ledger.integrity.words, *(one.text for one in ledger.claim),
        )  # fmt: skip
        assert set(sentences) <= texts


def test_markup_in_names_is_text(reports) -> None:
    text = render(reports["hostile"])
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "{{7*7}}" in text


def test_shared_and_site_level_rows_are_on_the_page(reports) -> None:
    for kind in ("mixed", "of_site"):
        heads = outline(render(reports[kind])).text("th")
        ledger = reports[kind].ledgers[0]
        assert {one.who for one in (*ledger.adversaries, *ledger.site_adversaries)} <= set(heads)


def test_no_bound_is_said_in_words(reports) -> None:
    text = render(reports["non_private"])
    assert "no bound" in text
    assert "ε no bound" in text
    assert "None</" not in text


def test_the_meter_and_the_groups_are_shown_with_what_they_mean(reports) -> None:
    page = outline(render(reports["many"]))
    assert "too little: the guarantee does not hold" in page.text("td")
    assert "0.812" in page.text("td")


def test_of_many_ledgers_each_has_a_bar_and_its_rest_is_folded(reports) -> None:
    text = render(reports["many"])
    assert text.count("<details>") == 3
    assert text.index('id="federation"') < text.index('id="ledger-1"')
    assert text.count(": of the budget") == 0
    assert "<details>" not in render(reports["plain"])


def test_terms_are_in_order_and_printed(reports) -> None:
    words = [term.word.casefold() for term in TERMS]
    assert words == sorted(words)
    assert {term.word for term in TERMS} <= set(outline(render(reports["plain"])).text("dt"))


def test_every_mechanism_has_words() -> None:
    names = {*event._MECHANISMS, event._SELECTION} - {"distributed_discrete_gaussian"}
    assert set(wording.MECHANISMS) == names
    assert "; and no noise" in wording.in_words("laplace + non_private")


def test_what_is_left_is_never_overstated_and_a_hit_rate_never_understated() -> None:
    assert wording.left(0.99999) == "0.999"
    assert wording.left(0.0002) == "< 0.001"
    assert wording.left(0.0) == "0"
    assert wording.percent_up(0.0012001) == "0.13 %"
    assert wording.percent_up(0.5) == "50.00 %"
    assert wording.percent_up(1.0) == "100.00 %"
    assert math.isclose(float(wording.percent_up(0.123456)[:5]), 12.35)
