"""What many simulated sites are trained on at once: a processor, or the one GPU of this machine."""

import os
from dataclasses import dataclass
from typing import Literal

import torch

from federation.errors import ConfigError
from privacy.arithmetic import ON_CPU, Arithmetic
from privacy.client_chunks import PROCESSOR_BYTES

GPU_SHARE = 0.5
"""Of a GPU's memory, that chunks are made to fit: allocators and libraries take their part."""


@dataclass(frozen=True, slots=True)
class TrainingDevice:
    """A device, and how much there is room for on it.

    Attributes:
        arithmetic: of gradients, always in float32: updates are to be those of sites alone.
        memory: bytes that a chunk of sites may take; of the device as such, not what is free of it
            just now, so that chunks are the same from run to run.
        name: what a summary calls it.
    """

    arithmetic: Arithmetic
    memory: int
    name: str

    @property
    def is_gpu(self) -> bool:
        """Whether more sites at once gain for as long as there is memory."""
        return self.arithmetic.device.type != "cpu"


PROCESSOR = TrainingDevice(ON_CPU, PROCESSOR_BYTES, "processor")


def training_device(device: Literal["cpu", "cuda"]) -> TrainingDevice:
    """The device of a choice; on a GPU, torch is told to repeat sums bit for bit.

    Raises:
        ConfigError: torch sees no GPU.
    """
    if device == "cpu":
        return PROCESSOR
    if not torch.cuda.is_available():
        raise ConfigError(
            "simulation.device",
            device,
            "'cpu' where torch sees no GPU",
            "install a driver and a build of torch for CUDA, or train on the processor",
        )
    # What cuBLAS asks for before it sums in one order; read when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True)
    torch.backends.cudnn.allow_tf32 = False
    facts = torch.cuda.get_device_properties(0)
    cuda = Arithmetic(torch.device("cuda"))
    return TrainingDevice(cuda, int(GPU_SHARE * facts.total_memory), facts.name)
