"""The bundle: same bytes always, and one that Flower takes."""

import os
import subprocess
import sys
import tomllib
import zipfile
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from flwr.cli.build import build_fab_from_files
from flwr.cli.config_utils import get_fab_config
from flwr.common.config import validate_config
from hypothesis import given
from hypothesis import strategies as st

from server import app_bundle

PATHS = st.from_regex(r"server/[a-z]{1,8}\.py", fullmatch=True)
SOURCES = st.dictionaries(PATHS, st.binary(max_size=50), min_size=1, max_size=5)


def test_another_process_with_other_file_times_builds_the_same_bytes(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    root = Path(app_bundle.__file__).parent.parent
    for path in [
        *root.glob("server/**/*.py"),
        *root.glob("client/*.py"),
        *root.glob("federation/**/*.py"),
    ]:
        target = copy / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        os.utime(target, (1, 1))
    code = "from server import app_bundle; print(app_bundle.__file__, app_bundle.build().sha256)"
    env = os.environ | {"PYTHONPATH": str(copy), "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
    told = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=copy, capture_output=True, text=True, check=True
    ).stdout.split()
    assert told == [str(copy / "server" / "app_bundle.py"), app_bundle.build().sha256]


@given(SOURCES)
def test_the_order_of_the_sources_does_not_matter(sources: dict[str, bytes]) -> None:
    backwards = dict(reversed(sources.items()))
    assert app_bundle.packed(sources, "1.0") == app_bundle.packed(backwards, "1.0")


@given(SOURCES, st.sampled_from(["1.0", "1.1"]))
def test_another_byte_or_version_gives_another_bundle(
    sources: dict[str, bytes], hedgerow: str
) -> None:
    changed = {path: content + b"#" for path, content in sources.items()}
    bundles = {app_bundle.packed(one, v) for one in (sources, changed) for v in (hedgerow, "2.0")}
    assert len(bundles) == 4


def test_it_holds_the_courier_and_the_server_and_nothing_else() -> None:
    with zipfile.ZipFile(BytesIO(app_bundle.build().content)) as archive:
        names = set(archive.namelist())
    rest = {name for name in names if not name.startswith("server/")}
    assert rest == {"pyproject.toml", ".info/CONTENT", "client/__init__.py", "client/courier.py"}
    assert "server/app.py" in names
    assert not [name for name in names if name.endswith((".pem", ".key", ".toml", ".pyc"))][1:]


def test_flower_would_pack_the_same_files_with_the_same_manifest() -> None:
    ours = zipfile.ZipFile(BytesIO(app_bundle.build().content))
    files = {name: ours.read(name) for name in ours.namelist() if name != ".info/CONTENT"}
    content, _ = build_fab_from_files(files)  # type: ignore[arg-type]
    theirs = zipfile.ZipFile(BytesIO(content))
    assert set(theirs.namelist()) == set(ours.namelist())
    listed = ours.read(".info/CONTENT").decode().splitlines()
    for line in listed:
        path, digest, bits = line.split(",")
        assert sha256(ours.read(path)).hexdigest() == digest
        assert len(ours.read(path)) * 8 == int(bits)
    assert {line.split(",")[0] for line in listed} == set(files)
    # Flower writes pyproject.toml anew; every other line of its manifest is ours.
    same = set(theirs.read(".info/CONTENT").decode().splitlines()) & set(listed)
    assert len(same) >= len(listed) - 1


def test_flower_reads_its_settings() -> None:
    config = get_fab_config(app_bundle.build().content)
    is_valid, errors, _ = validate_config(config, check_module=False)
    assert is_valid, errors
    mine = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["flwr"]["app"]
    assert config["tool"]["flwr"]["app"]["components"] == mine["components"]
    assert set(config["tool"]["flwr"]["app"]["config"]) == set(mine["config"])
    assert config["tool"]["flwr"]["app"]["fab-include"] == mine["fab-include"]


def test_a_file_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "app" / "one.fab"
    bundle = app_bundle.build()
    bundle.write(path)
    before = path.stat()
    bundle.write(path)
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"torn")
    bundle.write(path)
    assert path.read_bytes() == bundle.content
