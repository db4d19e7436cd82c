import csv
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import models
from helpers.annotations.label_map import write_label_map
from helpers.common.artifacts import read_manifest
from helpers.common.errors import CourseError
from helpers.common.images import read_image
from helpers.inference.detector import load_detector
from helpers.models.networks import CONFIG, LABEL_MAP, WEIGHTS
from helpers.training import batches, loop
from helpers.training.checkpoints import BEST, CHECKPOINTS
from helpers.training.history import HISTORY, best_row, read_history, write_rows
from helpers.training.loop import train
from helpers.training.reports import EVENTS
from helpers.training.snapshots import MIN_SCORE, read_snapshots

tf = pytest.importorskip("tensorflow")


def weights_of(detector) -> list[np.ndarray]:
    return [weight.numpy() for weight in detector.model.weights]


def test_a_stopped_training_returns_and_keeps_what_there_is(trained):
    assert [row["step"] for row in trained.first] == list(range(2, trained.STOP + 1, 2))
    assert [row["step"] for row in trained.after_stop["history"]] == [
        row["step"] for row in trained.first
    ]
    files = set(trained.after_stop["files"])
    assert {WEIGHTS, CONFIG, LABEL_MAP, "manifest.json", "checkpoints", "history.csv"} <= files


def test_a_stop_leaves_the_best_detector_so_far_and_says_where(
    tiny_config, tiny_records, tmp_path, capsys
):
    folder, seen = tmp_path / "06_ssd", []
    options = {"label_map": tiny_records / "label_map.pbtxt", "evaluate_every": 2}

    def score(detector):
        seen.append(weights_of(detector))
        return {"AP": 1 / len(seen)}

    def stop(history):
        if history[-1]["step"] == 5:
            raise KeyboardInterrupt

    config = tiny_config(steps=6)
    detector, history = train(
        config, folder, evaluate=score, on_report=stop, report_every=1, **options
    )
    said = capsys.readouterr().out
    assert "06_ssd: stopped at step 5 of 6; run again to go on." in said
    assert "step 2 was the best" in said
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5]
    counts = {"steps": 6, "stopped_at": 5, "images": 20, "best_step": 2}
    assert read_manifest(folder)["counts"] == counts
    for stored in (detector, load_detector(folder)):
        for one, other in zip(weights_of(stored), seen[0], strict=True):
            np.testing.assert_array_equal(one, other)
    # It goes on from step 5, not from the weights that it delivered.
    _, history = train(config, folder, evaluate=score, report_every=1, **options)
    assert "resumes after step 5 of 6" in capsys.readouterr().out
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert "stopped_at" not in read_manifest(folder)["counts"]


def test_a_stop_between_two_reports_adds_its_row(tiny_config, tiny_records, tmp_path, monkeypatch):
    steps = []

    def until_the_third(*arguments):
        for batch in batches.batches_after(*arguments):
            steps.append(batch)
            if len(steps) > 3:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(loop, "batches_after", until_the_third)
    label_map, folder = tiny_records / "label_map.pbtxt", tmp_path / "06_ssd"
    _, history = train(tiny_config(steps=6), folder, label_map=label_map)
    assert [row["step"] for row in history] == [3]
    assert history[0]["total_loss"] > 0
    assert read_history(folder)[0]["step"] == 3
    assert read_manifest(folder)["counts"]["stopped_at"] == 3


