"""A task's hash: of every byte that decides what it does, without running one of them."""

import importlib
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from federation.errors import ConfigError, DataError
from federation.task_digest import task_code

MINE = "raise SystemExit('this was run')\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "clinic_tasks"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text(MINE)
    (package / "cardiology.py").write_text(MINE)
    (package / "sub" / "levels.csv").write_text("a,b\n")
    (tmp_path / "clinic_single.py").write_text(MINE)
    (tmp_path / "unrelated.py").write_text(MINE)
    importlib.invalidate_caches()
    return tmp_path


NAME = "clinic_tasks.cardiology:Task"


def test_all_files_of_the_package_are_hashed_and_none_is_run(folder):
    code = task_code(NAME)
    assert list(code.files) == [
        "clinic_tasks/__init__.py",
        "clinic_tasks/cardiology.py",
        "clinic_tasks/sub/levels.csv",
    ]
    assert not {name for name in sys.modules if name.startswith("clinic")}


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("clinic_tasks/__init__.py", MINE + "\n"),
        ("clinic_tasks/sub/levels.csv", "a,c\n"),
        ("clinic_tasks/sub/new.py", ""),
        ("clinic_tasks/sub/.hidden", ""),
        ("clinic_tasks/legacy.pyc", "imported without a source"),
    ],
)
def test_any_change_in_the_package_changes_the_hash(folder, path, content):
    before = task_code(NAME).digest
    (folder / path).write_text(content)
    assert task_code(NAME).digest != before


def test_a_renamed_file_changes_the_hash(folder):
    before = task_code(NAME).digest
    (folder / "clinic_tasks/sub/levels.csv").rename(folder / "clinic_tasks/sub/levels2.csv")
    assert task_code(NAME).digest != before


def test_what_is_not_the_packages_does_not_change_it(folder):
    before = task_code(NAME).digest
    (folder / "unrelated.py").write_text("")
    caches = folder / "clinic_tasks" / "sub" / "__pycache__"
    caches.mkdir()
    (caches / "x.pyc").write_text("")
    assert task_code(NAME).digest == before


def test_another_module_of_the_package_is_another_task(folder):
    assert task_code(NAME).digest != task_code("clinic_tasks.sub:Task").digest


def test_a_module_in_no_package_is_its_file(folder):
    code = task_code("clinic_single:Task")
    assert list(code.files) == ["clinic_single.py"]


def test_a_file_behind_a_link_is_hashed_and_a_folder_behind_one_refused(folder):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "x.py").write_text("1")
    (folder / "clinic_tasks" / "x.py").symlink_to(folder / "elsewhere" / "x.py")
    before = task_code(NAME).digest
    (folder / "elsewhere" / "x.py").write_text("2")
    assert task_code(NAME).digest != before
    (folder / "clinic_tasks" / "linked").symlink_to(folder / "elsewhere")
    with pytest.raises(DataError, match="link to a folder"):
        task_code(NAME)


def test_the_data_of_a_built_in_task_is_of_its_code():
    code = task_code("heart")
    assert "tasks/heart.py" in code.files
    assert any(name.startswith("tasks/data/") for name in code.files)
    assert all(name.startswith("tasks/") for name in code.files)
    assert code.digest == task_code("heart").digest != task_code("digits").digest


@pytest.mark.parametrize("name", ["hart", "no_such_module:Task", "no_such_module.x:Task", ":x"])
def test_a_task_that_is_not_there_is_named(name):
    with pytest.raises(ConfigError, match="task = "):
        task_code(name)


@pytest.mark.parametrize("name", ["sys:Task", "zipimport:Task"])
def test_code_in_no_file_has_no_hash(name):
    with pytest.raises(DataError, match="no hash"):
        task_code(name)


def test_a_package_in_two_places_has_no_hash(tmp_path_factory, monkeypatch):
    for name in ("one", "other"):
        root = tmp_path_factory.mktemp(name)
        monkeypatch.syspath_prepend(str(root))
        (root / "clinic_scattered").mkdir()
    importlib.invalidate_caches()
    with pytest.raises(DataError, match="2 places"):
        task_code("clinic_scattered.x:Task")


CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
if sys.argv[2] == "distrust":
    from federation.task_digest import distrust_cached_bytecode
    distrust_cached_bytecode()
import clinic_cached
print(clinic_cached.SAID)
"""


def test_compiled_code_that_hides_behind_an_approved_source_is_not_run(tmp_path):
    source = tmp_path / "clinic_cached.py"
    source.write_text("SAID = 'hidden'\n")
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(source), invalidation_mode=mode)
    source.write_text("SAID = 'approved'\n")

    def said(how):
        command = [sys.executable, "-c", CHECK, str(tmp_path), how]
        root = Path(__file__).parents[2]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout

    assert said("trust") == "hidden\n"  # so the danger is real
    assert said("distrust") == "approved\n"
