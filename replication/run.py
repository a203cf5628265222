"""Runs by a plain command, without notebooks: one experiment, or what of a profile time allows.

    python -m replication.run --profile quick --objective dip-vae-ii --weight 5 --seeds 0 1 2
    python -m replication.run --profile paper --minutes 7.5 --out runs/paper --pack home.tgz

With --minutes (the second form) the most valuable runs come first, on a GPU in stacks that end in
time; the same command goes on where it was stopped. What counts in results/PROFILE, or in --have,
is not made again, so the results of several machines merge by copying.
"""

from replication import lifeline  # noqa: F401  # isort: skip  (first: it holds us to our starter)

import argparse
import json
import signal
import sys
import tarfile
from pathlib import Path

from dipvae_src.settings import OBJECTIVES
from dipvae_src.train import TrainingDiverged
from replication import datasets, profiles, provenance, results
from replication.engine import runner, trial
from replication.machine import device_of

MARGIN = 15.0  # seconds of a budget that nothing is planned for: imports, a checkpoint, a score
SCORING = 2.0  # seconds of one run's scores on a GPU


def train_in_time(args: argparse.Namespace, out: Path) -> None:
    """Make the most valuable runs of a profile until the time is over; say what is left."""
    if not 0 < args.minutes < float("inf") or args.stack < 1:
        what = f"{args.minutes:g} and {args.stack}"
        raise ValueError(f"minutes and stack must be above 0, not {what}")
    clock = runner.Clock(60 * args.minutes - MARGIN)
    for number in (signal.SIGTERM, signal.SIGINT):  # end as the time would
        signal.signal(number, lambda *_: setattr(clock, "ends", 0.0))
    with results.locked(out):
        make_in_time(args, out, clock)


def make_in_time(args: argparse.Namespace, out: Path, clock: runner.Clock) -> None:
    """As `train_in_time`, until the clock's end."""
    runs = profiles.in_order(profiles.plan(args.profile, args.seeds_each, args.data_set))
    identity = datasets.load(args.data_set, args.data).identity
    have = Path(args.have or provenance.ROOT / "results" / args.profile)
    places = ((out, have), identity)
    todo = runner.pending_of(runs, *places)
    print(f"{len(todo)} of {len(runs)} runs to do in {args.minutes:g} minutes", flush=True)
    found = runner.way_for(runs[0][0], device_of(args.device), args.engine, print)
    made, seconds, before = 0, found.seconds, []
    while todo and todo != before and clock.left() > 0:
        together = list(runner.waiting_in(out, print).values())
        part = runner.units(todo, args.stack, together)[0]
        if seconds and not any(set(part) <= set(runs) for runs in together):
            fit = int(clock.left() / (part[0][0].steps * seconds + SCORING))
            if not fit and before:  # what ends in no call is begun in one that has all its time
                break
            part = part[: fit or None]
        unit = runner.train_unit(
            args.profile, part, args.data, out, args.device, found.way, have=(have,), clock=clock
        )
        made, seconds, before = made + unit.made, unit.seconds, todo
        todo = runner.pending_of(runs, *places)
    words = f"{made} runs made, {len(todo)} of {len(runs)} left"
    if noted := runner.diverged_of(runs, *places):
        words += f"; {len(noted)} diverged and are not tried again ({noted[0]})"
    if todo and seconds:
        left = sum(settings.steps * seconds + SCORING for settings, _ in todo)
        words += f", about {left / 60:.0f} minutes"
    print(words)


def pack(out: Path, archive: Path) -> None:
    """The results in one small file; weights and checkpoints, which are large, stay."""
    with tarfile.open(archive, "w:gz") as file:
        for path in sorted(out.glob("*")):
            if path.suffix in (".json", ".png", ".npz", ".diverged"):
                file.add(path, path.name)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("--profile", default="quick", help=", ".join(profiles.PROFILES))
    option("--objective", help=", ".join(OBJECTIVES))
    option("--weight", type=float, help="beta, or lambda_od")
    option("--data-set", default="shapes2d", help=", ".join(profiles.DATA_SETS))
    option("--reading", default="", help=", ".join(profiles.READINGS))
    option("--seeds", type=int, nargs="+", default=[0])
    option("--runs", type=json.loads, help="many: [[objective, weight, reading, [seeds]], ...]")
    option("--minutes", type=float, help="in place of --objective: as much as fits")
    option("--seeds-each", type=int, help="how many of every setting, with --minutes")
    option("--stack", type=int, default=runner.AT_ONCE, help="models at once, at most")
    option("--have", help="a folder whose results count; results/PROFILE unless told")
    option("--pack", type=Path, help="afterwards, the results as one .tgz")
    option("--data", default="data")
    option("--out", help="results folder; runs/PROFILE unless told")
    option("--device", help="cpu or cuda; the GPU where there is one unless told")
    option("--engine", default="", choices=("trial", *trial.WAYS), help="a way of training; "
           "unless told the fastest on a GPU, the plain loop on a CPU")  # fmt: skip
    args = parser.parse_args(arguments)
    if (args.objective, args.weight) != (None, None) and args.runs is None:
        args.runs = [[args.objective, args.weight, args.reading, args.seeds]]
    if (args.runs is None) == (args.minutes is None):
        parser.error("give --objective and --weight, or --runs, or --minutes")
    out = Path(args.out or f"runs/{args.profile}")
    try:
        if args.minutes is None:
            runs = runner.runs_of(args.profile, args.runs, args.data_set)
            unit = runner.train_unit(
                args.profile, runs, args.data, out, args.device, args.engine, log=print
            )
            for message in unit.diverged():
                raise TrainingDiverged(message)
        else:
            train_in_time(args, out)
        if args.pack:
            pack(out, args.pack)
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
