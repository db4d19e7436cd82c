"""The runner, on courses of tiny lessons."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import samples

from helpers.common.errors import CourseError
from helpers.course import runner

ROOT = Path(__file__).parents[3]


def status(text):
    """Return what the runner's log says of each lesson: {lesson: kept or ran}."""
    return {
        line.split()[0]: "kept" if " kept" in line else "ran"
        for line in text.splitlines()
        if line[:2].isdigit() and line[2] == "_"
    }


def command(root, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "helpers.course", *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_runs_all_in_order(finished):
    root, summary = finished
    workspace = root / "runs/course"
    assert list(summary["lessons"]) == ["01_images", "02_frames", "03_count"]
    assert summary["lessons"]["03_count"]["metrics"] == {"total": 12}
    assert all(entry["seconds"] > 0 for entry in summary["lessons"].values())
    assert json.loads((workspace / "summary.json").read_text()) == summary
    assert (summary["profile"], summary["dataset"]) == ("cpu", "roadside")
    assert {"machine", "versions", "date", "seed", "split"} <= set(summary)
    ran = nbformat.read(workspace / "lessons/02_frames.ipynb", as_version=4)
    assert "every = None" in ran.cells[2].source
    assert "every" not in ran.cells[3].source, "passed only what was asked for"
    page = (workspace / "report.html").read_text()
    assert "03_count" in page
    assert str(root) not in page
    assert not list(workspace.rglob("*draft*"))


def test_keeps_what_is_finished(copied, capsys):
    runner.run(copied)
    assert status(capsys.readouterr().out) == dict.fromkeys(
        ["01_images", "02_frames", "03_count"], "kept"
    )


@pytest.mark.parametrize("reason", ["source", "folder", "notebook"])
def test_runs_again_from_where_something_changed(copied, capsys, reason):
    if reason == "source":
        path = copied / "notebooks/02_frames.ipynb"
        path.write_text(path.read_text().replace("Now to the work", "And now to the work"))
    elif reason == "folder":
        (copied / "runs/course/02_frames/manifest.json").unlink()
    else:
        (copied / "runs/course/lessons/02_frames.ipynb").unlink()
    runner.run(copied)
    assert status(capsys.readouterr().out) == {
        "01_images": "kept",
        "02_frames": "ran",
        "03_count": "ran",
    }


def test_boxes_drawn_by_hand_run_lesson_03_again(copied, capsys):
    (copied / "runs/course/labels").mkdir()
    runner.run(copied)
    assert status(capsys.readouterr().out)["03_count"] == "kept"
    (copied / "runs/course/labels/a_00001.xml").write_text("<annotation/>")
    runner.run(copied)
    assert status(capsys.readouterr().out)["03_count"] == "ran"
    runner.run(copied)
    assert status(capsys.readouterr().out)["03_count"] == "kept"


def test_other_parameters_run_what_has_them(copied, capsys):
    summary = runner.run(copied, every=9)
    assert status(capsys.readouterr().out)["01_images"] == "kept"
    assert summary["lessons"]["03_count"]["metrics"] == {"total": 16}
    assert summary["parameters"] == {"every": 9}


def test_only_and_from_run_what_they_name(copied, capsys):
    runner.run(copied, only="3")
    assert status(capsys.readouterr().out) == {"03_count": "ran"}
    summary = runner.run(copied, first="02_frames", split="frame")
    assert status(capsys.readouterr().out) == {"02_frames": "ran", "03_count": "ran"}
    assert summary["split"] == "frame"
    assert list(summary["lessons"]) == ["01_images", "02_frames", "03_count"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"profile": "smokey"}, "profile: 'smokey'; use smoke, cpu, gpu (nearest: smoke)"),
        ({"dataset": "racoon"}, "nearest: raccoon"),
        ({"evry": 3}, "evry: no lesson has this parameter; use "),
        ({"every": 0}, "every: 0; give a whole number above 0"),
        ({"split": "clips"}, "split: 'clips'; use clip, frame, author"),
        ({"only": "07"}, "lesson: 07; use 01_images, 02_frames, 03_count"),
        ({"first": "02_frame"}, "nearest: 02_frames"),
    ],
)
def test_wrong_option_stops_before_anything_runs(tmp_path, options, said):
    root = samples.course(tmp_path / "course")
    with pytest.raises(CourseError) as caught:
        runner.run(root, **options)
    assert said in str(caught.value)
    assert not (root / "runs").exists()


