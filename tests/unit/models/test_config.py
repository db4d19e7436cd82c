import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from helpers.annotations.label_map import write_label_map
from helpers.common.artifacts import write_manifest
from helpers.common.errors import CourseError
from helpers.models import config as configs
from helpers.models.config_keys import meaning, meanings
from helpers.models.presets import PRESETS

pytest.importorskip("tensorflow")

NAMES = list(PRESETS)
OPTIMIZER = "trainer.optimizer_config.optimizer"


@pytest.fixture(scope="module")
def presets():
    """One config per preset. Nothing here may change them: `edit` returns copies."""
    return {name: configs.from_preset(name) for name in NAMES}


@pytest.fixture(scope="module")
def ssd(presets):
    return presets[NAMES[0]]


@pytest.fixture(scope="module")
def ready(ssd, tiny_records):
    config = configs.for_records(ssd, tiny_records, seed=3)
    return configs.with_budget(config, train_steps=40, batch_size=8, learning_rate=0.04)


def write_like(config, path, pattern, replacement):
    """Save `config` as YAML with one line changed."""
    configs.save_config(config, path)
    text, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_becomes_a_config_that_passes_the_check(presets, tiny_records, name):
    preset = PRESETS[name]
    config = configs.for_records(presets[name], tiny_records)
    config = configs.with_budget(
        config, train_steps=20, batch_size=8, learning_rate=preset.learning_rate
    )
    configs.check_config(config)
    assert configs.is_two_stage(config) == (preset.family == "faster_rcnn")
    for key, value in preset.settings.items():
        if not key.startswith("task.annotation_file"):
            assert configs.flatten(config.as_dict())[key] == value, key


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_comes_back_from_its_file_as_it_was(presets, tiny_records, tmp_path, name):
    config = configs.for_records(presets[name], tiny_records, seed=5)
    config = configs.with_budget(config, train_steps=20, batch_size=4, learning_rate=1e-5)
    configs.save_config(config, tmp_path / "a.yaml")
    again = configs.load_config(tmp_path / "a.yaml")
    assert again.as_dict() == config.as_dict()
    assert configs.difference(config, again) == []
    configs.save_config(again, tmp_path / "b.yaml")
    assert (tmp_path / "b.yaml").read_text() == (tmp_path / "a.yaml").read_text()


