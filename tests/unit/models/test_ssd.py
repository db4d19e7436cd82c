import numpy as np
import pytest

from helpers import models
from helpers.common.errors import CourseError

tf = pytest.importorskip("tensorflow")
from official.vision.ops import box_ops  # noqa: E402

from helpers.models import ssd  # noqa: E402
from helpers.models.networks import build_model  # noqa: E402

NARROW = {"task.model.num_classes": 2, "task.model.backbone.vgg16.filter_size_scale": 0.125}


@pytest.fixture(scope="module")
def config():
    """The preset with an eighth of VGG's filters, and two classes with the background."""
    return models.edit(models.from_preset("ssd300_vgg16"), NARROW)


@pytest.fixture(scope="module")
def built(config):
    return build_model(config)


@pytest.fixture(scope="module")
def batch(config, built, tiny_records):
    """Four images and their targets."""
    ready = models.for_records(config, tiny_records)
    ready = models.with_budget(ready, train_steps=30, batch_size=4, learning_rate=0.001)
    return next(iter(built[0].build_inputs(ready.task.train_data)))


def flat(boxes):
    return np.concatenate([level.numpy().reshape(-1, 4) for level in boxes.values()])


def test_there_are_as_many_default_boxes_as_in_the_paper(config):
    boxes = ssd.default_boxes(config.task.model)
    sizes = [(38, 4), (19, 6), (10, 6), (5, 6), (3, 4), (1, 4)]
    assert [level.shape for level in boxes.values()] == [(n, n, 4 * count) for n, count in sizes]
    assert len(flat(boxes)) == 8732


def test_default_boxes_have_the_scales_and_shapes_of_the_paper(config):
    boxes = ssd.default_boxes(config.task.model)
    first = boxes["3"].numpy().reshape(38, 38, 4, 4)[0, 1]
    # Centre (i + 0.5) / 38 of the input; 30 pixels, and the square towards the next scale.
    np.testing.assert_allclose((first[:, 0] + first[:, 2]) / 2, 300 * 0.5 / 38, rtol=1e-5)
    np.testing.assert_allclose((first[:, 1] + first[:, 3]) / 2, 300 * 1.5 / 38, rtol=1e-5)
    height, width = first[:, 2] - first[:, 0], first[:, 3] - first[:, 1]
    np.testing.assert_allclose(height[:2], [30, np.sqrt(30 * 60)], rtol=1e-5)
    np.testing.assert_allclose(width / height, [1, 1, 2, 0.5], rtol=1e-5)
    sides = [sizes[0, 0] / 300 for sizes in ssd.shapes(config.task.model).values()]
    np.testing.assert_allclose(sides, [0.1, 0.2, 0.375, 0.55, 0.725, 0.9])
    ratios = np.divide(*ssd.shapes(config.task.model)["4"].T)
    np.testing.assert_allclose(ratios, [1, 1, 0.5, 2, 1 / 3, 3])


@pytest.mark.parametrize("preset", ["ssd300_vgg16", "ssd_mobilenet_v2"])
@pytest.mark.parametrize("size", [(300, 300), (300, 420)])
def test_the_network_gives_one_prediction_for_each_default_box(preset, size):
    changes = {"task.model.input_size": [*size, 3], "task.model.num_classes": 3}
    if preset == "ssd300_vgg16":
        changes |= {"task.model.backbone.vgg16.filter_size_scale": 0.0625}
    config = models.edit(models.from_preset(preset), changes)
    _, model = build_model(config)
    outputs = model(tf.zeros([1, *size, 3]), training=True)
    for level, boxes in ssd.default_boxes(config.task.model).items():
        assert outputs["box_outputs"][level].shape == (1, *boxes.shape)
        classes = (1, *boxes.shape[:2], boxes.shape[2] // 4 * 3)
        assert outputs["cls_outputs"][level].shape == classes
    if preset == "ssd_mobilenet_v2" and size == (300, 300):
        # As many as its ancestor had but for the extra square on the first map.
        assert len(flat(ssd.default_boxes(config.task.model))) == 1917 + 19 * 19


def test_an_input_too_small_for_the_last_map_is_named(config):
    small = models.edit(config, {"task.model.input_size": [200, 300, 3]})
    with pytest.raises(CourseError, match="input_size: 200 leaves no cell"):
        ssd.default_boxes(small.task.model)


def test_a_box_comes_back_from_what_it_is_encoded_as(config):
    anchors = flat(ssd.default_boxes(config.task.model))
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 200, (len(anchors), 2))
    boxes = np.concatenate([boxes, boxes + rng.uniform(5, 100, boxes.shape)], axis=1)
    weights = config.task.model.detection_generator.box_coder_weights
    encoded = box_ops.encode_boxes(tf.constant(boxes, tf.float32), anchors, weights)
    np.testing.assert_allclose(
        box_ops.decode_boxes(encoded, anchors, weights).numpy(), boxes, atol=0.01
    )
    # A shift by a tenth of the default box is one unit.
    shifted = anchors[:1] + 0.1 * (anchors[0, 2] - anchors[0, 0])
    np.testing.assert_allclose(
        box_ops.encode_boxes(tf.constant(shifted), anchors[:1], weights)[0], [1, 1, 0, 0], atol=1e-3
    )


