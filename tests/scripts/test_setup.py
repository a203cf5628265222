"""Set-up: one list of packages in four files, refusals of one line, and the Makefile's targets.

python -m pytest tests/scripts/test_setup.py
"""

import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import Counter, namedtuple
from pathlib import Path

import pytest

from replication import profiles

ROOT = Path(__file__).resolve().parents[2]
TARGETS = [
    "env", "data", "plan", "train", "replicate", "figures", "test", "test-browser", "test-kill",
    "lint", "sweep", "bench", "publish", "readme", "lab", "notebooks-clean", "clean", "distclean",
]  # fmt: skip


def load(name):
    """Import scripts/<name>.py, which is no package."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.pop(0)


bootstrap, lock, notebooks = load("bootstrap"), load("lock"), load("clean_notebooks")
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def parse(line):
    """ "numpy>=1.26,<3  # why" -> ("numpy", {">=1.26", "<3"})"""
    name, clauses = re.match(
        r"([A-Za-z0-9_.-]+)(.*)", line.split("#")[0].split(";")[0].replace(" ", "")
    ).groups()
    return canonical(name), set(clauses.split(",")) - {""}


WANTED = dict(
    parse(line)
    for line in (ROOT / "requirements.in").read_text("utf-8").splitlines()
    if re.match(r"\w", line)
)
PINS = {
    name: next(iter(clauses)).removeprefix("==") for name, clauses in map(parse, lock.pins(LOCK))
}
EXTRAS = PROJECT["optional-dependencies"]
DECLARED = dict(parse(line) for line in PROJECT["dependencies"] + sum(EXTRAS.values(), []))


# ---- one list in four files ----


def test_every_hand_written_requirement_is_pinned_within_its_range():
    assert WANTED.keys() <= PINS.keys()
    lines = [name + ",".join(clauses) for name, clauses in WANTED.items()]
    assert bootstrap.problems(lines, PINS.get) == []


def test_pyproject_names_what_requirements_in_names():
    declared = dict(DECLARED)
    assert declared.pop("torch") == {">=2.11"}  # the lock says which one made the tables
    assert (declared.pop("ray"), declared.pop("playwright")) == (
        {">=2.40"},
        {">=1.40"},
    )  # asked for by their own targets, never locked
    for name, clauses in declared.items():
        assert clauses <= WANTED[name], (
            f"{name}: pyproject.toml asks for {clauses}, requirements.in for {WANTED[name]}"
        )
    of_torch = {
        "filelock",
        "fsspec",
        "jinja2",
        "networkx",
        "setuptools",
        "sympy",
        "typing-extensions",
    }
    assert WANTED.keys() - declared.keys() == of_torch | {"jsonschema"}


def test_every_pin_has_hashes_and_nothing_points_to_one_machine():
    entries = re.findall(
        r"^([a-z0-9][^ \n]*==[^ \n]+)[^\n]*\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
        LOCK,
        re.M,
    )
    assert len(entries) == len(lock.pins(LOCK)) == len(PINS) > 100
    body = "".join(line for line in LOCK.splitlines(keepends=True) if not line.startswith("#"))
    for text in (body, (ROOT / "environment.yml").read_text("utf-8").split("name: dipvae")[1]):
        assert not re.search(
            r"://|file:|--index|--extra-index|--find-links|^/| @ |git\+", text, re.M
        )


def test_lock_holds_no_torch_and_no_cuda():
    assert not [
        name for name in PINS if name in ("torch", "triton") or name.startswith(("nvidia", "cuda"))
    ]


def test_lock_holds_all_that_torch_needs():
    if bootstrap.version_tuple(importlib.metadata.version("torch")) != bootstrap.version_tuple(
        bootstrap.TORCH_VERSION
    ):
        pytest.skip("another torch than the one that .venv gets")
    needs = [
        line
        for line in importlib.metadata.requires("torch")
        if "extra ==" not in line and not re.match(r"nvidia|triton|cuda", line)
    ]
    assert len(needs) >= 6
    missing = [
        line
        for line in needs
        if bootstrap.problems([line.split(";")[0]], lambda name: PINS.get(canonical(name)))
    ]
    assert not missing


def test_environment_yml_is_made_from_the_lock():
    text = (ROOT / "environment.yml").read_text("utf-8")
    assert text == lock.environment(LOCK), "run scripts/lock.py"
    assert re.findall(r"- (python=.*|torch==.*|-e \.)", text.split("dependencies:")[1]) == [
        "python=3.12",
        f"torch=={bootstrap.TORCH_VERSION}",
        "-e .",
    ]


def test_python_versions_and_torch_agree_everywhere():
    assert PROJECT["requires-python"] == ">=3.11"
    assert sorted(bootstrap.PYTHONS) == [(3, 11), (3, 12)]
    assert 'python: ["3.11", "3.12"]' in (ROOT / ".github/workflows/test.yml").read_text("utf-8")
    ours = {"torch": bootstrap.TORCH_VERSION}
    assert bootstrap.problems(PROJECT["dependencies"][:1], ours.get) == []


# ---- checks: each refusal is one line that says what to do ----


def refusal(function, *arguments, **options):
    with pytest.raises(bootstrap.Refused) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "name", ["scripts/bootstrap.py", "replication/lifeline.py", "replication/__init__.py"]
)
def test_bootstrap_and_what_it_imports_parse_on_old_pythons(name):
    ast.parse((ROOT / name).read_text("utf-8"), feature_version=(3, 6))


@pytest.mark.parametrize("version", [(3, 8), (3, 10), (3, 13), (4, 0)])
def test_other_pythons_are_refused(version):
    message = refusal(bootstrap.choose_python, version, which=lambda name: None)
    assert f"this is {version[0]}.{version[1]}" in message and "PYTHON=" in message


def test_this_python_is_taken_where_it_will_do():
    assert bootstrap.choose_python(sys.version_info[:2], which=lambda n: "/usr/bin/" + n) is None


def test_another_python_is_looked_for_and_tried():
    """python3.12 is a shim that fails to run or has no venv, python3.11 works."""
    tried = {"/s/python3.12": None, "/s/python3.11": (3, 11)}
    options = {"which": lambda name: "/s/" + name, "probe": tried.get}
    assert bootstrap.choose_python((3, 13), **options) == "/s/python3.11"
    tried["/s/python3.11"] = None
    assert "3.13" in refusal(bootstrap.choose_python, (3, 13), **options)


def test_missing_venv_package_is_named():
    nothing = {"which": lambda name: None, "probe": lambda path: None}
    message = refusal(bootstrap.choose_python, (3, 11), **nothing)
    assert "apt install python3.11-venv" in message


def test_probe_runs_the_interpreter(tmp_path):
    assert bootstrap.probe(sys.executable) == sys.version_info[:2]
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    assert bootstrap.probe(str(shim)) is None
    assert bootstrap.probe(str(tmp_path / "absent")) is None


def test_full_disk_is_refused(tmp_path):
    usage = namedtuple("usage", "free")
    bootstrap.check_disk(str(tmp_path), 2.0, usage=lambda path: usage(3 * 2**30))
    assert "2.0 GB" in refusal(
        bootstrap.check_disk, str(tmp_path), 2.0, usage=lambda path: usage(2**30)
    )


@pytest.mark.parametrize(
    "version, fits", [("3.80", False), ("3.81", True), ("4.3", True), ("4.4.1", True), ("", True)]
)
def test_old_make_is_refused(version, fits):
    if fits:
        bootstrap.check_make(version)
    else:
        assert version in refusal(bootstrap.check_make, version)


@pytest.mark.parametrize(
    "text, numbers",
    [("2.13.0+cpu", (2, 13, 0)), ("2.11.0a0+eb65b36", (2, 11, 0)), ("3.81", (3, 81)), ("", ())],
)
def test_version_tuple(text, numbers):
    assert bootstrap.version_tuple(text) == numbers


@pytest.mark.parametrize(
    "version, fits",
    [
        ("2.10.1", False),
        ("2.11.0a0+eb65b36", True),
        ("2.13.1", True),
        ("2.14.0", True),
        (None, False),
    ],
)
def test_range_of_torch(version, fits):
    assert (bootstrap.problems(["torch>=2.11"], lambda name: version) == []) == fits


# ---- .venv ----


@pytest.fixture
def venv(tmp_path, monkeypatch):
    folder = tmp_path / ".venv"
    for name, path in {
        "VENV": folder,
        "STAMP": folder / ".complete",
        "OURS": folder / ".made-by-make-env",
        "PYTHON": folder / "python",
    }.items():
        monkeypatch.setattr(bootstrap, name, str(path))
    return folder


def test_half_made_venv_is_no_venv_and_is_emptied(venv):
    bootstrap.empty_venv()
    (venv / "lib").mkdir()
    (venv / "lib64").symlink_to("lib")
    (venv / "python").touch()
    assert not bootstrap.is_complete()
    bootstrap.empty_venv()
    assert os.listdir(venv) == [".made-by-make-env"]


def test_emptying_that_breaks_off_can_be_done_again(venv, monkeypatch):
    bootstrap.empty_venv()
    (venv / "lib").mkdir()

    def broken(path):
        raise OSError(39, "Directory not empty")

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap.shutil, "rmtree", broken)
        with pytest.raises(OSError):
            bootstrap.empty_venv()
    bootstrap.empty_venv()
    assert os.listdir(venv) == [".made-by-make-env"]


def test_venv_is_complete_until_the_lock_changes(venv, monkeypatch):
    venv.mkdir()
    (venv / "python").touch()
    (venv / ".complete").write_text(bootstrap.fingerprint())
    assert bootstrap.is_complete()
    monkeypatch.setattr(bootstrap, "TORCH_VERSION", "2.12.0")
    assert not bootstrap.is_complete()


def test_fingerprint_follows_lock_python_and_place(tmp_path):
    seen = set()
    for text, version, place in [
        ("a", (3, 11), "x"),
        ("b", (3, 11), "x"),
        ("a", (3, 12), "x"),
        ("a", (3, 11), "y"),
    ]:
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        (folder / "requirements.lock").write_text(text)
        (folder / "pyproject.toml").write_text("")
        seen.add(bootstrap.fingerprint(version, str(folder)))
    assert len(seen) == 4


def test_venv_of_somebody_else_is_left_alone(venv):
    venv.mkdir()
    (venv / "pyvenv.cfg").touch()
    assert "VENV=none" in refusal(bootstrap.empty_venv)
    assert (venv / "pyvenv.cfg").exists()


def pip_calls(cuda, platform):
    """The pip commands that install_torch gives."""
    calls = []
    bootstrap.install_torch(cuda, lambda what, *words: calls.append(words), platform)
    return calls


def test_torch_comes_with_its_libraries_only_where_cuda_is():
    version = bootstrap.TORCH_VERSION
    assert pip_calls(True, "linux") == [("torch==" + version,)]
    assert pip_calls(False, "darwin") == [("--no-deps", "torch==" + version)]
    (words,) = pip_calls(False, "linux")
    index = ("--extra-index-url", "https://download.pytorch.org/whl/cpu")
    assert words[0] == "--no-deps" and words[-3:] == (*index, f"torch=={version}+cpu")


def test_a_failing_pip_is_refused_in_its_own_words(venv, monkeypatch, capfd):
    """pip's last error, the log and both ways out in one line, and nothing beside it."""
    venv.mkdir()
    monkeypatch.setattr(bootstrap, "PYTHON", sys.executable)
    monkeypatch.setattr(bootstrap, "LOG", str(venv / "install.log"))
    words = ("--no-index", "--dry-run", "no-such-package==1")
    message = refusal(bootstrap.pip, "no-such-package", *words)
    assert "could not install no-such-package (No matching distribution found for" in message
    assert capfd.readouterr() == ("", "")
    assert "make env" in message and "VENV=none" in message
    assert "no-such-package" in (venv / "install.log").read_text("utf-8")


