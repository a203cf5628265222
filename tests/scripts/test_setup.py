"""Set-up: one list of packages in four files, refusals of one line, and the Makefile's targets.

python -m pytest tests/test_setup.py
"""

import ast
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = [
    "help",
    "env",
    "data",
    "plan",
    "replicate",
    "figures",
    "test",
    "test-browser",
    "sweep",
    "bench",
    "publish",
    "readme",
    "lab",
    "clean",
    "distclean",
]


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


bootstrap, lock = load("bootstrap"), load("lock")
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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
    for line in (ROOT / "requirements.in").read_text().splitlines()
    if re.match(r"\w", line)
)
PINS = {
    name: next(iter(clauses)).removeprefix("==") for name, clauses in map(parse, lock.pins(LOCK))
}
EXTRAS = PROJECT["optional-dependencies"]
DECLARED = dict(parse(line) for line in PROJECT["dependencies"] + sum(EXTRAS.values(), []))


# ---- one list in four files -------------------------------------------------------------------------------------------


def test_every_hand_written_requirement_is_pinned_within_its_range():
    assert WANTED.keys() <= PINS.keys()
    lines = [name + ",".join(clauses) for name, clauses in WANTED.items()]
    assert bootstrap.problems(lines, PINS.get) == []


def test_pyproject_names_what_requirements_in_names():
    declared = dict(DECLARED)
    assert declared.pop("torch") == {">=2.11", "<2.14"}
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
    for text in (body, (ROOT / "environment.yml").read_text().split("name: dipvae")[1]):
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
    text = (ROOT / "environment.yml").read_text()
    assert text == lock.environment(LOCK), "run scripts/lock.py"
    assert re.findall(r"- (python=.*|torch==.*|-e \.)", text.split("dependencies:")[1]) == [
        "python=3.12",
        f"torch=={bootstrap.TORCH_VERSION}",
        "-e .",
    ]


def test_python_versions_and_torch_agree_everywhere():
    assert PROJECT["requires-python"] == ">=3.11,<3.13"
    assert sorted(bootstrap.PYTHONS) == [(3, 11), (3, 12)]
    assert 'python: ["3.11", "3.12"]' in (ROOT / ".github/workflows/test.yml").read_text()
    assert (
        bootstrap.problems(PROJECT["dependencies"][:1], {"torch": bootstrap.TORCH_VERSION}.get)
        == []
    )


# ---- checks: each refusal is one line that says what to do ------------------------------------------------------------


def refusal(function, *arguments, **options):
    with pytest.raises(bootstrap.Refused) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bootstrap_parses_on_old_pythons():
    ast.parse((ROOT / "scripts/bootstrap.py").read_text(), feature_version=(3, 6))


@pytest.mark.parametrize("version", [(3, 8), (3, 10), (3, 13), (4, 0)])
def test_other_pythons_are_refused(version):
    message = refusal(bootstrap.choose_python, version, True, which=lambda name: None)
    assert f"this is {version[0]}.{version[1]}" in message and "PYTHON=" in message


def test_this_python_is_taken_where_it_will_do():
    assert bootstrap.choose_python((3, 11), True, which=lambda name: "/usr/bin/" + name) is None


def test_another_python_is_looked_for_and_tried():
    """python3.12 is a shim that fails to run, python3.11 works."""
    tried = {"/s/python3.12": None, "/s/python3.11": ((3, 11), True)}
    assert (
        bootstrap.choose_python((3, 13), True, which=lambda name: "/s/" + name, probe=tried.get)
        == "/s/python3.11"
    )
    tried["/s/python3.11"] = ((3, 11), False)
    assert "3.13" in refusal(
        bootstrap.choose_python, (3, 13), True, which=lambda name: "/s/" + name, probe=tried.get
    )


def test_missing_venv_package_is_named():
    message = refusal(bootstrap.choose_python, (3, 11), False, which=lambda name: None)
    assert "apt install python3.11-venv" in message


def test_probe_runs_the_interpreter(tmp_path):
    assert bootstrap.probe(sys.executable) == (sys.version_info[:2], bootstrap.has_venv())
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
        ("2.14.0", False),
        (None, False),
    ],
)
def test_range_of_torch(version, fits):
    assert (bootstrap.problems(["torch>=2.11,<2.14"], lambda name: version) == []) == fits


# ---- .venv ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def venv(tmp_path, monkeypatch):
    folder = tmp_path / ".venv"
    for name, path in {
        "VENV": folder,
        "STAMP": folder / ".complete",
        "OURS": folder / ".made-by-make-env",
        "VENV_PYTHON": folder / "python",
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


def pip_calls(cuda, platform, answers):
    """The pip commands that install_torch gives when pip answers so (None: it went well)."""
    calls, answers = [], list(answers)

    def pip(*arguments):
        calls.append(arguments)
        return answers.pop(0)

    bootstrap.install_torch(cuda, pip=pip, platform=platform)
    return calls


def test_torch_comes_with_its_libraries_only_where_cuda_is():
    version = bootstrap.TORCH_VERSION
    assert pip_calls(True, "linux", [None]) == [("torch==" + version,)]
    assert pip_calls(False, "darwin", [None]) == [("--no-deps", "torch==" + version)]
    for answers in ([None], ["No matching distribution", None]):
        for call in pip_calls(False, "linux", answers):
            assert "--no-deps" in call and f"torch=={version}+cpu" in call
    assert "https://download.pytorch.org/whl/cpu" in call
    assert "download.pytorch.org" in refusal(
        pip_calls, False, "linux", ["No matching distribution", "no route"]
    )


# ---- as commands ------------------------------------------------------------------------------------------------------


def command(*arguments, cwd=ROOT):
    """Run with a clean slate: no settings from a make that may run this test."""
    ours = [
        "MAKEFLAGS",
        "MAKELEVEL",
        "MFLAGS",
        "MAKEOVERRIDES",
        "VENV",
        "PROFILE",
        "SEEDS",
        "DEVICE",
        "DSPRITES",
        "DSPRITES_GIF",
        "CELEBA",
        "CHAIRS",
        "PYTHON",
    ]
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        arguments, cwd=cwd, env=environ, capture_output=True, text=True, timeout=60
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
    assert "torch>=2.11,<2.14" in run.stderr and "papermill" not in run.stderr


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="no make on PATH")


