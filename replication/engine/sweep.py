"""Hand a profile to Ray: a task for each stack of runs, on one machine or on many.

    python -m replication.engine.sweep --profile paper --out FOLDER     # on this machine
    python -m replication.engine.sweep --profile paper --out FOLDER --address auto    # its cluster

Needs Ray: pip install "ray>=2.40". Every node sees FOLDER and the data under the same names and has
the packages; the code goes with the tasks. What counts already is not made again, so the same
command goes on where a sweep was stopped; a task that is killed goes on elsewhere, from its
checkpoint. Each unit keeps a log in FOLDER/logs.
"""

from replication import lifeline  # noqa: F401  # isort: skip  (first: it holds us to our starter)

import argparse
import contextlib
import dataclasses
import fcntl
import functools
import logging
import math
import os
import platform
import signal
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from replication import datasets, profiles, provenance, results
from replication.engine import runner
from replication.engine.runner import name_of
from replication.engine.stack import Run, first_line

INSTALL = 'pip install "ray>=2.40"'
RETRIES = 5  # of a unit whose worker died or whose files failed
MARK = ".sweep"  # a file in the folder by which a unit knows that its node sees the same folder


@dataclasses.dataclass(frozen=True)
class Job:
    """What all units of a sweep share."""

    profile: str
    out: Path  # absolute, as are the others
    data_dir: Path
    have: Path
    identity: str  # of the data
    device: str = "cpu"
    save_every: float = runner.SAVE_EVERY  # seconds
    mark: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    code: str = provenance.short(provenance.STACKED)

    def log_of(self, runs: list[Run]) -> Path:
        """The log of a unit."""
        return self.out / "logs" / f"{name_of(runs)}.log"

    def check_node(self, data: str) -> None:
        """ValueError where this node has another folder, code or data than the sweep."""
        mark, host = self.out / MARK, platform.node()
        if not mark.exists() or mark.read_text("utf-8") != self.mark:
            what = f"{self.out} on {host} is not the folder of this sweep"
            raise ValueError(f"{what}; --out must be one folder that all nodes share")
        if provenance.short(provenance.STACKED) != self.code:
            what = f"the code on {host} is not, or no longer, that of this sweep"
            raise ValueError(f"{what}; start the sweep again with one version")
        if datasets.load(data, self.data_dir).identity != self.identity:
            what = f"the data in {self.data_dir} on {host}"
            raise ValueError(f"{what} are not those of the machine that started the sweep")


def unit(job: Job, runs: list[Run]) -> dict:
    """Make those of `runs` that are missing, on whichever node; the number made, host, seconds.

    Raises what `check_node` does; OSError on a full disk or a folder that fails, after which it
    may be called again.
    """
    began, host = time.perf_counter(), platform.node()
    job.check_node(runs[0][0].data)
    with open(job.log_of(runs), "a", encoding="utf-8") as file:

        def log(line: str) -> None:
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}", file=file, flush=True)

        # A worker that Ray gave up, though it lives, holds this lock: its successor waits.
        fcntl.flock(file, fcntl.LOCK_EX)
        log(f"{host}, process {os.getpid()}: begins")
        way = "trial" if job.device == "cuda" else "stack"
        made = runner.train_unit(
            job.profile, runs, job.data_dir, job.out, job.device, way,
            have=(job.have,), save_every=job.save_every, log=log,
        ).made  # fmt: skip
        log(f"{made} runs made")
    return {"made": made, "host": host, "seconds": time.perf_counter() - began}


# --- all units, from one command ---


def start_ray(address: str | None, local: int | None):
    """The module ray, started or joined; ValueError with one line where it is not installed."""
    # The last: else a unit too large for its node's memory is tried without end.
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
        RAY_task_oom_retries=str(RETRIES),
    )  # fmt: skip
    try:
        import ray
    except ImportError:
        what = f"{sys.executable} -m {INSTALL}"
        raise ValueError(f"a sweep needs Ray, which is not installed here: {what}") from None
    # Nothing large passes through its store.
    here = {"num_cpus": local, "include_dashboard": False, "object_store_memory": 10**8}
    packages = ("dipvae_src", "data_prep", "replication")
    code = {"py_modules": [str(provenance.ROOT / name) for name in packages]}
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    ray.init(address or "local", runtime_env=code, **quiet, **({} if address else here))
    return ray


