"""Hand a profile to Ray: one task for each stack of runs, on one machine or on many; a task that is killed goes on elsewhere.

    python -m replication.engine.sweep --profile paper --out SHARED_FOLDER                   # Ray is started here, on all GPUs (or cores)
    python -m replication.engine.sweep --profile paper --out SHARED_FOLDER --address auto    # on the Ray cluster that this machine is in

Needs Ray: pip install "ray>=2.40". Every node sees SHARED_FOLDER and the data under the same names and has the packages; the code
goes with the tasks. Results are files as visit.py writes them. What counts already is not made again, so the same command goes on
where a sweep, or a visit, was stopped. Each unit keeps a log in SHARED_FOLDER/logs and, at work, a checkpoint in its checkpoints.
"""

import argparse
import contextlib
import fcntl
import functools
import hashlib
import logging
import math
import os
import platform
import signal
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dipvae_src import data as packed
from dipvae_src.settings import Settings
from replication import profiles, provenance, results
from replication.engine import checkpoints, stack_results, visit
from replication.engine import stack as stacked
from replication.engine.stack import Stack
from replication.engine.visit import Run
from replication.machine import device_of

Unit = tuple[str, list[Run]]  # its name, of its checkpoint and its log, and its runs
INSTALL = 'pip install "ray>=2.40"'
RETRIES = 5  # of a unit whose worker died or whose files failed; it loses no more than what it did since its last checkpoint
MARK = ".sweep"  # a file in the folder by which a unit knows that its node sees the same folder


# --- what is to be done ---


def missing(runs: Sequence[Run], folders: Sequence[Path], sha256: dict[str, str]) -> list[Run]:
    """Those of `runs` that count in none of `folders` and did not diverge in the first; `sha256`: of the data, by their names."""
    digests = [(run, sha256.get(run[0].data, "")) for run in runs]
    found = [
        (run, digest)
        for run, digest in digests
        if not any(visit.counts(folder, run, digest) for folder in folders)
    ]
    return [run for run, digest in found if not visit.diverged(folders[0], run, digest)]


def units(
    todo: Sequence[Run], size: int, waiting: dict[str, list[Run]] | None = None
) -> list[Unit]:
    """`todo` in units: each run in exactly one, at most `size` of one shape in each, most valuable first.

    What waits in checkpoints, {name: runs}, comes before and stays together. Raises ValueError or TypeError where a run cannot be
    trained in a stack.
    """
    found, rest = [], list(todo)
    for name, runs in (waiting or {}).items():
        if own := [run for run in rest if run in runs]:
            found.append((name, own))
            rest = [run for run in rest if run not in own]
    while rest:
        own = [run for run in rest if stacked.shape_of(run[0]) == stacked.shape_of(rest[0][0])][
            :size
        ]
        found.append((f"stack-{hashlib.sha256(repr(own).encode()).hexdigest()[:12]}", own))
        rest = [run for run in rest if run not in own]
    for _, own in found:
        stacked.check_runs(own)
    return found


def refuse(path: Path, error: Exception, log: Callable[[str], None]) -> None:
    """Set a checkpoint aside that cannot go on."""
    os.replace(path, path.with_suffix(".refused"))
    log(f"REFUSED: {error}; kept as {path.with_suffix('.refused').name}, its runs start again")


def waiting_in(
    folders: Sequence[Path], sha256: dict[str, str], log: Callable[[str], None]
) -> dict[str, list[Run]]:
    """Checkpoints in the first folder, {name: runs}; a broken one is set aside, one whose runs are all made deleted."""
    found = {}
    for path in sorted((folders[0] / "checkpoints").glob("*.npz")):
        try:
            runs = [
                (Settings(**settings), seed) for settings, seed in checkpoints.read(path)[0]["runs"]
            ]
        except (ValueError, KeyError, TypeError) as error:
            refuse(path, error, log)
            continue
        if missing(runs, folders, sha256):
            found[path.stem] = runs
        else:
            path.unlink()
            log(f"{path.name}: all of its runs are made; deleted")
    return found


