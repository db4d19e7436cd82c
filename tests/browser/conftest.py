"""A browser in front of JupyterLab, and a small workspace whose folders are finished.

The lessons are those in notebooks/: a copy has its own parameters, and only the cells that a test
is about and those that they need.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import sync_playwright

from helpers.common.artifacts import write_manifest
from helpers.course.notebooks import has_tag, lessons, read_notebook

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# What a console may say, because it is none of the course's business.
HARMLESS = (
    "ResizeObserver loop",  # a notice, by the browser's own account
    "the server responded with a status of 404",  # JupyterLab asks for settings not made yet
)


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def browser():
    """Chromium by Playwright; skips where the machine has none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on PATH")
    with sync_playwright() as playwright:
        # Root, as in most containers, gets no sandbox.
        started = playwright.chromium.launch(
            executable_path=found, chromium_sandbox=os.geteuid() != 0
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """Return (address, folder) of a running JupyterLab that shows the folder."""
    place = tmp_path_factory.mktemp("lab")
    shown = place / "shown"
    shown.mkdir()
    # No windowing: what has scrolled out of sight stays on the page, for the tests to find.
    settings = {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }
    for name, values in settings.items():
        file = place / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    folders = {
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    environment = {**os.environ, **{name: str(place / part) for name, part in folders.items()}}
    # Bars and pictures as a reader gets them.
    for name in ("TQDM_DISABLE", "MPLBACKEND"):
        environment.pop(name, None)
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ServerApp.port=0", f"--ServerApp.root_dir={shown}", "--IdentityProvider.token="),
        *("--LabApp.expose_app_in_browser=True", "--LanguageServerManager.autodetect=False"),
        "--FileContentsManager.pre_save_hook=helpers.course.saving.without_widgets",
    ]
    with (place / "log").open("w") as log:
        server = subprocess.Popen(
            command, env=environment | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
        )
    try:
        page = _wait_for(lambda: next(iter((place / "runtime").glob("jpserver-*.json")), None))
        yield json.loads(page.read_text())["url"] + "lab", shown
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory, footage) -> Path:
    """A workspace with the folders that lessons 01 to 05 make; its SSD trains in seconds.

    Tests share it; what one of them needs of another's folder, it makes when it is missing.
    """
    from helpers import dataset, models, records
    from helpers.footage import extract_frames

    folder = tmp_path_factory.mktemp("workspace") / "ws"
    folder.mkdir()
    shutil.copytree(footage, folder / "01_images")
    extract_frames(folder / "01_images", folder / "02_frames", count=3)
    dataset.write_dataset(
        folder / "02_frames", folder / "03_dataset", labels=["speed_camera"], val_ratio=0.34
    )
    records.write_records(folder / "03_dataset", folder / "04_records", shards=1)
    tiny = {
        "task.model.input_size": [96, 160, 3],
        "task.model.max_level": 5,
        "task.model.backbone.resnet.model_id": 10,
        "task.model.backbone.resnet.depth_multiplier": 0.125,
        "task.model.decoder.fpn.num_filters": 16,
        "task.model.head.num_filters": 16,
        "task.model.head.num_convs": 1,
    }
    config = models.for_records(
        models.edit(models.from_preset("ssd_cpu"), tiny), folder / "04_records"
    )
    (folder / "05_config").mkdir()
    config = models.with_budget(config, train_steps=900, batch_size=2, learning_rate=0.02)
    models.save_config(config, folder / "05_config" / "ssd.yaml")
    write_manifest(folder / "05_config", "test", {}, {}, {})
    return folder


class Page:
    """A lesson as a reader has it in front of them."""

    def __init__(self, tab):
        self.tab = tab

    def command(self, name: str, **arguments) -> None:
        """Do what a menu of JupyterLab does."""
        script = "([name, a]) => { window.jupyterapp.commands.execute(name, a); }"
        self.tab.evaluate(script, [name, arguments])

    def run(self, seconds: float = 100) -> None:
        """Run all cells, and wait for them."""
        self.start()
        self.wait(seconds)

    def start(self) -> None:
        self.command("notebook:run-all-cells")
        self.tab.wait_for_function(
            "[...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')]"
            ".some((p) => p.textContent.includes('*'))"
        )

    def wait(self, seconds: float) -> None:
        """Wait until all cells have run without an error."""
        self.tab.wait_for_function(
            "[...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')]"
            ".every((p) => !p.textContent.includes('*'))",
            timeout=1000 * seconds,
        )
        errors = self.tab.evaluate(
            "window.jupyterapp.shell.currentWidget.content.model.toJSON().cells"
            ".flatMap((cell) => cell.outputs || []).filter((o) => o.output_type === 'error')"
            ".map((error) => error.evalue)"
        )
        assert errors == []

    def output(self, of: str):
        """What stands below the code cell with the text `of`."""
        cell = self.tab.locator(".jp-CodeCell", has=self.tab.get_by_text(of))
        return cell.locator(".jp-OutputArea-output")


@pytest.fixture
def open_lesson(browser, lab, workspace):
    """Return open(number, cells, **parameters): a copy of a lesson with those cells, opened.

    `cells` are texts, one from each code cell that is kept, next to imports, parameters and
    `start`. When the test is over, the browser's console must have been silent.
    """
    address, shown = lab
    tab = browser.new_context(viewport={"width": 1280, "height": 1400}).new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text) if message.type == "error" else 0)
    tab.on("pageerror", lambda error: said.append(str(error)))

    def open_(number: str, cells: Iterable[str], **parameters) -> Page:
        name, path = next(item for item in lessons(ROOT).items() if item[0].startswith(number))
        copy_lesson(path, shown / f"{name}.ipynb", list(cells), parameters)
        tab.goto(f"{address}/tree/{name}.ipynb?reset")
        tab.wait_for_selector(".jp-NotebookPanel .jp-CodeCell")
        tab.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.ready")
        tab.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=60_000)
        return Page(tab)

    def copy_lesson(path: Path, copy: Path, cells: list[str], parameters: dict) -> None:
        notebook = read_notebook(path)
        wanted = ["lesson = start(", *cells]
        kept, found = [], set()
        for cell in notebook.cells:
            if cell.cell_type != "code":
                continue
            cell.outputs, cell.execution_count = [], None
            if has_tag(cell, "parameters"):
                given = {"workspace": str(workspace), "profile": "smoke", **parameters}
                cell.source += "".join(f"\n{key} = {value!r}" for key, value in given.items())
            elif kept and not (texts := {text for text in wanted if text in cell.source}):
                continue
            elif kept:
                found |= texts
            kept.append(cell)
        assert found == set(wanted), f"{path.name} has no cell with {set(wanted) - found}"
        notebook.cells = kept
        nbformat.write(notebook, copy)

    yield open_
    heard = [text for text in said if not any(known in text for known in HARMLESS)]
    tab.evaluate("window.jupyterapp.serviceManager.sessions.shutdownAll()")
    tab.context.close()
    assert heard == []


def _wait_for(look, seconds: float = 60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise TimeoutError("JupyterLab did not start")
