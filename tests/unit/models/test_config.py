import math
import re

import pytest
import yaml

from helpers import models
from helpers.common.errors import CourseError
from helpers.models.config_keys import meaning, meanings
from helpers.models.presets import PRESETS

pytest.importorskip("tensorflow")

NAMES = list(PRESETS)
OPTIMIZER = "trainer.optimizer_config.optimizer"
RATE = "trainer.optimizer_config.learning_rate"
PARSER = "task.train_data.parser"


def write_like(config, path, pattern, replacement):
    """Save `config` as YAML with one line changed."""
    models.save_config(config, path)
    text, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_becomes_a_config_that_passes_the_check(presets, tiny_records, name):
    preset = PRESETS[name]
    config = models.for_records(presets[name], tiny_records)
    config = models.with_budget(
        config, train_steps=20, batch_size=8, learning_rate=preset.learning_rate
    )
    models.check_config(config)
    assert models.is_two_stage(config) == (preset.family == "faster_rcnn")
    for key, value in preset.settings.items():
        if not key.startswith("task.annotation_file"):
            assert models.flatten(config.as_dict())[key] == value, key


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_comes_back_from_its_file_as_it_was(presets, tiny_records, tmp_path, name):
    config = models.for_records(presets[name], tiny_records, seed=5)
    config = models.with_budget(config, train_steps=20, batch_size=4, learning_rate=1e-5)
    models.save_config(config, tmp_path / "a.yaml")
    again = models.load_config(tmp_path / "a.yaml")
    assert again.as_dict() == config.as_dict()
    assert models.difference(config, again) == []
    models.save_config(again, tmp_path / "b.yaml")
    assert (tmp_path / "b.yaml").read_text() == (tmp_path / "a.yaml").read_text()