# ---- as commands ----


MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
DATA_NAMES = ["PROFILE", "SEEDS", "DEVICE", "DSPRITES", "CELEBA", "CHAIRS", "DSPRITES_GIF"]


def command(*arguments, cwd=ROOT, **environment):
    """Run with a clean slate: no settings from a make that may run this test."""
    names = re.search(r"^NAMES := .*", MAKEFILE, re.M)[0].split() + DATA_NAMES
    ours = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "DIPVAE_PARENT", *names}
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        arguments, cwd=cwd, env=environ | environment, capture_output=True, text=True, timeout=300
    )


def test_refusal_on_the_command_line_is_one_line():
    run = command(sys.executable, "scripts/bootstrap.py", "--make-version", "3.80")
    assert run.returncode == 1 and run.stdout == "" and run.stderr.count("\n") == 1
    assert "needs GNU make 3.81" in run.stderr


def test_venv_none_looks_at_the_interpreter_at_hand():
    run = command(sys.executable, "scripts/bootstrap.py", "--check", "notebooks")
    assert (run.returncode, run.stderr) == (0, "") and sys.executable in run.stdout
    run = command(
        sys.executable, "-I", "-S", "scripts/bootstrap.py", "--check"
    )  # without site-packages
    assert run.returncode == 1 and run.stderr.count("\n") == 1
    assert "torch>=2.11" in run.stderr and "papermill" not in run.stderr


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="no make on PATH")


