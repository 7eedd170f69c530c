"""Realistic summaries to render: four hospitals under DP, and a run that went badly without it."""

import math

from federation.summary import (
    Baseline,
    Disparity,
    Drift,
    Estimate,
    Fairness,
    FairnessPoint,
    GroupRates,
    Privacy,
    Round,
    RunFacts,
    SecureSum,
    SiteAccount,
    Summary,
    Utility,
    UtilityPoint,
)

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
ROWS = {"cleveland": 212, "hungary": 206, "switzerland": 86, "va_long_beach": 140}


def share(value: float, rows: int) -> Estimate:
    half = 1.96 * math.sqrt(max(value * (1 - value), 0.002) / rows)
    return Estimate(value=value, low=max(0.0, value - half), high=min(1.0, value + half))


def bounds(value: float, half: float = 0.006) -> Estimate:
    return Estimate(
        value=value, low=max(0.0, value - half), high=min(1.0, value + half), kind="exact_bounds"
    )


def utility(accuracy: float, auc: float | None, log_loss: float, rows: int = 276) -> Utility:
    return Utility(
        rows=rows,
        accuracy=share(accuracy, rows),
        balanced_accuracy=accuracy - 0.006,
        log_loss=log_loss,
        brier=0.36 * log_loss,
        auc=Estimate(value=None, reason="one class only") if auc is None else bounds(auc),
    )


def hospitals() -> Summary:
    """Twenty rounds at epsilon 2 with system noise, two dropouts, suppressed groups, drift."""
    return Summary(
        run=RunFacts(
            id="20260301T093012Z-heart-a1b2c3",
            name="heart",
            status="completed",
            started="2026-03-01T09:30:12+00:00",
            finished="2026-03-01T09:34:31+00:00",
            seconds=201.4,
            resumed=1,
            backend="embedded",
            task="heart",
            seed=2026,
            rounds_planned=20,
            rounds_completed=20,
            sites=SITES,
            cohorts={"university": ("cleveland", "hungary", "switzerland")},
            positive_class="disease",
            config_digest="9f2c" * 16,
            model_sha256="41ab" * 16,
            model_parameters=27,
            versions={"hedgerow": "0.1.0", "flwr": "1.41.0", "torch": "2.9.1", "opacus": "1.6.0"},
        ),
        privacy=_record_privacy(),
        secure_sum=SecureSum(
            threshold=3,
            quorum=3,
            ring_bits=(16, 32),
            words=12_846,
            upload_bytes_per_site=25_980,
            exchanges_per_round=3,
            tolerated_colluders=1,
            roster_digest="c0ff" * 16,
            rules_digest="d1ce" * 16,
        ),
        rounds=_rounds(),
        utility=_utility(),
        fairness=(_fairness("overall", 1.0), _fairness("university", 0.6)),
        fairness_by_round=tuple(
            FairnessPoint(after_round=k, scope=scope, disparities=_fairness(scope, 1.0).disparities)
            for k in range(21)
            for scope in ("overall", "university")
        ),
        drift=_drift("overall", 1.0) + _drift("university", 0.4),
        baselines=_baselines(),
        notes=(
            "the set of survivors changed between rounds: a lost site's counts can be subtracted",
        ),
    )


def stopped_without_privacy() -> Summary:
    """Two of ten rounds, ten classes, no attribute, no drift, privacy off; odd names throughout."""
    base = hospitals()
    flat = utility(0.112, None, 2.31, rows=540)
    return base.model_copy(
        update={
            "run": base.run.model_copy(
                update={
                    "id": "20260301T101500Z-digits-ffee00",
                    "name": "digits <b>&amp;</b>",
                    "status": "stopped",
                    "stopped_because": "round 3: 2 of 4 sites left <script>alert(1)</script>",
                    "rounds_planned": 10,
                    "rounds_completed": 2,
                    "resumed": 0,
                    "seed": None,
                    "task": "digits",
                    "cohorts": {},
                    "positive_class": "",
                }
            ),
            "privacy": base.privacy.model_copy(
                update={
                    "mode": "off",
                    "delta": None,
                    "target_epsilon": None,
                    "noise_multiplier": None,
                    "max_grad_norm": None,
                    "noise_source": "none",
                    "covered": (),
                    "not_covered": (
                        "Nothing bounds what the released model reveals about a record.",
                    ),
                    "sites": {
                        name: account.model_copy(
                            update={
                                "epsilon_spent": None,
                                "epsilon_pld": None,
                                "epsilon_rdp": None,
                                "epsilon_budget": None,
                            }
                        )
                        for name, account in base.privacy.sites.items()
                    },
                }
            ),
            "rounds": (
                base.rounds[0],
                base.rounds[1],
                Round(
                    round=3,
                    kind="train",
                    status="failed",
                    reason="2 of 4 sites left, quorum 3",
                    attempts=2,
                    dropped={
                        "hungary": "train: no answer in 120 s",
                        "switzerland": "sign: refused",
                    },
                    seconds=241.0,
                ),
            ),
            "utility": (
                UtilityPoint(after_round=0, sites=4, overall=flat, cohorts={}),
                UtilityPoint(
                    after_round=2, sites=4, overall=utility(0.31, 0.71, 2.02, 540), cohorts={}
                ),
            ),
            "fairness": (),
            "fairness_by_round": (),
            "drift": (),
            "baselines": (),
            "notes": (),
        }
    )


