"""Which processor computes, and how a notebook scales itself to it."""

from __future__ import annotations

import os
import platform
import random
from typing import TypeVar

import torch

T = TypeVar("T")


def device() -> torch.device:
    """The best device here: CUDA, else Apple's MPS, else CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def on_gpu() -> bool:
    """True when :func:`device` is a GPU (CUDA or MPS)."""
    return device().type != "cpu"


def describe_device() -> str:
    """One plain sentence for the top of a notebook."""
    kind = device().type
    if kind == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return (
            f"Running on the GPU {torch.cuda.get_device_name(0)} with {memory:.0f} GiB: "
            "the experiments use their larger settings."
        )
    if kind == "mps":
        return "Running on the Apple GPU (MPS): the experiments use their larger settings."
    cores = os.cpu_count() or 1
    name = platform.machine() or "unknown"
    return (
        f"Running on the CPU ({name}, {cores} core{'s' if cores > 1 else ''}): "
        "the experiments use settings that finish in a minute or two."
    )


def scale(cpu: T, gpu: T) -> T:
    """Pick a setting by device: ``epochs = scale(cpu=4, gpu=30)``."""
    return gpu if on_gpu() else cpu


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's random numbers (on every device)."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
