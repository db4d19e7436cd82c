"""Every lesson runs: through the runner, by nbval, and again with other parameters.

One workspace in the smoke profile serves all. Its numbers are only sane; what the course
learns is asserted on a cpu run.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.course import runner
from helpers.course.notebooks import lessons

ROOT = Path(__file__).parents[2]
LESSONS = lessons(ROOT)


def positive(value):
    return value > 0


def share(value):
    """A number from 0 to 1, or None where there is nothing to score."""
    return value is None or 0 <= value <= 1


def exactly(expected):
    return lambda value: value == expected


# What each lesson must have recorded, and what its value must satisfy.
EXPECTED: dict[str, dict[str, Callable]] = {
    "00_start_here": {"frames": exactly(15), "detections": positive, "seconds": positive},
    "01_collect_images": {"clips": exactly(4), "footage_seconds": exactly(4.0)},
    "02_extract_frames": {"frames": exactly(24), "clips": exactly(4), "near_copies": share},
    "03_check_annotations": {
        # Exact boxes: at most odd shapes, of what is half hidden behind a car.
        "findings": lambda value: 0 <= value <= 24,
        "leaks": exactly(0),
        "leaks_random": lambda value: value >= 0,
        "train_images": exactly(18),
        "val_images": exactly(6),
        "train_boxes": positive,
        "val_boxes": positive,
        "clips_apart": exactly(True),
        "split": exactly("clip"),
        "labels": exactly(["speed_camera"]),
    },
    "04_write_tfrecords": {
        "train_images": exactly(18),
        "val_images": exactly(6),
        "objects_found": lambda value: len(value) == 6 and all(map(share, value.values())),
    },
    "05_edit_the_config": {
        "old_fields": exactly(17),
        "num_classes": exactly(2),
        "training_images": lambda value: value >= 18,
        # Of a detector of one class, for one of two: backbone and decoder, not the heads.
        "restored_parts": exactly(2),
        "ssd_steps": exactly(4),
        "faster_rcnn_steps": exactly(4),
    },
    "06_train_ssd": {
        "steps": exactly(4),
        "best_step": exactly(4),
        "AP": share,
        "AP50": share,
        "loss_first": positive,
        "loss_last": positive,
        "images_per_second": positive,
    },
    "07_train_faster_rcnn": {
        "steps": exactly(4),
        "best_step": exactly(4),
        "AP": share,
        "AP50": share,
        "loss_first": positive,
        "loss_last": positive,
        "images_per_second": positive,
    },
    "08_evaluate_and_compare": {
        **{f"{d}_{m}": share for d in ("ssd", "faster_rcnn") for m in ("AP", "AP50")},
        "ssd_parameters": lambda value: 500_000 < value < 2_000_000,
        "faster_rcnn_parameters": lambda value: 500_000 < value < 3_000_000,
        "ssd_ms_per_image": positive,
        "held_out_images": exactly(6),
    },
    "11_video_inference": {"frames": exactly(15), "detections": lambda value: value >= 0},
    "12_outgrow_one_machine": {
        "step_seconds": positive,
        "beam_same": lambda value: value in (True, None),  # None where Beam is not set up
        # Two images a step, so one in each half: the loss per positive anchor differs most.
        "loss_apart": lambda value: 0 < value < 0.5,
        # Not from the beginning: the worker was killed after a checkpoint, and before the end.
        "resumed_from": lambda value: 1 <= value < 4,
        "workers_steps": exactly(4),
        "scored_step": exactly(4),
        "images_per_second": lambda value: all(map(positive, value.values())),
    },
}

FOLDERS = {
    "01": "01_images",
    "02": "02_frames",
    "03": "03_dataset",
    "04": "04_records",
    "05": "05_config",
    "06": "06_ssd",
    "07": "07_faster_rcnn",
    "08": "08_evaluation",
    "11": "11_video",
    "12": "12_two_workers",
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return tmp_path_factory.mktemp("lessons") / "smoke"


@pytest.fixture(scope="module")
def summaries():
    """What the runner said of each lesson so far."""
    return {}


@pytest.mark.parametrize("name", LESSONS)
def test_lesson_runs(name, workspace, summaries):
    if failed := [done for done, summary in summaries.items() if "failed" in summary]:
        pytest.skip(f"lesson {failed[0]} failed before it")
    summary = summaries[name] = runner.run(
        ROOT, workspace=workspace, profile="smoke", only=name, seed=0
    )
    assert "failed" not in summary, summary["failed"]
    entry = summary["lessons"][name]
    values = entry["metrics"]
    for key, predicate in EXPECTED.get(name, {}).items():
        assert key in values, f"{name} did not record {key}; recorded: {', '.join(values)}"
        assert predicate(values[key]), f"{name}: {key} = {values[key]!r}"
    if folder := FOLDERS.get(name[:2]):
        assert (workspace / folder / "manifest.json").is_file(), f"{name} left no {folder}"
    assert (workspace / "report.html").is_file()


def checked(path: Path) -> bool:
    """Whether nbval has stored output to compare; without, it would repeat what the runner does."""
    return "nbval-check-output" in path.read_text()


CHECKED = [name for name, path in LESSONS.items() if checked(path)]


def test_nbval_has_something_to_compare():
    assert len(CHECKED) >= 6


@pytest.mark.parametrize("name", CHECKED)
def test_lesson_in_nbval(name, workspace, summaries):
    """The stored notebook runs from notebooks/, and its checked cells print what is stored."""
    if "failed" in summaries.get(name, {"failed": True}):
        pytest.skip(f"{name} has not run through the runner")
    environment = os.environ | {
        "COURSE_PROFILE": "smoke",
        "COURSE_WORKSPACE": str(workspace),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        # Figures go into the notebook, whatever the shell prefers.
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    nbval = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q"]
    plain = ["-p", "no:cacheprovider", "--color=no", f"--rootdir={ROOT}"]
    done = subprocess.run(
        [*nbval, *plain, str(LESSONS[name])],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def needs(*names):
    missing = [name for name in names if name not in LESSONS]
    return pytest.mark.skipif(bool(missing), reason=f"no lesson {', '.join(missing)}")


@needs("01_collect_images", "02_extract_frames")
def test_lesson_runs_again_with_other_parameters(workspace, summaries, tmp_path):
    if "failed" in summaries.get("02_extract_frames", {"failed": True}):
        pytest.skip("02_extract_frames has not run through the runner")
    for part in ("01_images", "lessons"):
        shutil.copytree(workspace / part, tmp_path / "again" / part)
    frames = {}
    for every in (10, 15):
        summary = runner.run(
            ROOT,
            workspace=tmp_path / "again",
            profile="smoke",
            only="02",
            every=every,
        )
        assert "failed" not in summary, summary["failed"]
        table = (tmp_path / "again/02_frames/frames.csv").read_text()
        frames[every] = len(table.splitlines()) - 1
    assert frames[10] > frames[15] > 0


@needs("02_extract_frames")
def test_wrong_parameter_ends_the_first_cell_in_one_line(tmp_path):
    """As papermill gives it, without the runner's own check before it."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from helpers.course import execution

    for name, value, said in (
        ("every", 0, "every: 0; give a whole number above 0"),
        ("profile", "cpuu", "profile: 'cpuu'; use smoke, cpu, gpu (nearest: cpu)"),
        ("evry", 5, "evry: unknown parameter; use "),
    ):
        progress = execution.Progress("02_extract_frames", 0)
        with pytest.raises(PapermillExecutionError) as caught:
            execution.execute(
                LESSONS["02_extract_frames"],
                tmp_path / "out.ipynb",
                {"workspace": str(tmp_path / "none"), name: value},
                ROOT,
                progress,
            )
        assert progress.cell == 3, "imports, parameters, start"
        assert caught.value.ename == "CourseError"
        assert said in caught.value.evalue
        assert "\n" not in caught.value.evalue
        page = papermill.iorw.load_notebook_node(str(tmp_path / "out.ipynb"))
        (error,) = [
            output
            for cell in page.cells
            for output in cell.get("outputs", [])
            if output.output_type == "error"
        ]
        assert len(error.traceback) == 1, "one line instead of a traceback"


@needs("04_write_tfrecords")
def test_missing_folder_is_one_line(tmp_path):
    failed = runner.run(ROOT, workspace=tmp_path / "empty", profile="smoke", only="04")["failed"]
    assert failed["lesson"] == "04_write_tfrecords"
    assert failed["error"].startswith("CourseError: ")
    assert "03_dataset: missing; open lesson 03_" in failed["error"]
    assert not (tmp_path / "empty/04_records").exists()