# --- one unit, on whichever node ---


@dataclass(frozen=True)
class Job:
    """What all units of a sweep share."""

    profile: str
    out: Path  # absolute, as is data_dir
    data_dir: Path
    device: str
    sha256: dict[str, str]  # of the data sets, by their names
    mark: str
    save_every: float = visit.CHECKPOINT_EVERY  # seconds
    code: str = provenance.short(provenance.STACKED)


def unit(job: Job, name: str, runs: list[Run]) -> dict:
    """Train and score those of `runs` that are missing, from the checkpoint `name` where there is one, and write their results.

    The number it `made` and that `diverged`, the `host` and its `seconds`. Raises ValueError where this node has another folder,
    other code or other data than the sweep; OSError on a full disk or a folder that fails, after which it may be called again.
    """
    began, host, mark = time.perf_counter(), platform.node(), job.out / MARK
    if not mark.exists() or mark.read_text() != job.mark:
        raise ValueError(
            f"{job.out} on {host} is not the folder of this sweep; --out must be one folder that all nodes share"
        )
    if provenance.short(provenance.STACKED) != job.code:
        raise ValueError(
            f"the code on {host} is not, or no longer, that of this sweep; start the sweep again with one version"
        )
    book = job.out / "logs" / f"{name}.log"
    book.parent.mkdir(parents=True, exist_ok=True)
    with open(book, "a") as file:

        def log(line: str) -> None:
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}", file=file, flush=True)

        # A worker that Ray gave up, though it lives, holds this lock: its successor waits. The lock of a killed one is free.
        fcntl.flock(file, fcntl.LOCK_EX)
        log(f"{host}, process {os.getpid()}: begins")
        made, diverged = work(job, name, runs, log)
        log(f"{made} runs made")
    return {
        "made": made,
        "diverged": diverged,
        "host": host,
        "seconds": time.perf_counter() - began,
    }


def work(job: Job, name: str, runs: list[Run], log: Callable[[str], None]) -> tuple[int, int]:
    """What `unit` does under its lock: (made, diverged)."""
    path, device = job.out / "checkpoints" / f"{name}.npz", device_of(job.device)
    path.with_name(path.name + ".part").unlink(missing_ok=True)  # of a worker killed while it saved
    todo = missing(runs, (job.out,), job.sha256)
    if not todo:
        path.unlink(missing_ok=True)
        return 0, 0
    if device.type == "cpu":
        torch.set_num_threads(1)  # as run.py has it
    data, cuda = packed.load(todo[0][0].data, job.data_dir, device), device.type == "cuda"
    if data.sha256 != job.sha256[todo[0][0].data]:
        raise ValueError(
            f"the data in {job.data_dir} on {platform.node()} are not those of the machine that started the sweep"
        )
    options = {
        "precision": "bf16" if cuda else "float32",
        "compiled": cuda,
        "graphed": cuda,
        "log": log,
    }  # as in visit.py
    try:
        stack = (
            checkpoints.restore(path, data, **options)
            if path.exists()
            else Stack(todo, data, **options)
        )
    except checkpoints.BadCheckpoint as error:
        refuse(path, error, log)
        stack = Stack(todo, data, **options)
    log(f"{len(todo)} of {len(runs)} runs to make, from step {stack.step:,} of {stack.steps:,}")
    saved = time.perf_counter()

    def stop() -> bool:
        nonlocal saved
        if time.perf_counter() - saved > job.save_every:
            checkpoints.save(path, stack)
            saved = time.perf_counter()
            log(f"saved at step {stack.step:,}")
        return False

    stack.train(stop)
    try:
        made = sum(stack_results.write(stack, todo, job.profile, job.out, data, log))
    except BaseException:
        checkpoints.save(path, stack)  # nothing but the scores is lost
        raise
    path.unlink(missing_ok=True)
    return made, len(todo) - made


