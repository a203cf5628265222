"""Show results: which notebooks have to run again, and running them. Used by replicate.py.

A notebook runs again when its cells, its parameters, the package or the result files that it reads have changed, or when an
output of it is gone; not when a file is merely newer.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from replication import lifeline, provenance, results

ROOT = Path(__file__).resolve().parents[1]

# Each notebook that reads results, and what it leaves in figures/PROFILE/.
OUTPUTS = {
    "00_start_here": (),
    "01_data": (),
    "01b_faces_and_chairs": (),
    "05_table_1": ("table_1.csv", "table_1.md", "table_1_celeba.csv", "table_1_celeba.md", "claims.csv", "claims.md"),
    "06_trade_off": tuple(f"{name}.{end}" for name in ("trade_off", "trade_off_celeba") for end in ("png", "pdf", "csv", "md")),
    "07_traversals": tuple(f"traversals{data}.{end}" for data in ("", "_celeba", "_chairs") for end in ("png", "pdf", "gif")),
    "08_covariance": (
        *(f"covariance.{end}" for end in ("png", "pdf", "csv", "md")), *(f"covariance_celeba.{end}" for end in ("png", "pdf", "csv", "md")),
    ),
    "09_readings": ("readings.csv", "readings.md", "other_scores.csv", "other_scores.md", "spread.csv", "spread.md"),
    "10_attributes": ("table_2.csv", "table_2.md", "attributes.png", "attributes.pdf"),
    "11_report": ("../report.html",),
}  # fmt: skip
REPORT = "11_report"  # reads what the others wrote, so it runs last
LESSONS = (
    "02_dip_loss_derivation",
    "04_sap_score",
)  # committed executed; only turned into pages here


class Stop(Exception):
    """Something that the user can mend; its text says how."""


def clock(began: float) -> str:
    seconds = int(time.perf_counter() - began)
    return f"[{seconds // 60:02d}:{seconds % 60:02d}]"


def short(path: str | Path) -> str:
    """A path as a person in the project's folder would write it."""
    return str(Path(path).relative_to(ROOT)) if Path(path).is_relative_to(ROOT) else str(path)


class Pool(ThreadPoolExecutor):
    """A pool that, when the work is interrupted, starts nothing new and ends what it started."""

    def __exit__(self, kind, *rest):
        if kind is not None:
            self.shutdown(wait=False, cancel_futures=True)
            for child in list(CHILDREN):
                child.terminate()
        return super().__exit__(kind, *rest)


CHILDREN: set[subprocess.Popen] = set()


def command(*words, **environment) -> None:
    """Run a command of this project with this interpreter; Stop with its last line where it fails."""
    env = (
        os.environ
        | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", lifeline.PARENT: str(os.getpid())}
        | environment
    )
    # Its own group: Ctrl-C reaches this process alone, which then ends its children.
    child = subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    CHILDREN.add(child)
    out, err = child.communicate()
    CHILDREN.discard(child)
    if child.returncode < 0:
        raise Stop(
            f"ended by signal {-child.returncode} ({signal.Signals(-child.returncode).name})"
        )
    if child.returncode:
        lines = (err or out).strip().splitlines() or [f"exit status {child.returncode}"]
        raise Stop(lines[-1].removeprefix("error: "))


def notebook_command(name: str, parameters: dict, out: Path) -> None:
    """Execute a notebook of the project with these parameters (one thread), or turn a lesson into its page."""
    words = ("--html-only",) if name in LESSONS else ("--parameters", json.dumps(parameters))
    command(
        "-m",
        "replication.notebooks",
        ROOT / "notebooks" / f"{name}.ipynb",
        "--out",
        out,
        *words,
        OMP_NUM_THREADS="1",
    )


def from_notebooks(path: str | Path) -> str:
    """A path as notebooks, which run in their own folder, have to write it; relative, so that no page names a machine's folders."""
    return os.path.relpath(path, ROOT / "notebooks")


