"""Faults in records that no trainer reports, planted on purpose: what they do to a training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.label_map import read_label_map
from helpers.common.errors import CourseError
from helpers.inference import detector as detectors
from helpers.models import config as configs
from helpers.models.networks import build_model
from helpers.records import shards, tfrecord, tiles

CROP_SIDE = 128  # of a crop, pixels
_EDGES = ("xmin", "ymin", "xmax", "ymax")


def object_crops(folder: Path, count: int) -> list:
    """Cut `count` squares of SIDE pixels out of training records, one object in each.

    Small enough for a detector to learn them by heart in seconds. The square is 2.5 times as
    wide as the object, and shrunk or enlarged to SIDE. Returns `tf.train.Example`s with ids
    from 1; fewer where the records hold fewer objects. CourseError when they hold none.
    """
    label_map = read_label_map(folder / "label_map.pbtxt")
    found = []
    for path in sorted(folder.glob("train-*.tfrecord")):
        for item in tfrecord.read_examples(path):
            hard = tfrecord.feature_values(item, "image/object/difficult")
            boxes = _boxes(item)
            easy = [box for box, skip in zip(boxes, hard, strict=True) if not skip]
            if easy:
                found.append(_crop(item, easy[0], boxes, label_map, len(found) + 1))
            if len(found) == count:
                return found
    if not found:
        raise CourseError(f"{folder}: no object in the training records; look at lesson 03")
    return found


def _crop(item, target: Box, boxes: Sequence[Box], label_map: Mapping[str, int], number: int):
    image = tiles.decoded_image(item)
    height, width = image.shape[:2]
    side = int(min(2.5 * max(target.xmax - target.xmin, target.ymax - target.ymin), height, width))
    x = int(np.clip((target.xmin + target.xmax - side) / 2, 0, width - side))
    y = int(np.clip((target.ymin + target.ymax - side) / 2, 0, height - side))
    square = cv2.resize(image[y : y + side, x : x + side], (CROP_SIDE, CROP_SIDE))
    scale, inside = CROP_SIDE / side, []
    for box in boxes:
        edges = (np.array(box.xyxy) - [x, y, x, y]).clip(0, side) * scale
        cut = Box(box.label, *map(float, edges))
        if cut.area > 0.5 * box.area * scale**2:
            inside.append(cut)
    jpeg = cv2.imencode(".jpg", square, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    name = f"crop_{number:03d}.jpg"
    return shards.example(
        jpeg, Annotation(name, CROP_SIDE, CROP_SIDE, tuple(inside)), label_map, number
    )


def _boxes(item) -> list[Box]:
    """Boxes of an example in pixels of its image."""
    width, height = (
        tfrecord.feature_values(item, f"image/{side}")[0] for side in ("width", "height")
    )
    labels = tfrecord.feature_values(item, "image/object/class/text")
    edges = (tfrecord.feature_values(item, f"image/object/bbox/{edge}") for edge in _EDGES)
    return [
        Box(label.decode(), xmin * width, ymin * height, xmax * width, ymax * height)
        for label, xmin, ymin, xmax, ymax in zip(labels, *edges, strict=True)
    ]


def _lists(item) -> dict[str, list]:
    """The lists of an example that hold its objects, to be altered in place."""
    feature = item.features.feature
    edges = {edge: feature[f"image/object/bbox/{edge}"].float_list.value for edge in _EDGES}
    return edges | {"label": feature["image/object/class/label"].int64_list.value}


def _from_zero(item) -> None:
    ids = _lists(item)["label"]
    ids[:] = [number - 1 for number in ids]


def _beyond(item) -> None:
    ids = _lists(item)["label"]
    ids[:] = [number + 100 for number in ids]


def _swapped(item) -> None:
    lists = _lists(item)
    left, right = list(lists["xmin"]), list(lists["xmax"])
    lists["xmin"][:], lists["xmax"][:] = right, left


def _pixels(item) -> None:
    for edge, values in _lists(item).items():
        if edge != "label":
            values[:] = [value * CROP_SIDE for value in values]


def _file_name(item) -> None:
    feature = item.features.feature
    name = feature["image/filename"].bytes_list.value[0]
    feature["image/source_id"].bytes_list.value[:] = [name]


# Name -> what it does to an example, in place.
PLANTED_FAULTS: dict[str, Callable | None] = {
    "as it should be": None,
    "labels count from 0": _from_zero,
    "id not in the label map": _beyond,
    "xmin and xmax swapped": _swapped,
    "pixels instead of parts": _pixels,
    "source_id is a file name": _file_name,
}


def plant_fault(items: Sequence, fault: str) -> list:
    """Return copies of `tf.train.Example`s with one of the FAULTS in each of them."""
    copies = [type(item).FromString(tfrecord.serialized(item)) for item in items]
    for item in copies if PLANTED_FAULTS[fault] else ():
        PLANTED_FAULTS[fault](item)
    return copies


def train_on_faults(items: Sequence, folder: Path, *, steps: int, seed: int = 0) -> dict[str, dict]:
    """Train one small detector on each of the FAULTS, from the same weights.

    Args:
        items: from `crops`.
        folder: scratch space for the records.
        steps: training steps of 8 crops, in the same order for each fault.
        seed: of the weights and of the order.

    Returns:
        fault -> {"loss": one number a step, "found": objects that the trained detector finds
        in the very crops it was trained on (score from 0.3, overlap from half), "objects": how
        many there are, "scoring": what Model Garden's evaluation says, "runs" or its error}.
    """
    import tensorflow as tf
    import tf_keras
    from tqdm.auto import tqdm

    config = _config(items, folder, steps, seed)
    tf_keras.utils.set_random_seed(seed)
    task, model = build_model(config)
    optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
    metrics = task.build_metrics(training=True)
    fresh = model.get_weights()
    detector = detectors.build_detector(model, config, {1: "object"})

    @tf.function
    def train_step(batch):
        task.train_step(batch, model, optimizer, metrics)

    results = {}
    with tqdm(
        total=steps * len(PLANTED_FAULTS), desc="faults", unit="step", mininterval=0.5
    ) as bar:
        for fault in PLANTED_FAULTS:
            tfrecord.write_examples(folder / "crops.tfrecord", plant_fault(items, fault))
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
            found = sum(_found(detector, item) for item in items)
            results[fault] = {
                "loss": losses,
                "found": found,
                "objects": sum(len(_boxes(item)) for item in items),
                "scoring": _scoring(task, config),
            }
    return results


def _config(items: Sequence, folder: Path, steps: int, seed: int):
    """A one-class SSD of SIDE pixels that learns a handful of crops by heart."""
    ids = {number for item in items for number in _lists(item)["label"]}
    config = configs.edit(
        configs.from_preset("ssd_cpu"),
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
            "task.train_data.shuffle_buffer_size": len(items),
            "task.train_data.seed": seed,
            "task.train_data.deterministic": True,
            "task.train_data.parser.aug_rand_hflip": False,
            "task.train_data.parser.aug_scale_min": 1.0,
            "task.train_data.parser.aug_scale_max": 1.0,
            "task.validation_data.input_path": str(folder / "crops.tfrecord"),
            "task.validation_data.global_batch_size": 1,
        },
    )
    return configs.with_budget(config, train_steps=steps, batch_size=8, learning_rate=0.004)


def _found(detector, item) -> int:
    import supervision as sv

    found = detector(cv2.cvtColor(tiles.decoded_image(item), cv2.COLOR_BGR2RGB), threshold=0.3)
    truth, ids = np.array([box.xyxy for box in _boxes(item)]), _lists(item)["label"]
    if not len(found):
        return 0
    overlap = sv.box_iou_batch(truth, found.xyxy) * (np.array(ids)[:, None] == found.class_id)
    return int((overlap.max(axis=1) >= 0.5).sum())


def _scoring(task, config) -> str:
    """What the reading for Model Garden's evaluation says to the records: "runs" or its error."""
    import tensorflow as tf

    try:
        next(iter(task.build_inputs(config.task.validation_data)))
    except tf.errors.OpError as error:
        return error.message.splitlines()[0].split("}} ")[-1].split(" [[")[0]
    return "runs"
