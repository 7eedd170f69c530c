"""The seed of torch's generator: the same draws as with torch's own way to set it."""

import pytest
import torch

from federation.torch_seed import seed_torch


@pytest.mark.parametrize("seed", [0, 2026, 2**63, 2**64 - 1])
def test_draws_are_those_of_torchs_own_way(seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = torch.rand(5)
        seed_torch(seed)
        assert torch.equal(torch.rand(5), expected)
