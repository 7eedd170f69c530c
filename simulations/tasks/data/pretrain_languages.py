"""Rewrite the frozen transformer of `languages` with `model = "lora"`.

    python simulations/tasks/data/pretrain_languages.py [WHEEL]

It learns, from Babel's wheel as `extract_languages.py` reads it, to tell 24 languages apart, none
of which is one of the task's twelve; its last layer is thrown away. Public phrases alone: nothing
about a site's rows is in the file. Another version of torch, or another processor, may give other
bits, so it is the file that is pinned.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save
from torch.nn.functional import cross_entropy

from simulations.tasks.data.extract_languages import LANGUAGES, download, phrases, unpack
from simulations.tasks.languages import encode, network

OTHERS = ("af", "az", "ca", "cy", "da", "en", "et", "eu", "ga", "gl", "hr", "id", "is", "lt", "lv",
          "ms", "mt", "nb", "ro", "sk", "sl", "sq", "sw", "vi")  # fmt: skip
SEED, STEPS, BATCH, FASTEST = 2026, 3_000, 128, 3e-3
FILE = Path(__file__).with_name("languages_base.safetensors")


def main() -> None:
    """Write languages_base.safetensors."""
    assert not set(OTHERS) & set(LANGUAGES)
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(sys.argv[1]) if len(sys.argv) > 1 else download(Path(folder))
        unpack(wheel, Path(folder))
        table = phrases(OTHERS)
    learned = save({k: v for k, v in trained(table).items() if not k.startswith("head.")})
    FILE.write_bytes(learned)
    print(FILE.name, hashlib.sha256(learned).hexdigest())  # noqa: T201 - output


def trained(table: pd.DataFrame) -> dict[str, torch.Tensor]:
    """The parameters after AdamW over one cycle of the learning rate (Smith 2018, 1803.09820)."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    inputs = encode(table["phrase"].tolist())
    targets = torch.tensor([OTHERS.index(language) for language in table["language"]])
    model = network(len(OTHERS))
    stepper = torch.optim.AdamW(model.parameters(), FASTEST)
    rates = torch.optim.lr_scheduler.OneCycleLR(stepper, FASTEST, total_steps=STEPS)
    for step in range(STEPS):
        batch = torch.randint(len(targets), (BATCH,))
        loss = cross_entropy(model(inputs[batch]), targets[batch])
        stepper.zero_grad()
        torch.autograd.backward(loss)
        stepper.step()
        rates.step()
        if step % 200 == 199:
            print(step + 1, f"{loss:.3f}", flush=True)  # noqa: T201 - output
    return model.state_dict()


if __name__ == "__main__":
    main()
