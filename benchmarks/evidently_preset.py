"""Evidently's DataDriftPreset on the two halves of some columns.

It runs in an environment of its own under .bench/ and in a process of its own, because Evidently
0.7.23 does not import with pandas 3. Used by `evaluation.py`.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / ".bench" / "evidently"
REQUIREMENTS = ("evidently==0.7.23", "pandas<3")


def measure(columns: dict[str, np.ndarray], repeats: int) -> float:
    """Median CPU seconds of the preset with its defaults, the first half as the reference."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "columns.npy"
        np.save(path, np.stack(list(columns.values()), axis=1))
        done = subprocess.run(
            [_python(), __file__, path, str(repeats)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return float(json.loads(done.stdout.splitlines()[-1]))


def _python() -> Path:
    """The interpreter that has Evidently, after its environment is there."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
        (ENVIRONMENT / ".installed").touch()
    return python


def _measure_here(path: Path, repeats: int) -> float:
    """In the environment that has Evidently."""
    import pandas as pd  # noqa: PLC0415
    from evidently import Report  # noqa: PLC0415
    from evidently.presets import DataDriftPreset  # noqa: PLC0415

    columns = np.load(path)
    table = pd.DataFrame(columns, columns=[f"feature {place}" for place in range(columns.shape[1])])
    middle, taken = len(table) // 2, []
    for _ in range(repeats):
        began = time.process_time()
        Report([DataDriftPreset()]).run(table[middle:], table[:middle]).dict()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


if __name__ == "__main__":
    print(json.dumps(_measure_here(Path(sys.argv[1]), int(sys.argv[2]))))
