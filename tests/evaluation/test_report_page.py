"""The page is whole, self-contained, accessible, the same for the same summary, and tells all."""

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page_outline import outline
from sample_summary import SITES, hospitals, stopped_without_privacy

from evaluation.report import figures, plain_words
from evaluation.report.drift_tables import drift_tables
from evaluation.report.glossary import TERMS
from evaluation.report.group_tables import group_tables
from evaluation.report.page import render
from evaluation.report.verdict_rules import RULES
from federation.report_page.environment import SHARED
from federation.summary import Estimate, NoiseMeasure, SiteLevel, Summary

PLACE = re.compile(r"[ML]([\d.-]+),([\d.-]+)")
SECTIONS = [
    "verdicts",
    "guarantee",
    "facts",
    "utility",
    "baselines",
    "privacy",
    "fairness",
    "drift",
    "rounds",
    "secure-sum",
    "reproduce",
    "rules",
    "glossary",
]


def seeded() -> Summary:
    privacy = hospitals().privacy
    noise = {"noise_source": "seeded (simulation)"}
    return hospitals().model_copy(update={"privacy": privacy.model_copy(update=noise)})


def nothing_happened() -> Summary:
    base = stopped_without_privacy()
    privacy = base.privacy.model_copy(update={"sites": {}, "not_covered": ()})
    return base.model_copy(update={"rounds": (), "utility": (), "privacy": privacy})


SUMMARIES = {
    "hospitals": hospitals(),
    "stopped": stopped_without_privacy(),
    "seeded": seeded(),
    "nothing": nothing_happened(),
}
every_summary = pytest.mark.parametrize("summary", SUMMARIES.values(), ids=SUMMARIES.keys())


@every_summary
def test_tags_balance_and_ids_are_unique(summary: Summary) -> None:
    page = outline(render(summary))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


