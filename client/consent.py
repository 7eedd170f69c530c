"""Does this site take part in this run? Every floor is here: the site's own and the consortium's.

Where both set one, the stricter holds: each is checked by itself.
"""

from federation.agreement import Agreement
from federation.agreement_kinds import AnyAgreement
from federation.config import TaskChoice
from federation.errors import ConfigError, IntegrityError, PrivacyRefusal
from federation.roster import Roster
from federation.run_rules import RunRules, SignedRunRules
from federation.section import FEWEST_SITES
from federation.site_policy import SitePolicy
from federation.sum_groups import smallest_sum_group
from federation.training_choice import require_state_safe
from privacy.run_plan import noise_in_the_sum

SITES_OWN, CONSORTIUMS = "this site's", "the consortium's"
"""Whose floor it is, in a refusal."""


class Refusal(PrivacyRefusal):
    """The site will not; `code` is one word for machines, the text reveals nothing about rows."""

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        super().__init__(reason)


def check_certificates(roster: Roster, now: float) -> None:
    """Return if every site's key is still certified; an agent may run for years.

    Args:
        roster: that the site holds.
        now: seconds since the epoch.

    Raises:
        Refusal: a certificate has expired.
    """
    try:
        roster.require_current(int(now))
    except IntegrityError as error:
        raise Refusal("certificate_not_current", str(error)) from error


def check_hours(policy: SitePolicy, now: float) -> None:
    """Return if the site begins work now.

    Args:
        policy: the site's own rules.
        now: seconds since the epoch.

    Raises:
        Refusal: it does not; the text does not say when it would.
    """
    if not policy.is_open(now):
        raise Refusal("outside_hours", "this site begins no work at this hour")


def check_agreement(
    policy: SitePolicy, signed: SignedRunRules, roster_sites: frozenset[str], agreement: Agreement
) -> None:
    """Return if the site may take part.

    Args:
        policy: the site's own rules.
        signed: the consortium's rules, as installed at the site.
        roster_sites: whom the site knows.
        agreement: what the coordinator proposes.

    Raises:
        Refusal: the first of these rules that the agreement breaks.
    """
    check_task(policy, agreement.task)
    check_cohort(policy, roster_sites, agreement)
    if policy.most_rounds is not None:
        _check_rounds(SITES_OWN, policy.most_rounds, agreement)
    _check_privacy(policy, agreement)
    _check_site_level(policy, agreement)
    _check_site_state(agreement)
    _check_noise_in_the_sum(policy, agreement)
    if agreement.counts_exactly and not policy.exact_evaluations_per_window:
        raise Refusal(
            "exact_not_allowed",
            "this site's held-out rows are counted with noise only: set evaluation.epsilon",
        )
    check_graph(policy, agreement)
    _check_run_rules(signed, agreement)


def check_task(policy: SitePolicy, task: TaskChoice) -> None:
    """Return if the site runs the task, with these options.

    Raises:
        Refusal: it does not.
    """
    if task.name not in policy.tasks:
        raise Refusal("task_not_allowed", f"this site does not run the task {task.name}")
    if task.options != policy.task_options.get(task.name, {}):
        # An option can choose which rows are held out, and those are counted without noise.
        raise Refusal(
            "task_options_differ",
            f"this site runs the task {task.name} with options of its own only",
        )


def check_cohort(policy: SitePolicy, roster_sites: frozenset[str], agreement: AnyAgreement) -> None:
    """Return if the site's rows may be added to those of these sites.

    Raises:
        Refusal: strangers among them, or too few that must be left.
    """
    if policy.site not in agreement.sites:
        raise Refusal("not_invited", "this site is not among the sites of the agreement")
    strangers = sorted(set(agreement.sites) - roster_sites)
    if strangers:
        raise Refusal("unknown_site", f"not in this site's roster: {', '.join(strangers)}")
    _check_groups(agreement)
    minima = policy.minimum_quorum, policy.minimum_threshold, policy.minimum_contributors
    _check_minima(SITES_OWN, minima, agreement)


