"""Score the models of a stack that has ended and write one result file for each, as run.py does for one model."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from dipvae_src.data import Packed
from dipvae_src.settings import Settings
from replication import profiles, provenance, results, scores
from replication.engine.stack import Stack
from replication.machine import processor
from replication.run import about, in_short, leave_pictures


def write(
    stack: Stack, wanted: Sequence[tuple[Settings, int]], profile: str, out: Path, data: Packed, log: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[int]:  # fmt: skip
    """Write the results of those models of `stack` that are wanted, and a note on each that diverged, until stop() says so; for each
    model the number of results written, 1 or 0.

    Scores are of float32 products on the stack's device, whatever trained the model. The first seed of each row of Table 1 also
    leaves its traversals and, in out/kept, its decoder and some latents. Raises RuntimeError where the code was edited since it
    was loaded, OSError on a full disk.
    """
    provenance.check_unedited()
    if data.bits.is_cuda:
        torch.set_float32_matmul_precision("highest")
    for m, (settings, seed) in enumerate(stack.runs):
        path, began = results.path_of(out, settings, seed), time.perf_counter()
        if (settings, seed) not in wanted:
            continue
        if stop():
            return
        model, picture = stack.model(m), None
        message = stack.diverged.get(m)
        if not message and not all(
            p.isfinite().all() for p in model.parameters()
        ):  # by its last step, of which no loss was taken
            message = (
                f"{settings.label}, seed {seed}: a weight is not finite after step {stack.step}"
            )
        if message:
            note = {"message": message, "code": provenance.STACKED, "data": data.sha256}
            results.write_whole(path.with_suffix(".diverged"), (json.dumps(note) + "\n").encode())
            yield 0
            continue
        if path.exists():
            log(f"{path.name}: no longer counts; kept as {results.set_aside(path).name}")
        metrics = scores.evaluate(model, data, settings, seed)
        if profiles.keeps_pictures(settings, seed):
            picture = leave_pictures(path, model, data, metrics["kl_per_latent"])
        results.write(
            path, record(stack, m, profile, data, metrics, picture, time.perf_counter() - began)
        )
        log(f"{settings.label}, seed {seed}: {in_short(metrics)}")
        yield 1


def record(
    stack: Stack,
    m: int,
    profile: str,
    data: Packed,
    metrics: dict,
    picture: dict | None,
    seconds: float,
) -> dict:
    """The result of model m; its `minutes` are its share of the stack's training, and its scores (`seconds`)."""
    settings, seed = stack.runs[m]
    name = torch.cuda.get_device_name() if data.bits.is_cuda else processor()
    return {
        "format": results.FORMAT, "profile": profile, "settings": dataclasses.asdict(settings), "seed": seed,
        "code": provenance.STACKED, "engine": "stacked", "stack": stack.how(),
        **about(data),
        "device": f"{data.bits.device.type}: {name}", "threads": torch.get_num_threads(),
        "minutes": round((stack.seconds / len(stack.runs) + seconds) / 60, 3), "losses": stack.history[m], "metrics": metrics,
        "picture": picture,
    }  # fmt: skip