@every_summary
def test_the_page_loads_nothing_and_runs_nothing(summary: Summary) -> None:
    text = render(summary)
    page = outline(text)
    assert not page.named("script")
    assert not {"iframe", "link", "img", "object", "base"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|javascript:", text)
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert not {"src", "srcset", "action"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    policy = [a for a in page.named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0]["content"].startswith("default-src 'none'")


@every_summary
def test_every_link_within_the_page_has_its_target(summary: Summary) -> None:
    page = outline(render(summary))
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {a["href"][1:] for a in page.named("a")} <= ids
    assert {a["aria-labelledby"] for a in page.named("section")} <= ids


@every_summary
def test_the_same_summary_gives_the_same_bytes_after_a_round_trip_through_json(summary) -> None:
    again = Summary.model_validate_json(summary.model_dump_json())
    assert render(again).encode() == render(summary).encode()


@every_summary
def test_the_page_stays_under_300_kilobytes(summary: Summary) -> None:
    assert len(render(summary).encode()) < 300_000


@every_summary
def test_sections_come_in_the_order_that_a_reader_needs(summary: Summary) -> None:
    page = outline(render(summary))
    assert [a["aria-labelledby"] for a in page.named("section")] == SECTIONS


@every_summary
def test_tables_have_captions_and_every_header_a_scope(summary: Summary) -> None:
    page = outline(render(summary))
    assert len(page.named("caption")) == len(page.named("table"))
    assert all(a.get("scope") in {"col", "row"} for a in page.named("th"))


@every_summary
def test_every_picture_is_titled_and_described_or_hidden_from_screen_readers(summary) -> None:
    text = render(summary)
    pictures = re.findall(r"<svg[^>]*>.*?</svg>", text, flags=re.DOTALL)
    assert pictures
    for picture in pictures:
        titled = re.search(r'role="img"><title>[^<]+</title><desc>[^<]+</desc>', picture)
        assert titled or 'aria-hidden="true"' in picture


@every_summary
def test_nothing_is_drawn_outside_its_picture(summary: Summary) -> None:
    pictures = re.findall(r"<svg[^>]*viewBox.*?</svg>", render(summary), flags=re.DOTALL)
    for picture in map(ET.fromstring, pictures):
        _, _, width, height = map(float, picture.get("viewBox").split())
        assert (float(picture.get("width")), float(picture.get("height"))) == (width, height)
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


@every_summary
def test_headings_never_skip_a_level(summary: Summary) -> None:
    levels = [
        int(tag[1]) for tag, _ in outline(render(summary)).tags if re.fullmatch("h[1-6]", tag)
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_privacy_off_is_stamped_in_title_banner_and_over_every_page() -> None:
    page = outline(render(stopped_without_privacy()))
    assert "(Privacy off)" in page.text("title")[0]
    assert any("stamp alarm" in (a.get("class") or "") for a in page.named("div"))
    assert any(a.get("class") == "watermark" for a in page.named("div"))


def test_seeded_noise_is_stamped_and_takes_the_promise_back() -> None:
    text = render(seeded())
    assert "Seeded noise: simulation only" in outline(text).text("strong")
    assert "had the noise been secret" in text
    assert "bit by bit" in text


def test_a_protected_run_carries_no_stamp() -> None:
    text = render(hospitals())
    assert 'class="stamp' not in text
    assert 'class="watermark"' not in text
    assert "not kept, so a second run gives another model" in text


@pytest.mark.parametrize(("status", "words"), [("stopped", "Stopped"), ("interrupted", "Interr")])
def test_an_unfinished_run_says_so_above_the_verdicts(status, words) -> None:
    run = hospitals().run.model_copy(update={"status": status, "stopped_because": "quorum lost"})
    text = render(hospitals().model_copy(update={"run": run}))
    assert text.index(words) < text.index('id="verdicts"')
    assert "quorum lost" in text
    assert 'class="status"' not in render(hospitals())


def test_a_deployed_run_is_not_told_to_simulate_itself() -> None:
    run = hospitals().run.model_copy(update={"backend": "deployed"})
    text = render(hospitals().model_copy(update={"run": run}))
    assert "hedgerow simulate" not in text
    assert "hedgerow report" in text
    assert "hedgerow simulate" in render(hospitals())


def test_what_is_and_is_not_covered_stands_word_for_word() -> None:
    summary = hospitals()
    listed = outline(render(summary)).text("li")
    for sentence in (*summary.privacy.covered, *summary.privacy.not_covered, *summary.notes):
        assert sentence in listed


def test_every_site_round_group_feature_and_yardstick_is_on_the_page() -> None:
    summary = hospitals()
    page = outline(render(summary))
    heads = page.text("th")
    for name, account in summary.privacy.sites.items():
        assert name in heads
        assert account.ledger_head in page.visible
    for fairness in summary.fairness:
        assert all(group.group in heads for group in fairness.groups)
    assert all(one.feature in heads for one in summary.drift)
    assert all(one.name in heads for one in summary.baselines)
    assert heads.count("21") >= 1
    assert "train: no answer within 120 s" in page.visible
    assert summary.run.model_sha256 in page.visible
    assert summary.run.config_digest in page.visible
    assert summary.secure_sum.roster_digest in page.visible
    assert summary.secure_sum.rules_digest in page.visible


def test_suppressed_groups_show_no_number_and_unestimable_rates_their_reason() -> None:
    text = render(hospitals())
    row = re.search(r'<tr class="grey"><th scope="row">unknown</th>(.*?)</tr>', text).group(1)
    assert "suppressed" in row
    assert not re.search(r"\d", re.sub(r"<[^>]*>", "", row))
    assert text.count("not given<sup>1</sup>") == 4
    assert "<sup>1</sup> no negatives in group" in text
    assert "not given<small>no positives in group unknown</small>" in text


def test_psi_stands_beside_its_critical_value() -> None:
    assert re.search(
        r'<td class="num strong">1.34</td><td class="num">0.192</td>', render(hospitals())
    )


def test_rules_and_terms_are_printed_and_terms_are_in_order() -> None:
    page = outline(render(hospitals()))
    assert all(rule.when in page.text("td") for rule in RULES)
    assert all(term.word in page.text("dt") for term in TERMS)
    words = [term.word.casefold() for term in TERMS]
    assert words == sorted(words)


@pytest.mark.parametrize(
    "abbreviation", ["AUC", "PSI", "KS", "JS", "DP", "PLD", "RDP", "TPR", "FPR", "ε", "δ"]
)
def test_every_abbreviation_is_in_the_glossary(abbreviation: str) -> None:
    assert any(re.search(rf"\b{abbreviation}\b", term.word) for term in TERMS)


def test_markup_in_names_is_text_not_markup() -> None:
    text = render(stopped_without_privacy())
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "digits &lt;b&gt;&amp;amp;&lt;/b&gt;" in text


@settings(max_examples=25)
@given(st.text(min_size=1, max_size=20).filter(lambda text: text.strip()))
def test_no_text_of_the_summary_can_break_the_page(text: str) -> None:
    base = hospitals()
    run = base.run.model_copy(update={"name": text, "task": text, "stopped_because": text})
    groups = tuple(g.model_copy(update={"group": text}) for g in base.fairness[0].groups)
    fairness = (base.fairness[0].model_copy(update={"groups": groups}),)
    drift = tuple(
        one.model_copy(update={"feature": text, "bins": (text,) * len(one.bins)})
        for one in base.drift
    )
    changes = {"run": run, "fairness": fairness, "drift": drift, "notes": (text,)}
    odd = outline(render(base.model_copy(update=changes)))
    plain = outline(render(base.model_copy(update={**changes, "notes": ("x",)})))
    assert [tag for tag, _ in odd.tags] == [tag for tag, _ in plain.tags]
    assert not odd.named("script")


def test_utility_figures_are_those_that_were_measured() -> None:
    assert len(figures.utility_figures(hospitals())) == 3
    base = stopped_without_privacy()
    no_auc = tuple(
        point.model_copy(
            update={"overall": point.overall.model_copy(update={"auc": Estimate(value=None)})}
        )
        for point in base.utility
    )
    figured = figures.utility_figures(base.model_copy(update={"utility": no_auc}))
    assert [figure.caption.split(":")[0] for figure in figured] == ["Accuracy", "Log loss"]


def test_charts_say_first_and_last_value_of_every_line() -> None:
    chart = figures.utility_figures(hospitals())[1].chart
    assert "overall: 0.500 after round 0, 0.862 (0.856 to 0.868) after round 20" in chart
    assert "university: 0.500 after round 0, 0.897 after round 20" in chart
    assert "majority class: 0.500" in chart


def test_gaps_are_drawn_over_rounds_for_every_attribute_that_has_one() -> None:
    sex, age = figures.fairness_figures(hospitals())
    assert "demographic parity difference: 0.41 after round 0" in sex.chart.replace("0.410", "0.41")
    assert "equalized odds difference" in sex.chart
    assert "equalized odds difference" not in age.chart
    names = [key.name for key in figures.fairness_legend(hospitals())]
    assert names == ["demographic parity difference", "equalized odds difference"]
    assert figures.fairness_figures(stopped_without_privacy()) == ()


def test_the_legend_names_every_line_once_also_beyond_the_styles() -> None:
    base = hospitals()
    many = {f"cohort {i}": base.utility[0].overall for i in range(8)}
    points = tuple(point.model_copy(update={"cohorts": many}) for point in base.utility)
    summary = base.model_copy(update={"utility": points})
    names = [key.name for key in figures.utility_legend(summary)]
    assert names == ["overall", *many, "guessing: always the majority class"]
    assert figures.utility_figures(summary)
    assert len(figures.utility_legend(stopped_without_privacy())) == 1


def test_participation_counts_each_round_once_and_prefers_its_training() -> None:
    figure = figures.participation_figure(hospitals())
    assert "All 4 sites took part in 19 of 21 rounds; quorum 3." in figure.chart
    base = hospitals()
    evaluated = base.rounds[6].model_copy(update={"kind": "evaluate", "survivors": SITES})
    for rounds in ((base.rounds[6], evaluated), (evaluated, base.rounds[6])):
        both = figures.participation_figure(base.model_copy(update={"rounds": rounds}))
        assert "in 0 of 1 rounds" in both.chart
    assert figures.participation_figure(base.model_copy(update={"rounds": ()})) is None


def test_drift_tables_put_the_gravest_first_and_keep_scopes_apart() -> None:
    overall, cohort = drift_tables(hospitals())
    names = [one.feature for one in overall.features]
    assert names == ["chol", "age", "oldpeak", "trestbps", "thalach"]
    assert {one.scope for one in cohort.features} == {"university"}


def test_group_tables_keep_attributes_apart_and_leave_undefined_rates_out() -> None:
    fairness = hospitals().fairness[0]
    tables = group_tables(fairness)
    assert [table.attribute for table in tables] == ["sex", "age_group", "sex & age_group"]
    assert [group.group for group in tables[0].groups] == ["female", "male"]
    assert len(tables[0].columns) == 6
    assert tables[0].columns[0].cells == tuple(g.selection_rate for g in tables[0].groups)
    assert len(tables[0].gaps) == 3
    assert tables[2].gap_axis is None
    assert [table.reasons for table in tables] == [(), ("no negatives in group",), ()]
    only_accuracy = tuple(
        group.model_copy(
            update=dict.fromkeys(
                ("selection_rate", "true_positive_rate", "false_positive_rate", "precision", "auc")
            )
        )
        for group in fairness.groups
    )
    multiclass = fairness.model_copy(update={"groups": only_accuracy})
    assert [column.heading for column in group_tables(multiclass)[0].columns] == ["Accuracy"]


@given(st.floats(0, 20), st.floats(0, 1), st.floats(0, 1))
def test_membership_bound_is_a_share_and_no_less_than_guessing(epsilon, delta, wrongly) -> None:
    found = plain_words.largest_hit_rate(epsilon, delta, wrongly)
    assert found <= 1
    assert found >= min(1.0, wrongly) - 1e-12
    assert found <= plain_words.largest_hit_rate(epsilon + 1, delta, wrongly) + 1e-12


@pytest.mark.parametrize("epsilon", [10.0, 720.0, 1e9])
def test_a_bound_that_bounds_nothing_is_one(epsilon: float) -> None:
    assert plain_words.largest_hit_rate(epsilon, 1e-3, 0.01) == 1.0
    assert plain_words.largest_hit_rate(epsilon, 1e-3, 0.0) <= 1.0


def test_membership_bound_agrees_with_the_trade_off_function() -> None:
    # Dong, Roth and Su 2019, equation 5: f(a) = max(0, 1-d-e^eps a, e^-eps (1-d-a)).
    for wrongly in (0.01, 0.5, 0.9):
        trade_off = max(0, 1 - 0.1 - 2.0 * wrongly, 0.5 * (1 - 0.1 - wrongly))
        hit_rate = plain_words.largest_hit_rate(0.6931471805599453, 0.1, wrongly)
        assert hit_rate == pytest.approx(1 - trade_off)


def test_the_meaning_is_said_only_when_every_epsilon_is_known() -> None:
    base = hospitals()
    assert "at most 7.3 %" in plain_words.meaning(base)
    sites = dict(base.privacy.sites)
    del sites["hungary"]
    lacking = base.privacy.model_copy(update={"sites": sites})
    assert plain_words.meaning(base.model_copy(update={"privacy": lacking})) == ""
    assert plain_words.meaning(stopped_without_privacy()) == ""


def test_rounds_that_had_to_exchange_keys_first_are_counted_beside_the_usual_exchanges() -> None:
    summary = hospitals()
    assert "3 per round; up to 5 in 2 rounds whose keys" in render(summary)
    ahead = tuple(one.model_copy(update={"exchanges": 3}) for one in summary.rounds)
    first = (ahead[0].model_copy(update={"exchanges": 4}), *ahead[1:])
    assert "up to 4 in 1 round whose keys" in render(summary.model_copy(update={"rounds": first}))
    assert "<dd>3 per round</dd>" in render(summary.model_copy(update={"rounds": ahead}))


def test_the_colluders_that_are_tolerated_are_told_where_they_are_known() -> None:
    summary = hospitals()
    row = "<dt>Colluding sites tolerated</dt><dd>1 of 4</dd>"
    assert row in render(summary)
    older = summary.secure_sum.model_copy(update={"tolerated_colluders": None})
    assert (
        "Colluding sites tolerated</dt><dd>"
        not in render(summary.model_copy(update={"secure_sum": older})).split('id="glossary"')[0]
    )


def test_every_ring_is_named() -> None:
    summary = hospitals()
    for rings, words in (
        ((32,), "2<sup>32</sup><"),
        ((16, 32), "2<sup>16</sup> and 2<sup>32</sup><"),
        ((16, 20, 32), "2<sup>16</sup>, 2<sup>20</sup> and 2<sup>32</sup><"),
    ):
        protected = summary.secure_sum.model_copy(update={"ring_bits": rings})
        page = render(summary.model_copy(update={"secure_sum": protected}))
        assert f"whole numbers modulo {words}" in page


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def colour_schemes() -> list[dict[str, str]]:
    style = (SHARED / "style.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)
    assert len(blocks) == 3
    return [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in blocks]


@pytest.mark.parametrize("colours", colour_schemes(), ids=["light", "dark", "print"])
def test_text_has_the_contrast_that_wcag_asks_for(colours: dict[str, str]) -> None:
    for ground in ("paper", "card", "faint"):
        for text in ("ink", "soft", "accent"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for grade in ("ok", "watch", "act", "off"):
        assert contrast(colours[grade], colours[f"{grade}-bg"]) >= 4.5, grade
    for style in range(6):
        assert contrast(colours[f"s{style}"], colours["paper"]) >= 3.0, style


def test_noise_that_hides_a_whole_site_stands_apart_with_what_was_measured_of_it() -> None:
    plain = hospitals()
    whole = SiteLevel(
        delta=1e-5, target_epsilon=8.0, noise_multiplier=1.105, colluders=1, honest=30,
        epsilon=7.99, granularity=2.0**-10, ring_bits=20, surplus_removed=True, alarms=(),
    )  # fmt: skip
    noise = [
        NoiseMeasure(
            noise_multiplier=multiplier, ratio=ratio, p_value=0.4, alarm=False, too_little=False,
            coordinates=1024,
        )
        for multiplier, ratio in ((1.105, 0.97), (1.158, 1.03))
    ]  # fmt: skip
    rounds = [
        one.model_copy(update={"noise": given})
        for one, given in zip(plain.rounds[:2], noise, strict=True)
    ]
    privacy = plain.privacy.model_copy(update={"site_level": whole})
    summary = plain.model_copy(update={"privacy": privacy, "rounds": tuple(rounds)})
    text = render(summary)
    section = text[text.index("A whole site") :]
    assert "removed from each sum" in section
    assert "1.105 to 1.158 × the largest update" in section
    assert "0.970 to 1.03 in 2 rounds" in section
    assert text.index("Ledger head") < text.index("A whole site")
    kept = whole.model_copy(update={"surplus_removed": False, "alarms": (1,)})
    privacy = privacy.model_copy(update={"site_level": kept})
    text = render(summary.model_copy(update={"privacy": privacy}))
    assert "left in each sum" in text
    assert "not as promised in round 1" in text
