"""Torch's global generator, for layers that draw from no other."""

import torch


def seed_torch(seed: int) -> None:
    """As `torch.manual_seed`, at a hundredth of its time where there is no GPU.

    That one also puts down, with a stack trace each, to seed every kind of device that is not in
    use yet: a millisecond, which small models are trained in.

    Args:
        seed: from 0 to 2^64 - 1.
    """
    if torch.cuda.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
