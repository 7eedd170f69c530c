"""The Flower app bundle (FAB) that a run ships, built from the installed files, always byte-equal.

It holds the courier and the ServerApp. Files are stored, not deflated, because what deflate makes
differs between zlib implementations; sites approve the bundle by its SHA-256, and anybody who
installs this version of hedgerow can build the same one and compare.
"""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from federation.durable_file import write_atomically

DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip file can say; the bundle knows no time."""

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "hedgerow"
version = "{version}"
license = "Apache-2.0"
requires-python = ">=3.11"
dependencies = ["hedgerow=={version}"]

[tool.flwr.app]
publisher = "hedgerow"
fab-include = ["client/__init__.py", "client/courier.py", "server/**/*.py"]

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.courier:app"

[tool.flwr.app.config]
work = "train"
asked = ""
config = ""
set = ""
run = ""
runs = "runs"
"""


@dataclass(frozen=True, slots=True)
class AppBundle:
    """A built bundle.

    Attributes:
        version: of hedgerow.
        content: the zip file.
    """

    version: str
    content: bytes

    @property
    def sha256(self) -> str:
        """What sites approve, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    def write(self, path: Path) -> None:
        """Write it, unless exactly it stands there: a file that is in use is left alone."""
        if not path.is_file() or path.read_bytes() != self.content:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(path, self.content, mode=0o600)


def build() -> AppBundle:
    """The bundle of the hedgerow that is installed here."""
    installed = version("hedgerow")
    return AppBundle(installed, packed(_sources(Path(__file__).parent.parent), installed))


def packed(sources: dict[str, bytes], hedgerow: str) -> bytes:
    """The zip file of these sources: same sources, same bytes.

    Args:
        sources: content by path inside the bundle.
        hedgerow: version, in the form of PEP 440.
    """
    settings = PYPROJECT.format(version=hedgerow).encode()
    files = [("pyproject.toml", settings), *sorted(sources.items())]
    manifest = "\n".join(
        f"{path},{hashlib.sha256(content).hexdigest()},{len(content) * 8}"
        for path, content in files
    )
    packing = io.BytesIO()
    with zipfile.ZipFile(packing, "w", zipfile.ZIP_STORED) as archive:
        for path, content in (*files, (".info/CONTENT", manifest.encode())):
            entry = zipfile.ZipInfo(path, DATE)
            # Said by hand: zipfile would say on which system it runs.
            entry.create_system, entry.external_attr = 3, 0o100600 << 16
            archive.writestr(entry, content)
    return packing.getvalue()


def _sources(root: Path) -> dict[str, bytes]:
    client = [root / "client" / name for name in ("__init__.py", "courier.py")]
    paths = [*client, *(root / "server").rglob("*.py")]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
