"""Each number of the document is what the accountants say of the ledger's own events."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
from sample_ledgers import (
    DELTA,
    KINDS,
    OF_SITE,
    QUERIES,
    SHARED,
    TRAINING,
    create,
    key_of,
    play,
    spent_up,
    written,
)

from federation.errors import BudgetExhausted, UsageError
from privacy import accountant, person_level, risk
from privacy.account import PlanTerms
from privacy.event import repeated
from privacy.neighbours import Neighbours
from privacy.report.build import privacy_report
from privacy.report.document import LedgerReport, PrivacyReport
from privacy.report.source import Trust, read_ledger
from privacy.report.spending import MOST_PLD_POINTS
from privacy.shared_record_noise import alone, with_shares


def reported(folder: Path, kind: str) -> LedgerReport:
    return privacy_report([read_ledger(written(folder, kind), Trust())]).ledgers[0]


def events(*pairs):
    return [repeated(event, count) for event, count in pairs]


MIXED = events((TRAINING, 6), (QUERIES, 2), (SHARED, 4))


@pytest.fixture(scope="module")
def all_kinds(tmp_path_factory) -> dict[str, LedgerReport]:
    folder = tmp_path_factory.mktemp("ledgers")
    return {kind: reported(folder / kind, kind) for kind in KINDS}


def test_what_is_spent_is_the_cost_of_what_stands(all_kinds) -> None:
    for kind, stands in (
        ("plain", events((TRAINING, 10))),
        ("mixed", MIXED),
        ("with_voids", events((TRAINING, 4))),
        ("amended", events((TRAINING, 12))),
    ):
        record = all_kinds[kind].record
        cost = accountant.cost(stands, DELTA)
        assert (record.epsilon_pld, record.epsilon_rdp) == pytest.approx(
            (cost.epsilon_pld, cost.epsilon_rdp), rel=1e-12
        )
        assert record.epsilon == min(record.epsilon_pld, record.epsilon_rdp)
        assert record.left == pytest.approx(record.budget - record.epsilon)


def test_an_empty_ledger_has_spent_nothing_and_says_so(all_kinds) -> None:
    ledger = all_kinds["empty"]
    assert (ledger.record.epsilon, ledger.record.left) == (0.0, 8.0)
    assert ledger.cumulative.rdp == ()
    assert ledger.more_of_last is None
    assert "nothing was charged yet" in ledger.headline
    assert ledger.gain.advantage == 0
    assert [one.epsilon for one in ledger.people] == [0.0] * 4


def test_a_release_without_privacy_has_no_epsilon_anywhere(all_kinds) -> None:
    ledger = all_kinds["non_private"]
    assert ledger.record.epsilon is None
    assert ledger.record.guaranteed is None
    assert ledger.record.left is None
    assert {one.epsilon for one in (*ledger.people, *ledger.adversaries)} == {None}
    assert ledger.gain.advantage == 1
    assert set(ledger.cumulative.rdp) == {None}
    assert ledger.headline.startswith("No guarantee")
    assert any("without privacy" in sentence for sentence in ledger.warnings)


def test_refusals_cost_nothing_and_are_listed(all_kinds) -> None:
    ledger = all_kinds["refused_only"]
    assert ledger.record.epsilon == 0
    assert [(one.round, one.reason) for one in ledger.refusals] == [(1, "budget"), (2, "budget")]
    assert ledger.plans[0].left == 0


def test_what_was_given_back_is_listed_with_its_proof_and_what_is_open_counts(all_kinds) -> None:
    ledger = all_kinds["with_voids"]
    (void,) = ledger.voids
    assert (void.round, void.proof) == (4, "the journal holds no answer of round 4")
    assert [one.round for one in ledger.open] == [5]
    assert len(ledger.cumulative.rdp) == 4
    assert (ledger.plans[0].charged, ledger.plans[0].committed, ledger.plans[0].open) == (4, 3, 1)


def test_an_amended_budget_keeps_all_versions_and_takes_the_unconditional_claim_back(
    all_kinds,
) -> None:
    ledger = all_kinds["amended"]
    assert [(one.epsilon, one.reason, one.role) for one in ledger.policies] == [
        (8.0, None, None),
        (12.0, "second study", "data protection officer"),
    ]
    guarantee = next(one.text for one in ledger.claim if one.name == "Guarantee")
    assert "in any case" not in guarantee
    assert any("no proof covers that choice" in one for one in ledger.assumptions)
    before = next(one.text for one in all_kinds["plain"].claim if one.name == "Guarantee")
    assert "in any case" in before
    assert not any("no proof" in one for one in all_kinds["plain"].assumptions)


def test_at_the_boundary_no_charge_more_is_admitted_and_one_less_was(tmp_path) -> None:
    ledger = spent_up(tmp_path)
    with pytest.raises(BudgetExhausted):
        ledger.require_admitted("second")
    ledger.close()
    report = privacy_report([read_ledger(tmp_path / "ulm.sqlite", Trust())]).ledgers[0]
    assert (report.more_of_last, report.plans[-1].left) == (0, 0)
    assert report.record.filtered <= 2.0
    assert "0 more charges" in report.headline


def test_a_site_is_counted_apart_and_never_added(all_kinds) -> None:
    ledger, plain = all_kinds["of_site"], accountant.cost(events((TRAINING, 3)), DELTA)
    whole = accountant.cost([repeated(OF_SITE, 3)], 1e-4)
    assert ledger.record.epsilon == pytest.approx(plain.epsilon)
    assert ledger.whole_site.epsilon == pytest.approx(whole.epsilon)
    first, second, *_, last = ledger.site_adversaries
    assert first.epsilon == pytest.approx(whole.epsilon)
    weaker = accountant.cost([repeated(with_shares(OF_SITE, 3), 3)], 1e-4).epsilon
    assert second.epsilon == pytest.approx(weaker)
    bare = accountant.cost([repeated(alone(OF_SITE), 3)], 1e-4).epsilon
    assert last.epsilon == pytest.approx(bare)


def test_a_budget_for_persons_is_accounted_for_persons_everywhere(all_kinds) -> None:
    ledger = all_kinds["of_persons"]
    exact = person_level.cost(events((TRAINING, 4)), DELTA, 2)
    assert ledger.record.epsilon == pytest.approx(exact.epsilon)
    assert ledger.record.epsilon > 1.5 * accountant.cost(events((TRAINING, 4)), DELTA).epsilon
    assert {one.epsilon for one in ledger.adversaries} == {ledger.record.epsilon}
    assert ledger.cumulative.pld[-1].y == ledger.record.epsilon_pld
    first = person_level.cost([TRAINING], DELTA, 2)
    assert ledger.cumulative.pld[0].y == pytest.approx(first.epsilon_pld, rel=0.01)
    fine = risk.trade_off(events((TRAINING, 4)), Neighbours(records=2)).true_positive_rate(0.01)
    assert fine - 1e-9 <= ledger.gain.hit_rates[1].true_positive_rate <= fine + 0.005
    assert ledger.record.prv is None
    said = {one.name: one.text for one in ledger.claim}
    assert "up to 2 rows" in said["Unit of privacy"]
    assert "nobody has more than 2 records" in said["Bound on contributions"]
    assert "more than 2 records" in ledger.not_covered[0]
    assert ledger.plans[0].epsilon == pytest.approx(exact.epsilon)


def test_a_budget_for_replaced_records_is_accounted_for_them(tmp_path) -> None:
    hidden = Neighbours("replace-one")
    play(create(tmp_path, float("inf"), neighbours=hidden), "first", TRAINING, 2).close()
    report = privacy_report([read_ledger(tmp_path / "ulm.sqlite", Trust())]).ledgers[0]
    exact = accountant.cost(events((TRAINING, 2)), DELTA, "replace-one")
    assert report.record.epsilon == pytest.approx(exact.epsilon)
    assert report.neighbouring_relation == "replace-one"
    assert report.cumulative.rdp == (None, None)


def test_persons_at_several_sites_have_their_records_at_each(tmp_path) -> None:
    for site in ("ulm", "bonn"):
        hidden = Neighbours(records=2)
        play(create(tmp_path, 60.0, site=site, neighbours=hidden), "s", SHARED, 1).close()
    ledgers = [read_ledger(path, Trust()) for path in sorted(tmp_path.glob("*.sqlite"))]
    (both,) = privacy_report(ledgers).federation.overlaps
    exact = person_level.cost([SHARED], DELTA, 4).epsilon_pld
    assert both.epsilon == pytest.approx(exact, rel=1e-6)


def test_own_noise_holds_against_everybody_alike(all_kinds) -> None:
    ledger = all_kinds["plain"]
    assert {one.epsilon for one in ledger.adversaries} == {ledger.record.epsilon}
    assert any("without the secure sum" in one.who for one in ledger.adversaries)


def test_shared_noise_holds_less_against_whoever_knows_more_of_it(tmp_path) -> None:
    play(create(tmp_path, 20.0), "shared", SHARED, 4).close()
    ledger = privacy_report([read_ledger(tmp_path / "ulm.sqlite", Trust())]).ledgers[0]
    reader, coordinator, one_more, two_more, all_others, without = ledger.adversaries
    assert reader.epsilon == coordinator.epsilon == ledger.record.epsilon
    assert "with 1 colluding site" in coordinator.who
    assert "with 2 colluding sites" in one_more.who
    for row, shares in ((one_more, 4), (two_more, 3)):
        exact = accountant.cost([repeated(with_shares(SHARED, shares), 4)], DELTA).epsilon
        assert exact <= row.epsilon <= 1.01 * exact
    exact = accountant.cost([repeated(alone(SHARED), 4)], DELTA).epsilon
    assert exact <= without.epsilon == all_others.epsilon <= 1.01 * exact
    assert reader.epsilon < one_more.epsilon < two_more.epsilon < without.epsilon


def test_cumulative_epsilon_is_that_of_the_charges_so_far(all_kinds) -> None:
    curve = all_kinds["mixed"].cumulative
    assert [(one.charge, one.run) for one in curve.starts] == [
        (1, "first"), (7, "queries"), (9, "shared"),
    ]  # fmt: skip
    for number, stands in (
        (1, events((TRAINING, 1))),
        (7, events((TRAINING, 6), (QUERIES, 1))),
        (12, MIXED),
    ):
        assert curve.rdp[number - 1] == pytest.approx(
            accountant.renyi_epsilon(stands, DELTA), rel=1e-9
        )
    assert curve.pld[-1].y == all_kinds["mixed"].record.epsilon_pld
    by_charge = {one.x: one.y for one in curve.pld}
    exact = accountant.cost(events((TRAINING, 6)), DELTA).epsilon_pld
    assert exact - 1e-9 <= by_charge[6.0] <= 1.01 * exact
    assert all(before <= after * 1.001 for before, after in pairwise(curve.rdp))


def test_pure_charges_add_up_before_they_compose(tmp_path) -> None:
    play(create(tmp_path), "queries", QUERIES, 3).close()
    curve = privacy_report([read_ledger(tmp_path / "ulm.sqlite", Trust())]).ledgers[0].cumulative
    assert curve.rdp[0] == pytest.approx(1 / 20 + 2 / 50)
    assert curve.rdp[1] == pytest.approx(2 * (1 / 20 + 2 / 50))


def test_however_long_a_ledger_is_few_losses_are_composed(tmp_path) -> None:
    event = TRAINING.__class__(0.01, 4.0, 1)
    play(create(tmp_path, 8.0), "long", event, 150).close()
    curve = privacy_report([read_ledger(tmp_path / "ulm.sqlite", Trust())]).ledgers[0].cumulative
    assert len(curve.rdp) == 150
    assert len(curve.pld) <= MOST_PLD_POINTS
    assert curve.pld[-1].x == 150


def test_what_an_attacker_gains_is_read_from_the_whole_curve(all_kinds) -> None:
    gain, record = all_kinds["plain"].gain, all_kinds["plain"].record
    exact = risk.trade_off(events((TRAINING, 10)))
    for one in gain.hit_rates:
        fine = exact.true_positive_rate(one.false_positive_rate)
        assert fine - 1e-9 <= one.true_positive_rate <= fine + 0.002
        single = risk.from_epsilon_delta(record.epsilon, DELTA)
        assert one.true_positive_rate < single.true_positive_rate(one.false_positive_rate)
    assert [one.false_positive_rate for one in gain.hit_rates] == [0.001, 0.01, 0.05]
    assert gain.advantage == pytest.approx(exact.advantage(), abs=0.002)
    (at,) = [one.y for one in gain.epsilon_of_delta if math.isclose(one.x, DELTA)]
    assert record.epsilon - 1e-6 <= at <= 1.01 * record.epsilon


def test_people_pay_as_the_person_level_accountant_says(all_kinds) -> None:
    ledger = all_kinds["plain"]
    for one in ledger.people:
        exact = person_level.cost(events((TRAINING, 10)), DELTA, one.records)
        assert one.epsilon_rdp == pytest.approx(exact.epsilon_rdp)
        if one.epsilon_pld is not None:
            assert one.epsilon == pytest.approx(exact.epsilon)
        assert one.epsilon >= exact.epsilon
    assert [one.records for one in ledger.people] == [1, 2, 4, 8]


def test_prv_stands_beside_where_it_knows_the_mechanisms(all_kinds) -> None:
    check = all_kinds["plain"].record.prv
    assert check.lower <= all_kinds["plain"].record.epsilon <= check.upper
    assert all_kinds["mixed"].record.prv is None
    assert "does not know" in all_kinds["mixed"].record.prv_note


def test_a_whole_plan_guarantees_what_all_of_it_costs(tmp_path) -> None:
    ledger = create(tmp_path, 2.0)
    most = 0
    while accountant.cost([repeated(TRAINING, most + 1)], DELTA).epsilon <= 2.0:
        most += 1
    play(ledger, "whole", TRAINING, most, charged=1).close()
    report = privacy_report([read_ledger(tmp_path / "ulm.sqlite", Trust())]).ledgers[0]
    assert report.record.guaranteed_by == "whole plan"
    exact = accountant.cost([repeated(TRAINING, most)], DELTA).epsilon
    assert report.record.guaranteed == pytest.approx(exact)
    assert report.record.epsilon < report.record.guaranteed <= 2.0
    assert report.more_of_last == 0
    assert report.plans[0].left == most - 1


def test_seeded_noise_and_a_large_delta_are_warned_of(tmp_path) -> None:
    seeded = PlanTerms(noise_source="seeded (simulation)")
    play(create(tmp_path, rows=50_000), "sim", TRAINING, 2, terms=seeded).close()
    play(create(tmp_path, rows=100_000, site="bonn"), "real", TRAINING, 2).close()
    warned = privacy_report([read_ledger(tmp_path / "ulm.sqlite", Trust())]).ledgers[0].warnings
    assert any("Seeded noise" in one for one in warned)
    assert not any("1 / 50,000" in one for one in warned)
    at_limit = privacy_report([read_ledger(tmp_path / "bonn.sqlite", Trust())]).ledgers[0].warnings
    assert any("1 / 100,000" in one for one in at_limit)
    assert not any("Seeded" in one for one in at_limit)


def federation(tmp_path) -> PrivacyReport:
    play(create(tmp_path, site="ulm"), "a", TRAINING, 4).close()
    play(create(tmp_path, site="bonn"), "b", TRAINING, 8).close()
    play(create(tmp_path, site="jena"), "c", QUERIES, 1).close()
    paths = sorted(tmp_path.glob("*.sqlite"))
    return privacy_report([read_ledger(path, Trust()) for path in paths])


def test_of_several_ledgers_the_largest_holds_for_people_who_are_in_one(tmp_path) -> None:
    report = federation(tmp_path)
    assert [one.site for one in report.ledgers] == ["bonn", "jena", "ulm"]
    assert report.federation.epsilon == max(one.record.epsilon for one in report.ledgers)
    assert report.federation.largest == "bonn: ward"


def test_a_person_at_several_sites_pays_for_whichever_they_are(tmp_path) -> None:
    two, three = federation(tmp_path).federation.overlaps
    assert (two.sites, three.sites) == (2, 3)
    histories = [events((TRAINING, 4)), events((TRAINING, 8)), events((QUERIES, 1))]
    dearest = person_level.cost_at_sites(histories[:2], DELTA, 1)
    assert dearest.epsilon <= two.epsilon <= dearest.epsilon_rdp * (1 + 1e-9)
    everywhere = person_level.cost_at_sites(histories, DELTA, 1)
    assert everywhere.epsilon <= three.epsilon <= everywhere.epsilon_rdp * (1 + 1e-9)


def test_equal_histories_compose_tightly(tmp_path) -> None:
    for site in ("ulm", "bonn"):
        play(create(tmp_path, site=site), "a", TRAINING, 4).close()
    ledgers = [read_ledger(path, Trust()) for path in sorted(tmp_path.glob("*.sqlite"))]
    (both,) = privacy_report(ledgers).federation.overlaps
    exact = accountant.cost([repeated(TRAINING, 8)], DELTA).epsilon
    assert both.epsilon == pytest.approx(exact)


def test_who_is_at_several_sites_of_one_shared_sum_pays_as_for_several_records(tmp_path) -> None:
    for site in ("ulm", "bonn", "jena"):
        play(create(tmp_path, site=site), "shared", SHARED, 2).close()
    ledgers = [read_ledger(path, Trust()) for path in sorted(tmp_path.glob("*.sqlite"))]
    report = privacy_report(ledgers).federation
    history = [repeated(SHARED, 2)]
    for one in report.overlaps:
        assert one.epsilon == pytest.approx(
            person_level.cost(history, DELTA, one.sites).epsilon, rel=1e-6
        )
        composed = accountant.cost([repeated(SHARED, 2 * one.sites)], DELTA).epsilon
        assert one.epsilon > composed
    assert any("one sum" in sentence for sentence in report.words)


def test_sites_of_one_sum_that_charged_for_other_rounds_are_bounded_by_the_longest(
    tmp_path,
) -> None:
    play(create(tmp_path, site="ulm"), "shared", SHARED, 4, charged=2).close()
    play(create(tmp_path, site="bonn"), "shared", SHARED, 4).close()
    ledgers = [read_ledger(path, Trust()) for path in sorted(tmp_path.glob("*.sqlite"))]
    (both,) = privacy_report(ledgers).federation.overlaps
    exact = person_level.cost([repeated(SHARED, 4)], DELTA, 2).epsilon_pld
    assert both.epsilon == pytest.approx(exact, rel=1e-6)


def test_sums_of_runs_that_only_one_of_the_sites_was_in_compose(tmp_path) -> None:
    for site in ("ulm", "bonn"):
        play(create(tmp_path, site=site), f"run of {site}", SHARED, 2).close()
    ledgers = [read_ledger(path, Trust()) for path in sorted(tmp_path.glob("*.sqlite"))]
    (both,) = privacy_report(ledgers).federation.overlaps
    exact = accountant.cost([repeated(SHARED, 4)], DELTA)
    assert both.epsilon == pytest.approx(exact.epsilon_pld, rel=1e-6)


def test_one_ledger_twice_is_refused(tmp_path) -> None:
    ledger = read_ledger(written(tmp_path, "plain"), Trust())
    with pytest.raises(UsageError, match="two ledgers of ulm: ward"):
        privacy_report([ledger, ledger])
    with pytest.raises(UsageError, match="one ledger at least"):
        privacy_report([])


def test_an_audit_is_shown_as_recorded(tmp_path) -> None:
    ledger = play(create(tmp_path), "first", TRAINING, 2)
    found = {"kind": "mechanism", "verdict": "PASS", "proven_epsilon": 1.44, "trials": 400_000,
             "empirical_epsilon": 0.65, "confidence": 0.95}  # fmt: skip
    ledger.record_audit(found)
    ledger.record_audit({"by": "somebody else"})
    ledger.close()
    report = privacy_report([read_ledger(tmp_path / "ulm.sqlite", Trust())]).ledgers[0]
    first, second = report.audits
    assert (first.verdict, first.empirical_epsilon, first.trials) == ("PASS", 0.65, 400_000)
    assert (second.verdict, second.recorded) == (None, '{"by":"somebody else"}')


@pytest.mark.parametrize("kind", KINDS)
def test_the_document_survives_its_json(all_kinds, kind) -> None:
    ledger = all_kinds[kind]
    assert LedgerReport.model_validate_json(ledger.model_dump_json()) == ledger


def test_the_key_and_where_it_is_from_are_named(all_kinds) -> None:
    integrity = all_kinds["plain"].integrity
    assert integrity.public_key == key_of("ulm").public_key().public_bytes_raw().hex()
    assert integrity.key_source == "ledger"
    assert any("made up the key" in one for one in integrity.words)
