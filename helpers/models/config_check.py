"""What fails, or spoils a training, only later: found in the config before it starts.

Each check yields lines of key, value and what to do; `check_config` raises the first of them.
"""

import difflib
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from helpers.annotations.label_map import read_label_map
from helpers.common.artifacts import MANIFEST, read_manifest
from helpers.common.devices import gpus
from helpers.common.errors import CourseError

_MODEL = "task.model"
_TRAIN, _VALIDATION = "task.train_data", "task.validation_data"
_RATE = "trainer.optimizer_config.learning_rate"
_WARMUP = "trainer.optimizer_config.warmup"

# The finest level that a backbone gives, where it is not 2 (stride 4).
_FINEST = {"mobiledet": 1}
_SPINENETS = ("spinenet", "spinenet_mobile")
_DTYPES = ("float32", "bfloat16", "float16")
# What they do to an image, Model Garden's Faster R-CNN does not do to its boxes.
MOVING = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


def check_config(config) -> None:
    """Raise CourseError for the first setting that would fail, or spoil training, only later.

    Where `task.train_data.input_path` lies in a folder of records with a manifest, these count too.
    """
    for fault in _faults(config):
        raise CourseError(fault)


def _faults(config) -> Iterator[str]:
    """What is wrong with a config, one line each, in the order in which it would show."""
    for part in (
        _sizes,
        _levels,
        _anchors,
        _parsers,
        _augmentation,
        _dtypes,
        _batches,
        _learning_rate,
        _warmup,
        _checkpoint,
        _data,
    ):
        yield from part(config)


def _line(key: str, value: Any, fix: str) -> str:
    return f"config: {key}: {value}; {fix}"


def _data_parts(config) -> Iterator[tuple[str, Any]]:
    yield _TRAIN, config.task.train_data
    yield _VALIDATION, config.task.validation_data


def _sizes(config) -> Iterator[str]:
    model, key = config.task.model, f"{_MODEL}.input_size"
    size = list(model.input_size)
    if len(size) != 3 or min(size) < 1 or size[2] != 3:
        yield _line(key, size, "give [height, width, 3]")
    else:
        height, width, _ = size
        # What a pyramid adds up must agree in size. The maps of an SSD without one need not.
        stride = (
            1 if model.decoder.type == "extra_layers" else 2 ** max(0, min(model.max_level, 30))
        )
        if max(height, width).bit_length() <= model.max_level and stride > 1:
            fix = f"an input of {height}x{width} has no such level; give at most 7"
            yield _line(f"{_MODEL}.max_level", model.max_level, fix)
        elif height % stride or width % stride:
            yield (
                f"config: {key}: {height}x{width} is not a multiple of 2^max_level = {stride}; use "
                f"{_multiple(height, stride)}x{_multiple(width, stride)}, "
                f"or a lower {_MODEL}.max_level"
            )
    if model.num_classes < 2:
        fix = "give your classes + 1, since class 0 is the background"
        yield _line(f"{_MODEL}.num_classes", model.num_classes, fix)


def _multiple(size: int, stride: int) -> int:
    return max(stride, round(size / stride) * stride)


def _levels(config) -> Iterator[str]:
    model = config.task.model
    low, high, kind = model.min_level, model.max_level, model.backbone.type
    key, finest = f"{_MODEL}.min_level", _FINEST.get(kind, 2)
    if low > high:
        yield _line(key, low, f"{_MODEL}.max_level is {high}; give at most that")
    elif kind in _SPINENETS:
        own = model.backbone.get()
        if (low, high) != (own.min_level, own.max_level):
            ends = f"{_MODEL}.backbone.{kind}.min_level and max_level"
            fix = f"it has its own, {own.min_level} to {own.max_level}; set {ends} alike"
            yield _line(f"{key} and max_level", f"{low} to {high}", fix)
    elif low < finest:
        yield _line(key, low, f"a {kind} gives none below {finest}; give that or more")
    elif low > 5:
        yield _line(key, low, f"a {kind} gives none above 5; give 5 or less")
    elif high > 5 and model.decoder.type in (None, "identity"):
        fix = f"a {kind} gives none above 5; give 5, or {_MODEL}.decoder.type fpn, which adds some"
        yield _line(f"{_MODEL}.max_level", high, fix)


def _anchors(config) -> Iterator[str]:
    anchor, key = config.task.model.anchor, f"{_MODEL}.anchor"
    ratios = list(anchor.aspect_ratios or [])
    if not ratios or min(ratios) <= 0:
        fix = "give widths over heights above 0, such as [0.5, 1.0, 2.0]"
        yield _line(f"{key}.aspect_ratios", ratios, fix)
    scales = getattr(anchor, "num_scales", 1)
    if scales < 1:
        yield _line(f"{key}.num_scales", scales, "give 1 or more")
    if anchor.anchor_size <= 0:
        fix = "give a size above 0, in cells of the finest grid, such as 3.0"
        yield _line(f"{key}.anchor_size", anchor.anchor_size, fix)


