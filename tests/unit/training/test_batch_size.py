"""The probe ends with a row that says why, whatever happens to its child."""

import re
import threading
import time

import psutil
import pytest

from helpers import models, plots
from helpers.common.errors import CourseError
from helpers.training import batch_size

pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def rows(tiny_config):
    """A probe of three sizes; those of a config that is tiny, so that speed grows."""
    # As a preset has it: the lesson tries batches before it sets the schedule.
    cosine = "trainer.optimizer_config.learning_rate.cosine"
    unset = {f"{cosine}.initial_learning_rate": None, f"{cosine}.decay_steps": None}
    return batch_size.probe_batch_sizes(
        models.edit(tiny_config(), unset), first=2, most=8, seconds=240
    )


def test_memory_grows_and_speed_is_measured(rows):
    assert [row["batch"] for row in rows] == [2, 4, 8][: len(rows)]
    assert all(row["outcome"] == batch_size.FITS for row in rows[:-1])
    taken = [row["memory_mb"] for row in rows]
    assert taken == sorted(taken)
    for row in rows:
        assert row["images_per_second"] * row["seconds_per_step"] == pytest.approx(row["batch"])
        assert row["libraries_mb"] < row["memory_mb"]


def test_arithmetic_of_what_fills_the_memory(rows, tiny_config):
    first, second = rows[:2]
    for part in ("activations_mb", "batch_mb"):
        # By the image, but for what a network this small has besides.
        assert second[part] == pytest.approx(2 * first[part], rel=0.1)
    for part in ("weights_mb", "gradients_mb", "optimizer_mb", "libraries_mb"):
        assert second[part] == first[part]  # whatever the batch
    assert first["gradients_mb"] < first["weights_mb"]  # batch norm's means get no gradient
    assert first["optimizer_mb"] == pytest.approx(2 * first["gradients_mb"])  # Adam: two moments
    # 64 x 128 pixels of three 32-bit numbers, and the labels of all anchors.
    assert first["batch_mb"] > 2 * 64 * 128 * 3 * 4 / 1e6


def test_too_little_memory_is_a_row(tiny_config):
    rows = batch_size.probe_batch_sizes(tiny_config(), seconds=120, memory_mb=150)
    assert rows == [{"batch": 1, "outcome": batch_size.FULL}]
    assert not [
        c for c in psutil.Process().children() if "helpers.training.batch_size" in c.cmdline()
    ]


def test_no_time_is_a_row(tiny_config):
    assert batch_size.probe_batch_sizes(tiny_config(), first=4, seconds=0.2) == [
        {"batch": 4, "outcome": batch_size.LATE}
    ]


def test_a_child_killed_from_outside_is_a_row(tiny_config):
    def kill():
        for _ in range(400):
            for child in psutil.Process().children():
                if "helpers.training.batch_size" in child.cmdline():
                    return child.kill()
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    rows = batch_size.probe_batch_sizes(tiny_config(), seconds=120)
    killer.join()
    assert rows == [{"batch": 1, "outcome": batch_size.FULL}]


def test_records_that_cannot_be_read_are_an_error(tiny_config, tiny_records, tmp_path):
    (tmp_path / "manifest.json").write_text((tiny_records / "manifest.json").read_text())
    changes = {"task.train_data.input_path": str(tmp_path / "train-*.tfrecord")}
    with pytest.raises(CourseError, match="probe_batch_sizes: the child ended with"):
        batch_size.probe_batch_sizes(models.edit(tiny_config(), changes), seconds=120)


def test_sizes_that_make_no_sense(tiny_config):
    with pytest.raises(CourseError, match="first: 8, most: 4"):
        batch_size.probe_batch_sizes(tiny_config(), first=8, most=4)


def test_figure_needs_a_size_that_fits(capsys):
    plots.batch_probe([{"batch": 1, "outcome": batch_size.FULL}], caption="Speed and memory.")
    assert "nothing to show" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([(2, batch_size.LATE)], r"for a batch of 2 \(nothing was measured\): .* = 9\.$"),
        ([(2, batch_size.FITS), (4, batch_size.LATE)], r"batch of 4 \(2 images fit\)"),
        ([(2, batch_size.FITS), (4, batch_size.FULL)], r"4 needs more memory .* 2 images fit"),
        ([(1, batch_size.FULL)], r"nothing was measured, take a preset with a smaller input"),
        ([(2, batch_size.FITS), (4, batch_size.NO_FASTER)], r"4 is hardly faster"),
        ([(256, batch_size.FITS)], r"256 fits, the largest"),
    ],
)
def test_the_end_of_a_probe_is_explained(rows, line):
    rows = [{"batch": size, "outcome": outcome} for size, outcome in rows]
    assert re.search(line, batch_size.probe_advice(rows, 3))
