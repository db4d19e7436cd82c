"""What training does to images and boxes before the network sees them, to be looked at first.

Nothing is made up here: `preview_augmentation` sends one example of the records through the input
function that training uses, and takes the boxes out of the labels that it makes for the network.
"""

import copy
import tempfile
from pathlib import Path

import numpy as np

from helpers import models
from helpers.annotations.boxes import Box
from helpers.annotations.label_map import read_label_map
from helpers.common.errors import CourseError
from helpers.common.images import fit
from helpers.models.config_check import MOVING
from helpers.records.examples import boxes_of, image_of
from helpers.records.tfrecord import feature_values, read_examples, write_examples
from helpers.training.batches import read_in_order

KINDS = ("zoom", "crop", "colours", "randaug", "autoaug")
_SSD_ONLY = ("crop", "autoaug")

_OLD = (
    "random_horizontal_flip",
    "random_vertical_flip",
    "random_image_scale",
    "random_crop_image",
    "random_pad_image",
    "ssd_random_crop",
    "random_adjust_brightness",
    "random_adjust_contrast",
    "random_adjust_hue",
    "random_adjust_saturation",
    "random_distort_color",
    "random_jpeg_quality",
    "random_black_patches",
    "random_jitter_boxes",
    "random_rotation90",
    "autoaugment_image",
)
_OLD_MODELS = {
    "SSD": 'ssd { num_classes: 1 feature_extractor { type: "ssd_mobilenet_v2_fpn_keras" } }',
    "Faster R-CNN": (
        'faster_rcnn { num_classes: 1 feature_extractor { type: "faster_rcnn_resnet50_keras" } }'
    ),
}

_PARSER = "task.train_data.parser"
_OFF = {
    "aug_rand_hflip": False,
    "aug_rand_vflip": False,
    "aug_rand_jpeg": None,
    "aug_scale_min": 1.0,
    "aug_scale_max": 1.0,
}
# What RandAugment holds besides colours. A Faster R-CNN's parser moves the pixels and leaves the
# boxes where they were; Cutout may cover an object whose box stays.
_MOVES = [*MOVING, "Cutout"]
# Not a matter of strength: each takes most of the picture away, however low the magnitude.
_HARSH = ["Invert", "Posterize", "Solarize", "SolarizeAdd", "Equalize"]


def set_augmentation(config, strength: float, kind: str = "zoom"):
    """Return `config` with one kind of augmentation of a given strength, and nothing else.

    Args:
        config: a Model Garden `ExperimentConfig`. Its `aug_rand_hflip` says whether images may be
            mirrored, which depends on the object and not on the strength.
        strength: 0 (nothing, not even mirrored) to 1.
        kind: one of KINDS. "zoom": scaled by 2^-strength to 2^strength; the presets' 0.8 to 1.25
            is 0.32, the old API's random_image_scale is 1. "crop": parts of the image as in the
            SSD paper, for that part of the images. "colours": brightness, contrast, saturation
            and sharpness, up to 1.9 times what they were. "randaug": two operations of
            RandAugment, of magnitude 10 * strength. "autoaug": the policy that was learnt for
            boxes, the same at each strength above 0.

    Raises:
        CourseError: an unknown kind, a strength beyond 0..1, or a kind that the detector has not:
            a Faster R-CNN cannot "crop", and its "autoaug" would move pixels but not boxes (its
            "randaug" is without the operations that do).
    """
    if kind not in KINDS:
        raise CourseError(f"augmentation: kind: {kind!r}; give one of {', '.join(KINDS)}")
    if not 0 <= strength <= 1:
        raise CourseError(f"augmentation: strength: {strength}; give 0 to 1")
    two_stage = models.is_two_stage(config)
    if two_stage and kind in _SSD_ONLY:
        raise CourseError(
            f"augmentation: kind: {kind!r} is for an SSD; a Faster R-CNN has "
            f"{', '.join(name for name in KINDS if name not in _SSD_ONLY)}"
        )
    changed = copy.deepcopy(config)
    parser = changed.task.train_data.parser
    parser.aug_type = None
    for name, value in _OFF.items():
        if hasattr(parser, name):
            setattr(parser, name, value)
    if strength == 0:
        return changed
    changes = {"aug_rand_hflip": config.task.train_data.parser.aug_rand_hflip}
    changes |= _changes(kind, strength, two_stage)
    return models.edit(changed, {f"{_PARSER}.{name}": value for name, value in changes.items()})


def _changes(kind: str, strength: float, two_stage: bool) -> dict[str, object]:
    """Keys of the parser, and their values, for one kind of augmentation."""
    if kind == "zoom":
        return {"aug_scale_min": 2.0**-strength, "aug_scale_max": 2.0**strength}
    if kind == "crop":
        area = (1.0 - 0.9 * strength, 1.0)
        return {"aug_type.type": "ssd_random_crop", "aug_type.ssd_random_crop.area_range": area}
    if kind == "autoaug":
        # Not its default, v0, which is for images without boxes: it turns the image, not the box.
        policy = "detection_v0"
        return {"aug_type.type": "autoaug", "aug_type.autoaug.augmentation_name": policy}
    if kind == "colours":
        # A magnitude of 5 changes no colour, 10 is 1.9 times as much, 0 a tenth.
        magnitude, excluded = 5.0 + 5.0 * strength, _MOVES + _HARSH
    else:
        magnitude, excluded = 10.0 * strength, _MOVES if two_stage else []
    return {
        "aug_type.type": "randaug",
        "aug_type.randaug.magnitude": magnitude,
        "aug_type.randaug.exclude_ops": excluded,
    }