def _check_minima(whose: str, minima: tuple[int, int, int], agreement: AnyAgreement) -> None:
    """Return if quorum, threshold and contributors to a cohort are at least these three."""
    rules, group = agreement.federation, smallest_sum_group(agreement)
    quorum, threshold, contributors = minima
    # The floors hold for each sum: where sites sum in groups, for the smallest group's.
    least_quorum = min(rules.quorum, group.quorum)
    least_threshold = min(rules.threshold, group.threshold)
    if least_quorum < quorum:
        raise Refusal(
            "quorum_too_small", f"quorum {least_quorum} is below {whose} minimum, {quorum}"
        )
    if least_threshold < threshold:
        raise Refusal(
            "threshold_too_small",
            f"threshold {least_threshold} is below {whose} minimum, {threshold}",
        )
    if agreement.minimum_contributors < contributors:
        raise Refusal(
            "cohorts_too_small",
            f"minimum_contributors {agreement.minimum_contributors} is below {whose} "
            f"minimum, {contributors}",
        )
    small = [group for group in agreement.groups if len(group) < contributors]
    if small:
        raise Refusal(
            "cohorts_too_small",
            f"the cohort {', '.join(small[0])} is below {whose} minimum, {contributors} sites",
        )


def _check_groups(agreement: AnyAgreement) -> None:
    """Whatever is summed in groups is opened by a group's quorum."""
    if not isinstance(agreement, Agreement) or not agreement.robustness.is_grouped:
        return
    if agreement.cohorts or agreement.noise_in_the_sum is not None:
        raise Refusal(
            "groups_impossible", "sums in random groups go with no cohorts and no noise in the sum"
        )
    group = smallest_sum_group(agreement)
    if len(group.sites) < FEWEST_SITES:
        raise Refusal("groups_too_small", f"a group of {len(group.sites)} would give a site away")


def _check_privacy(policy: SitePolicy, agreement: Agreement) -> None:
    if agreement.public_rows.get(policy.site) != policy.public_rows:
        raise Refusal(
            "public_rows_differ", f"this site declares {policy.public_rows} rows in public"
        )
    if agreement.privacy is None:
        if not policy.allow_without_privacy:
            raise Refusal("privacy_required", "this site does not train without privacy")
        return
    _check_noise(SITES_OWN, policy.least_noise_multiplier, agreement.privacy.noise_multiplier)
    if agreement.privacy.delta > policy.delta:
        raise Refusal(
            "delta_too_large",
            f"delta {agreement.privacy.delta:g} is above this site's, {policy.delta:g}",
        )
    if agreement.privacy.delta > 1 / policy.public_rows:
        raise Refusal(
            "delta_too_large",
            f"delta {agreement.privacy.delta:g} is above 1 / {policy.public_rows} declared rows: "
            "it would permit giving a whole record away",
        )


def _check_site_level(policy: SitePolicy, agreement: Agreement) -> None:
    terms = agreement.site_level
    if terms is None:
        if policy.site_level_epsilon_budget is not None:
            raise Refusal(
                "site_level_required", "this site gives no update without site-level noise"
            )
        return
    if policy.site_level_delta is not None and terms.delta > policy.site_level_delta:
        raise Refusal(
            "delta_too_large",
            f"site_level.delta {terms.delta:g} is above this site's, {policy.site_level_delta:g}",
        )


def _check_noise_in_the_sum(policy: SitePolicy, agreement: Agreement) -> None:
    shared = agreement.privacy.shared if agreement.privacy else None
    if shared is not None and agreement.site_level is not None:
        raise Refusal("noise_impossible", "a sum carries the noise of one unit of privacy")
    if shared is not None and not policy.allow_shared_noise:
        raise Refusal(
            "shared_noise",
            "this site adds the whole noise that hides its records to its own gradients: "
            "allow_shared_noise is not set",
        )
    terms = agreement.noise_in_the_sum
    if terms is None:
        return
    try:
        plan = noise_in_the_sum(agreement)
    except ConfigError as error:
        raise Refusal("noise_impossible", str(error)) from error
    if plan is None or plan.largest_code != terms.largest_code:
        raise Refusal("noise_impossible", "largest_code is not what the noise plan says")


