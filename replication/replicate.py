"""The whole replication: data, runs, tables and figures, whatever of it is not there yet.

    python scripts/replicate.py                    # what `make replicate` calls
    python scripts/replicate.py --plan             # what would run, and for how long
    python scripts/replicate.py --figures          # tables and figures from the committed results, no training
    python scripts/replicate.py --plain            # train without notebooks (a machine that has no Jupyter)

Runs of a sweep are independent processes, one CPU thread each and one process a core, which measured faster than one process on
all cores (`make bench`). A killed run is made again; a complete one is not.
"""

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dipvae_src import data as packed
from dipvae_src.models import SIDE
from dipvae_src.settings import Settings
from dipvae_src.train import train
from replication import profiles, provenance, results
from replication.engine import visit
from replication.jobs import (
    Pool,
    Stop,
    clock,
    command,
    jobs_for,
    not_done,
    short,
    show_all,
    training_job,
)
from replication.machine import device_of
from replication.run import png
from replication.show import summary

ROOT = provenance.ROOT
NOTEBOOK_SECONDS = 12  # one of the notebooks above, on one core
RUN_SECONDS = 8  # of a run beside its training steps: start, scores
NEEDS_DISK = 2 << 30  # bytes: packed data, kept decoders and results of the quick profile
STACK = 16  # models at once on a GPU


# --- what is to be done ---


def choose_profile(
    name: str | None, device: torch.device, device_asked: str | None
) -> tuple[str, str]:
    """The profile and why it was chosen."""
    if name:
        profiles.profile(name)
        return name, "asked for"
    if device.type == "cuda":
        return "paper", "a CUDA device is here"
    return "quick", "the device asked for is the CPU" if device_asked else "no CUDA device is here"


def pending_runs(
    plan, folder: Path, sources: dict[str, packed.Packed]
) -> list[tuple[Settings, int, str]]:
    """The runs whose results do not count yet, and why; `sources`: the data sets that are there."""
    sha256 = {name: sources[name].sha256 if name in sources else "" for name in profiles.DATA_SETS}
    runs = ((settings, seed) for settings, seeds in plan for seed in seeds)
    reasons = (
        (s, seed, results.why_not(results.path_of(folder, s, seed), s, seed, sha256[s.data]))
        for s, seed in runs
    )
    return [(settings, seed, reason) for settings, seed, reason in reasons if reason]


@functools.cache
def seconds_per_step(settings: Settings, device: torch.device) -> float:
    """Measured here on random images, in a second or two, with the one CPU thread that a run has."""
    torch.set_num_threads(1)
    colour, images = settings.data != "shapes2d", 2 * settings.batch_size
    bits = torch.randint(
        0, 256, (images, 12_288 if colour else 512), dtype=torch.uint8, device=device
    )
    table = None if colour else torch.zeros(256, 8, device=device)
    fake = packed.Packed("timing", "random", "", ("a",), (images,), (False,), bits, table)
    marks, steps = [], 12 if colour else 24
    train(
        dataclasses.replace(settings, steps=steps),
        0,
        fake,
        lambda step, steps: marks.append(time.perf_counter()),
    )
    return (marks[-1] - marks[3]) / (len(marks) - 4)


def run_seconds(settings: Settings, device: torch.device) -> float:
    """Of a run's training steps, timed once on a VAE for each data set, network and batch: the objective costs next to nothing."""
    size = dict(
        width=settings.width,
        filters=settings.filters,
        latents=settings.latents,
        batch_size=settings.batch_size,
    )
    return settings.steps * seconds_per_step(profiles.beta_vae(1, settings.data, **size), device)


def titled(settings: Settings, sources: dict[str, packed.Packed]) -> str:
    """A setting as log lines name it: a stand-in by its own name."""
    data, title = sources.get(settings.data), profiles.DATA_SETS[settings.data].title
    return f"{data.name if data and data.source == 'stand-in' else title}, {settings.label}"


def workers_of(device: torch.device) -> int:
    """Runs at a time: one a core on the CPU, one on a GPU."""
    if device.type == "cuda":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def estimate_seconds(pending, device: torch.device, notebooks: int) -> float:
    """Of the runs and notebooks that are left, on this machine."""
    seconds = notebooks * NOTEBOOK_SECONDS
    for settings, _, _ in pending:
        seconds += run_seconds(settings, device) + RUN_SECONDS
    return seconds / workers_of(device)


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


# --- doing it ---