def test_objects_are_matched_with_the_boxes_that_overlap_them(config, batch):
    images, labels = batch
    assert images.shape == (4, 300, 300, 3)
    positive = labels["box_weights"].numpy() > 0
    assert positive.shape == (4, 8732)
    assert (positive.sum(axis=1) >= 1).all()
    classes = np.concatenate([t.numpy().reshape(4, -1) for t in labels["cls_targets"].values()], 1)
    assert (classes[positive] == 1).all()
    assert (classes[~positive] <= 0).all()
    # All positives of an image decode to its one object.
    targets = np.concatenate(
        [t.numpy().reshape(4, -1, 4) for t in labels["box_targets"].values()], axis=1
    )
    weights = config.task.model.detection_generator.box_coder_weights
    anchors = flat(ssd.default_boxes(config.task.model))
    for image in range(4):
        chosen = positive[image]
        boxes = box_ops.decode_boxes(
            tf.constant(targets[image][chosen]), tf.constant(anchors[chosen]), weights
        ).numpy()
        np.testing.assert_allclose(boxes, np.tile(boxes[:1], (len(boxes), 1)), atol=0.1)


def test_three_hard_negatives_for_each_positive_are_the_worst():
    rng = np.random.default_rng(0)
    losses = rng.uniform(0, 5, (2, 50)).astype(np.float32)
    positive = np.zeros((2, 50), bool)
    positive[0, [3, 9]] = True  # the other image shows nothing
    negative = ~positive
    negative[0, 20] = False  # neither: a box that nearly fits
    losses[0, [3, 9, 20]] = 99
    chosen = ssd.hard_negatives(*map(tf.constant, (losses, positive, negative))).numpy()
    assert chosen.sum() == 6
    assert not (chosen & ~negative).any()
    assert chosen[1].any()
    assert losses[chosen].min() >= losses[negative & ~chosen].max()
    # No more than there are.
    few = ssd.hard_negatives(*map(tf.constant, (losses, negative, positive))).numpy()
    assert (few == positive).all()


def test_a_sigmoid_of_the_log_odds_is_a_softmax():
    logits = np.random.default_rng(0).normal(0, 4, (2, 3, 3, 4 * 5)).astype(np.float32)
    odds = ssd.log_odds(tf.constant(logits), classes=5)
    assert odds.shape == logits.shape
    split = (2, 3, 3, 4, 5)
    np.testing.assert_allclose(
        tf.sigmoid(odds).numpy().reshape(split),
        tf.nn.softmax(logits.reshape(split)).numpy(),
        atol=1e-5,
    )


def test_the_loss_is_the_papers(built, batch):
    task, _ = built
    _, labels = batch
    shapes = {level: targets.shape for level, targets in labels["box_targets"].items()}
    boxes = {level: tf.zeros(shape) for level, shape in shapes.items()}
    # Each class as likely as the other: the loss of each box is log 2, and there are 3 negatives
    # for each positive.
    even = {level: tf.zeros([*shape[:3], shape[3] // 2]) for level, shape in shapes.items()}
    outputs = {"cls_outputs": even, "box_outputs": boxes}
    total, confidence, localisation, model_loss = task.build_losses(outputs, labels)
    assert float(confidence) == pytest.approx(4 * np.log(2), rel=1e-4)
    assert float(model_loss) == pytest.approx(float(confidence + localisation))
    assert float(total) == float(model_loss)
    exact = {level: targets for level, targets in labels["box_targets"].items()}
    assert float(task.build_losses(outputs | {"box_outputs": exact}, labels)[2]) == 0
    further = {level: targets + 3 for level, targets in exact.items()}
    found = task.build_losses(outputs | {"box_outputs": further}, labels)[2]
    assert float(found) == pytest.approx(4 * 2.5, rel=1e-4)  # smooth L1 of 3 is 2.5
    assert float(task.build_losses(outputs, labels, [tf.constant(7.0)])[0]) == pytest.approx(
        float(model_loss) + 7
    )


def test_steps_lower_the_loss_on_one_batch(built, batch):
    import tf_keras

    task, model = built
    optimizer = tf_keras.optimizers.legacy.Adam(0.001)
    metrics = task.build_metrics(training=True)
    step = tf.function(lambda: task.train_step(batch, model, optimizer, metrics))
    losses = []
    # With ever other negatives to learn from, the first ten steps gain nothing.
    for _ in range(40):
        step()
        losses.append({metric.name: float(metric.result()) for metric in metrics})
        for metric in metrics:
            metric.reset_states()
    assert losses[-1]["cls_loss"] < 0.7 * losses[0]["cls_loss"]
    assert losses[-1]["box_loss"] < losses[0]["box_loss"]


def test_conv4_3_is_scaled_to_length_20(built):
    layer = built[1].decoder.l2_normalize
    fresh = ssd.L2Normalization()
    x = tf.constant(np.random.default_rng(0).normal(0, 300, (1, 2, 2, 8)), tf.float32)
    np.testing.assert_allclose(tf.norm(fresh(x), axis=-1).numpy(), 20, rtol=1e-4)
    assert layer.scale.trainable
    assert layer.scale.shape == (64,)
