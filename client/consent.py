"""Does this site take part in this run, by its own policy? Every floor the site sets is here."""

from federation.agreement import Agreement
from federation.analytics_agreement import AnyAgreement
from federation.config import TaskChoice
from federation.errors import PrivacyRefusal
from federation.site_policy import SitePolicy


class Refusal(PrivacyRefusal):
    """The site will not; `code` is one word for machines, the text reveals nothing about rows."""

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        super().__init__(reason)


def check_agreement(policy: SitePolicy, roster_sites: frozenset[str], agreement: Agreement) -> None:
    """Return if the site may take part.

    Raises:
        Refusal: the first of the site's own rules that the agreement breaks.
    """
    check_task(policy, agreement.task)
    check_cohort(policy, roster_sites, agreement)
    _check_privacy(policy, agreement)


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
    rules = agreement.federation
    if policy.site not in agreement.sites:
        raise Refusal("not_invited", "this site is not among the sites of the agreement")
    strangers = sorted(set(agreement.sites) - roster_sites)
    if strangers:
        raise Refusal("unknown_site", f"not in this site's roster: {', '.join(strangers)}")
    if rules.quorum < policy.minimum_quorum:
        raise Refusal(
            "quorum_too_small",
            f"quorum {rules.quorum} is below this site's minimum, {policy.minimum_quorum}",
        )
    if rules.threshold < policy.minimum_threshold:
        raise Refusal(
            "threshold_too_small",
            f"threshold {rules.threshold} is below this site's minimum, {policy.minimum_threshold}",
        )
    if agreement.minimum_contributors < policy.minimum_contributors:
        raise Refusal(
            "cohorts_too_small",
            f"minimum_contributors {agreement.minimum_contributors} is below this "
            f"site's minimum, {policy.minimum_contributors}",
        )
    small = [group for group in agreement.groups if len(group) < policy.minimum_contributors]
    if small:
        raise Refusal("cohorts_too_small", f"the cohort {', '.join(small[0])} is too small")


def _check_privacy(policy: SitePolicy, agreement: Agreement) -> None:
    if agreement.public_rows.get(policy.site) != policy.public_rows:
        raise Refusal(
            "public_rows_differ", f"this site declares {policy.public_rows} rows in public"
        )
    if agreement.privacy is None:
        if not policy.allow_without_privacy:
            raise Refusal("privacy_required", "this site does not train without privacy")
        return
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