def run_experiment(
    args, profile: str, settings, seeds: tuple[int, ...], folder: Path, figures: Path, device: str
) -> None:
    """One experiment with all its seeds (complete ones are only read): notebook 03_train under papermill, or the plain command."""
    if args.plain:
        words = ["--profile", profile, "--objective", settings.objective]
        words += ["--weight", settings.weight, "--seeds", *seeds, "--data-set", settings.data]
        words += ["--reading", settings.reading, "--data", args.data]
        command("replication.run", *words, "--out", folder, "--device", device)
    else:
        training_job(args, profile, settings, seeds, folder, figures, device).execute()


def share_done(paths: dict[Path, tuple[int, float]]) -> float:
    """Of the training of runs that were pending (result path: steps, seconds), those under way included: 0 to 1."""
    done = 0.0
    for path, (steps, seconds) in paths.items():
        if path.exists():
            done += seconds
        else:
            with contextlib.suppress(OSError, ValueError):
                done += seconds * int(path.with_suffix(".progress").read_text()) / steps
    return done / max(sum(seconds for _, seconds in paths.values()), 1e-9)


def train_all(
    args,
    profile: str,
    todo,
    pending,
    folder: Path,
    figures: Path,
    device: torch.device,
    sources,
    began: float,
) -> None:
    """Run the experiments of `todo`, as many at a time as there are cores; Stop naming the ones that failed."""
    paths = {}
    for settings, seed, reason in pending:
        path = results.path_of(folder, settings, seed)
        path.with_suffix(".progress").unlink(missing_ok=True)  # of a run that was killed
        if path.exists():
            print(f"{path.name}: {reason}; kept as {short(results.set_aside(path))} and run again")
        paths[path] = (settings.steps, run_seconds(settings, device))
    start, said, failures = time.perf_counter(), 0.0, []
    every = 10 if sys.stdout.isatty() else 30
    with Pool(workers_of(device)) as pool:
        futures = {
            pool.submit(run_experiment, args, profile, s, seeds, folder, figures, device.type): (
                s,
                seeds,
            )
            for s, seeds in todo
        }
        waiting = set(futures)
        while waiting:
            for future in [f for f in waiting if f.done()]:
                waiting.remove(future)
                settings, seeds = futures[future]
                if future.exception():
                    failures.append(f"{titled(settings, sources)}: {future.exception()}")
                    print(f"{clock(began)} FAILED {failures[-1]}", flush=True)
                else:
                    print(
                        f"{clock(began)} {titled(settings, sources)}: {len(seeds)} seed{'s' * (len(seeds) > 1)} done",
                        flush=True,
                    )
            if time.perf_counter() - said > every and waiting:
                said, done = time.perf_counter(), share_done(paths)
                left = (
                    f", about {minutes((said - start) * (1 / done - 1))} left"
                    if done > 0.02
                    else ""
                )
                complete = sum(path.exists() for path in paths)
                print(
                    f"{clock(began)} {complete} of {len(paths)} runs complete, {100 * done:.0f} % of the training{left}",
                    flush=True,
                )
            time.sleep(0.2)
    if failures:
        raise Stop(
            f"{len(failures)} of {len(todo)} experiments failed; the first: {failures[0]}. The complete runs are kept."
        )


# --- commands ---


def check_data(args, draw: bool) -> dict[str, packed.Packed]:
    """The packed data sets, checked; what is not there is drawn first, or with `draw` False left out."""
    # An altered file is refused before anything is drawn.
    found = {
        name: packed.load(name, args.data)
        for name in profiles.DATA_SETS
        if packed.described(args.data, name)
    }
    for name, module in (
        ("shapes2d", "shapes2d"),
        ("celeba", "standin_faces"),
        ("chairs", "standin_chairs"),
    ):
        if draw and name not in found:
            subprocess.run(
                [sys.executable, "-m", f"data_prep.{module}", "--out", args.data],
                cwd=ROOT,
                check=True,
            )
            found[name] = packed.load(name, args.data)
    return found


def train_stacked(
    args, profile: str, seeds: int | None, folder: Path, device: torch.device
) -> None:
    """On a GPU: the runs on 2D Shapes many at a time (dipvae_src/visit.py); the notebooks then only read them."""
    options = (
        {"precision": "bf16", "compiled": True, "graphed": True} if device.type == "cuda" else {}
    )
    data = packed.load("shapes2d", args.data, device)
    visit.Visit(
        profile,
        folder,
        data,
        math.inf,
        STACK,
        options,
        log=functools.partial(print, flush=True),
        seeds=seeds,
    ).go()


