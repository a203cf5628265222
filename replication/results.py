"""One small JSON per run: written whole or not at all, validated on reading, recognised by what made it.

A result counts for a run only if its settings, its seed, its code and its data are those of now. Results of different code or
different data are never mixed into one table.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from dipvae_src.settings import Settings, check_settings
from replication import provenance
from replication.profiles import keeps_pictures

FORMAT = 3
FIELDS = {
    "format": int, "profile": str, "settings": dict, "seed": int, "code": dict, "data": dict, "versions": dict,
    "device": str, "threads": int, "minutes": float, "losses": list, "metrics": dict, "picture": (dict, type(None)),
}  # fmt: skip
METRICS = {
    "images": int, "reconstruction_error": float, "other_errors": dict, "kl": float, "kl_per_latent": list,
    "covariance_of_means": list, "mean_variance": list,
}  # fmt: skip
SCORED = (
    ("sap", "score"),
    ("sap", "matrix"),
    ("sap", "images"),
    ("zdiff", "accuracy"),
    ("zdiff", "test"),
    ("zdiff", "seed"),
)
PARTS = {
    "shapes2d": SCORED,
    "celeba": (*SCORED, ("attributes", "accuracy"), ("attributes", "single_accuracy")),
    "chairs": (),
}


class BadResult(ValueError):
    """A result file that is not whole, not what its name says, or of other code or data than those beside it."""


# --- files ---


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` whole or not at all: a part file, flushed to the disk, then renamed.

    Raises OSError naming the file and what to do (a full disk, say); `path` is then as it was.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"could not write {path}: {error.strerror}; free some space or check its folder",
        ) from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a results folder, made if it is not there, to one command at a time; ValueError where another one is at work in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"another `make replicate`, visit or sweep is at work in {folder}; wait for it or stop it"
            ) from None
        yield


def path_of(folder: str | Path, settings: Settings, seed: int) -> Path:
    """Where the result of a run lies in a results folder."""
    return Path(folder) / f"{settings.name}_seed{seed}.json"


def write(path: Path, result: dict) -> None:
    """Validate a result and write it whole; BadResult or OSError otherwise."""
    validate(result, path)
    write_whole(path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())


def validate(result: dict, path: Path) -> None:
    """BadResult naming the file and the field where `result` is not a whole result of the run that its name says."""
    if not isinstance(result, dict):
        raise BadResult(f"{path} is not a result: it holds a {type(result).__name__}")
    for name, kind in FIELDS.items():
        if not isinstance(result.get(name, ...), kind):
            raise BadResult(
                f"{path} is not a whole result: `{name}` is missing or of the wrong type"
            )
    if result["format"] != FORMAT:
        raise BadResult(
            f"{path} has format {result['format']}, this code reads {FORMAT}; run it again"
        )
    missing = [
        name for name, kind in METRICS.items() if not isinstance(result["metrics"].get(name), kind)
    ]
    parts = PARTS.get(result["settings"].get("data"), ())
    missing += [
        f"{part}'s {name}"
        for part, name in parts
        if name not in (result["metrics"].get(part) or {})
    ]
    if missing:
        raise BadResult(f"{path} is not a whole result: its metrics lack {', '.join(missing)}")
    if not isinstance(result["data"].get("sha256"), str) or not isinstance(
        result["data"].get("source"), str
    ):
        raise BadResult(f"{path} is not a whole result: it does not say which data it used")
    try:
        settings = check_settings(Settings(**result["settings"]))
    except (TypeError, ValueError) as error:
        raise BadResult(f"{path} has settings that this code does not know: {error}") from error
    picture = result["picture"]
    if keeps_pictures(settings, result["seed"]) and not (
        picture and {"file", "sha256"} <= set(picture)
    ):
        raise BadResult(
            f"{path} is not a whole result: a row of Table 1, seed 0, comes with a picture"
        )
    if path.name != path_of("", settings, result["seed"]).name:
        raise BadResult(
            f"{path} holds the run {path_of('', settings, result['seed']).stem}; it was renamed or altered"
        )


def read(path: Path) -> dict:
    """The result in `path`, validated; BadResult or FileNotFoundError otherwise."""
    try:
        result = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise BadResult(
            f"{path} is truncated or not JSON ({error}); delete it and run it again"
        ) from error
    validate(result, path)
    picture = result["picture"]
    if picture:
        file = path.with_name(picture["file"])
        if not file.exists() or hashlib.sha256(file.read_bytes()).hexdigest() != picture["sha256"]:
            raise BadResult(
                f"{file} is missing or not the picture that {path} describes; run it again"
            )
    return result


def why_not(path: Path, settings: Settings, seed: int, data_sha256: str) -> str | None:
    """Why the file at `path` does not count as this run's result now; None if it does."""
    if not path.exists():
        return "not run yet"
    try:
        result = read(path)
    except BadResult as error:
        return str(error)
    if result["settings"] != dataclasses.asdict(settings) or result["seed"] != seed:
        return "other settings"
    if not provenance.is_present(result["code"]):
        return "other code"
    if result["data"].get("sha256") != data_sha256:
        return "other data"
    return None


def set_aside(path: Path) -> Path | None:
    """Move a result that no longer counts (and its picture, not its weights) into `old/`; its new place."""
    if not path.exists():
        return None
    kept = path.parent / "old" / f"{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}_{path.name}"
    kept.parent.mkdir(exist_ok=True)
    picture = path.with_suffix(".png")
    if picture.exists():
        os.replace(picture, kept.with_suffix(".png"))
    os.replace(path, kept)
    return kept


def collect(folder: str | Path, runs: list[tuple[Settings, tuple[int, ...]]]) -> list[dict]:
    """The results of exactly these runs, in their order; other files in the folder are not looked at.

    Raises FileNotFoundError naming the runs that are missing, BadResult where one is broken, has other settings, or where the
    results come from more than one version of the code or of the data.
    """
    wanted = [
        (settings, seed, path_of(folder, settings, seed))
        for settings, seeds in runs
        for seed in seeds
    ]
    missing = [path.stem for _, _, path in wanted if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(wanted)} results are not in {folder}: {', '.join(missing[:4])} ..."
        )
    results = []
    for settings, _, path in wanted:
        result = read(path)
        if result["settings"] != dataclasses.asdict(settings):
            raise BadResult(
                f"{path} was run with other settings than its profile has now; run it again"
            )
        results.append(result)
    codes, data = {}, {}
    for result in results:
        name = result["settings"]["data"]
        # One version, two engines: why_not counts both, so a folder may hold both.
        codes.setdefault(f"code on {name}", set()).add(
            str(provenance.LOADED if provenance.is_present(result["code"]) else result["code"])
        )
        data.setdefault(name, set()).add(result["data"]["sha256"])
    for what, values in (codes | data).items():
        if len(values) > 1:
            raise BadResult(
                f"the results in {folder} come from {len(values)} versions of the {what}; run `make replicate`"
            )
    return results