def test_a_file_may_be_sorted_by_name(presets, tmp_path):
    # "mobilenet" before "type": the type must be known first all the same.
    config = presets["ssd_mobilenet_v2_fpn"]
    configs.save_config(config, tmp_path / "a.yaml")
    tree = yaml.safe_load((tmp_path / "a.yaml").read_text())
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(tree, sort_keys=True))
    assert configs.difference(configs.load_config(tmp_path / "a.yaml"), config) == []


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(CourseError, match=f"'{NAMES[0]}x' is unknown; did you mean '{NAMES[0]}'"):
        configs.from_preset(f"{NAMES[0]}x")


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("task.model.num_clases", "task.model.num_classes"),
        ("trainer.train_step", "trainer.train_steps"),
        ("task.train_data.batch_size", "task.train_data.global_batch_size"),
        ("model.num_classes", "task.model.num_classes"),
        ("task.model.num_classes.x", "task.model.num_classes"),
        ("input_size", "task.model.input_size"),
    ],
)
def test_a_mistyped_key_is_told_the_nearest(ssd, key, nearest):
    with pytest.raises(CourseError, match=rf"'{re.escape(key)}' does not exist; .*'{nearest}'"):
        configs.edit(ssd, {key: 2})


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("task.model.num_classes", "2", "'2' is of type str; give int"),
        ("task.model.num_classes", 2.0, "2.0 is of type float; give int"),
        ("task.model.num_classes", True, "True is of type bool; give int"),
        ("task.train_data.parser.aug_rand_hflip", 1, "1 is of type int; give bool"),
        ("task.model.input_size", 640, "640 is of type int; give list"),
        ("trainer.optimizer_config.learning_rate.type", 3, "3 is of type int; give str"),
        (f"{OPTIMIZER}.type", "sdg", "'sdg' does not fit here"),
        ("task.model", 3, "is a group; set one of its keys: task.model.anchor.anchor_size"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(ssd, key, value, fault):
    with pytest.raises(CourseError, match=re.escape(fault)) as error:
        configs.edit(ssd, {key: value})
    assert key in str(error.value)
    assert "\n" not in str(error.value)


def test_a_whole_number_does_for_a_fraction_and_none_for_anything(ssd):
    config = configs.edit(
        ssd,
        {"task.losses.l2_weight_decay": 1, "task.init_checkpoint_modules": ["backbone"]},
    )
    assert config.task.losses.l2_weight_decay == 1
    assert configs.edit(ssd, {"task.losses.l2_weight_decay": None})


def test_a_group_may_be_given_as_a_mapping_and_is_as_strict(ssd):
    config = configs.edit(ssd, {"task.model": {"num_classes": 4, "anchor": {"num_scales": 2}}})
    assert (config.task.model.num_classes, config.task.model.anchor.num_scales) == (4, 2)
    with pytest.raises(CourseError, match=r"'task.model.num_clases' does not exist"):
        configs.edit(ssd, {"task.model": {"num_clases": 4}})


def test_choosing_a_type_brings_its_keys(ssd):
    with pytest.raises(CourseError, match=r"rmsprop.rho' does not exist"):
        configs.edit(ssd, {f"{OPTIMIZER}.rmsprop.rho": 0.8})
    old = ssd.trainer.optimizer_config.optimizer.type
    config = configs.edit(ssd, {f"{OPTIMIZER}.type": "rmsprop", f"{OPTIMIZER}.rmsprop.rho": 0.8})
    assert config.trainer.optimizer_config.optimizer.get().rho == 0.8
    with pytest.raises(CourseError, match=f"{old}.global_clipnorm' does not exist"):
        configs.edit(config, {f"{OPTIMIZER}.{old}.global_clipnorm": 0.8})


def test_a_group_that_is_off_is_switched_on_by_a_key_in_it(ssd, tmp_path):
    parser = "task.train_data.parser"
    config = configs.edit(ssd, {f"{parser}.aug_type.type": "ssd_random_crop"})
    assert config.task.train_data.parser.aug_type.get().aspect_ratio_range == (0.5, 2.0)
    assert ssd.task.train_data.parser.aug_type is None
    config = configs.edit(config, {"trainer.optimizer_config.ema.average_decay": 0.9})
    configs.save_config(config, tmp_path / "a.yaml")
    assert configs.load_config(tmp_path / "a.yaml").as_dict() == config.as_dict()
    with pytest.raises(CourseError, match=r"aug_type.typ' does not exist; .*aug_type.type'"):
        configs.edit(ssd, {f"{parser}.aug_type.typ": "ssd_random_crop"})
    with pytest.raises(CourseError, match=r"init_checkpoint.x' does not exist"):
        configs.edit(ssd, {"task.init_checkpoint.x": 1})


def test_a_fraction_fits_where_model_garden_itself_wrote_a_whole_number(presets):
    config = configs.edit(presets["ssd_mobilenet_v2_fpn"], {"task.model.anchor.anchor_size": 2.5})
    assert config.task.model.anchor.anchor_size == 2.5


def test_a_budget_gives_any_schedule_the_cosine(ready):
    rate = "trainer.optimizer_config.learning_rate"
    warmup = "trainer.optimizer_config.warmup.type"
    config = configs.edit(ready, {f"{rate}.type": "constant", warmup: None})
    again = configs.with_budget(config, train_steps=40, batch_size=8, learning_rate=0.04)
    assert configs.difference(again, ready) == []


def test_edit_leaves_the_given_config_alone(ssd):
    before = ssd.as_dict()
    config = configs.edit(ssd, {"task.model.num_classes": 7, "task.model.input_size": [64, 64, 3]})
    assert ssd.as_dict() == before
    rows = configs.difference(ssd, config)
    assert rows == [
        ("task.model.input_size", before["task"]["model"]["input_size"], [64, 64, 3]),
        ("task.model.num_classes", 91, 7),
    ]


def test_for_records_fills_in_what_the_records_say(presets, tiny_records):
    for config in presets.values():
        config = configs.for_records(config, tiny_records, seed=11)
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
    assert configs.for_records(ssd, tmp_path).task.model.num_classes == 5


def test_for_records_asks_for_whole_records(ssd, tmp_path):
    with pytest.raises(CourseError, match=r"manifest.json: missing"):
        configs.for_records(ssd, tmp_path)


def test_the_schedule_fits_the_steps(ready):
    schedule = ready.trainer.optimizer_config.learning_rate.cosine
    warmup = ready.trainer.optimizer_config.warmup.linear
    assert ready.trainer.train_steps == schedule.decay_steps == 40
    assert (warmup.warmup_steps, warmup.warmup_learning_rate) == (4, 0.004)
    assert schedule.initial_learning_rate == 0.04
    assert ready.task.train_data.global_batch_size == 8
    assert ready.task.validation_data.global_batch_size == 8


def test_a_budget_of_none_keeps_what_is_there(ready):
    assert configs.difference(ready, configs.with_budget(ready)) == []
    longer = configs.with_budget(ready, train_steps=500)
    assert {key for key, _, _ in configs.difference(ready, longer)} == {
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
    ],
)
def test_a_budget_of_nothing_is_refused(ready, budget, fault):
    with pytest.raises(CourseError, match=fault):
        configs.with_budget(ready, **budget)


