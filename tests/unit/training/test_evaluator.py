"""Scoring next to a training: what it reads, what it leaves out, and when it ends."""

import numpy as np
import pytest

from helpers import evaluation, models
from helpers.common.errors import CourseError
from helpers.training.checkpoints import CHECKPOINTS
from helpers.training.evaluator import continuous_eval

tf = pytest.importorskip("tensorflow")


def test_a_checkpoint_that_is_gone_is_left_out_and_tiles_are_scored_whole(
    tiny_config, tiny_dataset, tmp_path, capsys, monkeypatch
):
    config = tiny_config(steps=3)
    models.save_config(config, tmp_path / "training.yaml")
    _, tiled = models.build_model(models.edit(config, {"task.model.input_size": [64, 64, 3]}))
    checkpoint = tf.train.Checkpoint(model=tiled)
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path / CHECKPOINTS), 3)
    for step in (1, 2, 3):
        manager.save(step)
    for path in (tmp_path / CHECKPOINTS).glob("ckpt-2.*"):
        path.unlink()
    weights = []

    def predict(detector, images, truth):
        assert detector.input_size == (64, 128)
        weights.append(detector.model.get_weights())
        return [], 1.0

    monkeypatch.setattr(evaluation, "predict", predict)
    rows = continuous_eval(tmp_path, tiny_dataset / "images")
    assert [row["step"] for row in rows] == [1, 3]
    assert "step 2 is gone already" in capsys.readouterr().out
    for ours, theirs in zip(weights[-1], tiled.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_evaluator_does_not_wait_for_ever(tiny_dataset, tmp_path, capsys):
    assert continuous_eval(tmp_path, tiny_dataset / "images", timeout=0.2, poll=0.1) == []
    assert "no new checkpoint for 0.2 seconds" in capsys.readouterr().out


def test_a_checkpoint_of_another_model_is_said(tiny_config, tiny_dataset, tmp_path):
    models.save_config(tiny_config(), tmp_path / "training.yaml")
    other = tf.train.Checkpoint(model=tf.Module())
    tf.train.CheckpointManager(other, str(tmp_path / CHECKPOINTS), 2).save(2)
    with pytest.raises(CourseError, match="checkpoint of step 2 is unreadable, or not of"):
        continuous_eval(tmp_path, tiny_dataset / "images")
