"""The whole replication: data, runs, tables and figures, whatever of it is not there yet.

    python scripts/replicate.py                    # what `make replicate` calls
    python scripts/replicate.py --plan             # what would run, and for how long
    python scripts/replicate.py --figures          # tables and figures from the committed results, no training
    python scripts/replicate.py --plain            # train without notebooks (a machine that has no Jupyter)

Runs of a sweep are independent processes, one CPU thread each and one process a core, which measured faster than one process on
all cores (`make bench`). A killed run is made again; a complete one is not.
"""

import argparse
import dataclasses
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts: repeatable products

import torch  # noqa: E402
from show import Stop, clock, command, from_notebooks, jobs_for, notebook_command, show_all, stale_notebooks, stamp_of  # noqa: E402

from dipvae_src import data as packed  # noqa: E402
from dipvae_src import experiments, results  # noqa: E402
from dipvae_src.train import device_of, train  # noqa: E402

NOTEBOOK_SECONDS = 12  # one of the notebooks above, on one core
RUN_SECONDS = 8  # of a run beside its training steps: start, scores
NEEDS_DISK = 1 << 30  # bytes: packed data, weights and results of the quick profile


# --- what is to be done ---


def choose_profile(name: str | None, device: torch.device) -> tuple[str, str]:
    """The profile and why it was chosen."""
    if name:
        experiments.profile(name)
        return name, "asked for"
    if device.type == "cuda":
        return "paper", "a CUDA device is here"
    return "quick", "no CUDA device is here"


def pending_runs(plan, folder: Path, data_sha256: str) -> list[tuple[experiments.Settings, int, str]]:
    """The runs whose results do not count yet, and why."""
    runs = ((settings, seed) for settings, seeds in plan for seed in seeds)
    reasons = ((s, seed, results.why_not(results.path_of(folder, s, seed), s, seed, data_sha256)) for s, seed in runs)
    return [(settings, seed, reason) for settings, seed, reason in reasons if reason]


def seconds_per_step(settings: experiments.Settings, device: torch.device, threads: int | None) -> float:
    """Measured here on random images, in a second or two."""
    torch.set_num_threads(threads or torch.get_num_threads())
    bits = torch.randint(0, 256, (2 * settings.batch_size, 512), dtype=torch.uint8, device=device)
    table = torch.zeros(256, 8, device=device)
    fake = packed.Packed("timing", "random", "", ("a",), (len(bits),), (False,), bits, table)
    marks = []
    train(dataclasses.replace(settings, steps=24), 0, fake, lambda step, steps: marks.append(time.perf_counter()))
    return (marks[-1] - marks[3]) / (len(marks) - 4)


def workers_of(device: torch.device) -> int:
    """Runs at a time: one a core on the CPU, one on a GPU."""
    if device.type == "cuda":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def estimate_seconds(pending, device: torch.device, threads: int | None, notebooks: int) -> float:
    """Of the runs and notebooks that are left, on this machine."""
    seconds = notebooks * NOTEBOOK_SECONDS
    if pending:
        step = seconds_per_step(pending[0][0], device, threads)
        seconds += sum(settings.steps * step + RUN_SECONDS for settings, _, _ in pending)
    return seconds / workers_of(device)


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


# --- doing it ---


def run_experiment(args, profile: str, settings, seeds: list[int], folder: Path, pages: Path, device: str) -> None:
    """One experiment with its seeds: notebook 03_train under papermill, or the plain command."""
    weight = settings.beta if settings.objective == "beta-vae" else settings.lambda_od
    threads = experiments.profile(profile).threads or torch.get_num_threads()
    if args.plain:
        words = ["--profile", profile, "--objective", settings.objective, "--weight", weight, "--seeds", *seeds]
        command("-m", "dipvae_src.run", *words, "--data", args.data, "--out", folder, "--device", device)
        return
    parameters = {
        "profile": profile, "objective": settings.objective, "weight": weight, "seeds": seeds, "device": device,
        "data_dir": from_notebooks(args.data), "results_dir": from_notebooks(folder),
    }  # fmt: skip
    notebook_command("03_train", parameters, pages / f"03_train_{settings.name}.ipynb", threads=threads)


