"""Fixtures for all tests: ../shared when it is there, and a little footage made once."""

import os

# Before anything imports TensorFlow or matplotlib: no log lines, no windows.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Two processes share two cores: with two threads each they would wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")

from pathlib import Path

import pytest

from helpers.common.artifacts import artifact
from helpers.footage.roadside import scene

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data next to the checkout, or $COURSE_SHARED; skips without it."""
    folder = Path(os.environ.get("COURSE_SHARED") or ROOT.parent / "shared")
    if not (folder / "datasets").is_dir():
        pytest.skip(f"real data is not at {folder}; COURSE_SHARED=<folder> names another place")
    return folder.resolve()


@pytest.fixture(scope="session")
def footage(tmp_path_factory) -> Path:
    """An 01_images folder: three roadside clips of one second, 640x360, with their boxes.

    Every test gets the same folder: read it, never write into it.
    """

    @artifact("render")
    def render(folder, *, count, seed):
        rows = ["file,licence,origin"]
        for spec in scene.clip_specs(count, seed, seconds=1.0, width=640, height=360):
            clip = scene.render_clip(spec, folder / "clips")
            rows.append(f"clips/{clip.name},CC0-1.0,rendered by this course")
        (folder / "sources.csv").write_text("\n".join(rows) + "\n")

    return render(tmp_path_factory.mktemp("footage") / "01_images", count=3, seed=1)
