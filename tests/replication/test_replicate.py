"""The whole replication in small: it survives a kill, does nothing twice, and refuses what it cannot do."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image
from threadpoolctl import threadpool_limits

from dipvae_src.settings import Settings
from replication import jobs, notebooks, profiles, replicate, results, run
from replication.show import summary, tables

ROOT = Path(__file__).resolve().parents[2]
PLAN = profiles.plan("smoke")  # each with one seed
COUNT = len(PLAN)
SHAPES = profiles.plan("smoke", data="shapes2d")


def start(data_dir, runs, *words) -> subprocess.Popen:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
        "OMP_NUM_THREADS": "1"
    }
    words = ["--profile", "smoke", "--device", "cpu", "--data", data_dir, "--runs", runs, *words]
    return subprocess.Popen(
        [sys.executable, "-m", "replication.replicate", *map(str, words)], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def scores(folder) -> list:
    """All that a table could show of a run."""
    found = results.collect(folder, PLAN)
    return [(r["settings"], r["seed"], r["losses"], r["metrics"]) for r in found]


def some(plan) -> list[Settings]:
    """Four settings that the slow tests leave to be made, in the plan's order: the first of each data set, and another reading."""
    chosen = [next(s for s, _ in plan if s.data == data) for data in profiles.DATA_SETS] + [
        next(s for s, _ in plan if s.reading)
    ]
    return [s for s, _ in plan if s in chosen]


def copy_but(source: Path, target: Path, left_out: list[Settings]) -> None:
    """All results of a folder with their pictures, but those of some settings."""
    shutil.copytree(source, target)
    for settings in left_out:
        for path in target.rglob(f"{settings.name}_seed*"):
            path.unlink()


@pytest.fixture(scope="module")
def undisturbed(data_dir, tmp_path_factory) -> Path:
    """Every run of the smoke profile, made here one after the other: what the commands below have to come to."""
    runs = tmp_path_factory.mktemp("undisturbed")
    with threadpool_limits(1):  # as the script's processes have it
        for settings, seeds in PLAN:
            for seed in seeds:
                run.run(
                    "smoke", settings, seed, data_dir, runs / "smoke", "cpu", log=lambda line: None
                )
    return runs


def test_a_killed_replication_goes_on_and_ends_the_same(undisturbed, data_dir, tmp_path):
    folder, left = tmp_path / "smoke", some(PLAN)
    copy_but(undisturbed / "smoke", folder, left)
    there = set(folder.glob("*.json"))
    process = start(data_dir, tmp_path, "--plain")
    for _ in range(2_400):
        if complete := set(folder.glob("*.json")) - there:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    out, _ = process.communicate()
    assert complete and process.returncode == -signal.SIGKILL
    assert "Profile smoke (asked for)" in out and f"To do: {len(left)} of {COUNT} runs" in out
    assert "STAND-IN: CelebA is not at hand" in out and "STAND-IN: 3D Chairs is not at hand" in out
    (folder / f"{left[1].name}_seed0.json.part").write_text(
        "half a res"
    )  # as a kill in the middle of a write would leave it

    time.sleep(2)  # children notice within a second that they are alone
    survivors = {p: p.stat().st_mtime_ns for p in folder.glob("*.json")}
    time.sleep(3)
    assert {p: p.stat().st_mtime_ns for p in folder.glob("*.json")} == survivors, "a child lives on"
    out, err = (again := start(data_dir, tmp_path, "--plain")).communicate(timeout=300)
    assert again.returncode == 0, err
    # a machine with many cores runs all at once
    assert f"To do: {COUNT - len(survivors)} of {COUNT} runs" in out or len(survivors) == COUNT
    assert f"{left[-1].label}: 1 seed done" in out or len(survivors) == COUNT
    assert all(p.stat().st_mtime_ns == t for p, t in survivors.items())
    assert scores(folder) == scores(undisturbed / "smoke")
    for data in ("shapes2d", "celeba"):
        ours, theirs = (
            tables.table_1(summary.load("smoke", str(f), data=data))
            for f in (folder, undisturbed / "smoke")
        )
        assert ours.equals(theirs)


