"""Make requirements.lock and environment.yml from requirements.in (for maintainers; users never run this).

    python scripts/lock.py              # keep the pins that still fit
    python scripts/lock.py --upgrade    # take the newest of everything

Needs `uv` on PATH (or in $UV). The lock is one file for Python 3.11 and 3.12 on Linux, macOS and Windows, with the hashes of the
files on PyPI. Settings of this machine's pip or uv (mirrors, local indexes) are kept out of it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bootstrap import TORCH_VERSION  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
PYPI = "https://pypi.org/simple"
LOCK_HEADER = """\
# Made from requirements.in by scripts/lock.py: do not edit. For Python 3.11 and 3.12; torch is installed apart, by scripts/bootstrap.py.
# Install with: pip install --no-deps --require-hashes -r requirements.lock
"""
CONDA_HEADER = """\
# Made from requirements.lock by scripts/lock.py: do not edit. The same pins for conda users:
#   conda env create -f environment.yml && conda activate dipvae && make test VENV=none
# On Linux torch comes with several GB of CUDA libraries. Without a GPU, put these two lines in place of its line:
#      - --extra-index-url https://download.pytorch.org/whl/cpu
#      - torch==%s+cpu
name: dipvae
channels:
  - conda-forge
dependencies:
  - python=3.12
  - pip
  - pip:
"""


def compile_lock(uv: str, upgrade: bool) -> str:
    """Resolve requirements.in against PyPI alone; returns the lock's text. Raises CalledProcessError where uv finds no solution."""
    part = ROOT / "requirements.lock.part"
    if not upgrade and (ROOT / "requirements.lock").exists():
        shutil.copy(
            ROOT / "requirements.lock", part
        )  # uv reads the pins to keep from its output file
    command = [
        uv,
        "pip",
        "compile",
        "--no-config",
        "--default-index",
        PYPI,
        "--universal",
        "--python-version",
        "3.11",
        # one version of each package for both Pythons, so that both give the same numbers; wheels only, so that nothing compiles
        "--fork-strategy",
        "fewest",
        "--only-binary",
        ":all:",
        "--generate-hashes",
        "--no-annotate",
        "--no-header",
        "--quiet",
        "-o",
        part.name,
        "requirements.in",
    ]
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))
    }
    try:
        subprocess.run(command, cwd=ROOT, env=clean, check=True, stdout=subprocess.DEVNULL)
        return LOCK_HEADER + re.sub(r"\A(#.*\n)+", "", part.read_text())
    finally:
        part.unlink(missing_ok=True)


def pins(lock: str) -> list[str]:
    """The lock's requirements without hashes: `name==version`, with the environment marker where it has one."""
    return [
        line.removesuffix(" \\") for line in lock.splitlines() if re.match(r"[A-Za-z0-9]", line)
    ]


def environment(lock: str) -> str:
    """environment.yml's text: Python, pip and the pins of `lock`, with torch, then the project itself."""
    lines = [f'"{pin}"' if ";" in pin else pin for pin in pins(lock)]
    return CONDA_HEADER % TORCH_VERSION + "".join(
        f"      - {line}\n" for line in [*lines, f"torch=={TORCH_VERSION}", "-e ."]
    )


def write(path: Path, text: str) -> None:
    """Write by way of a .part name, so that a broken run leaves the old file."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--upgrade", action="store_true", help="take the newest version of every package"
    )
    arguments = parser.parse_args()
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        sys.exit(
            "lock: needs uv (https://docs.astral.sh/uv): `pip install uv`, or name it: UV=/path/to/uv python scripts/lock.py"
        )
    lock = compile_lock(uv, arguments.upgrade)
    write(ROOT / "requirements.lock", lock)
    write(ROOT / "environment.yml", environment(lock))
    print(f"locked {len(pins(lock))} packages")


if __name__ == "__main__":
    main()