def replicate(args) -> None:
    began = time.perf_counter()
    device = device_of(args.device)
    seeds = profiles.check_seeds(args.seeds)
    profile, why = choose_profile(args.profile, device, args.device)
    plan = profiles.plan(profile, seeds)
    folder, figures = Path(args.runs) / profile, Path(args.figures_dir) / profile
    count = sum(len(s) for _, s in plan)
    print(f"Profile {profile} ({why}): {profiles.profile(profile).purpose}.")
    print(f"{len(plan)} settings, {count} runs, on {device.type}, {workers_of(device)} at a time.")
    for name, facts in profiles.DATA_SETS.items():
        its = profiles.plan(profile, seeds, name)
        left_out = profiles.profile(profile).left_out(name)
        left_out = f"; against the paper's setting: {left_out}" if left_out else ""
        print(
            f"  {facts.title}: {len(its)} settings, {sum(len(s) for _, s in its)} runs of {its[0][0].steps:,} steps{left_out}"
        )

    if not args.plan and shutil.disk_usage(ROOT).free < NEEDS_DISK:
        raise Stop(f"less than {NEEDS_DISK >> 30} GB of disk is free here; free some and try again")
    sources = check_data(args, draw=not args.plan)
    for name in ("celeba", "chairs"):
        if name not in sources or sources[name].source == "stand-in":
            print(
                f"STAND-IN: {profiles.DATA_SETS[name].title} is not at hand; drawn images take its place (README, Data)."
            )
    if len(sources) < len(profiles.DATA_SETS):
        print(
            "Data: not all there yet; `make replicate` draws what is missing first, in a minute or two."
        )
    if args.plan:
        describe(args, plan, folder, figures, sources, device, seeds)
        return

    with results.locked(folder):
        todo, pending, stale = describe(args, plan, folder, figures, sources, device, seeds)
        if (
            pending
            and (args.engine or ("stacked" if device.type == "cuda" else "plain")) == "stacked"
        ):
            train_stacked(args, profile, seeds, folder, device)
            pending = pending_runs(plan, folder, sources)
        if todo:
            train_all(args, profile, todo, pending, folder, figures, device, sources, began)
        if not args.plain:
            jobs = jobs_for(args, profile, plan, folder, figures, seeds, folder / "stamps")
            show_all(not_done(jobs), began)
    if not todo and not stale:
        return
    print(
        f"Done in {minutes(time.perf_counter() - began)}. Results: {short(folder)}, tables and figures: {short(figures)}"
    )
    if not args.plain:
        print("\n" + (figures / "table_1.md").read_text())
        print(f"All of it on one page: open {short(figures.parent / 'report.html')} in a browser.")


def describe(
    args,
    plan,
    folder: Path,
    figures: Path,
    sources: dict[str, packed.Packed],
    device: torch.device,
    seeds: int | None,
):
    """Say what is to be done and for how long; the experiments to run, the runs that are pending, the notebooks that are stale."""
    profile, count = folder.name, sum(len(s) for _, s in plan)
    pending = pending_runs(plan, folder, sources)
    unfinished = {settings for settings, _, _ in pending}
    if not args.plain:
        pages = {
            s: training_job(args, profile, s, its, folder, figures, device.type) for s, its in plan
        }
        unfinished |= {settings for settings, page in pages.items() if not page.is_done()}
    todo = [(settings, its) for settings, its in plan if settings in unfinished]
    stamps = folder / "stamps"
    jobs = [] if args.plain else jobs_for(args, profile, plan, folder, figures, seeds, stamps)
    stale = jobs if pending else not_done(jobs)
    if not todo and not stale:
        print(
            f"Nothing to do: all {count} runs and {len(jobs)} notebooks are up to date. "
            f"Results: {short(folder)}, tables and figures: {short(figures)}"
        )
    else:
        seconds = estimate_seconds(pending, device, len(stale) + (0 if args.plain else len(todo)))
        print(
            f"To do: {len(pending)} of {count} runs, {len(stale)} notebooks; about {minutes(seconds)} here.",
            flush=True,
        )
    if args.plan:
        for settings, seed, reason in pending:
            print(f"  {titled(settings, sources)}, seed {seed}: {reason}")
        for job in stale:
            print(f"  notebook {job.name}")
    return todo, pending, stale


def showable_plan(profile: str, folder: Path) -> list:
    """Of a profile's plan what `folder` can show: on 2D Shapes, and on those other data sets that are all there."""
    plan = summary.showable_plan(profile, folder)
    for data in list(profiles.DATA_SETS)[1:]:
        plan += profiles.plan(profile, data=data) if summary.complete(profile, data, folder) else []
    return plan


