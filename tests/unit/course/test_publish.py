"""Outputs of a run in the notebooks, and the detector that the course ships."""

import json
import shutil

import nbformat
import pytest
import samples

from helpers import inference
from helpers.common.errors import CourseError
from helpers.course import publish
from helpers.course.notebooks import lessons, read_notebook

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Erk"
    "Jggg=="
)


def test_publish_puts_outputs_into_the_notebooks(copied):
    from gate import problems

    before = read_notebook(copied / "notebooks/02_frames.ipynb")
    publish.publish(copied, "runs/course")
    for path in lessons(copied).values():
        assert problems(path) == []
    page = read_notebook(copied / "notebooks/02_frames.ipynb")
    assert [cell.source for cell in page.cells] == [cell.source for cell in before.cells]
    assert "papermill" not in (copied / "notebooks/02_frames.ipynb").read_text()
    assert page.cells[3].outputs[0].text.startswith("Lesson 02_frames: ")
    again = (copied / "notebooks/02_frames.ipynb").read_text()
    publish.publish(copied, "runs/course", only="02")
    assert (copied / "notebooks/02_frames.ipynb").read_text() == again


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("source", "02_frames: was changed after the run"),
        ("failed", "02_frames: has not run to its end"),
        ("profile", "02_frames: ran with profile = 'smoke'; the notebook says 'cpu'"),
        ("path", "02_frames: code cell 4: shows a path of this machine: /home/me/x"),
        ("warning", "02_frames: code cell 4: shows a warning: UserWarning: slow"),
        ("size", "02_frames: 9"),
    ],
)
def test_publish_refuses_and_changes_nothing(copied, change, said):
    if change == "source":
        path = copied / "notebooks/02_frames.ipynb"
        path.write_text(path.read_text().replace("Now to the work", "And now to the work"))
    elif change in ("failed", "profile"):
        path = copied / "runs/course/lessons/02_frames.state.json"
        state = json.loads(path.read_text())
        if change == "failed":
            state["status"] = "failed"
        else:
            state["parameters"]["profile"] = "smoke"
        path.write_text(json.dumps(state))
    else:
        text = {"path": "in /home/me/x\n", "warning": "UserWarning: slow\n", "size": "a" * 900_000}
        path = copied / "runs/course/lessons/02_frames.ipynb"
        page = read_notebook(path)
        page.cells[6].outputs = [nbformat.v4.new_output("stream", name="stdout", text=text[change])]
        samples.write(path, page)
    before = [path.read_text() for path in lessons(copied).values()]
    with pytest.raises(CourseError) as caught:
        publish.publish(copied, "runs/course")
    assert said in str(caught.value)
    assert [path.read_text() for path in lessons(copied).values()] == before


def test_publish_leaves_out_what_a_page_cannot_show():
    source = samples.lesson("02_count")
    ran = samples.executed(samples.lesson("02_count"))
    new = nbformat.v4.new_output
    widget = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "  0%|   | 0/9"}
    ran.cells[5].outputs = [
        new("stream", name="stderr", text="  0%|"),
        new("display_data", data=widget),
        new("display_data", data={"text/plain": "9/9"}, metadata={"progress": [9, 9]}),
        new("display_data", data={"text/html": "<video src='data:" + "A" * 200_000 + "'>"}),
        new("display_data", data={"image/png": PNG}),
        new("stream", name="stdout", text="kept\n"),
        new("execute_result", data={"text/plain": "7"}, execution_count=12),
    ]
    ran.cells[5].execution_count = 12
    ran.cells[5].metadata["execution"] = {"iopub.execute_input": "2026-01-01"}
    ran.metadata["widgets"] = {"state": {}}
    page = publish.clean("02_count", source, ran)
    outputs = page.cells[5].outputs
    assert [output.output_type for output in outputs] == [
        "display_data",
        "display_data",
        "stream",
        "execute_result",
    ]
    assert outputs[0].data == {"text/plain": "(The video appears here when you run this cell.)"}
    assert outputs[3].execution_count == page.cells[5].execution_count == 4
    assert "execution" not in page.cells[5].metadata
    assert "widgets" not in page.metadata


def test_the_shipped_detector_comes_with_the_scores_it_has(trained, tmp_path):
    workspace, folder = tmp_path / "run", tmp_path / "shipped"
    shutil.copytree(trained.folder, workspace / "06_ssd")
    scores = {"AP": 0.5, "AP50": 0.9, "AP50_low": 0.8, "AP50_high": 0.95, "interval_over": "clips"}
    for path, page in (
        ("08_evaluation/metrics.json", {"SSD": scores | {"ms_per_image": 1.0}}),
        ("04_records/val.json", {"images": [{"clip": "a"}, {"clip": "a"}, {"clip": "b"}]}),
    ):
        (workspace / path).parent.mkdir(exist_ok=True)
        (workspace / path).write_text(json.dumps(page))
    publish.ship_detector(workspace, folder)
    assert inference.load_detector(folder).labels == trained.detector.labels
    stored = json.loads((folder / "scores.json").read_text())
    assert stored == scores | {"images": 3, "clips": 2, "command": "make course && make detector"}
