"""A stack that stops and goes on: all of its state in one npz file, read without pickle.

    checkpoints.save(path, stack)
    stack = checkpoints.restore(path, data)

On one device the training that goes on equals, to the last bit, the one that never stopped. About
12 bytes a parameter: 170 MB a model of the paper's size. The zip's checksums tell arrays that were
cut or changed, and what the file says of itself carries a checksum too.
"""

import dataclasses
import io
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipvae_src.data import Packed
from dipvae_src.settings import Settings
from replication import provenance, results
from replication.engine.stack import Run, Stack, check_runs, first_line

FORMAT = 2
UNREADABLE = (ArithmeticError, AttributeError, EOFError, LookupError, RuntimeError, TypeError)
UNREADABLE += (ValueError, zipfile.BadZipFile, zlib.error)


class BadCheckpoint(ValueError):
    """A checkpoint that is not whole, or not of the code, data, device or precision of now."""


def identity(data: Packed, precision: str) -> dict:
    """What has to be as it was, for a training to go on."""
    return {
        "format": FORMAT, "code": provenance.STACKED, "data": data.identity,
        "device": data.bits.device.type, "precision": precision,
    }  # fmt: skip


def state_of(stack: Stack) -> dict[str, Tensor]:
    """The tensors that decide how a stack goes on, by the names that the file gives them."""
    state = {"sums": stack.sums, "running": stack.running}
    for name in ("parameters", "first", "second"):
        state |= {f"{name}_{i}": tensor for i, tensor in enumerate(getattr(stack, name))}
    return state


def save(path: Path, stack: Stack) -> None:
    """Write the stack's state; OSError naming the file on a full disk, the older one stays then."""
    stack.name_broken()
    between_epochs = stack.step % (len(stack.rows) // stack.settings.batch_size) == 0
    orders = [g.get_state() for g in stack.orders] if between_epochs else stack.order_states
    facts = identity(stack.data, stack.precision) | {
        "runs": [[dataclasses.asdict(settings), seed] for settings, seed in stack.runs],
        "step": stack.step, "seconds": stack.seconds, "history": stack.history,
        "diverged": list(stack.diverged.items()),
    }  # fmt: skip
    arrays = {name: tensor.cpu().numpy() for name, tensor in state_of(stack).items()}
    arrays["orders"] = torch.stack(orders).numpy()  # (M, bytes of a state) uint8
    arrays["noises"] = torch.stack([g.get_state() for g in stack.noises]).numpy()
    signed = json.dumps(facts | {"checksum": results.checksum(facts)})
    arrays["facts"] = np.frombuffer(signed.encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    results.write_whole(path, buffer.getvalue())


def read(path: Path, weights: bool = True) -> tuple[dict, list[Run], dict[str, np.ndarray]]:
    """What the file says of itself, its runs, and its arrays unless `weights` is False.

    Raises BadCheckpoint where it is not whole.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            facts = json.loads(file["facts"].tobytes())
            if facts["checksum"] != results.checksum(facts):
                raise ValueError("its description was altered")
            runs = [(Settings(**settings), seed) for settings, seed in facts["runs"]]
            check_runs(runs)
            return facts, runs, {name: file[name] for name in file.files if weights}
    except UNREADABLE as error:
        raise BadCheckpoint(f"{path} is no whole checkpoint ({first_line(error)})") from None


def restore(path: Path, data: Packed, precision: str = "float32", **options) -> Stack:
    """The stack that `path` holds, ready to go on; `options` are those of Stack.

    Raises BadCheckpoint naming the file and what is wrong with it, before anything is trained.
    """
    facts, runs, arrays = read(path)
    for name, now in identity(data, precision).items():
        if facts.get(name) != now:
            raise BadCheckpoint(
                f"{path} cannot go on: its {name} is {facts.get(name)!r}, here it is {now!r}"
            )
    stack = Stack(runs, data, precision, **options)
    try:
        stack.step, stack.seconds, stack.history = facts["step"], facts["seconds"], facts["history"]
        stack.diverged = dict(facts["diverged"])
        fill(stack, arrays)
    except UNREADABLE as error:
        raise BadCheckpoint(f"{path} is no whole checkpoint ({first_line(error)})") from None
    with torch.no_grad():
        for copy, parameter in zip(stack.copies, stack.parameters):
            if copy is not None:
                copy.copy_(parameter)
    stack.set_optimiser(stack.step)
    return stack


def fill(stack: Stack, arrays: dict[str, np.ndarray]) -> None:
    """Give a fresh stack the tensors that were read; any of UNREADABLE where they are not one's."""
    sound = [m for m in range(len(stack.runs)) if m not in stack.diverged]
    for name, tensor in state_of(stack).items():
        saved = torch.from_numpy(arrays[name])
        if saved.shape != tensor.shape or saved.dtype != tensor.dtype:
            raise ValueError(f"{name} has shape {tuple(saved.shape)}, not {tuple(tensor.shape)}")
        # A loss of the window that is open may be infinite: that is told when the window closes.
        if name != "sums" and not saved[sound].isfinite().all():
            raise ValueError(f"{name} of a model that has not diverged is not finite")
        if name.startswith("second") and (saved[sound] < 0).any():
            raise ValueError(f"{name}, a mean of squares, is below 0")
        tensor.copy_(saved)
    for name, generators in (("orders", stack.orders), ("noises", stack.noises)):
        for generator, state in zip(generators, arrays[name], strict=True):
            generator.set_state(torch.from_numpy(state))
    stack.order_states = [generator.get_state() for generator in stack.orders]
