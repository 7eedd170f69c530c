"""The evaluation page: whole, self-contained, small, the same for the same summary, tells all."""

import re
from functools import cache
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from page_outline import Outline, outline
from sample_evaluation import HOSPITALS, SIZES, Size, families, odd_names, sample

from evaluation.report.evaluation_glossary import EVALUATION_TERMS, OWN, SHARED
from evaluation.report.evaluation_page import SECTIONS, render
from evaluation.report.glossary import TERMS
from federation.evaluation_summary import EvaluationSummary
from federation.report_page.environment import SHARED as SHARED_TEMPLATES
from federation.summary import Estimate

NAMES = (*(name for name in SIZES if name != "large"), "odd names")


class Summaries(dict[str, EvaluationSummary]):
    """Each made when it is first asked for."""

    def __missing__(self, name: str) -> EvaluationSummary:
        self[name] = odd_names(self["hospitals"]) if name == "odd names" else sample(SIZES[name])
        return self[name]


class Pages(dict[str, str]):
    """Of each summary, rendered when it is first asked for."""

    def __missing__(self, name: str) -> str:
        self[name] = render(SAMPLES[name])
        return self[name]


SAMPLES, PAGES = Summaries(), Pages()
every_page = pytest.mark.parametrize("page", NAMES, indirect=True)
PLACE = re.compile(r"[ML]([\d.-]+),([\d.-]+)")


@pytest.fixture
def page(request: pytest.FixtureRequest) -> str:
    return PAGES[request.param]


@cache
def parsed(page: str) -> Outline:
    return outline(page)


def section(page: str, name: str) -> str:
    return re.search(f'<section aria-labelledby="{name}">.*?</section>', page, re.DOTALL).group(0)


