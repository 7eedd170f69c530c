"""Stands for a SuperLink and its processes: ServerApp, couriers and agents run in this one.

What the coordinator's commands call of `FlowerControl` is here; the app bundle's own settings, the
ServerApp, the couriers and the sites' agents are those of a deployment.
"""

import gc
import sys
import tomllib
import zipfile
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from flwr.app import Context, RecordDict

from client.courier import client_app
from client.home_opening import open_simulated_agent
from client.site_home import SiteHome
from federation.entropy import SeededEntropy
from federation.task_loading import load_task
from server import app as serverapp
from server.flower_control import FlowerRun

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
from in_process_grid import InProcessGrid


class PushedGrid(InProcessGrid):
    """Delivers what is pushed at once; replies wait to be pulled."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self._waiting = {}

    def push_messages(self, messages):
        pushed = []
        for message in messages:
            reply = self.deliver(message)
            pushed.append(message.metadata.message_id)
            self._waiting[pushed[-1]] = reply
        return pushed

    def pull_messages(self, message_ids):
        return [self._waiting.pop(one) for one in list(message_ids) if one in self._waiting]


class SuperLinkInProcess:
    """Plays what is submitted, at once.

    Attributes:
        submitted: settings of every run.
        before: called before a ServerApp starts; what it raises is how the process dies.
    """

    def __init__(self, homes: dict[str, Path], seed: int) -> None:
        self._homes, self._seed = homes, seed
        self.submitted: list[dict[str, str]] = []
        self._runs: list[FlowerRun] = []
        self.before = lambda settings: None

    @contextmanager
    def control(self, *_):
        yield self

    def nodes(self):
        return ()

    def runs(self, limit=20):
        return tuple(reversed(self._runs))

    def run(self, number: int) -> FlowerRun:
        return self._runs[number]

    def stop_run(self, number: int) -> bool:
        return False

    def log(self, number: int) -> str:
        return ""

    def start_run(self, bundle: bytes, settings: dict[str, str]) -> int:
        with zipfile.ZipFile(BytesIO(bundle)) as files:
            declared = tomllib.loads(files.read("pyproject.toml").decode())
        defaults = declared["tool"]["flwr"]["app"]["config"]
        assert set(settings) <= set(defaults)
        self.submitted.append(dict(settings))
        agents = [self._agent(home) for home in self._homes.values()]

        def connect(context: Context):
            return agents[int(context.node_config["partition-id"])].answer

        grid = PushedGrid(client_app(connect), len(agents))
        how, why = "completed", ""
        try:
            self.before(settings)
            serverapp.app(grid, Context(7, 1, {}, RecordDict(), defaults | settings))
        except Exception as error:  # noqa: BLE001 - as Flower does
            how, why = "failed", str(error)
        finally:
            agents.clear()
            gc.collect()  # an agent holds its home's lock until it is gone
        number = len(self._runs)
        self._runs.append(FlowerRun(number, "finished", how, why, dict(settings), "00"))
        return number

    def _agent(self, home: Path):
        site = SiteHome(home)

        def load(agreement):
            return load_task(agreement.task.name, agreement.task.options)

        return open_simulated_agent(site, home / "ledger.sqlite", load, SeededEntropy(self._seed))