def test_the_stacked_engine_trains_2d_shapes_and_leaves_the_rest_to_the_plain_loop(
    undisturbed, data_dir, tmp_path, capsys, monkeypatch
):
    """Two experiments on 2D Shapes are left, one of them another reading, and one on each of the others."""
    left = some(PLAN)
    copy_but(undisturbed / "smoke", tmp_path / "smoke", left)

    def here(args, profile, settings, seeds, folder, pages, device):
        for seed in seeds:
            run.run(profile, settings, seed, args.data, folder, device, log=lambda line: None)

    monkeypatch.setattr(replicate, "run_experiment", here)
    status, out, err = call(capsys, data_dir, tmp_path, *PLAIN, "--engine", "stacked")
    assert (status, err) == (0, "") and f"To do: {len(left)} of {COUNT} runs" in out
    found = {s.name: results.read(results.path_of(tmp_path / "smoke", s, 0)) for s in left}
    assert [(r.get("engine"), r["code"]) for r in found.values()] == 2 * [
        ("stacked", results.STACKED)
    ] + 2 * [(None, results.LOADED)]
    assert [r["stack"]["models"] for r in found.values() if "stack" in r] == [2, 2]
    assert len(results.collect(tmp_path / "smoke", PLAN)) == COUNT  # both engines in one folder
    again, out, _ = call(capsys, data_dir, tmp_path, *PLAIN, "--engine", "stacked")
    assert again == 0 and "Nothing to do" in out


def call(capsys, data_dir, runs, *words):
    status = replicate.main(["--data", str(data_dir), "--runs", str(runs), *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


PLAIN = ("--plain", "--profile", "smoke", "--device", "cpu")


def test_a_second_time_does_nothing_and_says_so(undisturbed, data_dir, capsys):
    for path in [*(undisturbed / "smoke").glob("*.json"), ROOT / "dipvae_src" / "losses.py"]:
        os.utime(path)  # a touch is no edit
    status, out, err = call(capsys, data_dir, undisturbed, *PLAIN)
    assert (status, err) == (
        0,
        "",
    ) and f"Nothing to do: all {COUNT} runs and 0 notebooks are up to date" in out


def test_an_edited_loss_runs_again(undisturbed, data_dir, capsys, monkeypatch):
    monkeypatch.setattr(results, "LOADED", "edited")
    status, out, _ = call(capsys, data_dir, undisturbed, *PLAIN, "--plan")
    assert (
        status == 0
        and f"To do: {COUNT} of {COUNT} runs" in out
        and "VAE, seed 0: other code" in out
    )


def test_more_seeds_run_only_what_is_new(undisturbed, data_dir, capsys):
    status, out, _ = call(capsys, data_dir, undisturbed, *PLAIN, "--plan", "--seeds", "2")
    assert (
        status == 0
        and f"To do: {COUNT} of {2 * COUNT} runs" in out
        and "VAE, seed 1: not run yet" in out
        and "VAE, seed 0" not in out
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--profile", "fast"),
            "unknown profile 'fast'; the profiles are smoke, quick, evening, paper",
        ),
        (("--seeds", "0"), "SEEDS must be a whole number from 1 to 100"),
        (("--seeds", "101"), "SEEDS must be a whole number from 1 to 100"),
        (
            ("--seeds", "three"),
            "SEEDS must be a whole number (how many seeds a setting), not 'three'",
        ),
        (("--seeds", "1.5"), "SEEDS must be a whole number (how many seeds a setting), not '1.5'"),
        (("--device", "tpu"), "unknown device 'tpu'; use cpu or cuda"),
        (("--figures", "--profile", "smoke"), f"{len(SHAPES)} of {len(SHAPES)} results are not in"),
    ],
)
def test_bad_input_is_one_line_before_any_work(data_dir, tmp_path, capsys, words, message):
    status, out, err = call(capsys, data_dir, tmp_path, *words)
    assert (
        status == 1
        and out == ""
        and message in err
        and err.startswith("error: ")
        and err.count("\n") == 1
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["shapes2d.bits", "faces.labels.npz", "standin_chairs.rgb"])
def test_an_altered_data_file_stops_it(data_dir, tmp_path, capsys, name):
    data = Path(shutil.copytree(data_dir, tmp_path / "data"))
    (data / name).write_bytes(bytes((data / name).stat().st_size))
    status, _, err = call(capsys, data, tmp_path / "runs", *PLAIN)
    assert status == 1 and f"{name} is altered" in err and not (tmp_path / "runs").exists()


