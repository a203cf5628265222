"""The whole replication: plan, data, training, tables and figures, whatever of it is not there yet.

    python -m replication.replicate                 # what `make replicate` calls
    python -m replication.replicate --plan          # what would run, and for how long
    python -m replication.replicate --train-only    # data and training; --plain: without notebooks
    python -m replication.replicate --figures       # tables and figures from the committed results

On a CPU one process a core trains, with one thread each, which measured faster than one process on
all cores (`make bench`); on a GPU one process trains many models at once. A killed run is made
again, or goes on; a complete one is not made again.
"""

from replication import lifeline  # noqa: F401  # isort: skip  (first: it holds us to our starter)

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path

import torch

from dipvae_src.data import Packed
from replication import datasets, jobs, profiles, provenance, record, results
from replication.engine import runner, trial
from replication.engine.stack import Run, shape_of
from replication.jobs import Job, Pool, Stop, command, from_notebooks, short
from replication.machine import device_of, usable_cores
from replication.show import summary

ROOT = provenance.ROOT
NOTEBOOK_SECONDS = 12  # one of the notebooks that show results, on one core
MEASURE_SECONDS = 15  # of a run's codes, by the further rulers
RUN_SECONDS = 8  # of a run beside its training steps: start, scores
GIVEN = 20  # seconds that a training is taken to have gone as planned, until it tells its pace
NEEDS_DISK = 2 << 30  # bytes: packed data, kept decoders and results of the quick profile
BEGAN = time.perf_counter()
DRAWN_BY = {"shapes2d": "shapes2d", "celeba": "standins.faces", "chairs": "standins.chairs"}


class Replication:
    """One call of the command: what was asked for, and what of it is there."""

    def __init__(self, args, profile: str, device: torch.device, plan: profiles.Plan) -> None:
        on_gpu = device.type == "cuda"
        self.args, self.profile, self.device, self.plan = args, profile, device, plan
        self.runs = profiles.in_order(plan)
        self.folder, self.figures = Path(args.runs) / profile, Path(args.figures_dir) / profile
        self.engine = args.engine or ("trial" if on_gpu else "single")  # a way of train_unit's
        self.way = trial.Outcome(self.engine)  # the one that is taken, with its pace
        self.workers = 1 if on_gpu else usable_cores()  # trainings at a time
        self.sources: dict[str, Packed] = {}

    def path(self, run: Run) -> Path:
        """Where the result of a run lies."""
        return results.path_of(self.folder, *run)

    def shown(self) -> list[Job]:
        """The notebooks that show the results, if they are asked for."""
        if self.args.plain or self.args.train_only:
            return []
        return jobs.jobs_for(self.args, self.profile, self.plan, self.folder)


def say(line: str) -> None:
    """A line with the minutes and seconds since the command began."""
    minutes, seconds = divmod(int(time.perf_counter() - BEGAN), 60)
    print(f"[{minutes:02d}:{seconds:02d}] {line}", flush=True)


def duration(seconds: float) -> str:
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


# --- the plan ---


def say_plan(its: Replication, why: str) -> None:
    """The profile in a line, and one for each of its data sets."""
    chosen, runs = profiles.profile(its.profile), len(its.runs)
    print(f"Profile {its.profile} ({why}): {chosen.purpose}.")
    print(f"{len(its.plan)} settings, {runs} runs, on {its.device.type}, {its.workers} at a time.")
    for data in chosen.parts:
        own = profiles.plan(its.profile, its.args.seeds, data)
        runs, steps = len(profiles.runs_of(own)), own[0][0].steps
        what = f"{len(own)} settings, {runs} runs of {steps:,} steps"
        left_out = chosen.left_out(data)
        against = f"; against the paper: {left_out}" if left_out else ""
        print(f"  {profiles.DATA_SETS[data].title}: {what}{against}")


def units_of(its: Replication) -> list[list[Run]]:
    """The plan in units of work: stacks on a GPU; else experiments, each with all its seeds.

    Without notebooks, which show an experiment a page, single runs, most valuable first.
    """
    if its.engine == "single" and its.args.plain:
        return [[run] for run in its.runs]
    experiments = [profiles.runs_of([experiment]) for experiment in its.plan]
    if its.engine == "single":
        return experiments
    stacked = [run for run in its.runs if run[0].network == "fc"]
    return runner.units(stacked) + [runs for runs in experiments if runs[0][0].network != "fc"]