def _parsers(config) -> Iterator[str]:
    parser, key = config.task.train_data.parser, f"{_TRAIN}.parser"
    low, high = parser.aug_scale_min, parser.aug_scale_max
    if low <= 0:
        yield _line(f"{key}.aug_scale_min", low, "give a scale above 0, such as 0.8")
    if low > high:
        yield _line(f"{key}.aug_scale_min", low, f"aug_scale_max is {high}; give at most that")
    for prefix, data in _data_parts(config):
        most = data.parser.max_num_instances
        if most < 1:
            fix = "give the most objects of an image, such as 100"
            yield _line(f"{prefix}.parser.max_num_instances", most, fix)
    for stage in ("", "rpn_"):
        above = getattr(parser, f"{stage}match_threshold", None)
        below = getattr(parser, f"{stage}unmatched_threshold", None)
        if above is not None and below > above:
            fix = f"{stage}match_threshold is {above}; give at most that"
            yield _line(f"{key}.{stage}unmatched_threshold", below, fix)


def _augmentation(config) -> Iterator[str]:
    augmentation, key = config.task.train_data.parser.aug_type, f"{_TRAIN}.parser.aug_type"
    if augmentation is None:
        return
    kind = augmentation.type
    if hasattr(config.task.model, "roi_generator"):
        if kind == "randaug":
            given = list(augmentation.randaug.exclude_ops)
            if missing := [name for name in MOVING if name not in given]:
                fix = "here it moves pixels, but not the boxes; add " + ", ".join(missing)
                yield _line(f"{key}.randaug.exclude_ops", given, fix)
        elif kind:
            fix = "a Faster R-CNN cannot; give randaug, with all exclude_ops that move the image"
            yield _line(f"{key}.type", kind, fix)
    elif kind == "autoaug":
        policy = augmentation.autoaug.augmentation_name
        if policy != "detection_v0":
            fix = "it moves pixels, but not the boxes; give detection_v0"
            yield _line(f"{key}.autoaug.augmentation_name", policy, fix)
    elif kind not in ("randaug", "ssd_random_crop"):
        fix = f"give {key}: null for none, or randaug, autoaug, ssd_random_crop"
        yield _line(f"{key}.type", kind, fix)


def _dtypes(config) -> Iterator[str]:
    dtypes = {
        "runtime.mixed_precision_dtype": config.runtime.mixed_precision_dtype or "float32",
        **{f"{prefix}.dtype": data.dtype for prefix, data in _data_parts(config)},
    }
    for key, dtype in dtypes.items():
        if dtype not in _DTYPES:
            yield _line(key, repr(dtype), f"give {', '.join(_DTYPES[:2])} or {_DTYPES[2]}")
        elif dtype == "float16" and not gpus():
            fix = "a CPU is 15 times slower with it, and there is no GPU; give float32"
            yield _line(key, dtype, fix)


def _batches(config) -> Iterator[str]:
    counts = {
        **{f"{key}.global_batch_size": data.global_batch_size for key, data in _data_parts(config)},
        "trainer.train_steps": config.trainer.train_steps,
    }
    for key, count in counts.items():
        if count < 1:
            yield _line(key, count, "give 1 or more")
    if not config.task.train_data.is_training:
        fix = "the records would be read once only, unshuffled; give true"
        yield _line(f"{_TRAIN}.is_training", "false", fix)


def _learning_rate(config) -> Iterator[str]:
    """A rate that falls as it says, and all of it before the last step."""
    kind = config.trainer.optimizer_config.learning_rate.type
    rate = config.trainer.optimizer_config.learning_rate.get()
    if rate is None:
        yield _line(f"{_RATE}.type", "none", "give cosine, which falls to 0 at the last step")
        return
    key, first = f"{_RATE}.{kind}", first_rate(rate)
    if hasattr(rate, "boundaries"):
        yield from _boundaries(config, key, rate, kind == "stepwise")
        return
    if first is None or first <= 0:
        name = "learning_rate" if kind == "constant" else "initial_learning_rate"
        yield _line(f"{key}.{name}", first, "give a rate above 0, such as 0.01")
    for name in ("decay_steps", "total_decay_steps"):
        if hasattr(rate, name):
            yield from _decay(config, f"{key}.{name}", rate, getattr(rate, name))
    factor = getattr(rate, "decay_rate", 0.5)
    if factor is None or not 0 < factor <= 1:
        fix = "give a factor from 0 to 1 by which the rate falls, such as 0.5"
        yield _line(f"{key}.decay_rate", factor, fix)
    end = getattr(rate, "end_learning_rate", 0)
    if first and end > first:
        fix = f"the rate would rise from its initial {first:g}; give less, such as 0"
        yield _line(f"{key}.end_learning_rate", end, fix)


