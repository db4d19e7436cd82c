import json
import re
import shutil

import pytest
import yaml

from helpers import config as configs
from helpers.annotations import write_label_map
from helpers.artifacts import write_manifest
from helpers.errors import CourseError
from helpers.models import PRESETS

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
    configs.save(config, path)
    text, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_becomes_a_config_that_passes_the_check(presets, tiny_records, name):
    preset = PRESETS[name]
    config = configs.for_records(presets[name], tiny_records)
    config = configs.with_budget(config, train_steps=20, learning_rate=preset.learning_rate)
    configs.check(config)
    assert configs.is_two_stage(config) == (preset.family == "faster_rcnn")
    for key, value in preset.settings.items():
        if not key.startswith("task.annotation_file"):
            assert configs.flatten(config.as_dict())[key] == value, key


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_comes_back_from_its_file_as_it_was(presets, tiny_records, tmp_path, name):
    config = configs.for_records(presets[name], tiny_records, seed=5)
    config = configs.with_budget(config, train_steps=20, batch_size=4, learning_rate=1e-5)
    configs.save(config, tmp_path / "a.yaml")
    again = configs.load(tmp_path / "a.yaml")
    assert again.as_dict() == config.as_dict()
    assert configs.difference(config, again) == []
    configs.save(again, tmp_path / "b.yaml")
    assert (tmp_path / "b.yaml").read_text() == (tmp_path / "a.yaml").read_text()


def test_a_file_may_be_sorted_by_name(presets, tmp_path):
    # "mobilenet" before "type": the type must be known first all the same.
    config = presets["ssd_mobilenet_v2_fpn"]
    configs.save(config, tmp_path / "a.yaml")
    tree = yaml.safe_load((tmp_path / "a.yaml").read_text())
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(tree, sort_keys=True))
    assert configs.difference(configs.load(tmp_path / "a.yaml"), config) == []


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
    configs.save(config, tmp_path / "a.yaml")
    assert configs.load(tmp_path / "a.yaml").as_dict() == config.as_dict()
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
        ({"task.model.num_classes": 1}, r"num_classes: 1; give your classes \+ 1"),
        ({"task.train_data.global_batch_size": 0}, r"global_batch_size: 0"),
        ({"trainer.train_steps": 20}, r"decays over 40 steps, but training ends after 20"),
    ],
)
def test_check_finds_what_would_fail_later(ready, changes, fault):
    configs.check(ready)
    with pytest.raises(CourseError, match=fault):
        configs.check(configs.edit(ready, changes))


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
        configs.load(path)
    assert "\n" not in str(error.value)


def test_a_missing_or_foreign_file_is_named(tmp_path):
    with pytest.raises(CourseError, match=r"a.yaml: missing; run lesson 05"):
        configs.load(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_bytes(b"task: \xff")
    with pytest.raises(CourseError, match=r"b.yaml: not YAML"):
        configs.load(tmp_path / "b.yaml")


def test_configs_are_written_once_per_content(ready, tiny_records, tmp_path):
    folder = configs.write(tiny_records, tmp_path / "05_config", configs={"ssd": ready})
    assert configs.difference(configs.load(folder / "ssd.yaml"), ready) == []
    (folder / "mark").touch()
    configs.write(tiny_records, folder, configs={"ssd": ready})
    assert (folder / "mark").exists()
    longer = configs.with_budget(ready, train_steps=50)
    configs.write(tiny_records, folder, configs={"ssd": longer})
    assert not (folder / "mark").exists()
    assert configs.load(folder / "ssd.yaml").trainer.train_steps == 50


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
