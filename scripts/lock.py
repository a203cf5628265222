"""Make requirements.lock and environment.yml from requirements.in (for maintainers).

    python scripts/lock.py              # keep the pins that still fit
    python scripts/lock.py --upgrade    # take the newest of everything

Needs `uv` on PATH (or in $UV). The lock is one file for Python 3.11 and 3.12 on Linux, macOS and
Windows, with the hashes of the files on PyPI; this machine's settings of pip and uv are kept out.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bootstrap import TORCH_VERSION  # beside this file

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
LOCK_HEADER = """\
# Made from requirements.in by scripts/lock.py: do not edit. For Python 3.11 and 3.12; torch is installed apart, by scripts/bootstrap.py.
# Install with: pip install --no-deps --require-hashes -r requirements.lock
"""  # noqa: E501
CONDA_HEADER = f"""\
# Made from requirements.lock by scripts/lock.py: do not edit. The same pins for conda users:
#   conda env create -f environment.yml && conda activate dipvae && make test VENV=none
# On Linux torch comes with several GB of CUDA libraries. Without a GPU, put these two lines in place of its line:
#      - --extra-index-url https://download.pytorch.org/whl/cpu
#      - torch=={TORCH_VERSION}+cpu
name: dipvae
channels:
  - conda-forge
dependencies:
  - python=3.12
  - pip
  - pip:
"""  # noqa: E501
# One version of each package for both Pythons, so that both give the same numbers; wheels only, so
# that nothing compiles.
COMPILE = [
    "pip", "compile", "--no-config", "--default-index", "https://pypi.org/simple", "--universal",
    "--python-version", "3.11", "--fork-strategy", "fewest", "--only-binary", ":all:",
    "--generate-hashes", "--no-annotate", "--no-header", "--quiet",
]  # fmt: skip


def pins(lock: str) -> list[str]:
    """The lock's requirements without hashes: `name==version`, with its environment marker."""
    return [line.removesuffix(" \\") for line in lock.splitlines() if re.match(r"\w", line)]


def environment(lock: str) -> str:
    """environment.yml's text: Python, pip and the pins of `lock`, torch, then the project."""
    lines = [f'"{pin}"' if ";" in pin else pin for pin in pins(lock)]
    lines += [f"torch=={TORCH_VERSION}", "-e ."]
    return CONDA_HEADER + "".join(f"      - {line}\n" for line in lines)


def main() -> None:
    options = sys.argv[1:]
    if options not in ([], ["--upgrade"]):
        sys.exit(__doc__)
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        sys.exit("lock: needs uv (https://docs.astral.sh/uv): `pip install uv`, or UV=/path/to/uv")
    # Against PyPI alone. uv reads the pins to keep from the file that it is to write, and leaves it
    # as it is where it finds no solution.
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "PIP_"))}
    command = [uv, *COMPILE, *options, "-o", LOCK.name, "requirements.in"]
    if status := subprocess.call(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL):
        sys.exit(status)
    lock = LOCK_HEADER + re.sub(r"\A(#.*\n)+", "", LOCK.read_text("utf-8"))
    LOCK.write_text(lock, "utf-8")
    (ROOT / "environment.yml").write_text(environment(lock), "utf-8")
    print(f"locked {len(pins(lock))} packages")


if __name__ == "__main__":
    main()
