"""A stack that stops and goes on: all of its state in one file of torch.save, read without pickle.

    checkpoints.save(path, stack)
    stack = checkpoints.restore(path, data)

On one device the training that goes on equals, to the last bit, the one that never stopped. About
12 bytes a parameter: 170 MB a model of the paper's size. The file is a zip, whose checksums tell
what was cut or changed.
"""

import dataclasses
import io
import zipfile
from pathlib import Path

import torch

from dipvae_src.data import Packed
from dipvae_src.settings import Settings
from replication import provenance, results
from replication.engine.stack import Run, Stack, check_runs, first_line

FORMAT = 3
KEPT = ("step", "seconds", "history", "diverged")  # of a stack, as they are


class BadCheckpoint(ValueError):
    """A checkpoint that is not whole, or not of the code, data, device or precision of now."""


def identity(data: Packed, precision: str) -> dict:
    """What has to be as it was, for a training to go on."""
    return {
        "format": FORMAT, "code": provenance.STACKED, "data": data.identity,
        "device": data.bits.device.type, "precision": precision,
    }  # fmt: skip


def save(path: Path, stack: Stack) -> None:
    """Write the stack's state; OSError naming the file on a full disk, the older one stays then."""
    stack.name_broken()
    facts = identity(stack.data, stack.precision) | {name: getattr(stack, name) for name in KEPT}
    runs = [[dataclasses.asdict(settings), seed] for settings, seed in stack.runs]
    # The orders of the data are drawn again: they depend on seeds and step alone.
    state = {
        "parameters": stack.parameters, "optimiser": stack.optimiser.state_dict(),
        "running": stack.running, "sums": stack.sums,
        "noises": [generator.get_state() for generator in stack.noises],
    }  # fmt: skip
    buffer = io.BytesIO()
    torch.save(facts | {"runs": runs, "state": state}, buffer)
    results.write_whole(path, buffer.getvalue())


def read(path: Path, whole: bool = True) -> tuple[dict, list[Run]]:
    """What the file holds, its tensors left on the disk until they are used, and its runs.

    Raises BadCheckpoint where it is damaged; its tensors are looked at only if `whole`.
    """
    try:
        with zipfile.ZipFile(path) as file:
            if whole and (damaged := file.testzip()):
                raise ValueError(f"{damaged} does not fit its checksum")
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        runs = [(Settings(**settings), seed) for settings, seed in saved["runs"]]
        check_runs(runs)
        return saved, runs
    except (OSError, MemoryError):
        raise
    except Exception as error:  # zipfile and PyTorch know a dozen kinds of damage
        raise BadCheckpoint(f"{path} is no whole checkpoint ({first_line(error)})") from None


def restore(path: Path, data: Packed, precision: str = "float32", **options) -> Stack:
    """The stack that `path` holds, ready to go on; `options` are those of Stack.

    Raises BadCheckpoint naming the file and what is wrong with it, before anything is trained.
    """
    saved, runs = read(path)
    for name, now in identity(data, precision).items():
        if saved.get(name) != now:
            was = saved.get(name)
            raise BadCheckpoint(f"{path} cannot go on: its {name} is {was!r}, here it is {now!r}")
    stack, state = Stack(runs, data, precision, **options), saved["state"]
    for name in KEPT:
        setattr(stack, name, saved[name])
    with torch.no_grad():
        for name, parameter in stack.parameters.items():
            parameter.copy_(state["parameters"][name])
    stack.optimiser.load_state_dict(state["optimiser"])
    stack.running.copy_(state["running"])
    stack.sums.copy_(state["sums"])
    for generator, its in zip(stack.noises, state["noises"], strict=True):
        generator.set_state(its)
    return stack