def preview_augmentation(
    config, *, count: int = 5, number: int = 0, seed: int = 0
) -> tuple[list[np.ndarray], list[list[Box]]]:
    """Return one training image as the records hold it, and `count` times as training reads it.

    It passes the input function that training uses, at the size of training (a tile where the
    records hold tiles); only the normalisation is undone. Boxes come from the labels: the truth
    that training compares with. Those of an SSD are put together from the anchors that have to
    predict them, so that an object without an anchor has no box.

    Args:
        config: from `for_records`, with the augmentation to look at.
        count: how often the image is drawn.
        number: of the image, among the training images that hold an object, from 0.
        seed: of the draws. The same seed and config give the same pictures; but "crop" is drawn
            without a seed by Model Garden.

    Returns:
        (images, truth): `count` + 1 images, RGB, uint8, [height, width, 3], and the
        `annotations.Box`es of each. What lies beyond the image is grey.

    Raises:
        CourseError: the records have fewer such images.
    """
    from official.vision.ops import preprocess_ops

    pattern = Path(config.task.train_data.input_path)
    names = {i: name for name, i in read_label_map(pattern.parent / "label_map.pbtxt").items()}
    config = models.at_training_size(config)
    item = _example(pattern, number)
    image = fit(image_of(item), *config.task.model.input_size[:2])
    boxes = boxes_of(item, (image.shape[1], image.shape[0]))
    with tempfile.TemporaryDirectory(prefix="course-preview-") as scratch:
        path = Path(scratch) / "one.tfrecord"
        write_examples(path, [item])
        batch, labels = _batch(config, path, count, seed)
    pixels = (batch * preprocess_ops.STDDEV_NORM + preprocess_ops.MEAN_NORM) * 255
    images = [image, *pixels.round().clip(0, 255).astype(np.uint8)]
    truth = [[box for box, skip in zip(boxes, _ignored(item), strict=True) if not skip]]
    for i in range(count):
        objects = _objects(config, labels, i)
        truth.append([Box(names[number], x1, y1, x2, y2) for number, (y1, x1, y2, x2) in objects])
    return images, truth


def _ignored(item) -> list[int]:
    """For each box of an example whether training leaves it out, 1 or 0."""
    return feature_values(item, "image/object/is_crowd")


def _example(pattern: Path, number: int):
    """The training example `number` among those with an object that counts."""
    paths = sorted(pattern.parent.glob(pattern.name))
    examples = (item for path in paths for item in read_examples(path) if not all(_ignored(item)))
    found = -1
    for found, item in enumerate(examples):
        if found == number:
            return item
    raise CourseError(f"{pattern}: image {number}: has {found + 1} images with an object, from 0")


def _batch(config, path: Path, count: int, seed: int):
    """One training batch of `count` times the example in `path`: images and labels, as arrays."""
    import tensorflow as tf
    from official.core import task_factory
    from official.vision.tasks import maskrcnn, retinanet  # noqa: F401  (they register)

    # Each random step of the input gets its own seed of this one; training sets it, too.
    tf.random.set_seed(seed)
    data = config.task.train_data.replace(
        input_path=str(path), global_batch_size=count, shuffle_buffer_size=1, cache=False, seed=seed
    )
    options = tf.data.Options()
    # For one batch, making the reading fast takes longer than reading.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    batches = read_in_order(task_factory.get_task(config.task), data).with_options(options)
    images, labels = next(iter(batches))
    return tf.cast(images, tf.float32).numpy(), tf.nest.map_structure(lambda t: t.numpy(), labels)


def _objects(config, labels, i: int) -> list[tuple[int, list[float]]]:
    """Class id and yxyx pixels of each object in the labels of image `i`."""
    if models.is_two_stage(config):
        kept = labels["gt_classes"][i] > 0
        numbers, yxyx = labels["gt_classes"][i][kept], labels["gt_boxes"][i][kept]
        return list(zip(numbers.astype(int).tolist(), yxyx.tolist(), strict=True))
    from official.vision.ops import box_ops

    found: list[tuple[int, list[float]]] = []
    weights = config.task.model.detection_generator.box_coder_weights
    for level, anchors in labels["anchor_boxes"].items():
        classes = labels["cls_targets"][level][i].ravel()
        positive = classes > 0
        coded = labels["box_targets"][level][i].reshape(-1, 4)[positive]
        yxyx = box_ops.decode_boxes(coded, anchors[i].reshape(-1, 4)[positive], weights)
        for number, box in zip(classes[positive].astype(int).tolist(), yxyx.numpy(), strict=True):
            # Several anchors have to predict the same object.
            if all(number != n or np.abs(box - there).max() > 0.5 for n, there in found):
                found.append((number, box.tolist()))
    return found


def old_augmentation_options() -> list[dict[str, str]]:
    """Return what became of the usual `data_augmentation_options` of the old API.

    Returns:
        Rows of option, SSD and Faster R-CNN: what `convert_pipeline` makes of it, either the keys
        of today's parser or what to do instead.
    """
    listed = "".join(f"data_augmentation_options {{ {name} {{}} }}\n" for name in _OLD)
    rows: dict[str, dict[str, str]] = {name: {"option": name} for name in _OLD}
    with tempfile.TemporaryDirectory(prefix="course-preview-") as scratch:
        path = Path(scratch) / "pipeline.config"
        for title, model in _OLD_MODELS.items():
            path.write_text(f"model {{ {model} }}\ntrain_config {{ batch_size: 8\n{listed} }}")
            for row in models.convert_pipeline(path)[1].rows:
                option = row.field.rpartition(".")[2]
                if option in rows:
                    keys = row.key.replace(f"{_PARSER}.", "")
                    rows[option][title] = keys or f"none: {row.remark}"
    return list(rows.values())
