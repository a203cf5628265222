"""A real browser for the report page: headless Chromium, the network off. Run apart from the rest.

    python -m pytest tests/browser

Asks for Chromium and Playwright's Python package and installs neither; what is missing is named by
the tests that are skipped.
"""

import os
import shutil
from pathlib import Path

import pytest
from markupsafe import Markup
from reported import make_report, shown_models

from replication.report import explorer, page

HERE = Path(__file__).resolve().parent
CHROMIUM = (
    os.environ.get("CHROMIUM")
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
FLAGS = [
    "--no-sandbox",  # which root cannot have
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",  # where test_lab.py has its server
]  # fmt: skip


def pytest_ignore_collect(collection_path, config):
    asked = [Path(argument.split("::")[0]).resolve() for argument in config.args]
    return None if any(HERE in (path, *path.parents) for path in asked) else True


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not here: python -m pip install playwright"
    )
    if not CHROMIUM:
        pytest.skip(
            "Chromium is not here: apt-get update && apt-get install -y chromium (or CHROMIUM=path)"
        )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report_page(browser, data_dir, tmp_path_factory) -> Path:
    """The whole report, of real runs of a second each."""
    return make_report(tmp_path_factory.mktemp("report"), data_dir)


@pytest.fixture(scope="session")
def explorer_page(browser, tmp_path_factory) -> tuple[Path, list, list]:
    """Two explorers, the first with its last model pre-rendered; their models, also in PyTorch."""
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    shapes, colours = shown_models("fc", 6, 5, without=1), shown_models("conv", 12, 4)
    made = (("shapes", shapes), ("colours", colours))
    write_page(path, *(explorer.block(models[0], name, name) for name, models in made))
    return path, shapes, colours


def write_page(path: Path, *blocks: Markup) -> None:
    """A page of explorers that all are seen at once."""
    body = Markup("").join(Markup('<div class="explorers">{}</div>').format(b) for b in blocks)
    script = explorer.SCRIPT.read_text("utf-8")
    path.write_text(page.whole("Explorers", Markup(), body, script), "utf-8")


class Opened:
    """A page that was opened from disk, with all that it said and asked for."""

    def __init__(self, browser, path: Path, width: int = 1280, **options) -> None:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, offline=True, **options
        )
        self.page, self.said, self.asked = context.new_page(), [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is drawn: two frames."""
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )


@pytest.fixture
def open_page(browser):
    opened = []

    def open_it(*arguments, **options) -> Opened:
        opened.append(Opened(browser, *arguments, **options))
        return opened[-1]

    yield open_it
    for one in opened:
        one.page.context.close()
