"""A site's agent as its own process, with the seed's batches and noise: for comparing models.

No command of the product starts such an agent behind a socket: noise that a seed repeats protects
nobody. So this stands with the tests.
"""

import signal
import sys
from pathlib import Path

from client.agent_service import AgentService
from client.home_opening import open_simulated_agent
from client.site_home import SiteHome
from federation.agreement_kinds import AnyAgreement
from federation.entropy import SeededEntropy
from federation.site_policy import SitePolicy
from federation.task import Task
from federation.task_loading import load_task


def main(home: Path, ledger: Path, seed: int) -> None:
    site = SiteHome(home)

    def load(agreement: AnyAgreement) -> Task:
        return load_task(agreement.task.name, agreement.task.options)

    agent = open_simulated_agent(site, ledger, load, SeededEntropy(seed))
    name = SitePolicy.read(site.policy).site
    service = AgentService(site.socket, name, agent.answer, bool)
    signal.signal(signal.SIGTERM, lambda *_: service.stopping.set())
    print(f"agent of {name} listens", flush=True)  # noqa: T201 - the test waits for it
    service.serve()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
