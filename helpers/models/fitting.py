"""A config fitted to records and to a run: classes and files, steps, batch size, anchor size."""

import math
from collections import Counter
from pathlib import Path

from helpers.annotations.label_map import read_label_map
from helpers.common.artifacts import read_manifest
from helpers.common.errors import CourseError
from helpers.common.files import read_json
from helpers.models.config import edit
from helpers.models.config_check import check_config


def for_records(config, records: Path, *, seed: int = 0):
    """Return `config` with the record files, the number of classes and the seed filled in.

    Args:
        config: a Model Garden `ExperimentConfig`.
        records: folder written by lesson 04 or 05.
        seed: of the weights, the shuffling and the augmentation.
    """
    counts = read_manifest(records)["counts"]
    # Model Garden reads 100 objects of an image; a Faster R-CNN takes others for background.
    most = max(100, *(_most_objects(records / f"{split}.json") for split in ("train", "val")))
    return edit(
        config,
        {
            "task.train_data.parser.max_num_instances": most,
            "task.validation_data.parser.max_num_instances": most,
            # One more than there are classes: 0 is the background. The highest id counts: one
            # beyond num_classes would silently be trained as background.
            "task.model.num_classes": max(read_label_map(records / "label_map.pbtxt").values()) + 1,
            "task.train_data.input_path": str(records / "train-*.tfrecord"),
            # All of a small set, so that every batch is drawn from all clips.
            "task.train_data.shuffle_buffer_size": min(10_000, counts["train"]["images"]),
            "task.train_data.seed": seed,
            "task.validation_data.input_path": str(records / "val-*.tfrecord"),
            # Model Garden's RetinaNet drops the last, partial batch: those images would
            # silently not count.
            "task.validation_data.drop_remainder": False,
            "task.annotation_file": str(records / "val.json"),
        },
    )


def _most_objects(annotation_file: Path) -> int:
    objects = Counter(a["image_id"] for a in read_json(annotation_file)["annotations"])
    return max(objects.values(), default=0)


def with_budget(
    config,
    *,
    train_steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
):
    """Return `config` with another length, batch size or rate; None keeps what is there.

    The learning rate warms up over the first tenth of the run and then falls as a cosine, to
    reach zero at its end: the schedule always fits the length.

    Args:
        config: a Model Garden `ExperimentConfig`.
        train_steps: steps in all, also after a resume.
        batch_size: images a step.
        learning_rate: the highest rate, reached after the warm-up.

    Raises:
        CourseError: the config already fine-tunes in two stages, no rate is known, or
            `check_config` finds a fault.
    """
    schedule = config.trainer.optimizer_config.learning_rate
    if config.task.freeze_backbone and schedule.type == "step_cosine_with_offset":
        raise CourseError(
            "config: has two stages already, and a single schedule would leave its backbone frozen "
            "for ever; call with_budget first, training.two_stage after it"
        )
    steps = config.trainer.train_steps if train_steps is None else train_steps
    batch = config.task.train_data.global_batch_size if batch_size is None else batch_size
    rate = schedule.cosine.initial_learning_rate if learning_rate is None else learning_rate
    cosine = "trainer.optimizer_config.learning_rate.cosine"
    warmup = "trainer.optimizer_config.warmup.linear"
    # First what was given: a text or an infinity is named before anything is reckoned from it.
    config = edit(
        config,
        {
            "task.train_data.global_batch_size": batch,
            "task.validation_data.global_batch_size": batch,
            "trainer.train_steps": steps,
            # A converted pipeline.config may have another schedule.
            "trainer.optimizer_config.learning_rate.type": "cosine",
            "trainer.optimizer_config.warmup.type": "linear",
            f"{cosine}.initial_learning_rate": rate,
        },
    )
    if rate is None or rate <= 0:
        raise CourseError(f"config: learning_rate: {rate}; give a rate above 0, such as 0.04")
    config = edit(
        config,
        {
            f"{cosine}.initial_learning_rate": float(rate),
            f"{cosine}.decay_steps": steps,
            f"{warmup}.warmup_steps": min(max(1, steps // 10), max(0, steps - 1)),
            f"{warmup}.warmup_learning_rate": rate / 10,
        },
    )
    check_config(config)
    return config


def anchor_size(config, records: Path) -> float:
    """Return the `anchor_size` whose smallest anchor is as large as the smallest objects.

    An anchor on the level with stride s has the area of a square of anchor_size * s pixels. Of the
    objects that count, 19 of 20 are at least as large as the smallest anchor.

    Args:
        config: with the input size and levels of the detector.
        records: folder written by lesson 04, whose train.json is read.

    Returns:
        From 1 to 4, the range of sizes in use.
    """
    height, width, _ = config.task.model.input_size
    data = read_json(records / "train.json")
    scale = {
        image["id"]: min(height / image["height"], width / image["width"])
        for image in data["images"]
    }
    sides = [
        math.sqrt(a["area"]) * scale[a["image_id"]]
        for a in data["annotations"]
        if not a.get("iscrowd")
    ]
    smallest = sorted(sides)[len(sides) // 20] if sides else 0
    return min(4.0, max(1.0, round(smallest / 2**config.task.model.min_level, 1)))


def at_training_size(config):
    """Return `config` with the input size it trains at: a tile's, where its records hold tiles."""
    tile = read_manifest(Path(config.task.train_data.input_path).parent)["counts"].get("tile")
    return edit(config, {"task.model.input_size": [tile, tile, 3]}) if tile else config