def test_a_plan_without_data_says_so_and_draws_nothing(tmp_path, capsys):
    status, out, err = call(capsys, tmp_path, tmp_path / "runs", *PLAIN, "--plan")
    assert (
        (status, err) == (0, "")
        and "Data: not all there yet" in out
        and f"To do: {COUNT} of {COUNT} runs" in out
    )
    assert list(tmp_path.iterdir()) == []


def test_a_plan_tells_each_data_set(undisturbed, data_dir, capsys):
    status, out, _ = call(capsys, data_dir, undisturbed, *PLAIN, "--plan", "--seeds", "3")
    for data, facts in profiles.DATA_SETS.items():
        count, steps = (
            len(profiles.plan("smoke", data=data)),
            profiles.PROFILES["smoke"].parts[data].common["steps"],
        )
        assert (
            f"  {facts.title}: {count} settings, {3 * count} runs of {steps} steps; against the paper's setting: "
            in out
        )


def test_an_interrupt_starts_nothing_new(tmp_path):
    """Ten jobs of a second on two threads, interrupted at once: the two that run are ended, the rest never start."""
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt), jobs.Pool(2) as pool:
        for job in range(10):
            code = f"import time; time.sleep(1); open({str(tmp_path / str(job))!r}, 'w')"
            pool.submit(jobs.command, "-c", code)
        time.sleep(0.3)
        raise KeyboardInterrupt
    assert time.perf_counter() - began < 5 and list(tmp_path.iterdir()) == []


def test_a_command_that_fails_or_is_killed_says_how():
    with pytest.raises(jobs.Stop, match="^no such thing$"):
        jobs.command("-c", "import sys; print('fine'); sys.exit('error: no such thing')")
    with pytest.raises(jobs.Stop, match=r"ended by signal 9 \(SIGKILL\)"):
        jobs.command("-c", "import os; print('fine'); os.kill(os.getpid(), 9)")


