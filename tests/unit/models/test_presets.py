"""Every preset builds, takes a training step, evaluates and comes back from a SavedModel."""

import functools
import json

import numpy as np
import pytest

from helpers import evaluation, inference, models
from helpers.models import presets
from helpers.models.networks import build_model
from helpers.models.presets import PRESETS
from tests.benchmarks.models import README, write_readme

tf = pytest.importorskip("tensorflow")

NAMES = list(PRESETS)
SMALL = [next(p.name for p in PRESETS.values() if p.family == f) for f in ("ssd", "faster_rcnn")]
# The same network, seen on less: an input of a few cells of its coarsest map, and VGG with an
# eighth of its filters, whose input cannot shrink.
LESS = {
    "ssd300_vgg16": {"task.model.backbone.vgg16.filter_size_scale": 0.125},
    "ssd_mobilenet_v2": {"task.model.input_size": [64, 96, 3]},
}


@pytest.fixture(scope="module")
def two_images(tiny_records, tmp_path_factory):
    """COCO json of two held-out images."""
    truth = json.loads((tiny_records / "val.json").read_text())
    truth["images"] = truth["images"][:2]
    kept = {image["id"] for image in truth["images"]}
    truth["annotations"] = [box for box in truth["annotations"] if box["image_id"] in kept]
    path = tmp_path_factory.mktemp("truth") / "val.json"
    path.write_text(json.dumps(truth))
    return path


def narrow(name: str, records):
    """The config of a preset on a small input, for one image a step."""
    config = models.from_preset(name)
    cell = 2**config.task.model.max_level
    changes = LESS.get(name) or {
        "task.model.input_size": [cell, 2 * cell if cell < 128 else cell, 3]
    }
    # What is untrained is sure of nothing: keep it all the same.
    changes["task.model.detection_generator.pre_nms_score_threshold"] = 0.0
    config = models.for_records(models.edit(config, changes), records)
    rate = PRESETS[name].learning_rate
    return models.with_budget(config, train_steps=10, batch_size=1, learning_rate=rate)


def test_each_preset_says_what_it_is():
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert preset.title
        assert preset.family in ("ssd", "faster_rcnn")
        assert preset.ancestor.startswith(preset.family)
        assert 0 < preset.learning_rate < 0.1
        assert preset.weights in (None, "imagenet", "coco")
    assert len({preset.title for preset in PRESETS.values()}) == len(PRESETS)


@pytest.mark.parametrize("name", SMALL)
def test_the_small_presets_see_objects_in_an_image(name):
    config = models.edit(models.from_preset(name), {"task.model.num_classes": 3})
    _, model = build_model(config)
    detector = inference.build_detector(model, config, {1: "camera", 2: "car"})
    assert 500_000 < detector.parameters < 4_000_000
    height, width = detector.input_size
    # Without tracing a graph: one image takes less time so.
    detect = detector.run.python_function
    boxes, scores, classes = detect(tf.zeros([height - 24, width, 3], tf.uint8))
    assert boxes.shape[1] == 4
    assert boxes.shape[0] == scores.shape[0] == classes.shape[0]
    assert set(classes.numpy().tolist()) <= {0, 1, 2}
    assert boxes.numpy().max() <= width
    assert scores.numpy().min() >= 0
    assert scores.numpy().max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_trains_and_evaluates(name, tiny_dataset, tiny_records, two_images):
    config = narrow(name, tiny_records)
    task, model = build_model(config)
    detector = inference.build_detector(model, config, {1: "camera"})
    # On a small input these two are smaller networks.
    if name not in ("ssd300_vgg16", "ssd_spinenet49_mobile"):
        row = {row["name"]: row for row in presets.preset_rows()}[name]
        assert row["parameters"] == detector.parameters

    batch = next(iter(task.build_inputs(config.task.train_data)))
    assert batch[0].shape == (1, *config.task.model.input_size)
    optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
    metrics = task.build_metrics(training=True)
    before = [(weight, weight.numpy()) for weight in model.trainable_weights]
    task.train_step(batch, model, optimizer, metrics)
    losses = {metric.name: float(metric.result()) for metric in metrics}
    assert np.isfinite(list(losses.values())).all(), losses
    assert losses["total_loss"] > 0
    moved = [not np.array_equal(weight.numpy(), old) for weight, old in before]
    # From the first convolution on. A level without an object in one image learns little from it.
    assert moved[0]
    assert np.mean(moved) > 0.5

    everything = functools.partial(detector, threshold=0)
    found, _ = evaluation.predict(everything, tiny_dataset / "images", two_images)
    assert len(found) > 0
    assert 0 <= evaluation.coco_metrics(two_images, found)["AP50"] <= 1


def test_the_table_has_a_row_for_each_preset_in_their_order():
    rows = presets.preset_rows()
    assert [row["name"] for row in rows] == NAMES
    for row in rows:
        assert row["ancestor"] == PRESETS[row["name"]].ancestor
        assert row["parameters"] > 100_000
        assert row["ms_per_image"] > 0
        assert row["ms_per_step"] > row["ms_per_image"]
        # A process that has imported TensorFlow and Model Garden is larger than this already.
        assert row["step_memory_mb"] > 300


def test_a_preset_that_was_not_measured_still_has_a_row(tmp_path):
    (tmp_path / "models.json").write_text('{"rows": []}')
    row = presets.preset_rows(tmp_path / "models.json")[0]
    assert row["title"] == PRESETS[NAMES[0]].title
    assert row["parameters"] is None
    assert "| – |" in presets.preset_table([row])


def test_the_readme_shows_the_table_that_was_measured(tmp_path):
    assert presets.preset_table(presets.preset_rows()) in README.read_text()
    copy = tmp_path / "README.md"
    text = README.read_text()
    copy.write_text(text.replace(PRESETS[NAMES[0]].title, "another title"))
    assert copy.read_text() != text
    write_readme(copy)
    assert copy.read_text() == text
