"""The page of a run."""

import nbformat
import pytest
import samples

from helpers.course import report

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Erk"
    "Jggg=="
)


def test_report_shows_scores_pictures_and_video(tmp_path):
    cells = ["print('Found <all> of them')"]
    page = samples.executed(samples.lesson("08_evaluate", cells=cells))
    page.cells[5].metadata["tags"] = ["report"]
    page.cells[5].outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="Found <all> of them\nmore\n"),
        nbformat.v4.new_output("display_data", data={"image/png": PNG}),
    ]
    (tmp_path / "lessons").mkdir()
    samples.write(tmp_path / "lessons/08_evaluate.ipynb", page)
    (tmp_path / "11_video").mkdir()
    (tmp_path / "11_video/annotated.mp4").touch()
    scores = {"ssd_AP": 0.6, "ssd_AP_low": 0.5, "ssd_AP_high": 0.7, "ssd_parameters": 3_200_000}
    scores |= {"faster_rcnn_AP": 0.4}
    entry = {"status": "done", "seconds": 61.0, "finished": "", "metrics": scores}
    summary = {
        "profile": "cpu",
        "dataset": "roadside",
        "seed": 0,
        "split": "clip",
        "seconds": 61.0,
        "date": "2026-01-01",
        "machine": {"platform": "Linux", "cores": 2, "memory_gb": 8},
        "versions": {"python": "3.11"},
        "lessons": {"08_evaluate": entry},
    }
    text = report.write_report(tmp_path, summary).read_text()
    assert "Found &lt;all&gt; of them" in text
    assert f"base64,{PNG}" in text
    assert '<video src="11_video/annotated.mp4" controls' in text
    assert "0.500 to 0.700" in text
    assert "3.2 M" in text
    assert "Faster R-CNN" in text
    assert "http" not in text, "the page must work offline"


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"ssd_AP": 0.5, "ssd_AP_low": 0.4, "ssd_AP_high": 0.6}, {"SSD": (0.5, 0.4, 0.6)}),
        ({"AP": 0.5, "steps": 9}, {"Train SSD": (0.5, None, None)}),
        ({"steps": 9}, {}),
    ],
)
def test_scores_from_single_records(metrics, expected):
    found = report.scores({"06_train_ssd": {"metrics": metrics}})
    rows = {
        model: (row["AP"]["value"], row["AP"]["low"], row["AP"]["high"])
        for model, row in found.items()
    }
    assert rows == expected