def test_a_file_may_be_sorted_by_name(presets, tmp_path):
    # "mobilenet" before "type": the type must be known first all the same.
    config = presets["ssd_mobilenet_v2_fpn"]
    models.save_config(config, tmp_path / "a.yaml")
    tree = yaml.safe_load((tmp_path / "a.yaml").read_text())
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(tree, sort_keys=True))
    assert models.difference(models.load_config(tmp_path / "a.yaml"), config) == []


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(CourseError, match=f"'{NAMES[0]}x' is unknown; did you mean '{NAMES[0]}'"):
        models.from_preset(f"{NAMES[0]}x")


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
        models.edit(ssd, {key: 2})


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
        ("trainer.train_steps", None, "None; give int, such as"),
        ("task.model.input_size", None, "None; give list, such as [768, 1280, 3]"),
        ("task.model.input_size", ["a", 4, 3], "'a' is of type str; give int"),
        ("task.model.anchor.aspect_ratios", [1.0, "2"], "'2' is of type str; give float"),
        ("task.model.anchor.aspect_ratios", [1.0, math.inf], "[1.0, inf]; give a number that is"),
        ("task.model.anchor.anchor_size", math.nan, "nan; give a number that is one"),
        ("task.train_data.input_path", [3], "[3]: 3 is of type int; give str"),
        ("task.init_checkpoint", 3, "3 is of type int; give str"),
        # Where nothing stands yet, the declared type counts.
        (f"{RATE}.cosine.initial_learning_rate", "4e-3", "'4e-3' is of type str; give float, such"),
        (f"{RATE}.cosine.initial_learning_rate", "nan", "'nan' is of type str; give float"),
        (f"{RATE}.cosine.initial_learning_rate", math.inf, "inf; give a number that is one"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(ssd, key, value, fault):
    with pytest.raises(CourseError, match=re.escape(fault)) as error:
        models.edit(ssd, {key: value})
    assert key in str(error.value)
    assert "\n" not in str(error.value)


def test_a_whole_number_does_for_a_fraction_and_none_where_it_may_stand(ssd):
    config = models.edit(
        ssd,
        {"task.losses.l2_weight_decay": 1, "task.init_checkpoint_modules": ["backbone"]},
    )
    assert config.task.losses.l2_weight_decay == 1
    assert models.edit(ssd, {"task.init_checkpoint": None, f"{PARSER}.aug_rand_jpeg": None})
    with pytest.raises(CourseError, match="l2_weight_decay: None; give float"):
        models.edit(ssd, {"task.losses.l2_weight_decay": None})


def test_a_group_may_be_given_as_a_mapping_and_is_as_strict(ssd):
    config = models.edit(ssd, {"task.model": {"num_classes": 4, "anchor": {"num_scales": 2}}})
    assert (config.task.model.num_classes, config.task.model.anchor.num_scales) == (4, 2)
    with pytest.raises(CourseError, match=r"'task.model.num_clases' does not exist"):
        models.edit(ssd, {"task.model": {"num_clases": 4}})


def test_choosing_a_type_brings_its_keys(ssd):
    with pytest.raises(CourseError, match=r"rmsprop.rho' does not exist"):
        models.edit(ssd, {f"{OPTIMIZER}.rmsprop.rho": 0.8})
    old = ssd.trainer.optimizer_config.optimizer.type
    config = models.edit(ssd, {f"{OPTIMIZER}.type": "rmsprop", f"{OPTIMIZER}.rmsprop.rho": 0.8})
    assert config.trainer.optimizer_config.optimizer.get().rho == 0.8
    with pytest.raises(CourseError, match=f"{old}.global_clipnorm' does not exist"):
        models.edit(config, {f"{OPTIMIZER}.{old}.global_clipnorm": 0.8})


def test_a_group_that_is_off_is_switched_on_by_a_key_in_it(ssd, tmp_path):
    parser = "task.train_data.parser"
    config = models.edit(ssd, {f"{parser}.aug_type.type": "ssd_random_crop"})
    assert config.task.train_data.parser.aug_type.get().aspect_ratio_range == (0.5, 2.0)
    assert ssd.task.train_data.parser.aug_type is None
    config = models.edit(config, {"trainer.optimizer_config.ema.average_decay": 0.9})
    models.save_config(config, tmp_path / "a.yaml")
    assert models.load_config(tmp_path / "a.yaml").as_dict() == config.as_dict()
    with pytest.raises(CourseError, match=r"aug_type.typ' does not exist; .*aug_type.type'"):
        models.edit(ssd, {f"{parser}.aug_type.typ": "ssd_random_crop"})
    with pytest.raises(CourseError, match=r"init_checkpoint.x' does not exist"):
        models.edit(ssd, {"task.init_checkpoint.x": 1})


def test_a_fraction_fits_where_model_garden_itself_wrote_a_whole_number(presets):
    config = models.edit(presets["ssd_mobilenet_v2_fpn"], {"task.model.anchor.anchor_size": 2.5})
    assert config.task.model.anchor.anchor_size == 2.5


def test_edit_leaves_the_given_config_alone(ssd):
    before = ssd.as_dict()
    config = models.edit(ssd, {"task.model.num_classes": 7, "task.model.input_size": [64, 64, 3]})
    assert ssd.as_dict() == before
    rows = models.difference(ssd, config)
    assert rows == [
        ("task.model.input_size", before["task"]["model"]["input_size"], [64, 64, 3]),
        ("task.model.num_classes", 91, 7),
    ]


def test_the_table_of_differences_reads(ssd, ready):
    path = "/a/very/long/path/of/somebody/runs/course/04_records/train-*.tfrecord"
    changes = {"task.train_data.input_path": path, "task.init_checkpoint": "here/ckpt-1"}
    changes |= {f"{RATE}.type": "stepwise", f"{RATE}.stepwise.values": [1e-7] * 9}
    changes[f"{RATE}.stepwise.boundaries"] = [*range(1, 9)]
    changes["trainer.optimizer_config.optimizer.adam.epsilon"] = 1e-8
    table = models.difference_table(ready, models.edit(ready, changes))
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
    assert models.difference_table(ssd, ssd).empty


def test_modules_are_one_word_or_a_list(presets):
    for given in ("all", ["backbone"], ["backbone", "decoder"]):
        for config in (presets["ssd_cpu"], presets["ssd_resnet50_fpn_640"]):
            edited = models.edit(config, {"task.init_checkpoint_modules": given})
            assert edited.task.init_checkpoint_modules == given
    with pytest.raises(CourseError, match="7 is of type int"):
        models.edit(presets["ssd_cpu"], {"task.init_checkpoint_modules": 7})


def test_what_a_preset_changes_is_explained(presets):
    for name, config in presets.items():
        table = models.difference_table(models.experiment(PRESETS[name].experiment), config)
        silent = table[table["what it does"] == ""]
        assert list(silent.index) == [], name


def test_each_explained_key_exists(presets):
    every = {"trainer.optimizer_config.warmup.type": "linear", f"{OPTIMIZER}.type": "sgd"}
    every[f"{PARSER}.aug_type.type"] = "randaug"
    known = set()
    for kind in ("cosine", "stepwise"):
        for config in presets.values():
            config = models.edit(config, every | {f"{RATE}.type": kind})
            known |= models.flatten(config.as_dict()).keys()
    unknown = [end for end in meanings() if not any(f".{k}".endswith(f".{end}") for k in known)]
    assert unknown == []
    assert meaning("task.model.head.num_convs") != meaning("task.model.detection_head.num_convs")
    assert meaning("task.train_data.parser.no_such_key") == ""


@pytest.mark.parametrize(
    ("pattern", "replacement", "fault"),
    [
        ("train_steps: 40", "train_step: 40", r"train_step' does not exist.*trainer.train_steps"),
        ("train_steps: 40", "train_steps: many", r"train_steps: 'many' is of type str; give int"),
        ("train_steps: 40", "train_steps: [", r"line \d+: not YAML"),
        ("train_steps: 40", "train_steps: 40\n  train_steps: 50", "'train_steps' stands twice"),
        ("train_steps: 40", "train_steps: 2020-13-45", "line .*'2020-13-45' is no date or number"),
        ("train_steps: 40", "train_steps: " + 5000 * "9", "'9999.* is no date or number"),
        (r"initial_learning_rate: .*", "initial_learning_rate: 4e-3", "give float, such as 0.004"),
        (r"initial_learning_rate: .*", "initial_learning_rate: .inf", "inf; give a number that is"),
        (r"anchor:\n(      .*\n)+", "anchor: 3\n", "task.model.anchor is a group"),
        (r"anchor:\n(      .*\n)+", "anchor:\n", "task.model.anchor is a group"),
        ("type: linear", "type: lineal", r"warmup.type: 'lineal' does not fit"),
        (r"(?s).*", "runtime: 3", "has no 'task'"),
        (r"(?s).*", "task: 3", "has no 'task'"),
        (r"(?s).*", "", "has no 'task'"),
    ],
)
def test_a_faulty_file_is_named_in_one_line(ready, tmp_path, pattern, replacement, fault):
    path = write_like(ready, tmp_path / "ssd.yaml", pattern, replacement)
    with pytest.raises(CourseError, match=rf"ssd.yaml: .*{fault}") as error:
        models.load_config(path)
    assert "\n" not in str(error.value)


def test_a_missing_or_foreign_file_is_named(tmp_path):
    with pytest.raises(CourseError, match=r"a.yaml: missing; run lesson 05"):
        models.load_config(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_bytes(b"task: \xff")
    with pytest.raises(CourseError, match=r"b.yaml: line 1: not UTF-8"):
        models.load_config(tmp_path / "b.yaml")
    with pytest.raises(CourseError, match=r"a folder, where a file is needed"):
        models.load_config(tmp_path)
    with pytest.raises(CourseError, match=r"c.yaml: missing"):
        models.load_config(tmp_path / "b.yaml" / "c.yaml")


def test_a_config_that_names_no_anchors_has_those_of_its_experiment(ready, tmp_path):
    pattern = r"    anchor:\n(      .*\n)+"
    config = models.load_config(write_like(ready, tmp_path / "a.yaml", pattern, ""))
    assert config.task.model.anchor.num_scales == 3


def test_configs_are_written_once_per_content(ready, tiny_records, tmp_path):
    folder = models.write_configs(tiny_records, tmp_path / "05_config", configs={"ssd": ready})
    assert models.difference(models.load_config(folder / "ssd.yaml"), ready) == []
    (folder / "mark").touch()
    models.write_configs(tiny_records, folder, configs={"ssd": ready})
    assert (folder / "mark").exists()
    longer = models.with_budget(ready, train_steps=50)
    models.write_configs(tiny_records, folder, configs={"ssd": longer})
    assert not (folder / "mark").exists()
    assert models.load_config(folder / "ssd.yaml").trainer.train_steps == 50
