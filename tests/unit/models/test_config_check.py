import re
import shutil
from pathlib import Path

import pytest

from helpers import models
from helpers.common.artifacts import write_manifest
from helpers.common.errors import CourseError

pytest.importorskip("tensorflow")

RATE = "trainer.optimizer_config.learning_rate"
WARMUP = "trainer.optimizer_config.warmup"
PARSER = "task.train_data.parser"
ANCHOR = "task.model.anchor"


def rate(kind, **values):
    """Changes that choose another schedule of the learning rate."""
    return {f"{RATE}.type": kind} | {f"{RATE}.{kind}.{name}": v for name, v in values.items()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The prefix of a checkpoint of one weight."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("weights")
    saved = tf.train.Checkpoint(x=tf.Variable(1.0))
    return Path(tf.train.CheckpointManager(saved, str(folder), max_to_keep=1).save())


def refused(config, changes, fault):
    """The changed config is refused in one line that names what was changed."""
    models.check_config(config)
    with pytest.raises(CourseError, match=fault) as error:
        models.check_config(models.edit(config, changes))
    said = str(error.value)
    assert said.startswith("config: ")
    assert said.count("; ") >= 1
    assert "\n" not in said
    assert any(key.rpartition(".")[0] in said for key in changes)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"task.model.input_size": [300, 640, 3], "task.model.max_level": 6},
            r"300x640 is not a multiple of 2\^max_level = 64; use 320x640",
        ),
        (
            {"task.model.input_size": [320, 320, 3], "task.model.max_level": 7},
            r"320x320 is not a multiple of 2\^max_level = 128; use 256x256, or a lower",
        ),
        ({"task.model.input_size": [20, 128, 3]}, r"use 64x128"),
        ({"task.model.input_size": [384, 640]}, r"\[384, 640\]; give \[height, width, 3\]"),
        ({"task.model.input_size": [384, 640, 1]}, r"\[384, 640, 1\]; give \[height, width, 3\]"),
        ({"task.model.input_size": [0, 640, 3]}, r"\[0, 640, 3\]; give \[height, width, 3\]"),
        ({"task.model.num_classes": 1}, r"num_classes: 1; give your classes \+ 1"),
        ({"task.model.num_classes": 3}, r"num_classes: 3; .*go up to 1, and some have .*give 2"),
        ({"task.model.min_level": 1}, r"min_level: 1; a resnet gives none below 2"),
        ({"task.model.min_level": 7}, r"min_level: 7; task.model.max_level is 6"),
        ({"task.model.max_level": 2_000_000}, r"max_level: 2000000; an input of .* no such level"),
        ({"task.model.min_level": 6}, r"min_level: 6; a resnet gives none above 5"),
        ({"task.model.decoder.type": "identity"}, r"max_level: 6; .* none above 5; .*decoder"),
        ({"task.model.backbone.type": "spinenet"}, r"3 to 6; it has its own, 3 to 7; set task"),
        ({f"{ANCHOR}.aspect_ratios": []}, r"aspect_ratios: \[\]; give widths over heights"),
        ({f"{ANCHOR}.aspect_ratios": [1.0, 0.0]}, r"aspect_ratios: \[1.0, 0.0\]; give"),
        ({f"{ANCHOR}.num_scales": 0}, r"num_scales: 0; give 1 or more"),
        ({f"{ANCHOR}.anchor_size": 0.0}, r"anchor_size: 0.0; give a size above 0"),
        ({f"{PARSER}.aug_scale_min": 0.0}, r"aug_scale_min: 0.0; give a scale above 0"),
        ({f"{PARSER}.aug_scale_min": 1.5}, r"aug_scale_min: 1.5; aug_scale_max is 1.25; give at"),
        ({f"{PARSER}.max_num_instances": 0}, r"train_data.parser.max_num_instances: 0"),
        ({"task.validation_data.parser.max_num_instances": 0}, r"validation_data.*instances: 0"),
        ({f"{PARSER}.unmatched_threshold": 0.5}, r"unmatched_threshold: 0.5; match_threshold is"),
        ({f"{PARSER}.aug_type.type": None}, r"aug_type.type: None; give .*null for none"),
        ({f"{PARSER}.aug_type.type": "autoaug"}, r"augmentation_name: v0; it moves pixels"),
        ({"task.train_data.dtype": "float23"}, r"'float23'; give float32, bfloat16 or float16"),
        ({"task.train_data.global_batch_size": 0}, r"train_data.global_batch_size: 0; give 1"),
        ({"task.validation_data.global_batch_size": 0}, r"validation_data.global_batch_size: 0"),
        ({"task.train_data.global_batch_size": 17}, r"17, for 16 images; .* images twice; give at"),
        ({"task.train_data.is_training": False}, r"is_training: false; the records would be read"),
        ({"task.annotation_file": "no/val.json"}, r"no/val.json; missing, and evaluation reads it"),
        ({"trainer.train_steps": 0}, r"trainer.train_steps: 0; give 1 or more"),
    ],
)
def test_check_finds_what_would_fail_later(ready, changes, fault):
    refused(ready, changes, fault)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({f"{RATE}.type": None}, r"learning_rate.type: none; give cosine"),
        ({f"{RATE}.cosine.initial_learning_rate": None}, r"initial_learning_rate: None; give a"),
        ({f"{RATE}.cosine.initial_learning_rate": 0.0}, r"initial_learning_rate: 0.0; give a"),
        ({f"{RATE}.cosine.decay_steps": None}, r"decay_steps: None; give the train_steps, 40"),
        ({f"{RATE}.cosine.decay_steps": 41}, r"falls until step 41, .* ends after 40; give 40"),
        (
            {f"{RATE}.cosine.offset": 5},
            r"40 after .*offset 5; .* until step 45, .* give 40 without",
        ),
        ({f"{RATE}.cosine.decay_steps": 30}, r"from step 30 on, and 10 of 40 steps learn nothing"),
        (rate("constant", learning_rate=0.0), r"constant.learning_rate: 0.0; give a rate above 0"),
        (rate("polynomial", initial_learning_rate=0.1), r"polynomial.decay_steps: None; give the"),
        (
            rate("polynomial", initial_learning_rate=0.1, decay_steps=80),
            r"polynomial.decay_steps: 80; the rate falls until step 80",
        ),
        (
            rate("polynomial", initial_learning_rate=0.1, decay_steps=30, end_learning_rate=0.0),
            r"polynomial.decay_steps: 30; the rate is 0 from step 30 on",
        ),
        (
            rate("polynomial", initial_learning_rate=5e-5, decay_steps=40),
            r"end_learning_rate: 0.0001; the rate would rise from its initial 5e-05",
        ),
        (
            rate("exponential", initial_learning_rate=0.1, decay_steps=50, decay_rate=0.5),
            r"exponential.decay_steps: 50; .*ends after 40; give 10",
        ),
        (
            rate(
                "exponential",
                initial_learning_rate=0.1,
                decay_steps=40,
                decay_rate=0.5,
                staircase=True,
            ),
            r"exponential.decay_steps: 40; .*ends after 40; give 10",
        ),
        (
            rate("exponential", initial_learning_rate=0.1, decay_steps=10),
            r"decay_rate: None; give a factor from 0 to 1",
        ),
        (
            rate("exponential", initial_learning_rate=0.1, decay_steps=10, decay_rate=1.5),
            r"decay_rate: 1.5; give a factor from 0 to 1",
        ),
        (
            rate("stepwise", boundaries=None),
            r"stepwise.boundaries: \[\]; give rising steps .*\[20, 30\]",
        ),
        (
            rate("stepwise", boundaries=[20, 10], values=[0.1, 0.05, 0.04]),
            r"boundaries: \[20, 10\]; give rising steps",
        ),
        (
            rate("stepwise", boundaries=[10, 20], values=[0.1, 0.05]),
            r"values: \[0.1, 0.05\]; give 3 rates above 0, since there are 2 boundaries",
        ),
        (
            rate("stepwise", boundaries=[10, 40], values=[0.1, 0.05, 0.04]),
            r"boundaries: \[10, 40\]; training ends after 40 steps, so the last rate never",
        ),
        (
            rate("step_cosine_with_offset", boundaries=[10, 41], values=[0.1, 0.0]),
            r"boundaries: \[10, 41\]; give rising steps, the first 0, such as \[0, 20, 41\]",
        ),
        (
            rate("step_cosine_with_offset", boundaries=[0, 20], values=[0.1, 0.05]),
            r"boundaries: \[0, 20\]; the last must be the train_steps \+ 1, 41",
        ),
        (
            rate("step_cosine_with_offset", boundaries=[0, 41], values=[0.0, 0.0]),
            r"values: \[0.0, 0.0\]; give 2 rates above 0, since there are 2 boundaries",
        ),
        (
            rate("power_linear", initial_learning_rate=0.1, total_decay_steps=50),
            r"power_linear.total_decay_steps: 50; the rate falls until step 50",
        ),
        ({f"{WARMUP}.linear.warmup_steps": None}, r"linear.warmup_steps: None; give a tenth, 4"),
        ({f"{WARMUP}.linear.warmup_steps": 40}, r"warmup_steps: 40; training ends after 40 steps"),
        (
            {f"{WARMUP}.linear.warmup_learning_rate": 0.05},
            r"warmup_learning_rate: 0.05; .* the rate itself is 0.04; give a tenth of it, 0.004",
        ),
        (
            {f"{WARMUP}.type": "polynomial", f"{WARMUP}.polynomial.warmup_steps": 400},
            r"polynomial.warmup_steps: 400; training ends",
        ),
    ],
)
def test_a_rate_that_does_not_fit_the_run_is_refused(ready, changes, fault):
    refused(ready, changes, fault)