def test_a_preset_has_no_rate_until_one_is_given(ssd):
    with pytest.raises(CourseError, match=r"learning_rate: None; give a rate above 0"):
        configs.with_budget(ssd, train_steps=10)


RATE = "trainer.optimizer_config.learning_rate"
WARMUP = "trainer.optimizer_config.warmup"
PARSER = "task.train_data.parser"
ANCHOR = "task.model.anchor"


def rate(kind, **values):
    """Changes that choose another schedule of the learning rate."""
    return {f"{RATE}.type": kind} | {f"{RATE}.{kind}.{name}": v for name, v in values.items()}


def refused(config, changes, fault):
    """The changed config is refused in one line that names what was changed."""
    configs.check_config(config)
    with pytest.raises(CourseError, match=fault) as error:
        configs.check_config(configs.edit(config, changes))
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

    config = configs.edit(ready, changes)
    configs.check_config(config)
    built = OptimizerFactory(config.trainer.optimizer_config).build_learning_rate()
    rates = [float(built(step)) for step in range(1, 40)] if callable(built) else [float(built)]
    assert all(0 < found <= 0.0401 for found in rates)


@pytest.mark.parametrize(
    ("modules", "fault"),
    [
        (["backbon"], r"'backbon' loads nothing, without a word; did you mean 'backbone'"),
        (["backbone", "head"], r"'head' loads nothing, .*; give backbone, decoder or both, or"),
        (["all"], r"'all' loads nothing"),
        ("All", r"'All' loads nothing"),
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
        configs.check_config(configs.edit(ready, changes))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The prefix of a checkpoint of one weight."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("weights")
    saved = tf.train.Checkpoint(x=tf.Variable(1.0))
    return Path(tf.train.CheckpointManager(saved, str(folder), max_to_keep=1).save())


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
    configs.check_config(configs.edit(ready, {key: True, batch: 8}))


def test_float16_needs_a_gpu(ready, monkeypatch):
    import tensorflow as tf

    gpus = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    refused(ready, {"runtime.mixed_precision_dtype": "float16"}, "no GPU; give float32")
    gpus.append("one")
    configs.check_config(configs.edit(ready, {"runtime.mixed_precision_dtype": "float16"}))


def test_a_faster_rcnn_is_refused_what_moves_pixels_without_boxes(presets, tiny_records):
    config = configs.for_records(presets["faster_rcnn_cpu"], tiny_records)
    config = configs.with_budget(config, train_steps=40, batch_size=8, learning_rate=0.001)
    kind, ops = f"{PARSER}.aug_type.type", f"{PARSER}.aug_type.randaug.exclude_ops"
    refused(config, {kind: "ssd_random_crop"}, r"ssd_random_crop; a Faster R-CNN cannot")
    refused(config, {kind: "autoaug"}, r"autoaug; a Faster R-CNN cannot")
    moving = ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"]
    refused(config, {kind: "randaug", ops: moving[1:]}, r"moves pixels, .*; add Rotate$")
    configs.check_config(configs.edit(config, {kind: "randaug", ops: moving}))
    refused(
        config,
        {f"{PARSER}.rpn_unmatched_threshold": 0.8},
        r"rpn_unmatched_threshold: 0.8; rpn_match_threshold is 0.7",
    )


def test_records_of_another_kind_are_left_alone(ready, tmp_path):
    write_manifest(tmp_path, "test", {}, {}, {"all": {"images": 3}})
    path = str(tmp_path / "*.tfrecord")
    changes = {"task.train_data.input_path": path, "task.validation_data.input_path": path}
    configs.check_config(
        configs.edit(ready, changes | {"task.validation_data.drop_remainder": True})
    )


@pytest.mark.parametrize("kind", ["resnet", "mobilenet", "mobiledet", "efficientnet"])
def test_the_levels_that_are_accepted_are_those_that_the_backbone_gives(ready, kind):
    import tf_keras
    from official.vision.modeling.backbones import factory

    def accepted(low):
        changes = {"task.model.backbone.type": kind, "task.model.min_level": low}
        try:
            configs.check_config(configs.edit(ready, changes))
        except CourseError:
            return False
        return True

    model = configs.edit(ready, {"task.model.backbone.type": kind}).task.model
    image = tf_keras.layers.InputSpec(shape=[None, 64, 64, 3])
    given = factory.build_backbone(image, model.backbone, model.norm_activation).output_specs
    levels = {int(level) for level in given}
    assert {level for level in range(7) if accepted(level)} == levels


def test_a_run_of_one_step_may_be_asked_for(ready):
    assert configs.with_budget(ready, train_steps=1).trainer.train_steps == 1


def test_a_folder_that_model_garden_would_resume_is_refused(ready, checkpoint, tmp_path):
    from official.modeling import hyperparams

    configs.check_folder(ready, tmp_path / "none")
    configs.check_folder(ready, tmp_path)
    shutil.copytree(checkpoint.parent, tmp_path, dirs_exist_ok=True)
    with pytest.raises(CourseError, match=r"holds a checkpoint, and no params.yaml .* new folder"):
        configs.check_folder(ready, tmp_path)
    # As Model Garden's trainer writes it.
    hyperparams.save_params_dict_to_yaml(ready, str(tmp_path / "params.yaml"))
    configs.check_folder(ready, tmp_path)
    longer = configs.with_budget(ready, learning_rate=0.01)
    with pytest.raises(CourseError, match=r"another config \(.*initial_learning_rate.*new folder"):
        configs.check_folder(longer, tmp_path)


def test_the_table_of_differences_reads(ssd, ready):
    path = "/a/very/long/path/of/somebody/runs/course/04_records/train-*.tfrecord"
    changes = {"task.train_data.input_path": path, "task.init_checkpoint": "here/ckpt-1"}
    changes |= rate("stepwise", boundaries=[*range(1, 9)], values=[1e-7] * 9)
    changes["trainer.optimizer_config.optimizer.adam.epsilon"] = 1e-8
    table = configs.difference_table(ready, configs.edit(ready, changes))
    rows = {key: (row["before"], row["after"]) for key, row in table.iterrows()}
    few, mine = ", ".join(["1e-07"] * 6), rows["task.train_data.input_path"][0]
    assert rows == {
        "task.train_data.input_path": (mine, "…/train-*.tfrecord"),
        "task.init_checkpoint": ("none", "here/ckpt-1"),
        "trainer.optimizer_config.optimizer.adam.epsilon": ("1e-07", "1e-08"),
        # Of the cosine that it was, and of the defaults of the new type, nothing.
        f"{RATE}.type": ("cosine", "stepwise"),
        f"{RATE}.stepwise.boundaries": ("-", "[1, 2, 3, 4, 5, 6, …]"),
        f"{RATE}.stepwise.values": ("-", f"[{few}, …]"),
    }
    assert mine.endswith("train-*.tfrecord")
    assert table.loc[f"{RATE}.type", "what it does"] == "how the learning rate falls"
    assert configs.difference_table(ssd, ssd).empty


def test_modules_are_one_word_or_a_list(presets):
    for given in ("all", ["backbone"], ["backbone", "decoder"]):
        for config in (presets["ssd_cpu"], presets["ssd_resnet50_fpn_640"]):
            edited = configs.edit(config, {"task.init_checkpoint_modules": given})
            assert edited.task.init_checkpoint_modules == given
    with pytest.raises(CourseError, match="7 is of type int"):
        configs.edit(presets["ssd_cpu"], {"task.init_checkpoint_modules": 7})


def test_what_a_preset_changes_is_explained(presets):
    for name, config in presets.items():
        table = configs.difference_table(configs.experiment(PRESETS[name]), config)
        silent = table[table["what it does"] == ""]
        assert list(silent.index) == [], name


def test_each_explained_key_exists(presets):
    every = {"trainer.optimizer_config.warmup.type": "linear", f"{OPTIMIZER}.type": "sgd"}
    every[f"{PARSER}.aug_type.type"] = "randaug"
    known = set()
    for kind in ("cosine", "stepwise"):
        for config in presets.values():
            config = configs.edit(config, every | {f"{RATE}.type": kind})
            known |= configs.flatten(config.as_dict()).keys()
    unknown = [end for end in meanings() if not any(f".{k}".endswith(f".{end}") for k in known)]
    assert unknown == []
    assert meaning("task.model.head.num_convs") != meaning("task.model.detection_head.num_convs")
    assert meaning("task.train_data.parser.no_such_key") == ""


@pytest.mark.parametrize(
    ("pattern", "replacement", "fault"),
    [
        ("train_steps: 40", "train_step: 40", r"train_step' does not exist.*trainer.train_steps"),
        ("train_steps: 40", "train_steps: many", r"train_steps: 'many' is of type str; give int"),
        ("train_steps: 40", "train_steps: [", r"not YAML: .*line \d+"),
        ("type: linear", "type: lineal", r"warmup.type: 'lineal' does not fit"),
        (r"(?s).*", "runtime: 3", "has no 'task'"),
        (r"(?s).*", "task: 3", "has no 'task'"),
        (r"(?s).*", "", "has no 'task'"),
    ],
)
def test_a_faulty_file_is_named_in_one_line(ready, tmp_path, pattern, replacement, fault):
    path = write_like(ready, tmp_path / "ssd.yaml", pattern, replacement)
    with pytest.raises(CourseError, match=rf"ssd.yaml: .*{fault}") as error:
        configs.load_config(path)
    assert "\n" not in str(error.value)


def test_a_missing_or_foreign_file_is_named(tmp_path):
    with pytest.raises(CourseError, match=r"a.yaml: missing; run lesson 05"):
        configs.load_config(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_bytes(b"task: \xff")
    with pytest.raises(CourseError, match=r"b.yaml: not YAML"):
        configs.load_config(tmp_path / "b.yaml")


def test_configs_are_written_once_per_content(ready, tiny_records, tmp_path):
    folder = configs.write_configs(tiny_records, tmp_path / "05_config", configs={"ssd": ready})
    assert configs.difference(configs.load_config(folder / "ssd.yaml"), ready) == []
    (folder / "mark").touch()
    configs.write_configs(tiny_records, folder, configs={"ssd": ready})
    assert (folder / "mark").exists()
    longer = configs.with_budget(ready, train_steps=50)
    configs.write_configs(tiny_records, folder, configs={"ssd": longer})
    assert not (folder / "mark").exists()
    assert configs.load_config(folder / "ssd.yaml").trainer.train_steps == 50


def test_images_of_many_objects_are_read_whole(tiny_records, tmp_path):
    folder = tmp_path / "04_records"
    shutil.copytree(tiny_records, folder)
    truth = json.loads((folder / "train.json").read_text())
    truth["annotations"] = [truth["annotations"][0]] * 150
    (folder / "train.json").write_text(json.dumps(truth))
    for records, most in ((tiny_records, 100), (folder, 150)):
        config = configs.for_records(configs.from_preset("faster_rcnn_cpu"), records)
        assert config.task.train_data.parser.max_num_instances == most
        assert config.task.validation_data.parser.max_num_instances == most
