"""The gate passes the course's lessons and stops each kind of bad notebook."""

from pathlib import Path

import nbformat
import pytest
import samples
from gate import problems
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

LESSONS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def stdout(text):
    return new_output("stream", name="stdout", text=text)


def replaced(page, number, old, new):
    assert old in page.cells[number].source
    page.cells[number].source = page.cells[number].source.replace(old, new)


def error_output(page):
    page.cells[5].outputs = [new_output("error", ename="ValueError", evalue="no", traceback=[])]


def executed_out_of_order(page):
    page.cells[3].execution_count, page.cells[5].execution_count = 4, 3


def executed_in_part(page):
    page.cells[5].execution_count = None


def never_executed(page):
    for cell in page.cells:
        if cell.cell_type == "code":
            cell.execution_count = None


def no_parameters_cell(page):
    page.cells[2].metadata = {}


def two_parameters_cells(page):
    page.cells[5].metadata = {"tags": ["parameters"]}


def parameters_not_after_the_imports(page):
    page.cells[1].source += "\nprint(json)"


def parameters_computed(page):
    replaced(page, 2, "seed = 0", "seed = 1 + len('a')")


def parameter_missing(page):
    replaced(page, 2, "seed = 0\n", "")
    replaced(page, 3, ", seed=seed", "")


def parameter_not_the_default(page):
    replaced(page, 2, "'cpu'", "'smoke'")


def parameter_not_passed(page):
    replaced(page, 2, "seed = 0", "seed = 0\nevery = None")


def injected_parameters(page):
    page.cells.insert(3, new_code_cell("# Parameters", metadata={"tags": ["injected-parameters"]}))
    samples.executed(page)


def start_of_another_lesson(page):
    replaced(page, 3, '"02_count"', '"01_count"')


def no_start(page):
    page.cells[3].source = "lesson = 1"


def no_kernelspec(page):
    del page.metadata["kernelspec"]


def no_language_info(page):
    del page.metadata["language_info"]


def papermill_metadata(page):
    page.metadata["papermill"] = {"version": "2.7.0"}


def machine_path(page):
    page.cells[5].outputs = [stdout("saved /home/somebody/course/runs\n")]


def machine_path_in_html(page):
    page.cells[5].outputs = [new_output("display_data", data={"text/html": "<a>/tmp/x1/y</a>"})]


def windows_path(page):
    page.cells[5].outputs = [new_output("execute_result", data={"text/plain": "'C:\\\\Users'"})]


def stderr_output(page):
    page.cells[5].outputs = [new_output("stream", name="stderr", text="10%|#  |")]


def warning_output(page):
    page.cells[5].outputs = [stdout("UserWarning: slow\n")]


def too_large(page):
    page.cells[5].outputs = [new_output("display_data", data={"image/png": "A" * 700_001})]


def no_title(page):
    replaced(page, 0, "# Count", "Count")


def two_titles(page):
    replaced(page, 4, "## Work", "# Work")


def opening_incomplete(page):
    replaced(page, 0, "**What you'll learn**", "**Aims**")


def opening_misordered(page):
    replaced(page, 0, "What you'll do", "What you'll X")
    replaced(page, 0, "What you'll need", "What you'll do")
    replaced(page, 0, "What you'll X", "What you'll need")


def no_minutes(page):
    replaced(page, 0, "It takes 1 minute.", "It is quick.")


def no_recap(page):
    replaced(page, -1, "## Recap", "## Memories")


def closing_misordered(page):
    replaced(page, -1, "## Recap", "## X")
    replaced(page, -1, "## Exercises", "## Recap")
    replaced(page, -1, "## X", "## Exercises")


def no_next_link(page):
    replaced(page, -1, "[03_next](03_next.ipynb)", "The next lesson.")


def broken_link(page):
    page.cells[4].source += "\n\nSee [the guide](../guide.md#part)."


def broken_picture(page):
    page.cells[4].source += "\n\n![a road](pictures/road.png)"


def missing_attachment(page):
    page.cells[4].source += "\n\n![a road](attachment:road.png)"


def picture_without_alt(page):
    page.cells[4].source += "\n\n![](https://example.org/road.png)"


def html_picture_without_alt(page):
    page.cells[4].source += '\n\n<img src="https://example.org/road.png" width="600">'


BAD = {
    error_output: "error output: ValueError",
    executed_out_of_order: "execution: cells ran as [1, 2, 4, 3]",
    executed_in_part: "execution: cells ran as [1, 2, 3, None]",
    never_executed: "execution: no cell has run",
    no_parameters_cell: "parameters: no cells",
    two_parameters_cells: "parameters: 2 cells",
    parameters_not_after_the_imports: "parameters: must be the second",
    parameters_computed: "seed = 1 + len('a'): not a plain literal",
    parameter_missing: "parameters: seed missing",
    parameter_not_the_default: "parameters: profile is 'smoke'",
    parameter_not_passed: "start: parameters not passed on: every",
    injected_parameters: "injected by papermill",
    start_of_another_lesson: "start: is given ['01_count']",
    no_start: "does not call start",
    no_kernelspec: "kernelspec",
    no_language_info: "language_info",
    papermill_metadata: "left over from a run",
    machine_path: "path of a machine: /home/somebody",
    machine_path_in_html: "path of a machine: /tmp/x1",
    windows_path: "path of a machine: C:",
    stderr_output: "stderr",
    warning_output: "a warning",
    too_large: "size: ",
    no_title: "does not begin with a title",
    two_titles: "more than one title",
    opening_incomplete: "the opening has no What you'll learn",
    opening_misordered: "the opening is not in the order",
    no_minutes: "minutes",
    no_recap: "no ## Recap",
    closing_misordered: "does not close with",
    no_next_link: "no link to the next lesson",
    broken_link: "link: ../guide.md#part: no such file",
    broken_picture: "link: pictures/road.png: no such file",
    missing_attachment: "no such attachment",
    picture_without_alt: "no alt text",
    html_picture_without_alt: "no alt text",
}


@pytest.fixture
def good(tmp_path):
    (tmp_path / "03_next.ipynb").touch()
    return samples.executed(samples.lesson("02_count", following="03_next"))


def written(tmp_path, page):
    nbformat.validate(page)
    return samples.write(tmp_path / "02_count.ipynb", page)


def test_good_notebook_passes(tmp_path, good):
    good.cells[4].source += (
        "\n\n![a road](attachment:road.png) and `![](no.png)`, [home](https://example.org/home/x)"
        "\n\n```python\n# not a heading\n```"
    )
    good.cells[4]["attachments"] = {"road.png": {"image/png": "AAAA"}}
    good.cells.insert(5, new_code_cell(""))
    good.cells.insert(5, new_markdown_cell("Nothing here.", id="nothing"))
    good.cells[7].outputs = [
        stdout("runs/course/02_frames, 3/tmp/4\n"),
        new_output("display_data", data={"image/png": "AA/tmp/AA", "text/plain": "<Figure>"}),
    ]
    assert problems(written(tmp_path, good)) == []


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_bad_notebook_fails_with_just_its_problem(tmp_path, good, spoil):
    spoil(good)
    found = problems(written(tmp_path, good))
    assert len(found) == 1, found
    assert BAD[spoil] in found[0]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_passes(path):
    assert problems(path) == []