@pytest.mark.parametrize(
    "changes",
    [
        rate("constant", learning_rate=0.04),
        rate("polynomial", initial_learning_rate=0.04, decay_steps=40),
        rate("polynomial", initial_learning_rate=0.04, decay_steps=20),  # goes on at 0.0001
        rate("exponential", initial_learning_rate=0.04, decay_steps=10, decay_rate=0.5),
        rate("stepwise", boundaries=[10, 39], values=[0.04, 0.02, 0.01]),
        rate("step_cosine_with_offset", boundaries=[0, 10, 41], values=[0.04, 0.02, 0.0]),
        rate("power_linear", initial_learning_rate=0.04, total_decay_steps=40),
        rate("power", initial_learning_rate=0.04),
        {f"{WARMUP}.type": None},
        {f"{RATE}.cosine.decay_steps": 20, f"{RATE}.cosine.alpha": 0.1},
    ],
)
def test_a_rate_that_fits_the_run_is_accepted_and_is_always_a_number(ready, changes):
    from official.modeling.optimization import OptimizerFactory

    config = models.edit(ready, changes)
    models.check_config(config)
    built = OptimizerFactory(config.trainer.optimizer_config).build_learning_rate()
    rates = [float(built(step)) for step in range(1, 40)] if callable(built) else [float(built)]
    assert all(0 < found <= 0.0401 for found in rates)


