"""The agent as a site deploys it: what it opens, which code it loads, whose messages it answers."""

from collections.abc import Callable
from dataclasses import dataclass

from federation.approvals import Approvals
from federation.task_digest import task_digest

from client.consent import Refusal
from client.site_home import SiteHome, open_agent
from federation.agreement_kinds import AnyAgreement
from federation.json_log import JsonLog
from federation.site_policy import SitePolicy
from federation.task import Task
from federation.task_loading import add_search_folder, load_task


@dataclass(frozen=True, slots=True)
class DeployedAgent:
    """What a site's agent process serves.

    Attributes:
        site: its name.
        answer: gives the signed reply to a request.
        is_approved: whether messages of the app bundle with this SHA-256 are answered; read anew
            each time, so that an approval that is taken back holds at once.
    """

    site: str
    answer: Callable[[bytes], bytes]
    is_approved: Callable[[str], bool]


def open_deployed_agent(home: SiteHome, log: JsonLog) -> DeployedAgent:
    """Open the site's agent, with the operating system's randomness.

    Raises:
        HedgerowError: something in the home is missing, wrong or damaged, or an agent runs already.
    """
    policy = SitePolicy.read(home.policy)
    if home.tasks.is_dir():
        add_search_folder(home.tasks)
    agent = open_agent(home, home.ledger, approved_loader(home))
    log.info("agent_opened", site=policy.site)
    return DeployedAgent(policy.site, agent.answer, bundle_gate(home))


def bundle_gate(home: SiteHome) -> Callable[[str], bool]:
    """Whether a bundle is approved, by the file as it is now."""
    return lambda digest: Approvals.read(home.approvals).is_approved(digest)


def approved_loader(home: SiteHome) -> Callable[[AnyAgreement], Task]:
    """Loads tasks whose code is, byte for byte, what the site approved."""

    def load(agreement: AnyAgreement) -> Task:
        name = agreement.task.name
        approved = Approvals.read(home.approvals).tasks.get(name)
        # Before it is imported: importing runs it.
        if approved is None or approved.sha256 != task_digest(name):
            raise Refusal(
                "task_code_not_approved",
                f"this site has not approved the code that it has of the task {name}",
            )
        return load_task(name, agreement.task.options)

    return load
