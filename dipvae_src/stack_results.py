"""Score the models of a stack that has ended and write one result file for each, as run.py does for one model.

The codes are made on the stack's device, in float32 whatever trained the model; the scores are shared out among processes.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import multiprocessing
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import sklearn
import torch
from threadpoolctl import threadpool_limits

from dipvae_src import evaluate, experiments, models, results, stacked
from dipvae_src.data import Packed
from dipvae_src.experiments import Settings
from dipvae_src.run import png, processor
from dipvae_src.stacked import Stack
from dipvae_src.train import stream

KEPT_LATENTS = 2_000  # test images whose latents are kept beside the pictures
FACTS = ("name", "source", "sha256", "factor_names", "factor_sizes", "discrete")  # of the data, for a process without the images


def score(measured: dict, facts: dict, test: np.ndarray, settings: Settings, seed: int) -> tuple[dict, float]:
    """The metrics of one run from what evaluate.measure found, and the seconds that they took."""
    began, data = time.perf_counter(), Packed(**facts, bits=torch.empty(0), table=torch.empty(0))
    measured = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in measured.items()}
    with threadpool_limits(1):
        metrics = evaluate.scores(measured, data, torch.from_numpy(test), settings, stream(seed, "scores") % 2**31)
    return metrics, time.perf_counter() - began


def keep(path: Path, model: models.VAE, measured: dict) -> None:
    """The decoder and the latents of the first test images in half precision: `decoder.*`, `mu`, `log_var`; npz, no pickle."""
    arrays = {n: p.cpu().half().numpy() for n, p in model.state_dict().items() if n.startswith("decoder.")}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays, **{n: measured[n][:KEPT_LATENTS].half().numpy() for n in ("mu", "log_var")})
    results.write_whole(path, buffer.getvalue())


def write(
    stack: Stack, wanted: Sequence[tuple[Settings, int]], profile: str, out: Path, data: Packed, workers: int, log: Callable[[str], None]
) -> int:
    """Write the results of those models of `stack` that are wanted, and a note on each that diverged; how many results.

    The first seed of each row of Table 1 also leaves its traversals and, in out/kept, its decoder and some latents. Raises
    RuntimeError where the code was edited since it was loaded, OSError on a full disk.
    """
    stacked.check_unedited()
    test, facts, tasks = data.split()[1][: stack.settings.test_images], {name: getattr(data, name) for name in FACTS}, []
    if data.bits.is_cuda:
        torch.set_float32_matmul_precision("highest")
    with contextlib.ExitStack() as open_until_the_end:
        submit = lambda *work: SimpleNamespace(result=partial(*work))  # noqa: E731
        if min(workers, len(wanted)) > 1:
            context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
            pool = ProcessPoolExecutor(min(workers, len(wanted)), context, torch.set_num_threads, (1,))
            submit = open_until_the_end.enter_context(pool).submit
        for m, (settings, seed) in enumerate(stack.runs):
            path = results.path_of(out, settings, seed)
            if (settings, seed) not in wanted:
                continue
            if m in stack.diverged:
                note = {"message": stack.diverged[m], "code": stacked.LOADED, "data": data.sha256}
                results.write_whole(path.with_suffix(".diverged"), (json.dumps(note) + "\n").encode())
                continue
            if path.exists():
                log(f"{path.name}: no longer counts; kept as {results.set_aside(path)}")
            model = stack.model(m)
            measured = evaluate.measure(model, data, test)
            picture = None
            if experiments.keeps_pictures(settings, seed):
                sheet = png(evaluate.traversal_sheet(model, data, measured["kl_per_latent"]))
                picture = {"file": path.with_suffix(".png").name, "sha256": hashlib.sha256(sheet).hexdigest()}
                results.write_whole(path.with_suffix(".png"), sheet)
                keep(out / "kept" / f"{path.stem}.npz", model, measured)
            arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in measured.items()}
            tasks.append((m, path, picture, submit(score, arrays, facts, test.cpu().numpy(), settings, seed)))
        for m, path, picture, task in tasks:
            metrics, seconds = task.result()
            results.write(path, record(stack, m, profile, data, metrics, picture, seconds))
            label = f"{stack.runs[m][0].label}, seed {stack.runs[m][1]}"
            log(f"{label}: SAP {metrics['sap']['score']:.3f}, reconstruction error {metrics['reconstruction_error']:.4f}")
    return len(tasks)


def record(stack: Stack, m: int, profile: str, data: Packed, metrics: dict, picture: dict | None, seconds: float) -> dict:
    """The result of model m; its `minutes` are its share of the stack's training, and its scores."""
    settings, seed = stack.runs[m]
    name = torch.cuda.get_device_name() if data.bits.is_cuda else processor()
    return {
        "format": results.FORMAT, "profile": profile, "settings": dataclasses.asdict(settings), "seed": seed,
        "code": stacked.LOADED, "engine": "stacked", "stack": stack.how(),
        "data": {"name": data.name, "source": data.source, "sha256": data.sha256},
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
        "device": f"{data.bits.device.type}: {name}", "threads": torch.get_num_threads(),
        "minutes": round((stack.seconds / len(stack.runs) + seconds) / 60, 3), "losses": stack.history[m], "metrics": metrics,
        "picture": picture,
    }  # fmt: skip