def figures_only(args) -> None:
    """Tables and figures of every profile whose results are committed (or of the one asked for)."""
    began = time.perf_counter()
    if args.profile:
        profiles.profile(args.profile)
    kept = {p: len(list((ROOT / "results" / p).glob("*.json"))) for p in profiles.PROFILES}
    to_show = (
        [args.profile]
        if args.profile
        else [p for p in kept if summary.complete(p, "shapes2d", ROOT / "results" / p)]
    )
    for profile, count in kept.items():
        if count and not args.profile and profile not in to_show:
            print(
                f"Profile {profile}: {count} committed results, but not yet all that has to be there; not shown."
            )
    if not to_show:
        raise Stop("no results are committed yet; run `make replicate`")
    for profile in to_show:
        folder, figures = ROOT / "results" / profile, Path(args.figures_dir) / profile
        plan = showable_plan(profile, folder)
        print(f"Profile {profile}: {len(results.collect(folder, plan))} committed results.")
        stamps = Path(args.runs) / profile / "stamps"
        todo = not_done(jobs_for(args, profile, plan, folder, figures, None, stamps))
        print(f"{len(todo)} notebooks to run, about {minutes(len(todo) * NOTEBOOK_SECONDS / 2)}.")
        show_all(todo, began)
    print(f"Done in {minutes(time.perf_counter() - began)}.")


def without_photographs(picture: Path) -> bytes:
    """A traversal sheet with its first row, the test images, left white: CelebA's images may not be passed on."""
    pixels = np.array(Image.open(picture))
    pixels[:SIDE] = 255
    return png(pixels)


def publish(args) -> None:
    """Copy the runs of a profile that can be shown, all of this code, from runs/ to results/, to be committed.

    Stop where results that are there now would be lost by it.
    """
    profile = args.profile or "quick"
    source, target = Path(args.runs) / profile, ROOT / "results" / profile
    plan = showable_plan(profile, source)
    copied = {results.path_of(target, s, seed) for s, seeds in plan for seed in seeds}
    planned = {
        results.path_of(target, s, seed) for s, seeds in profiles.plan(profile) for seed in seeds
    }
    if lost := sorted(path.name for path in planned - copied if path.exists()):
        raise Stop(
            f"{len(lost)} results in {short(target)} are not in {short(source)} ({lost[0]}); copy them there or delete them first"
        )
    if any(not provenance.is_present(r["code"]) for r in results.collect(source, plan)):
        raise Stop(f"the results in {source} were made by other code; run `make replicate` first")
    for old in [*target.glob("*.json"), *target.glob("*.png")]:
        old.unlink()
    for settings, seeds in plan:
        for seed in seeds:
            path = results.path_of(source, settings, seed)
            result, picture = results.read(path), path.with_suffix(".png")
            if result["picture"]:
                content = (
                    without_photographs(picture)
                    if result["data"]["name"] == "CelebA"
                    else picture.read_bytes()
                )
                results.write_whole(target / picture.name, content)
                result["picture"]["sha256"] = hashlib.sha256(content).hexdigest()
            results.write(target / path.name, result)
    print(
        f"{len(copied)} of {len(planned)} results copied to {short(target)}; commit them, then run `make figures readme`"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--profile", help=", ".join(profiles.PROFILES) + "; chosen by the machine unless told"
    )
    parser.add_argument(
        "--seeds",
        help=f"seeds of every setting, 1 to {profiles.MAX_SEEDS}; as the profile says unless told",
    )
    parser.add_argument("--device", help="cpu or cuda; the GPU where there is one unless told")
    parser.add_argument(
        "--dsprites-gif",
        default="",
        help="the published animation, shown beside the rendered frames",
    )
    parser.add_argument("--data", default="data")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--figures-dir", default="figures")
    parser.add_argument("--plan", action="store_true", help="say what would run, and stop")
    parser.add_argument(
        "--figures", action="store_true", help="from the committed results, no training"
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help="copy the complete runs of a profile to results/, to be committed",
    )
    parser.add_argument("--plain", action="store_true", help="train without notebooks")
    parser.add_argument(
        "--engine",
        choices=("stacked", "plain"),
        help="2D Shapes: many models at once (on a GPU unless told) or one by one",
    )
    args = parser.parse_args(arguments)
    args.data, args.runs, args.figures_dir = (
        str(ROOT / path) for path in (args.data, args.runs, args.figures_dir)
    )
    try:
        if args.seeds is not None:
            if not args.seeds.isdecimal():
                raise ValueError(
                    f"SEEDS must be a whole number (how many seeds a setting), not {args.seeds!r}"
                )
            args.seeds = int(args.seeds)
        publish(args) if args.publish else figures_only(args) if args.figures else replicate(args)
    except (Stop, ValueError, TypeError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode
    except KeyboardInterrupt:
        print(
            "\nStopped. The complete runs are kept; `make replicate` goes on from them.",
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
