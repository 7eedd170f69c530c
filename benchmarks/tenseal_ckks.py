"""The homomorphic alternative: CKKS with NVFlare's parameters, by TenSEAL, for one vector.

    python benchmarks/tenseal_ckks.py [--length 1000000]

TenSEAL runs in an environment of its own under .bench/ and in a process of its own, because it
pins its own build of the lattice library. A client encrypts and serialises its vector; the server
reads it and adds it to its sum; a client decrypts the sum. NVFlare gives all clients one secret
key, so that the server together with any one of them reads every update.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / ".bench" / "ckks"
REQUIREMENT = "tenseal==0.3.18"
REPEATS = 3


def measure(length: int) -> dict[str, float] | str:
    """CPU seconds and bytes of one vector, or why there are none."""
    try:
        done = subprocess.run(
            [_python(), __file__, "--here", "--length", str(length)],
            check=True,
            capture_output=True,
            text=True,
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().splitlines()[-1:]
        return f"{REQUIREMENT} does not run here: {' '.join(last)}"
    # TenSEAL says on the same stream that the vector needs several ciphertexts.
    return json.loads(done.stdout.splitlines()[-1])


def _python() -> Path:
    """The interpreter that has TenSEAL, after its environment is there."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True, capture_output=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:",
             "-c", ROOT / "constraints.txt", "numpy", REQUIREMENT],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        (ENVIRONMENT / ".installed").touch()
    return python


def _measure_here(length: int) -> dict[str, float]:
    """In the environment that has TenSEAL; medians of `REPEATS`."""
    import numpy as np  # noqa: PLC0415
    import tenseal  # noqa: PLC0415

    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40])
    context.global_scale = 2**40
    plain = np.random.default_rng(0).standard_normal(length)
    total = tenseal.ckks_vector(context, plain)
    taken: dict[str, list[float]] = {}

    def timed(step: str, began: float) -> None:
        taken.setdefault(step, []).append(time.process_time() - began)

    for _ in range(REPEATS):
        began = time.process_time()
        encrypted = tenseal.ckks_vector(context, plain)
        timed("encrypt", began)
        began = time.process_time()
        sent = encrypted.serialize()
        timed("serialise", began)
        began = time.process_time()
        received = tenseal.ckks_vector_from(context, sent)
        timed("deserialise", began)
        began = time.process_time()
        total += received
        timed("add", began)
    began = time.process_time()
    opened = np.array(total.decrypt())
    timed("decrypt", began)
    if np.max(np.abs(opened - (REPEATS + 1) * plain)) > 1e-4:
        raise SystemExit("the decrypted sum is wrong")
    return {step: statistics.median(seconds) for step, seconds in taken.items()} | {
        "bytes": len(sent)
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=1_000_000)
    parser.add_argument("--here", action="store_true", help="TenSEAL is in this environment")
    given = parser.parse_args()
    print(json.dumps(_measure_here(given.length) if given.here else measure(given.length)))


if __name__ == "__main__":
    main()
