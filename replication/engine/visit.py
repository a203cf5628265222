"""Train as much of a profile as a time budget allows, most valuable runs first, many models at once; go on at the next visit.

    python -m replication.engine.visit --profile paper --minutes 9 --out runs/paper      # on a GPU; again until nothing is left
    python -m replication.engine.visit --rehearse                                        # all of it in small, on any device

A visit ends before its budget does, with status 0 and a line on what is left. Finished runs are result files as run.py writes them;
what counts already, in --out or in --have, is not made again, so the results of visits and machines merge by copying. An unfinished
stack waits in OUT/checkpoints. SIGTERM and Ctrl-C end a visit as its budget would.
"""

import argparse
import functools
import gc
import hashlib
import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dipvae_src import data as packed
from dipvae_src import models
from dipvae_src.settings import Settings
from replication import profiles, provenance, results
from replication.engine import checkpoints, stack_results
from replication.engine import stack as stacked
from replication.engine.stack import Stack
from replication.machine import device_of, processor

Run = tuple[Settings, int]
CHECKPOINT_EVERY = 300  # seconds
MEASURED_FROM = 20  # steps that a stack has to make in a visit before its pace is believed
MARGIN = 10.0  # seconds of a budget that nothing is planned for: imports before it, the unforeseen
# First guesses of what a visit costs beside its steps; what is met is measured.
START_SECONDS = {
    True: 90.0,
    False: 10.0,
}  # until a compiled stack is at its pace: the first of its size in a process, and any other
SCORE_SECONDS = {"cuda": 2.0, "cpu": 60.0}  # scores of one run of the paper's size, whole test set
WRITE_RATE = 2e8  # bytes a second of a checkpoint


# --- what is to be done ---


def in_order(profile: str, seeds: int | None = None) -> list[Run]:
    """Every run of a profile on 2D Shapes, most valuable first: Table 1's rows seed by seed, then the rest of Figure 1, then the
    other readings. (Convolutional models are not stacked; run.py trains those.)
    """
    plan, rows = profiles.plan(profile, seeds, "shapes2d"), len(profiles.table_1())
    figure, readings = (
        [e for e in plan[rows:] if bool(e[0].reading) == other] for other in (False, True)
    )
    found = []
    for part in (plan[:rows], figure, readings):
        for seed in range(max((len(seeds) for _, seeds in part), default=0)):
            found += [(settings, seed) for settings, seeds in part if seed in seeds]
    return found


def counts(folder: Path, run: Run, data_sha256: str) -> bool:
    """Whether a folder holds this run's result as code and data are now, made by the plain loop or by the stacked engine."""
    return results.why_not(results.path_of(folder, *run), *run, data_sha256) is None


def diverged(folder: Path, run: Run, data_sha256: str) -> str | None:
    """What was noted of a run that diverged under the code and on the data of now."""
    try:
        note = json.loads(results.path_of(folder, *run).with_suffix(".diverged").read_text())
        return (
            note["message"]
            if (note["code"], note["data"]) == (provenance.STACKED, data_sha256)
            else None
        )
    except (OSError, ValueError, KeyError):
        return None


# --- the visit ---


