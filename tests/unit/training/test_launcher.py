"""Several workers as processes of this machine: the same losses, one set of files, no orphans."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from helpers import evaluation, models
from helpers.common.artifacts import read_manifest
from helpers.common.errors import CourseError
from helpers.inference.detector import load_detector
from helpers.training import launcher
from helpers.training.evaluator import EVALUATION, continuous_eval, finished_checkpoints
from helpers.training.history import read_history, read_rows
from helpers.training.loop import train
from helpers.training.worker import BAD_INPUT, LOST, STOPPED

tf = pytest.importorskip("tensorflow")

STEPS, EVERY = 24, 6
# Both see the same images in each batch: no shuffling, no augmentation, one file, of which the
# workers take every other image.
STILL = {
    "task.train_data.shuffle_buffer_size": 1,
    "task.train_data.parser.aug_rand_hflip": False,
    "task.train_data.parser.aug_scale_min": 1.0,
    "task.train_data.parser.aug_scale_max": 1.0,
}
SEVERAL = {"runtime.distribution_strategy": "multi_worker_mirrored"}


@pytest.fixture(scope="module")
def still(tiny_config):
    """Return make(**edits): the tiny config without chance."""
    return lambda **edits: models.edit(tiny_config(steps=STEPS, rate=0.02), STILL | edits)


@pytest.fixture(scope="module")
def halves(still) -> list[float]:
    """Losses of the first steps when one process plays both workers: gradients are averaged."""
    config = still()
    task, model = _seeded_model(config)
    optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
    parts = []
    for i in range(2):
        context = tf.distribute.InputContext(2, i, 2)
        parts.append(iter(task.build_inputs(config.task.train_data.replace(seed=0), context)))

    @tf.function
    def gradients(features, labels):
        with tf.GradientTape() as tape:
            outputs = model(features, training=True)
            loss, *_ = task.build_losses(outputs, labels, model.losses)
        return loss, tape.gradient(loss, model.trainable_variables)

    losses = []
    for _ in range(EVERY):
        (one, left), (two, right) = (gradients(*next(part)) for part in parts)
        mean = [(a + b) / 2 for a, b in zip(left, right, strict=True)]
        optimizer.apply_gradients(zip(mean, model.trainable_variables, strict=True))
        losses.append(float(one + two) / 2)
    return losses


def _seeded_model(config):
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    return models.build_model(config)


@pytest.fixture(scope="module")
def killed(still, tiny_records, tmp_path_factory):
    """A launch with two workers, of which one is killed after its first checkpoint."""
    folder = tmp_path_factory.mktemp("scale") / "two"
    config, label_map = folder.with_name("config.yaml"), tiny_records / "label_map.pbtxt"
    models.save_config(still(**SEVERAL), config)
    processes, popen = [], subprocess.Popen

    def start(*args, **options):
        processes.append(popen(*args, **options))
        return processes[-1]

    def launch(**options):
        options |= {"report_every": 1, "checkpoint_every": EVERY}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess, "Popen", start)
            return launcher.launch(config, folder, label_map=label_map, **options)

    def kill():
        log = folder.with_name("two.logs") / "worker-1.log"
        while not (log.is_file() and f"step {EVERY + 1} of" in log.read_text()):
            if over.wait(0.02):
                return
        processes[1].kill()

    over, killer = threading.Event(), threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(CourseError) as caught:
            launch()
    finally:
        over.set()
        killer.join()
    return {
        "folder": folder,
        "label_map": label_map,
        "launch": launch,
        "processes": processes,
        "error": str(caught.value),
        "files": sorted(path.name for path in folder.iterdir()),
        "history": read_history(folder),
        "checkpoints": sorted(finished_checkpoints(folder)),
    }


@pytest.fixture(scope="module")
def finished(killed, tiny_dataset):
    """The folder of `killed` after the same call again, with an evaluator, and the history."""
    return killed["folder"], killed["launch"](images=tiny_dataset / "images")


def test_a_killed_worker_ends_the_others_and_is_named(killed):
    assert "\n" not in killed["error"]
    assert killed["error"].startswith("worker 1 of 2 was killed by SIGKILL; run again")
    assert f"step {EVERY + 1} of {STEPS}: loss" in killed["error"]
    assert all(process.poll() is not None for process in killed["processes"])
    # What there is until then is the chief's, and no finished detector.
    assert killed["files"] == ["checkpoints", "events", "history.csv", "training.yaml"]
    last = killed["checkpoints"][-1]
    assert EVERY <= last < STEPS
    assert [row["step"] for row in killed["history"]] == list(range(1, last + 1))


def test_two_workers_lose_as_one_process_that_plays_both(killed, halves):
    losses = [row["total_loss"] for row in killed["history"]][:EVERY]
    # With float32 convolutions 1e-5 and 1e-3; with bfloat16 ones the graphs round in other places,
    # and what that makes of the weights grows from step to step.
    assert losses[0] == pytest.approx(halves[0], rel=5e-4)
    assert losses[:3] == pytest.approx(halves[:3], rel=2e-3)


def test_two_workers_lose_as_one_but_for_the_normalisation(killed, still, tmp_path):
    """Model Garden divides by the positives of each replica's images, not of the whole batch."""
    rows = []

    def enough(history):
        rows[:] = [dict(row) for row in history]
        if len(rows) == EVERY:
            raise KeyboardInterrupt

    train(
        still(**{"runtime.distribution_strategy": "one_device"}),
        tmp_path / "one",
        label_map=killed["label_map"],
        on_report=enough,
        report_every=1,
    )
    assert killed["history"][0]["total_loss"] == pytest.approx(rows[0]["total_loss"], rel=0.08)
    for one, two in zip(rows, killed["history"], strict=False):
        assert two["total_loss"] == pytest.approx(one["total_loss"], rel=0.25)
        assert two["learning_rate"] == pytest.approx(one["learning_rate"])


