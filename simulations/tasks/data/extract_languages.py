"""Rewrite the phrases in this folder from the PyPI wheel they come from.

    python simulations/tasks/data/extract_languages.py [WHEEL]

Babel's locale data are pickles that only Babel reads, so the wheel is checked against its SHA-256
and then imported from a temporary folder; Babel is no dependency of this project. Without a wheel,
pip downloads it.

A phrase that two of the languages write alike has no one right answer and is left out. One that a
language has for two things is kept for the first of them.
"""

import gzip
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

HERE = Path(__file__).parent
WHEEL = "babel-2.18.0-py3-none-any.whl"
SHA256 = "e2b422b277c2b9a9630c1d7903c2a00d0830c409c59ac8cae9081c92f1aeba35"
LANGUAGES = ("cs", "de", "es", "fi", "fr", "hu", "it", "nl", "pl", "pt", "sv", "tr")
TABLE = "languages.csv.gz"


def main() -> None:
    """Write languages.csv.gz."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(sys.argv[1]) if len(sys.argv) > 1 else download(Path(folder))
        unpack(wheel, Path(folder))
        table = phrases(LANGUAGES)
    packed = gzip.compress(table.to_csv(index=False, lineterminator="\n").encode(), 9, mtime=0)
    (HERE / TABLE).write_bytes(packed)
    print(TABLE, len(table), hashlib.sha256(packed).hexdigest())  # noqa: T201 - output


def unpack(wheel: Path, folder: Path) -> None:
    """Make Babel importable from `folder`, if the wheel is the one that was checked."""
    data = wheel.read_bytes()
    actual = hashlib.sha256(data).hexdigest()
    if actual != SHA256:
        sys.exit(f"{wheel} has SHA-256 {actual}, expected {SHA256}")
    zipfile.ZipFile(io.BytesIO(data)).extractall(folder)
    sys.path.insert(0, str(folder))


def phrases(languages: tuple[str, ...]) -> pd.DataFrame:
    """Columns `names` (of what), `language` and `phrase`; no phrase stands there twice."""
    from babel import Locale  # type: ignore[import-not-found]  # noqa: PLC0415 - the wheel's

    rows: list[tuple[str, str, str]] = []
    for language in languages:
        seen: set[str] = set()
        for kind, texts in _kinds(Locale.parse(language)).items():
            for text in dict.fromkeys(texts):
                if text not in seen:
                    seen.add(text)
                    rows.append((kind, language, text))
    written_by = Counter(text for _, _, text in rows)
    own = [row for row in rows if written_by[row[2]] == 1]
    return pd.DataFrame(own, columns=["names", "language", "phrase"]).sort_values(
        ["names", "language"], kind="stable", ignore_index=True
    )


def _kinds(locale: Any) -> Mapping[str, Iterator[str]]:
    data = locale._data  # noqa: SLF001 - units and zones are not public
    longest = (forms.get("long") for forms in data["unit_display_names"].values())
    return {
        "territories": _texts(locale.territories),
        "languages": _texts(locale.languages),
        "currencies": _texts(locale.currencies),
        "units": (unit for unit in longest if unit),
        "scripts": _texts(locale.scripts),
        "times": _times(data),
    }


def _times(data: Mapping[str, Any]) -> Iterator[str]:
    """Cities, time zones without their summer's and winter's variants, months and days."""
    yield from (zone["city"] for zone in data["time_zones"].values() if "city" in zone)
    for zone in data["meta_zones"].values():
        names = zone.get("long", {})
        yield from [names.get("generic") or names.get("standard")] if names else []
    for part in ("months", "days"):
        yield from data[part]["format"]["wide"].values()


def _texts(names: Mapping[str, str]) -> Iterator[str]:
    return (name for _, name in sorted(names.items()))


def download(folder: Path) -> Path:
    """The wheel, by pip, in `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(folder)]
    subprocess.run([*command, "babel==2.18.0"], check=True)  # noqa: S603 - fixed words
    return folder / WHEEL


if __name__ == "__main__":
    main()