def job_of(its: Replication, runs: list[Run]) -> Job:
    """Notebook 03_train for a unit of work; runs that are complete are only read there."""
    parameters = {
        "profile": its.profile, "data_set": runs[0][0].data, "runs": runner.rows_of(runs),
        "device": its.device.type, "data_dir": from_notebooks(its.args.data),
        "results_dir": from_notebooks(its.folder),
    }  # fmt: skip
    is_one = len({settings for settings, _ in runs}) == 1
    name = runs[0][0].name if is_one else runner.name_of(runs)
    places = (its.figures, its.folder / "stamps", f"{jobs.TRAIN}_{name}")
    return Job(jobs.TRAIN, parameters, [its.path(run) for run in runs], *places)


def train(its: Replication, runs: list[Run]) -> None:
    """Make what is missing of a unit, by notebook 03_train or by the plain command."""
    if not its.args.plain:
        return job_of(its, runs).execute()
    words = ("--profile", its.profile, "--data-set", runs[0][0].data, "--device", its.device.type)
    words += ("--runs", json.dumps(runner.rows_of(runs)))
    return command("replication.run", *words, "--data", its.args.data, "--out", its.folder)


def why_pending(its: Replication) -> dict[Run, str]:
    """The runs whose results do not count yet, most valuable first, and why."""
    identities = {name: data.identity for name, data in its.sources.items()}

    def why(run: Run) -> str | None:
        return results.why_not(its.path(run), *run, identities.get(run[0].data, ""))

    return {run: reason for run in its.runs if (reason := why(run))}


def seconds_of(its: Replication, run: Run) -> float:
    """Of a run here: its training by the pace of its network and batch (objectives cost nothing),
    and RUN_SECONDS."""
    settings = run[0]
    pace = its.way.seconds if settings.network == "fc" else 0
    if not pace:
        shape = dataclasses.replace(shape_of(settings), steps=1, data="shapes2d")
        pace = trial.seconds_per_step(shape, its.device)
    return settings.steps * pace + RUN_SECONDS


def title(its: Replication, runs: list[Run]) -> str:
    """A unit as log lines name it; stand-ins by their own name."""
    settings, seed = runs[0]
    source = its.sources.get(settings.data)
    data = source.name if source else profiles.DATA_SETS[settings.data].title
    if len({settings for settings, _ in runs}) > 1:
        return f"{data}, {len(runs)} models from {settings.label}, seed {seed}"
    seeds = ", ".join(str(seed) for _, seed in runs)
    return f"{data}, {settings.label}, seed{'s' * (len(runs) > 1)} {seeds}"


# --- the data ---


def check_data(its: Replication, draw: bool) -> None:
    """Load the packed data sets, checked; what is not there is drawn first, or left out."""
    data_dir, wanted = its.args.data, profiles.profile(its.profile).parts
    # An altered file is refused before anything is drawn.
    there = [name for name in wanted if datasets.described(data_dir, name)]
    its.sources |= {name: datasets.load(name, data_dir) for name in there}
    for name in wanted:
        if draw and name not in there:
            command(f"data_prep.{DRAWN_BY[name]}", "--out", data_dir)
            its.sources[name] = datasets.load(name, data_dir)
        source = its.sources.get(name)
        if name != "shapes2d" and (source is None or source.source == "stand-in"):
            absent = profiles.DATA_SETS[name].title
            print(f"STAND-IN: {absent} is not at hand; drawn images take its place (README, Data).")
    if len(its.sources) < len(wanted):
        print("Data: not all there yet; `make replicate` draws the rest first, in a minute or two.")


# --- the training ---


def try_device(its: Replication) -> None:
    """Find the way of training that is fastest here, in a process of its own, which may die."""
    if its.engine == "trial":
        print("Trying this device, two models each way, for a minute or two:", flush=True)
        words = ("--profile", its.profile, "--device", its.device.type)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "outcomes"
            try:
                command("replication.engine.trial", *words, "--out", out)
            except Stop as error:
                print(f"  the trial ended early: {error}")
            outcomes = trial.read(out)
        print(*outcomes, sep="\n")
        if all(outcome.fell_out for outcome in outcomes):
            device = its.device.type
            raise Stop(f"nothing trains on this {device} device; use DEVICE=cpu or mend it")
        its.way = trial.fastest(outcomes)
        print(f"  taken: {its.way.way}", flush=True)
    os.environ[runner.WAY] = its.way.way  # of the processes that train


def train_all(
    its: Replication, todo: list[list[Run]], costs: dict[Run, float], later: float
) -> None:
    """Train units, as many at a time as there are cores; Stop naming those that failed.

    `costs`: seconds of each run that is pending; `later`: of what comes after the training.
    """
    start = said = time.perf_counter()
    every, failures = 10 if sys.stdout.isatty() else 30, []
    with tempfile.TemporaryDirectory() as notes, Pool(its.workers) as pool:
        os.environ[record.PROGRESS] = notes  # of the processes that train
        futures = {pool.submit(train, its, runs): title(its, runs) for runs in todo}
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                if error := future.exception():
                    failures.append(f"{futures[future]}: {error}")
                    say(f"FAILED {failures[-1]}")
                else:
                    say(f"{futures[future]} done")
            if costs and waiting and time.perf_counter() - said > every:
                said = time.perf_counter()
                at_once = min(its.workers, len(todo))
                say(progress(its.folder, costs, Path(notes), said - start, at_once, later))
    if failures:
        what = f"{len(failures)} of {len(todo)} trainings failed; the first: {failures[0]}"
        raise Stop(f"{what}. The complete runs are kept.")