@dataclass
class Visit:
    """One call within its budget: where it works, how it trains, and what it has learnt of its costs."""

    profile: str
    out: Path
    data: packed.Packed
    deadline: float  # of time.perf_counter
    size: int  # models at once, at most
    options: dict = field(default_factory=dict)  # of Stack: precision, compiled, graphed
    have: tuple[Path, ...] = ()
    log: Callable[[str], None] = print
    seeds: int | None = None  # of every setting; as the profile says unless told
    guess: float | None = (
        None  # seconds of a model step at the profile's batch, until one is measured
    )
    stop_at: int | None = (
        None  # a step at which to stop as if the time were over: for rehearsals and tests
    )
    told: bool = False  # to stop, by a signal
    finished: int = 0
    trained: bool = False
    write_rate: float = WRITE_RATE

    def __post_init__(self) -> None:
        self.runs = in_order(self.profile, self.seeds)
        settings = self.runs[0][0]
        self.score_seconds = (
            SCORE_SECONDS[self.data.bits.device.type] * settings.test_images / 73_728
        )
        self.start_seconds = (
            dict(START_SECONDS)
            if self.options.get("compiled")
            else dict.fromkeys(START_SECONDS, 0.0)
        )
        self.sizes: set[tuple[str, int]] = (
            set()
        )  # of stacks that this process has trained: key, models
        self.memory_bound = (
            self.data.bits.is_cuda
        )  # Adam's traffic, the same for every batch, takes most of a GPU's step
        self.model_bytes = 12 * sum(
            p.numel() for p in models.fc_vae(settings.latents, settings.width).parameters()
        )
        self.device = torch.cuda.get_device_name() if self.data.bits.is_cuda else processor()
        self.paces = (
            self._paces()
        )  # seconds of a model step, as an earlier visit on such a device measured it

    def _paces(self) -> dict[str, float]:
        try:
            return json.loads((self.out / "checkpoints" / "pace.json").read_text())
        except (OSError, ValueError):
            return {}

    def key(self, settings: Settings) -> str:
        """What a pace is measured for."""
        return f"{self.device}, width {settings.width}, batch {settings.batch_size}, {json.dumps(self.options)}"

    def training_seconds(self, settings: Settings) -> float:
        """Of one run's share of a stack, by its pace, or else by the guess; 0 while neither is known."""
        scale = 1.0 if self.memory_bound else settings.batch_size / self.runs[0][0].batch_size
        return settings.steps * self.paces.get(self.key(settings), (self.guess or 0.0) * scale)

    def left(self) -> float:
        return self.deadline - MARGIN - time.perf_counter()

    def pending(self) -> list[Run]:
        """The runs that do not count yet and have not diverged, most valuable first."""
        sha256, folders = self.data.sha256, (self.out, *self.have)
        missing = [
            run for run in self.runs if not any(counts(folder, run, sha256) for folder in folders)
        ]
        return [
            run for run in missing if not any(diverged(folder, run, sha256) for folder in folders)
        ]

    def seconds_for(self, settings: Settings, count: int) -> float:
        """Of a new stack of so many models, from its start to its last result; of what is not known yet, nothing."""
        first = (self.key(settings), count) not in self.sizes
        return (
            self.start_seconds[first]
            + (self.training_seconds(settings) + self.score_seconds) * count
        )

    def go(self) -> None:
        """Train, score and write until nothing is left or the time is over."""
        for stack, path in self.stacks():
            if not self.go_on(stack, path):
                break
            del stack
            gc.collect()

    def stacks(self) -> Iterator[tuple[Stack, Path]]:
        """First those that wait in OUT/checkpoints (what cannot go on is refused by name and set aside), then new ones."""
        for path in sorted((self.out / "checkpoints").glob("*.npz")):
            try:
                stack = checkpoints.restore(path, self.data, log=self.log, **self.options)
            except checkpoints.BadCheckpoint as error:
                os.replace(path, path.with_suffix(".refused"))
                self.log(
                    f"REFUSED: {error}; kept as {path.with_suffix('.refused').name}, its runs start again"
                )
                continue
            if not set(stack.runs) & set(self.pending()):
                path.unlink()
                self.log(f"{path.name}: none of its runs is wanted any more; deleted")
                continue
            self.log(
                f"{path.name}: {len(stack.runs)} models go on from step {stack.step:,} of {stack.steps:,}"
            )
            yield stack, path
            del stack  # its memory is the next one's
        while todo := self.pending():
            todo = [run for run in todo if stacked.shape_of(run[0]) == stacked.shape_of(todo[0][0])]
            size = next(
                (
                    n
                    for n in range(min(self.size, len(todo)), 0, -1)
                    if self.seconds_for(todo[0][0], n) < self.left()
                ),
                0,
            )
            if not size and self.trained:
                return  # nothing of it would end in this visit
            runs = todo[
                : size or self.size
            ]  # what ends in no visit is begun in one that has all its time for it
            name = hashlib.sha256(repr(runs).encode()).hexdigest()[:12]
            yield (
                Stack(runs, self.data, log=self.log, **self.options),
                self.out / "checkpoints" / f"stack-{name}.npz",
            )

    def go_on(self, stack: Stack, path: Path) -> bool:
        """Train to the end, score and write, or save in time; whether it came to its end."""
        self.trained, saved, first, believed = (
            True,
            time.perf_counter(),
            (stack.step, stack.seconds),
            None,
        )
        count, save_seconds = len(stack.runs), len(stack.runs) * self.model_bytes / self.write_rate

        def stop() -> bool:
            nonlocal saved, believed
            if believed is None and stack.step - first[0] >= MEASURED_FROM:
                believed = stack.step, stack.seconds
            if self.told or self.left() < save_seconds:
                return True
            if time.perf_counter() - saved > CHECKPOINT_EVERY:
                self.save(stack, path)
                saved = time.perf_counter()
            return False

        ended = stack.train(stop, self.stop_at)
        steps, seconds = stack.step - first[0], stack.seconds - first[1]
        if steps >= MEASURED_FROM:
            since = (
                (stack.step - believed[0], stack.seconds - believed[1]) if believed else (0, 0.0)
            )
            step_seconds = since[1] / since[0] if since[0] else stack.pace
            size, pace = (self.key(stack.settings), count), step_seconds / count
            self.start_seconds[size not in self.sizes] = max(0.0, seconds - steps * step_seconds)
            self.sizes.add(size)
            self.paces = self._paces() | {self.key(stack.settings): pace}
            results.write_whole(
                self.out / "checkpoints" / "pace.json", json.dumps(self.paces, indent=1).encode()
            )
            how = ", ".join(f"{k} {v}" for k, v in stack.how().items())
            self.log(
                f"{steps:,} steps in {seconds:.0f} s, of them {1e3 * pace:.3g} ms a model step once started ({how})"
            )
        if not ended:
            if steps:
                self.save(stack, path)
            return False
        return self.score(stack, path, steps > 0, save_seconds)

    def score(self, stack: Stack, path: Path, trained: bool, save_seconds: float) -> bool:
        """Score and write what the time allows, and keep the stack where that is not all of it; whether it is. A stack that was not
        trained in this visit gets one score at least, or it would never end.
        """
        began, before, wanted = (
            time.perf_counter(),
            self.finished,
            [run for run in self.pending() if run in stack.runs],
        )

        def stop() -> bool:
            left = len(wanted) - (self.finished - before)
            saving = save_seconds if left * self.score_seconds > self.left() else 0.0
            return (trained or self.finished > before) and (
                self.told or self.left() < self.score_seconds + saving
            )

        try:
            for written in stack_results.write(
                stack, wanted, self.profile, self.out, self.data, self.log, stop
            ):
                self.finished += written
                self.score_seconds = (
                    (time.perf_counter() - began) / (self.finished - before)
                    if written
                    else self.score_seconds
                )
        finally:
            left = sum(run in stack.runs for run in self.pending())
            if left and (trained or not path.exists()):
                self.save(stack, path)  # nothing but the scores is lost
        if not left:
            path.unlink(missing_ok=True)
        return not left

    def save(self, stack: Stack, path: Path) -> None:
        began = time.perf_counter()
        checkpoints.save(path, stack)
        size, seconds = path.stat().st_size, time.perf_counter() - began
        self.write_rate = size / seconds
        self.log(
            f"saved at step {stack.step:,} of {stack.steps:,}: {path.name}, {size / 1e6:,.0f} MB in {seconds:.1f} s"
        )

    def summary(self, minutes: float) -> str:
        """What this visit finished, what is left, and how many more visits of so many minutes that takes."""
        todo, words = len(self.pending()), [f"{self.finished} runs finished in this visit"]
        folders = (self.out, *self.have)
        notes = (
            next(
                filter(None, (diverged(folder, run, self.data.sha256) for folder in folders)), None
            )
            for run in self.runs
        )
        if bad := list(filter(None, notes)):
            words.append(f"{len(bad)} diverged and are not tried again ({bad[0]})")
        if not todo:
            return "; ".join([*words, f"nothing is left of {len(self.runs)} runs"])
        words.append(f"{todo} of {len(self.runs)} runs are left")
        if seconds := sum(self.training_seconds(settings) for settings, _ in self.pending()):
            seconds += todo * self.score_seconds
            visits = math.ceil(seconds / max(1.0, 60 * minutes - self.start_seconds[True] - MARGIN))
            words.append(f"about {visits} more visit{'s' * (visits > 1)} of {minutes:g} minutes")
        return "; ".join(words)


