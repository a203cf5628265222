"""What pytest needs in a fresh clone: shapes checked at run time, and data, paths and patience for the notebooks.

make test    # or, with the packages installed: python -m pytest --nbval tests notebooks
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
OUTPUT_WAIT = 60  # seconds; nbval's own 5 are too few where two cores are busy

# Every signature such as Float[Tensor, "batch latent"] is checked on each call that a test makes. Notebooks run in
# kernels of their own, without it.
try:
    import beartype  # noqa: F401
    from jaxtyping import install_import_hook

    install_import_hook(["dipvae_src", "replication"], "checked.checker")
    SHAPES = "checked on every call (jaxtyping, beartype)"
except ImportError as error:
    SHAPES = f"not checked ({error})"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if getattr(config.option, "nbval_sanitize_with", "absent") is None:
        config.option.nbval_sanitize_with = str(ROOT / "tests" / "nbval_sanitize.cfg")
    # Kernels start in notebooks/ and would not find the packages where the project is not installed.
    old = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT) + (os.pathsep + old if old else "")


def pytest_report_header():
    return f"shapes in dipvae_src: {SHAPES}"


def pytest_collection_modifyitems(items):
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = OUTPUT_WAIT


def pytest_collection_finish(session):
    """Once, before the first notebook: render the data where they are not there or stale (about a second), and let matplotlib
    build its font cache, which it would announce on a notebook's stderr."""
    if session.config.option.collectonly or not any(
        item.path.suffix == ".ipynb" for item in session.items
    ):
        return
    run("-m", "data_prep.shapes2d", "--out", "data")
    run("-c", "import matplotlib.font_manager")


def run(*arguments):
    if subprocess.call([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL) != 0:
        pytest.exit(
            f"`python {' '.join(arguments)}` failed (see above): the notebooks cannot run without it",
            returncode=1,
        )
