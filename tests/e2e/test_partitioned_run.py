"""A run over sites that a partition makes: what its agents hold, what is kept, what is refused."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from federation_in_process import Federation
from safetensors.torch import load

from client.data_audit import AuditChoice, audit
from client.site_home import SiteHome
from federation import config_file
from federation.errors import ConfigError, IntegrityError, UsageError
from federation.initial_model import initial_model
from federation.task import SiteRequest
from federation.task_loading import load_task
from hedgerow import command_line
from server.run_preparation import resolve as resolve_deployed
from server.window_evaluation import Asked
from simulations.baselines import baselines
from simulations.evaluation import evaluate
from simulations.partition.partition_file import read_partition, sha256
from simulations.partition.row_pool import chosen_rows, row_pool
from simulations.simulate import require_resumable, run
from simulations.simulated_task import _served, simulated_task
from simulations.sites import prepare, simulated_site

DIRICHLET = {"simulation": {"baselines": False, "partition": {"kind": "dirichlet", "alpha": 0.3}}}
FIVE = tuple(f"site-0{number}" for number in range(1, 6))


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    federation = Federation(tmp_path_factory.mktemp("runs"), DIRICHLET, "federation.sites=5")
    return federation, federation.play()


def facts_of(federation):
    return federation.folder.read_environment().partition


def test_the_run_names_its_sites_and_how_rows_were_shared_out(played) -> None:
    federation, outcome = played
    assert federation.config.federation.sites == FIVE == outcome.agreement.sites
    summary = federation.folder.read_summary()
    facts = summary.run.partition
    assert facts == facts_of(federation)
    assert facts.sha256 == sha256(federation.folder.partition.read_bytes())
    assert (facts.kind, facts.sites, facts.rows, facts.resampled) == ("dirichlet", 5, 920, False)
    assert facts.parameters == {"alpha": 0.3, "minimum_rows": 4, "held_out_share": 0.3}
    page = federation.folder.report.read_text()
    assert facts.text in page
    assert facts.sha256 in page


def test_agents_train_on_the_rows_that_the_file_names(played) -> None:
    federation, outcome = played
    saved = read_partition(federation.folder.partition, facts_of(federation).sha256)
    pool = row_pool(load_task("heart", {}))
    for index, site in enumerate(FIVE):
        agent = simulated_site(federation.folder.path, index).__self__
        held = agent._bench(outcome.agreement.run).data
        for rows, chosen in zip(
            (held.train, held.reference, held.current), saved.partition.of(site), strict=True
        ):
            named = chosen_rows(pool.rows, chosen)
            assert rows.targets.tolist() == named.targets.tolist()
            assert np.array_equal(rows.inputs.numpy(), named.inputs.numpy())
        assert outcome.agreement.public_rows[site] == len(held.train)


def test_the_same_seed_gives_the_same_partition_and_model_and_another_does_not(
    played, tmp_path
) -> None:
    federation, _ = played
    again = Federation(tmp_path / "again", DIRICHLET, "federation.sites=5")
    assert facts_of(again) == facts_of(federation)
    again.play()
    assert again.model == federation.model
    other = Federation(tmp_path / "other", DIRICHLET, "federation.sites=5", "run.seed=3")
    assert facts_of(other).sha256 != facts_of(federation).sha256


def test_yardsticks_are_over_the_same_sites(played) -> None:
    federation, outcome = played
    task = simulated_task(federation.folder, federation.config)
    model = initial_model(task, 2026)
    model.load_state_dict(load(federation.model))
    names = {one.name for one in baselines(task, outcome.agreement, model, 1)}
    assert {f"alone: {site}" for site in FIVE} < names
    assert sum(outcome.agreement.public_rows.values()) == sum(
        len(task.load(SiteRequest(site, 0)).train) for site in FIVE
    )


@pytest.fixture
def prepared(tmp_path):
    return Federation(tmp_path, DIRICHLET, "federation.sites=5")


def test_a_changed_partition_is_refused(prepared) -> None:
    content = bytearray(prepared.folder.partition.read_bytes())
    content[-300] ^= 4
    prepared.folder.partition.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"partition\.npz has SHA-256"):
        run(prepared.folder, prepared.config, lambda _: None)
    assert not prepared.folder.rounds.exists()


def test_a_partition_of_other_rows_is_refused(prepared, monkeypatch) -> None:
    changed = load_task("heart", {})
    one = changed.sites[0]
    honest = changed.load

    def load_other(request):
        data = honest(request)
        if request.site == one:
            data.train.targets[0] = 1 - data.train.targets[0]
        return data

    changed.load = load_other
    monkeypatch.setattr("simulations.simulated_task.load_task", lambda *_: changed)
    _served.cache_clear()
    with pytest.raises(IntegrityError, match="of other rows than the task has now"):
        simulated_task(prepared.folder, prepared.config)


def test_a_partition_cannot_be_changed_on_resuming(prepared) -> None:
    alpha = ["simulation.partition.alpha=0.9"]
    other = config_file.read(prepared.folder.config, alpha)
    with pytest.raises(UsageError, match=r"simulation\.partition cannot be changed"):
        require_resumable(prepared.folder, other)
    workers = config_file.read(prepared.folder.config, ["simulation.workers=1"])
    require_resumable(prepared.folder, workers)


def test_one_process_holds_the_rows_of_a_run_once(prepared) -> None:
    first = simulated_task(prepared.folder, prepared.config)
    assert simulated_task(prepared.folder, prepared.config) is first


def test_more_sites_than_there_are_rows_for_make_no_folder(tmp_path) -> None:
    table = {"simulation": {"partition": {"kind": "iid", "sites": 231}}}
    with pytest.raises(ConfigError, match="at most 230 for 920 rows") as refused:
        prepare(config_file.parse(table), tmp_path)
    assert "resample = true" in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_number_of_natural_sites_is_the_first_ones_of_the_task(tmp_path) -> None:
    three = Federation(tmp_path, {}, "federation.sites=3")
    assert three.config.federation.sites == ("cleveland", "hungary", "switzerland")
    assert facts_of(three) is None
    assert not three.folder.partition.exists()
    with pytest.raises(ConfigError, match="at most 4, the sites that the task has of its own"):
        Federation(tmp_path, {}, "federation.sites=5")


def test_resampled_rows_are_stamped(tmp_path) -> None:
    partition = {"kind": "iid", "rows_per_site": 200, "resample": True}
    federation = Federation(
        tmp_path,
        {"simulation": {"partition": partition, "baselines": False}, "run": {"rounds": 1}},
        "federation.sites=6",
    )
    federation.play()
    summary = federation.folder.read_summary()
    assert summary.run.partition.resampled
    assert summary.run.partition.rows == 1200
    assert "Resampled rows" in federation.folder.report.read_text()


def test_real_sites_cannot_be_shared_out_or_counted() -> None:
    named = config_file.parse(DIRICHLET, ["federation.sites=5"])
    with pytest.raises(ConfigError, match="these sites are real"):
        resolve_deployed(named, FIVE)
    with pytest.raises(ConfigError, match=r"federation\.sites = 5: expected names"):
        resolve_deployed(config_file.parse({"federation": {"sites": 5}}), FIVE)


def test_a_partitioned_site_is_not_audited_on_other_rows(prepared) -> None:
    home = SiteHome(prepared.folder.site_home("site-01"))
    with pytest.raises(UsageError, match="a site of a simulated partition"):
        audit(home, AuditChoice())


def test_windows_are_evaluated_at_the_sites_of_the_partition(tmp_path) -> None:
    federation = Federation(
        tmp_path,
        {
            "run": {"rounds": 1},
            "task": {"name": "acs-employment"},
            "privacy": {"noise_multiplier": 1.0, "delta": 1e-5},
            "site_policy": {"epsilon_budget": 50.0},
            "training": {"local_steps": 1, "sampling_rate": 0.01},
            "simulation": {"baselines": False, "partition": {"kind": "iid"}},
        },
        "federation.sites=3",
    )
    federation.play()
    federation.restart_agents()
    found = evaluate(federation.folder.path, Asked(("2018",), "2016"))
    task = simulated_task(federation.folder, federation.config)
    held_out = [task.load_window(SiteRequest(site, 0), "2018") for site in task.sites]
    (window,) = found.windows
    assert window.name == "2018"
    assert window.utility["overall"].rows == sum(map(len, held_out)) > 1000


# -- hedgerow partition show ---------------------------------------------------------------------


def show(*arguments: str) -> str:
    done = CliRunner().invoke(command_line("partition"), ["partition", "show", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_show_counts_a_runs_rows_as_the_file_has_them(played) -> None:
    federation, _ = played
    told = json.loads(show(str(federation.folder.path), "--json"))
    saved = read_partition(federation.folder.partition, facts_of(federation).sha256)
    assert list(told["sites"]) == list(FIVE)
    counts = [[site[name] for name in ("train", "reference", "current")]
              for site in told["sites"].values()]  # fmt: skip
    assert counts == saved.partition.lengths.tolist()
    assert sum(sum(site["labels"]) for site in told["sites"].values()) == 920
    assert told["partition"]["sha256"] == facts_of(federation).sha256


def test_show_of_settings_is_what_a_run_would_have(played) -> None:
    federation, _ = played
    asked = ["simulation.partition.kind=dirichlet", "simulation.partition.alpha=0.3"]
    settings = [part for one in (*asked, "federation.sites=5") for part in ("--set", one)]
    assert facts_of(federation).sha256 in show(*settings).replace("\n", "")


def test_show_lists_so_many_sites_and_no_more() -> None:
    told = show("--task", "digits", "--most", "2")
    assert "site-02" in told
    assert "site-03" not in told
    assert "the first 2 of 8 sites" in told
    assert "the task's own sites" in told


def test_show_reads_a_file_of_settings(tmp_path) -> None:
    path = tmp_path / "federation.toml"
    path.write_text('[federation]\nsites = 3\n[simulation.partition]\nkind = "time"\n')
    assert "time (held_out_share = 0.3" in show(str(path))
    shutil.rmtree(tmp_path)
