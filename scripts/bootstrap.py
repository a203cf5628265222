"""Set up the project: check the machine, then make .venv with the locked packages and torch.

    python3 scripts/bootstrap.py         # what `make env` runs; does nothing when .venv is complete
    python  scripts/bootstrap.py --check notebooks test   # VENV=none: look, install nothing

Every refusal is one line that says what to do, and exit status 1. Standard library only. The file
must parse on the oldest Python that a reader may type `make` with: no syntax and no import beyond
3.6 outside the functions that run after the version check.
"""

import argparse
import hashlib
import importlib.util
import operator
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
from replication import lifeline  # noqa: E402

VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, ".complete")  # written last: a hash of what .venv was made from
OURS = os.path.join(VENV, ".made-by-make-env")  # written first: a folder without it is not ours
LOG = os.path.join(VENV, "install.log")
LOCK = os.path.join(ROOT, "requirements.lock")

PYTHONS = ((3, 12), (3, 11))  # that the lock is made for
TORCH_VERSION = "2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# 1.6 GB of packages, 0.5 of data; with CUDA 5.3 GB of packages, and what is fetched beside them
GIB_CPU, GIB_CUDA = 2.1, 9.0
ANOTHER = "name another Python: make env PYTHON=/path/to/python3.12"
AS_IT_IS = "make VENV=none PYTHON=/path/to/python"


class Refused(Exception):
    """Something about this machine has to change first; the message is the line shown."""


def output_of(*command):
    """What a command prints, or "" where it cannot be run or fails."""
    try:
        run = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60, check=True
        )
        return run.stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return ""


# ---- checks ----


def probe(python):
    """Version of an interpreter that runs and can make a virtual environment, (3, 12), else None.

    pyenv leaves shims on PATH that do not run; Debian and Ubuntu package venv apart.
    """
    code = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    return version_tuple(output_of(python, "-c", code).strip().replace(" ", ".")) or None


def choose_python(version=sys.version_info[:2], which=shutil.which, probe=probe):
    """The interpreter for .venv: this one (None), else python3.12 or python3.11 where it works."""
    if version in PYTHONS and probe(sys.executable):
        return None
    for wanted in PYTHONS:
        path = which("python%d.%d" % wanted)
        if path and probe(path) == wanted:
            return path
    this = "%d.%d" % version
    if version in PYTHONS:
        raise Refused(
            f"Python {this} cannot make a virtual environment: install its venv package (Debian, "
            f"Ubuntu: sudo apt install python{this}-venv), or {ANOTHER}"
        )
    raise Refused(
        f"needs Python 3.11 or 3.12, this is {this}: install one (python.org, pyenv, conda), or "
        + ANOTHER
    )


def check_make(version):
    """Refuse a make older than the Makefile is written for; "" where make did not start this."""
    if version and version_tuple(version) < (3, 81):
        raise Refused(f"needs GNU make 3.81 or newer, this is {version}: install a newer one")


def check_disk(path, gib, usage=shutil.disk_usage):
    """Refuse to begin where less than `gib` GiB is free."""
    free = usage(path).free / 2.0**30
    if free < gib:
        raise Refused(
            f"needs {gib:.1f} GB of free disk for packages and data, {path} has {free:.1f}: free "
            f"some, or use a Python that has torch already: {AS_IT_IS}"
        )


def version_tuple(text):
    """ "2.11.0a0+cu130" -> (2, 11, 0): leading whole numbers, enough to compare releases."""
    return tuple(int(n) for n in re.match(r"(\d+(?:\.\d+)*)?", text).group().split(".") if n)


# ---- making .venv ----


