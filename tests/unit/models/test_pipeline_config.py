import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import models
from helpers.annotations.label_map import write_label_map
from helpers.common import prototext
from helpers.common.errors import CourseError
from helpers.models.networks import build_model
from helpers.models.pipeline import convert
from helpers.models.pipeline.convert import convert_pipeline
from helpers.models.pipeline.draft import APPROXIMATED, NONE, OUTCOMES, TAKEN
from helpers.models.pipeline.fields import messages
from helpers.models.presets import PRESETS

tf = pytest.importorskip("tensorflow")

FILES = {path.stem: path for path in Path(__file__).with_name("pipeline_configs").glob("*.config")}
MODERN = "ssd_mobilenet_v2_fpn"
PLAIN = "faster_rcnn_inception_v2"
KEY = re.compile(r"(?:task|trainer|runtime)\.[\w.]*\w")


@pytest.fixture(scope="module", autouse=True)
def presets_made_once(presets):
    """A conversion changes copies only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "from_preset", presets.__getitem__)
        yield


@pytest.fixture(scope="module")
def converted(presets_made_once):
    assert len(FILES) == 5
    return {name: convert_pipeline(path) for name, path in FILES.items()}


@pytest.fixture
def edited(tmp_path):
    """Return edit(name, (pattern, replacement), …): the path of a copy with those changes."""

    def edit(name, *changes):
        text = FILES[name].read_text()
        for pattern, replacement in changes:
            text, count = re.subn(pattern, replacement, text, flags=re.DOTALL)
            assert count, pattern
        path = tmp_path / "pipeline.config"
        path.write_text(text)
        return path

    return edit


def clean(edited, *changes):
    """The modern file without its mistakes, and with `changes`."""
    return edited(MODERN, ('fine_tune_checkpoint: "PATH_TO_BE_CONFIGURED"\n', ""), *changes)


def fields_of(text):
    """(path, line) of each field that holds no other, read without the parser under test.

    For files with one field a line, as these are written.
    """
    found, stack = [], [("", 0, set())]
    for number, line in enumerate(text.splitlines(), 1):
        name = re.match(r"\w*", line.strip())[0]
        path, begun, names = stack[-1]
        if line.strip() == "}":
            stack.pop()
            if not names:
                found.append((path.strip("."), begun))
        elif line.endswith("{"):
            names.add(name)
            stack.append((f"{path}.{name}", number, set()))
        elif name and name not in names:
            names.add(name)
            found.append((f"{path}.{name}".strip("."), number))
    return sorted(found)


def bare(field):
    return re.sub(r"\[\d+\]", "", field)


def row_of(report, end):
    rows = [row for row in report.rows if row.field.endswith(end)]
    assert len(rows) == 1, (end, [row.field for row in rows])
    return rows[0]


@pytest.mark.parametrize("name", FILES)
def test_every_field_of_the_file_is_in_the_report_once(converted, name):
    _, report = converted[name]
    written = fields_of(FILES[name].read_text())
    assert sorted((bare(row.field), row.line) for row in report.rows) == written
    assert len({row.field for row in report.rows}) == len(report.rows) > 50
    assert {row.outcome for row in report.rows} == set(OUTCOMES)


@pytest.mark.parametrize("name", FILES)
def test_the_report_says_what_the_config_holds(converted, name):
    config, report = converted[name]
    known = models.flatten(config.as_dict())
    for row in report.rows:
        keys = KEY.findall(row.key)
        for key in keys:
            shown = f"{key}: {prototext.show(known[key])}"
            assert shown in row.key or len(keys) > 1, row
        if row.outcome == NONE:
            assert row.remark
            assert not row.key
        if row.outcome == APPROXIMATED:
            assert row.remark
        if row.outcome == TAKEN:
            assert row.key


@pytest.mark.parametrize("name", FILES)
def test_a_result_passes_the_check_and_comes_back_from_its_file(converted, tmp_path, name):
    config, _ = converted[name]
    models.check_config(config)
    models.save_config(config, tmp_path / "a.yaml")
    assert models.difference(models.load_config(tmp_path / "a.yaml"), config) == []


@pytest.mark.parametrize("name", FILES)
def test_a_result_trains_a_step(converted, tiny_records, name):
    config = models.for_records(converted[name][0], tiny_records)
    smallest = 2**config.task.model.max_level
    changes = {
        "task.model.input_size": [smallest, smallest, 3],
        "task.train_data.global_batch_size": 2,
        "task.train_data.shuffle_buffer_size": 2,
    }
    config = models.edit(config, changes)
    task, model = build_model(config)
    optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
    batch = next(iter(task.build_inputs(config.task.train_data)))
    before = [weight.numpy() for weight in model.trainable_variables[-4:]]
    logs = task.train_step(batch, model, optimizer, task.build_metrics())
    assert np.isfinite(float(logs[task.loss]))
    after = [weight.numpy() for weight in model.trainable_variables[-4:]]
    assert any((old != new).any() for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("name", FILES)
def test_the_rate_has_fallen_when_training_ends(converted, name):
    from official.modeling.optimization import OptimizerFactory

    config, _ = converted[name]
    rate = OptimizerFactory(config.trainer.optimizer_config).build_learning_rate()
    steps = config.trainer.train_steps
    rates = [float(rate(step)) for step in np.linspace(0, steps, 101).astype(int)]
    assert max(rates) > 0
    assert rates[-1] <= 0.1 * max(rates)
    top = rates.index(max(rates))
    assert rates[top:] == sorted(rates[top:], reverse=True)


@pytest.mark.parametrize(
    ("name", "preset", "expected"),
    [
        (
            "ssd_mobilenet_v1",
            "ssd_mobilenet_v2_fpn",
            {
                "task.model.num_classes": 2,
                "task.model.backbone.mobilenet.model_id": "MobileNetV1",
                "task.model.input_size": [320, 320, 3],
                # As the detector of the course does, whatever the old resizer did.
                "task.train_data.parser.keep_aspect_ratio": True,
                "task.model.detection_generator.box_coder_weights": [10.0, 10.0, 5.0, 5.0],
                "task.model.anchor.anchor_size": 8.0,
                "task.model.anchor.aspect_ratios": [1.0, 2.0, 0.5, 3.0, 0.3333],
                "task.model.norm_activation.activation": "relu6",
                "task.model.norm_activation.norm_momentum": 0.9997,
                "task.losses.l2_weight_decay": 4e-5,
                "task.losses.huber_loss_delta": 1.0,
                "task.losses.box_loss_weight": 4,
                "trainer.optimizer_config.optimizer.type": "rmsprop",
                "trainer.optimizer_config.optimizer.rmsprop.rho": 0.9,
                "trainer.optimizer_config.optimizer.rmsprop.epsilon": 1.0,
                "trainer.optimizer_config.learning_rate.cosine.decay_steps": 200_000,
                "trainer.optimizer_config.warmup.type": None,
                "trainer.train_steps": 200_000,
                "trainer.validation_steps": -1,
                "task.train_data.global_batch_size": 24,
                "task.train_data.parser.aug_rand_hflip": True,
                "task.train_data.parser.aug_type.type": "ssd_random_crop",
                "task.train_data.parser.aug_scale_max": 1.0,
                "task.init_checkpoint": None,
            },
        ),
        (
            "ssd_mobilenet_v2_fpn",
            "ssd_mobilenet_v2_fpn",
            {
                "task.model.num_classes": 3,
                "task.model.max_level": 7,
                "task.model.input_size": [384, 384, 3],
                "task.model.anchor.anchor_size": 4.0,
                "task.model.anchor.num_scales": 2,
                "task.model.head.num_filters": 128,
                "task.model.head.use_separable_conv": True,
                "task.losses.focal_loss_gamma": 2.0,
                "task.losses.box_loss_weight": 1,
                "trainer.optimizer_config.optimizer.sgd.momentum": 0.9,
                "trainer.optimizer_config.learning_rate.cosine.initial_learning_rate": 0.08,
                "trainer.optimizer_config.warmup.linear.warmup_steps": 1000,
                "trainer.optimizer_config.warmup.linear.warmup_learning_rate": 0.026666,
                "task.validation_data.global_batch_size": 1,
                "task.init_checkpoint_modules": "backbone",
                "task.train_data.parser.aug_scale_max": 1.15,
            },
        ),
        (
            "ssd_resnet50_fpn",
            "ssd_resnet50_fpn_640",
            {
                "task.model.input_size": [640, 640, 3],
                "task.model.head.num_filters": 256,
                "task.train_data.global_batch_size": 4,
                "trainer.optimizer_config.warmup.linear.warmup_learning_rate": 0.0001,
            },
        ),
        (
            "faster_rcnn_inception_v2",
            "faster_rcnn_resnet50_640",
            {
                "task.model.input_size": [640, 1024, 3],
                "task.model.anchor.anchor_size": 16.0,
                "task.model.roi_generator.num_proposals": 300,
                "task.model.roi_sampler.num_sampled_rois": 64,
                "task.model.roi_generator.test_num_proposals": 300,
                "task.model.roi_aligner.crop_size": 7,
                "task.losses.rpn_box_weight": 2.0,
                "task.losses.l2_weight_decay": 0.0,
                "task.model.detection_generator.max_num_detections": 100,
                "trainer.optimizer_config.optimizer.sgd.global_clipnorm": 10.0,
                "trainer.optimizer_config.learning_rate.type": "cosine",
                "trainer.optimizer_config.learning_rate.cosine.initial_learning_rate": 0.0002,
                "task.init_checkpoint_modules": ["backbone", "decoder"],
            },
        ),
        (
            "faster_rcnn_resnet101",
            "faster_rcnn_resnet101_640",
            {
                "task.model.backbone.resnet_v1.model_id": 101,
                "trainer.optimizer_config.learning_rate.type": "stepwise",
                "trainer.optimizer_config.learning_rate.stepwise.boundaries": [90_000, 120_000],
                "trainer.optimizer_config.learning_rate.stepwise.values": [3e-4, 3e-5, 3e-6],
            },
        ),
    ],
)
def test_what_the_file_says_is_what_the_config_gets(converted, name, preset, expected):
    config, report = converted[name]
    assert report.preset == preset
    known = models.flatten(config.as_dict())
    assert {key: known[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "faults"),
    [
        (
            "ssd_mobilenet_v1",
            [
                "decay_steps: the rate first falls after 800720 steps, but training ends",
                "fine_tune_checkpoint: 'PATH_TO_BE_CONFIGURED/model.ckpt' was never replaced",
                "input_path: '/home/paperspace/data/train.record' is a path of another machine",
                "label_map_path: '/home/paperspace/",
                "max_evals: evaluation stops for good after 10 times (8000 images each)",
                "input_path: '/home/paperspace/data/test.record'",
                "label_map_path: '/home/paperspace/",
            ],
        ),
        ("ssd_mobilenet_v2_fpn", ["fine_tune_checkpoint: 'PATH_TO_BE_CONFIGURED' was never"]),
        (
            "ssd_resnet50_fpn",
            [
                "fine_tune_checkpoint",
                "8 replicas cannot share a batch of 4",
                "warm-up that starts at 0.013333, above the base rate 0.001",
            ],
        ),
        (
            "faster_rcnn_inception_v2",
            [
                "step: training ends after 200000 steps: this rate, 2e-05, never comes",
                "step: training ends after 200000 steps: this rate, 2e-06, never comes",
                "fine_tune_checkpoint: '/home/paperspace/models/model.ckpt'",
            ],
        ),
        (
            "faster_rcnn_resnet101",
            ["schedule[0].step: a first step of 0 is refused", "fine_tune_checkpoint: '/home/"],
        ),
    ],
)
def test_the_mistakes_of_the_old_files_are_named(converted, name, faults):
    _, report = converted[name]
    assert len(report.mistakes) == len(faults)
    for fault in faults:
        lines = [f"{mistake.field}: {mistake.remark}" for mistake in report.mistakes]
        assert any(fault in line for line in lines), (fault, lines)


def test_a_file_without_mistakes_has_none(edited):
    _, report = convert_pipeline(clean(edited))
    assert report.mistakes == ()
    assert "mistakes in the file" not in str(report)


@pytest.mark.parametrize(
    ("pattern", "replacement", "fault"),
    [
        ("num_classes: 2", "num_classes: 0", "0: nothing to find; num_classes is set to 2"),
        ("num_classes: 2", "", "num_classes: missing; num_classes is set to 2"),
        ("batch_size: 128", "batch_size: 0", "no images in a step; global_batch_size is set to 8"),
        ("batch_size: 128", "", "batch_size: missing"),
        ("batch_size: 128", "batch_size: 100", "8 replicas cannot share a batch of 100"),
        ("num_steps: 50000", "num_steps: 0", "0: training never ends; train_steps is set to 25000"),
        ("num_steps: 50000", "", "num_steps: missing: training never ends"),
        ("num_steps: 50000", "num_steps: 900", "a warm-up of 1000 steps leaves none of 900"),
        ("num_steps: 50000", "num_steps: 9000", "reaches 0 at step 50000, training ends at 9000"),
        ("num_steps: 50000", "num_steps: 90000", "the last steps learn nothing"),
        ("total_steps: 50000", "", "reaches 0 at step 4000000"),
        ("warmup_learning_rate: 0.026666", "warmup_learning_rate: 1", "above the base rate 0.08"),
        (r"fixed_shape_resizer \{.*?\}", "", "image_resizer: missing|image_resizer"),
        ("type: 'ssd_mobilenet_v2_fpn_keras'", "", "no backbone is named"),
        (r"\n  optimizer \{.*?false\n  \}", "", "optimizer: missing: SGD"),
        (r"cosine_decay_learning_rate \{.*?\}", "", "learning_rate: missing; a cosine"),
        (r"\ntrain_input_reader \{.*?\n\}", "", "train_input_reader.* missing: no records"),
        (r"\neval_input_reader \{.*?\n\}", "", "eval_input_reader.* missing: no records"),
        ("records/val.*?tfrecord", "records/train-?????-of-00002.tfrecord", "the same file"),
        ("records/val.*?tfrecord", "C:/Users/me/val.record", "a path of another machine"),
        ("records/val.*?tfrecord", "~/val.record", "a path of another machine"),
        ("records/val.*?tfrecord", "PATH_TO_BE_CONFIGURED/val", "was never replaced; models.for"),
        ('"label_map.txt"', '"/nowhere/label_map.txt"', "a path of another machine"),
        (
            "metrics_set",
            "max_evals: 3 num_examples: 50 metrics_set",
            "stops for good after 3 times",
        ),
        ('"classification"', '"clasification"', "'clasification' is no type of checkpoint"),
        ("num_classes: 2", "num_clases: 2", "no such field.*did you mean 'num_classes'"),
        (
            r"cosine_decay_learning_rate \{.*?\}",
            "manual_step_learning_rate { initial_learning_rate: 0.1 warmup: true "
            "schedule { step: 500 learning_rate: 0.05 } }",
            "initial_learning_rate: a warm-up that falls, from 0.1 to 0.05; it starts at 0.005",
        ),
        (
            r"cosine_decay_learning_rate \{.*?\}",
            "exponential_decay_learning_rate { initial_learning_rate: 0.1 decay_steps: 0 }",
            "decay_steps: 0: no step to fall in; it gets a cosine from 0.1 to 0 over 50000",
        ),
    ],
)
def test_every_mistake_is_found(edited, pattern, replacement, fault):
    config, report = convert_pipeline(clean(edited, (pattern, replacement)))
    found = [f"{mistake.field}: {mistake.remark}" for mistake in report.mistakes]
    assert any(re.search(fault, line) for line in found), found
    assert all("\n" not in line for line in found)
    models.check_config(config)


def test_a_label_map_that_is_there_counts_the_classes(edited):
    path = clean(edited)
    write_label_map(["camera", "car"], path.with_name("label_map.txt"))
    config, report = convert_pipeline(path)
    assert report.mistakes == ()
    write_label_map({"camera": 1, "car": 5}, path.with_name("label_map.txt"))
    config, report = convert_pipeline(path)
    assert config.task.model.num_classes == 6
    assert [m.remark for m in report.mistakes] == [
        "2, but the ids of the label map go up to 5; num_classes is set to 6, or the highest would "
        "be trained as background"
    ]
    path.with_name("label_map.txt").write_text("item { id: 0 name: 'x' }")
    _, report = convert_pipeline(path)
    assert "cannot be read: " in report.mistakes[0].remark


def test_a_label_map_that_was_read_is_no_field_without_counterpart(edited):
    path = clean(edited)
    assert row_of(convert_pipeline(path)[1], "train_input_reader.label_map_path").outcome == NONE
    write_label_map(["camera", "car"], path.with_name("label_map.txt"))
    row = row_of(convert_pipeline(path)[1], "train_input_reader.label_map_path")
    assert (row.outcome, row.key) == (TAKEN, "task.model.num_classes: 3")


@pytest.mark.parametrize(
    ("written", "read", "said"),
    [
        (r"annotations\train.record", "annotations/train.record", "'annotations/train.record'"),
        (r"annotations\\train.record", "annotations/train.record", "'annotations/train.record'"),
        (r"my data\2020\val.record", "my data/2020/val.record", "'my data/2020/val.record'"),
        (r"C:\Users\mia\\val.record", "C:/Users/mia/val.record", "a path of another machine"),
        (r"caf\303\251/val.record", "café/val.record", None),
    ],
)
def test_backslashes_are_folders_and_a_mistake_with_its_line(edited, written, read, said):
    path = clean(edited, ("records/val.*?tfrecord", lambda _: written))
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if written in text)
    config, report = convert_pipeline(path)
    assert config.task.validation_data.input_path == read
    if said is None:
        assert report.mistakes == ()
    else:
        (mistake,) = report.mistakes
        assert said in mistake.remark
        assert mistake.line == line


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"<!DOCTYPE html>\n<html><body>model { ssd {</body></html>", "a web page, .* button Raw"),
        ("model { ssd { } }".encode("utf-16"), "UTF-16; save it as UTF-8"),
        (b"\x0a\xff\xfe", "line 2: not UTF-8; .*a checkpoint or a frozen graph is no config"),
        (f"model {{ ssd {{ num_classes: {'9' * 5000} }} }}".encode(), "no 64 bits hold"),
        (f"model {{ ssd {{ num_classes: 0x{'f' * 400} }} }}".encode(), "no 64 bits hold"),
        (b"model { ssd { num_classes: 99999999999 } }", "num_classes: 99999999999: give a whole"),
    ],
)
def test_what_is_no_config_is_said(tmp_path, data, says):
    path = tmp_path / "pipeline.config"
    with pytest.raises(CourseError, match=r"config: missing; give the path of a pipeline.config"):
        convert_pipeline(path)
    path.write_bytes(data)
    with pytest.raises(CourseError, match=says) as error:
        convert_pipeline(path)
    assert "\n" not in str(error.value)


def test_dropout_that_is_off_needs_no_advice(edited):
    end = "dropout_keep_probability"
    _, report = convert_pipeline(edited("ssd_mobilenet_v1"))
    assert row_of(report, end).outcome == TAKEN
    for off in ("use_dropout: true", ""):  # true is the default of this predictor
        _, report = convert_pipeline(edited("ssd_mobilenet_v1", ("use_dropout: false", off)))
        assert "no dropout; raise" in row_of(report, end).remark


def test_as_many_detections_as_the_classes_may_have(edited):
    key = "task.model.detection_generator.max_num_detections"

    def most(classes, each, total):
        path = edited(
            PLAIN,
            ("num_classes: 1", f"num_classes: {classes}"),
            ("max_detections_per_class: 100", each and f"max_detections_per_class: {each}"),
            ("max_total_detections: 300", total and f"max_total_detections: {total}"),
        )
        config, report = convert_pipeline(path)
        if each:
            assert row_of(report, "max_detections_per_class").remark
        return models.flatten(config.as_dict())[key]

    assert most(1, 100, 300) == 100
    assert most(2, 100, 300) == 200
    assert most(3, 100, 300) == 300
    assert most(90, 20, 100) == 100
    assert most(2, 20, "") == 40
    assert most(1, "", 300) == 100


def test_the_small_square_that_the_old_api_added_is_told(edited):
    _, report = convert_pipeline(edited("ssd_mobilenet_v1"))
    assert "the old API had a square of 30 pixels" in row_of(report, ".min_scale").remark
    off = ("min_scale", "reduce_boxes_in_lowest_layer: false min_scale")
    _, report = convert_pipeline(edited("ssd_mobilenet_v1", off))
    assert "a square of" not in row_of(report, ".min_scale").remark


def test_old_weights_need_no_other_path(edited):
    _, report = convert_pipeline(edited(PLAIN))
    (said,) = [m.remark for m in report.mistakes if m.field.endswith("fine_tune_checkpoint")]
    assert "set task.init_checkpoint" in said
    assert "relative" not in said


SCHEDULES = {
    "a rate for all steps": (
        "constant_learning_rate { learning_rate: 0.01 }",
        "constant",
        0.01,
        0.01,
    ),
    "stairs": (
        "exponential_decay_learning_rate { initial_learning_rate: 0.1 decay_steps: 10000 "
        "decay_factor: 0.5 }",
        "exponential",
        0.1,
        0.1 / 32,
    ),
    "a slope": (
        "exponential_decay_learning_rate { initial_learning_rate: 0.1 decay_steps: 25000 "
        "decay_factor: 0.1 staircase: false burnin_learning_rate: 0.01 burnin_steps: 100 }",
        "exponential",
        0.01,
        0.001,
    ),
    "steps after a warm-up": (
        "manual_step_learning_rate { initial_learning_rate: 0.001 warmup: true "
        "schedule { step: 500 learning_rate: 0.1 } schedule { step: 30000 learning_rate: 0.01 } }",
        "stepwise",
        0.001,
        0.01,
    ),
    "a warm-up alone": (
        "manual_step_learning_rate { initial_learning_rate: 0.001 warmup: true "
        "schedule { step: 500 learning_rate: 0.1 } }",
        "cosine",
        0.001,
        0.0,
    ),
    "no warm-up": (
        "cosine_decay_learning_rate { learning_rate_base: 0.1 total_steps: 50000 warmup_steps: 0 }",
        "cosine",
        0.1,
        0.0,
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_rate_runs_as_it_did(edited, name):
    from official.modeling.optimization import OptimizerFactory

    text, kind, first, last = SCHEDULES[name]
    config, report = convert_pipeline(clean(edited, (r"cosine_decay_learning_rate \{.*?\}", text)))
    assert report.mistakes == ()
    optimization = config.trainer.optimizer_config
    assert optimization.learning_rate.type == kind
    rate = OptimizerFactory(optimization).build_learning_rate()
    at = rate if callable(rate) else lambda step: rate
    assert float(at(0)) == pytest.approx(first, abs=1e-6)
    assert float(at(50_000)) == pytest.approx(last, abs=1e-6)
    shorter = models.with_budget(config, train_steps=50, learning_rate=0.01)
    assert shorter.trainer.optimizer_config.learning_rate.cosine.decay_steps == 50


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("adam_optimizer { epsilon: 1e-4 learning_rate", "adam", {"epsilon": 1e-4}),
        ("adam_optimizer { learning_rate", "adam", {"epsilon": 1e-8}),
        (
            "rms_prop_optimizer { decay: 0.8 learning_rate",
            "rmsprop",
            {"rho": 0.8, "momentum": 0.9, "epsilon": 1.0},
        ),
    ],
)
def test_an_optimizer_keeps_its_numbers(edited, text, kind, values):
    config, _ = convert_pipeline(
        clean(
            edited,
            (r"momentum_optimizer \{\s*learning_rate", text),
            (r"momentum_optimizer_value: 0.9", ""),
        )
    )
    optimizer = config.trainer.optimizer_config.optimizer
    assert optimizer.type == kind
    for name, value in values.items():
        assert getattr(optimizer.get(), name) == value


@pytest.mark.parametrize(
    ("name", "option", "expected"),
    [
        (MODERN, "random_image_scale { }", {"aug_scale_min": 0.5, "aug_scale_max": 2.0}),
        (MODERN, "random_crop_image { min_area: 0 }", {"aug_scale_min": 1.0, "aug_scale_max": 2.0}),
        (MODERN, "random_pad_image { }", {"aug_scale_min": 0.5, "aug_scale_max": 1.0}),
        (MODERN, "random_vertical_flip { }", {"aug_scale_max": 1.0, "aug_rand_hflip": False}),
        (MODERN, "random_adjust_hue { max_delta: 0.1 }", {"aug_type": None}),
        (
            MODERN,
            "autoaugment_image { policy_name: 'v0' }",
            {
                "aug_type.type": "autoaug",
                "aug_type.autoaug.augmentation_name": "detection_v0",
            },
        ),
        (MODERN, "ssd_random_crop_pad { }", {"aug_type.type": "ssd_random_crop"}),
        (PLAIN, "ssd_random_crop { }", {"aug_type": None, "aug_scale_max": 2.0}),
        (PLAIN, "random_vertical_flip { }", {"aug_rand_vflip": True, "aug_rand_hflip": False}),
    ],
)
def test_augmentation_is_what_the_file_lists(edited, name, option, expected):
    path = edited(name, (r"data_augmentation_options \{", "dropped {"))
    text = path.read_text()
    text = text.replace("dropped {", f"data_augmentation_options {{ {option} }}\n  dropped {{", 1)
    path.write_text(text)
    config, report = convert_pipeline(path)
    known = models.flatten(config.task.train_data.parser.as_dict())
    assert {key: known[key] for key in expected} == expected
    assert [row for row in report.rows if row.field.startswith("train_config.data_augmentation")]


@pytest.mark.parametrize(
    ("kind", "preset"),
    [
        ("embedded_ssd_mobilenet_v1", "ssd_mobilenet_v2_fpn"),
        ("ssd_mobilenet_v1_fpn_keras", "ssd_mobilenet_v2_fpn"),
        ("ssd_mobilenet_v2_keras", "ssd_mobilenet_v2_fpn"),
        ("ssd_mobilenet_v3_large", "ssd_mobilenet_v2_fpn"),
        ("ssd_inception_v2", "ssd_mobilenet_v2_fpn"),
        ("ssd_resnet101_v1_fpn_keras", "ssd_resnet50_fpn_640"),
        ("faster_rcnn_resnet50_keras", "faster_rcnn_resnet50_640"),
        ("faster_rcnn_resnet101_fpn_keras", "faster_rcnn_resnet101_640"),
        ("faster_rcnn_inception_resnet_v2", "faster_rcnn_resnet101_640"),
        ("faster_rcnn_mobilenet_v1", "faster_rcnn_resnet50_640"),
    ],
)
def test_each_network_finds_its_kin(edited, kind, preset):
    name = PLAIN if kind.startswith("faster") else MODERN
    config, report = convert_pipeline(edited(name, (r"type: '\w+'", f"type: '{kind}'")))
    assert report.preset == preset
    assert models.is_two_stage(config) == (name == PLAIN)
    row = row_of(report, "feature_extractor.type")
    assert row.key.startswith(f"preset {preset}")
    models.check_config(config)


@pytest.mark.parametrize(
    ("pattern", "replacement", "fault"),
    [
        ("ssd_mobilenet_v2_fpn_keras", "ssd_efficientnet-b0_bifpn_keras", "EfficientDet .* take"),
        ("ssd_mobilenet_v2_fpn_keras", "ssd_darknet", "'ssd_darknet' is unknown; name one"),
        ("ssd_mobilenet_v2_fpn_keras", "faster_rcnn_resnet50", "move it into model.faster_rcnn"),
        (r"model \{\n  ssd", "model {\n  center_net", r":3: model.center_net .*take the preset"),
        (r"^model \{.*?\n\}", "", r"no model \{ ssd"),
        (
            "num_classes: 2",
            "num_classes: '2'",
            r":5: model.ssd.num_classes: 2: give a whole number",
        ),
        ("num_classes: 2", "num_classes: 2.5", "2.5: give a whole number"),
        ("num_classes: 2", "num_classes: true", "true: give a whole number"),
        ("num_classes: 2", "num_classes { }", "give a whole number"),
        ("num_classes: 2", "num_classes { a: 1 }", r"num_classes takes a value, not \{"),
        ("num_classes: 2", "num_classes: 2 num_classes: 3", "is given more than once"),
        ("y_scale: 10.0", "y_scale: 'ten'", "ten: give a number"),
        ("y_scale: 10.0", "y_scale: nan", "nan: give a number"),
        ("sync_replicas: true", "sync_replicas: 2", "2: give true or false"),
        ("score_converter: SIGMOID", "score_converter: 'SIGMOID'", "give a bare word"),
        ('"classification"', "classification", "give a text in quotes"),
        ("graph_rewriter", "model { ssd { } } graph_rewriter", "model is given more than once"),
        ("eval_config", "model: 3 eval_config", r"write \{ … \} after this name|more than once"),
        ("kernel_size: 3", "kernel_size: 3 }", "does not fit|closes nothing|never closed"),
        # What only the finished config shows, told by the field that it comes from.
        (
            "learning_rate_base: 0.08",
            "learning_rate_base: 0",
            r":\d+: train_config.*learning_rate_base: config: .*learning_rate: 0.0; give a rate",
        ),
        (
            "scales_per_octave: 2",
            "scales_per_octave: 0",
            r":\d+: model.*scales_per_octave: config: .*num_scales: 0; give 1 or more",
        ),
    ],
)
def test_a_file_that_cannot_be_converted_is_told_in_one_line(edited, pattern, replacement, fault):
    path = edited(MODERN, (pattern, replacement))
    with pytest.raises(CourseError, match=fault) as error:
        convert_pipeline(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "layers"), [("ssd_resnet101_v1_ppn", 101), ("ssd_resnet50_v1_bifpn_keras", 50)]
)
def test_a_resnet_without_fpn_keeps_its_layers(edited, kind, layers):
    config, _ = convert_pipeline(edited(MODERN, (r"type: '\w+'", f"type: '{kind}'")))
    assert config.task.model.backbone.resnet.model_id == layers


def test_the_same_file_in_other_words_is_the_same_config(edited):
    """Angle brackets, commas, octal and hexadecimal numbers, split strings, an extension."""
    plain, first = convert_pipeline(clean(edited))
    changes = [
        ("num_classes: 2", "num_classes: 0x2;"),
        ("batch_size: 128", "batch_size: 0200, # octal { \n"),
        (r"fixed_shape_resizer \{(.*?)\}", r"fixed_shape_resizer <\1>,"),
        ("learning_rate_base: 0.08", "learning_rate_base: 8e-2f"),
        ("'ssd_mobilenet_v2_fpn_keras'", "\"ssd_mobilenet\" '_v2_fpn_keras'"),
        (r"\ngraph_rewriter", "\n[type.googleapis.com/own.Thing] { a: -inf }\ngraph_rewriter"),
    ]
    text, second = convert_pipeline(clean(edited, *changes))
    assert models.difference(plain, text) == []
    added = {row.field for row in second.rows} - {row.field for row in first.rows}
    assert added == {"[type.googleapis.com/own.Thing].a"}
    assert [m.field for m in second.mistakes] == ["[type.googleapis.com/own.Thing].a"]


def test_true_may_be_written_as_a_number(edited):
    _, report = convert_pipeline(clean(edited, ("use_bfloat16: false", "use_bfloat16: 1")))
    assert row_of(report, "use_bfloat16").key.endswith("bfloat16")


def test_unknown_fields_are_told_the_nearest(edited):
    changes = [
        ("iou_threshold: 0.6", "iou_treshold: 0.6"),
        ("batch_size: 128", "batch_size: 128 first_stage_max_proposal: 3\n[my.extension] { a: 1 }"),
        ("graph_rewriter", "own { thing { x: 1 } }\ngraph_rewriter"),
    ]
    _, report = convert_pipeline(clean(edited, *changes))
    remarks = {bare(row.field): row.remark for row in report.rows if "unknown" in row.remark}
    assert "'iou_threshold'?" in remarks.pop(
        "model.ssd.post_processing.batch_non_max_suppression.iou_treshold"
    )
    assert "which belongs into a message" in remarks.pop("train_config.first_stage_max_proposal")
    assert set(remarks) == {"train_config.[my.extension].a", "own.thing.x"}


def known_fields(group, prefix=""):
    """All field paths that the table knows below a group, with a value each."""
    values = {"int": ": 3", "float": ": 0.5", "bool": ": true", "text": ": 'x'", "enum": ": WORD"}
    for name, known in messages()[group].items():
        if known.kind in values:
            yield f"{prefix}{name}", values[known.kind]
        elif known.kind == "Any" or not messages()[known.kind]:
            yield f"{prefix}{name}", " { }"
        else:
            yield f"{prefix}{name}", " { }"
            yield from known_fields(known.kind, f"{prefix}{name}.")


@pytest.mark.parametrize("kind", ["ssd", "faster_rcnn"])
def test_every_field_that_the_old_api_knew_has_an_answer(presets, tmp_path, monkeypatch, kind):
    # As plain dicts, since making these of a config takes longer than all else here.
    trees = {name: config.as_dict() for name, config in presets.items()}
    keys = {key for tree in trees.values() for key in models.flatten(tree)}
    unanswered = []
    fake = {name: SimpleNamespace(as_dict=lambda tree=tree: tree) for name, tree in trees.items()}
    monkeypatch.setattr(convert, "from_preset", fake.get)
    monkeypatch.setattr(convert, "edit", lambda config, changes: None)
    monkeypatch.setattr(convert, "check_config", lambda config: None)
    path = tmp_path / "pipeline.config"
    other = "model.faster_rcnn" if kind == "ssd" else "model.ssd"
    silent = (other, "model.center_net", "model.experimental_model")
    count = 0
    for field, value in known_fields("Pipeline"):
        if field.startswith(silent) or field == f"model.{kind}.feature_extractor.type":
            continue
        if field == "model":
            continue
        *outer, name = field.split(".")
        text = f"{' '.join(f'{part} {{' for part in outer)} {name}{value} {'}' * len(outer)}"
        if not field.startswith("model."):
            text = f"model {{ {kind} {{ }} }}\n{text}"
        path.write_text(text)
        _, report = convert_pipeline(path)
        row = report.rows[-1]
        assert row.field == field
        assert row.outcome in OUTCOMES
        if "not used" in row.remark:
            unanswered.append(field)
        for key in KEY.findall(row.remark):
            assert any(f"{path}.".startswith(f"{key}.") for path in keys), (row, key)
        count += 1
    assert unanswered == []
    assert count > 300


def test_the_report_reads_in_the_terminal(converted):
    _, report = converted["ssd_resnet50_fpn"]
    lines = str(report).splitlines()
    assert lines[0].startswith(f"{FILES['ssd_resnet50_fpn']} -> preset ssd_resnet50_fpn_640: ")
    assert sum(re.search(r"\.config:\d+: ", line) is not None for line in lines) == len(
        report.rows
    ) + len(report.mistakes)
    for outcome in OUTCOMES:
        assert any(line.startswith(outcome) for line in lines)


def test_the_command_prints_the_report_and_writes_the_config(tmp_path, capsys):
    out = tmp_path / "out.yaml"
    assert convert.main([str(FILES[MODERN]), str(out)]) == 0
    assert "taken over (" in capsys.readouterr().out
    assert models.load_config(out).task.model.num_classes == 3
    assert convert.main([]) == 2
    assert "pipeline.config [out.yaml]" in capsys.readouterr().err
    assert convert.main([str(tmp_path / "none.config")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert convert.main([str(FILES[MODERN]), str(out / "out.yaml")]) == 1  # in a file
    assert "name another file" in capsys.readouterr().err


def test_presets_that_files_become_are_presets():
    from helpers.models.pipeline.fields import counterparts, extractors

    presets = {extractor.preset for extractor in extractors()}
    assert presets | set(counterparts("fallback").values()) <= set(PRESETS)