# --- all units, from one command ---


def check(args) -> None:
    """ValueError for what the command line cannot mean."""
    for wrong, message in (
        (
            not 0 < args.gpus <= 1,
            f"gpus must be above 0 and at most 1 (the share of a GPU that a unit takes), not {args.gpus}",
        ),
        (args.stack < 1, f"stack must be at least 1, not {args.stack}"),
        (args.local is not None and args.local < 1, f"local must be at least 1, not {args.local}"),
        (
            not 0 < args.save_every < math.inf,
            f"save-every must be a number of seconds above 0, not {args.save_every}",
        ),
        (
            args.address and args.local,
            "address joins a Ray cluster, local starts Ray here; give one of them",
        ),
        (
            args.device not in (None, "cpu", "cuda"),
            f"unknown device {args.device!r}; use cpu or cuda",
        ),
    ):
        if wrong:
            raise ValueError(message)


def start(args):
    """The module ray, started or joined; ValueError with one line where it is not installed."""
    # The last: else a unit too large for its node's memory is tried without end.
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0",
        RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
        RAY_task_oom_retries=str(RETRIES),
    )
    try:
        import ray
    except ImportError:
        raise ValueError(
            f"a sweep needs Ray, which is not installed here: {sys.executable} -m {INSTALL}"
        ) from None
    here = {
        "num_cpus": args.local,
        "include_dashboard": False,
        "object_store_memory": 10**8,
    }  # nothing large passes through it
    worker = {
        "py_modules": [str(provenance.ROOT / name) for name in ("dipvae_src", "replication")],
        "env_vars": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
    }  # as in run.py
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    ray.init(args.address or "local", runtime_env=worker, **quiet, **({} if args.address else here))
    return ray


