"""Environments of the simulation benchmark's peers, under .bench/, made when first asked for."""

import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent


@cache
def flower_on_ray() -> Path:
    """Interpreter with Flower's simulation, Ray, Opacus and hedgerow, as locked."""
    return _made("simulation", ["-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[ray]"])


@cache
def apple_pfl() -> Path:
    """Interpreter with Apple's pfl 0.6, whose requirements are at odds with ours, and our torch."""
    return _made("pfl", ["pfl==0.6.0"])


def _made(name: str, wanted: list[str]) -> Path:
    place = ROOT / ".bench" / name
    python = place / "bin" / "python"
    if not (place / ".installed").exists():
        print(f"installing {name} into {place}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # torch first, and pinned: left to itself, pip takes gigabytes of CUDA.
        subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), "torch"], check=True)
        subprocess.run([*pip, *wanted], check=True)
        (place / ".installed").touch()
    return python
