"""The agent as a site deploys it: what it opens, which code it loads, whose messages it answers."""

from collections.abc import Callable
from dataclasses import dataclass

from client.home_opening import open_agent
from client.limits import apply_limits
from client.site_home import SiteHome
from federation.agreement_kinds import AnyAgreement
from federation.approvals import Approvals
from federation.site_policy import SitePolicy
from federation.task import Task
from federation.task_digest import distrust_cached_bytecode
from federation.task_loading import add_search_folder, load_task


@dataclass(frozen=True, slots=True)
class DeployedAgent:
    """What a site's agent process serves.

    Attributes:
        policy: of the site.
        answer: gives the signed reply to a request.
        refuse: gives the signed refusal of a request, for a code and a reason.
        is_approved: whether messages of the app bundle with this SHA-256 are answered; read anew
            each time, so that an approval that is taken back holds at once.
    """

    policy: SitePolicy
    answer: Callable[[bytes], bytes]
    refuse: Callable[[bytes, str, str], bytes]
    is_approved: Callable[[str], bool]


def open_deployed_agent(home: SiteHome) -> DeployedAgent:
    """Open the site's agent, with the operating system's randomness, within the policy's limits.

    Raises:
        HedgerowError: something in the home is missing, wrong or damaged, or an agent runs already.
    """
    policy = SitePolicy.read(home.policy)
    distrust_cached_bytecode()
    if home.tasks.is_dir():
        add_search_folder(home.tasks)
    agent = open_agent(home, home.ledger, _load)
    apply_limits(policy.limits)
    return DeployedAgent(policy, agent.answer, agent.refuse, bundle_gate(home))


def bundle_gate(home: SiteHome) -> Callable[[str], bool]:
    """Whether a bundle is approved, by the file as it is now."""
    return lambda digest: Approvals.read(home.approvals).is_approved(digest)


def _load(agreement: AnyAgreement) -> Task:
    """The task of an agreement; the agent has seen by then that the site approved its code."""
    return load_task(agreement.task.name, agreement.task.options)