def stamp_of(name: str, parameters: dict, sources: list[Path]) -> str:
    """A hash of all that decides what a notebook shows: its cells, its parameters, the package, the result files."""
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    digest = hashlib.sha256(
        json.dumps([[c["cell_type"], c["source"]] for c in cells] + [parameters]).encode()
    )
    for path in sorted(
        [
            p
            for folder in ("dipvae_src", "replication", "data_prep")
            for p in (ROOT / folder).rglob("*.*")
        ]
    ):
        if path.suffix in (".py", ".js", ".css"):
            text = path.read_text("utf-8")
            digest.update((provenance.structure(text) if path.suffix == ".py" else text).encode())
    for path in sources:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def stamp_file(stamps: Path, name: str) -> Path:
    """Where a notebook's stamp lies; the report's in one place for all profiles, since they write the same page."""
    return stamps.parent.parent / f"{name}.stamp" if name == REPORT else stamps / name


def stale_notebooks(
    jobs: list[tuple[str, dict, list[Path]]], figures: Path, stamps: Path
) -> list[tuple[str, dict, str]]:
    """The notebooks to execute, with their stamps: those whose inputs changed or whose outputs are gone."""
    stale = []
    for name, parameters, sources in jobs:
        stamp = stamp_of(name, parameters, sources)
        pages = (".html",) if name in LESSONS else (".ipynb", ".html")
        outputs = [figures / o for o in OUTPUTS.get(name, ())] + [
            figures / "notebooks" / f"{name}{end}" for end in pages
        ]
        kept = stamp_file(stamps, name)
        if not (all(o.exists() for o in outputs) and kept.exists() and kept.read_text() == stamp):
            stale.append((name, parameters, stamp))
    report = next((job for job in jobs if job[0] == REPORT), None)
    if stale and report and stale[-1][0] != REPORT:  # it shows what the others leave
        stale.append((*report[:2], stamp_of(*report)))
    return stale


def jobs_for(
    args, profile: str, plan, folder: Path, figures: Path, seeds: int | None
) -> list[tuple[str, dict, list[Path]]]:
    """Each notebook with its parameters and the files that it reads."""
    paths = [results.path_of(folder, s, seed) for s, seeds_ in plan for seed in seeds_]
    pictures = [p.with_suffix(".png") for p in paths if p.with_suffix(".png").exists()]
    common = {
        "profile": profile, "results_dir": from_notebooks(folder), "figures_dir": from_notebooks(figures), "seeds": seeds or 0,
    }  # fmt: skip
    data, gif = (
        from_notebooks(args.data),
        from_notebooks(args.dsprites_gif) if args.dsprites_gif else "",
    )
    described = sorted(Path(args.data).glob("*.json"))
    published = [ROOT / "results" / "published.json"]
    return [
        ("00_start_here", {"profile": profile}, []),
        ("01_data", {"data_dir": data, "dsprites_gif": gif}, described),
        ("01b_faces_and_chairs", {"data_dir": data}, described),
        ("05_table_1", common, paths + published),
        ("06_trade_off", common, paths + published),
        ("07_traversals", common, paths + pictures),
        ("08_covariance", common, paths),
        ("09_readings", common, paths),
        ("10_attributes", common, paths + published),
        *((lesson, {}, [ROOT / "notebooks" / f"{lesson}.ipynb"]) for lesson in LESSONS),
        (REPORT, common, paths + pictures + published + sorted([*folder.glob("kept/*.npz"), *folder.glob("*.diverged")])),
    ]  # fmt: skip


def show_all(jobs, figures: Path, stamps: Path, began: float) -> None:
    """Execute the stale notebooks, two at a time and the report last; write their stamps as they finish."""
    stamps.mkdir(parents=True, exist_ok=True)
    for part in (
        [job for job in jobs if job[0] != REPORT],
        [job for job in jobs if job[0] == REPORT],
    ):
        with Pool(2) as pool:
            futures = {}
            for name, parameters, stamp in part:
                out = figures / "notebooks" / f"{name}.ipynb"
                out = out.with_suffix(".html") if name in LESSONS else out
                futures[pool.submit(notebook_command, name, parameters, out)] = (name, stamp)
            for future in as_completed(futures):
                name, stamp = futures[future]
                future.result()
                results.write_whole(stamp_file(stamps, name), stamp.encode())
                print(
                    f"{clock(began)} {name}: {', '.join(OUTPUTS.get(name, ())) or 'page'} done",
                    flush=True,
                )
