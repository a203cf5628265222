"""Running notebooks: what is done again and what not, in which Python, and what a kill leaves."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from replication import jobs, lifeline, notebooks

ROOT = Path(__file__).resolve().parents[2]
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


# --- commands ---


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module that a command of ours can run; its name."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(text: str, name: str = "made_for_a_test") -> str:
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
        return name

    return write


def test_an_interrupt_starts_nothing_new(module, tmp_path):
    """Ten jobs of two seconds on two threads, interrupted: two are ended, the rest never start."""
    name = module("import sys, time; time.sleep(2); open(sys.argv[1], 'w')")
    (left := tmp_path / "left").mkdir()
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt), jobs.Pool(2) as pool:
        for job in range(10):
            pool.submit(jobs.command, name, left / str(job))
        time.sleep(0.5)
        raise KeyboardInterrupt
    assert time.perf_counter() - began < 6 and list(left.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; print('fine'); sys.exit('error: no such thing')", "^no such thing$"),
        ("import os; print('fine'); os.kill(os.getpid(), 9)", r"ended by signal 9 \(SIGKILL\)"),
        (
            "import sys; print('caf\u00e9 \u2192', file=sys.stderr); sys.exit(3)",
            "^caf\u00e9 \u2192$",
        ),
        ("raise SystemExit(3)", "^exit status 3$"),
    ],
)
def test_a_command_that_fails_or_is_killed_says_how(module, monkeypatch, code, words):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    with pytest.raises(jobs.Stop, match=words):
        jobs.command(module(code))


def test_a_terminal_that_knows_no_umlauts_loses_no_work(module):
    name = module("print('caf\u00e9 \u2192 done')")
    run = subprocess.run(
        [sys.executable, "-m", "replication.lifeline", name], cwd=ROOT, capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"}, check=True,
    )  # fmt: skip
    assert run.stdout.endswith(b" done\n") and run.stdout.isascii()


# --- ends with its starter ---


def running(mark: str) -> list[int]:
    """The processes that have this mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes() and b"Z" not in state(path.parent):
                found.append(int(path.parent.name))
    return found


def state(process: Path) -> bytes:
    return (process / "stat").read_bytes().rpartition(b")")[2].split()[0]


def seconds_until(condition, most: float = 60) -> float:
    began = time.perf_counter()
    while not condition():
        assert time.perf_counter() - began < most, "it never came true"
        time.sleep(0.02)
    return time.perf_counter() - began


@on_linux
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_what_a_killed_command_started_ends_with_it_whatever_it_is_busy_with(tmp_path, how):
    """The command, a notebook's runner and its kernel, which sits in C code: all gone at once."""
    mark, ready = f"DIPVAE_TEST_MARK={tmp_path}", tmp_path / "ready"
    busy = f"open({str(ready)!r}, 'w')\nsum(range(10**12))"
    cells = [nbformat.v4.new_code_cell(busy)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "busy.ipynb")
    words = ["replication.notebooks", tmp_path / "busy.ipynb", "--out", tmp_path / "out.ipynb"]
    code = f"from replication import jobs; jobs.command(*{list(map(str, words))!r})"
    if how != signal.SIGKILL:  # under nohup it would be ignored, as it should be
        code = f"import signal; signal.signal({int(how)}, signal.SIG_DFL)\n{code}"
    environment = os.environ | dict([mark.split("=")])
    starter = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment)
    try:
        seconds_until(lambda: ready.exists() or starter.poll() is not None)
        assert len(running(mark)) == 3
        starter.send_signal(how)
        starter.wait(timeout=60)
        assert seconds_until(lambda: not running(mark)) < 2
    finally:
        starter.kill()


def test_one_whose_starter_is_gone_before_it_begins_does_nothing(module, tmp_path):
    name = module(f"open({str(tmp_path / 'ran')!r}, 'w')")
    environment = os.environ | {lifeline.PARENT: "1"}
    run = subprocess.run(
        [sys.executable, "-m", "replication.lifeline", name], cwd=ROOT, env=environment
    )
    assert run.returncode == 1 and not (tmp_path / "ran").exists()


