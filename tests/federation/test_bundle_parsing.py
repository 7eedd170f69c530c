"""A bundle is a stranger's zip: what Flower builds is read, everything odd is refused."""

import hashlib
import io
import struct
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_files

from federation import app_bundle
from federation.app_bundle import LARGEST_BYTES, AppBundle
from federation.errors import IntegrityError

ROOT = Path(__file__).parents[2]
SETTINGS = b'[project]\nname = "hedgerow"\nversion = "0.1.0"\n'


def packed(files: dict[str, bytes], *, listed: dict[str, bytes] | None = None, compress=8) -> bytes:
    out = io.BytesIO()
    listed = files if listed is None else listed
    lines = [f"{n},{hashlib.sha256(c).hexdigest()},{8 * len(c)}" for n, c in listed.items()]
    with zipfile.ZipFile(out, "w", compress) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=compress)
        archive.writestr(".info/CONTENT", "\n".join(lines))
    return out.getvalue()


GOOD = {"pyproject.toml": SETTINGS, "client/courier.py": b"pass\n"}


def test_what_flower_builds_of_hedgerow_is_read_whole():
    names = ["client/__init__.py", "client/courier.py", "server/__init__.py", "server/app.py"]
    files: dict[str, bytes | Path] = {name: ROOT / name for name in [*names, "pyproject.toml"]}
    data, _ = build_fab_from_files(files)
    bundle = AppBundle.parse(data)
    assert bundle.digest == hashlib.sha256(data).hexdigest()
    assert set(bundle.files) == {*names, "pyproject.toml"}
    assert bundle.files["client/courier.py"] == (ROOT / "client/courier.py").read_bytes()
    assert (bundle.name, bundle.version) == ("hedgerow", "0.1.0")
    assert bundle.client_app == "client.courier:app"


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x.py", "a/../../x.py", "a//b.py", "./x.py", "C:x.py", "a\\..\\b.py",
     "a\x1b[2K.py", "a\u202eb.py", "x\n.py", "", "a/" * 20 + "x.py", "x" * 101],
)  # fmt: skip
def test_a_name_that_leads_out_or_deceives_is_refused(name):
    with pytest.raises(IntegrityError, match="impossible name") as caught:
        AppBundle.parse(packed(GOOD | {name: b""}))
    assert caught.value.args[0].isprintable()


def test_two_files_of_one_name_are_refused():
    with pytest.raises(IntegrityError, match="two files are called"):
        AppBundle.parse(packed(GOOD | {"Client/Courier.py": b""}))


def test_links_folders_and_other_kinds_are_refused():
    for name, mode in (("client/link.py", 0o120777), ("client/pipe", 0o010644), ("folder/", 0)):
        out = io.BytesIO(packed(GOOD))
        with zipfile.ZipFile(out, "a") as archive:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, b"/etc/passwd")
        with pytest.raises(IntegrityError, match=r"no file|impossible name"):
            AppBundle.parse(out.getvalue())


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch):
    data = packed(GOOD | {"zeros": bytes(app_bundle.LARGEST_CONTENT)})
    assert len(data) < 100_000
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(IntegrityError, match="would unpack to more"):
        AppBundle.parse(data)


def test_a_bomb_that_says_it_is_small_gives_no_more_than_it_says():
    data = bytearray(packed(GOOD | {"zeros": bytes(10_000_000)}))
    for size in (i for i in range(len(data) - 4) if data[i : i + 4] == struct.pack("<L", 10**7)):
        data[size : size + 4] = struct.pack("<L", 10)
    with pytest.raises(IntegrityError, match="no app bundle"):
        AppBundle.parse(bytes(data))


def test_packings_that_need_other_unpackers_are_refused():
    for compress in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with pytest.raises(IntegrityError, match="packed in a way"):
            AppBundle.parse(packed(GOOD, compress=compress))


def test_too_many_files_and_too_many_bytes_are_refused(monkeypatch):
    many = {f"f{n}": b"" for n in range(app_bundle.MOST_FILES)}
    with pytest.raises(IntegrityError, match="more than 1000 files"):
        AppBundle.parse(packed(GOOD | many))
    with pytest.raises(IntegrityError, match="longer than"):
        AppBundle.parse(bytes(LARGEST_BYTES + 1))


@pytest.mark.parametrize(
    "listed", [{}, GOOD | {"x": b""}, GOOD | {"client/courier.py": b"other\n"}]
)
def test_a_manifest_that_says_something_else_is_refused(listed):
    with pytest.raises(IntegrityError, match="not the list of its files"):
        AppBundle.parse(packed(GOOD, listed=listed))


@pytest.mark.parametrize("files", [{"x": b""}, {"pyproject.toml": b"["}])
def test_a_bundle_without_settings_is_refused(files):
    with pytest.raises(IntegrityError, match=r"pyproject\.toml"):
        AppBundle.parse(packed(files))


def test_any_cut_of_a_bundle_is_refused():
    data = packed(GOOD)
    for end in range(0, len(data), 7):
        with pytest.raises(IntegrityError):
            AppBundle.parse(data[:end])


def test_any_altered_byte_gives_another_digest_or_a_refusal():
    data, whole = packed(GOOD), AppBundle.parse(packed(GOOD))
    for place in range(0, len(data), 3):
        altered = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        try:
            read = AppBundle.parse(altered)
        except IntegrityError:
            continue
        assert read.digest != whole.digest
        assert read.files == whole.files  # what no checksum covers, such as a date