def follow(
    ray, job: Job, parts: list[list[Run]], gpus: float, say: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Run all units and say a line as each ends: (runs made, names of the units that failed)."""
    share = {"num_gpus": gpus} if job.device == "cuda" else {"num_cpus": 1}
    task = ray.remote(**share, max_retries=RETRIES, retry_exceptions=[OSError])(unit)
    at_work = {task.options(name=name_of(runs)).remote(job, runs): runs for runs in parts}
    rest, made, failed = list(at_work), 0, []
    while rest:
        (done,), rest = ray.wait(rest)
        runs = at_work[done]
        name, at = name_of(runs), f"{len(parts) - len(rest)} of {len(parts)} units"
        try:
            found = ray.get(done)
        except ray.exceptions.RayError as error:
            failed.append(name)
            why = first_line(getattr(error, "cause", None) or error)
            say(f"{at}: {name} FAILED, {len(runs)} runs: {why} (its log: {job.log_of(runs)})")
            continue
        made += found["made"]
        spent = f"{found['seconds'] / 60:.1f} min on {found['host']}"
        say(f"{at}: {name}, {found['made']} of {len(runs)} runs made in {spent}")
    return made, failed


def hand_out(
    args: argparse.Namespace, job: Job, parts: list[list[Run]], say: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Start or join Ray, have it run all units, and leave it; see `follow`."""
    ray = start_ray(args.address, args.local)
    # SIGTERM ends as Ctrl-C does; Ray's own handler aborts.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    mark = job.out / MARK
    try:
        has = ray.cluster_resources()
        cores, gpus = has.get("CPU", 0), has.get("GPU", 0)
        job = dataclasses.replace(job, device=args.device or ("cuda" if gpus else "cpu"))
        if job.device == "cuda" and not gpus:
            raise ValueError(
                "device cuda was asked for, but no node of Ray has a GPU; "
                "use --device cpu or add such a node"
            )
        what = f"{sum(map(len, parts))} runs to do in {len(parts)} units"
        where = f"nodes {len(ray.nodes())}, cores {cores:g}, GPUs {gpus:g}"
        say(f"Profile {job.profile} on {job.device}: {what}; {where}")
        results.write_whole(mark, job.mark.encode())
        return follow(ray, job, parts, args.gpus, say)
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        mark.unlink(missing_ok=True)


def sweep(args: argparse.Namespace) -> int:
    """The exit status: 0 where nothing is left to do, 1 where a unit failed."""
    began, made, failed = time.perf_counter(), 0, []
    out, data_dir = Path(args.out or f"runs/{args.profile}").resolve(), Path(args.data).resolve()
    have, data = provenance.ROOT / "results" / args.profile, "shapes2d"  # what can be stacked
    runs = profiles.in_order(profiles.plan(args.profile, args.seeds, data))
    identity = datasets.load(data, data_dir).identity
    say = functools.partial(print, file=sys.stdout, flush=True)
    job = Job(args.profile, out, data_dir, have, identity, save_every=args.save_every)
    (out / "logs").mkdir(parents=True, exist_ok=True)
    with results.locked(out), open(out / "logs" / "ray.log", "a", encoding="utf-8") as remarks:
        # The workers of a sweep that was killed outlive it by some seconds; what they write counts.
        for log in out.glob("logs/stack-*.log"):
            with open(log, encoding="utf-8") as at_work:
                fcntl.flock(at_work, fcntl.LOCK_SH)
        waiting = list(runner.waiting_in(out, say).values())
        todo = runner.pending_of(runs, (out, have), identity)
        if parts := runner.units(todo, args.stack, waiting):
            # What Ray has to say goes to stdout whatever it is told; here it goes to a log.
            with contextlib.redirect_stdout(remarks):
                made, failed = hand_out(args, job, parts, say)
        left = runner.pending_of(runs, (out, have), identity)
    words = [f"{made} runs made in this sweep"]
    if noted := runner.diverged_of(runs, (out, have), identity):
        words.append(f"{len(noted)} diverged and are not tried again ({noted[0]})")
    if failed:
        words.append(f"{len(failed)} of {len(parts)} units FAILED: {', '.join(failed)}")
    words.append(f"{len(left)} of {len(runs)} runs are left" if left else
                 f"nothing is left of {len(runs)} runs")  # fmt: skip
    say(f"{'; '.join(words)} ({(time.perf_counter() - began) / 60:.1f} min)")
    return int(bool(failed or left))


def number(kind: type, most: float = math.inf) -> Callable[[str], float]:
    """What an option takes: a number of this kind above 0, `most` at most."""

    def parse(text: str) -> float:
        if not 0 < kind(text) <= most or math.isinf(kind(text)):
            limit = f" and at most {most:g}" if most < math.inf else ""
            raise argparse.ArgumentTypeError(f"must be a finite number above 0{limit}, not {text}")
        return kind(text)

    return parse


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option, ray = parser.add_argument, parser.add_mutually_exclusive_group().add_argument
    option("--profile", default="paper", help=", ".join(profiles.PROFILES))
    option("--seeds", type=int, help="of every setting; as the profile says unless told")
    option("--out", help="results folder that all nodes share; runs/PROFILE unless told")
    ray("--address", help="auto, or HOST:PORT of a Ray cluster; Ray starts here unless told")
    ray("--local", type=number(int), help="where Ray starts here: units at once; else one a core")
    option("--stack", type=number(int), default=8, help="models at once in a unit, at most")
    option("--gpus", type=number(float, 1), default=0.5, help="share of a GPU that a unit takes")
    option("--device", choices=("cpu", "cuda"), help="cuda where Ray has a GPU unless told")
    option("--save-every", type=number(float), default=runner.SAVE_EVERY,
           help="seconds between checkpoints")  # fmt: skip
    option("--data", default="data", help="folder of the data, the same on every node")
    args = parser.parse_args(arguments)
    try:
        return sweep(args)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoints", file=sys.stderr)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    # Ray finds a task by the name of its module, and __main__ is another one there.
    from replication.engine import sweep as module

    sys.exit(module.main())