def words(markup: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", markup).split())


def table(page: str, caption: str) -> list[list[str]]:
    """Cells of the table whose caption starts so, row by row."""
    found = re.search(f"<caption>{re.escape(caption)}.*?</table>", page, re.DOTALL).group(0)
    rows = re.findall(r"<tr.*?</tr>", found, re.DOTALL)
    return [
        [words(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)] for row in rows
    ]


def test_tags_balance_and_ids_are_unique() -> None:
    for page in map(PAGES.__getitem__, (*NAMES, "large")):
        ids = [attributes["id"] for _, attributes in parsed(page).tags if "id" in attributes]
        assert len(ids) == len(set(ids))


@every_page
def test_the_page_loads_nothing_and_runs_nothing(page: str) -> None:
    found = parsed(page)
    tags = {tag for tag, _ in found.tags}
    assert not {"script", "iframe", "link", "img", "object", "base", "form", "foreignObject"} & tags
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|javascript:", page)
    for _, attributes in found.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert not {"src", "srcset", "action"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    policy = [a for a in found.named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0]["content"].startswith("default-src 'none'")


@every_page
def test_every_reference_within_the_page_has_its_target(page: str) -> None:
    found = parsed(page)
    ids = {attributes.get("id") for _, attributes in found.tags}
    for tag in ("a", "use"):
        assert {a["href"][1:] for a in found.named(tag)} <= ids
    assert {a["aria-labelledby"] for a in found.named("section")} <= ids


@every_page
def test_sections_come_in_the_order_that_a_reader_needs(page: str) -> None:
    names = [a["aria-labelledby"] for a in parsed(page).named("section")]
    assert names == ["verdicts", *(name for name, _ in SECTIONS)]


@every_page
def test_tables_have_captions_every_header_a_scope_and_every_row_its_width(page: str) -> None:
    found = parsed(page)
    assert len(found.named("caption")) == len(found.named("table"))
    assert all(a.get("scope") in {"col", "row", "rowgroup"} for a in found.named("th"))
    for one in re.findall(r"<table.*?</table>", page, re.DOTALL):
        widths = {row_width(row) for row in re.findall(r"<tr.*?</tr>", one, re.DOTALL)}
        assert len(widths) == 1, one[:300]


def row_width(row: str) -> int:
    cells = re.findall(r"<t[hd][^>]*>", row)
    return sum(int((re.search(r'colspan="(\d+)"', cell) or [0, 1])[1]) for cell in cells)


@every_page
def test_every_picture_is_titled_and_described_or_hidden_from_screen_readers(page: str) -> None:
    for picture in re.findall(r"<svg[^>]*>.*?</svg>", page, flags=re.DOTALL):
        titled = re.search(r'role="img"><title>[^<]+</title><desc>[^<]+</desc>', picture)
        assert titled or 'aria-hidden="true"' in picture


@every_page
def test_nothing_is_drawn_outside_its_picture(page: str) -> None:
    for picture in map(ET.fromstring, re.findall(r"<svg[^>]*viewBox.*?</svg>", page, re.DOTALL)):
        _, _, width, height = map(float, picture.get("viewBox").split())
        for part in picture.iter():
            x, y, wide, tall = (float(part.get(k, 0)) for k in ("x", "y", "width", "height"))
            lines = [(float(part.get(f"x{i}", 0)), float(part.get(f"y{i}", 0))) for i in (1, 2)]
            drawn = [(float(part.get("cx", 0)), float(part.get("cy", 0))), *lines]
            if part.tag != "svg":
                drawn += [(x, y), (x + wide, y + tall)]
            if part.tag == "path":
                drawn += [(float(a), float(b)) for a, b in PLACE.findall(part.get("d"))]
            assert all(-0.11 <= a <= width + 0.11 for a, _ in drawn)
            assert all(-0.11 <= b <= height + 0.11 for _, b in drawn)


@every_page
def test_headings_never_skip_a_level(page: str) -> None:
    levels = [int(tag[1]) for tag, _ in parsed(page).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@every_page
def test_no_python_value_shows_through(page: str) -> None:
    visible = parsed(page).visible
    assert not re.search(r"\bNone\b(?!:)|\bnan\b|\binf\b|Undefined|\{\{|\}\}", visible)
    assert not re.search(r"(True|False)(?![ -](positive|negative|alarm))", visible)


@pytest.mark.parametrize("name", ["hospitals", "all suppressed", "many classes", "odd names"])
def test_the_same_summary_gives_the_same_bytes_after_a_round_trip_through_json(name: str) -> None:
    again = EvaluationSummary.model_validate_json(SAMPLES[name].model_dump_json())
    assert render(again).encode() == PAGES[name].encode()


def test_forty_groups_fifty_features_and_fifty_two_windows_stay_under_a_megabyte() -> None:
    large = SIZES["large"]
    assert sum(map(len, large.families.values())) == 40
    assert (large.features, large.windows, large.cohorts) == (50, 52, 2)
    assert len(PAGES["large"].encode()) < 1_000_000


def test_seventy_two_groups_stay_under_a_megabyte() -> None:
    assert sum(map(len, SIZES["72 groups"].families.values())) == 72
    assert len(PAGES["72 groups"].encode()) < 1_000_000


def test_markup_in_names_is_shown_and_never_obeyed() -> None:
    page = PAGES["odd names"]
    assert "<script>alert(1)" not in page
    assert "<b>female" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;i&gt;region&lt;/i&gt;" in page


def test_no_site_is_named_but_those_that_agreed() -> None:
    assert "site 4" in section(PAGES["hospitals"], "flags")
    unnamed = SAMPLES["hospitals"].model_copy(update={"named_sites": {}})
    assert "site 4" not in render(unnamed)
    assert "9 of 10, not named here" in words(render(unnamed))


def test_every_verdict_stands_in_a_tile_with_its_grade_in_words() -> None:
    page = section(PAGES["hospitals"], "verdicts")
    for tile in SAMPLES["hospitals"].verdicts:
        assert tile.headline in page
        assert tile.sentence in page
    badges = re.findall(r'class="badge (\w+)"><span[^>]*></span>(\w+)<', page)
    assert all(class_ == word.lower() for class_, word in badges)
    assert [word for _, word in badges[:4]] == ["OK", "Act", "Watch", "OK"]


def test_the_recommendation_gives_all_its_reasons() -> None:
    page = section(PAGES["hospitals"], "verdicts")
    assert "Investigate before going on" in page
    for reason in SAMPLES["hospitals"].recommendation.reasons:
        assert f"<li>{reason}</li>" in page


def test_every_alert_is_listed_and_long_lists_are_folded() -> None:
    summary = SAMPLES["large"]
    assert len(summary.alerts) > 12
    page = section(PAGES["large"], "verdicts")
    folded = page[page.index("<details>") :]
    assert f"All other alerts ({len(summary.alerts) - 12})" in folded
    assert words(page).count("beyond chance") >= len(summary.alerts)


def test_the_reader_learns_what_was_not_tested() -> None:
    bare = words(section(PAGES["no groups"], "trust"))
    assert "names no sensitive attribute" in bare
    single = words(section(PAGES["one group"], "trust"))
    assert "A trend: there is one window" in single
    noised = words(section(PAGES["noised"], "trust"))
    assert "duplicates, leaks and label errors were not audited" in noised
    assert "noised by ± 5.49 rows" in noised
    assert "Counting the window cost each record ε = 0.50" in noised
    full = words(section(PAGES["hospitals"], "trust"))
    assert "not audited" not in full
    assert "No noise was added" in full


def test_suppressed_groups_are_grey_and_give_their_reason() -> None:
    page = section(PAGES["all suppressed"], "groups")
    rows = re.findall(r'<tr class="grey"><th scope="row">(?:female|male)</th>(.*?)</tr>', page)
    assert len(rows) == 4  # both groups, overall and in the cohort
    assert all("suppressed: fewer than 10 rows" in row for row in rows)
    assert "not estimable: fewer than two groups with enough rows to be shown" in page
    trust = table(PAGES["all suppressed"], "Groups in window")
    assert trust[1] == ["sex", "0", "0", "2", "–", "–", "2 × fewer than 10 rows"]


def test_a_group_table_shows_every_rate_with_its_interval() -> None:
    female = SAMPLES["hospitals"].fairness[0].groups[0]
    rows = table(PAGES["hospitals"], "Rates by sex")
    assert [re.sub(r"( [\d.]+)+$", "", heading) for heading in rows[0]] == [
        "Group", "Rows (n)", "Base rate", "Selection rate", "True positive rate",
        "False positive rate", "Precision", "Accuracy", "Balanced accuracy", "F1", "AUC",
    ]  # fmt: skip
    assert rows[1][0] == "female"
    assert rows[1][1] == f"{female.rows:,}"
    assert rows[1][2] == f"{100 * female.positives / female.rows:.0f} %"
    assert rows[1][3] == (
        f"{female.selection_rate.value:.3f} "
        f"{female.selection_rate.low:.3f} to {female.selection_rate.high:.3f}"
    )


def test_rates_that_are_not_estimable_say_why_once() -> None:
    page = section(PAGES["nothing known"], "groups")
    assert "not estimable<sup>1</sup>" in page
    assert page.count("<sup>1</sup> not estimable</span>") == 8  # four attributes, two scopes


def test_only_what_stands_out_is_signed_and_colour_is_never_alone() -> None:
    summary, page = SAMPLES["hospitals"], section(PAGES["hospitals"], "groups")
    overall = summary.fairness[0]
    cells = re.findall(r'<td class="((?:up|down|unsure)[^"]*)">([^<]*)</td>', page)
    assert cells
    signs = {"up": "▲", "down": "▼"}
    for shade, text in cells:
        kind = shade.split()[0]
        assert (signs[kind] in text) if kind in signs else re.search("[△▽]", text)
    age = {(one.group, one.metric) for one in overall.comparisons if one.attribute == "sex & age"
           and (one.significant or abs(one.difference) >= summary.marks.gap_watch)}  # fmt: skip
    rows = table(PAGES["hospitals"], "Rates by sex &amp; age: what")
    signed = sum(bool(re.search("[▲▼△▽]", cell)) for row in rows[1:] for cell in row)
    assert signed == len(age)


def test_the_criterion_agreed_on_is_marked_in_gaps_and_in_mitigation() -> None:
    for name in ("groups", "mitigation"):
        page = section(PAGES["hospitals"], name)
        marked = re.findall(r'class="[^"]*criterion"><th scope="row">([\w ]+)', page)
        assert set(marked) == {"Equal opportunity difference" if name == "groups"
                               else "Equal opportunity"}  # fmt: skip


def test_the_worst_pair_and_the_four_fifths_line_are_named() -> None:
    page = words(section(PAGES["hospitals"], "groups"))
    gap = next(g for g in SAMPLES["hospitals"].fairness[0].disparities
               if (g.attribute, g.metric) == ("race", "equal_opportunity_difference"))  # fmt: skip
    lowest, highest = gap.between
    assert f"Furthest apart in equal opportunity: {lowest} (lowest) and {highest} (highest)" in page
    assert re.search(r"Four-fifths line: .* below 0\.8; that is beyond chance", page)


def test_mitigation_shows_parity_and_odds_before_and_after_for_every_criterion() -> None:
    outcome = SAMPLES["hospitals"].mitigation[0]
    rows = table(PAGES["hospitals"], "Thresholds for each group of sex")
    assert [row[0].split(" the ")[0] for row in rows[1:]] == [
        "Demographic parity", "Equal opportunity", "Equal false positive rates", "Equalized odds",
    ]  # fmt: skip
    heads = [re.sub(r"( [\d.]+)+$", "", heading) for heading in rows[0]]
    odds = rows[1][heads.index("Equalized odds difference")]
    before = outcome.before.gaps.equalized_odds_difference
    after = outcome.after.gaps.equalized_odds_difference
    assert odds.startswith(f"{before:.3f} → {after:.3f}")
    assert f"cross-fitted {outcome.cross_fitted.gaps.equalized_odds_difference:.3f}" in odds
    assert "law may forbid or demand" in section(PAGES["hospitals"], "mitigation")


def test_the_threshold_in_use_is_named_in_words() -> None:
    rows = table(PAGES["hospitals"], "Accuracy and gaps by sex")
    assert [row[0] for row in rows if "in use" in row[0]] == ["0.5 in use"]


def test_more_classes_have_accuracy_alone_and_no_thresholds() -> None:
    page = PAGES["many classes"]
    heads = table(page, "Rates by sex")[0]
    assert [re.sub(r"( [\d.]+)+$", "", head) for head in heads][2:] == ["Accuracy"]
    assert "Base rate" not in heads
    assert "it takes two classes" in section(page, "thresholds")
    assert "Each class against the rest" in section(page, "calibration")


@pytest.mark.parametrize("name", ["no groups", "noised"])
def test_what_is_missing_is_said_and_not_left_blank(name: str) -> None:
    page = PAGES[name]
    for part, _ in SECTIONS:
        assert len(words(section(page, part))) > 40, part


def test_definitions_are_in_order_unique_and_without_gaps() -> None:
    terms = [term.word for term in EVALUATION_TERMS]
    assert terms == sorted(terms, key=str.casefold)
    assert len(terms) == len(set(terms)) == len(OWN) + len(SHARED)
    assert {term.word for term in TERMS} >= SHARED
    page = section(PAGES["hospitals"], "definitions")
    assert page.count("<dt>") == len(terms)


def test_the_hashes_by_which_all_is_found_again_are_whole() -> None:
    summary, page = SAMPLES["hospitals"], section(PAGES["hospitals"], "reproduce")
    for digest in (
        summary.subject.model_sha256,
        summary.hashes.spec_sha256,
        summary.hashes.reference_sha256,
        summary.hashes.edges_sha256,
        summary.hashes.config_sha256,
        summary.windows[-1].agreement_sha256,
    ):
        assert digest in page
    assert "exit code 1: something to watch" in page


def test_a_curve_without_inner_points_is_not_drawn_as_chance() -> None:
    scores = SAMPLES["hospitals"].scores["overall"]
    bare = tuple(one.model_copy(update={"roc": (one.roc[0], one.roc[-1])}) for one in scores)
    summary = SAMPLES["hospitals"].model_copy(update={"scores": {"overall": bare}})
    page = section(render(summary), "calibration")
    assert "ROC curve of" not in page
    assert "no point of it has rows enough to be shown" in page


def test_every_class_of_the_page_has_a_style() -> None:
    known = {"num", "page", "mono", "near", "slight"}
    style = re.search(r"<style>(.*?)</style>", PAGES["hospitals"], re.DOTALL).group(1)
    for page in map(PAGES.__getitem__, (*NAMES, "large")):
        used = {name for _, a in parsed(page).tags for name in (a.get("class") or "").split()}
        missing = {name for name in used - known if f".{name}" not in style}
        assert not missing


def test_paper_and_dark_screens_redefine_every_colour_of_the_style() -> None:
    style = (SHARED_TEMPLATES / "style.css").read_text(encoding="utf-8")
    own = re.search(r"<style>(.*?)</style>", PAGES["hospitals"], re.DOTALL).group(1)
    defined = set(re.findall(r"(--[\w-]+):", style))
    assert set(re.findall(r"var\((--[\w-]+)\)", own)) <= defined
    assert not re.search(r"#[0-9a-f]{3,6}\b", own.replace(style.strip(), ""))


def test_a_page_of_three_windows_names_all_of_them_and_the_reference_first() -> None:
    heads = table(PAGES["hospitals"], "Verdicts against the reference")[0]
    assert heads == ["What", "2026-w01", "2026-w02", "2026-w03"]
    rows = table(PAGES["hospitals"], "All sites, window by window")
    assert [row[0] for row in rows[1:]] == ["2025 reference", "2026-w01", "2026-w02", "2026-w03"]


def test_the_sites_own_verdicts_are_told_in_words_too() -> None:
    summary = sample(HOSPITALS)
    rows = {row[0]: row for row in table(PAGES["hospitals"], "Number of sites by their verdict")}
    for flags in summary.site_flags:
        act = flags.by_level["act"]
        assert (f"{act} of {flags.sites} sites act" in rows[flags.subject][1]) == bool(act)
        assert rows[flags.subject][3] == str(act)


def test_estimates_without_interval_and_utility_without_values_are_taken() -> None:
    base = sample(Size(families(2), windows=1, extras=False))
    bare = (
        base.fairness[0].groups[0].model_copy(update={"accuracy": Estimate(value=0.5), "f1": None})
    )
    fairness = base.fairness[0].model_copy(update={"groups": (bare, *base.fairness[0].groups[1:])})
    gone = base.windows[0].model_copy(update={"utility": {}, "majority_accuracy": None})
    page = render(base.model_copy(update={"fairness": (fairness,), "windows": (gone,)}))
    assert table(page, "Rates by sex")[1][7].startswith("0.500")
    assert "Held-out rows –" in words(page)