def test_the_same_call_goes_on_to_the_end(finished, killed):
    _, history = finished
    assert [row["step"] for row in history] == list(range(1, STEPS + 1))
    assert history[: len(killed["history"])] == killed["history"]
    assert all(np.isfinite(row["total_loss"]) for row in history)
    assert all(process.poll() is not None for process in killed["processes"])


def test_the_chief_alone_leaves_files_and_they_are_those_of_one_worker(finished):
    folder, _ = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "evaluation.csv",
        "events",
        "history.csv",
        "label_map.pbtxt",
        "manifest.json",
        "training.yaml",
        "weights.npz",
    ]
    assert read_manifest(folder)["counts"] == {"steps": STEPS, "images": 4 * STEPS}
    # One event file for each of the two launches.
    assert len(list((folder / "events").iterdir())) == 2


def test_the_evaluator_scores_up_to_the_last_step_with_the_saved_weights(
    finished, tiny_dataset, tmp_path, monkeypatch
):
    rows = read_rows(finished[0] / EVALUATION)
    assert rows[-1]["step"] == STEPS
    assert {"AP", "AP50", "AP_small", "seconds"} <= set(rows[0])
    folder = tmp_path / "two"
    shutil.copytree(finished[0], folder, ignore=shutil.ignore_patterns(EVALUATION))
    seen = []

    def predict(detector, images, truth):
        seen.append(detector.model.get_weights())
        return [], 1.0

    monkeypatch.setattr(evaluation, "predict", predict)
    again = continuous_eval(folder, tiny_dataset / "images")
    assert again[-1]["step"] == STEPS
    for ours, saved in zip(seen[-1], load_detector(folder).model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, saved)
    # A second look finds nothing to do.
    assert continuous_eval(folder, tiny_dataset / "images") == read_rows(folder / EVALUATION)
    assert len(seen) == len(again)


def test_another_number_of_workers_may_go_on(finished, killed, still, tmp_path, capsys):
    folder = tmp_path / "two"
    shutil.copytree(finished[0], folder)
    train(still(), folder, label_map=killed["label_map"])
    assert f"trained already, {STEPS} steps" in capsys.readouterr().out


def test_children_end_when_their_parent_is_killed(tmp_path):
    script = f"""
import sys, time
from pathlib import Path
from helpers.training.launcher import _children
with _children() as start:
    command = ["evaluate", {str(tmp_path / "none")!r}, "--images", {str(tmp_path)!r}]
    print(start("a child", Path({str(tmp_path / "log")!r}), command, {{}}).process.pid, flush=True)
    time.sleep(300)
"""
    root = str(Path(__file__).parents[3])
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    child = int(parent.stdout.readline())
    assert _lives(child)
    parent.kill()
    parent.wait()
    end = time.monotonic() + 60
    while _lives(child) and time.monotonic() < end:
        time.sleep(0.1)
    assert not _lives(child)


def _lives(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return state.stdout.strip()[:1] not in ("", "Z")


@pytest.fixture
def played(tmp_path, monkeypatch):
    """Return play(*scripts): a launch whose workers run these lines of Python instead."""
    popen = subprocess.Popen

    def play(*scripts):
        for name in ("config", "label_map"):
            (tmp_path / name).touch()
        waiting = list(scripts)

        def start(command, **options):
            return popen([sys.executable, "-c", f"import sys, time\n{waiting.pop(0)}"], **options)

        monkeypatch.setattr(subprocess, "Popen", start)
        paths = {"label_map": tmp_path / "label_map", "workers": len(scripts)}
        return launcher.launch(tmp_path / "config", tmp_path / "two", **paths)

    return play


def test_bad_input_of_a_worker_is_the_error_of_the_launch(played):
    line = "config: task.train_data.global_batch_size: 3; give a multiple of 2"
    bad = f"print('CourseError: {line}'); sys.exit({BAD_INPUT})"
    with pytest.raises(CourseError, match=f"^{line}$"):
        played("time.sleep(300)", bad)


def test_of_two_dead_workers_the_first_to_die_is_named(played):
    lost = f"print('lost another worker'); sys.exit({LOST})"
    with pytest.raises(CourseError, match=r"worker 1 of 2 ended with code 9; .* with: one . two$"):
        played(lost, "print('one\\ntwo'); sys.exit(9)")


def test_a_worker_told_to_stop_ends_the_launch_quietly(played, capsys):
    assert played(f"sys.exit({STOPPED})", f"sys.exit({STOPPED})") == []
    assert "Stopped after step 0; run again to resume." in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["config", "label_map", "images"])
def test_a_launch_needs_its_files(tmp_path, missing):
    paths = {name: tmp_path / name for name in ("config", "label_map", "images")}
    for name, path in paths.items():
        if name != missing:
            path.touch()
    config = paths.pop("config")
    with pytest.raises(CourseError, match=f"{missing}: missing"):
        launcher.launch(config, tmp_path / "two", **paths)