def test_a_stop_before_the_first_step_leaves_a_whole_folder(tiny_config, tiny_records, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    options = {"label_map": tiny_records / "label_map.pbtxt"}
    folder, picture = tmp_path / "06_ssd", np.zeros((60, 90, 3), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Snapshots, "take", stop)
        detector, history = train(tiny_config(steps=2), folder, watch=[picture], **options)
    assert history == read_history(folder) == []
    assert read_manifest(folder)["counts"] == {"steps": 2, "stopped_at": 0, "images": 0}
    for one, other in zip(weights_of(detector), weights_of(load_detector(folder)), strict=True):
        np.testing.assert_array_equal(one, other)
    _, history = train(tiny_config(steps=2), folder, **options)
    assert [row["step"] for row in history] == [2]


@pytest.mark.parametrize("which", [CHECKPOINTS, BEST])
def test_a_damaged_checkpoint_is_one_line(which, trained, tmp_path):
    folder = tmp_path / "06_ssd"
    shutil.copytree(trained.folder, folder)
    rows = read_history(folder)
    rows[-1]["score"] = -1.0  # so that the best is not the last
    write_rows(folder / HISTORY, rows)
    (folder / BEST).mkdir(exist_ok=True)
    for path in (folder / CHECKPOINTS).glob(f"ckpt-{trained.STEPS}.*"):
        best = path.name.replace(f"-{trained.STEPS}.", f"-{best_row(rows)['step']}.")
        shutil.copy(path, folder / BEST / best)
    for path in (folder / which).glob("*.data-*"):
        path.write_bytes(path.read_bytes()[:999])
    with pytest.raises(
        CourseError, match=rf"06_ssd/{which}: the checkpoint is damaged \(.*\); del"
    ):
        train(trained.config, folder, label_map=trained.label_map)
    shutil.rmtree(folder / which)
    if which == BEST:  # the other one starts over, which takes its time
        train(trained.config, folder, label_map=trained.label_map)


def test_a_stopped_training_resumes_to_the_end(trained):
    assert [row["step"] for row in trained.history] == list(range(2, trained.STEPS + 1, 2))
    for before, after in zip(trained.first, trained.history, strict=False):
        assert after == pytest.approx(before, nan_ok=True)
    seconds = [row["seconds"] for row in trained.history]
    assert seconds == sorted(seconds)
    # The rate stays on its cosine, down to zero.
    rates = [row["learning_rate"] for row in trained.history]
    top = rates.index(max(rates))
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-6)


def test_the_loss_falls(trained):
    losses = [row["total_loss"] for row in trained.history]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert all(row["images_per_second"] > 0 for row in trained.history)


def test_scores_are_kept_with_their_step(trained):
    scored = {row["step"] for row in trained.history if "AP50" in row}
    assert scored == {40, trained.STEPS}
    assert 0 <= trained.history[-1]["AP50"] <= 1
    # There are no large objects, so COCO has no number for them.
    assert np.isnan(trained.history[-1]["AP_large"])


def test_the_folder_holds_all_that_the_lessons_read(trained):
    with (trained.folder / HISTORY).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(trained.history) == 30
    assert {"step", "total_loss", "learning_rate", "images_per_second", "AP50"} <= set(rows[0])
    read = read_history(trained.folder)
    assert read[-1] == pytest.approx(trained.history[-1], nan_ok=True)
    checkpoint = tf.train.latest_checkpoint(str(trained.folder / CHECKPOINTS))
    assert checkpoint.endswith(f"-{trained.STEPS}")
    manifest = read_manifest(trained.folder)
    steps, best = trained.STEPS, best_row(trained.history)["step"]
    assert manifest["counts"] == {"steps": steps, "images": 4 * steps, "best_step": best}
    for name in (WEIGHTS, CONFIG, LABEL_MAP):
        assert (trained.folder / name).stat().st_size > 0
    assert (
        models.difference(models.load_config(trained.folder / "config.yaml"), trained.config) == []
    )


def test_tensorboard_finds_the_curves(trained):
    from tensorboard.backend.event_processing import event_multiplexer

    # What TensorBoard itself reads the folder with: one run, of the two calls' files.
    multiplexer = event_multiplexer.EventMultiplexer(size_guidance={"tensors": 0})  # all
    multiplexer.AddRunsFromDirectory(str(trained.folder / EVENTS)).Reload()
    (run,) = multiplexer.Runs()
    for name in ("total_loss", "AP50", "learning_rate", "images_per_second"):
        curve = {
            e.step: float(tf.make_ndarray(e.tensor_proto)) for e in multiplexer.Tensors(run, name)
        }
        assert curve == pytest.approx({r["step"]: r[name] for r in trained.history if name in r})


