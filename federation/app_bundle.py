"""Looking into a Flower app bundle (FAB) without running, unpacking or believing it.

A bundle is a zip with pyproject.toml, code, and `.info/CONTENT`: a line `path,sha256,bits` for each
file. It comes from a coordinator, so it is read like any stranger's file.
"""

import hashlib
import re
import stat
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

from federation.errors import IntegrityError

LARGEST_BYTES = 10 * 2**20
"""Of a bundle; Flower's own bound."""
LARGEST_CONTENT = 40 * 2**20
"""Bytes of all files in it together."""
MOST_FILES = 1000
MANIFEST = ".info/CONTENT"
SETTINGS = "pyproject.toml"
COURIER = "client/courier.py"
"""The one file of a bundle that a site's node would run."""
_NAME = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9._][A-Za-z0-9._-]{0,99}){0,15}")


@dataclass(frozen=True, slots=True)
class AppBundle:
    """What a bundle holds.

    Attributes:
        digest: SHA-256 of the bundle's file, by which it is approved.
        files: content by path; without the manifest, which says the same.
        settings: what its pyproject.toml says.
    """

    digest: str
    files: Mapping[str, bytes]
    settings: Mapping[str, object]

    @property
    def version(self) -> str:
        """What it says its version is."""
        return self._text("project", "version")

    @property
    def name(self) -> str:
        """What it says its name is."""
        return self._text("project", "name")

    @property
    def client_app(self) -> str:
        """What Flower would run at a site, `module:attribute`."""
        return self._text("tool", "flwr", "app", "components", "clientapp")

    def _text(self, *keys: str) -> str:
        found: object = self.settings
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found[:64] if isinstance(found, str) else ""

    @classmethod
    def parse(cls, data: bytes) -> "AppBundle":
        """Look into a bundle's file.

        Raises:
            IntegrityError: it is no bundle, is too large, holds a name or kind of entry that none
                should, or its manifest says something else.
        """
        if len(data) > LARGEST_BYTES:
            raise IntegrityError(f"the bundle is longer than {LARGEST_BYTES} bytes")
        try:
            with zipfile.ZipFile(BytesIO(data)) as archive:
                files = _contents(archive)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError) as error:
            raise IntegrityError(f"it is no app bundle: {error}") from error
        except Exception as error:
            # zlib.error and struct.error are the library's own affair; nothing of ours is below.
            raise IntegrityError(f"it is no app bundle: {type(error).__name__}") from error
        manifest = files.pop(MANIFEST, None)
        _require_listed(files, manifest)
        try:
            settings = tomllib.loads(files[SETTINGS].decode())
        except (KeyError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise IntegrityError(f"the bundle has no readable {SETTINGS}: {error}") from error
        return cls(hashlib.sha256(data).hexdigest(), files, settings)


def _contents(archive: zipfile.ZipFile) -> dict[str, bytes]:
    entries = archive.infolist()
    if len(entries) > MOST_FILES:
        raise ValueError(f"more than {MOST_FILES} files")
    if sum(entry.file_size for entry in entries) > LARGEST_CONTENT:
        raise ValueError(f"it would unpack to more than {LARGEST_CONTENT} bytes")
    files: dict[str, bytes] = {}
    lower: set[str] = set()
    for entry in entries:
        _require_plain(entry)
        if entry.filename.lower() in lower:
            raise ValueError(f"two files are called {entry.filename}")
        lower.add(entry.filename.lower())
        # No more than file_size is read, whatever the packed bytes would unpack to.
        files[entry.filename] = archive.read(entry)
    return files


def _require_plain(entry: zipfile.ZipInfo) -> None:
    """Return if an entry is a file with a name of letters, digits and . _ - below the top."""
    parts = entry.filename.split("/")  # not a path's own parts: these leave out single dots
    if not _NAME.fullmatch(entry.filename) or ".." in parts or "." in parts:
        raise ValueError(f"a file has an impossible name: {entry.filename[:100]!a}")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.is_dir() or kind not in {0, stat.S_IFREG}:
        raise ValueError(f"{entry.filename} is no file")
    if entry.flag_bits & 0x1 or entry.compress_type not in {
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    }:
        raise ValueError(f"{entry.filename} is encrypted, or packed in a way that bundles are not")


def _require_listed(files: Mapping[str, bytes], manifest: bytes | None) -> None:
    """Return if the manifest says of the files what they are."""
    if manifest is None:
        raise IntegrityError(f"the bundle has no {MANIFEST}")
    said = {
        f"{name},{hashlib.sha256(content).hexdigest()},{8 * len(content)}"
        for name, content in files.items()
    }
    lines = manifest.decode(errors="replace").strip().split("\n")
    if len(lines) != len(said) or set(lines) != said:
        raise IntegrityError(f"the bundle's {MANIFEST} is not the list of its files")
