"""`hedgerow site audit-data` at the heart task's sites and at a site with a table of its own."""

import csv
import io
import json
import pickle
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from client.audit_predictions import by_model, out_of_fold
from client.audit_rows import audit_data
from client.data_audit import AuditChoice, audit, doubtful_rows_csv, write_audit
from client.site_home import SiteHome
from evaluation.audit.document import SiteAudit
from evaluation.audit.rows import SPLITS
from federation.errors import ConfigError, DataError, UsageError
from federation.initial_model import initial_model
from federation.schema import Numeric, SensitiveAttribute
from federation.site_policy import SitePolicy
from federation.tabular import TabularTask
from federation.task import AnnotatedTask, SiteRequest
from simulations.tasks.digits import DigitsTask
from simulations.tasks.heart import HeartTask

# typer asks click for names that click deprecates; both are imported late, under this filter.
pytestmark = pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")

HEART = HeartTask()


def home_of(folder: Path, site="hungary", tasks=("heart",), options=None) -> SiteHome:
    folder.mkdir()
    policy = SitePolicy(
        site=site, dataset=f"rows/{site}", public_rows=100, tasks=tasks, split_seed=1,
        task_options=options or {}, epsilon_budget=4.0, delta=1e-3,
    )  # fmt: skip
    home = SiteHome(folder)
    policy.write(home.policy)
    return home


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> SiteHome:
    return home_of(tmp_path_factory.mktemp("site") / "hungary")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    save_file(initial_model(HEART, 1).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def document(home, model) -> SiteAudit:
    return audit(home, AuditChoice(model=model))


def call(*arguments: object):
    from typer.testing import CliRunner  # noqa: PLC0415 - see pytestmark

    from client.site_cli import app  # noqa: PLC0415 - see pytestmark

    return CliRunner().invoke(app, ["audit-data", *map(str, arguments)])


def test_the_command_writes_three_private_files(home, model, tmp_path, document) -> None:
    outcome = call(home.path, "--model", model, "--out", tmp_path / "audit")
    assert outcome.exit_code == 0, outcome.output
    assert "Missing values" in outcome.output
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o700
    files = sorted((tmp_path / "audit").iterdir())
    assert [file.name for file in files] == ["audit.html", "audit.json", "uncertain.csv"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    written = (tmp_path / "audit" / "audit.json").read_text()
    assert SiteAudit.model_validate_json(written) == document
    assert json.loads(written)["schema_id"] == "hedgerow/site-audit/1"


def test_json_prints_and_writes_nothing(home, model, document) -> None:
    before = set(home.path.rglob("*"))
    outcome = call(home.path, "--model", model, "--json")
    assert SiteAudit.model_validate_json(outcome.output) == document
    assert set(home.path.rglob("*")) == before


def test_a_folder_of_the_users_keeps_its_mode(document, tmp_path) -> None:
    tmp_path.chmod(0o755)
    write_audit(document, tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose --out"):
        write_audit(document, tmp_path / "file" / "audit")


def test_the_counts_are_those_of_the_table(document) -> None:
    data = HEART.load(SiteRequest("hungary", 1))
    columns = {column.name: column for column in document.columns}
    for name, column in columns.items():
        every = np.concatenate([getattr(data, split).features[name] for split in SPLITS])
        assert column.missing == np.isnan(every).sum()
    assert [sum(split.labels) for split in document.splits] == [
        len(getattr(data, split)) for split in SPLITS
    ]
    assert columns["ca"].verdict == "act"  # 291 of 294 have none
    assert document.predictions.splits == ("reference", "current")


def test_the_list_names_rows_of_the_table(document) -> None:
    table = pd.read_csv("simulations/tasks/data/heart.csv", dtype=str)
    rows = list(csv.DictReader(io.StringIO(doubtful_rows_csv(document))))
    assert rows
    for row in rows:
        there = table.iloc[int(row["table_row"]) - 1]
        assert (there["site"], there["disease"]) == ("hungary", row["given"])
    uncertain = [float(row["margin"]) for row in rows if row["list"] == "most uncertain"]
    assert uncertain == sorted(uncertain)
    assert len(uncertain) == 50


@pytest.mark.parametrize("task", [HEART, HeartTask(model="boosted_trees")])
def test_out_of_fold_predictions_beat_guessing_and_repeat(task) -> None:
    request = SiteRequest("cleveland", 1)
    data = task.load(request)
    rows = audit_data(task, data, request, None)
    first, second = (out_of_fold(task, data, rows, seed=1) for _ in range(2))
    assert first.folds == 5
    predicted = np.concatenate([first.probabilities[split].argmax(1) for split in SPLITS])
    labels = rows.pooled(SPLITS).targets
    assert (predicted == labels).mean() > 0.75  # the majority class: 0.54
    for split in SPLITS:
        assert np.array_equal(first.probabilities[split], second.probabilities[split])


def test_a_site_with_next_to_no_rows_is_audited_without_predictions() -> None:
    task = TabularTask(
        lambda: pd.DataFrame({"site": ["a"] * 3, "y": ["no", "yes", "no"], "x": ["1", "2", None]}),
        site_column="site", label_column="y", classes=("no", "yes"), features=(Numeric("x", 0, 9),),
    )  # fmt: skip
    request = SiteRequest("a", 1)
    data = task.load(request)
    predicted = out_of_fold(task, data, audit_data(task, data, request, None), seed=1)
    assert predicted.source == "none"
    assert "3 distinct, 5 needed" in predicted.reason


def test_images_are_told_apart_by_their_pixels() -> None:
    task = DigitsTask()
    request = SiteRequest("site-01", 1)
    assert not isinstance(task, AnnotatedTask)
    data = task.load(request)
    rows = audit_data(task, data, request, None)
    assert rows.train.inputs.shape == (len(data.train), 64)
    assert rows.train.numbers is None
    with pytest.raises(UsageError, match="--labels: the task has no label column second"):
        audit_data(task, data, request, ["second"])


ANNOTATED = """
import pandas as pd
from federation.schema import Numeric
from federation.tabular import TabularTask

task = TabularTask(
    lambda: pd.read_csv(r"{path}", dtype=str),
    site_column="site", label_column="y", classes=("no", "yes"),
    features=(Numeric("x", 0, 100),), annotation_columns=("first", "second"),
)
"""


@pytest.fixture
def annotated(tmp_path, monkeypatch) -> SiteHome:
    draw = np.random.default_rng(0)
    label = draw.choice(["no", "yes"], 60)
    table = pd.DataFrame({"site": "a", "y": label, "x": draw.uniform(0, 100, 60).round(3),
                          "first": label, "second": draw.permutation(label)})  # fmt: skip
    table.loc[:9, "second"] = None
    table.to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "own_task.py").write_text(ANNOTATED.format(path=tmp_path / "table.csv"))
    monkeypatch.syspath_prepend(tmp_path)
    yield home_of(tmp_path / "home", site="a", tasks=("own_task:task", "heart"))
    import sys  # noqa: PLC0415 - the next test's module has the same name

    sys.modules.pop("own_task", None)


def test_annotators_are_compared_where_the_task_names_them(annotated) -> None:
    found = audit(annotated, AuditChoice(task="own_task:task"))
    (both,) = found.raters
    assert (both.raters, both.rows) == (("first", "second"), 50)
    assert abs(both.kappa) < 0.35
    (one,) = audit(annotated, AuditChoice(task="own_task:task", labels=["first"])).raters
    assert (one.raters, one.kappa) == (("y", "first"), 1.0)


@pytest.mark.parametrize(
    ("choice", "error", "named"),
    [
        (AuditChoice(), ConfigError, "--task = None: expected one of .*: own_task:task, heart"),
        (AuditChoice(task="lungs"), ConfigError, "--task = 'lungs'"),
        (AuditChoice(task="own_task:task", labels=["third"]), UsageError,
         "no label column third; it has: first, second"),
        (AuditChoice(task="own_task:task", top=-1), UsageError, "--top = -1"),
    ],
)  # fmt: skip
def test_a_wrong_choice_is_one_clear_error(annotated, choice, error, named) -> None:
    with pytest.raises(error, match=named):
        audit(annotated, choice)


def test_an_annotation_that_is_no_class_is_refused_without_its_value(annotated, tmp_path) -> None:
    table = pd.read_csv(tmp_path / "table.csv", dtype=str)
    table.loc[30, "first"] = "perhaps"
    table.to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(
        DataError, match=r"column first: 1 of 60 rows \(first: data row 31\)"
    ) as told:
        audit(annotated, AuditChoice(task="own_task:task"))
    assert "perhaps" not in str(told.value)


def test_what_is_no_home_or_names_no_site_is_said(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"is no site's home: it holds no site\.toml"):
        audit(SiteHome(tmp_path), AuditChoice())
    with pytest.raises(DataError, match="the site nowhere has no row"):
        audit(home_of(tmp_path / "x", site="nowhere"), AuditChoice())


def test_a_model_that_does_not_fit_is_refused_by_tensor_and_shape(home, tmp_path) -> None:
    data = HEART.load(SiteRequest("hungary", 1))
    path = tmp_path / "model.safetensors"
    with pytest.raises(UsageError, match="cannot read the model"):
        by_model(HEART, data, path)
    path.write_bytes(pickle.dumps({"0.weight": [1.0]}))
    with pytest.raises(DataError, match="is no safetensors file"):
        by_model(HEART, data, path)
    save_file(initial_model(HeartTask(hidden=(4,)), 1).state_dict(), path)
    with pytest.raises(
        DataError, match=r"tensor 0\.bias has shape \[4\], the task's model shape \[2\]"
    ):
        by_model(HEART, data, path)
    save_file({"0.weight": initial_model(HEART, 1).state_dict()["0.weight"]}, path)
    with pytest.raises(DataError, match=r"tensor 0\.bias has none of this name"):
        by_model(HEART, data, path)
    broken = {
        k: torch.full_like(v, np.nan) for k, v in initial_model(HEART, 1).state_dict().items()
    }
    save_file(broken, path)
    with pytest.raises(DataError, match="probabilities: a row is NaN"):
        audit(home, AuditChoice(model=path))


def test_annotation_columns_are_columns_of_their_own() -> None:
    for wrong in (("x",), ("a", "a"), "ab"):
        with pytest.raises(ConfigError, match="annotation_columns"):
            TabularTask(
                Path("t.csv"), site_column="s", label_column="y", classes=("n", "y"),
                features=(Numeric("x", 0, 1),), attributes=(SensitiveAttribute("g", ("a",)),),
                annotation_columns=wrong,
            )  # fmt: skip


def test_notes_are_of_the_rows_that_are_loaded() -> None:
    request = SiteRequest("cleveland", 3)
    data, notes = HEART.load(request), HEART.notes(request)
    table = pd.read_csv("simulations/tasks/data/heart.csv", dtype=str)
    for split in SPLITS:
        rows, of = getattr(data, split), getattr(notes, split)
        there = table.iloc[of.numbers - 1]
        assert (there["site"] == "cleveland").all()
        assert np.array_equal(there["age"].astype(float), rows.features["age"])
        assert np.array_equal(there["disease"] == "yes", rows.targets == 1)