@needs_make
def test_help_is_the_default_fits_a_screen_and_lists_every_target():
    run = command("make")
    assert run.returncode == 0
    lines = run.stdout.splitlines()
    assert len(lines) < 24 and max(map(len, lines)) <= 80
    assert re.findall(r"^([a-z-]+) +[a-zA-Z`]", run.stdout, re.M) == TARGETS
    phony = " ".join(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.M)).split()
    assert {*TARGETS, "help"} <= set(phony)
    assert f"PROFILE={'|'.join(profiles.PROFILES)} " in run.stdout


@needs_make
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_sets_up_first_and_ends_with_make(target):
    run = command("make", "-n", target)
    assert run.returncode == 0
    lines = run.stdout.splitlines()
    sets_up = "exec 'python3' scripts/bootstrap.py --make-version " in lines[0]
    assert sets_up == (target not in ("clean", "distclean"))
    if target not in ("clean", "distclean", "lint", "notebooks-clean"):  # those take seconds
        text = run.stdout.replace("\\\n", "")
        commands = [line for line in text.splitlines() if "python" in line]
        assert all("DIPVAE_PARENT=$PPID exec" in line for line in commands)
        assert all(" -m replication.lifeline " in line for line in commands[1:] if line != lines[0])


def all_planned(*settings, **environment):
    """The commands, as words, that make would run after setting up, without what holds them."""
    run = command("make", "-n", *settings, **environment)
    assert run.returncode == 0, run.stderr
    text = run.stdout.replace("DIPVAE_PARENT=$PPID exec ", "").replace(
        " -m replication.lifeline", ""
    )
    return [shlex.split(line) for line in text.splitlines() if "bootstrap.py" not in line]


