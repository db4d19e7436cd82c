import csv
import shutil

import numpy as np
import pytest

from helpers import config as configs
from helpers import detector as detectors
from helpers import training
from helpers.annotations import write_label_map
from helpers.artifacts import read_manifest
from helpers.errors import CourseError

tf = pytest.importorskip("tensorflow")


def test_a_stopped_training_returns_and_keeps_what_there_is(trained):
    assert [row["step"] for row in trained.first] == list(range(2, trained.STOP + 1, 2))
    assert [row["step"] for row in trained.after_stop["history"]] == [
        row["step"] for row in trained.first
    ]
    # No weights and no manifest: nothing takes it for a finished detector.
    files = ["checkpoints", "events", "history.csv", "training.yaml"]
    assert trained.after_stop["files"] == files


def test_a_stopped_training_goes_on_to_the_end(trained):
    assert [row["step"] for row in trained.history] == list(range(2, trained.STEPS + 1, 2))
    for before, after in zip(trained.first, trained.history, strict=False):
        assert after == pytest.approx(before, nan_ok=True)
    seconds = [row["seconds"] for row in trained.history]
    assert seconds == sorted(seconds)
    # The rate goes on along its cosine, down to zero.
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
    with (trained.folder / training.HISTORY).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(trained.history) == 30
    assert {"step", "total_loss", "learning_rate", "images_per_second", "AP50"} <= set(rows[0])
    read = training.read_history(trained.folder)
    assert read[-1] == pytest.approx(trained.history[-1], nan_ok=True)
    checkpoint = tf.train.latest_checkpoint(str(trained.folder / training.CHECKPOINTS))
    assert checkpoint.endswith(f"-{trained.STEPS}")
    manifest = read_manifest(trained.folder)
    assert manifest["counts"] == {"steps": trained.STEPS, "images": 4 * trained.STEPS}
    for name in (detectors.WEIGHTS, detectors.CONFIG, detectors.LABEL_MAP):
        assert (trained.folder / name).stat().st_size > 0
    assert configs.difference(configs.load(trained.folder / "config.yaml"), trained.config) == []


def test_tensorboard_finds_the_curves(trained):
    curve = {}
    for path in sorted((trained.folder / training.EVENTS).iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag == "total_loss":
                    curve[event.step] = float(tf.make_ndarray(value.tensor))
    assert curve == pytest.approx({row["step"]: row["total_loss"] for row in trained.history})


def test_a_finished_training_is_not_done_again(trained, capsys):
    manifest, seen = read_manifest(trained.folder), []
    _, history = training.train(
        trained.config, trained.folder, label_map=trained.label_map, on_report=seen.append
    )
    assert seen == [history]
    assert [row["step"] for row in history] == [row["step"] for row in trained.history]
    assert read_manifest(trained.folder)["fingerprint"] == manifest["fingerprint"]
    assert f"trained already, {trained.STEPS} steps" in capsys.readouterr().out


def test_a_training_stopped_in_its_last_evaluation_makes_up_for_it(trained, tmp_path):
    folder = tmp_path / "06_ssd"
    shutil.copytree(trained.folder, folder)
    # What such a stop leaves: all steps, no score for the last, no detector.
    for name in (detectors.WEIGHTS, "manifest.json"):
        (folder / name).unlink()
    rows = (folder / training.HISTORY).read_text().splitlines()
    (folder / training.HISTORY).write_text(
        "\n".join([*rows[:-1], ",".join([*rows[-1].split(",")[:-2], "", ""])])
    )
    assert "AP50" not in training.read_history(folder)[-1]
    _, history = training.train(
        trained.config, folder, label_map=trained.label_map, evaluate=lambda _: {"AP50": 0.25}
    )
    assert history[-1]["AP50"] == training.read_history(folder)[-1]["AP50"] == 0.25
    assert (folder / detectors.WEIGHTS).is_file()


def test_what_happened_after_the_checkpoint_is_forgotten(trained, tmp_path):
    folder = tmp_path / "06_ssd"
    shutil.copytree(trained.folder, folder)
    rows = (folder / training.HISTORY).read_text().splitlines()
    rows.append(rows[-1].replace(f"{trained.STEPS},", f"{trained.STEPS + 2},", 1))
    (folder / training.HISTORY).write_text("\n".join(rows))
    assert training.read_history(folder)[-1]["step"] == trained.STEPS + 2
    _, history = training.train(trained.config, folder, label_map=trained.label_map)
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
        training.train(
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
    assert [row["step"] for row in training.read_history(folder)] == [2, 4, 6, 8, 10, 12]
    checkpoint = tf.train.latest_checkpoint(str(folder / training.CHECKPOINTS))
    assert checkpoint.endswith("-12")
    assert not (folder / detectors.WEIGHTS).exists()


def test_the_same_seed_gives_the_same_losses(trained, killed):
    _, again = killed
    names = [name for name in again[0] if name.endswith("loss")]
    assert "total_loss" in names
    for row, other in zip(trained.first, again, strict=False):
        for name in names:
            assert other[name] == pytest.approx(row[name], rel=1e-5), (row["step"], name)


def test_another_config_sets_the_folder_aside_and_a_lost_loss_is_said(killed, tiny_config, capsys):
    folder, _ = killed
    optimizer = "trainer.optimizer_config.optimizer"
    config = tiny_config(steps=30, rate=1e9)
    kind = config.trainer.optimizer_config.optimizer.type
    config = configs.edit(config, {f"{optimizer}.{kind}.global_clipnorm": None})
    label_map = folder.parent / "label_map.pbtxt"
    write_label_map(["camera"], label_map)
    with pytest.raises(CourseError, match=r"06_ssd: step \d+: the loss is (nan|inf); lower the"):
        training.train(config, folder, label_map=label_map, report_every=1)
    assert "was trained with another config" in capsys.readouterr().out
    previous = folder.with_name("06_ssd.previous")
    assert training.read_history(previous)[-1]["step"] == 12
    assert not (folder / detectors.WEIGHTS).exists()
    assert configs.difference(configs.load(folder / "training.yaml"), config) == []


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
        training.train(tiny_config(), tmp_path / "a", label_map=tmp_path / "label_map.pbtxt")
    assert not (tmp_path / "a").exists()


def test_there_is_no_history_before_the_first_report(tmp_path):
    assert training.read_history(tmp_path) == []