# --- what is done again ---


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """A job for every notebook and one of training, on one source; running one writes its files."""
    monkeypatch.setattr(jobs, "package_code", lambda: b"the package")
    (source := tmp_path / "result.json").write_text("{}")
    figures, stamps = tmp_path / "figures" / "quick", tmp_path / "runs" / "quick" / "stamps"
    names = [name for name in (*jobs.OUTPUTS, *jobs.LESSONS) if name != jobs.REPORT]
    every = [jobs.Job(name, {"seeds": 0}, [source], figures, stamps) for name in names]
    every.append(jobs.Job(jobs.TRAIN, {}, [source], figures, stamps, "03_train_beta-vae_1"))
    sources = [job.stamp for job in every]
    every.append(jobs.Job(jobs.REPORT, {}, sources, figures, stamps))
    ran = []

    def write(module, notebook, *words):
        out = Path(words[words.index("--out") + 1])
        (job,) = [job for job in every if out in job.left]
        ran.append(job.name)
        for path in job.left:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"what {job.name} leaves in {path.name}".encode())

    monkeypatch.setattr(jobs, "command", write)
    return every, ran, source


def go(shown) -> list[str]:
    """Do what is not done; the notebooks that were executed."""
    every, ran, _ = shown
    ran.clear()
    jobs.show_all(jobs.not_done(every), print)
    return ran


def damage_of(how: str, path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how != "gone":
        flipped = bytes([content[0] ^ 1]) + content[1:]
        path.write_bytes({"empty": b"", "cut": content[:-1], "flipped": flipped}[how])


def test_nothing_is_done_twice_and_the_report_comes_last(shown):
    every, _, source = shown
    first = go(shown)
    assert len(first) == len(every) and first[-1] == jobs.REPORT
    assert go(shown) == []
    os.utime(source)
    assert go(shown) == []


@pytest.mark.parametrize("how", ["gone", "empty", "cut", "flipped", "folder"])
def test_every_output_that_is_not_as_it_was_left_is_made_again(shown, how):
    go(shown)
    every, _, _ = shown
    files = [(job, path) for job in every for path in (*job.left, job.stamp)]
    assert len(files) > 60
    for job, path in files:
        content = path.read_bytes()
        damage_of(how, path)
        assert go(shown) == [job.name] + [jobs.REPORT] * (job.name != jobs.REPORT), path.name
        assert path.read_bytes() == content


def test_an_output_that_a_notebook_does_not_write_anew_is_deleted(shown, monkeypatch, capsys):
    """As pictures of results that are gone: they would be taken for those of now."""
    go(shown)
    job = next(job for job in shown[0] if job.name == "07_traversals")
    old, write = job.figures / "traversals_chairs.png", jobs.command

    def all_but_one(module, notebook, *words):
        write(module, notebook, *words)
        if notebook == job.notebook:
            os.utime(old, (1, 1))

    monkeypatch.setattr(jobs, "command", all_but_one)
    job.stamp.unlink()
    capsys.readouterr()
    go(shown)
    assert not old.exists() and job.is_done()
    said = capsys.readouterr().out
    assert "traversals_chairs.pdf" in said and "traversals_chairs.png" not in said


def test_a_folder_with_something_in_it_is_not_removed(shown):
    go(shown)
    job = shown[0][3]
    damage_of("folder", job.left[0])
    (job.left[0] / "mine").touch()
    with pytest.raises(jobs.Stop, match=f"{job.left[0].name} is a folder where a file should be"):
        go(shown)
    assert (job.left[0] / "mine").exists()


@pytest.mark.parametrize("what", ["source", "parameters", "cells", "package"])
def test_notebooks_run_again_for_what_they_show(shown, what, monkeypatch, tmp_path):
    every, _, source = shown
    go(shown)
    others = {job.name for job in every} - {jobs.TRAIN}
    if what == "source":  # a result made again by a command that was killed before the page was
        source.write_text(json.dumps({"changed": True}))
        assert set(go(shown)) == others | {jobs.TRAIN}
    elif what == "parameters":
        every[3].parameters["seeds"] = 3
        assert go(shown) == [every[3].name, jobs.REPORT]
    elif what == "cells":
        (tmp_path / "notebooks").mkdir()
        for path in (ROOT / "notebooks").glob("*.ipynb"):
            text = path.read_text("utf-8").replace("import", "import ", path.stem == "05_table_1")
            (tmp_path / "notebooks" / path.name).write_text(text, "utf-8")
        monkeypatch.setattr(jobs, "ROOT", tmp_path)
        assert go(shown) == ["05_table_1", jobs.REPORT]
    else:  # a page of training shows a result, and that says what code made it
        monkeypatch.setattr(jobs, "package_code", lambda: b"another package")
        assert set(go(shown)) == others


def test_the_report_is_not_believed_after_a_kill_before_it(shown):
    """The others are done again, then a kill: the report is older than what it shows."""
    every, _, source = shown
    go(shown)
    source.write_text("[]")
    for job in every[:-1]:
        job.execute()
    assert go(shown) == [jobs.REPORT]


def test_formatting_the_package_leaves_its_hash_and_a_number_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "ROOT", tmp_path)
    for folder in ("dipvae_src", "replication", "data_prep"):
        (tmp_path / folder).mkdir()
    (path := tmp_path / "replication" / "a.py").write_text("x = [1,\n2]\n")
    before = jobs.package_code()
    path.write_text("x = [1, 2]  # a comment\n")
    assert jobs.package_code() == before
    path.write_text("x = [1, 3]\n")
    assert jobs.package_code() != before