def _check_site_state(agreement: Agreement) -> None:
    """Whatever the coordinator's own checks said: what a site keeps must not undo its noise."""
    shared = agreement.privacy.shared if agreement.privacy else None
    try:
        require_state_safe(
            agreement.training,
            shared_noise=shared is not None,
            site_level=agreement.site_level is not None,
            grouped=agreement.robustness.is_grouped,
        )
    except ConfigError as error:
        raise Refusal("site_state_impossible", str(error)) from error


def check_graph(policy: SitePolicy, agreement: AnyAgreement) -> None:
    """Return if the site masks with as many of the others as the agreement says.

    Raises:
        Refusal: it masks with all of them only.
    """
    if agreement.federation.neighbours is not None and not policy.allow_sparse_graph:
        raise Refusal(
            "sparse_graph", "this site masks with all other sites: allow_sparse_graph is not set"
        )


def check_common_rules(signed: SignedRunRules, agreement: AnyAgreement) -> None:
    """Return if the agreement keeps to what the consortium demands of runs of either sort.

    Raises:
        Refusal: it names other run rules than the site holds, or too few sites may be left.
    """
    rules = signed.rules
    if agreement.rules_digest != signed.digest():
        raise Refusal(
            "run_rules_differ",
            f"this site holds version {rules.version} of the consortium's run rules, "
            f"{signed.digest()[:16]}..., and the agreement names {agreement.rules_digest[:16]}...",
        )
    minima = rules.minimum_quorum, rules.minimum_threshold, rules.minimum_contributors
    _check_minima(CONSORTIUMS, minima, agreement)


def _check_run_rules(signed: SignedRunRules, agreement: Agreement) -> None:
    check_common_rules(signed, agreement)
    rules = signed.rules
    _check_work(rules, agreement)
    whole = agreement.site_level.noise_multiplier if agreement.site_level else 0.0
    if whole < rules.least_site_level_noise_multiplier:
        raise Refusal(
            "noise_too_small",
            f"site-level noise of {whole:g} is below the consortium's minimum, "
            f"{rules.least_site_level_noise_multiplier:g}",
        )
    if agreement.privacy is None:
        if not rules.allow_without_privacy:
            raise Refusal(
                "privacy_required", "the consortium does not allow training without privacy"
            )
        return
    least = rules.least_noise_multiplier
    _check_noise(CONSORTIUMS, least, agreement.privacy.noise_multiplier)


def _check_noise(whose: str, least: float, agreed: float) -> None:
    if agreed < least:
        raise Refusal(
            "noise_too_small", f"noise_multiplier {agreed:g} is below {whose} minimum, {least:g}"
        )


def _check_rounds(whose: str, most: int, agreement: Agreement) -> None:
    if agreement.rounds > most:
        raise Refusal(
            "too_many_rounds",
            f"{agreement.rounds} rounds are above {whose} maximum, {most}",
        )


def _check_work(rules: RunRules, agreement: Agreement) -> None:
    _check_rounds(CONSORTIUMS, rules.most_rounds, agreement)
    if agreement.training.update_clip > rules.largest_update_clip:
        raise Refusal(
            "update_clip_too_large",
            f"update_clip {agreement.training.update_clip:g} is above the consortium's maximum, "
            f"{rules.largest_update_clip:g}",
        )
    if agreement.ring_bits not in rules.ring_bits:
        allowed = ", ".join(str(bits) for bits in rules.ring_bits)
        raise Refusal(
            "ring_not_allowed",
            f"a ring of {agreement.ring_bits} bits is not one the consortium allows: {allowed}",
        )
