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
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from replication import lifeline, provenance, results
from replication.profiles import PROFILES

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
    "11_report": ("../report.html",),
}
REPORT = "11_report"  # reads what the others wrote, so it runs last
TRAIN = "03_train"
LESSONS = ("02_dip_loss_derivation", "04_sap_score")  # committed executed; only turned into pages


class Stop(Exception):
    """Something that the user can mend; its text says how."""


def clock(began: float) -> str:
    seconds = int(time.perf_counter() - began)
    return f"[{seconds // 60:02d}:{seconds % 60:02d}]"


def short(path: str | Path) -> str:
    """A path as a person in the project's folder would write it."""
    return str(Path(path).relative_to(ROOT)) if Path(path).is_relative_to(ROOT) else str(path)


def from_notebooks(path: str | Path) -> str:
    """A path as notebooks, which run in their own folder, have to write it.

    Relative, so that no page names a machine's folders.
    """
    return os.path.relpath(path, ROOT / "notebooks")


# --- commands ---


class Pool(ThreadPoolExecutor):
    """A pool that, when the work is interrupted, starts nothing new and ends what it started."""

    def __exit__(self, kind, *rest):
        if kind is not None:
            self.shutdown(wait=False, cancel_futures=True)
            for child in list(CHILDREN):
                child.terminate()
        return super().__exit__(kind, *rest)


CHILDREN: set[subprocess.Popen] = set()


