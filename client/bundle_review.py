"""What a site sees of an app bundle before it approves it: its files and what changed in them."""

import difflib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import client
from federation.app_bundle import COURIER, LARGEST_BYTES, AppBundle
from federation.bounded_file import read_bounded
from federation.canonical import Digest
from federation.durable_file import write_atomically
from federation.errors import IntegrityError, UsageError

MOST_DIFF_LINES = 2000
"""Shown of one file; more is said to be left out."""


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One file of a bundle.

    Attributes:
        path: in the bundle.
        size: in bytes.
        sha256: 64 hexadecimal digits.
        change: `new`, `changed`, `same`, or `gone`, against what it is held against.
    """

    path: str
    size: int
    sha256: str
    change: str


def files_of(bundle: AppBundle, before: AppBundle) -> tuple[BundleFile, ...]:
    """The files of a bundle, and those it lost, by path."""
    old = before.files
    rows = []
    for path in sorted(bundle.files.keys() | old.keys()):
        content = bundle.files.get(path, b"")
        if path not in bundle.files:
            change = "gone"
        elif path not in old:
            change = "new"
        else:
            change = "same" if content == old[path] else "changed"
        rows.append(BundleFile(path, len(content), sha256(content).hexdigest(), change))
    return tuple(rows)


def difference(bundle: AppBundle, before: AppBundle) -> Iterator[str]:
    """Lines of a unified diff from what a bundle is held against.

    Nothing in them moves a terminal's cursor or turns the direction of the text: whatever is not
    plainly visible is escaped.
    """
    old = before.files
    for path in sorted(bundle.files.keys() | old.keys()):
        if bundle.files.get(path) == old.get(path):
            continue
        was, now = (_lines(files.get(path, b"")) for files in (old, bundle.files))
        told = difflib.unified_diff(was, now, f"known/{path}", f"offered/{path}", lineterm="")
        for number, line in enumerate(told):
            if number == MOST_DIFF_LINES:
                yield f"... {path}: more than {MOST_DIFF_LINES} lines differ; look into the file"
                break
            yield line


def as_installed(bundle: AppBundle) -> AppBundle:
    """What this site's own installation of hedgerow holds under the names of a bundle's code.

    A first bundle is held against it: the site chose what it installed.
    """
    root = Path(client.__file__).parents[1]
    files = {
        path: (root / path).read_bytes()
        for path in bundle.files
        if path.endswith(".py") and (root / path).is_file()
    }
    return AppBundle("", files, {})


def has_installed_courier(bundle: AppBundle) -> bool:
    """Whether the bundle's courier is byte for byte the one that this site installed."""
    installed = Path(client.__file__).parent / Path(COURIER).name
    return bundle.files.get(COURIER) == installed.read_bytes()


def read_bundle(named: str, kept: Path) -> AppBundle:
    """The bundle in a file, or the one that this site keeps under its SHA-256.

    Args:
        named: a path, or 64 hexadecimal digits.
        kept: the folder of bundles that this site has seen.

    Raises:
        UsageError: there is none.
        IntegrityError: the file is no bundle, or a kept one is not the one of its name.
    """
    path = Path(named)
    if _is_digest(named) and not path.exists():
        path = kept / f"{named}.fab"
    data = read_bounded(path, LARGEST_BYTES, "the app bundle")
    try:
        bundle = AppBundle.parse(data)
    except IntegrityError as error:
        raise IntegrityError(f"{path}: {error}") from error
    if path.parent == kept and path.stem != bundle.digest:
        raise IntegrityError(f"{path} is not the bundle of its name, but {bundle.digest}")
    return bundle


def kept_bundle(digest: Digest | None, kept: Path) -> AppBundle | None:
    """A bundle that this site keeps; None if it does not."""
    if digest is None or not (kept / f"{digest}.fab").is_file():
        return None
    return read_bundle(digest, kept)


def keep_bundle(named: str, bundle: AppBundle, kept: Path) -> None:
    """Keep the bundle that `read_bundle` read, for the next one to be held against.

    Raises:
        UsageError: the file changed meanwhile.
    """
    path = kept / f"{bundle.digest}.fab"
    if path.exists():
        return
    data = read_bounded(Path(named), LARGEST_BYTES, "the app bundle")
    if sha256(data).hexdigest() != bundle.digest:
        raise UsageError(f"{named} changed while it was looked at; nothing was approved")
    kept.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(path, data, mode=0o600)


def visible(text: str) -> str:
    r"""The text, with whatever is not plainly visible escaped.

    >>> visible("a\x1b[2Kb\u202ec")
    'a\\x1b[2Kb\\u202ec'
    """
    return "".join(
        char
        if char == "\t" or unicodedata.category(char)[0] not in "CZ" or char == " "
        else char.encode("unicode_escape").decode()
        for char in text
    )


def _lines(content: bytes) -> list[str]:
    if b"\0" in content:
        return [f"({len(content)} bytes that are no text, SHA-256 {sha256(content).hexdigest()})"]
    return [visible(line) for line in content.decode(errors="backslashreplace").split("\n")]


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
