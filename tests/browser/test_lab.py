"""The lesson on the loss, stepped through to its last cell in JupyterLab by a real browser."""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from replication import lifeline
from replication.notebooks import MATH

ROOT = Path(__file__).resolve().parents[2]
LESSON = "02_dip_loss_derivation.ipynb"
FEW = {"steps: int = 300": "steps: int = 20", "model_seeds: int = 3": "model_seeds: int = 1"}
PATIENCE = 120  # seconds for one step, on a machine that is busy with other things
CELL = ".jp-Notebook .jp-Cell"
PROMPT = ".jp-InputArea-prompt"
PICTURES = 8
OUTPUTS = {  # some cells by their ids, and what each must say
    "cell-08": "truth 48.34",
    "cell-24": "Cov of z, package all 9 entries equal",
    "cell-62": "known 7.29",
    "cell-75c": "known 11.26",
    "cell-79": "softplus 7",
    "cell-83": "truth -0.9487",
}


@pytest.fixture(scope="module")
def lesson(tmp_path_factory) -> Path:
    """A copy of the lesson without its outputs, its small models trained for a moment."""
    folder = tmp_path_factory.mktemp("lab") / "notebooks"
    folder.mkdir()
    (folder.parent / "results").symlink_to(ROOT / "results")
    document = nbformat.read(ROOT / "notebooks" / LESSON, as_version=4)
    parameters = next(c for c in document.cells if "parameters" in c.metadata.get("tags", []))
    for whole, few in FEW.items():
        assert whole in parameters.source
        parameters.source = parameters.source.replace(whole, few)
    for cell in document.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(document, folder / LESSON)
    return folder / LESSON


@pytest.fixture(scope="module")
def address(lesson) -> str:
    """Where a JupyterLab, started as by `make lab`, shows that copy, all cells in the page."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not here: `make test` installs it")
    own = lesson.parents[1] / "own"
    settings = own / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    environment = lifeline.environment() | {
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_CONFIG_PATH": str(ROOT / "scripts" / "jupyter"),
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        "JUPYTER_RUNTIME_DIR": str(own),
        "OMP_NUM_THREADS": "1",
    }
    options = ["--no-browser", "--allow-root", "--ServerApp.port=0"]
    options += [f"--ServerApp.root_dir={lesson.parents[1]}"]
    command = [sys.executable, "-m", "replication.lifeline", "jupyterlab", *options]
    with (own / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        facts = facts_of(server, own)
        assert facts["token"], "without a token anybody could run code"
        yield f"{facts['url']}lab/tree/notebooks/{LESSON}?token={facts['token']}"
    finally:
        server.terminate()  # it ends its kernels
        server.wait(60)


def facts_of(server: subprocess.Popen, folder: Path) -> dict:
    """What the server writes into a file once it is there: its address, its token."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        for path in folder.glob("jpserver-*.json"):
            with contextlib.suppress(ValueError):  # half written
                return json.loads(path.read_text())
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start: {(folder / 'log').read_text()[-2000:]}")


def code_of(lesson: Path) -> list[str]:
    """The ids of a notebook's code cells."""
    return [c.id for c in nbformat.read(lesson, as_version=4).cells if c.cell_type == "code"]


@pytest.fixture(scope="module")
def stepped(browser, lesson, address):
    """The page of the lesson after Shift+Enter on every cell, each once the one before has run."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(address)
    cells = nbformat.read(lesson, as_version=4).cells
    page.wait_for_function(f"document.querySelectorAll('{CELL}').length == {len(cells)}")
    # Before the kernel is there, a cell is passed over without a word.
    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for()
    page.locator(CELL).first.click()
    page.keyboard.press("Escape")
    ran = 0
    for place, cell in enumerate(cells):
        page.keyboard.press("Shift+Enter")
        if cell.cell_type == "code":
            ran += 1
            prompt = page.locator(CELL).nth(place).locator(PROMPT)
            prompt.get_by_text(f"[{ran}]:", exact=True).wait_for()
        else:
            page.locator(CELL).nth(place + 1).and_(page.locator(".jp-mod-active")).wait_for()
    yield page
    page.context.close()


def test_every_cell_ran_once_and_in_order(stepped, lesson):
    prompts = [text for text in stepped.locator(f"{CELL} {PROMPT}").all_inner_texts() if text]
    count = len(code_of(lesson))  # and one more, empty, that the last Shift+Enter made
    assert prompts == [f"[{number}]:" for number in range(1, count + 1)] + ["[ ]:"]
    kinds = stepped.eval_on_selector_all(
        "[data-mime-type]", "all => all.map(e => e.dataset.mimeType)"
    )
    assert kinds.count("image/png") == PICTURES
    assert not {"application/vnd.jupyter.error", "application/vnd.jupyter.stderr"} & set(kinds)
    assert stepped.locator(".Toastify__toast").count() == 0, "a question popped up"


def test_outputs_say_what_they_must(stepped, lesson):
    code = code_of(lesson)
    for name, said in OUTPUTS.items():
        cell = stepped.locator(f"{CELL}.jp-CodeCell").nth(code.index(name))
        assert said in " ".join(cell.locator(".jp-OutputArea").inner_text().split()), name


def test_formulas_are_set(stepped, lesson):
    cells = nbformat.read(lesson, as_version=4).cells
    texts = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    formulas = [match for match in MATH.finditer(texts) if not match.group(1)]
    stepped.wait_for_function(
        f"document.querySelectorAll('mjx-container').length >= {len(formulas)}"
    )
    stepped.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    sizes = stepped.eval_on_selector_all(
        "mjx-container", "all => all.map(e => [e.offsetWidth, e.offsetHeight])"
    )
    assert len(sizes) == len(formulas) > 100
    assert all(width > 3 and height > 3 for width, height in sizes)
    assert stepped.locator("mjx-merror").count() == 0
