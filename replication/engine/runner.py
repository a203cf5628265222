"""Train, score and write one unit of work: runs on one data set, many at once where that is faster.

    train_unit("quick", [(settings, 0), (settings, 1)], "data", "runs/quick")

Notebook 03_train, the command `python -m replication.run` and the tasks of sweep.py all call this
one function. What counts already is not made again; a stack that is stopped waits in a checkpoint,
a run of the plain loop starts again; a way of training that fails gives way to a slower one.
"""

import dataclasses
import hashlib
import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from dipvae_src.data import Packed
from dipvae_src.settings import Settings, check_settings
from dipvae_src.train import TrainingDiverged, train
from replication import datasets, profiles, provenance, record, results
from replication.engine import checkpoints, trial
from replication.engine.checkpoints import BadCheckpoint
from replication.engine.stack import Run, Stack, check_seed, first_line, shape_of
from replication.machine import device_of

AT_ONCE = 16  # models in a stack, at most
SAVE_EVERY = 300.0  # seconds between checkpoints
WAY = "DIPVAE_WAY"  # in the environment: the way that a trial found, for the processes that train


class Clock:
    """The time that there is: set `ends` to 0 to stop at the next occasion."""

    def __init__(self, seconds: float = math.inf) -> None:
        self.ends = time.perf_counter() + seconds

    def left(self) -> float:
        return self.ends - time.perf_counter()


class Stopped(Exception):
    """The time is over in the middle of a run that leaves no checkpoint."""


@dataclasses.dataclass
class Unit:
    """Runs on one data set, where they are made, and what has become of them so far."""

    profile: str
    runs: list[Run]
    data: Packed
    out: Path
    have: tuple[Path, ...] = ()  # further folders whose results count
    clock: Clock = dataclasses.field(default_factory=Clock)
    log: Callable[[str], None] = print
    save_every: float = SAVE_EVERY
    made: int = 0
    seconds: float = 0.0  # of a model's step, as measured; 0 until then

    def path(self, run: Run) -> Path:
        return results.path_of(self.out, *run)

    def pending(self) -> list[Run]:
        """The runs that count nowhere yet and have not diverged."""
        return pending_of(self.runs, (self.out, *self.have), self.data.identity)

    def diverged(self) -> list[str]:
        """What was noted of the runs that diverged."""
        return diverged_of(self.runs, (self.out, *self.have), self.data.identity)

    def results(self) -> list[dict]:
        """Of those runs whose results lie in `out`."""
        return [results.read(path) for path in map(self.path, self.runs) if path.exists()]

    def say(self, run: Run, what: str) -> None:
        self.log(f"{run[0].label}, seed {run[1]}{what}")


def diverged_of(runs: Sequence[Run], folders: Sequence[Path], identity: str) -> list[str]:
    """What was noted in `folders` of those of `runs` that diverged."""
    paths = (results.path_of(folder, *run) for run in runs for folder in folders)
    return [note for path in paths if (note := record.diverged(path, identity))]


def pending_of(runs: Sequence[Run], folders: Sequence[Path], identity: str) -> list[Run]:
    """Those of `runs` that count in none of `folders` and were not noted there as diverged."""

    def is_pending(run: Run) -> bool:
        reasons = (results.why_not(results.path_of(f, *run), *run, identity) for f in folders)
        return all(reasons) and not diverged_of([run], folders, identity)

    return list(filter(is_pending, runs))


# --- what belongs together ---


def runs_of(profile: str, rows: Sequence, data_set: str = "shapes2d") -> list[Run]:
    """The runs that rows of [objective, weight, reading, seeds] name, as 03_train is told them."""
    found = []
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) != 4 or not isinstance(row[3], list):
            raise TypeError(f"runs must be rows [objective, weight, reading, [seeds]], not {row!r}")
        objective, weight, reading, seeds = row
        settings = profiles.experiment(profile, objective, weight, data_set, reading)
        found += [(settings, check_seed(seed)) for seed in seeds]
    return found


def rows_of(runs: Sequence[Run]) -> list[list]:
    """The other way round: a row for each setting, with its seeds."""
    rows = {}
    for settings, seed in runs:
        key = (settings.objective, settings.weight, settings.reading)
        rows.setdefault(key, [*key, []])[3].append(seed)
    return list(rows.values())


def units(
    todo: Sequence[Run], size: int = AT_ONCE, together: Sequence[list[Run]] = ()
) -> list[list[Run]]:
    """`todo` in parts, each run in one: at most `size` of one shape, most valuable first.

    What is `together` in a checkpoint comes before and stays together.
    """
    found, rest, waiting = [], list(todo), list(together)
    while rest:
        if waiting:
            alike = waiting.pop(0)
            part = [run for run in rest if run in alike]
        else:
            shape = shape_of(rest[0][0])
            part = [run for run in rest if shape_of(run[0]) == shape][:size]
        found.append(part)
        rest = [run for run in rest if run not in part]
    return [part for part in found if part]


