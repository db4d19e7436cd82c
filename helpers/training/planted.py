"""Faults in records that no trainer reports, planted on purpose: what they do to a training."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from helpers import models
from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.label_map import read_label_map
from helpers.common.errors import CourseError
from helpers.inference.detector import build_detector
from helpers.models.networks import build_model
from helpers.records.examples import BOX_KEYS, boxes_of, image_of, make_example
from helpers.records.tfrecord import (
    Example,
    Message,
    feature_values,
    serialized,
    set_values,
    training_examples,
    write_examples,
)

CROP_SIDE = 128  # of a crop, pixels

_LABEL = "image/object/class/label"


def object_crops(folder: Path, count: int) -> list[Message]:
    """Cut `count` squares of CROP_SIDE pixels out of training records, one object in each.

    Small enough for a detector to learn them by heart in seconds. The square is 2.5 times as
    wide as the object, and shrunk or enlarged to CROP_SIDE.

    Returns:
        `tf.train.Example`s with ids from 1; fewer where the records hold fewer objects.

    Raises:
        CourseError: the records hold no object.
    """
    label_map = read_label_map(folder / "label_map.pbtxt")
    with_object = (
        example
        for example in training_examples(folder)
        if any(not box.difficult for box in boxes_of(example))
    )
    found = [
        _crop(example, label_map, number)
        for number, example in enumerate(itertools.islice(with_object, count), 1)
    ]
    if not found:
        raise CourseError(f"{folder}: no object in the training records; look at lesson 03")
    return found


def _crop(example: Message, label_map: Mapping[str, int], number: int) -> Message:
    """The square around the first object that is not difficult, with all boxes in it."""
    image, boxes = image_of(example), boxes_of(example)
    target = next(box for box in boxes if not box.difficult)
    height, width = image.shape[:2]
    side = int(min(2.5 * max(target.xmax - target.xmin, target.ymax - target.ymin), height, width))
    x = int(np.clip((target.xmin + target.xmax - side) / 2, 0, width - side))
    y = int(np.clip((target.ymin + target.ymax - side) / 2, 0, height - side))
    square = cv2.resize(image[y : y + side, x : x + side], (CROP_SIDE, CROP_SIDE))
    scale, inside = CROP_SIDE / side, []
    for box in boxes:
        edges = (np.array(box.xyxy) - [x, y, x, y]).clip(0, side) * scale
        xmin, ymin, xmax, ymax = edges.tolist()
        cut = Box(box.label, xmin, ymin, xmax, ymax)
        if cut.area > 0.5 * box.area * scale**2:
            inside.append(cut)
    bgr = cv2.cvtColor(square, cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    name = f"crop_{number:03d}.jpg"
    annotation = Annotation(name, CROP_SIDE, CROP_SIDE, tuple(inside))
    return make_example(jpeg, annotation, label_map, number)[0]


def _change(example: Message, key: str, function: Callable) -> None:
    set_values(example, key, [function(value) for value in feature_values(example, key)])


def _from_zero(example: Message) -> None:
    _change(example, _LABEL, lambda number: number - 1)


def _beyond(example: Message) -> None:
    _change(example, _LABEL, lambda number: number + 100)


def _swapped(example: Message) -> None:
    left, _, right, _ = BOX_KEYS
    values = feature_values(example, left), feature_values(example, right)
    set_values(example, right, values[0])
    set_values(example, left, values[1])


def _pixels(example: Message) -> None:
    for key in BOX_KEYS:
        _change(example, key, lambda edge: edge * CROP_SIDE)


def _file_name(example: Message) -> None:
    set_values(example, "image/source_id", feature_values(example, "image/filename"))


# Name -> what it does to an example, in place.
PLANTED_FAULTS: dict[str, Callable[[Message], None] | None] = {
    "as it should be": None,
    "labels count from 0": _from_zero,
    "id not in the label map": _beyond,
    "xmin and xmax swapped": _swapped,
    "pixels instead of parts": _pixels,
    "source_id is a file name": _file_name,
}


def plant_fault(examples: Sequence[Message], fault: str) -> list[Message]:
    """Return copies of `tf.train.Example`s with one of the PLANTED_FAULTS in each of them."""
    copies = [Example.FromString(serialized(example)) for example in examples]
    if alter := PLANTED_FAULTS[fault]:
        for example in copies:
            alter(example)
    return copies


def train_on_faults(
    crops: Sequence[Message], folder: Path, *, steps: int, seed: int = 0
) -> dict[str, dict]:
    """Train one small detector on each of the PLANTED_FAULTS, from the same weights.

    Args:
        crops: from `object_crops`.
        folder: scratch space for the records.
        steps: training steps of 8 crops, in the same order for each fault.
        seed: of the weights and of the order.

    Returns:
        fault -> {"loss": one number a step, "found": objects that the trained detector finds
        in the very crops it was trained on (score from 0.3, IoU from 0.5), "objects": how
        many there are, "scoring": what Model Garden's evaluation says, "runs" or its error}.
    """
    import tensorflow as tf
    import tf_keras

    from helpers.common.progress import tqdm

    config = _config(crops, folder, steps, seed)
    tf_keras.utils.set_random_seed(seed)
    task, model = build_model(config)
    optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
    metrics = task.build_metrics(training=True)
    fresh = model.get_weights()
    detector = build_detector(model, config, {1: "object"})

    @tf.function
    def train_step(batch):
        task.train_step(batch, model, optimizer, metrics)

    results = {}
    with tqdm(
        total=steps * len(PLANTED_FAULTS), desc="faults", unit="step", mininterval=0.5
    ) as bar:
        for fault in PLANTED_FAULTS:
            write_examples(folder / "crops.tfrecord", plant_fault(crops, fault))
            model.set_weights(fresh)
            for variable in optimizer.variables():  # step and moments; none before the first step
                variable.assign(tf.zeros_like(variable))
            losses = []
            for batch in task.build_inputs(config.task.train_data).take(steps):
                for metric in metrics:
                    metric.reset_states()
                train_step(batch)
                losses.append(float(metrics[0].result()))
                bar.update()
            results[fault] = {
                "loss": losses,
                "found": sum(_found(detector, crop) for crop in crops),
                "objects": sum(len(boxes_of(crop)) for crop in crops),
                "scoring": _scoring(task, config),
            }
    return results


def _config(crops: Sequence[Message], folder: Path, steps: int, seed: int):
    """An SSD of CROP_SIDE pixels that learns a handful of crops by heart."""
    ids = {number for crop in crops for number in feature_values(crop, _LABEL)}
    config = models.edit(
        models.from_preset("ssd_cpu"),
        {
            "task.model.input_size": [CROP_SIDE, CROP_SIDE, 3],
            "task.model.max_level": 5,
            "task.model.num_classes": max(ids) + 1,
            "task.model.backbone.resnet.model_id": 10,
            "task.model.decoder.fpn.num_filters": 32,
            "task.model.head.num_filters": 32,
            "task.model.head.num_convs": 1,
            "task.model.norm_activation.norm_momentum": 0.9,
            "task.train_data.input_path": str(folder / "crops.tfrecord"),
            "task.train_data.shuffle_buffer_size": len(crops),
            "task.train_data.seed": seed,
            "task.train_data.deterministic": True,
            "task.train_data.parser.aug_rand_hflip": False,
            "task.train_data.parser.aug_scale_min": 1.0,
            "task.train_data.parser.aug_scale_max": 1.0,
            "task.validation_data.input_path": str(folder / "crops.tfrecord"),
            # Else a last batch that is not full is dropped: of a few crops, all.
            "task.validation_data.drop_remainder": False,
        },
    )
    return models.with_budget(config, train_steps=steps, batch_size=8, learning_rate=0.004)


def _found(detector, crop: Message) -> int:
    """How many objects of a crop the detector finds."""
    import supervision as sv

    found = detector(image_of(crop), threshold=0.3)
    if not len(found):
        return 0
    truth = np.array([box.xyxy for box in boxes_of(crop)])
    same_class = np.array(feature_values(crop, _LABEL))[:, None] == found.class_id
    iou = sv.box_iou_batch(truth, found.xyxy) * same_class
    return int((iou.max(axis=1) >= 0.5).sum())


def _scoring(task, config) -> str:
    """What Model Garden's evaluation says when it reads the records: "runs" or its error."""
    import tensorflow as tf

    try:
        next(iter(task.build_inputs(config.task.validation_data)))
    except tf.errors.OpError as error:
        return error.message.splitlines()[0].split("}} ")[-1].split(" [[")[0]
    return "runs"