def _record_privacy() -> Privacy:
    spent = {"cleveland": 1.981, "hungary": 1.981, "switzerland": 1.981, "va_long_beach": 1.882}
    return Privacy(
        mode="record",
        delta=1e-3,
        target_epsilon=2.0,
        noise_multiplier=2.4173828125,
        max_grad_norm=1.0,
        sampling_rate=0.25,
        steps=60,
        unit="record",
        neighbouring_relation="add or remove one record",
        noise_source="operating system",
        sites={
            name: SiteAccount(
                public_rows=ROWS[name],
                expected_batch_size=ROWS[name] / 4,
                delta=1e-3,
                epsilon_spent=epsilon,
                epsilon_pld=epsilon,
                epsilon_rdp=epsilon * 1.11,
                epsilon_budget=3.0 if name != "va_long_beach" else 2.0,
                reserved=20 if name != "va_long_beach" else 19,
                committed=20 if name != "va_long_beach" else 18,
                voided=0 if name != "va_long_beach" else 1,
                refused=0,
                ledger_head=f"{41 + index}:" + "5e9d" * 16,
            )
            for index, (name, epsilon) in enumerate(spent.items())
        },
        covered=(
            "Model and updates are (2, 0.001)-differentially private per record over all 60 steps.",
            "The coordinator learns sums over at least 3 sites, never one site's vector.",
        ),
        not_covered=(
            "Counts behind evaluation, fairness and drift carry no noise: exact sums over 3 sites.",
            "The number of rows per site is public.",
            "A person with records at several sites is protected at each site separately.",
            "Settings found by trying several runs on the same rows cost extra, in the ledger.",
        ),
    )


def _rounds() -> tuple[Round, ...]:
    dropped = {
        7: {"va_long_beach": "train: no answer within 120 s"},
        13: {"switzerland": "share: connection lost"},
    }
    rounds = [
        Round(
            round=number,
            kind="train",
            status="completed",
            attempts=2 if number == 7 else 1,
            exchanges=5 if number in {1, 7} else 3,
            survivors=tuple(site for site in SITES if site not in dropped.get(number, {})),
            dropped=dropped.get(number, {}),
            seconds=9.2 + 0.1 * (number % 4) + (120 if number == 7 else 0),
            update_norm=1.9 * 0.93**number,
        )
        for number in range(1, 21)
    ]
    last = Round(
        round=21, kind="evaluate", status="completed", exchanges=3, survivors=SITES, seconds=4.1
    )
    return (*rounds, last)


def _utility() -> tuple[UtilityPoint, ...]:
    points = []
    for number in range(21):
        grown = 1 - math.exp(-number / 4)
        wobble = 0.008 * math.sin(2.1 * number)
        points.append(
            UtilityPoint(
                after_round=number,
                sites=4,
                overall=utility(
                    0.55 + 0.245 * grown + wobble,
                    0.50 + 0.368 * grown + wobble / 2,
                    0.693 - 0.26 * grown,
                ),
                cohorts={
                    "university": utility(
                        0.62 + 0.20 * grown - wobble, 0.5 + 0.4 * grown, 0.693 - 0.3 * grown, 124
                    ),
                },
            )
        )
    return tuple(points)


def _group(attribute: str, group: str, rows: int, level: float) -> GroupRates:
    return GroupRates(
        attribute=attribute,
        group=group,
        rows=rows,
        positives=round(rows * level),
        selection_rate=share(level, rows),
        true_positive_rate=share(0.6 + 0.35 * level, max(1, round(rows * level))),
        false_positive_rate=share(0.1 + 0.3 * level, max(1, round(rows * (1 - level)))),
        precision=share(0.8, max(1, round(rows * level))),
        accuracy=share(0.8, rows),
        auc=bounds(0.86),
    )