def measure_all(its: Replication) -> None:
    """Lay the further rulers (measure.py) to the runs that left codes and were not measured yet."""
    paths = [its.path(run) for run in its.runs if profiles.leaves_codes(run[0])]
    pages = [page for page in (job_of(its, runs) for runs in units_of(its)) if page.is_done()]
    # The smoke profile's numbers mean nothing, and half a minute a sheet is most of its time.
    kinds = [()] if its.profile == "smoke" else [(), ("--traversals",)]
    shares = [paths[first :: its.workers] for first in range(min(its.workers, len(paths)))]
    say(f"scores of other papers (MIG, FactorVAE, DCI) of {len(paths)} runs")
    with Pool(its.workers) as pool:
        for kind in kinds:
            for future in [pool.submit(command, "replication.measure", *p, *kind) for p in shares]:
                future.result()
    for page in pages:  # they show nothing of it
        page.mark_done(page.shown_by())


def progress(
    folder: Path, costs: dict[Run, float], notes: Path, spent: float, at_once: int, later: float
) -> str:
    """How far a training is after `spent` seconds, and how long all of it will take yet.

    `costs`: the seconds that each run was expected to take. What is left goes as it went so far,
    beside GIVEN seconds that went as expected, so that the first line is as good as the plan.
    """
    complete, done, here = 0, 0.0, 0.0
    for run, seconds in costs.items():
        path, steps = results.path_of(folder, *run), run[0].steps
        training = seconds - RUN_SECONDS  # its scores come after it
        first, step = record.noted_steps(notes, path)
        if path.exists() and path.stat().st_mtime > time.time() - spent:  # no older one
            complete, training, step = complete + 1, seconds, steps
        done += training * step / steps
        here += training * (step - first) / steps
    left = sum(costs.values()) - done
    share = done / (done + left)
    left = left * (spent + GIVEN) / (here + GIVEN * at_once) + later
    what = f"{complete} of {len(costs)} runs complete, {100 * share:.0f} % of the training"
    return f"{what}, about {duration(left)} left"


# --- all of it ---


def replicate(args: argparse.Namespace) -> None:
    """Plan, data, training, tables and figures; what is there already is left as it is."""
    device, profile, why = device_of(args.device), args.profile, "asked for"
    if not profile and device.type == "cuda":
        profile, why = "paper", "a CUDA device is here"
    elif not profile:
        why = "the device asked for is the CPU" if args.device else "no CUDA device is here"
        profile = profiles.SMALL
    its = Replication(args, profile, device, profiles.plan(profile, args.seeds))
    say_plan(its, why)
    if not args.plan and shutil.disk_usage(ROOT).free < NEEDS_DISK:
        raise Stop(f"less than {NEEDS_DISK >> 30} GB of disk is free here; free some and try again")
    check_data(its, draw=not args.plan)
    with contextlib.nullcontext() if args.plan else results.locked(its.folder):
        pending = why_pending(its)
        if pending:
            try_device(its)
        todo, stale = say_what_is_left(its, pending)
        if args.plan or not (todo or stale):
            return
        for run, reason in pending.items():
            if its.path(run).exists():
                reason = reason.removesuffix(f"; {results.MEND}")
                print(f"{title(its, [run])}: {reason}; made again, the old one goes to old/")
        costs, page = {}, 0 if args.plain else NOTEBOOK_SECONDS
        for runs in todo:
            its_part = page / len(runs)
            costs |= {run: seconds_of(its, run) + its_part for run in runs if run in pending}
        to_measure = MEASURE_SECONDS * sum(profiles.leaves_codes(run[0]) for run in pending)
        later = to_measure / its.workers + len(stale) * NOTEBOOK_SECONDS / 2
        train_all(its, todo, costs, later)
        if its.shown():
            measure_all(its)
        jobs.show_all(jobs.not_done(its.shown()), say)
    made = duration(time.perf_counter() - BEGAN)
    print(f"Done in {made}. Results: {short(its.folder)}, tables and figures: {short(its.figures)}")
    if its.shown():
        table, _, _ = (its.figures / "table_1.md").read_text("utf-8").partition("<!--")  # the runs
        print("\n" + table.rstrip() + "\n")
        page = short(its.figures.parent / "report.html")
        print(f"All of it on one page: open {page} in a browser.")