def steps_done(folder: Path, plan, pending: set[str]) -> int:
    """Training steps finished so far of the runs that were pending, those under way included."""
    done = 0
    for settings, seeds in plan:
        for seed in seeds:
            path = results.path_of(folder, settings, seed)
            if path.stem not in pending:
                continue
            if path.exists():
                done += settings.steps
            else:
                try:
                    done += json.loads(path.with_suffix(".progress").read_text())["step"]
                except (OSError, ValueError):
                    pass
    return done


def train_all(args, profile: str, plan, pending, folder: Path, pages: Path, device: torch.device, began: float) -> None:
    """Run every pending experiment, as many at a time as there are cores; Stop naming the ones that failed."""
    for settings, seed, reason in pending:
        path = results.path_of(folder, settings, seed)
        if path.exists():
            print(f"{path.name}: {reason}; kept as {results.set_aside(path)} and run again")
    todo = {}
    for settings, seed, _ in pending:
        todo.setdefault(settings, []).append(seed)
    names = {results.path_of(folder, s, seed).stem for s, seed, _ in pending}
    total, start, said, failures = sum(s.steps for s, _, _ in pending), time.perf_counter(), 0.0, []
    every = 10 if sys.stdout.isatty() else 30
    with ThreadPoolExecutor(workers_of(device)) as pool:
        futures = {
            pool.submit(run_experiment, args, profile, s, seeds, folder, pages, device.type): s for s, seeds in todo.items()
        }
        waiting = set(futures)
        while waiting:
            for future in [f for f in waiting if f.done()]:
                waiting.remove(future)
                settings = futures[future]
                if future.exception():
                    failures.append(f"{settings.label}: {future.exception()}")
                    print(f"{clock(began)} FAILED {failures[-1]}")
                else:
                    seeds = todo[settings]
                    print(f"{clock(began)} {settings.label}: {len(seeds)} seed{'s' * (len(seeds) > 1)} done")
            if time.perf_counter() - said > every and waiting:
                said, done = time.perf_counter(), steps_done(folder, plan, names)
                spent = said - start
                left = f", about {minutes(spent / done * (total - done))} left" if done > 0.02 * total else ""
                complete = sum((folder / f"{name}.json").exists() for name in names)
                print(f"{clock(began)} {complete} of {len(names)} runs complete, {100 * done / total:.0f} % of all steps{left}", flush=True)
            time.sleep(0.2)
    if failures:
        raise Stop(f"{len(failures)} of {len(todo)} experiments failed; the first: {failures[0]}. The complete runs are kept.")


# --- commands ---


def check_data(args) -> str:
    """The checksum of the packed data, written first where there is none."""
    if not any((Path(args.data) / f"{stem}.json").exists() for stem in packed.SOURCES["shapes2d"]):
        subprocess.run([sys.executable, "-m", "data_prep.shapes2d", "--out", args.data], cwd=ROOT, check=True)
    return packed.load("shapes2d", args.data).sha256


def replicate(args) -> None:
    began = time.perf_counter()
    device = device_of(args.device)
    seeds = experiments.check_seeds(args.seeds)
    profile, why = choose_profile(args.profile, device)
    chosen, plan = experiments.profile(profile), experiments.plan(profile, seeds)
    folder, figures = Path(args.runs) / profile, Path(args.figures_dir) / profile
    pages, stamps = figures / "notebooks", Path(args.runs) / profile / "stamps"
    count = sum(len(s) for _, s in plan)
    print(f"Profile {profile} ({why}): {chosen.purpose}.")
    print(f"{len(plan)} settings, {count} runs of {plan[0][0].steps:,} steps, on {device.type}, {workers_of(device)} at a time.")
    if chosen.left_out():
        print(f"Against the paper's setting: {chosen.left_out()}.")

    described = [p for s in packed.SOURCES["shapes2d"] if (p := Path(args.data) / f"{s}.json").exists()]
    if args.plan and not described:
        print("Data: not there yet; `make replicate` renders it first (about 15 s).")
        sha256 = ""
    else:
        if shutil.disk_usage(ROOT).free < NEEDS_DISK:
            raise Stop(f"less than {NEEDS_DISK >> 30} GB of disk is free here; free some and try again")
        sha256 = check_data(args)
    pending = pending_runs(plan, folder, sha256)
    jobs = [] if args.plain else jobs_for(args, profile, plan, folder, figures, seeds)
    stale = jobs if pending else stale_notebooks(jobs, figures, stamps)
    if not pending and not stale:
        print(f"Nothing to do: all {count} runs and {len(jobs)} notebooks are up to date. Results: {folder}, figures: {figures}")
        return
    seconds = estimate_seconds(pending, device, chosen.threads, len(stale))
    print(f"To do: {len(pending)} of {count} runs, {len(stale)} notebooks; about {minutes(seconds)} here.", flush=True)
    if args.plan:
        for settings, seed, reason in pending:
            print(f"  {settings.label}, seed {seed}: {reason}")
        for job in stale:
            print(f"  notebook {job[0]}")
        return

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Stop(f"another `make replicate` is at work in {folder}; wait for it or stop it") from None
        if pending:
            train_all(args, profile, plan, pending, folder, pages, device, began)
        if not args.plain:
            jobs = jobs_for(args, profile, plan, folder, figures, seeds)
            show_all(stale_notebooks(jobs, figures, stamps), figures, stamps, began)
    print(f"Done in {minutes(time.perf_counter() - began)}. Results: {folder}, tables and figures: {figures}")
    table = figures / "table_1.md"
    if table.exists() and not args.plain:
        print("\n" + table.read_text())


