"""A site trains on the device that its own policy names."""

import torch
from federation_in_process import Federation

from client import contribution
from client.site_home import SiteHome
from federation.site_policy import SitePolicy
from privacy.dp_sgd import train_privately


def test_a_site_trains_on_the_device_of_its_policy(tmp_path, monkeypatch) -> None:
    devices = []

    def seen(*given):
        *others, arithmetic, noise_of = given
        devices.append(arithmetic.device.type)
        # On the processor: no GPU runs this test.
        return train_privately(*others, noise_of=noise_of)

    monkeypatch.setattr(contribution, "train_privately", seen)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    federation = Federation(tmp_path, {}, "run.rounds=1")
    path = SiteHome(federation.folder.site_home("hungary")).policy
    SitePolicy.read(path).model_copy(update={"device": "cuda"}).write(path)
    federation.play()
    assert sorted(devices) == ["cpu", "cpu", "cpu", "cuda"]