def _fairness(scope: str, scale: float) -> Fairness:
    none = Estimate(value=None, reason="no negatives in group")
    return Fairness(
        scope=scope,
        groups=(
            _group("sex", "female", round(62 * scale), 0.22),
            _group("sex", "male", round(214 * scale), 0.63),
            _group("age_group", "under 50", round(84 * scale), 0.36),
            _group("age_group", "50 to 59", round(118 * scale), 0.56),
            _group("age_group", "60 and over", round(60 * scale), 0.7).model_copy(
                update={"false_positive_rate": none, "auc": none}
            ),
            GroupRates(
                attribute="age_group", group="unknown", rows=0, positives=None, suppressed=True
            ),
            GroupRates(
                attribute="sex & age_group",
                group="female & 60 and over",
                rows=0,
                positives=None,
                suppressed=True,
            ),
            _group("sex & age_group", "male & 60 and over", round(44 * scale), 0.75),
        ),
        disparities=(
            Disparity(
                attribute="sex",
                metric="demographic_parity_difference",
                estimate=Estimate(value=0.41, low=0.28, high=0.53),
                null_expectation=0.057,
                between=("female", "male"),
            ),
            Disparity(
                attribute="sex",
                metric="demographic_parity_ratio",
                estimate=Estimate(value=0.35, low=0.21, high=0.51),
                null_expectation=0.9,
                between=("female", "male"),
            ),
            Disparity(
                attribute="sex",
                metric="equalized_odds_difference",
                estimate=Estimate(value=0.21, low=0.05, high=0.41),
                null_expectation=0.11,
                between=("female", "male"),
            ),
            Disparity(
                attribute="age_group",
                metric="demographic_parity_difference",
                estimate=Estimate(value=0.34, low=0.19, high=0.48),
                null_expectation=0.08,
                between=("under 50", "60 and over"),
            ),
            Disparity(
                attribute="age_group",
                metric="equal_opportunity_difference",
                estimate=Estimate(value=None, reason="no positives in group unknown"),
            ),
        ),
    )


def _drift(scope: str, scale: float) -> tuple[Drift, ...]:
    labels = (*tuple(f"{28 + 5 * i} to {33 + 5 * i}" for i in range(9)), "missing")
    reference = (0.03, 0.06, 0.10, 0.15, 0.18, 0.17, 0.14, 0.09, 0.06, 0.02)
    moved = (0.01, 0.02, 0.05, 0.10, 0.15, 0.19, 0.20, 0.14, 0.10, 0.04)
    broken = (0.01, 0.02, 0.04, 0.06, 0.09, 0.10, 0.09, 0.07, 0.05, 0.47)

    def one(feature: str, psi: float | None, verdict: str, current: tuple[float, ...]) -> Drift:
        return Drift.model_validate(
            {
                "scope": scope,
                "feature": feature,
                "rows_reference": round(138 * scale),
                "rows_current": round(138 * scale),
                "psi": psi,
                "psi_critical": 0.192 / scale,
                "ks": None if psi is None else min(1.0, 0.4 * psi**0.5),
                "jensen_shannon": None if psi is None else min(1.0, 0.3 * psi**0.5),
                "missing_reference": reference[-1],
                "missing_current": current[-1],
                "outside_reference": 0.0,
                "outside_current": 0.004,
                "verdict": verdict,
                "bins": labels,
                "reference": reference,
                "current": current,
            }
        )

    if scope == "university":
        return (one("age", 0.11, "window too small", moved), one("chol", 0.9, "act", broken))
    return (
        one("age", 0.211, "watch", moved),
        one("trestbps", 0.031, "ok", reference),
        one("chol", 1.34, "act", broken),
        one("thalach", 0.00041, "ok", reference),
        one("oldpeak", None, "window too small", moved),
    )


def _baselines() -> tuple[Baseline, ...]:
    alone = {
        "cleveland": (0.801, 0.842, 0.878, 0.879),
        "hungary": (0.793, 0.851, 0.862, 0.898),
        "switzerland": (0.641, 0.713, 0.750, 0.767),
        "va_long_beach": (0.702, 0.745, 0.675, 0.757),
    }
    return (
        Baseline(
            name="majority class",
            description="always answers the most frequent class",
            simulation_only=False,
            utility=utility(0.552, 0.5, 0.688),
        ),
        *(
            Baseline(
                name=f"alone: {site}",
                description=f"trained on the rows of {site} only, same settings and noise",
                simulation_only=True,
                utility=utility(accuracy, auc, 0.52),
                on_own_rows=utility(accuracy, own, 0.5, rows=round(ROWS[site] * 0.43)),
                federated_on_own_rows=utility(0.8, joint, 0.45, rows=round(ROWS[site] * 0.43)),
            )
            for site, (accuracy, auc, own, joint) in alone.items()
        ),
        Baseline(
            name="centralized",
            description="all rows in one place, no noise",
            simulation_only=True,
            utility=utility(0.808, 0.884, 0.412),
        ),
        Baseline(
            name="centralized with the same DP",
            description="all rows in one place, same clipping, noise and steps",
            simulation_only=True,
            utility=utility(0.804, 0.876, 0.425),
        ),
        Baseline(
            name="federated",
            description="this run's model",
            simulation_only=False,
            utility=_utility()[-1].overall,
        ),
    )
