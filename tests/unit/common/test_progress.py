"""Bars: text in a terminal; in a real kernel one HTML output that is redrawn, and no widget."""

import io
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.common import progress
from helpers.common.progress import tqdm

CELL = """
from helpers.common.progress import tqdm
for i in tqdm(range(9), desc="<frames>", unit="frame", mininterval=0):
    pass
for i in tqdm(range(3), desc="gone", leave=False, mininterval=0):
    tqdm.write(f"note {i}")
with tqdm(desc="open", unit="step") as bar:
    bar.update(5)
    bar.set_postfix_str("loss 0.5")
"""


@pytest.fixture(scope="module")
def outputs():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    return notebook.cells[0].outputs


def test_a_bar_in_a_notebook_is_one_output_that_stays_when_it_is_opened_again(outputs):
    pages = [output for output in outputs if output.output_type == "display_data"]
    assert [set(page.data) for page in pages] == [{"text/plain", "text/html"}] * 3
    whole, gone, without_end = pages
    assert whole.data["text/plain"].startswith("<frames>: 100% 9/9 [")
    assert '&lt;frames&gt;: 100% <progress value="9" max="9"' in whole.data["text/html"]
    assert whole.metadata["progress"] == [9, 9]
    assert gone.data == {"text/plain": "", "text/html": ""}
    assert without_end.data["text/plain"].startswith("open: 5step [")
    assert "loss 0.5" in without_end.data["text/plain"]


def test_what_is_written_meanwhile_is_on_stdout_and_nothing_on_stderr(outputs):
    streams = [(o.name, o.text) for o in outputs if o.output_type == "stream"]
    assert "".join(text for _, text in streams) == "note 0\nnote 1\nnote 2\n"
    assert {name for name, _ in streams} == {"stdout"}


def test_every_helper_takes_this_bar():
    folder = Path(progress.__file__).parents[1]
    others = [f.name for f in folder.rglob("*.py") if "tqdm.auto" in f.read_text(encoding="utf-8")]
    assert others == []


def test_in_a_terminal_it_is_tqdms_own():
    file = io.StringIO()
    list(tqdm(range(4), desc="frames", file=file))
    assert "frames: 100%|" in file.getvalue()
    assert "4/4" in file.getvalue()