def test_notebooks_and_all(undisturbed, data_dir, tmp_path):
    """`make replicate PROFILE=smoke` as users run it, on the small data: every notebook, every output, and nothing the second time.

    To save minutes, only four experiments are left to be made; the others have their results, and a page.
    """
    runs, figures_dir, left = tmp_path / "runs", tmp_path / "figures" / "smoke", some(PLAN)
    copy_but(undisturbed, runs, left)
    (figures_dir / "notebooks").mkdir(parents=True)
    for settings in (s for s, _ in PLAN if s not in left):
        (figures_dir / "notebooks" / f"03_train_{settings.name}.html").write_text("made before")
    words = ("--figures-dir", tmp_path / "figures")
    out, err = (process := start(data_dir, runs, *words)).communicate(timeout=600)
    assert process.returncode == 0, err
    every = [o for outputs in jobs.OUTPUTS.values() for o in outputs]
    expected = {figures_dir / o for o in every if not o.startswith("longer")}  # evening has it
    assert [path for path in expected if not path.exists() or path.stat().st_size == 0] == []
    pages = {path.name: path.read_text() for path in (figures_dir / "notebooks").glob("*.html")}
    trained = {f"03_train_{settings.name}.html" for settings, _ in PLAN}
    others = {f"{path.stem}.html" for path in (ROOT / "notebooks").glob("*.ipynb")} - {
        "03_train.html"
    }
    assert set(pages) == trained | others
    assert {name for name, page in pages.items() if page == "made before"} == trained - {
        f"03_train_{s.name}.html" for s in left
    }
    assert all(settings.label in pages[f"03_train_{settings.name}.html"] for settings in left)
    assert "| DIP-VAE-II (lambda_od 500) | 1 |" in out
    assert "smoke profile: width 32 for 1200" in (figures_dir / "table_1.md").read_text()
    assert "small faces (for CelebA)" in (figures_dir / "table_2.md").read_text()
    assert scores(runs / "smoke") == scores(
        undisturbed / "smoke"
    )  # a notebook's run is the command's
    assert not list(tmp_path.rglob("*.part")) + list(tmp_path.rglob("*.progress"))

    kept = {
        path: path.stat().st_mtime_ns
        for path in tmp_path.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
    out, err = (process := start(data_dir, runs, *words)).communicate(timeout=100)
    assert (
        process.returncode == 0
        and f"Nothing to do: all {COUNT} runs and {len(others)} notebooks are up to date" in out
    ), err
    assert {
        path: path.stat().st_mtime_ns
        for path in tmp_path.rglob("*")
        if path.is_file() and path.name != ".lock"
    } == kept


def test_a_published_sheet_of_celeba_holds_no_photograph(tmp_path):
    pixels = np.arange(3 * 64 * 128 * 3, dtype=np.uint8).reshape(192, 128, 3)
    Image.fromarray(pixels).save(tmp_path / "sheet.png")
    made = np.asarray(Image.open(io.BytesIO(replicate.without_photographs(tmp_path / "sheet.png"))))
    assert (made[:64] == 255).all() and (made[64:] == pixels[64:]).all()


def test_the_seconds_of_runs_make_their_share(tmp_path):
    done, half, none = (tmp_path / f"{name}.json" for name in ("done", "half", "none"))
    done.touch()
    half.with_suffix(".progress").write_text("50")
    assert replicate.share_done({done: (10, 30.0), half: (100, 20.0), none: (10, 50.0)}) == 0.4


def test_figures_ask_only_for_data_sets_that_were_run(tmp_path):
    for settings, seeds in profiles.plan("smoke", data="shapes2d") + profiles.plan(
        "smoke", data="chairs"
    ):
        for seed in seeds:
            results.path_of(tmp_path, settings, seed).touch()
    assert {settings.data for settings, _ in replicate.showable_plan("smoke", tmp_path)} == {
        "shapes2d",
        "chairs",
    }


def test_only_one_at_a_time(undisturbed, data_dir, capsys, monkeypatch):
    import fcntl

    monkeypatch.setattr(results, "LOADED", "edited")
    with open(undisturbed / "smoke" / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        status, _, err = call(capsys, data_dir, undisturbed, *PLAIN)
    assert status == 1 and "another `make replicate`, visit or sweep is at work in" in err


def test_a_failed_experiment_is_named_and_the_others_are_kept(
    data_dir, tmp_path, capsys, monkeypatch
):
    ran = []

    def fail_one(args, profile, settings, seeds, folder, pages, device):
        if settings.beta == 60:
            raise replicate.Stop("the loss is nan at step 7")
        ran.append(settings.label)

    monkeypatch.setattr(replicate, "run_experiment", fail_one)
    status, out, err = call(capsys, data_dir, tmp_path, *PLAIN)
    assert status == 1 and "FAILED 2D Shapes, beta-VAE (beta 60): the loss is nan at step 7" in out
    assert (
        f"1 of {COUNT} experiments failed; the first: 2D Shapes, beta-VAE (beta 60)" in err
        and "complete runs are kept" in err
    )
    assert len(ran) == COUNT - 1 == out.count("1 seed done")


# --- notebooks ---


@pytest.fixture
def notebook(tmp_path) -> Path:
    cells = [
        nbformat.v4.new_markdown_cell("# Half\n\nOf $x^2$ and of `$HOME`:\n\n$$\\frac{x^2}{2}$$"),
        nbformat.v4.new_code_cell(
            "x = 4.0  # float\nn = 2  # int\nname = 'a'\nkeep = [0]",
            metadata={"tags": ["parameters"]},
        ),
        nbformat.v4.new_code_cell("assert x >= 0, 'x must not be negative'\nprint(name, x / n)"),
    ]
    path = tmp_path / "half.ipynb"
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def test_parameters_reach_the_notebook_and_its_page_needs_no_network(notebook, tmp_path):
    out = tmp_path / "out" / "half.ipynb"
    notebooks.execute(notebook, {"x": 9, "name": "b"}, out)
    printed = [
        o.text for c in nbformat.read(out, 4).cells if c.cell_type == "code" for o in c.outputs
    ]
    assert printed == ["b 4.5\n"]
    page = out.with_suffix(".html").read_text()
    assert (
        page.count("<math") == 2 and "<mfrac>" in page and "$HOME" in page and "frac{" not in page
    )
    assert not notebooks.REMOTE.search(page) and "MathJax.Hub" not in page
    assert sorted(p.name for p in out.parent.iterdir()) == ["half.html", "half.ipynb"]


@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        ({"y": 1}, ValueError, "half.ipynb has no parameter 'y'; it has x, n, name, keep"),
        ({"x": "9"}, TypeError, "x must be float like 4.0, not '9' \\(str\\)"),
        ({"n": 2.0}, TypeError, "n must be int like 2, not 2.0"),
        ({"keep": 0}, TypeError, r"keep must be list like \[0\], not 0"),
    ],
)
def test_unknown_and_ill_typed_parameters_are_refused(notebook, tmp_path, parameters, error, words):
    with pytest.raises(error, match=words):
        notebooks.execute(notebook, parameters, tmp_path / "out" / "half.ipynb")
    assert not (tmp_path / "out").exists()