def planned(*settings, **environment):
    """The last of them."""
    return all_planned(*settings, **environment)[-1]


@needs_make
def test_settings_reach_the_command_whole_and_empty_ones_do_not():
    start = [".venv/bin/python", "replication.replicate"]
    assert planned("replicate") == start
    assert planned("train") == [*start, "--train-only"]
    assert planned("plan", "PROFILE=", "SEEDS=", "DEVICE=cpu") == [
        *start,
        "--plan",
        "--device",
        "cpu",
    ]
    words = ["--profile", "smoke", "--seeds", "2", "--dsprites-gif", "it's a file.gif"]
    given = ("PROFILE=smoke", "SEEDS=2", "DSPRITES_GIF=it's a file.gif")
    assert planned("replicate", *given) == start + words
    assert planned("plan", PROFILE="smoke") == [*start, "--plan", "--profile", "smoke"]


@needs_make
@pytest.mark.parametrize(
    "value",
    ["/data/a$b", "$x", "$(shell touch pwned)", "/my  download", "a,b) (", "it's", "`id` $$HOME #c",
     "back\\slash", '"quoted"', "{curly} x", "a:b", "*", "download/"],
)  # fmt: skip
@pytest.mark.parametrize("by_environment", [False, True])
def test_values_are_taken_literally(value, by_environment, tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    run = command(
        "make", "-n", "data", *([] if by_environment else [f"CELEBA={value}"]), cwd=tmp_path,
        **({"CELEBA": value} if by_environment else {}),
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    (line,) = [line for line in run.stdout.splitlines() if "data_prep.celeba" in line]
    assert shlex.split(line)[-4:] == ["--path", value, "--out", "data"]
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]


@needs_make
def test_a_leading_tilde_is_the_home_folder():
    home = {"HOME": "/h$x/a b"}
    assert planned("data", "CHAIRS=~/c/~/d", **home)[-3] == "/h$x/a b/c/~/d"
    assert planned("plan", "VENV=none", "PYTHON=~/bin/python", **home)[0] == "/h$x/a b/bin/python"
    sweep = planned("sweep", "OUT=~/shared", "ADDRESS=auto", **home)
    assert sweep[-4:] == ["--out", "/h$x/a b/shared", "--address", "auto"]


@needs_make
@pytest.mark.parametrize(
    "goal, given, words",
    [
        ("replicate", "PROFIL=smoke", "not know PROFIL; it takes PROFILE SEEDS DEVICE DSPRITES"),
        ("replicate", "profile=smoke", "does not know profile;"),
        ("replicate", "SEED=1", "does not know SEED;"),
        ("plan", "CELEBA=x", "plan` does not know CELEBA; it takes PROFILE SEEDS DEVICE PY"),
        ("figures", "SEEDS=1", "does not know SEEDS; it takes PROFILE PYTHON VENV."),
        ("clean", "PROFILE=smoke", "does not know PROFILE; it takes no names."),
        ("replicate", "X=$(shell touch pwned)", "does not know X;"),
        ("replicate", "PROFILE=fast", f'"fast": the profiles are {" ".join(profiles.PROFILES)}.'),
        ("replicate", "PROFILE=smoke quick", 'PROFILE="smoke quick": the profiles are'),
        ("replicate", "SEEDS=0", 'SEEDS="0": use a whole number from 1 to 100'),
        ("replicate", "SEEDS=101", 'SEEDS="101":'),
        ("replicate", "SEEDS=1 2", 'SEEDS="1 2":'),
        ("replicate", "SEEDS=$(words a b)", 'SEEDS="$(words a b)":'),
        ("plan", "DEVICE=tpu", 'DEVICE="tpu": use cpu or cuda.'),
        ("plan", "VENV=none none", 'VENV="none none": only VENV=none is known'),
        ("data", "CELEBA=a\nb", "CELEBA holds a line break."),
    ],
)  # fmt: skip
def test_make_refuses_names_and_values_in_a_sentence_before_any_work(goal, given, words, tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    run = command("make", goal, given, cwd=tmp_path)
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert words in run.stderr and [path.name for path in tmp_path.iterdir()] == ["Makefile"]


@needs_make
@pytest.mark.parametrize("name", ["curly {x} {profile}", "it's $x", "a b  c", 'q"uote', "a:b"])
def test_the_clone_may_have_an_odd_name(name, tmp_path):
    folder = tmp_path / name
    for path in ("Makefile", "scripts/bootstrap.py", "pyproject.toml", "replication/lifeline.py"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)
    run = command("make", "env", "VENV=none", f"PYTHON={sys.executable}", cwd=folder)
    if ":" in name:
        assert run.returncode == 2 and "has a colon in its name" in run.stderr
    else:
        assert (run.returncode, run.stderr) == (0, "") and "has what is needed" in run.stdout


@needs_make
def test_data_are_drawn_unless_they_are_given():
    """Stand-ins are drawn where the packed official file is not there; a path takes their place."""
    python, out = ".venv/bin/python", ["--out", "data"]
    assert all_planned("data") == [
        [python, "data_prep.shapes2d", *out],
        ["test", "-e", "data/celeba.json", "||", python, "data_prep.standins.faces", *out],
        ["test", "-e", "data/chairs.json", "||", python, "data_prep.standins.chairs", *out],
    ]
    for name, place in (("DSPRITES", 1), ("CELEBA", 1), ("CHAIRS", 2)):
        start = [python, f"data_prep.{name.lower()}"]
        path = all_planned("data", f"{name}=my files/d.npz")
        assert path[place] == [*start, "--path", "my files/d.npz", *out]
        given = all_planned("data", f"{name}=download")
        assert given[place] == [*start, "--download", *out]
        # the drawn shapes stay: the official ones are held against them
        assert len(given) == len(path) == 3 + (name == "DSPRITES")


@needs_make
def test_venv_none_uses_the_python_given():
    assert planned("bench", "VENV=none", "PYTHON=/a b/python") == ["/a b/python", "scripts.bench"]
    assert "--check notebooks test\n" in command("make", "-n", "test", "VENV=none").stdout
    assert "papermill" not in command("make", "-n", "data", "VENV=none").stdout


@needs_make
def test_clean_keeps_results(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    kept = [
        "results/quick/a.json",
        "figures/quick/table_1.md",
        "runs/a/weights.npz",
        "data/shapes2d.json",
        ".venv/lib/__pycache__/x.pyc",
    ]
    gone = [
        "data/shapes2d.bin.part",
        "dipvae_src/__pycache__/x.pyc",
        ".pytest_cache/v",
        "notebooks/.ipynb_checkpoints/a.ipynb",
        "dipvae.egg-info/PKG-INFO",
        "runs/a/result.json.part",
    ]
    for name in kept + gone:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert command("make", "clean", cwd=tmp_path).returncode == 0
    assert [name for name in kept if not (tmp_path / name).exists()] == []
    assert [name for name in gone if (tmp_path / name).exists()] == []
    assert command("make", "distclean", cwd=tmp_path).returncode == 0
    assert (
        not (tmp_path / ".venv").exists()
        and (tmp_path / kept[0]).exists()
        and (tmp_path / kept[3]).exists()
    )


def test_integration_runs_what_readme_says():
    assert os.access(ROOT / ".ci/run", os.X_OK)
    lines = (ROOT / ".ci/run").read_text("utf-8").splitlines()
    # All count: the first failure ends it, and the browser comes after all that a reader types.
    ran = [line for line in lines if line.startswith("make")]
    assert ran == ["make lint", "make test", "make test-browser"] and lines[-1] == ran[-1]
    assert any(re.match("set -.*e", line) for line in lines[: lines.index(ran[0])])
    steps = (ROOT / ".github/workflows/test.yml").read_text("utf-8")
    assert re.findall("- run: (make .*)", steps) == ran


# ---- notebooks under test ----


def test_sanitising_hides_the_machine_and_no_result():
    from nbval.plugin import get_sanitize_patterns

    text = (ROOT / "tests/nbval_sanitize.cfg").read_text("utf-8")
    patterns = get_sanitize_patterns(text)
    assert len(patterns) == len(re.findall(r"^\[", text, re.M)), "a pattern is not in nbval's form"

    def sanitise(line):
        for regex, replace in patterns:
            line = re.sub(regex, replace, line)
        return line

    for one, other in [
        ("took 1.25 s on 2 cores", "took 40 s on 16 cores"),
        ("Python 3.11.7, torch 2.13.0+cpu", "Python 3.12.1, torch 2.11.0"),
        ("10%\r 50%\r100%\rdone", "100%\rdone"),
        ("<object at 0x7f01aa00>", "<object at 0x7f02bb10>"),
        ("2,500 images/s", "901.5 images/s"),
        ("run of 2026-01-02 10:11", "run of 2027-11-12 09:00"),
    ]:
        assert sanitise(one) == sanitise(other)
    for result in [
        "SAP 0.1234",
        "lambda_od = 10, seeds = 3",
        "737280 images, 64 x 64",
        "error 1.23e-05",
        "41 of 258 frames",
    ]:
        assert sanitise(result) == result


def collected(*words):
    """The tests that pytest collects, by file."""
    run = command(sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider",
                  "-o", "python_files=none", *words)  # fmt: skip
    return Counter(line.split("::")[0] for line in run.stdout.splitlines() if "::" in line)


def test_nbval_typed_in_the_root_collects_every_cell():
    """A flag is all it takes; `make test` names the same folders."""
    cells = {}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        notebook = json.loads(path.read_text("utf-8"))
        cells[f"notebooks/{path.name}"] = sum(c["cell_type"] == "code" for c in notebook["cells"])
    assert collected("--nbval") == Counter(cells) and sum(cells.values()) > 150
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]
    assert settings["ini_options"]["testpaths"] == ["tests", "notebooks"]
    assert planned("test")[-3:] == ["--nbval", "tests", "notebooks"]


def test_notebooks_run_in_this_interpreter_whatever_the_user_has_installed(tmp_path):
    """A foreign kernel by the name that the notebook gives, a home that cannot be written to."""
    for name in ("python3", "conda-env-x"):
        spec = tmp_path / "home" / "jupyter" / "kernels" / name / "kernel.json"
        spec.parent.mkdir(parents=True)
        spec.write_text(json.dumps({"argv": ["/usr/bin/gone"], "display_name": name}), "utf-8")
    code = {"cell_type": "code", "metadata": {}, "execution_count": 1, "outputs": []}
    source = "import sys, matplotlib.pyplot\nprint(sys.executable)"
    output = {"output_type": "stream", "name": "stdout", "text": f"{sys.executable}\n"}
    notebook = {
        "cells": [code | {"id": "a", "source": source, "outputs": [output]}],
        "metadata": {"kernelspec": {"name": "conda-env-x", "display_name": "mine"}},
        "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    path = ROOT / "runs" / f"kernel-{os.getpid()}.ipynb"
    path.parent.mkdir(exist_ok=True)
    settings = dict.fromkeys(["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"], "/dev/null/home")
    settings |= {"JUPYTER_PATH": str(spec.parents[2]), "JUPYTER_PREFER_ENV_PATH": "0"}
    try:
        path.write_text(json.dumps(notebook), "utf-8")
        words = ["-m", "pytest", "-q", "--nbval", "-p", "no:cacheprovider", "-p", "no:xdist"]
        run = command(sys.executable, *words, str(path), **settings)
    finally:
        path.unlink()
    assert run.returncode == 0 and "1 passed" in run.stdout, run.stdout + run.stderr


def test_cleaning_undoes_what_jupyterlab_writes_and_nothing_else(tmp_path, capsys):
    clean = {path: path.read_text("utf-8") for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert [path.name for path, text in clean.items() if notebooks.cleaned(text) != text] == []
    path = tmp_path / "02.ipynb"
    text = clean[ROOT / "notebooks" / "02_dip_loss_derivation.ipynb"]
    saved = json.loads(text)
    saved["metadata"]["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
    saved["metadata"]["language_info"]["version"] = "3.12.1"
    saved["metadata"]["widgets"] = {}
    pieces = 0
    for cell in saved["cells"]:
        cell["metadata"]["execution"] = {"iopub.status.busy": "2026-01-01"}
        if cell["cell_type"] == "code":
            outputs, cell["outputs"] = cell["outputs"], []
            for output in outputs:
                lines = output["text"] if output["output_type"] == "stream" else [None]
                pieces += len(lines) - 1
                for line in lines:
                    cell["outputs"].append(output if line is None else output | {"text": [line]})
    assert pieces > 20
    path.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n", "utf-8")
    assert (
        notebooks.main([str(path), "--check"]) == 1
        and "02.ipynb: not clean" in capsys.readouterr().out
    )
    assert notebooks.main([str(path)]) == 0 and path.read_text("utf-8") == text
    path.write_text("{", "utf-8")
    with pytest.raises(SystemExit, match="02.ipynb cannot be read as a notebook"):
        notebooks.main([str(path)])