def name_of(runs: Sequence[Run]) -> str:
    """A unit's name, of its checkpoint, log and page: the same for the same runs."""
    return f"stack-{hashlib.sha256(repr(list(runs)).encode()).hexdigest()[:12]}"


def waiting_in(out: Path, log: Callable[[str], None]) -> dict[Path, list[Run]]:
    """The checkpoints in a results folder with their runs; what is no checkpoint is set aside."""
    found = {}
    for path in sorted((out / "checkpoints").glob("*.pt")):
        try:
            found[path] = checkpoints.read(path, whole=False)[1]
        except FileNotFoundError:
            continue  # another unit's, which ended
        except BadCheckpoint as error:
            refuse(path, error, log)
    return found


def refuse(path: Path, error: Exception, log: Callable[[str], None]) -> None:
    """Set a checkpoint aside that cannot go on."""
    aside = path.with_suffix(".refused")
    os.replace(path, aside)
    log(f"REFUSED: {first_line(error)}; kept as {aside.name}, its runs start again")


# --- the one function ---


def train_unit(
    profile: str, runs: Sequence[Run], data_dir: str | Path, out: str | Path,
    device: str | None = None, way: str = "", **options,
) -> Unit:  # fmt: skip
    """Make what is missing of `runs`: train, score, write one result each; note what diverged.

    `way`: one of trial.WAYS, or "trial" for the fastest that works here; unless told a GPU has
    "trial" and a CPU "single", the plain loop. `options`: those of Unit. Raises what the checks of
    settings, device and data raise, before any work; OSError on a full disk; RuntimeError where the
    code was edited since it was loaded, or where there is not enough memory for one model.
    """
    where = device_of(device)
    if way not in ("", "trial", *trial.WAYS):
        raise ValueError(f"unknown way {way!r}; known: trial, {', '.join(trial.WAYS)}")
    for settings, seed in runs:
        check_settings(settings)
        check_seed(seed)
    if len({settings.data for settings, _ in runs}) != 1:
        raise ValueError("a unit of work is of one run at least, and of one data set")
    provenance.check_unedited()
    if where.type == "cpu":
        torch.set_num_threads(1)  # one process a core: no result depends on how many there are
    data = datasets.load(runs[0][0].data, data_dir, where)
    unit = Unit(profile, list(runs), data, Path(out), **options)
    for run in unit.runs:  # a score that has changed since takes no training
        reason = results.why_not(unit.path(run), *run, data.identity)
        if reason == "other scoring code" and profiles.leaves_codes(run[0]):
            record.rescore(unit.path(run))
            unit.say(run, ": scored again by its codes")
    todo = unit.pending()
    for run in unit.runs:
        if run not in todo and unit.path(run).exists():
            unit.say(run, f": already there, {unit.path(run).name}")
    for same_shape in units(todo, max(1, len(todo))):
        train_alike(unit, same_shape, way)
    return unit


def way_for(settings: Settings, device: torch.device, way: str, log: Callable) -> trial.Outcome:
    """How runs of this shape are trained on a device: as asked for, or as a trial finds it."""
    if settings.network != "fc":
        return trial.Outcome("single")  # convolutions are not stacked
    way = way or os.environ.get(WAY, "")
    if way == "trial" or (not way and device.type == "cuda"):
        return trial.try_once(dataclasses.replace(shape_of(settings), steps=1), device, log)
    return trial.Outcome(way or "single")


def train_alike(unit: Unit, runs: list[Run], way: str) -> None:
    """Make runs of one shape; where memory runs out or a way fails, go on in smaller steps."""
    found = way_for(runs[0][0], unit.data.bits.device, way, unit.log)
    unit.seconds = unit.seconds or found.seconds
    waiting = [(runs, found.way)]
    while waiting and unit.clock.left() > 0:
        runs, way = waiting.pop(0)
        if way == "single":
            train_single(unit, runs)
        elif failure := train_stack(unit, runs, way):
            waiting = smaller(failure, runs, way, unit.log) + waiting


def smaller(failure: Exception, runs: list[Run], way: str, log: Callable) -> list:
    """What to try where a stack failed: half of it, or a slower way; in the end one by one."""
    trial.free_memory()
    count, half = len(runs), (len(runs) + 1) // 2
    if trial.is_out_of_memory(failure) and count > 1:
        log(f"OUT OF MEMORY with {count} models at once: {half} instead")
        return [(runs[:half], way), (runs[half:], way)]
    ways = list(trial.WAYS)
    slower = ways[ways.index(way) - 1]
    log(f"FAILED as {way}, {count} at once ({first_line(failure)}): {slower} instead")
    return [(runs, slower)]


