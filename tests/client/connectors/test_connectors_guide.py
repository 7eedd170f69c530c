"""docs/data-connectors.md: its settings are read, its task runs."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from test_image_folder import digits, opened

from federation.data_choice import KINDS, parse_data_choice
from federation.errors import DataError
from federation.task import SiteRequest, Task

GUIDE = Path("docs/data-connectors.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)


def test_its_settings_are_of_every_kind_and_read() -> None:
    found = [parse_data_choice(tomllib.loads(block)["data"]) for block in blocks("toml")]
    assert [choice.kind for choice in found] == list(KINDS)
    assert found[0].levels["sex"] == {"1": "Male", "2": "Female"}


def test_its_task_of_images_loads_what_lies_in_the_folder(tmp_path: Path) -> None:
    names: dict[str, object] = {}
    exec(compile(blocks("python")[0], "docs/data-connectors.md", "exec"), names)
    task = names["Scans"]()
    assert isinstance(task, Task)
    images, labels = digits(tmp_path / "scans", 90)
    data = task.load(SiteRequest("a", 1, opened(tmp_path)))
    assert [len(part) for part in (data.train, data.reference, data.current)] == [60, 15, 15]
    pixels = np.concatenate([p.inputs.numpy() for p in (data.train, data.reference, data.current)])
    np.testing.assert_allclose(pixels.sum(), images.sum() / 255, rtol=1e-6)
    targets = np.concatenate([p.targets for p in (data.train, data.reference, data.current)])
    np.testing.assert_array_equal(np.bincount(targets), np.bincount(labels))
    assert task.loss(task.build_model()(data.train.inputs), data.train.targets).shape == (60,)
    with pytest.raises(DataError):
        task.load(SiteRequest("a", 1))
