import json
import math
import shutil

import pytest

from helpers import models
from helpers.annotations.label_map import write_label_map
from helpers.common.artifacts import write_manifest
from helpers.common.errors import CourseError

pytest.importorskip("tensorflow")


def test_a_budget_gives_any_schedule_the_cosine(ready):
    rate = "trainer.optimizer_config.learning_rate"
    warmup = "trainer.optimizer_config.warmup.type"
    config = models.edit(ready, {f"{rate}.type": "constant", warmup: None})
    again = models.with_budget(config, train_steps=40, batch_size=8, learning_rate=0.04)
    assert models.difference(again, ready) == []


def test_for_records_fills_in_what_the_records_say(presets, tiny_records):
    for config in presets.values():
        config = models.for_records(config, tiny_records, seed=11)
        train, validation = config.task.train_data, config.task.validation_data
        assert config.task.model.num_classes == 2
        assert train.input_path == str(tiny_records / "train-*.tfrecord")
        assert validation.input_path == str(tiny_records / "val-*.tfrecord")
        assert config.task.annotation_file == str(tiny_records / "val.json")
        # Model Garden's RetinaNet would leave out the last images of an evaluation.
        assert validation.drop_remainder is False
        assert train.shuffle_buffer_size == 16
        assert train.seed == 11


def test_the_highest_id_of_the_label_map_counts(ssd, tmp_path):
    write_label_map({"car": 1, "camera": 4}, tmp_path / "label_map.pbtxt")
    write_manifest(tmp_path, "test", {}, {}, {"train": {"images": 3}, "val": {"images": 1}})
    for split in ("train", "val"):
        (tmp_path / f"{split}.json").write_text('{"annotations": []}')
    assert models.for_records(ssd, tmp_path).task.model.num_classes == 5


def test_for_records_asks_for_whole_records(ssd, tmp_path):
    with pytest.raises(CourseError, match=r"manifest.json: missing"):
        models.for_records(ssd, tmp_path)


def test_images_of_many_objects_are_read_whole(tiny_records, tmp_path):
    folder = tmp_path / "04_records"
    shutil.copytree(tiny_records, folder)
    truth = json.loads((folder / "train.json").read_text())
    truth["annotations"] = [truth["annotations"][0]] * 150
    (folder / "train.json").write_text(json.dumps(truth))
    for records, most in ((tiny_records, 100), (folder, 150)):
        config = models.for_records(models.from_preset("faster_rcnn_cpu"), records)
        assert config.task.train_data.parser.max_num_instances == most
        assert config.task.validation_data.parser.max_num_instances == most


def test_the_schedule_fits_the_steps(ready):
    schedule = ready.trainer.optimizer_config.learning_rate.cosine
    warmup = ready.trainer.optimizer_config.warmup.linear
    assert ready.trainer.train_steps == schedule.decay_steps == 40
    assert (warmup.warmup_steps, warmup.warmup_learning_rate) == (4, 0.004)
    assert schedule.initial_learning_rate == 0.04
    assert ready.task.train_data.global_batch_size == 8
    assert ready.task.validation_data.global_batch_size == 8


def test_a_budget_of_none_keeps_what_is_there(ready):
    assert models.difference(ready, models.with_budget(ready)) == []
    longer = models.with_budget(ready, train_steps=500)
    assert {key for key, _, _ in models.difference(ready, longer)} == {
        "trainer.train_steps",
        "trainer.optimizer_config.learning_rate.cosine.decay_steps",
        "trainer.optimizer_config.warmup.linear.warmup_steps",
    }


@pytest.mark.parametrize(
    ("budget", "fault"),
    [
        ({"batch_size": 0}, r"global_batch_size: 0; give 1 or more"),
        ({"train_steps": 0}, r"train_steps: 0; give 1 or more"),
        ({"train_steps": -5}, r"train_steps: -5; give 1 or more"),
        ({"learning_rate": 0}, r"learning_rate: 0; give a rate above 0"),
        ({"learning_rate": math.nan}, r"initial_learning_rate: nan; give a number that is one"),
        ({"learning_rate": math.inf}, r"initial_learning_rate: inf; give a number that is one"),
        ({"learning_rate": "0.1"}, r"'0.1' is of type str; give float, such as 0.1"),
        ({"train_steps": "40"}, r"train_steps: '40' is of type str; give int"),
        ({"batch_size": 2.5}, r"global_batch_size: 2.5 is of type float; give int"),
    ],
)
def test_a_budget_of_nothing_is_refused(ready, budget, fault):
    with pytest.raises(CourseError, match=fault):
        models.with_budget(ready, **budget)


def test_a_preset_has_no_rate_until_one_is_given(ssd):
    with pytest.raises(CourseError, match=r"learning_rate: None; give a rate above 0"):
        models.with_budget(ssd, train_steps=10)


def test_a_run_of_one_step_may_be_asked_for(ready):
    assert models.with_budget(ready, train_steps=1).trainer.train_steps == 1
