"""Set up the project: check the machine, then make .venv with the locked packages and torch. Standard library only.

    python3 scripts/bootstrap.py            # what `make env` runs; does nothing when .venv is complete
    python  scripts/bootstrap.py --check notebooks test   # VENV=none: look at the interpreter at hand, install nothing

Every refusal is one line that says what to do, and exit status 1. The file must parse on the oldest Python that a reader may
type `make` with, so no newer syntax, and no import beyond 3.6, outside the functions that run after the version check.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, ".complete")  # written last: holds the hash of what .venv was made from
OURS = os.path.join(
    VENV, ".made-by-make-env"
)  # written first: a folder without it is somebody else's, and is left alone
LOG = os.path.join(VENV, "install.log")

PYTHONS = ((3, 12), (3, 11))
TORCH_VERSION = "2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
GIB_CPU, GIB_CUDA = (
    2.1,
    9.0,
)  # 1.6 GB of packages (measured) and 0.5 of data; CUDA's libraries: 2.7 GB to fetch, about 6 unpacked (estimated)


class Refused(Exception):
    """Something about this machine has to change first; the message is the one line shown to the reader."""


# ---- checks -----------------------------------------------------------------------------------------------------------


def probe(python):
    """(major, minor), has_venv of an interpreter, or None where it does not run (pyenv leaves such shims on PATH)."""
    code = "import sys; print(*sys.version_info[:2])\nimport venv, ensurepip; print('venv')"
    try:
        run = subprocess.run(
            [python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30
        )
        lines = run.stdout.decode().split("\n")
        major, minor = lines[0].split()
        return (int(major), int(minor)), "venv" in lines
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def has_venv():
    """True where this interpreter can make a virtual environment (Debian and Ubuntu package that apart)."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return False
    return True


def choose_python(version=sys.version_info[:2], venv_here=None, which=shutil.which, probe=probe):
    """The interpreter for .venv: this one (None), else the first that works of python3.12 and python3.11 on PATH."""
    here = "%d.%d" % version
    supported = version in PYTHONS
    if supported and (has_venv() if venv_here is None else venv_here):
        return None
    for major, minor in PYTHONS:
        path = which("python%d.%d" % (major, minor))
        if path and probe(path) == ((major, minor), True):
            return path
    if supported:
        raise Refused(
            "Python %s cannot make a virtual environment: install its venv package (Debian, Ubuntu: sudo apt install "
            "python%s-venv), or name another Python: make env PYTHON=/path/to/python3.12"
            % (here, here)
        )
    raise Refused(
        "needs Python 3.11 or 3.12, this is %s: install one (python.org, pyenv, conda), "
        "or name it: make env PYTHON=/path/to/python3.12" % here
    )


def check_make(version):
    """Refuse a make older than 3.81, the oldest that the Makefile is written for; "" where make did not start this."""
    numbers = version_tuple(version)
    if numbers and numbers < (3, 81):
        raise Refused("needs GNU make 3.81 or newer, this is %s: install a newer one" % version)


def check_disk(path, gib, usage=shutil.disk_usage):
    """Refuse to begin where less than `gib` GiB is free."""
    free = usage(path).free / 2.0**30
    if free < gib:
        raise Refused(
            "needs %.1f GB of free disk for packages and data, %s has %.1f: free some, or use a Python that has torch "
            "already: make VENV=none PYTHON=/path/to/python" % (gib, path, free)
        )