def fingerprint(version=sys.version_info[:2], root=ROOT):
    """Hash of all that .venv is made from.

    `root` is in it because scripts in .venv/bin hold its path; of CUDA only the cheap sign, since
    asking the driver takes longer than this whole call may.
    """
    facts = (TORCH_VERSION, bool(shutil.which("nvidia-smi")), tuple(version), root)
    digest = hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape"))
    for name in ("requirements.lock", "pyproject.toml"):
        with open(os.path.join(root, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def is_complete():
    """True when .venv was finished, from the same lock, and its Python is still there."""
    try:
        with open(STAMP, encoding="utf-8") as file:
            return file.read() == fingerprint() and os.path.exists(PYTHON)
    except (OSError, ValueError):
        return False


def empty_venv():
    """Make .venv an empty folder marked as ours; refuse one that others made.

    The stamp goes first, so that a half-removed .venv is not taken for whole; the mark stays, so
    that a call killed here leaves a folder that the next one may empty.
    """
    if not os.path.lexists(VENV):
        os.mkdir(VENV)
    is_folder = os.path.isdir(VENV) and not os.path.islink(VENV)
    if not is_folder or (os.listdir(VENV) and not os.path.exists(OURS)):
        raise Refused(
            ".venv is there but `make env` did not make it: move it away, or use it as it is: "
            "make VENV=none PYTHON=.venv/bin/python"
        )
    open(OURS, "wb").close()
    if os.path.exists(STAMP):
        os.remove(STAMP)
    for entry in os.scandir(VENV):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        elif entry.path != OURS:
            os.remove(entry.path)


def pip(what, *arguments):
    """Install with .venv's pip, its words in the log and on a terminal; Refused where it fails."""
    # A user's settings of pip and Python may say otherwise.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environ.update(PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1")
    environ[lifeline.PARENT] = str(os.getpid())
    words = ["pip", "install", "--no-compile", "--log", LOG]  # make_venv does it, on all cores
    command = [PYTHON, "-m", "replication.lifeline", *words]
    shown = None if sys.stdout.isatty() else subprocess.DEVNULL  # its log has all of it
    run = subprocess.run(
        command + list(arguments),
        cwd=ROOT,
        env=environ,
        close_fds=False,
        stdout=shown,
        stderr=shown,
    )
    if run.returncode:
        with open(LOG, encoding="utf-8", errors="replace") as log:
            errors = [line.partition("ERROR: ")[2].strip() for line in log if "ERROR: " in line]
        why = errors[-1] if errors else f"pip stopped with {run.returncode}"
        raise Refused(
            f"could not install {what} ({why}): check the network (pypi.org, download.pytorch.org) "
            "and call `make env` again, pip's own words are in .venv/install.log; or use a Python "
            f"that has it already: {AS_IT_IS}"
        )


def install_torch(cuda, pip=pip, platform=sys.platform):
    """torch apart from the lock: with CUDA libraries where a GPU is, else the CPU build alone."""
    what = f"torch=={TORCH_VERSION}"
    if cuda:
        return pip(what, what)
    if platform == "darwin":
        return pip(what, "--no-deps", what)
    what += "+cpu"  # from PyTorch's own index, or a mirror that pip is set to
    return pip(what, "--no-deps", "--retries", "1", "--extra-index-url", CPU_INDEX, what)


def make_venv():
    """Make .venv anew; the stamp is written when all of it is in place."""
    cuda = "GPU 0" in output_of("nvidia-smi", "-L")
    check_disk(ROOT, GIB_CUDA if cuda else GIB_CPU)
    empty_venv()
    # not .venv's own Python, which has just gone, where the reader had activated it
    python = sys._base_executable or sys.executable
    print("[1/4] .venv with Python %d.%d.%d (%s)" % (sys.version_info[:3] + (python,)), flush=True)
    environ = dict(os.environ, **{lifeline.PARENT: str(os.getpid())})
    command = [python, "-I", lifeline.__file__, "venv", VENV]
    if subprocess.call(command, env=environ, close_fds=False) != 0:
        raise Refused(f"`{python} -m venv .venv` failed (see above): {ANOTHER}")
    # torch before the lock: the one most likely not to be had, and the lock has the last word
    size = "CUDA build with its libraries, 3 GB" if cuda else "CPU build, 200 MB; no CUDA found"
    print(f"[2/4] torch {TORCH_VERSION} ({size})", flush=True)
    install_torch(cuda)
    with open(LOCK, encoding="utf-8") as file:
        packages = sum("==" in line for line in file)
    print(f"[3/4] about {packages} packages (200 MB, a minute or two)", flush=True)
    pip("requirements.lock", "--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", LOCK)
    print("[4/4] the project itself", flush=True)
    pip("the project", "--no-deps", "--no-build-isolation", "--no-index", "-e", ROOT)
    # Not left to imports, which keep nothing where PYTHONDONTWRITEBYTECODE is set. Some files are
    # not meant for this Python, so the exit status says nothing.
    lib = os.path.join(VENV, "lib")
    subprocess.call([PYTHON, "-m", "compileall", "-qq", "-j", "0", "-x", "[/]tests[/]", lib])
    with open(STAMP + ".part", "w", encoding="utf-8") as file:
        file.write(fingerprint())
    os.replace(STAMP + ".part", STAMP)
    print("    .venv is complete", flush=True)


def lock_out_others():
    """Wait for another `make env` in this clone; held until this process and its pip have ended."""
    import fcntl

    handle = os.open(os.path.abspath(__file__), os.O_RDONLY)
    os.set_inheritable(handle, True)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another call is setting up .venv: waiting for it", flush=True)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:  # a file system without locks: two calls at a time are the caller's business
        pass


# ---- VENV=none ----


def problems(requirements, installed):
    """What is missing or out of range; `requirements` like "torch>=2.11", `installed` by name."""
    found = []
    for line in requirements:
        name, bounds = re.match(r"([\w.-]+)(.*)", line.replace(" ", "")).groups()
        has = installed(name)
        if has is None:
            found.append(line)
        for sign, bound in re.findall(r"(>=|<|==)([0-9.]+)", bounds if has else ""):
            compare = {">=": operator.ge, "<": operator.lt, "==": operator.eq}[sign]
            if not compare(version_tuple(has), version_tuple(bound)):
                found.append(f"{line} (has {has})")
    return found


def check_interpreter(extras):
    """Refuse an interpreter that lacks what pyproject.toml asks for, these extras included."""
    if sys.version_info < (3, 11):
        this = "%s is %d.%d" % ((sys.executable,) + sys.version_info[:2])
        raise Refused(f"VENV=none: needs Python 3.11 or newer, {this}: name another with PYTHON=")
    import tomllib
    from importlib import metadata

    def installed(name):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            return None
        return version if name != "torch" or importlib.util.find_spec("torch") else None

    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)["project"]
    asked = project["dependencies"][:]
    for name in ["data", *extras]:
        asked += project["optional-dependencies"][name]
    lacks = ", ".join(problems(asked, installed))
    if lacks:
        raise Refused(
            f"VENV=none: {sys.executable} lacks {lacks}: install that there, or leave VENV=none out"
        )
    print(f"VENV=none: {sys.executable} has what is needed (torch {installed('torch')})")


def set_up(quiet):
    """Make .venv where it is not complete, with another Python where this one will not do."""
    other = choose_python()
    if other:
        if not os.path.exists(STAMP):
            print("Python %d.%d cannot be used: taking %s" % (sys.version_info[:2] + (other,)))
            sys.stdout.flush()
        os.environ[lifeline.PARENT] = str(os.getppid())
        os.execv(other, [other, os.path.abspath(__file__)] + sys.argv[1:])
    lock_out_others()
    if not is_complete():
        make_venv()
    elif not quiet:
        print(".venv is complete: nothing to do")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--make-version", default="", help="the version of the make that calls")
    parser.add_argument("--check", nargs="*", metavar="EXTRA", help="only check this interpreter")
    parser.add_argument("--quiet", action="store_true", help="silent where nothing is to be done")
    options = parser.parse_args(arguments)
    try:
        check_make(options.make_version)
        if options.check is None:
            set_up(options.quiet)
        else:
            check_interpreter(options.check)
    except Refused as refusal:
        sys.exit(f"set-up: {refusal}")
    except KeyboardInterrupt:
        sys.exit("set-up: stopped; the next call starts anew")
    except OSError as error:  # a full or read-only disk in the middle of the work
        sys.exit(f"set-up: {error}")


if __name__ == "__main__":
    main()
