"""Schemas refuse what contradicts itself; tasks are found by name, or the error says how."""

import sys

import pytest

from federation import task_loading
from federation.errors import ConfigError, DataError, UsageError
from federation.schema import Categorical, Numeric, SensitiveAttribute, TaskSchema

AGE = Numeric("age", 0, 120)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Numeric("age", 5, 5), r"feature age\.high"),
        (lambda: Numeric("age", 5, float("nan")), r"feature age"),
        (lambda: Numeric("age", 0, float("inf")), "a range with finite ends"),
        (lambda: Numeric("age", -1e308, 1e308), "a range with finite ends"),
        (lambda: Categorical("cp", ("a", "a")), "a stands there twice"),
        (lambda: Categorical("cp", ()), "one or more texts"),
        (lambda: Categorical("cp", "ab"), "one or more texts"),
        (lambda: SensitiveAttribute("sex", ()), "one or more texts"),
        (lambda: SensitiveAttribute("sex", (0, 1)), "one or more texts"),
        (lambda: SensitiveAttribute("sex", ("F", "unknown")), "without 'unknown'"),
        (lambda: TaskSchema((AGE, AGE), "y", ("n", "y")), r"schema\.features"),
        (lambda: TaskSchema((AGE,), "y", ("n",)), "at least two classes"),
        (lambda: TaskSchema((AGE,), "y", ("n", "n")), r"schema\.classes"),
        (lambda: TaskSchema((AGE,), "y", ("n", "y"), maximum_rows=0), "maximum_rows"),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(make, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        make()


@pytest.mark.parametrize("text", ["import sys; sys.exit(3)", "raise SystemExit", "1 / 0"])
def test_a_module_that_ends_the_program_is_an_error(module, text: str) -> None:
    with pytest.raises(UsageError, match="importing it failed"):
        task_loading.load_task(f"{module(text)}:task", {})


def test_unknown_is_always_a_group() -> None:
    assert SensitiveAttribute("sex", ("F", "M")).groups == ("F", "M", "unknown")
    assert TaskSchema((AGE,), "y", ("n", "y")).is_binary
    assert not TaskSchema((AGE,), "y", ("a", "b", "c")).is_binary


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(text: str) -> str:
        name = f"users_task_{abs(hash(text))}"
        (tmp_path / f"{name}.py").write_text(text)
        task_loading.add_search_folder(tmp_path)
        return name

    return write


WHOLE = """
class Mine:
    schema = sites = ()
    def build_model(self): ...
    loss = probabilities = load = build_model
    def __init__(self, size=1): self.size = size
class Raising:
    def __init__(self): raise ValueError("no luck")
class Refusing:
    def __init__(self):
        from federation.errors import DataError
        raise DataError("the table is empty")
number = 3
"""


def test_a_users_folder_comes_last(tmp_path, module) -> None:
    module("x = 1")
    assert sys.path[-1] == str(tmp_path.resolve())
    task_loading.add_search_folder(tmp_path)
    assert sys.path.count(str(tmp_path.resolve())) == 1


def test_a_users_task_is_found_and_constructed(module) -> None:
    name = module(WHOLE)
    assert task_loading.load_task(f"{name}:Mine", {"size": 7}).size == 7


@pytest.mark.parametrize(
    ("attribute", "options", "error", "text"),
    [
        ("Mina", {}, ConfigError, "did you mean .*:Mine"),
        ("zzzz", {}, ConfigError, "has no 'zzzz'"),
        ("Mine", {"sise": 7}, ConfigError, "task.options.*size=1"),
        ("Mine", {"sise": 7}, ConfigError, r"task.options.sise = 7.*did you mean size\?"),
        ("Raising", {}, UsageError, "ValueError: no luck"),
        ("Refusing", {}, DataError, "the table is empty"),
        ("number", {}, ConfigError, "it has no schema"),
        ("number", {"a": 1}, ConfigError, "none: .* is a ready task"),
    ],
)
def test_a_wrong_task_is_one_clear_error(module, attribute, options, error, text) -> None:
    name = module(WHOLE)
    with pytest.raises(error, match=text):
        task_loading.load_task(f"{name}:{attribute}", options)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("import no_such_module_at_all", "needs no_such_module_at_all"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_module_that_fails_to_import_says_why(module, source: str, text: str) -> None:
    name = module(source)
    with pytest.raises(UsageError, match=text):
        task_loading.load_task(f"{name}:x", {})


def test_a_module_that_is_not_there_says_where_to_run(module) -> None:
    with pytest.raises(ConfigError, match="run the command in the folder that holds it"):
        task_loading.load_task("no_such_module_at_all:x", {})


def test_a_built_in_task_is_found_by_name_and_a_near_miss_is_corrected() -> None:
    assert {"heart", "acs-employment", "digits"} <= set(task_loading.built_in_names())
    with pytest.raises(ConfigError, match="did you mean heart"):
        task_loading.load_task("hart", {})
    with pytest.raises(ConfigError, match=r"package\.module:attribute"):
        task_loading.load_task("zzzzzzzz", {})