def test_a_finished_training_is_not_done_again(trained, capsys):
    manifest, seen = read_manifest(trained.folder), []
    _, history = train(
        trained.config, trained.folder, label_map=trained.label_map, on_report=seen.append
    )
    assert seen == [history]
    assert [row["step"] for row in history] == [row["step"] for row in trained.history]
    assert read_manifest(trained.folder)["fingerprint"] == manifest["fingerprint"]
    assert f"trained already, {trained.STEPS} steps" in capsys.readouterr().out


def test_a_training_stopped_in_its_last_evaluation_makes_up_for_it(trained, tiny_dataset, tmp_path):
    folder = tmp_path / "06_ssd"
    shutil.copytree(trained.folder, folder)
    # What such a stop leaves: all steps, no score for the last, no detector.
    for name in (WEIGHTS, "manifest.json"):
        (folder / name).unlink()
    rows = read_history(folder)
    for name in ("AP50", "AP_large", "score"):
        del rows[-1][name]
    write_rows(folder / HISTORY, rows)
    assert "AP50" not in read_history(folder)[-1]
    picture = read_image(next(iter(sorted((tiny_dataset / "images").iterdir()))))
    detector, history = train(
        trained.config,
        folder,
        label_map=trained.label_map,
        evaluate=lambda _: {"AP50": 1.25},
        watch=[picture, picture[:40]],
    )
    assert history[-1]["AP50"] == read_history(folder)[-1]["AP50"] == 1.25
    assert (folder / WEIGHTS).is_file()
    (snapshot,) = read_snapshots(folder)
    assert snapshot["step"] == trained.STEPS
    found = detector(picture, threshold=MIN_SCORE)[:10]
    boxes = np.array(snapshot["found"][0])
    assert len(found) == len(boxes) > 0
    np.testing.assert_allclose(boxes[:, :4], found.xyxy, atol=1e-3)
    np.testing.assert_allclose(boxes[:, 4], found.confidence, atol=1e-3)


def test_what_happened_after_the_checkpoint_is_forgotten(trained, tmp_path):
    folder = tmp_path / "06_ssd"
    shutil.copytree(trained.folder, folder)
    rows = (folder / HISTORY).read_text().splitlines()
    rows.append(rows[-1].replace(f"{trained.STEPS},", f"{trained.STEPS + 2},", 1))
    (folder / HISTORY).write_text("\n".join(rows))
    assert read_history(folder)[-1]["step"] == trained.STEPS + 2
    _, history = train(trained.config, folder, label_map=trained.label_map)
    assert history[-1]["step"] == trained.STEPS


@pytest.fixture(scope="module")
def killed(trained, tmp_path_factory):
    """The training of `trained` once more, killed after 14 steps; checkpoints every 4."""
    folder, seen = tmp_path_factory.mktemp("killed") / "06_ssd", []

    def kill(history):
        seen[:] = [dict(row) for row in history]
        if history[-1]["step"] == 14:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(
            trained.config,
            folder,
            label_map=trained.label_map,
            on_report=kill,
            report_every=2,
            checkpoint_every=4,
        )
    return folder, seen


def test_a_killed_training_has_the_last_checkpoint_and_its_history(killed):
    folder, _ = killed
    assert [row["step"] for row in read_history(folder)] == [2, 4, 6, 8, 10, 12]
    checkpoint = tf.train.latest_checkpoint(str(folder / CHECKPOINTS))
    assert checkpoint.endswith("-12")
    assert not (folder / WEIGHTS).exists()


def test_the_same_seed_gives_the_same_losses(trained, killed):
    _, again = killed
    names = [name for name in again[0] if name.endswith("loss")]
    assert "total_loss" in names
    for row, other in zip(trained.first, again, strict=False):
        for name in names:
            assert other[name] == pytest.approx(row[name], rel=1e-5), (row["step"], name)


