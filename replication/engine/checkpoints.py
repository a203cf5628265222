"""A stack that stops and goes on: all of its state in one npz file, written whole or not at all, read without pickle.

    checkpoints.save(path, stack)
    stack = checkpoints.restore(path, data)

On one device the training that goes on equals, to the last bit, the one that never stopped. About 12 bytes a parameter: 170 MB a model
of the paper's size.
"""

import dataclasses
import io
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from dipvae_src.data import Packed
from dipvae_src.settings import Settings
from replication import provenance, results
from replication.engine import stack as stacked
from replication.engine.stack import Stack

FORMAT = 1


class BadCheckpoint(ValueError):
    """A checkpoint that is not whole, or not of the code, data, device or precision of now."""


def identity(data: Packed, precision: str) -> dict:
    """What has to be as it was, for a training to go on."""
    return {
        "format": FORMAT, "code": provenance.STACKED, "data": data.sha256, "device": data.bits.device.type, "precision": precision,
    }  # fmt: skip


def save(path: Path, stack: Stack) -> None:
    """Write the stack's state to `path`; OSError naming the file on a full disk, and the older checkpoint is then still there."""
    between_epochs = stack.step % (len(stack.rows) // stack.settings.batch_size) == 0
    orders = [g.get_state() for g in stack.orders] if between_epochs else stack.order_states
    facts = identity(stack.data, stack.precision) | {
        "runs": [[dataclasses.asdict(settings), seed] for settings, seed in stack.runs], "step": stack.step,
        "seconds": stack.seconds, "history": stack.history, "diverged": list(stack.diverged.items()),
    }  # fmt: skip
    arrays = {
        "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8),
        "sums": stack.sums.cpu().numpy(),
    }
    arrays["running"] = stack.running.cpu().numpy()
    arrays["orders"] = torch.stack(orders).numpy()  # (M, bytes of a state) uint8
    arrays["noises"] = torch.stack([g.get_state() for g in stack.noises]).numpy()
    for name, tensors in (
        ("parameter", stack.parameters),
        ("first", stack.first),
        ("second", stack.second),
    ):
        arrays |= {f"{name}_{i}": tensor.cpu().numpy() for i, tensor in enumerate(tensors)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    results.write_whole(path, buffer.getvalue())


def read(path: Path) -> tuple[dict, dict]:
    """The facts and arrays in `path`; BadCheckpoint where it is not whole (its checksums are checked), OSError where it is not there."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return json.loads(arrays.pop("facts").tobytes()), arrays
    except (
        ValueError,
        KeyError,
        EOFError,
        AttributeError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ) as error:
        raise BadCheckpoint(
            f"{path} is no whole checkpoint ({stacked.first_line(error)})"
        ) from error


def restore(path: Path, data: Packed, precision: str = "float32", **options) -> Stack:
    """The stack that `path` holds, ready to go on; `options` are those of Stack.

    Raises BadCheckpoint naming the file and what is wrong with it, before anything is trained.
    """
    facts, arrays = read(path)
    for name, now in identity(data, precision).items():
        if facts.get(name) != now:
            raise BadCheckpoint(
                f"{path} cannot go on: its {name} is {facts.get(name)!r}, here it is {now!r}"
            )
    try:
        stack = Stack(
            [(Settings(**settings), seed) for settings, seed in facts["runs"]],
            data,
            precision,
            **options,
        )
        stack.step, stack.seconds, stack.history = facts["step"], facts["seconds"], facts["history"]
        stack.diverged = dict(facts["diverged"])
        state = {"sums": stack.sums, "running": stack.running}
        for name, tensors in (
            ("parameter", stack.parameters),
            ("first", stack.first),
            ("second", stack.second),
        ):
            state |= {f"{name}_{i}": tensor for i, tensor in enumerate(tensors)}
        for name, tensor in state.items():
            saved = torch.from_numpy(arrays[name])
            if saved.shape != tensor.shape or saved.dtype != tensor.dtype:
                raise ValueError(
                    f"{name} has shape {tuple(saved.shape)}, not {tuple(tensor.shape)}"
                )
            tensor.copy_(saved)
        for name, generators in (("orders", stack.orders), ("noises", stack.noises)):
            for generator, state in zip(generators, arrays[name], strict=True):
                generator.set_state(torch.from_numpy(state))
        stack.order_states = [
            generator.get_state() for generator in stack.orders
        ]  # it may be saved again before a step
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BadCheckpoint(
            f"{path} is no whole checkpoint ({stacked.first_line(error)})"
        ) from error
    with torch.no_grad():
        for copy, parameter in zip(stack.copies, stack.parameters):
            if copy is not None:
                copy.copy_(parameter)
    stack.set_optimiser(stack.step)
    return stack
