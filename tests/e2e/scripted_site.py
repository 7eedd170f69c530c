"""`hedgerow site up` as it is, over an agent with a script: `python scripted_site.py HOME`."""

import sys
from dataclasses import replace
from pathlib import Path

from client import site_processes
from client.site_home import SiteHome
from client.site_run_cli import _tell

AGENT = Path(__file__).with_name("scripted_agent.py")


def main(home: SiteHome) -> None:
    """Keep the scripted agent and the product's node up, as the command does."""
    children = site_processes.site_children

    def scripted(at: SiteHome):
        agent, *others = children(at)
        return replace(agent, command=(sys.executable, str(AGENT), str(at.path))), *others

    site_processes.site_children = scripted
    site_processes.require_joined(home)
    site_processes.keep_up(home, _tell)


if __name__ == "__main__":
    main(SiteHome(Path(sys.argv[1])))
