"""What pytest needs in a fresh clone: shapes checked at run time, and data, paths and patience for
the notebooks.

    make test    # or, with the packages installed: python -m pytest --nbval
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from replication import lifeline

ROOT = Path(__file__).parent
OUTPUT_WAIT = 60  # seconds; nbval's own 5 are too few where all cores are busy
MOST_PROCESSES = 8  # of `-n auto`: each has PyTorch in memory
FIRST = (  # files of a minute or more, so that no process is left with one at the end
    "test_replicate.py", "02_dip_loss_derivation.ipynb", "test_trial.py", "04_sap_score.ipynb",
    "test_runner.py", "test_sweep.py", "test_report.py", "test_bench.py",
)  # fmt: skip

# Every signature such as Float[Tensor, "batch latent"] is checked on each call that a test makes,
# in the modules that have any. Notebooks run in kernels of their own, without it.
sys.path.insert(0, str(ROOT / "tests"))
WITH_SHAPES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in ("dipvae_src", "replication")
    for path in (ROOT / folder).rglob("*.py")
    if "from jaxtyping import" in path.read_text("utf-8")
]
try:
    import beartype  # noqa: F401
    from jaxtyping import install_import_hook

    install_import_hook(WITH_SHAPES, "checked.checker")
    SHAPES = "checked on every call (jaxtyping, beartype)"
except ImportError as error:
    SHAPES = f"not checked ({error})"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Give kernels the interpreter that runs the tests, and settings of the project's own."""
    options = config.option
    if not hasattr(options, "nbval"):
        return
    options.nbval_current_env = not options.nbval_kernel_name
    options.nbval_sanitize_with = options.nbval_sanitize_with or str(
        ROOT / "tests" / "nbval_sanitize.cfg"
    )
    environment = lifeline.environment()
    del environment[lifeline.PARENT]  # kernels look after their parent themselves
    os.environ.update(environment)


def pytest_report_header():
    return f"shapes in {len(WITH_SHAPES)} modules: {SHAPES}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """A process a core, where a container's quota counts too."""
    from replication.machine import usable_cores

    return min(usable_cores(), MOST_PROCESSES)


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(FIRST)))
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = OUTPUT_WAIT


def pytest_sessionstart(session):
    """Once, where notebooks are to run: draw the data where they are not there (a second), and let
    matplotlib build its font cache, which it would announce on a notebook's stderr."""
    options, is_worker = session.config.option, hasattr(session.config, "workerinput")
    if not getattr(options, "nbval", False) or options.collectonly or is_worker:
        return
    for words in (
        ["-m", "data_prep.shapes2d", "--out", "data"],
        ["-c", "import matplotlib.font_manager"],
    ):
        if subprocess.call([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL) != 0:
            pytest.exit(
                f"`python {' '.join(words)}` failed (see above): the notebooks need it",
                returncode=1,
            )