def test_another_config_sets_the_folder_aside_and_a_loss_of_nan_is_said(
    killed, tiny_config, capsys
):
    folder, _ = killed
    optimizer = "trainer.optimizer_config.optimizer"
    config = tiny_config(steps=30, rate=1e9)
    kind = config.trainer.optimizer_config.optimizer.type
    config = models.edit(config, {f"{optimizer}.{kind}.global_clipnorm": None})
    label_map = folder.parent / "label_map.pbtxt"
    write_label_map(["camera"], label_map)
    with pytest.raises(CourseError, match=r"06_ssd: step \d+: the loss is (nan|inf); lower the"):
        train(config, folder, label_map=label_map, report_every=1)
    assert "was trained with another config" in capsys.readouterr().out
    previous = folder.with_name("06_ssd.previous")
    assert read_history(previous)[-1]["step"] == 12
    assert not (folder / WEIGHTS).exists()
    assert models.difference(models.load_config(folder / "training.yaml"), config) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no item in it"),
        ("item { id: 1 name: 'a' } item { id: 2 name: 'b' }", "ids up to 2, but .* is 2; run"),
    ],
)
def test_a_label_map_that_does_not_fit_is_refused(tiny_config, tmp_path, text, fault):
    (tmp_path / "label_map.pbtxt").write_text(text)
    with pytest.raises(CourseError, match=rf"label_map.pbtxt: {fault}"):
        train(tiny_config(), tmp_path / "a", label_map=tmp_path / "label_map.pbtxt")
    assert not (tmp_path / "a").exists()


KILLED = """
import os, signal, sys
from pathlib import Path

from helpers import models
from helpers.training import batches, loop

batches.ROUND = 6

def report(history):
    if history[-1]["step"] == 10:
        os.kill(os.getpid(), signal.SIGKILL)

loop.train(
    models.load_config(sys.argv[1]),
    Path(sys.argv[2]),
    label_map=Path(sys.argv[3]),
    on_report=report,
    report_every=2,
    checkpoint_every=3,
)
"""


@pytest.mark.parametrize("family", ["ssd", "faster_rcnn"])
def test_after_a_kill_it_ends_with_the_weights_of_an_uninterrupted_training(
    family, tiny_config, tiny_records, tmp_path, monkeypatch
):
    config, label_map = tiny_config(family, steps=18), tiny_records / "label_map.pbtxt"
    models.save_config(config, tmp_path / "config.yaml")
    folder = tmp_path / "killed"
    arguments = [tmp_path / "config.yaml", folder, label_map]
    log = tmp_path / "killed.log"
    with log.open("w") as file:
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, *map(str, arguments)],
            cwd=Path(__file__).parents[3],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    # A round has 8 steps: the killed one resumes within the second, and both begin a third.
    monkeypatch.setattr(batches, "ROUND", 6)
    whole, _ = train(config, tmp_path / "whole", label_map=label_map)
    assert child.wait() == -signal.SIGKILL, log.read_text()[-2000:]
    assert read_history(folder)[-1]["step"] == 8
    checkpoint = tf.train.latest_checkpoint(str(folder / CHECKPOINTS))
    assert checkpoint.endswith("-9")
    resumed, _ = train(config, folder, label_map=label_map)
    for one, other in zip(whole.model.weights, resumed.model.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=1e-6, err_msg=one.name)


def test_the_best_checkpoint_is_returned_also_after_a_kill(tiny_config, tiny_records, tmp_path):
    folder, seen = tmp_path / "06_ssd", []
    options = {"label_map": tiny_records / "label_map.pbtxt", "report_every": 1}
    picture = np.zeros((60, 90, 3), np.uint8)
    options |= {"evaluate_every": 2, "watch": [picture]}

    def score(detector, scores):
        seen.append(weights_of(detector))
        # AP decides, not what comes first.
        return {"AP50": 0.9 - 0.1 * len(seen), "AP": scores[len(seen) - 1]}

    def kill(history):
        if history[-1]["step"] == 5:
            raise RuntimeError("killed")

    config = tiny_config(steps=6)
    with pytest.raises(RuntimeError, match="killed"):
        train(config, folder, evaluate=lambda d: score(d, (0.1, 0.5)), on_report=kill, **options)
    del seen[:1]
    # Step 6 is the last and the worst.
    detector, history = train(config, folder, evaluate=lambda d: score(d, (None, 0.3)), **options)
    assert [row["step"] for row in history if "AP" in row] == [2, 4, 6]
    assert best_row(history)["step"] == 4
    assert read_manifest(folder)["counts"]["best_step"] == 4
    for stored in (detector, load_detector(folder)):
        for one, other in zip(weights_of(stored), seen[0], strict=True):
            np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(*seen, strict=True))
    assert [snapshot["step"] for snapshot in read_snapshots(folder)] == [0, 2, 4, 6]
    assert [path.name for path in sorted((folder / BEST).glob("*.index"))] == ["ckpt-4.index"]


