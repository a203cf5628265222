"""Show results: which notebooks have to run again, and running them. Used by replicate.py.

A notebook runs again when its cells, its parameters, the package or the result files that it reads have changed, or when an
output of it is gone; not when a file is merely newer.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from dipvae_src import results

ROOT = Path(__file__).resolve().parents[1]

# Each notebook that reads results, and what it leaves in figures/PROFILE/.
OUTPUTS = {
    "00_start_here": (),
    "01_data": (),
    "05_table_1": ("table_1.csv", "table_1.md", "claims.csv", "claims.md"),
    "06_trade_off": ("trade_off.png", "trade_off.pdf", "trade_off.csv", "trade_off.md"),
    "07_traversals": ("traversals.png", "traversals.pdf", "traversals.gif"),
    "08_covariance": ("covariance.png", "covariance.pdf", "covariance.csv", "covariance.md"),
}
LESSONS = ("02_dip_loss_derivation", "04_sap_score")  # committed executed; only turned into pages here


class Stop(Exception):
    """Something that the user can mend; its text says how."""


def clock(began: float) -> str:
    seconds = int(time.perf_counter() - began)
    return f"[{seconds // 60:02d}:{seconds % 60:02d}]"


def command(*words, **environment) -> None:
    """Run a command of this project with this interpreter; Stop with its last line where it fails."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | environment
    done = subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        raise Stop(lines[-1].removeprefix("error: "))


def notebook_command(name: str, parameters: dict, out: Path, *, threads: int = 1, source: Path | None = None) -> None:
    source = source or ROOT / "notebooks" / f"{name}.ipynb"
    command(
        "scripts/notebooks.py", source, "--out", out, "--parameters", json.dumps(parameters), OMP_NUM_THREADS=str(threads)
    )


def from_notebooks(path: str | Path) -> str:
    """A path as notebooks, which run in their own folder, have to write it; relative, so that no page names a machine's folders."""
    return os.path.relpath(path, ROOT / "notebooks")


def stamp_of(name: str, parameters: dict, sources: list[Path]) -> str:
    """A hash of all that decides what a notebook shows: its cells, its parameters, the package, the result files."""
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    digest = hashlib.sha256(json.dumps([[c["cell_type"], c["source"]] for c in cells] + [parameters]).encode())
    for path in sorted([*(ROOT / "dipvae_src").glob("*.py"), *(ROOT / "data_prep").glob("*.py")]):
        digest.update(results.without_comments(path.read_text()).encode())
    for path in sources:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def stale_notebooks(jobs: list[tuple[str, dict, list[Path]]], figures: Path, stamps: Path) -> list[tuple[str, dict, str]]:
    """The notebooks to execute, with their stamps: those whose inputs changed or whose outputs are gone."""
    stale = []
    for name, parameters, sources in jobs:
        stamp = stamp_of(name, parameters, sources)
        outputs = [figures / o for o in OUTPUTS[name]] + [figures / "notebooks" / f"{name}{end}" for end in (".ipynb", ".html")]
        kept = stamps / name
        if not (all(o.exists() for o in outputs) and kept.exists() and kept.read_text() == stamp):
            stale.append((name, parameters, stamp))
    return stale


def jobs_for(args, profile: str, plan, folder: Path, figures: Path, seeds: int | None) -> list[tuple[str, dict, list[Path]]]:
    """Each notebook with its parameters and the files that it reads."""
    paths = [results.path_of(folder, s, seed) for s, seeds_ in plan for seed in seeds_]
    pictures = [p.with_suffix(".png") for p in paths if p.with_suffix(".png").exists()]
    common = {
        "profile": profile, "results_dir": from_notebooks(folder), "figures_dir": from_notebooks(figures), "seeds": seeds or 0,
    }  # fmt: skip
    data, gif = from_notebooks(args.data), from_notebooks(args.dsprites_gif) if args.dsprites_gif else ""
    described = [p for p in (Path(args.data) / "shapes2d.json", Path(args.data) / "dsprites.json") if p.exists()]
    published = [ROOT / "results" / "published.json"]
    return [
        ("00_start_here", {"profile": profile}, []),
        ("01_data", {"data_dir": data, "dsprites_gif": gif}, described),
        ("05_table_1", common, paths + published),
        ("06_trade_off", common, paths + published),
        ("07_traversals", common, paths + pictures),
        ("08_covariance", common, paths),
    ]


def show_all(jobs, figures: Path, stamps: Path, began: float) -> None:
    """Execute the stale notebooks, two at a time; write their stamps as they finish."""
    stamps.mkdir(parents=True, exist_ok=True)
    pages = figures / "notebooks"
    with ThreadPoolExecutor(2) as pool:
        futures = {pool.submit(notebook_command, n, p, pages / f"{n}.ipynb"): (n, stamp) for n, p, stamp in jobs}
        for lesson in LESSONS:
            source, page = ROOT / "notebooks" / f"{lesson}.ipynb", pages / f"{lesson}.html"
            if source.exists() and (not page.exists() or page.stat().st_mtime < source.stat().st_mtime):
                words = ("scripts/notebooks.py", source, "--out", page, "--html-only")
                futures[pool.submit(command, *words)] = (lesson, "")
        for future in as_completed(futures):
            name, stamp = futures[future]
            future.result()
            if stamp:
                results.write_whole(stamps / name, stamp.encode())
            print(f"{clock(began)} {name}: {', '.join(OUTPUTS.get(name, ())) or 'page'} done", flush=True)
