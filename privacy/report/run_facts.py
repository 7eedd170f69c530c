"""What a run's summary adds to its ledgers: whether noise was there, whom the model serves."""

from federation.summary import GroupRates, Round, Summary
from privacy.report.document import GroupUtility, NoiseRound, RunFacts


def run_facts(summary: Summary) -> RunFacts:
    """Of one run."""
    points = sorted(summary.utility, key=lambda point: point.after_round)
    last = points[-1].overall if points else None
    return RunFacts(
        run=summary.run.id,
        task=summary.run.task,
        status=summary.run.status,
        noise_source=summary.privacy.noise_source,
        rows=last.rows if last else None,
        accuracy=last.accuracy.value if last else None,
        noise=tuple(_noise(one) for one in summary.rounds if one.noise is not None),
        groups=tuple(
            _group(group)
            for scope in summary.fairness
            if scope.scope == "overall"
            for group in scope.groups
        ),
    )


def _noise(one: Round) -> NoiseRound:
    assert one.noise is not None
    return NoiseRound(
        round=one.round,
        noise_multiplier=one.noise.noise_multiplier,
        ratio=one.noise.ratio,
        p_value=one.noise.p_value,
        alarm=one.noise.alarm,
        too_little=one.noise.too_little,
    )


def _group(rates: GroupRates) -> GroupUtility:
    note = "suppressed" if rates.suppressed else ""
    return GroupUtility(
        attribute=rates.attribute,
        group=rates.group,
        rows=rates.rows,
        accuracy=rates.accuracy.value if rates.accuracy else None,
        auc=rates.auc.value if rates.auc else None,
        note=f"{note}: {rates.reason}" if note and rates.reason else note or rates.reason,
    )