def first_rate(rate) -> float | None:
    """Return the learning rate before it falls; None where none is set.

    Args:
        rate: a schedule, `config.trainer.optimizer_config.learning_rate.get()`.
    """
    if hasattr(rate, "boundaries"):
        return rate.values[0] if rate.values else None
    return rate.learning_rate if hasattr(rate, "learning_rate") else rate.initial_learning_rate


def _decay(config, key: str, rate, decay: int | None) -> Iterator[str]:
    steps, offset = config.trainer.train_steps, rate.offset
    if decay is None or decay < 1:
        yield _line(key, decay, f"give the train_steps, {steps}")
        return
    end = decay + offset
    said = f"{decay} after {key.rpartition('.')[0]}.offset {offset}" if offset else f"{decay}"
    stairs = getattr(rate, "staircase", False)
    if end > steps or (stairs and end == steps):
        fits = max(1, steps // 4) if hasattr(rate, "decay_rate") else steps
        fix = f"the rate falls until step {end}, but training ends after {steps}; give {fits}"
        yield _line(key, said, fix + (" without an offset" if offset else ""))
    elif end < steps and _falls_to_zero(rate):
        fix = f"the rate is 0 from step {end} on, and {steps - end} of {steps} steps learn nothing"
        yield _line(key, said, f"{fix}; give the train_steps, {steps}")


def _falls_to_zero(rate) -> bool:
    """Whether nothing is learnt after the last step of the decay."""
    if getattr(rate, "cycle", False) or hasattr(rate, "decay_rate"):
        return False
    return not (getattr(rate, "alpha", 0) or getattr(rate, "end_learning_rate", 0))


def _boundaries(config, key: str, rate, constant: bool) -> Iterator[str]:
    """Rates by intervals: `constant` ones ("stepwise"), or each a half cosine.

    The boundaries of the first end intervals. Those of the second begin them, whatever its
    docstring says: the first is 0, and from the last on Model Garden divides by 0.
    """
    steps, places = config.trainer.train_steps, list(rate.boundaries or [])
    rising = all(a < b for a, b in pairwise(places))
    if constant and not (places and places[0] > 0 and rising):
        fix = f"give rising steps from 1 on, such as [{steps // 2}, {steps * 3 // 4}]"
        yield _line(f"{key}.boundaries", places, fix)
        return
    if not constant and not (len(places) > 1 and places[0] == 0 and rising):
        fix = f"give rising steps, the first 0, such as [0, {steps // 2}, {steps + 1}]"
        yield _line(f"{key}.boundaries", places, fix)
        return
    values, wanted = list(rate.values or []), len(places) + constant
    falling = values if constant else values[:-1]  # a cosine ends at the next rate
    if len(values) != wanted or min(falling) <= 0:
        fix = f"give {wanted} rates above 0, since there are {len(places)} boundaries"
        yield _line(f"{key}.values", values, fix)
    last = places[-1] + rate.offset
    if constant and last >= steps:
        fix = f"training ends after {steps} steps, so the last rate never comes; give lower ones"
        yield _line(f"{key}.boundaries", places, fix)
    if not constant and last not in (steps, steps + 1):
        fix = f"the last must be the train_steps + 1, {steps + 1}; from it on the rate is no number"
        yield _line(f"{key}.boundaries", places, fix)


def _warmup(config) -> Iterator[str]:
    kind = config.trainer.optimizer_config.warmup.type
    if kind is None:
        return
    warmup = config.trainer.optimizer_config.warmup.get()
    rate = config.trainer.optimizer_config.learning_rate.get()
    key, steps, rising = f"{_WARMUP}.{kind}", config.trainer.train_steps, warmup.warmup_steps
    if rising is None or rising < 0:
        yield _line(f"{key}.warmup_steps", rising, f"give a tenth, {steps // 10}")
    elif rising >= steps:
        fix = f"training ends after {steps} steps, before it has begun; give a tenth, {steps // 10}"
        yield _line(f"{key}.warmup_steps", rising, fix)
    start, base = getattr(warmup, "warmup_learning_rate", 0), rate and first_rate(rate)
    if base and rising and start > base:
        fix = f"a warm-up rises, and the rate itself is {base:g}; give a tenth of it, {base / 10:g}"
        yield _line(f"{key}.warmup_learning_rate", start, fix)


def _checkpoint(config) -> Iterator[str]:
    """Pretrained weights that are there, and parts of the network that they can fill."""
    given, key = config.task.init_checkpoint_modules, "task.init_checkpoint_modules"
    known = ("backbone", "decoder")
    names = re.split(r"[,\s]+", given.strip()) if isinstance(given, str) else list(given or [])
    for name in names if given != "all" else []:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            fix = (
                "give backbone, decoder or both, or the word all alone, which also loads the heads"
            )
            fix = f"did you mean {near[0]!r}?" if near else fix
            yield _line(key, repr(given), f"{name!r} silently loads nothing; {fix}")
    path = config.task.init_checkpoint
    if path and not names:
        yield _line(key, repr(given), "it loads nothing; give backbone, decoder or all")
    if path and "://" not in path:
        yield from _checkpoint_path(Path(path))


def _checkpoint_path(path: Path) -> Iterator[str]:
    """A checkpoint is a folder that names its latest, or the part before .index of its files."""
    key, folder = "task.init_checkpoint", path if path.is_dir() else path.parent
    there = sorted(str(file.with_suffix("")) for file in folder.glob("*.index"))
    if path.is_dir():
        import tensorflow as tf

        if tf.train.latest_checkpoint(str(path)) is None:
            fix = (
                f"name one of it, such as {there[-1]}" if there else "train, or download, one first"
            )
            yield _line(key, path, f"this folder names no latest checkpoint; {fix}")
    elif not Path(f"{path}.index").is_file():
        bare = re.sub(r"\.(index|data-\d+-of-\d+)$", "", str(path))
        if bare in there:
            fix = f"give it without the ending of its files: {bare}"
        elif there:
            fix = f"did you mean {difflib.get_close_matches(str(path), there, n=1, cutoff=0)[0]}?"
        else:
            fix = "there is no checkpoint; correct the path, or give null to start from scratch"
        yield _line(key, path, fix)


def _data(config) -> Iterator[str]:
    """Batches and classes that fit the records, where they are of this course."""
    path = config.task.annotation_file
    if path and "://" not in path and not Path(path).is_file():
        fix = "missing, and evaluation reads it; give the val.json of your records"
        yield _line("task.annotation_file", path, fix)
    train, validation = config.task.train_data, config.task.validation_data
    if folder := _records(train):
        images, batch = _images(folder, "train"), train.global_batch_size
        if images is not None and batch > images:
            fix = "each batch would hold images twice; give at most the number of images"
            yield _line(f"{_TRAIN}.global_batch_size", f"{batch}, for {images} images", fix)
        yield from _classes(config, folder)
    if (folder := _records(validation)) and validation.drop_remainder:
        images, batch = _images(folder, "val"), validation.global_batch_size
        if images is not None and batch > 0 and (lost := images % batch):
            said = "all" if lost == images else f"the last {lost}"
            fix = f"batches of {batch} leave out {said} of {images} images; give false"
            yield _line(f"{_VALIDATION}.drop_remainder", "true", fix)


def _records(data) -> Path | None:
    """The folder of the records, where it has a manifest that counts them."""
    path = data.input_path if isinstance(data.input_path, str) else ""
    folder = Path(path.partition(",")[0]).parent
    return folder if path and (folder / MANIFEST).is_file() else None


def _images(folder: Path, split: str) -> int | None:
    return read_manifest(folder).get("counts", {}).get(split, {}).get("images")


def _classes(config, folder: Path) -> Iterator[str]:
    path = folder / "label_map.pbtxt"
    if not path.is_file():
        return
    ids, given = max(read_label_map(path).values()), config.task.model.num_classes
    if given != ids + 1:
        fault = (
            "the highest would be trained as background" if given <= ids else "some have no images"
        )
        fix = f"the ids of {path.name} go up to {ids}, and {fault}; give {ids + 1}"
        yield _line(f"{_MODEL}.num_classes", given, fix)


def check_share(config, replicas: int) -> None:
    """Raise CourseError when `replicas` (devices that train) cannot share batch and images.

    Each gets an equal part of every batch, `task.train_data.global_batch_size` images in all.

    Args:
        config: whose records lie in a folder with a manifest.
        replicas: devices that train, from 1.
    """
    if replicas == 1:
        return
    batch_size = config.task.train_data.global_batch_size
    if batch_size % replicas:
        fitting = max(replicas, batch_size // replicas * replicas)
        raise CourseError(
            f"config: task.train_data.global_batch_size: {batch_size} images cannot be shared "
            f"equally by {replicas} replicas; give a multiple of {replicas}, such as {fitting}"
        )
    records = Path(config.task.train_data.input_path).parent
    images = read_manifest(records)["counts"]["train"]["images"]
    if images < replicas:
        raise CourseError(
            f"{records}: {images} training images are too few for {replicas} replicas; "
            "add images, or take fewer workers"
        )