# --- one notebook ---


@pytest.fixture(params=["plain", "curly {x} {prefix} {profile}", "it's $HOME, \u00e9"])
def notebook(tmp_path, request) -> Path:
    cells = [
        nbformat.v4.new_markdown_cell("# Half\n\nOf $x^2$ and of `$HOME`:\n\n$$\\frac{x^2}{2}$$"),
        nbformat.v4.new_code_cell(
            "x = 4.0  # float\nn = 2  # int\nname = 'a'\nkeep = [0]",
            metadata={"tags": ["parameters"]},
        ),
        nbformat.v4.new_code_cell("assert x >= 0, 'x must not be negative'\nprint(name, x / n)"),
        nbformat.v4.new_code_cell("import sys\nprint(sys.executable)"),
    ]
    folder = tmp_path / request.param
    folder.mkdir()
    metadata = {"kernelspec": {"name": "python3", "display_name": "mine", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), folder / "half.ipynb")
    return folder / "half.ipynb"


def test_parameters_reach_the_notebook_and_its_page_needs_no_network(notebook, monkeypatch):
    """Run by this interpreter, though a dead kernel of the name that it gives is installed."""
    spec = notebook.parent / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/usr/bin/gone"], "display_name": "gone"}))
    monkeypatch.setenv("JUPYTER_PATH", str(notebook.parent))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    out = notebook.parent / "out" / "half.ipynb"
    notebooks.execute(notebook, {"x": 9, "name": "b"}, out)
    cells = nbformat.read(out, 4).cells
    printed = [o.text for cell in cells if cell.cell_type == "code" for o in cell.outputs]
    assert printed == ["b 4.5\n", f"{sys.executable}\n"]
    page = out.with_suffix(".html").read_text("utf-8")
    assert page.count("<math") == 2 and "<mfrac>" in page and "$HOME" in page
    assert "frac{" not in page and not re_remote(page) and "MathJax.Hub" not in page
    assert sorted(path.name for path in out.parent.iterdir()) == ["half.html", "half.ipynb"]


def re_remote(page: str) -> bool:
    """Whether a page loads anything from the network."""
    return any(f'{word}="http' in page for word in ("src", 'rel="stylesheet" href'))


@pytest.mark.parametrize("notebook", ["plain"], indirect=True)
@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        ({"y": 1}, ValueError, "half.ipynb has no parameter 'y'; it has x, n, name, keep"),
        ({"x": "9"}, TypeError, r"x must be float like 4.0, not '9' \(str\)"),
        ({"n": 2.0}, TypeError, "n must be int like 2, not 2.0"),
        ({"keep": 0}, TypeError, r"keep must be list like \[0\], not 0"),
    ],
)
def test_unknown_and_ill_typed_parameters_are_refused(notebook, parameters, error, words):
    out = notebook.parent / "out" / "half.ipynb"
    with pytest.raises(error, match=words):
        notebooks.execute(notebook, parameters, out)
    assert not out.parent.exists()


@pytest.mark.parametrize("notebook", ["plain"], indirect=True)
def test_a_failing_cell_leaves_no_output_that_could_be_taken_for_whole(notebook):
    out = notebook.parent / "out" / "half.ipynb"
    words = "half.ipynb, cell .*: AssertionError: x must not be negative"
    with pytest.raises(notebooks.NotebookFailed, match=words):
        notebooks.execute(notebook, {"x": -1.0}, out)
    assert [path.name for path in out.parent.iterdir()] == ["half.failed.ipynb"]


@pytest.mark.parametrize("notebook", ["plain"], indirect=True)
def test_a_kernel_that_cannot_start_leaves_no_page(notebook, monkeypatch):
    monkeypatch.setattr(notebooks, "KERNEL", [str(notebook.parent / "gone")])
    out = notebook.parent / "out" / "half.ipynb"
    with pytest.raises(OSError):
        notebooks.execute(notebook, {}, out)
    assert [path.name for path in out.parent.iterdir()] == ["half.failed.ipynb"]
