"""What this machine is: its devices, its processor, how many of its cores may be used."""

import contextlib
import math
import os
import platform
from pathlib import Path

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
        raise ValueError(
            "DEVICE=cuda was asked for, but PyTorch finds no CUDA device; "
            "use DEVICE=cpu or mend the driver"
        )
    return torch.device(name)


def name_of(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def processor() -> str:
    """The CPU's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def usable_cores(root: Path = Path("/")) -> int:
    """How many processes this one may keep busy: its affinity, or a container's quota if lower."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, cpu_quota(root))))


def cpu_quota(root: Path = Path("/")) -> float:
    """Cores that the control groups of this process grant; infinite where they say nothing.

    Version 2 has quota and period in cpu.max, version 1 in two files; a group's parents count too.
    """
    base, quota = root / "sys/fs/cgroup", math.inf
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return quota
    for line in lines:  # "0::/path" (version 2) or "4:cpu,cpuacct:/path" (version 1)
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = base / controllers
        for group in [top / path.strip("/"), *(top / path.strip("/")).parents]:
            if group == base.parent:
                break
            with contextlib.suppress(OSError, ValueError):
                if controllers:
                    limit = (group / "cpu.cfs_quota_us").read_text("utf-8")
                    period = (group / "cpu.cfs_period_us").read_text("utf-8")
                else:
                    limit, period = (group / "cpu.max").read_text("utf-8").split()
                if limit != "max" and int(limit) > 0:
                    quota = min(quota, int(limit) / int(period))
    return quota
