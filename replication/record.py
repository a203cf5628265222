"""What a run leaves: its result file; of the first seed of Table 1's rows picture and decoder.

One function, `write_result`, for every way of training: it scores a trained model and writes all.
Where a score has changed since, results that left codes are scored again, without training:

    python -m replication.record results/evening
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

from dipvae_src import evaluate, models
from dipvae_src.data import Packed
from dipvae_src.settings import Settings
from replication import codes, profiles, provenance, results, scores
from replication.machine import name_of

KEPT_LATENTS = 2_000  # test images whose latents are kept beside the pictures
PROGRESS = "DIPVAE_PROGRESS"  # in the environment: the folder where runs note how far they are


def write_result(
    path: Path, model: models.VAE, data: Packed, profile: str, settings: Settings, seed: int,
    history: list[dict], seconds: float, stack: dict | None = None,
) -> dict:  # fmt: skip
    """Score a trained model and write its result to `path`; what lay there is set aside.

    `seconds`: of its training; `stack`: how it was trained beside others, None for the plain loop.
    Scores are of float32 products whatever trained the model. Raises RuntimeError where the code
    was edited since it was loaded, OSError on a full disk.
    """
    began = time.perf_counter()
    if data.bits.is_cuda:
        torch.set_float32_matmul_precision("highest")
    metrics, mu = scores.evaluate(model, data, settings, seed)
    provenance.check_unedited()
    results.set_aside(path)
    left = codes.leave_codes(path, mu, data) if profiles.leaves_codes(settings) else None
    picture = None
    if profiles.keeps_pictures(settings, seed):
        picture = leave_pictures(path, model, data, metrics["kl_per_latent"])
    device = data.bits.device
    engine = {"engine": "stacked", "stack": stack} if stack else {}
    result = {
        "format": results.FORMAT, "profile": profile, "settings": dataclasses.asdict(settings),
        "seed": seed, "code": provenance.STACKED if stack else provenance.LOADED, **engine,
        "data": {"name": data.name, "source": data.source, "identity": data.identity},
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__,
            "numpy": np.__version__, "scikit-learn": sklearn.__version__,
        },
        "device": f"{device.type}: {name_of(device)}", "threads": torch.get_num_threads(),
        "minutes": round((seconds + time.perf_counter() - began) / 60, 3), "losses": history,
        "metrics": metrics, "picture": picture, "codes": left,
    }  # fmt: skip
    results.write(path, result)
    return result


def rescore(path: Path) -> None:
    """Score a result, whose training still counts, again by its codes, and write it.

    Raises BadResult or BadCodes where it or they are damaged, ValueError where it left none.
    """
    result = results.read(path)
    if not result["codes"]:
        raise ValueError(f"{path} left no codes; run it again")
    mu, factors = codes.read_codes(path.with_name(result["codes"]["file"]))
    settings, sap = Settings(**result["settings"]), result["metrics"]["sap"]
    told = (sap["factors"], sap["discrete"], settings, scores.scores_seed(result["seed"]))
    result["metrics"] |= scores.scores_of_codes(mu, factors, *told) | {"unrounded": None}
    result["code"] = result["code"] | {"scoring": provenance.LOADED["scoring"]}
    results.write(path, result)


def leave_pictures(path: Path, model: models.VAE, data: Packed, kl_per_latent: list[float]) -> dict:
    """Beside the result at `path`: traversals (PNG) and, in kept/, float16, the decoder
    (`decoder.*`) and the latents (`mu`, `log_var`) of the first test images.

    Returns what the result says of the picture.
    """
    sheet, file = (
        png(evaluate.traversal_sheet(model, data, kl_per_latent)),
        path.with_suffix(".png"),
    )
    results.write_whole(file, sheet)
    measured = evaluate.measure(model, data, data.split()[1][:KEPT_LATENTS])
    arrays = {name: p for name, p in model.state_dict().items() if name.startswith("decoder.")}
    arrays |= {name: measured[name] for name in ("mu", "log_var")}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: tensor.cpu().half().numpy() for name, tensor in arrays.items()})
    results.write_whole(path.parent / "kept" / f"{path.stem}.npz", buffer.getvalue())
    return {"file": file.name, "sha256": hashlib.sha256(sheet).hexdigest()}


def png(pixels: np.ndarray) -> bytes:
    """A picture (H, W) or (H, W, 3) uint8 as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def in_short(metrics: dict) -> str:
    """A run's scores in a line."""
    sap = f"SAP {metrics['sap']['score']:.3f}, " if metrics["sap"] else ""
    return f"{sap}reconstruction error {metrics['reconstruction_error']:.4f}"


# --- how far runs are ---


def note_step(path: Path, step: int) -> None:
    """A line more with the step that the run of the result at `path` is at, where one is asked for.

    The command that started us asks, by the name of a folder in the environment.
    """
    if folder := os.environ.get(PROGRESS):
        with contextlib.suppress(OSError), open(Path(folder) / path.stem, "a") as file:  # for show
            print(step, file=file)


def noted_steps(folder: Path, path: Path) -> tuple[int, int]:
    """The first step (a stack may go on from a checkpoint) and the last that a run noted there."""
    note = folder / path.stem
    steps = note.read_text().split() if note.exists() else [0]
    return int(steps[0]), int(steps[-1])


# --- runs that diverged ---


def note_diverged(path: Path, message: str, data: Packed) -> None:
    """Beside where the result would lie: that the run diverged, so that it is not tried again."""
    note = {"message": message, "code": provenance.STACKED, "data": data.identity}
    results.write_json(path.with_suffix(".diverged"), note)


def diverged(path: Path, data_identity: str) -> str | None:
    """What was noted of a run that diverged under the code and on the data of now."""
    try:
        note = results.read_json(path.with_suffix(".diverged"))
        made_by = (note["code"], note["data"])
        return note["message"] if made_by == (provenance.STACKED, data_identity) else None
    except (OSError, ValueError, KeyError):
        return None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Score results again by the codes that they left.")
    parser.add_argument("folders", type=Path, nargs="+", help="of results")
    try:
        for folder in parser.parse_args(arguments).folders:
            if not folder.is_dir():
                raise ValueError(f"{folder} is no folder of results")
            paths = [path for path in sorted(folder.glob("*.json")) if results.read(path)["codes"]]
            for path in paths:
                rescore(path)
            print(f"{folder}: {len(paths)} results scored again; no other left codes", flush=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
