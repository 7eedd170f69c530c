"""Benchmarks are scripts, found beside each other; tests of their gates find them there, too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
