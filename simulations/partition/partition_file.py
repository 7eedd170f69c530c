"""`partition.npz`: a partition as it was drawn, the same bytes for the same partition everywhere.

A NumPy archive of three arrays: `header` (canonical JSON, as uint8), and `rows` and `lengths` as in
`Partition` (int64, little-endian). Its SHA-256 stands in `environment.json`.
"""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from federation import canonical
from federation.errors import IntegrityError
from federation.task import Codes
from simulations.partition.partition import Partition
from simulations.partition.stratified_split import SPLITS

FORMAT: Literal["hedgerow/partition/1"] = "hedgerow/partition/1"

LONG_AGO, UNIX = (1980, 1, 1, 0, 0, 0), 3
"""When and where every archive says it was written."""


class _Header(BaseModel):
    """What `Partition` holds beside its arrays, and the rows that it is of."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["hedgerow/partition/1"] = FORMAT
    sites: tuple[str, ...]
    pool_rows: int
    pool_digest: str


@dataclass(frozen=True, slots=True)
class SavedPartition:
    """A partition, and of which rows it is one.

    Attributes:
        partition: which rows are whose.
        pool_rows: how many rows the pool has.
        pool_digest: of their labels and groups, as `RowPool.digest`.
    """

    partition: Partition
    pool_rows: int
    pool_digest: str

    def to_bytes(self) -> bytes:
        """The content of the file."""
        header = _Header(
            sites=self.partition.sites, pool_rows=self.pool_rows, pool_digest=self.pool_digest
        )
        encoded = canonical.encode(header.model_dump(mode="json"))
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            _add(archive, "header", np.frombuffer(encoded, np.uint8))
            _add(archive, "rows", self.partition.rows.astype("<i8"))
            _add(archive, "lengths", self.partition.lengths.astype("<i8"))
        return file.getvalue()


def sha256(content: bytes) -> str:
    """As `sha256sum` prints it of the file."""
    return hashlib.sha256(content).hexdigest()


def read_partition(path: Path, expected: str) -> SavedPartition:
    """The partition in a file.

    Args:
        path: of the file.
        expected: its SHA-256.

    Raises:
        IntegrityError: the file is missing, or not what was written.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"cannot read {path}: {error.strerror}") from error
    if sha256(content) != expected:
        raise IntegrityError(
            f"{path} has SHA-256 {sha256(content)[:16]}..., and what was written when the run "
            f"began has {expected[:16]}...: put it back, or start a new run"
        )
    try:
        return _parsed(content)
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path} is no partition: {error}") from error


def _parsed(content: bytes) -> SavedPartition:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        header = canonical.decode(_Header, archive["header"].tobytes())
        rows, lengths = archive["rows"].astype(np.int64), archive["lengths"].astype(np.int64)
    if lengths.shape != (len(header.sites), SPLITS) or rows.shape != (lengths.sum(),):
        raise ValueError("the arrays do not fit each other")
    if len(rows) and not 0 <= rows.min() <= rows.max() < header.pool_rows:
        raise ValueError("it names rows that the pool does not have")
    return SavedPartition(
        Partition(header.sites, rows, lengths), header.pool_rows, header.pool_digest
    )


def _add(archive: zipfile.ZipFile, name: str, array: Codes | npt.NDArray[np.uint8]) -> None:
    entry = zipfile.ZipInfo(f"{name}.npy", LONG_AGO)
    entry.create_system = UNIX
    content = io.BytesIO()
    np.lib.format.write_array(content, array, version=(1, 0), allow_pickle=False)
    archive.writestr(entry, content.getvalue())
