"""What this machine is: its devices, its processor, how many of its cores may be used."""

import platform
from pathlib import Path

import torch


def device_of(name: str | None) -> torch.device:
    """The device of that name ("cpu", "cuda"); the GPU where there is one if no name is given.

    Raises ValueError where CUDA is asked for and absent, or the name means nothing.
    """
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {name!r}; use cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "DEVICE=cuda was asked for, but PyTorch finds no CUDA device; use DEVICE=cpu or mend the driver"
        )
    return torch.device(name)


def processor() -> str:
    """The CPU's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