@needs_make
def test_help_is_the_default_and_lists_every_target():
    run = command("make")
    assert run.returncode == 0
    assert re.findall(r"^  ([a-z-]+) +[a-zA-Z`]", run.stdout, re.M) == TARGETS
    assert set(TARGETS) <= set(
        re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    )


@needs_make
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_sets_up_first(target):
    run = command("make", "-n", target)
    assert run.returncode == 0
    sets_up = run.stdout.startswith("'python3' scripts/bootstrap.py --make-version ")
    assert sets_up == (target not in ("help", "clean", "distclean"))


def all_planned(*settings):
    """The commands, as words, that make would run after setting up."""
    run = command("make", "-n", *settings)
    assert run.returncode == 0, run.stderr
    return [shlex.split(line) for line in run.stdout.splitlines() if "bootstrap.py" not in line]


def planned(*settings):
    """The last of them."""
    return all_planned(*settings)[-1]


@needs_make
def test_settings_reach_the_command_whole_and_empty_ones_do_not():
    assert planned("replicate") == [".venv/bin/python", "-m", "replication.replicate"]
    assert planned("plan", "PROFILE=", "SEEDS=", "DEVICE=cpu") == [
        ".venv/bin/python",
        "-m",
        "replication.replicate",
        "--plan",
        "--device",
        "cpu",
    ]
    assert planned("replicate", "PROFILE=smoke", "SEEDS=2", "DSPRITES_GIF=it's a file.gif")[2:] == [
        "--profile",
        "smoke",
        "--seeds",
        "2",
        "--dsprites-gif",
        "it's a file.gif",
    ]


@needs_make
def test_data_are_drawn_unless_they_are_given():
    """Stand-ins are drawn where the packed official file is not there; a path or a download takes their place."""
    assert all_planned("data") == [
        [".venv/bin/python", "-m", "data_prep.shapes2d", "--out", "data"],
        [
            "test",
            "-e",
            "data/celeba.json",
            "||",
            ".venv/bin/python",
            "-m",
            "data_prep.standins.faces",
            "--out",
            "data",
        ],
        [
            "test",
            "-e",
            "data/chairs.json",
            "||",
            ".venv/bin/python",
            "-m",
            "data_prep.standins.chairs",
            "--out",
            "data",
        ],
    ]
    for name, place, module in (
        ("DSPRITES", 1, "dsprites"),
        ("CELEBA", 1, "celeba"),
        ("CHAIRS", 2, "chairs"),
    ):
        command = [".venv/bin/python", "-m", f"data_prep.{module}"]
        assert all_planned("data", f"{name}=my files/d.npz")[place] == [
            *command,
            "--path",
            "my files/d.npz",
            "--out",
            "data",
        ]
        given = all_planned("data", f"{name}=download")
        assert given[place] == [*command, "--download", "--out", "data"]
        assert len(given) == 3 + (
            name == "DSPRITES"
        )  # the drawn shapes stay: the official ones are held against them


@needs_make
def test_venv_none_uses_the_python_given():
    assert planned("bench", "VENV=none", "PYTHON=/a b/python") == [
        "/a b/python",
        "scripts/bench.py",
    ]
    assert "--check notebooks test\n" in command("make", "-n", "test", "VENV=none").stdout
    assert "papermill" not in command("make", "-n", "data", "VENV=none").stdout
    run = command("make", "-n", "test", "VENV=conda")
    assert run.returncode == 2 and "only VENV=none" in run.stderr


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


def test_integration_runs_make_test():
    assert os.access(ROOT / ".ci/run", os.X_OK)
    lines = (ROOT / ".ci/run").read_text().splitlines()
    # Both count: the first failure ends it, and the browser comes after all that README tells a reader to type.
    assert (
        [line for line in lines if line.startswith("make")]
        == ["make test", "make test-browser"]
        == [lines[lines.index("make test")], lines[-1]]
    )
    assert any(
        line.startswith("set -") and "e" in line for line in lines[: lines.index("make test")]
    )
    assert "- run: make test\n" in (ROOT / ".github/workflows/test.yml").read_text()


# ---- notebooks under test ---------------------------------------------------------------------------------------------


def test_sanitising_hides_the_machine_and_no_result():
    from nbval.plugin import get_sanitize_patterns

    text = (ROOT / "tests/nbval_sanitize.cfg").read_text()
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


@needs_make
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("PROFILE=fast", 'unknown profile "fast": the profiles are smoke, quick, evening, paper'),
        (
            "SEEDS=0",
            'SEEDS must be a whole number from 1 to 100 (how many seeds a setting), not "0"',
        ),
        ("SEEDS=many", 'not "many"'),
        ("DEVICE=tpu", 'unknown device "tpu": use cpu or cuda'),
    ],
)
def test_make_refuses_bad_overrides_before_it_installs_anything(override, words):
    run = command("make", "replicate", override)
    assert run.returncode == 2 and words in run.stderr and run.stdout == ""
