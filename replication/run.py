"""One run from settings to result file: train, score, write. Notebook 03_train and the command call the same function.

python -m replication.run --profile quick --objective dip-vae-ii --weight 5 --seeds 0 1 2 --out runs/quick
"""

import argparse
import contextlib
import dataclasses
import hashlib
import io
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import sklearn
import torch
from PIL import Image

from dipvae_src import data as packed
from dipvae_src import evaluate, models
from dipvae_src.settings import OBJECTIVES, Settings, check_settings
from dipvae_src.train import train
from replication import lifeline, profiles, provenance, results, scores
from replication.machine import device_of, processor

KEPT_LATENTS = 2_000  # test images whose latents are kept beside the pictures


def png(pixels: np.ndarray) -> bytes:
    """A picture (H, W) or (H, W, 3) uint8 as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def keep(path: Path, model: models.VAE, data: packed.Packed) -> None:
    """The decoder and the latents of the first test images in half precision: `decoder.*`, `mu`, `log_var`; npz, no pickle."""
    measured = evaluate.measure(model, data, data.split()[1][:KEPT_LATENTS])
    arrays = {name: p for name, p in model.state_dict().items() if name.startswith("decoder.")}
    arrays |= {name: measured[name] for name in ("mu", "log_var")}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: tensor.cpu().half().numpy() for name, tensor in arrays.items()})
    results.write_whole(path, buffer.getvalue())


def leave_pictures(
    path: Path, model: models.VAE, data: packed.Packed, kl_per_latent: list[float]
) -> dict:
    """Beside the result at `path`: its traversals (PNG) and, in kept/, decoder and latents; what the result says of the picture."""
    sheet = png(evaluate.traversal_sheet(model, data, kl_per_latent))
    results.write_whole(path.with_suffix(".png"), sheet)
    keep(path.parent / "kept" / f"{path.stem}.npz", model, data)
    return {"file": path.with_suffix(".png").name, "sha256": hashlib.sha256(sheet).hexdigest()}


def in_short(metrics: dict) -> str:
    """A run's scores in a line."""
    sap = f"SAP {metrics['sap']['score']:.3f}, " if metrics["sap"] else ""
    return f"{sap}reconstruction error {metrics['reconstruction_error']:.4f}"


def about(data: packed.Packed) -> dict:
    """What every result says of its data and of the versions that made it."""
    return {
        "data": {"name": data.name, "source": data.source, "identity": data.sha256},
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
    }  # fmt: skip


def run(
    profile: str,
    settings: Settings,
    seed: int,
    data_dir: str | Path = "data",
    out: str | Path = "runs/quick",
    device: str | None = None,
    log=print,
) -> dict:
    """The result of one run: read from `out` if it is there and counts, otherwise trained, scored and written there.

    Raises what the checks of settings, device and data raise, before any work; TrainingDiverged; OSError on a full disk;
    RuntimeError where the code was edited since it was loaded.
    """
    check_settings(settings)
    if type(seed) is not int or seed < 0:
        raise ValueError(f"seed must be a whole number, 0 or more, not {seed!r}")
    where = device_of(device)
    provenance.check_unedited()
    if where.type == "cpu":
        torch.set_num_threads(
            1
        )  # a sweep runs one process a core; so results do not depend on how many there are
    data = packed.load(settings.data, data_dir, where)

    path = results.path_of(out, settings, seed)
    reason = results.why_not(path, settings, seed, data.sha256)
    if reason is None:
        log(f"{settings.label}, seed {seed}: already there, {path.name}")
        return results.read(path)
    if path.exists():
        log(
            f"{settings.label}, seed {seed}: {reason}; the old file is kept as {results.set_aside(path)}"
        )

    progress_file = path.with_suffix(".progress")
    path.parent.mkdir(parents=True, exist_ok=True)
    told, began = 0.0, time.perf_counter()

    def progress(step: int, steps: int) -> None:
        nonlocal told
        if time.perf_counter() - told > 2 or step == steps:
            told = time.perf_counter()
            with contextlib.suppress(OSError):  # only for show
                progress_file.write_text(str(step))

    try:
        model, history = train(settings, seed, data, progress)
        metrics = scores.evaluate(model, data, settings, seed)
        provenance.check_unedited()
        picture = None
        if profiles.keeps_pictures(settings, seed):
            picture = leave_pictures(path, model, data, metrics["kl_per_latent"])
    finally:
        progress_file.unlink(missing_ok=True)

    name = torch.cuda.get_device_name(where) if where.type == "cuda" else processor()
    result = {
        "format": results.FORMAT, "profile": profile, "settings": dataclasses.asdict(settings), "seed": seed,
        "code": provenance.LOADED, **about(data),
        "device": f"{where.type}: {name}", "threads": torch.get_num_threads(),
        "minutes": round((time.perf_counter() - began) / 60, 3), "losses": history, "metrics": metrics, "picture": picture,
    }  # fmt: skip
    results.write(path, result)
    log(
        f"{settings.label}, seed {seed}, {data.name}: {settings.steps:,} steps in {result['minutes']:.1f} min, {in_short(metrics)}"
    )
    return result


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--objective", required=True, help=", ".join(OBJECTIVES))
    parser.add_argument("--weight", type=float, required=True, help="beta, or lambda_od")
    parser.add_argument("--data-set", default="shapes2d", help=", ".join(profiles.DATA_SETS))
    parser.add_argument("--reading", default="", help=", ".join(profiles.READINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", default="data")
    parser.add_argument("--out", help="results folder; runs/PROFILE unless told")
    parser.add_argument("--device", help="cpu or cuda; the GPU where there is one unless told")
    args = parser.parse_args(arguments)
    lifeline.hold()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # repeatable products on a GPU
    try:
        settings = profiles.experiment(
            args.profile, args.objective, args.weight, args.data_set, args.reading
        )
        for seed in args.seeds:
            run(
                args.profile,
                settings,
                seed,
                args.data,
                args.out or f"runs/{args.profile}",
                args.device,
            )
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