def say_what_is_left(
    its: Replication, pending: dict[Run, str]
) -> tuple[list[list[Run]], list[Job]]:
    """Say what is to be done and for how long: the units to train, the notebooks to run."""

    def has_to_run(runs: list[Run]) -> bool:
        is_pending = any(run in pending for run in runs)
        return is_pending or not (its.args.plain or job_of(its, runs).is_done())

    todo, shown, count = list(filter(has_to_run, units_of(its))), its.shown(), len(its.runs)
    stale = shown if pending else jobs.not_done(shown)
    if not todo and not stale:
        print(
            f"Nothing to do: all {count} runs and {len(shown)} notebooks are up to date. "
            f"Results: {short(its.folder)}, tables and figures: {short(its.figures)}"
        )
        return [], []
    pages = len(stale) + (0 if its.args.plain else len(todo))
    seconds = sum(seconds_of(its, run) for run in pending) + pages * NOTEBOOK_SECONDS
    seconds /= its.workers
    what = f"To do: {len(pending)} of {count} runs, {len(stale)} notebooks"
    print(f"{what}; about {duration(seconds)} here.", flush=True)
    if its.profile != profiles.SMALL and seconds > 1800:
        print(f"Too long? A smaller one: make replicate PROFILE={profiles.SMALL}", flush=True)
    if its.args.plan:
        for run, reason in pending.items():
            print(f"  {title(its, [run])}: {reason}")
        for job in stale:
            print(f"  notebook {job.name}")
    return todo, stale


def figures_only(args: argparse.Namespace) -> None:
    """Tables and figures of every profile whose results are committed, or of the one asked for."""
    committed = ROOT / "results"
    to_show = [args.profile] if args.profile else []
    for profile, its in {} if args.profile else profiles.PROFILES.items():
        if its.longer_than:  # shown beside the profile that it repeats
            continue
        count = len(list((committed / profile).glob("*.json")))
        if summary.complete(profile, "shapes2d", committed / profile):
            to_show.append(profile)
        elif count:
            what = f"{count} committed results, but not yet all that has to be there"
            print(f"Profile {profile}: {what}; not shown.")
    if not to_show:
        raise Stop("no results are committed yet; run `make replicate`")
    for profile in to_show:
        plan = summary.showable(profile, committed / profile)
        found, folder = results.collect(committed / profile, plan), committed / profile
        there = len(list(folder.glob("*.json")))
        others = (
            f" of {there}; the others are not of it, or incomplete" if there > len(found) else ""
        )
        print(f"Profile {profile}: {len(found)} committed results{others}.")
        if todo := sum(bool(result["codes"]) and "rulers" not in result for result in found):
            what = f"{todo} are left out by MIG, FactorVAE and DCI"
            print(f"{what}: .venv/bin/python -m replication.measure {short(folder)}")
        todo = jobs.not_done(jobs.jobs_for(args, profile, plan, committed / profile))
        print(f"{len(todo)} notebooks to run, about {duration(len(todo) * NOTEBOOK_SECONDS / 2)}.")
        jobs.show_all(todo, say)
    print(f"Done in {duration(time.perf_counter() - BEGAN)}.")


# --- the command ---


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option, many = parser.add_argument, f"1 to {profiles.MAX_SEEDS}"
    option("--profile", help=", ".join(profiles.PROFILES) + "; chosen by the machine unless told")
    option("--seeds", help=f"seeds of every setting, {many}; as the profile says unless told")
    option("--device", help="cpu or cuda; the GPU where there is one unless told")
    option("--dsprites-gif", default="", help="the published animation, to be shown beside ours")
    option("--data", default="data")
    option("--runs", default="runs")
    option("--figures-dir", default="figures")
    option("--plan", action="store_true", help="say what would run, and stop")
    option("--train-only", action="store_true", help="no tables and figures")
    option("--figures", action="store_true", help="from the committed results, no training")
    option("--plain", action="store_true", help="train without notebooks")
    option("--engine", choices=("trial", *trial.WAYS), help="how to train 2D Shapes; unless told "
           "a GPU is tried, and a CPU trains one by one (single)")  # fmt: skip
    args = parser.parse_args(arguments)
    for place in ("data", "runs", "figures_dir"):
        setattr(args, place, str(ROOT / getattr(args, place)))
    try:
        args.seeds = profiles.check_seeds(args.seeds)
        if args.dsprites_gif and not Path(args.dsprites_gif).is_file():
            raise ValueError(f"DSPRITES_GIF: there is no file {args.dsprites_gif}")
        work = figures_only if args.figures else replicate
        work(args)
    except (Stop, ValueError, TypeError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = "The complete runs are kept; the same command goes on from them."
        print(f"\nStopped. {kept}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
