"""Showing results: which notebooks have to run again, and running them. Used by replicate.py.

A notebook runs again when its cells, its parameters, the package or the result files that it reads
have changed, or when an output of it is not what it left; not when a file is merely newer.
"""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from replication import lifeline, profiles, provenance, results

ROOT = Path(__file__).resolve().parents[1]


def _files(names: str, ends: str) -> tuple[str, ...]:
    """Each name with each ending."""
    return tuple(f"{name}.{end}" for name in names.split() for end in ends.split())


# Each notebook that reads results, and what it leaves in figures/PROFILE/.
OUTPUTS = {
    "00_start_here": (),
    "01_data": (),
    "01b_faces_and_chairs": (),
    "05_table_1": (
        *_files("table_1 table_1_celeba claims luck", "csv md"),
        *_files("pairs", "png pdf"),
    ),
    "06_trade_off": _files("trade_off trade_off_celeba", "png pdf csv md"),
    "07_traversals": _files("traversals traversals_celeba traversals_chairs", "png pdf gif"),
    "08_covariance": _files("covariance covariance_celeba", "png pdf csv md"),
    "09_readings": _files("readings longer other_scores spread", "csv md"),
    "10_attributes": (*_files("table_2", "csv md"), *_files("attributes", "png pdf")),
    "12_rulers": _files("rulers places shares score_readings traversal_scores outside", "csv md"),
    "11_report": ("../report.html",),
}
REPORT = "11_report"  # reads what the others wrote, so it runs last
TRAIN = "03_train"
LESSONS = ("02_dip_loss_derivation", "04_sap_score")  # committed executed; only turned into pages


class Stop(Exception):
    """Something that the user can mend; its text says how."""


def short(path: str | Path) -> str:
    """A path as a person in the project's folder would write it."""
    return str(Path(path).relative_to(ROOT)) if Path(path).is_relative_to(ROOT) else str(path)


def from_notebooks(path: str | Path) -> str:
    """A path as notebooks, which run in their own folder, have to write it.

    Relative, so that no page names a machine's folders.
    """
    return os.path.relpath(path, ROOT / "notebooks")


# --- commands ---

CHILDREN: set[subprocess.Popen] = set()


class Pool(ThreadPoolExecutor):
    """A pool that, when the work is interrupted, starts nothing new and ends what it started."""

    def __exit__(self, kind, *rest):
        if kind is not None:
            self.shutdown(wait=False, cancel_futures=True)
            for child in list(CHILDREN):
                child.terminate()
        return super().__exit__(kind, *rest)


def command(module: str, *words) -> None:
    """Run a module with this interpreter, one thread; Stop with its last line where it fails."""
    # Its own group: Ctrl-C reaches this process alone, which then ends its children.
    child = subprocess.Popen(
        [sys.executable, "-m", "replication.lifeline", module, *map(str, words)],
        cwd=ROOT, env=lifeline.environment(OMP_NUM_THREADS="1"), start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        encoding="utf-8", errors="replace",
    )  # fmt: skip
    CHILDREN.add(child)
    out, err = child.communicate()
    CHILDREN.discard(child)
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise Stop(f"ended by signal {-child.returncode} ({name})")
    if child.returncode:
        lines = (err or out).strip().splitlines() or [f"exit status {child.returncode}"]
        raise Stop(lines[-1].removeprefix("error: "))


# --- notebooks ---