def follow(
    ray, job: Job, parts: list[Unit], gpus: float, say: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Run all units and say a line as each ends: (runs made, names of the units that failed)."""
    share = {"num_gpus": gpus} if job.device == "cuda" else {"num_cpus": 1}
    task = ray.remote(**share, max_retries=RETRIES, retry_exceptions=[OSError])(unit)
    names = {
        task.options(name=name).remote(job, name, runs): (name, len(runs)) for name, runs in parts
    }
    rest, made, failed = list(names), 0, []
    while rest:
        (done,), rest = ray.wait(rest)
        (name, count), at = names[done], f"{len(parts) - len(rest)} of {len(parts)} units"
        try:
            found = ray.get(done)
        except ray.exceptions.RayError as error:
            failed.append(name)
            why = stacked.first_line(getattr(error, "cause", None) or error)
            say(
                f"{at}: {name} FAILED, {count} runs: {why} (its log: {job.out / 'logs' / name}.log)"
            )
            continue
        made += found["made"]
        bad = f", {found['diverged']} diverged" if found["diverged"] else ""
        say(
            f"{at}: {name}, {found['made']} runs made{bad} in {found['seconds'] / 60:.1f} min on {found['host']}"
        )
    return made, failed


def hand_out(
    args,
    out: Path,
    data_dir: Path,
    sha256: dict[str, str],
    parts: list[Unit],
    say: Callable[[str], None],
) -> tuple[int, list[str]]:
    """Start or join Ray, have it run all units, and leave it: (runs made, names of the units that failed)."""
    ray = start(args)
    before = signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # ends as Ctrl-C does; Ray's own handler aborts
    try:
        has = ray.cluster_resources()
        device = args.device or ("cuda" if has.get("GPU") else "cpu")
        if device == "cuda" and not has.get("GPU"):
            raise ValueError(
                "device cuda was asked for, but no node of Ray has a GPU; use --device cpu or add such a node"
            )
        what = f"{sum(len(runs) for _, runs in parts)} runs to do in {len(parts)} units"
        where = f"nodes {len(ray.nodes())}, cores {has.get('CPU', 0):g}, GPUs {has.get('GPU', 0):g}"
        say(f"Profile {args.profile} on {device}: {what}; {where}")
        job = Job(args.profile, out, data_dir, device, sha256, uuid.uuid4().hex, args.save_every)
        results.write_whole(out / MARK, job.mark.encode())
        return follow(ray, job, parts, args.gpus, say)
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        (out / MARK).unlink(missing_ok=True)


def sweep(args) -> int:
    """The exit status: 0 where nothing is left to do, 1 where a unit failed."""
    check(args)
    began, out, data_dir = (
        time.perf_counter(),
        Path(args.out or f"runs/{args.profile}").resolve(),
        Path(args.data).resolve(),
    )
    runs = visit.in_order(args.profile, args.seeds)
    sha256 = {
        name: packed.load(name, data_dir).sha256 for name in {settings.data for settings, _ in runs}
    }
    folders = (out, (Path("results") / args.profile).resolve())
    units(runs, args.stack)  # refuses what cannot be trained so, before any work
    with results.locked(out):
        for book in (out / "logs").glob("stack-*.log"):
            with open(book) as at_work:
                fcntl.flock(
                    at_work, fcntl.LOCK_SH
                )  # the workers of a sweep that was killed outlive it by some seconds
        say = functools.partial(print, file=sys.stdout, flush=True)
        made, failed, parts = (
            0,
            [],
            units(missing(runs, folders, sha256), args.stack, waiting_in(folders, sha256, say)),
        )
        if parts:
            (out / "logs").mkdir(exist_ok=True)
            # What Ray has to say of nodes and workers goes to stdout whatever it is told; here it goes to a log.
            with (
                open(out / "logs" / "ray.log", "a") as remarks,
                contextlib.redirect_stdout(remarks),
            ):
                made, failed = hand_out(args, out, data_dir, sha256, parts, say)
        left = missing(runs, folders, sha256)
    words = [f"{made} runs made in this sweep"]
    if bad := [note for run in runs if (note := visit.diverged(out, run, sha256[run[0].data]))]:
        words.append(f"{len(bad)} diverged and are not tried again ({bad[0]})")
    if failed:
        words.append(f"{len(failed)} of {len(parts)} units FAILED: {', '.join(failed)}")
    words.append(
        f"{len(left)} of {len(runs)} runs are left"
        if left
        else f"nothing is left of {len(runs)} runs"
    )
    print(f"{'; '.join(words)} ({(time.perf_counter() - began) / 60:.1f} min)")
    return int(bool(failed or left))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="paper", help=", ".join(profiles.PROFILES))
    parser.add_argument(
        "--seeds", type=int, help="of every setting; as the profile says unless told"
    )
    parser.add_argument(
        "--out", help="results folder that all nodes share; runs/PROFILE unless told"
    )
    parser.add_argument(
        "--address",
        help="auto, or HOST:PORT of a Ray cluster; Ray is started on this machine unless told",
    )
    parser.add_argument(
        "--local",
        type=int,
        help="where Ray is started here: units at once, at most; one a core unless told",
    )
    parser.add_argument("--stack", type=int, default=8, help="models at once in a unit, at most")
    parser.add_argument("--gpus", type=float, default=0.5, help="share of a GPU that a unit takes")
    parser.add_argument("--device", help="cpu or cuda; cuda where Ray has a GPU unless told")
    parser.add_argument(
        "--save-every",
        type=float,
        default=visit.CHECKPOINT_EVERY,
        help="seconds between checkpoints of a unit",
    )
    parser.add_argument("--data", default="data", help="folder of the data, the same on every node")
    try:
        return sweep(parser.parse_args(arguments))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoints", file=sys.stderr)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    from dipvae_src import (
        sweep as module,
    )  # Ray finds a task by the name of its module, and __main__ is another one there

    sys.exit(module.main())