@pytest.mark.parametrize(
    ("modules", "fault"),
    [
        (["backbon"], r"'backbon' silently loads nothing; did you mean 'backbone'"),
        (
            ["backbone", "head"],
            r"'head' silently loads nothing; give backbone, decoder or both, or",
        ),
        (["all"], r"'all' silently loads nothing"),
        ("All", r"'All' silently loads nothing"),
        ([], r"init_checkpoint_modules: \[\]; it loads nothing"),
    ],
)
def test_a_module_that_loads_nothing_is_named(ready, checkpoint, modules, fault):
    key = "task.init_checkpoint_modules"
    refused(ready, {key: modules, "task.init_checkpoint": str(checkpoint)}, fault)


@pytest.mark.parametrize(
    "modules", ["all", "backbone", ["backbone", "decoder"], "backbone,decoder"]
)
def test_modules_that_load_are_accepted(ready, checkpoint, modules):
    for place in (checkpoint, checkpoint.parent, "gs://somewhere/ckpt-1"):
        changes = {"task.init_checkpoint_modules": modules, "task.init_checkpoint": str(place)}
        models.check_config(models.edit(ready, changes))


def test_a_checkpoint_that_is_not_there_is_told_how_to_name_it(ready, checkpoint, tmp_path):
    name = re.escape(str(checkpoint))
    (tmp_path / "loose").mkdir()
    for path in checkpoint.parent.glob("ckpt-1.*"):  # without the file that names the latest
        shutil.copy(path, tmp_path / "loose")
    for path, fault in (
        (f"{checkpoint}.index", rf"without the ending of its files: {name}$"),
        (f"{checkpoint}.data-00000-of-00001", rf"without the ending of its files: {name}$"),
        (f"{checkpoint}0", rf"did you mean {name}\?"),
        (tmp_path / "none" / "ckpt-1", r"there is no checkpoint; correct the path, or give null"),
        (tmp_path, r"names no latest checkpoint; train, or download, one first"),
        (tmp_path / "loose", r"names no latest checkpoint; name one of it, such as .*loose/ckpt-1"),
    ):
        refused(ready, {"task.init_checkpoint": str(path)}, fault)


