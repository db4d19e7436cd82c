"""The start of a lesson: what it accepts, where it reads and writes, what it keeps."""

import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import samples

from helpers.common.errors import CourseError
from helpers.course.lesson import start
from helpers.course.notebooks import lessons, parameters_of, read_notebook
from helpers.course.parameters import DEFAULTS, RULES, check_parameter
from helpers.course.profiles import PROFILES

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with three (empty) lessons; the test starts in its notebooks/."""
    (tmp_path / "helpers").mkdir()
    (tmp_path / "notebooks").mkdir()
    for name in ("01_collect_images", "02_extract_frames", "04_write_tfrecords"):
        (tmp_path / "notebooks" / f"{name}.ipynb").touch()
    for name in ("WORKSPACE", "DATASET", "PROFILE"):
        monkeypatch.delenv(f"COURSE_{name}", raising=False)
    monkeypatch.chdir(tmp_path / "notebooks")
    with warnings.catch_warnings():
        yield tmp_path


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return folder


def test_starts_at_the_root_from_anywhere(project, monkeypatch, capsys):
    for folder in (project / "notebooks", project):
        monkeypatch.chdir(folder)
        lesson = start("02_extract_frames", every=5)
        assert Path.cwd() == project
        assert lesson.workspace == Path("runs/course")
        assert lesson.folder("02_frames") == Path("runs/course/02_frames")
        assert lesson.budget is PROFILES["cpu"]
        assert lesson.parameters == {"every": 5}
        assert capsys.readouterr().out == (
            "Lesson 02_extract_frames: dataset roadside, profile cpu, workspace runs/course\n"
        )


def test_workspace_elsewhere_is_not_printed_as_a_path(project, tmp_path_factory, capsys):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert start("01_collect_images", workspace=str(elsewhere)).workspace == elsewhere
    assert str(elsewhere) not in capsys.readouterr().out


def test_dataset_may_be_a_folder(project, capsys):
    (project / "data" / "mine").mkdir(parents=True)
    lesson = start("01_collect_images", dataset="data/mine")
    assert lesson.dataset == str(project / "data" / "mine")
    assert capsys.readouterr().out.startswith("Lesson 01_collect_images: dataset mine,")
    assert start("01_collect_images", dataset="speedtraps").dataset == "speedtraps"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"profile": "gpuu"}, "profile: 'gpuu'; use smoke, cpu, gpu (nearest: gpu)"),
        ({"profile": None}, "profile: None; use smoke, cpu, gpu"),
        ({"dataset": "racoon"}, "(nearest: raccoon), or the path of a folder of your own"),
        ({"dataset": "a/b"}, "/a/b; relative paths count from the project's folder)"),
        ({"dataset": "x" * 300}, "(not found, looked in /"),
        ({"dataset": ""}, "dataset: ''; use roadside, "),
        ({"dataset": 3}, "dataset: 3; use roadside, "),
        ({"workspace": ""}, "workspace: ''; give a folder"),
        ({"workspace": "notebooks/01_collect_images.ipynb"}, "is a file, give a folder"),
        ({"seed": "1"}, "seed: '1'; give a whole number, 0 or more"),
        ({"seed": None}, "seed: None; give a whole number, 0 or more"),
        ({"seed": -1}, "seed: -1; "),
        ({"build_missing": 1}, "build_missing: 1; give True or False"),
        ({"every": 0}, "every: 0; give a whole number above 0, or None"),
        ({"every": 2.5}, "every: 2.5; give a whole number above 0, or None"),
        ({"train_steps": True}, "train_steps: True; give a whole number above 0"),
        ({"batch_size": "8"}, "batch_size: '8'; give a whole number above 0"),
        ({"limit": -3}, "limit: -3; give a whole number above 0"),
        ({"threshold": 1.5}, "threshold: 1.5; give a number from 0 to 1"),
        ({"threshold": None}, "threshold: None; give a number from 0 to 1"),
        ({"labels": "crane"}, "labels: 'crane'; give a list of names, such as"),
        ({"near_copies": 65}, "near_copies: 65; give a whole number from 0 to 64, or None"),
        ({"search_words": 7}, "search_words: 7; give text in quotes, or None"),
        ({"broad": None}, "broad: None; give True or False"),
        ({"val_ratio": "0.2"}, "val_ratio: '0.2'; give a number from 0 to 1"),
        ({"learning_rate": 0}, "learning_rate: 0; give a number above 0"),
        ({"clip_seconds": float("nan")}, "clip_seconds: nan; give a number above 0"),
        ({"split": "clips"}, "split: 'clips'; use clip, frame, author (nearest: clip)"),
    ],
)
def test_wrong_parameter_is_one_line(project, parameters, said):
    with pytest.raises(CourseError) as caught:
        start("02_extract_frames", **parameters)
    assert str(caught.value).startswith("02_extract_frames: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_none_leaves_a_parameter_to_the_profile(project):
    own = {"every": None, "limit": None, "split": None, "val_ratio": None, "note": object()}
    assert start("02_extract_frames", **own).parameters == own


def test_the_table_of_parameters_is_that_of_the_notebooks():
    pages = [read_notebook(path) for path in lessons(ROOT).values()]
    assert {name for page in pages for name in parameters_of(page)} == {*DEFAULTS, *RULES}
    for page in pages:
        for name, value in parameters_of(page).items():
            check_parameter(name, value)


def test_a_name_that_only_papermill_knows(project, monkeypatch):
    """papermill makes a variable of it, and no one at the keyboard can be asked."""
    request = {"content": {"allow_stdin": False}}
    mine = {"seed": 1, "every": 3, "evry": 3, "In": [""], "_i": "", "json": json}
    shell = SimpleNamespace(parent_header=request, user_ns=mine, user_ns_hidden={"In": []})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    with pytest.raises(CourseError, match=r"evry: unknown parameter; use .* \(nearest: every\)"):
        start("02_extract_frames", every=3)
    request["content"]["allow_stdin"] = True  # in JupyterLab a reader may have variables
    assert start("02_extract_frames", every=3).parameters == {"every": 3}
    request["content"]["allow_stdin"] = False
    del mine["evry"]
    assert start("02_extract_frames", every=3).parameters == {"every": 3}


def test_a_variable_of_ones_own_in_the_parameters_cell_is_known(project, monkeypatch):
    path = project / "notebooks/02_extract_frames.ipynb"
    cells = {"every": None, "my_folder": "footage"}
    samples.write(path, samples.lesson("02_extract_frames", parameters=cells))
    request = {"content": {"allow_stdin": False}}
    mine = {"every": 3, "my_folder": "footage"}
    shell = SimpleNamespace(parent_header=request, user_ns=mine, user_ns_hidden={})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert start("02_extract_frames", every=3).parameters == {"every": 3}


def test_a_mistyped_parameter_of_papermill_is_one_line(project):
    """With papermill itself, its own kernel, and the name on its command line."""
    path = project / "notebooks/02_extract_frames.ipynb"
    samples.write(path, samples.lesson("02_extract_frames", parameters={"every": None}))
    papermill = [sys.executable, "-m", "papermill", str(path), str(project / "out.ipynb")]
    done = subprocess.run(
        [*papermill, "-k", "python3", "-p", "evry", "5"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "CourseError: 02_extract_frames: evry: unknown parameter; use " in done.stderr
    assert done.stderr.rstrip().endswith("(nearest: every)")


def test_environment_replaces_defaults_only(project, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    monkeypatch.setenv("COURSE_WORKSPACE", str(project / "scratch"))
    lesson = start("02_extract_frames")
    assert (lesson.profile, lesson.workspace) == ("smoke", Path("scratch"))
    assert capsys.readouterr().out.splitlines()[0] == (
        "From the environment: workspace scratch (COURSE_WORKSPACE), profile smoke (COURSE_PROFILE)"
    )
    lesson = start("02_extract_frames", profile="gpu", workspace="runs/mine")
    assert (lesson.profile, lesson.workspace) == ("gpu", Path("runs/mine"))
    assert "environment" not in capsys.readouterr().out
    monkeypatch.setenv("COURSE_PROFILE", "smoky")
    with pytest.raises(CourseError, match="nearest: smoke"):
        start("02_extract_frames")


def test_need_gives_the_finished_folder(project):
    folder = made(project / "runs/course/02_frames")
    assert start("04_write_tfrecords").need("02_frames").resolve() == folder


@pytest.mark.parametrize("half_made", [False, True])
def test_need_names_the_lesson_that_writes_a_missing_folder(project, half_made):
    if half_made:
        (project / "runs/course/02_frames").mkdir(parents=True)
    with pytest.raises(CourseError) as caught:
        start("04_write_tfrecords").need("02_frames")
    assert str(caught.value) == (
        "runs/course/02_frames: missing; open lesson 02_extract_frames and run it, or set "
        "build_missing = True in the parameters cell of this one"
    )


def test_need_builds_with_the_same_choices(project, monkeypatch):
    from helpers.course import runner

    asked = {}

    def build(root, name, **choices):
        asked.update(choices, root=root, lesson=name)
        made(root / choices["workspace"] / "02_frames")

    monkeypatch.setattr(runner, "build", build)
    lesson = start("04_write_tfrecords", build_missing=True, profile="smoke", seed=3)
    assert lesson.need("02_frames") == Path("runs/course/02_frames")
    assert asked == {
        "root": project,
        "lesson": "02_extract_frames",
        "workspace": "runs/course",
        "dataset": "roadside",
        "profile": "smoke",
        "seed": 3,
    }


def test_need_refuses_a_folder_of_another_dataset(project):
    made(project / "runs/course/02_frames")
    start("02_extract_frames").record("frames", 9)
    assert start("04_write_tfrecords").need("02_frames")
    with pytest.raises(CourseError, match="made from dataset roadside, not raccoon; choose"):
        start("04_write_tfrecords", dataset="raccoon").need("02_frames")


def test_recorded_values_are_kept_for_others(project, capsys):
    lesson = start("02_extract_frames", profile="smoke", seed=2)
    capsys.readouterr()
    lesson.record("frames", np.int64(12))
    lesson.record("AP", np.float32(0.5))
    lesson.record("loss", float("nan"))
    lesson.record("scores", {"ssd": {"AP": [0.5, np.float64(0.4), 0.6]}})
    assert capsys.readouterr().out == ""
    page = json.loads((project / "runs/course/lessons/02_extract_frames.json").read_text())
    assert page == {
        "lesson": "02_extract_frames",
        "dataset": "roadside",
        "profile": "smoke",
        "seed": 2,
        "values": {
            "frames": 12,
            "AP": 0.5,
            "loss": None,
            "scores": {"ssd": {"AP": [0.5, 0.4, 0.6]}},
        },
    }
    other = start("04_write_tfrecords")
    assert other.value("02", "frames") == other.value("02_extract_frames", "frames") == 12
    assert [path.name for path in (project / "runs/course/lessons").iterdir()] == [
        "02_extract_frames.json"
    ]


def test_first_record_of_a_run_drops_the_run_before(project):
    start("02_extract_frames").record("old", 1)
    start("02_extract_frames").record("new", 2)
    with pytest.raises(
        CourseError, match=r"old: not recorded \(recorded: new\); run lesson 02_extract_frames"
    ):
        start("04_write_tfrecords").value("02", "old")


def test_record_refuses_what_json_cannot_hold(project):
    with pytest.raises(CourseError, match="02_extract_frames: model: a object; record numbers"):
        start("02_extract_frames").record("model", object())


def test_logs_of_the_libraries_are_quiet(project, caplog):
    start("02_extract_frames")
    logger = logging.getLogger("tensorflow")
    with caplog.at_level(logging.INFO):
        logger.setLevel(logging.INFO)  # as TensorFlow does under IPython
        logger.warning("noise")
        logger.error("a real fault")
    assert [record.message for record in caplog.records] == ["a real fault"]
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"


def test_import_is_light():
    code = (
        "import sys, helpers.course.lesson;"
        "heavy = {'tensorflow', 'matplotlib', 'pandas', 'papermill', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_profiles_are_whole():
    assert list(PROFILES) == ["smoke", "cpu", "gpu"]
    assert DEFAULTS["profile"] in PROFILES
    sizes = [PROFILES[name].ssd_steps for name in PROFILES]
    assert sizes == sorted(sizes)