def test_patience_ends_a_training_that_no_longer_gets_better(
    tiny_config, tiny_records, tmp_path, capsys
):
    config, folder = tiny_config(steps=8), tmp_path / "06_ssd"
    # Two at 0, where nothing is found yet, do not end it; an equal one is no better.
    scores = iter((0.0, 0.0, 0.0, 0.5, 0.5, 0.4, 0.6, 0.1))
    options = {
        "label_map": tiny_records / "label_map.pbtxt",
        "evaluate": lambda _: {"found": next(scores)},
        "evaluate_every": 1,
    }
    _, history = train(config, folder, patience=2, **options)
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]
    # Of equals the later one, which has been trained longer.
    assert best_row(history)["step"] == 5
    assert read_manifest(folder)["counts"]["steps"] == 6
    assert "no better score in 2 evaluations" in capsys.readouterr().out
    _, again = train(config, folder, patience=2, **options)
    assert [row["step"] for row in again] == [1, 2, 3, 4, 5, 6]
    assert "trained already, 6 steps" in capsys.readouterr().out
    # With more patience it resumes from there.
    _, longer = train(config, folder, **options)
    assert [row["found"] for row in longer] == [0.0, 0.0, 0.0, 0.5, 0.5, 0.4, 0.6, 0.1]
    assert read_manifest(folder)["counts"]["best_step"] == 7


@pytest.mark.parametrize("kind", ["TensorFlow", "Python"])
def test_exhausted_memory_is_explained(kind, tiny_config, tiny_records, tmp_path, monkeypatch):
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nmore lines")

    def fail(config):
        raise error if kind == "TensorFlow" else MemoryError()

    monkeypatch.setattr(loop, "TrainState", fail)
    with pytest.raises(CourseError) as caught:
        train(tiny_config(), tmp_path / "06_ssd", label_map=tiny_records / "label_map.pbtxt")
    message = str(caught.value)
    assert (
        "memory is exhausted with batches of 4 images of 128x64; halve task.train_data" in message
    )
    assert "\n" not in message


def test_weights_of_nan_are_not_saved_and_a_lower_rate_resumes(
    tiny_config, tiny_records, tmp_path, capsys
):
    folder = tmp_path / "06_ssd"
    options = {"label_map": tiny_records / "label_map.pbtxt", "checkpoint_every": 2}
    options |= {"report_every": 1, "evaluate_every": 4}

    def spoil(detector):
        detector.model.trainable_weights[0].assign(
            np.full_like(detector.model.trainable_weights[0], np.nan)
        )
        return {"AP": 0.0}

    with pytest.raises(CourseError, match=r"step 4: the weights .*resumes from step 2; if"):
        train(tiny_config(steps=6, rate=0.05), folder, evaluate=spoil, **options)
    lower = tiny_config(steps=6, rate=0.005)
    detector, history = train(lower, folder, **options)
    assert "until the loss became NaN; resumes with another rate" in capsys.readouterr().out
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[1]["learning_rate"] > 5 * history[2]["learning_rate"]
    assert np.isfinite(history[-1]["total_loss"])
    assert all(np.isfinite(value).all() for value in weights_of(detector))
    assert models.difference(models.load_config(folder / "config.yaml"), lower) == []
    assert not folder.with_name("06_ssd.previous").exists()
