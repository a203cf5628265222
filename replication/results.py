"""One small JSON per run: written whole or not at all, checked on reading, told by what made it.

A result counts for a run only if its settings, its seed, its code and its data are those of now.
Results of different code or data are never mixed into one table. forms.py says what a result holds.
Every JSON file carries a checksum of its own content.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep.packed import checksum_of as checksum
from dipvae_src.settings import Settings
from replication import provenance
from replication.forms import FORMAT, BadResult, check_result

MEND = "run it again, or restore the committed one with git"
REMEDIES = {
    errno.ENOSPC: "free some space", errno.EDQUOT: "free some space",
    errno.EISDIR: "move away the folder in its place", errno.ELOOP: "delete the link in its place",
    errno.ENOTDIR: "a file is in a folder's place", errno.EEXIST: "a file is in a folder's place",
}  # fmt: skip


def told(error: OSError) -> str:
    """What went wrong with a file, and what to do."""
    what_to_do = REMEDIES.get(error.errno, "check its folder and who may use it")
    return f"{error.strerror or error}; {what_to_do}"


# --- files ---


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` whole or not at all: a part file, flushed to the disk, renamed.

    Raises OSError naming the file and what to do (a full disk, say); `path` is then as it was.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise OSError(f"could not write {path}: {told(error)}") from error


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file whole, with its checksum; ValueError where it holds NaN, or OSError."""
    signed = content | {"checksum": checksum(content)}
    text = json.dumps(signed, indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(path, (text + "\n").encode())


def read_json(path: Path, mend: str = MEND, signed: bool = True) -> dict:
    """What a JSON file of ours holds beside its checksum, which is checked (unless not `signed`).

    Raises FileNotFoundError, or BadResult with the file, what is wrong with it and what mends it.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is not there; {mend}") from None
    except OSError as error:
        raise BadResult(f"{path} cannot be read: {told(error)}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8 is a ValueError
        raise BadResult(f"{path} is truncated or not JSON ({error}); {mend}") from error
    own = content.pop("checksum", None) if isinstance(content, dict) else None
    if signed and not own:
        raise BadResult(f"{path} has no checksum; {mend}")
    if signed and own != checksum(content):
        raise BadResult(f"{path} was altered: it does not fit its checksum; {mend}")
    return content


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a results folder, made if it is not there, to one command at a time.

    Raises ValueError where another one is at work in it, OSError where it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise OSError(f"could not write {folder / '.lock'}: {told(error)}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"another `make replicate` or sweep is at work in {folder}; wait for it or stop it"
            ) from None
        yield


# --- results ---


def path_of(folder: str | Path, settings: Settings, seed: int) -> Path:
    """Where the result of a run lies in a results folder."""
    return Path(folder) / f"{settings.name}_seed{seed}.json"


def write(path: Path, result: dict) -> None:
    """Check a result and write it whole; BadResult or OSError otherwise."""
    validate(result, path)
    write_json(path, result)


def validate(result: dict, path: Path) -> None:
    """BadResult naming file and field where this is no whole result of the run that `path` says."""
    if result.get("format") != FORMAT:
        found = f"{path} has format {result.get('format')!r:.40}"
        raise BadResult(f"{found}, this code reads {FORMAT}; {MEND}")
    try:
        check_result(result, path.stem)
    except BadResult as error:
        raise BadResult(f"{path} is not a whole result: {error}; {MEND}") from error


def read(path: Path) -> dict:
    """The result in `path`, with its picture and codes; else BadResult or FileNotFoundError."""
    result = read_json(path)
    validate(result, path)
    for what in ("picture", "codes"):
        if not result[what]:
            continue
        file = path.with_name(result[what]["file"])
        try:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            raise BadResult(f"{file} cannot be read: {error.strerror}; {MEND}") from error
        if digest != result[what]["sha256"]:
            raise BadResult(f"{file} is not the file that {path.name} describes; {MEND}")
    return result


def read_kept(path: Path) -> dict[str, np.ndarray] | None:
    """What a run left in kept/: `mu` and `log_var` (N, D), `decoder.*`; None if it is not there.

    None too where it is damaged or holds what is not finite, which a printed line says.
    """
    if not os.path.lexists(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        layers = {name.rpartition(".")[0] for name in arrays if name.startswith("decoder.")}
        wanted = {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
        if not layers or arrays.keys() != wanted | {"mu", "log_var"}:
            raise ValueError("not what a run leaves")
        if arrays["mu"].ndim != 2 or arrays["mu"].shape != arrays["log_var"].shape:
            raise ValueError("latents of other shapes")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("a number is not finite")
    except Exception as error:  # NumPy and zipfile know a dozen kinds of damage
        print(f"left out: {path} is damaged ({error}); delete it and its result to run it again")
        return None
    return arrays


def why_not(path: Path, settings: Settings, seed: int, identity: str) -> str | None:
    """Why the file at `path` does not count as this run's result now, in words; None if it does.

    `identity`: of the data that the run would be made on now (`Packed.identity`).
    """
    try:
        result = read(path)
    except FileNotFoundError:
        return "not run yet"
    except BadResult as error:
        return str(error)
    if result["settings"] != dataclasses.asdict(settings) or result["seed"] != seed:
        return "other settings"
    if parts := provenance.other_parts(result["code"]):
        return f"other {' and '.join(parts)} code"
    return None if result["data"]["identity"] == identity else "other data"


def set_aside(path: Path) -> Path | None:
    """Move what is in a result's place, its picture and codes, into `old/`; its new place."""
    if not os.path.lexists(path):
        return None
    kept = path.parent / "old" / f"{time.time_ns()}_{path.name}"
    kept.parent.mkdir(exist_ok=True)
    for end in (".png", ".codes.npz", ".json"):
        if os.path.lexists(old := path.with_suffix(end)):
            os.replace(old, kept.with_suffix(end))
    return kept


def collect(folder: str | Path, runs: list[tuple[Settings, tuple[int, ...]]]) -> list[dict]:
    """The results of exactly these runs, in their order; other files are not looked at.

    Raises FileNotFoundError naming the runs that are missing, BadResult where one is broken, has
    other settings, or where they come from more than one version of the code or of the data.
    """
    wanted = [(s, path_of(folder, s, seed)) for s, seeds in runs for seed in seeds]
    if missing := [path.stem for _, path in wanted if not os.path.lexists(path)]:
        count, names = f"{len(missing)} of {len(wanted)} results", ", ".join(missing[:4])
        raise FileNotFoundError(f"{count} are not in {folder}: {names} ...")
    found, versions = [], {}
    for settings, path in wanted:
        result = read(path)
        if result["settings"] != dataclasses.asdict(settings):
            raise BadResult(f"{path} has other settings than its profile now; run it again")
        found.append(result)
        # One version, two ways of training: why_not counts both, so a folder may hold both.
        code = "now" if provenance.is_present(result["code"]) else str(result["code"])
        for what, its in ((f"code on {settings.data}", code),
                          (settings.data, result["data"]["identity"])):  # fmt: skip
            versions.setdefault(what, {}).setdefault(its, []).append(path.name)
    for what, its in versions.items():
        if len(its) > 1:
            rarest = min(its.values(), key=len)
            count = f"{len(its)} versions of the {what} ({len(rarest)} from another: {rarest[0]})"
            raise BadResult(
                f"the results in {folder} come from {count}; run `make replicate`, or put results "
                "of one version there"
            )
    return found