def visit(args, profile: str, out: Path, minutes: float, stop_at: int | None = None) -> Visit:
    """One visit as the command line asks for it, the folder locked against another one."""
    began, device = time.perf_counter(), device_of(args.device)
    if not math.isfinite(minutes) or minutes <= 0 or args.stack < 1:
        raise ValueError(f"minutes and stack must be above 0, not {minutes} and {args.stack}")
    cuda = device.type == "cuda"
    options = {
        "precision": args.precision or ("bf16" if cuda else "float32"), "compiled": cuda and not args.no_compile,
        "graphed": cuda and not args.no_graph,
    }  # fmt: skip
    in_order(profile, args.seeds)  # refuses what it does not know, before any work
    if not cuda:
        torch.set_num_threads(
            1
        )  # as run.py has it, so that results do not depend on the number of cores
    data = packed.load("shapes2d", args.data, device)
    with results.locked(out):
        have = (Path("results") / profile if args.have is None else Path(args.have),)
        log = functools.partial(print, flush=True)
        guess = args.pace / 1e3 if args.pace else None
        here = Visit(
            profile,
            out,
            data,
            began + 60 * minutes,
            args.stack,
            options,
            have,
            log,
            args.seeds,
            guess,
            stop_at,
        )
        log(
            f"Profile {profile} on {device.type}: {len(here.pending())} of {len(here.runs)} runs to do, {minutes:g} minutes"
        )

        def tell(signum: int, frame: object) -> None:
            here.told = True

        before = {s: signal.signal(s, tell) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            here.go()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        log(f"{here.summary(minutes)} ({time.perf_counter() - began:.0f} s)")
    return here


def rehearse(args) -> None:
    """The smoke profile, stopped in the middle and gone on with; ValueError where anything of it is not as it should be."""
    out = Path(args.out or "runs") / "rehearsal"
    shutil.rmtree(out, ignore_errors=True)
    args.have = str(out / "none")
    steps = in_order("smoke")[0][0].steps
    half = steps // 2
    first = visit(args, "smoke", out, args.minutes, stop_at=half)
    waiting = list((out / "checkpoints").glob("*.npz"))
    second = visit(args, "smoke", out, args.minutes)
    third = visit(args, "smoke", out, args.minutes)
    found = (first.finished, len(waiting), second.finished + third.finished, len(third.pending()))
    if found != (0, 1, len(first.runs), 0):
        raise ValueError(
            f"the rehearsal failed: {found} for results, checkpoints, results, runs left"
        )
    print(
        f"Rehearsal passed: {second.finished} results in {out} from a stack that was stopped at step {half} and gone on with"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="paper", help=", ".join(profiles.PROFILES))
    parser.add_argument(
        "--seeds", type=int, help="of every setting; as the profile says unless told"
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="from start to exit")
    parser.add_argument("--out", help="results folder; runs/PROFILE unless told")
    parser.add_argument(
        "--have", help="another folder whose results count; results/PROFILE unless told"
    )
    parser.add_argument("--stack", type=int, default=16, help="models at once, at most")
    parser.add_argument(
        "--pace",
        type=float,
        help="milliseconds of a model step to plan with, until a visit has measured it",
    )
    parser.add_argument("--device", help="cpu or cuda; the GPU where there is one unless told")
    parser.add_argument(
        "--precision",
        help=", ".join(stacked.PRECISIONS) + "; bf16 on a GPU, float32 on the CPU unless told",
    )
    parser.add_argument("--no-compile", action="store_true", help="on a GPU: without torch.compile")
    parser.add_argument("--no-graph", action="store_true", help="on a GPU: without CUDA graphs")
    parser.add_argument("--data", default="data")
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="the smoke profile, stopped and gone on with, in OUT/rehearsal",
    )
    args = parser.parse_args(arguments)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # repeatable products on a GPU
    try:
        rehearse(args) if args.rehearse else visit(
            args, args.profile, Path(args.out or f"runs/{args.profile}"), args.minutes
        )
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