def command(module: str, *words) -> None:
    """Run a module with this interpreter, one thread; Stop with its last line where it fails."""
    # Its own group: Ctrl-C reaches this process alone, which then ends its children.
    child = subprocess.Popen(
        [sys.executable, "-m", "replication.lifeline", module, *map(str, words)],
        cwd=ROOT,
        env=lifeline.environment(OMP_NUM_THREADS="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
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
    """A notebook with its parameters and the files that it reads, what it leaves, and its stamp.

    The stamp is written last, and holds hashes of all these: a job is done while they are those of
    now, so that a file that is gone, cut or altered is made again.
    """

    name: str
    parameters: dict
    sources: list[Path]  # result files and the like
    page: Path  # the executed notebook's page; the notebook itself lies beside it
    outputs: list[Path]  # what it leaves besides
    stamp: Path

    @property
    def left(self) -> list[Path]:
        """All files that it leaves; of a lesson, which is not executed, the page alone."""
        notebook = [] if self.name in LESSONS else [self.page.with_suffix(".ipynb")]
        return [*self.outputs, *notebook, self.page]

    def shown_by(self) -> str:
        """A hash of what shows: the notebook's cells, its parameters, and the package."""
        cells = json.loads((ROOT / "notebooks" / f"{self.name}.ipynb").read_text("utf-8"))["cells"]
        facts = [[c["cell_type"], c["source"]] for c in cells] + [self.parameters]
        digest = hashlib.sha256(json.dumps(facts).encode())
        if self.name != TRAIN:  # it shows a result, which holds a hash of the code that made it
            digest.update(package_code())
        return digest.hexdigest()

    def files(self) -> str:
        """A hash of what was read and of what was left."""
        digest = hashlib.sha256()
        for path in (*self.sources, *self.left):
            content = path.read_bytes() if path.is_file() else b"not there"
            digest.update(f"{path.name} {hashlib.sha256(content).hexdigest()} ".encode())
        return digest.hexdigest()

    def is_done(self) -> bool:
        """Whether its stamp is of now; what it had nothing to show in is in there as not there."""
        if not self.stamp.is_file():
            return False
        return self.stamp.read_bytes() == f"{self.shown_by()} {self.files()}".encode()

    def execute(self) -> None:
        """Run the notebook, or turn the lesson into its page, and write the stamp.

        Stop where it fails, or where a folder that is not empty lies in an output's place.
        """
        for path in filter(Path.is_dir, (*self.left, self.stamp)):
            try:
                path.rmdir()
            except OSError as error:
                wrong = f"{short(path)} is a folder where a file should be ({error.strerror})"
                raise Stop(f"{wrong}; move it away") from None
        shown_by, notebook = self.shown_by(), ROOT / "notebooks" / f"{self.name}.ipynb"
        if self.name in LESSONS:
            command("replication.notebooks", notebook, "--out", self.page, "--html-only")
        else:
            words = ("--out", self.page.with_suffix(".ipynb"))
            words += ("--parameters", json.dumps(self.parameters))
            command("replication.notebooks", notebook, *words)
        self.stamp.parent.mkdir(parents=True, exist_ok=True)
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


def job_of(name, parameters, sources, figures: Path, stamps: Path, page: str = "") -> Job:
    """A job by the project's layout; the report's stamp is one for all profiles, like its page."""
    stamp = stamps.parent.parent / f"{name}.stamp" if name == REPORT else stamps / (page or name)
    outputs = [figures / output for output in OUTPUTS.get(name, ())]
    return Job(
        name, parameters, sources, figures / "notebooks" / f"{page or name}.html", outputs, stamp
    )


def training_job(page: str, parameters: dict, sources: list[Path], figures: Path, stamps) -> Job:
    """Notebook 03_train for one unit of work, kept as a page of that name."""
    return job_of(TRAIN, parameters, sources, figures, stamps, f"{TRAIN}_{page}")


def jobs_for(args, profile: str, plan, folder: Path, figures: Path, seeds, stamps) -> list[Job]:
    """The notebooks that show the results in `folder`, the report last."""
    paths = [results.path_of(folder, s, seed) for s, seeds_ in plan for seed in seeds_]
    pictures = [p.with_suffix(".png") for p in paths if p.with_suffix(".png").exists()]
    common = {
        "profile": profile, "results_dir": from_notebooks(folder),
        "figures_dir": from_notebooks(figures), "seeds": seeds or 0,
    }  # fmt: skip
    data = from_notebooks(args.data)
    gif = from_notebooks(args.dsprites_gif) if args.dsprites_gif else ""
    described = sorted(Path(args.data).glob("*.json"))
    published = [ROOT / "results" / "published.json"]
    repeats = [name for name, chosen in PROFILES.items() if chosen.longer_than == profile]
    longer = [path for name in repeats for path in sorted((folder.parent / name).glob("*.json"))]
    kept = sorted([*folder.glob("kept/*.npz"), *folder.glob("*.diverged")])
    jobs = [
        ("00_start_here", {"profile": profile}, []),
        ("01_data", {"data_dir": data, "dsprites_gif": gif}, described),
        ("01b_faces_and_chairs", {"data_dir": data}, described),
        ("05_table_1", common, paths + published),
        ("06_trade_off", common, paths + published),
        ("07_traversals", common, paths + pictures),
        ("08_covariance", common, paths),
        ("09_readings", common, paths + longer),
        ("10_attributes", common, paths + published),
        *((lesson, {}, []) for lesson in LESSONS),
    ]
    shown = [job_of(*job, figures, stamps) for job in jobs]
    # It shows what the others leave, which their stamps tell.
    sources = paths + pictures + published + kept + [job.stamp for job in shown]
    return [*shown, job_of(REPORT, common, sources, figures, stamps)]


def not_done(jobs: list[Job]) -> list[Job]:
    """The jobs to execute: those that are not done, and the report, which shows what they leave."""
    stale = [job for job in jobs if not job.is_done()]
    last = jobs[-1:]
    return stale + last if stale and last[0].name == REPORT and last[0] not in stale else stale


def show_all(jobs: list[Job], began: float) -> None:
    """Execute jobs, two at a time and the report last."""
    for part in (
        [job for job in jobs if job.name != REPORT],
        [job for job in jobs if job.name == REPORT],
    ):
        with Pool(2) as pool:
            futures = {pool.submit(job.execute): job for job in part}
            for future in as_completed(futures):
                future.result()
                names = ", ".join(OUTPUTS.get(futures[future].name, ())) or "page"
                print(f"{clock(began)} {futures[future].name}: {names} done", flush=True)