def train_single(unit: Unit, runs: list[Run]) -> None:
    """Each by the plain loop; one that is stopped leaves nothing."""

    def progress(path: Path, step: int, steps: int) -> None:
        if step % max(1, steps // 1000) == 0:
            record.note_step(path, step)
        if unit.clock.left() <= 0:
            raise Stopped

    for run in runs:
        steps = run[0].steps
        if unit.clock.left() < unit.seconds * steps:
            return unit.say(run, ": would not end in time, not begun")
        began, path = time.perf_counter(), unit.path(run)
        record.note_step(path, 0)
        try:
            model, history = train(*run, unit.data, partial(progress, path))
        except Stopped:
            return unit.say(run, ": stopped; it starts again next time")
        except TrainingDiverged as error:
            unit.log(f"DIVERGED: {error}")
            record.note_diverged(path, str(error), unit.data)
            continue
        seconds = time.perf_counter() - began
        unit.seconds = seconds / steps
        write(unit, run, model, history, seconds)
    return None


def write(unit: Unit, run: Run, model, history: list[dict], seconds: float, how=None) -> None:
    """Score a trained model, write its result and say so."""
    result = record.write_result(
        unit.path(run), model, unit.data, unit.profile, *run, history, seconds, how
    )
    unit.made += 1
    steps, found = f"{unit.data.name}: {run[0].steps:,} steps", record.in_short(result["metrics"])
    unit.say(run, f", {steps} in {result['minutes']:.1f} min, {found}")


# --- many at once ---


def train_stack(unit: Unit, runs: list[Run], way: str) -> Exception | None:
    """Train `runs` at once, score and write them, or save them in time; what failed in training.

    What no other way mends is raised: bad input, and OSError of a checkpoint on a full disk.
    """
    waiting = waiting_in(unit.out, unit.log)
    path = unit.out / "checkpoints" / f"{name_of(runs)}.pt"
    path = next((path for path, its in waiting.items() if set(runs) <= set(its)), path)
    saved = time.perf_counter()

    def note_steps() -> None:
        for run in runs:
            record.note_step(unit.path(run), stack.step)

    def stop() -> bool:
        note_steps()
        return unit.clock.left() <= 0 or time.perf_counter() - saved > unit.save_every

    try:
        stack = begin(unit, runs, way, path)
    except Exception as error:
        if not trial.is_out_of_memory(error):
            raise
        return failed(unit, path, error)
    step, seconds = stack.step, stack.seconds
    note_steps()
    while not stack.ended and unit.clock.left() > 0:
        try:
            stack.train(stop)
        except Exception as error:  # whatever a driver or a compiler may raise; MemoryError
            return failed(unit, path, error)
        if not stack.ended:
            save(unit, stack, path)
            saved = time.perf_counter()
    if stack.step > step:
        unit.seconds = stack.pace / len(stack.runs)
        unit.log(f"{stack.step - step:,} steps, {stack.seconds - seconds:.0f} s: {stack.how()}")
    left = list(runs) if stack.ended else []
    try:
        while left and (unit.clock.left() > 0 or not unit.made):
            score(unit, stack, left[0])
            left.pop(0)
    finally:
        if left:
            save(unit, stack, path)  # of what has ended, nothing but the scores is lost
    if stack.ended and not left:
        path.unlink(missing_ok=True)
    return None


def failed(unit: Unit, path: Path, error: Exception) -> Exception:
    """`error` without its frames, which would hold the stack; what took too much is set aside."""
    if trial.is_out_of_memory(error) and path.exists():
        refuse(path, error, unit.log)
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


def begin(unit: Unit, runs: list[Run], way: str, path: Path) -> Stack:
    """The stack that waits at `path`, if it can go on; otherwise a fresh one of `runs`."""
    options = {"log": unit.log, **trial.WAYS[way]}
    try:
        stack = checkpoints.restore(path, unit.data, **options)
        unit.log(f"{len(runs)} runs go on from step {stack.step:,} of {stack.steps:,}")
        return stack
    except FileNotFoundError:
        pass
    except BadCheckpoint as error:
        refuse(path, error, unit.log)
    unit.log(f"{len(runs)} runs begin at once, {way}")
    return Stack(runs, unit.data, **options)


def save(unit: Unit, stack: Stack, path: Path) -> None:
    checkpoints.save(path, stack)
    unit.log(f"saved at step {stack.step:,} of {stack.steps:,}: {path.name}")


def score(unit: Unit, stack: Stack, run: Run) -> None:
    """Score one model of a stack that has ended and write its result, or note that it diverged."""
    m = stack.runs.index(run)
    if message := stack.diverged.get(m):
        record.note_diverged(unit.path(run), message, unit.data)
    else:
        seconds = stack.seconds / len(stack.runs)
        write(unit, run, stack.model(m), stack.history[m], seconds, stack.how())
