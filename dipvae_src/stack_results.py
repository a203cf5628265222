"""Score the models of a stack that has ended and write one result file for each, as run.py does for one model."""

import dataclasses
import hashlib
import io
import json
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import sklearn
import torch

from dipvae_src import evaluate, experiments, models, results
from dipvae_src.data import Packed
from dipvae_src.experiments import Settings
from dipvae_src.run import png, processor
from dipvae_src.stacked import Stack

KEPT_LATENTS = 2_000  # test images whose latents are kept beside the pictures


def keep(path: Path, model: models.VAE, data: Packed) -> None:
    """The decoder and the latents of the first test images in half precision: `decoder.*`, `mu`, `log_var`; npz, no pickle."""
    measured = evaluate.measure(model, data, data.split()[1][:KEPT_LATENTS])
    arrays = {name: p for name, p in model.state_dict().items() if name.startswith("decoder.")}
    arrays |= {name: measured[name] for name in ("mu", "log_var")}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: tensor.cpu().half().numpy() for name, tensor in arrays.items()})
    results.write_whole(path, buffer.getvalue())


def write(
    stack: Stack, wanted: Sequence[tuple[Settings, int]], profile: str, out: Path, data: Packed, log: Callable[[str], None]
) -> int:
    """Write the results of those models of `stack` that are wanted, and a note on each that diverged; how many results.

    Scores are of float32 products on the stack's device, whatever trained the model. The first seed of each row of Table 1 also
    leaves its traversals and, in out/kept, its decoder and some latents. Raises RuntimeError where the code was edited since it
    was loaded, OSError on a full disk.
    """
    results.check_unedited()
    written = 0
    if data.bits.is_cuda:
        torch.set_float32_matmul_precision("highest")
    for m, (settings, seed) in enumerate(stack.runs):
        path, began = results.path_of(out, settings, seed), time.perf_counter()
        if (settings, seed) not in wanted:
            continue
        if m in stack.diverged:
            note = {"message": stack.diverged[m], "code": results.STACKED, "data": data.sha256}
            results.write_whole(path.with_suffix(".diverged"), (json.dumps(note) + "\n").encode())
            continue
        if path.exists():
            log(f"{path.name}: no longer counts; kept as {results.set_aside(path).name}")
        model, picture = stack.model(m), None
        metrics = evaluate.evaluate(model, data, settings, seed)
        if experiments.keeps_pictures(settings, seed):
            sheet = png(evaluate.traversal_sheet(model, data, metrics["kl_per_latent"]))
            picture = {"file": path.with_suffix(".png").name, "sha256": hashlib.sha256(sheet).hexdigest()}
            results.write_whole(path.with_suffix(".png"), sheet)
            keep(out / "kept" / f"{path.stem}.npz", model, data)
        results.write(path, record(stack, m, profile, data, metrics, picture, time.perf_counter() - began))
        log(f"{settings.label}, seed {seed}: SAP {metrics['sap']['score']:.3f}, error {metrics['reconstruction_error']:.4f}")
        written += 1
    return written


def record(stack: Stack, m: int, profile: str, data: Packed, metrics: dict, picture: dict | None, seconds: float) -> dict:
    """The result of model m; its `minutes` are its share of the stack's training, and its scores (`seconds`)."""
    settings, seed = stack.runs[m]
    name = torch.cuda.get_device_name() if data.bits.is_cuda else processor()
    return {
        "format": results.FORMAT, "profile": profile, "settings": dataclasses.asdict(settings), "seed": seed,
        "code": results.STACKED, "engine": "stacked", "stack": stack.how(),
        "data": {"name": data.name, "source": data.source, "sha256": data.sha256},
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
        "device": f"{data.bits.device.type}: {name}", "threads": torch.get_num_threads(),
        "minutes": round((stack.seconds / len(stack.runs) + seconds) / 60, 3), "losses": stack.history[m], "metrics": metrics,
        "picture": picture,
    }  # fmt: skip