def test_a_validation_that_leaves_images_out_is_refused(ready):
    key = "task.validation_data.drop_remainder"
    batch = "task.validation_data.global_batch_size"
    refused(ready, {key: True, batch: 3}, r"batches of 3 leave out the last 2 of 8 images; give f")
    refused(ready, {key: True, batch: 9}, r"batches of 9 leave out all of 8 images; give false")
    models.check_config(models.edit(ready, {key: True, batch: 8}))


def test_float16_needs_a_gpu(ready, monkeypatch):
    import tensorflow as tf

    gpus = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    refused(ready, {"runtime.mixed_precision_dtype": "float16"}, "no GPU; give float32")
    gpus.append("one")
    models.check_config(models.edit(ready, {"runtime.mixed_precision_dtype": "float16"}))


def test_a_faster_rcnn_is_refused_what_moves_pixels_without_boxes(presets, tiny_records):
    config = models.for_records(presets["faster_rcnn_cpu"], tiny_records)
    config = models.with_budget(config, train_steps=40, batch_size=8, learning_rate=0.001)
    kind, ops = f"{PARSER}.aug_type.type", f"{PARSER}.aug_type.randaug.exclude_ops"
    refused(config, {kind: "ssd_random_crop"}, r"ssd_random_crop; a Faster R-CNN cannot")
    refused(config, {kind: "autoaug"}, r"autoaug; a Faster R-CNN cannot")
    moving = ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"]
    refused(config, {kind: "randaug", ops: moving[1:]}, r"moves pixels, .*; add Rotate$")
    models.check_config(models.edit(config, {kind: "randaug", ops: moving}))
    refused(
        config,
        {f"{PARSER}.rpn_unmatched_threshold": 0.8},
        r"rpn_unmatched_threshold: 0.8; rpn_match_threshold is 0.7",
    )


def test_records_of_another_kind_are_left_alone(ready, tmp_path):
    write_manifest(tmp_path, "test", {}, {}, {"all": {"images": 3}})
    path = str(tmp_path / "*.tfrecord")
    changes = {"task.train_data.input_path": path, "task.validation_data.input_path": path}
    models.check_config(models.edit(ready, changes | {"task.validation_data.drop_remainder": True}))


@pytest.mark.parametrize("kind", ["resnet", "mobilenet", "mobiledet", "efficientnet"])
def test_the_levels_that_are_accepted_are_those_that_the_backbone_gives(ready, kind):
    import tf_keras
    from official.vision.modeling.backbones import factory

    def accepted(low):
        changes = {"task.model.backbone.type": kind, "task.model.min_level": low}
        try:
            models.check_config(models.edit(ready, changes))
        except CourseError:
            return False
        return True

    model = models.edit(ready, {"task.model.backbone.type": kind}).task.model
    image = tf_keras.layers.InputSpec(shape=[None, 64, 64, 3])
    given = factory.build_backbone(image, model.backbone, model.norm_activation).output_specs
    levels = {int(level) for level in given}
    assert {level for level in range(7) if accepted(level)} == levels