def figures_only(args) -> None:
    """Tables and figures of every profile whose results are committed (or of the one asked for)."""
    began = time.perf_counter()
    if args.profile:
        experiments.profile(args.profile)
    profiles = [args.profile] if args.profile else [p for p in experiments.PROFILES if any((ROOT / "results" / p).glob("*.json"))]
    if not profiles:
        raise Stop("no results are committed yet; run `make replicate`")
    for profile in profiles:
        folder, figures = ROOT / "results" / profile, Path(args.figures_dir) / profile
        plan = experiments.plan(profile, args.seeds)
        collected = results.collect(folder, plan)
        print(f"Profile {profile}: {len(collected)} committed results.")
        jobs = jobs_for(args, profile, plan, folder, figures, args.seeds)
        show_all([(n, p, stamp_of(n, p, sources)) for n, p, sources in jobs], figures, Path(args.runs) / profile / "stamps", began)
    print(f"Done in {minutes(time.perf_counter() - began)}.")


def publish(args) -> None:
    """Copy exactly the runs of a profile, all complete and of one code, from runs/ to results/, to be committed."""
    profile = args.profile or "quick"
    plan, source, target = experiments.plan(profile, args.seeds), Path(args.runs) / profile, ROOT / "results" / profile
    if any(result["code"] != results.code_hash() for result in results.collect(source, plan)):
        raise Stop(f"the results in {source} were made by other code; run `make replicate` first")
    for old in [*target.glob("*.json"), *target.glob("*.png")]:
        old.unlink()
    for settings, seeds in plan:
        for seed in seeds:
            path = results.path_of(source, settings, seed)
            for file in (path, path.with_suffix(".png")):
                if file.exists():
                    results.write_whole(target / file.name, file.read_bytes())
    print(f"{len(list(target.glob('*.json')))} results copied to {target}; commit them, then run `make figures readme`")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", help=", ".join(experiments.PROFILES) + "; chosen by the machine unless told")
    parser.add_argument("--seeds", help=f"seeds of every setting, 1 to {experiments.MAX_SEEDS}; as the profile says unless told")
    parser.add_argument("--device", help="cpu or cuda; the GPU where there is one unless told")
    parser.add_argument("--dsprites-gif", default="", help="the published animation, shown beside the rendered frames")
    parser.add_argument("--data", default="data")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--figures-dir", default="figures")
    parser.add_argument("--plan", action="store_true", help="say what would run, and stop")
    parser.add_argument("--figures", action="store_true", help="from the committed results, no training")
    parser.add_argument("--publish", action="store_true", help="copy the complete runs of a profile to results/, to be committed")
    parser.add_argument("--plain", action="store_true", help="train without notebooks")
    args = parser.parse_args(arguments)
    try:
        if args.seeds is not None:
            if not args.seeds.isdecimal():
                raise ValueError(f"SEEDS must be a whole number (how many seeds a setting), not {args.seeds!r}")
            args.seeds = int(args.seeds)
        publish(args) if args.publish else figures_only(args) if args.figures else replicate(args)
    except (Stop, ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode
    except KeyboardInterrupt:
        print("\nStopped. The complete runs are kept; `make replicate` goes on from them.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