@dataclasses.dataclass(frozen=True)
class Job:
    """A notebook with its parameters and the files that it reads, and where it leaves what.

    Its stamp is written last, and holds hashes of all these: a job is done while they are those of
    now, so that a file that is gone, cut or altered is made again.
    """

    name: str
    parameters: dict
    sources: list[Path]  # result files and the like
    figures: Path  # figures/PROFILE; the executed notebook and its page lie in notebooks/ there
    stamps: Path
    page: str = ""  # the page's name, unless it is the notebook's

    @property
    def notebook(self) -> Path:
        return ROOT / "notebooks" / f"{self.name}.ipynb"

    @property
    def stamp(self) -> Path:
        return self.stamps / (self.page or self.name)

    @property
    def left(self) -> list[Path]:
        """All files that it leaves, its page last; a lesson, which is not executed, leaves that."""
        page = self.figures / "notebooks" / f"{self.page or self.name}.html"
        executed = [] if self.name in LESSONS else [page.with_suffix(".ipynb")]
        return [*(self.figures / name for name in OUTPUTS.get(self.name, ())), *executed, page]

    def shown_by(self) -> str:
        """A hash of what shows: the notebook's cells, its parameters, and the package."""
        cells = json.loads(self.notebook.read_text("utf-8"))["cells"]
        facts = [[c["cell_type"], c["source"]] for c in cells] + [self.parameters]
        digest = hashlib.sha256(json.dumps(facts).encode())
        if self.name != TRAIN:  # it shows a result, which holds a hash of the code that made it
            digest.update(package_code())
        return digest.hexdigest()

    def files(self) -> str:
        """A hash of what was read and of what was left; what is not there is in it as not there."""
        digest = hashlib.sha256()
        for path in (*self.sources, *self.left):
            content = path.read_bytes() if path.is_file() else b"not there"
            digest.update(f"{path.name} {hashlib.sha256(content).hexdigest()} ".encode())
        return digest.hexdigest()

    def is_done(self) -> bool:
        """Whether its stamp is of now."""
        now = f"{self.shown_by()} {self.files()}"
        return self.stamp.is_file() and self.stamp.read_bytes() == now.encode()

    def execute(self) -> None:
        """Run the notebook, or turn the lesson into its page, and write the stamp.

        Stop where it fails, or where a folder that is not empty lies in an output's place. What it
        has not written anew, of results that are gone, is deleted.
        """
        began = time.time()
        for path in filter(Path.is_dir, (*self.left, self.stamp)):
            try:
                path.rmdir()
            except OSError as error:
                wrong = f"{short(path)} is a folder where a file should be ({error.strerror})"
                raise Stop(f"{wrong}; move it away") from None
        shown_by, page = self.shown_by(), self.left[-1]
        words = ("--out", page.with_suffix(".ipynb"), "--parameters", json.dumps(self.parameters))
        if self.name in LESSONS:
            words = ("--out", page, "--html-only")
        command("replication.notebooks", self.notebook, *words)
        for path in self.left:
            if path.is_file() and path.stat().st_mtime < began - 1:  # clocks of disks are coarse
                path.unlink()
        self.mark_done(shown_by)

    def mark_done(self, shown_by: str) -> None:
        """Write the stamp."""
        results.write_whole(self.stamp, f"{shown_by} {self.files()}".encode())


def package_code() -> bytes:
    """Of all code that a notebook may use: what it does, however it is formatted."""
    digest = hashlib.sha256()
    for folder in ("dipvae_src", "replication", "data_prep"):
        for path in sorted((ROOT / folder).rglob("*.*")):
            if path.suffix in (".py", ".js", ".css", ".html", ".toml", ".csv"):
                text = path.read_text("utf-8")
                is_python = path.suffix == ".py"
                digest.update((provenance.structure(text) if is_python else text).encode())
    return digest.digest()


def jobs_for(args, profile: str, plan: profiles.Plan, folder: Path) -> list[Job]:
    """The notebooks that show the results in `folder`, the report last; `args`: replicate.py's."""
    figures, stamps = Path(args.figures_dir) / profile, Path(args.runs) / profile / "stamps"
    common = {
        "profile": profile, "results_dir": from_notebooks(folder),
        "figures_dir": from_notebooks(figures), "seeds": args.seeds or 0,
    }  # fmt: skip
    data = {"data_dir": from_notebooks(args.data)}
    gif = from_notebooks(args.dsprites_gif) if args.dsprites_gif else ""
    described = sorted(Path(args.data).glob("*.json"))
    read = [results.path_of(folder, *run) for run in profiles.runs_of(plan)]
    read += [path.with_suffix(".png") for path in read if path.with_suffix(".png").exists()]
    repeats = [name for name, its in profiles.PROFILES.items() if its.longer_than == profile]
    read += [path for name in repeats for path in sorted((folder.parent / name).glob("*.json"))]
    read += [ROOT / "results" / name for name in ("published.json", "outside.csv")]
    others = {
        "00_start_here": ({"profile": profile}, []),
        "01_data": (data | {"dsprites_gif": gif}, described),
        "01b_faces_and_chairs": (data, described),
    } | dict.fromkeys(LESSONS, ({}, []))
    names = [name for name in (*OUTPUTS, *LESSONS) if name != REPORT]
    shown = [Job(name, *others.get(name, (common, read)), figures, stamps) for name in names]
    # It shows what the others leave, which their stamps tell.
    kept = [
        path for end in ("kept/*.npz", "frames/*.webp", "*.diverged") for path in folder.glob(end)
    ]
    last = [*read, *sorted(kept), *(job.stamp for job in shown)]
    return [*shown, Job(REPORT, common, last, figures, stamps)]


def not_done(jobs: list[Job]) -> list[Job]:
    """The jobs to execute: those that are not done, and the report, which shows what they leave."""
    stale = [job for job in jobs if not job.is_done()]
    last = jobs[-1:]
    return stale + last if stale and last[0].name == REPORT and last[0] not in stale else stale


def show_all(jobs: list[Job], say: Callable[[str], None]) -> None:
    """Execute jobs, two at a time and the report last."""
    last = [job for job in jobs if job.name == REPORT]
    for part in ([job for job in jobs if job not in last], last):
        with Pool(2) as pool:
            futures = {pool.submit(job.execute): job for job in part}
            for future in as_completed(futures):
                future.result()
                job = futures[future]
                made = [x for x in OUTPUTS.get(job.name, ()) if (job.figures / x).exists()]
                say(f"{job.name}: {', '.join(made) or 'page'} done")