def has_cuda():
    """True where the NVIDIA driver answers and lists a GPU."""
    try:
        run = subprocess.run(
            ["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return run.returncode == 0 and b"GPU 0" in run.stdout


def version_tuple(text):
    """ "2.11.0a0+cu130" -> (2, 11, 0): leading whole numbers, enough to compare releases."""
    numbers = []
    for part in text.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


# ---- making .venv -----------------------------------------------------------------------------------------------------


def fingerprint(python_version=sys.version_info[:2], root=ROOT):
    """Hash of all that .venv is made from. `root` is in it because scripts in .venv/bin hold its path; of CUDA only the cheap
    sign, since asking the driver takes longer than this whole call may."""
    digest = hashlib.sha256()
    for name in ("requirements.lock", "pyproject.toml"):
        with open(os.path.join(root, name), "rb") as file:
            digest.update(file.read())
    digest.update(
        repr(
            (TORCH_VERSION, bool(shutil.which("nvidia-smi")), tuple(python_version), root)
        ).encode()
    )
    return digest.hexdigest()


def is_complete():
    """True when .venv was finished, from the same lock, and its Python is still there."""
    try:
        with open(STAMP) as file:
            return file.read() == fingerprint() and os.path.exists(VENV_PYTHON)
    except OSError:
        return False


def empty_venv():
    """Make .venv an empty folder marked as ours: what an earlier or a killed call left goes, a .venv made by others is refused."""
    if os.path.lexists(VENV):
        if (
            os.path.islink(VENV)
            or not os.path.isdir(VENV)
            or (os.listdir(VENV) and not os.path.exists(OURS))
        ):
            raise Refused(
                ".venv is there but `make env` did not make it: move it away, "
                "or use it as it is: make VENV=none PYTHON=.venv/bin/python"
            )
        if os.path.exists(STAMP):
            os.remove(STAMP)  # first, so that a half-removed .venv is not taken for whole
        for name in os.listdir(VENV):
            path = os.path.join(VENV, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            elif (
                path != OURS
            ):  # the mark stays, so that a call killed here leaves a folder that the next one may empty
                os.remove(path)
    else:
        os.mkdir(VENV)
    open(OURS, "w").close()


def pip(*arguments):
    """Run .venv's pip, output to the log with a count of packages shown meanwhile; returns None, or its last line of error."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environ.update(
        PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONUNBUFFERED="1"
    )  # a user's pip settings may say otherwise
    command = [VENV_PYTHON, "-m", "pip", "install", "--progress-bar", "off"] + list(arguments)
    error, count, live = "", 0, sys.stdout.isatty()
    with open(LOG, "ab") as log:
        log.write(("\n$ " + " ".join(command) + "\n").encode())
        run = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ, close_fds=False
        )
        for line in run.stdout:
            log.write(line)
            log.flush()
            line = line.decode("utf-8", "replace").strip()
            error = line[len("ERROR:") :].strip() if line.startswith("ERROR:") else error
            count += line.startswith("Collecting ")
            if live and line.startswith(("Collecting ", "Installing ")):
                doing = (
                    "%d fetched" % count
                    if line.startswith("Collecting ")
                    else "%d fetched, unpacking" % count
                )
                print("\r    %s ... " % doing, end="", flush=True)
        if live:
            print("\r" + " " * 40 + "\r", end="", flush=True)
        return None if run.wait() == 0 else error or "pip stopped with status %d" % run.returncode


def install_torch(cuda, pip=pip, platform=sys.platform):
    """torch apart from the lock: with its CUDA libraries where a GPU is there, else the CPU build and nothing else."""
    if cuda:
        problem = pip("torch==" + TORCH_VERSION)
    elif platform == "darwin":
        problem = pip("--no-deps", "torch==" + TORCH_VERSION)
    else:
        # The indexes that pip is set to come first (a mirror may have the build): they answer at once where they do not.
        cpu = ["--no-deps", "torch==%s+cpu" % TORCH_VERSION]
        problem = pip(*cpu)
        if problem:
            problem = pip("--retries", "1", "--index-url", CPU_INDEX, *cpu)
    if problem:
        raise Refused(
            "could not install torch %s%s (%s): check the network (%s) and call `make env` again, or use a Python that "
            "has torch 2.11 to 2.13: make VENV=none PYTHON=/path/to/python"
            % (
                TORCH_VERSION,
                "" if cuda else ", CPU build",
                problem,
                "pypi.org" if cuda else "download.pytorch.org",
            )
        )


def make_venv():
    """Make .venv anew; the stamp is written when all of it is in place."""
    cuda = has_cuda()
    check_disk(ROOT, GIB_CUDA if cuda else GIB_CPU)
    empty_venv()
    with open(os.path.join(ROOT, "requirements.lock")) as file:
        packages = sum("==" in line for line in file)
    python = (
        sys._base_executable or sys.executable
    )  # not .venv's own, which has just gone, where the reader had activated it
    print("[1/4] .venv with Python %d.%d.%d (%s)" % (sys.version_info[:3] + (python,)), flush=True)
    if subprocess.call([python, "-I", "-m", "venv", VENV], close_fds=False) != 0:
        raise Refused(
            "`%s -m venv .venv` failed (see above): name another Python: make env PYTHON=/path/to/python3.12"
            % python
        )
    # torch before the lock: it is the one most likely not to be had, and the lock then has the last word on what torch brings along
    size = (
        "CUDA build with its libraries, 3 GB" if cuda else "CPU build, 200 MB; no CUDA device found"
    )
    print("[2/4] torch %s (%s)" % (TORCH_VERSION, size), flush=True)
    install_torch(cuda)
    print(
        "[3/4] about %d packages from requirements.lock (200 MB, a minute or two)" % packages,
        flush=True,
    )
    problem = pip(
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "-r",
        os.path.join(ROOT, "requirements.lock"),
    )
    if problem:
        raise Refused(
            "could not install requirements.lock (%s): check the network and call `make env` again; "
            "pip's own words are in .venv/install.log" % problem
        )
    print("[4/4] the project itself", flush=True)
    problem = pip("--no-deps", "--no-build-isolation", "--no-index", "-e", ROOT)
    if problem:
        raise Refused(
            "could not install the project into .venv (%s): see .venv/install.log" % problem
        )
    with open(STAMP + ".part", "w") as file:
        file.write(fingerprint())
    os.replace(STAMP + ".part", STAMP)
    print("    .venv is complete", flush=True)


def lock_out_others():
    """Wait for another `make env` in the same clone. Held until this process and its pip end: a pip that outlives a killed call
    would otherwise go on writing into the next call's .venv."""
    import fcntl

    handle = os.open(os.path.abspath(__file__), os.O_RDONLY)
    os.set_inheritable(handle, True)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another call is setting up .venv: waiting for it", flush=True)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except (
        OSError
    ):  # a file system without locks: then two calls at a time are the caller's own business
        pass


# ---- VENV=none --------------------------------------------------------------------------------------------------------


def problems(requirements, installed):
    """What is missing or outside its range: `requirements` are lines such as "torch>=2.11,<2.14", `installed` name -> version or None."""
    import re

    compare = {">=": lambda a, b: a >= b, "<": lambda a, b: a < b}
    found = []
    for line in requirements:
        name, clauses = re.match(r"([A-Za-z0-9_.-]+)(.*)", line.replace(" ", "")).groups()
        version = installed(name)
        if version is None:
            found.append(line)
        elif not all(
            compare[sign](version_tuple(version), version_tuple(bound))
            for sign, bound in re.findall(r"(>=|<)([0-9.]+)", clauses)
        ):
            found.append("%s (has %s)" % (line, version))
    return found


def check_interpreter(extras):
    """Refuse an interpreter that lacks what pyproject.toml asks for: its dependencies and the named extras. Nothing is installed."""
    if sys.version_info[:2] not in PYTHONS:
        raise Refused(
            "VENV=none: needs Python 3.11 or 3.12, %s is %d.%d: name another with PYTHON="
            % ((sys.executable,) + sys.version_info[:2])
        )
    import tomllib
    from importlib import metadata, util

    def installed(name):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            return None
        return version if name != "torch" or util.find_spec("torch") else None

    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    found = problems(wanted, installed)
    if found:
        raise Refused(
            "VENV=none: %s lacks %s: install that there, or leave VENV=none out"
            % (sys.executable, ", ".join(found))
        )
    print(
        "VENV=none: %s has what is needed (torch %s)" % (sys.executable, installed("torch")),
        flush=True,
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--make-version", default="", help="the version of the make that calls")
    parser.add_argument(
        "--check",
        nargs="*",
        metavar="EXTRA",
        help="only check this interpreter, with these extras of pyproject.toml",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="say nothing when there is nothing to do"
    )
    options = parser.parse_args(arguments)
    try:
        check_make(options.make_version)
        if options.check is not None:
            return check_interpreter(options.check)
        other = choose_python()
        if other:
            if not os.path.exists(STAMP):
                print(
                    "Python %d.%d here cannot be used: taking %s"
                    % (sys.version_info[:2] + (other,)),
                    flush=True,
                )
            os.execv(other, [other, os.path.abspath(__file__)] + sys.argv[1:])
        lock_out_others()
        if not is_complete():
            make_venv()
        elif not options.quiet:
            print(".venv is complete: nothing to do")
    except Refused as refusal:
        sys.exit("set-up: %s" % refusal)
    except KeyboardInterrupt:
        sys.exit("set-up: stopped; the next call starts anew")
    except OSError as error:  # a full or read-only disk in the middle of the work
        sys.exit("set-up: %s" % error)


if __name__ == "__main__":
    main()
