"""What this machine is: its devices, its processor, how many of its cores may be used."""

import os
import platform
import re
from pathlib import Path

import joblib  # scikit-learn brings it
import torch


def device_of(name: str | None) -> torch.device:
    """The device of that name ("cpu", "cuda"); the GPU where there is one if no name is given.

    Raises ValueError where CUDA is asked for and absent, or the name means nothing.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # repeatable products on a GPU
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise ValueError(f"unknown device {name!r}; use cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        what = "DEVICE=cuda was asked for, but PyTorch finds no CUDA device"
        raise ValueError(f"{what}; use DEVICE=cpu or mend the driver")
    return torch.device(name)


def name_of(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's name, as the system tells it."""
    text = cpuinfo.read_text("utf-8") if cpuinfo.exists() else ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def usable_cores() -> int:
    """How many processes this one may keep busy: its affinity, or a container's quota if lower."""
    return joblib.cpu_count()