def test_a_failing_cell_leaves_no_output_that_could_be_taken_for_whole(notebook, tmp_path):
    out = tmp_path / "out" / "half.ipynb"
    with pytest.raises(
        notebooks.NotebookFailed,
        match="half.ipynb, cell .*: AssertionError: x must not be negative",
    ):
        notebooks.execute(notebook, {"x": -1.0}, out)
    assert sorted(p.name for p in out.parent.iterdir()) == ["half.failed.ipynb"]


def test_figure_notebooks_run_again_only_for_what_they_read(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "OUTPUTS", {"05_table_1": ("table_1.md",)})
    source = tmp_path / "result.json"
    source.write_text("{}")
    (tmp_path / "figures" / "notebooks").mkdir(parents=True)
    (tmp_path / "stamps").mkdir()
    written = [
        tmp_path / "figures" / n
        for n in ("table_1.md", "notebooks/05_table_1.ipynb", "notebooks/05_table_1.html")
    ]
    job = ("05_table_1", {"seeds": 0}, [source])

    def stale(job=job):
        return [
            name
            for name, _, _ in jobs.stale_notebooks([job], tmp_path / "figures", tmp_path / "stamps")
        ]

    assert stale() == ["05_table_1"]
    for path in written:
        path.write_text("done")
    (tmp_path / "stamps" / "05_table_1").write_text(jobs.stamp_of(*job))
    assert stale() == []
    os.utime(source)
    assert stale() == []
    assert stale(("05_table_1", {"seeds": 3}, [source])) == ["05_table_1"]
    source.write_text(json.dumps({"changed": True}))
    assert stale() == ["05_table_1"]
    source.write_text("{}")
    written[0].unlink()
    assert stale() == ["05_table_1"]


def test_the_report_runs_again_and_last_whenever_a_notebook_before_it_does(tmp_path, monkeypatch):
    """It shows what they leave, so it comes once they are done: no stamp of its own says so."""
    monkeypatch.setattr(jobs, "OUTPUTS", {})
    figures_dir, stamps, began = tmp_path / "figures", tmp_path / "stamps", []
    jobs = [("05_table_1", {}, []), ("06_trade_off", {}, []), (jobs.REPORT, {}, [])]

    def leave(name, parameters, out):
        began.append(name)
        out.parent.mkdir(parents=True, exist_ok=True)
        for end in (".ipynb", ".html"):
            out.with_suffix(end).write_text("done")

    monkeypatch.setattr(jobs, "notebook_command", leave)

    def go() -> list[str]:
        began.clear()
        jobs.show_all(jobs.stale_notebooks(jobs, figures_dir, stamps), figures_dir, stamps, 0.0)
        return began

    assert sorted(go()) == ["05_table_1", "06_trade_off", jobs.REPORT] and began[-1] == jobs.REPORT
    assert go() == []
    (figures_dir / "notebooks" / "06_trade_off.html").unlink()
    assert go() == ["06_trade_off", jobs.REPORT]
    jobs.stamp_file(stamps, jobs.REPORT).write_text("of something else, or of another profile")
    assert go() == [jobs.REPORT]