def test_missing_folder_is_said_in_one_line(tmp_path, capsys):
    root = samples.course(tmp_path / "course")
    done = command(root, "run", "--only", "03")
    assert done.returncode == 1
    assert done.stderr == ""
    assert "03_count" in done.stdout
    assert "FAILED in code cell 4" in done.stdout
    line = "CourseError: runs/course/02_frames: missing; open lesson 02_frames and run it"
    assert line in done.stdout


def test_build_missing_builds_what_is_before(tmp_path, capsys):
    root = samples.course(tmp_path / "course")
    summary = runner.run(root, only="03", build_missing=True)
    assert "failed" not in summary
    assert summary["lessons"]["03_count"]["metrics"] == {"total": 12}
    assert (root / "runs/course/01_images/manifest.json").is_file()


def test_failing_lesson_is_named_and_the_rest_stays(tmp_path, capsys):
    cells = ["print('before')", "one = 1\ntwo = 2\nthree = 3\nraise ValueError('bad\\nluck')"]
    root = samples.course(tmp_path / "{course}", c02={"cells": cells})
    summary = runner.run(root)
    said = capsys.readouterr().out
    assert summary["failed"] == {
        "lesson": "02_frames",
        "cell": 5,
        "source": "one = 1\ntwo = 2\nthree = 3\n...",
        "error": "ValueError: bad luck",
    }
    assert [entry["status"] for entry in summary["lessons"].values()] == ["done", "failed"]
    assert "    ValueError: bad luck" in said
    assert "    | two = 2" in said
    workspace = root / "runs/course"
    assert "bad luck" in (workspace / "report.html").read_text()
    assert (workspace / "01_images/manifest.json").is_file()
    assert not (workspace / "lessons/03_count.ipynb").exists()

    samples.write(
        root / "notebooks/02_frames.ipynb",
        samples.lesson("02_frames", cells=[samples.MAKE.format(folder="02_frames", value=1)]),
    )
    assert "failed" not in runner.run(root)
    assert status(capsys.readouterr().out) == {
        "01_images": "kept",
        "02_frames": "ran",
        "03_count": "ran",
    }


def test_dead_kernel_is_a_failure_with_its_cell(tmp_path):
    root = samples.course(tmp_path / "c", c01={"cells": ["import os\nos._exit(1)"]})
    failed = runner.run(root)["failed"]
    assert (failed["lesson"], failed["cell"]) == ("01_images", 4)
    assert "DeadKernelError" in failed["error"]


def test_interruption_ends_cleanly_and_a_second_run_is_refused(tmp_path):
    sleep = (
        "import pathlib, time\n"
        "pathlib.Path('kernel').write_text(str(__import__('os').getpid()))\n"
        "try:\n    time.sleep(600)\nfinally:\n    pathlib.Path('tidied').touch()"
    )
    root = samples.course(tmp_path / "course", c02={"cells": [sleep]})
    process = subprocess.Popen(
        [sys.executable, "-m", "helpers.course", "run"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A suite that was started in the background (`make test &`) hands down "ignore Ctrl-C".
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    end = time.monotonic() + 120
    while not (root / "kernel").exists() and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(0.5)
    second = command(root, "run")
    assert second.returncode == 1
    assert second.stderr.startswith("CourseError: course: in use by another run (process ")
    assert second.stderr.count("\n") == 1

    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert err == "Stopped in 02_frames, code cell 4 of 4; the same command resumes there.\n"
    assert (root / "tidied").exists(), "the cell had no chance to tidy up"
    kernel = int((root / "kernel").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)
    summary = json.loads((root / "runs/course/summary.json").read_text())
    assert list(summary["lessons"]) == ["01_images"]
    assert not list((root / "runs").rglob("*draft*"))


def test_stale_lock_is_no_obstacle(copied):
    (copied / "runs/course/.course.pid").write_text("1")
    assert "failed" not in runner.run(copied)


def test_lists_lessons(copied):
    done = command(copied, "list")
    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        [name, "done,"] for name in ("01_images", "02_frames", "03_count")
    ]
