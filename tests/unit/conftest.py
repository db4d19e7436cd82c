"""A tiny dataset, tiny configs, and one tiny training that several test files look at."""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers import evaluation, models, training
from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.label_map import write_label_map
from helpers.annotations.voc import write_voc
from helpers.models.presets import PRESETS
from helpers.records.writing import write_records
from helpers.training.history import read_history
from helpers.training.loop import train

WIDTH, HEIGHT = 160, 96


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> Path:
    """A 03_dataset: 24 images of a red rectangle on noise, six clips, two of them held out."""
    folder = tmp_path_factory.mktemp("tiny") / "03_dataset"
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    with (folder / "split.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "clip", "split"))
        for i in range(24):
            clip, name = f"clip{i // 4}", f"clip{i // 4}_{i:05d}.jpg"
            image = rng.integers(80, 120, (HEIGHT, WIDTH, 3)).astype(np.uint8)
            width, height = (int(side) for side in rng.integers(24, 48, 2))
            x, y = int(rng.integers(0, WIDTH - width)), int(rng.integers(0, HEIGHT - height))
            image[y : y + height, x : x + width] = (30, 40, 230)  # OpenCV's order: red
            cv2.imwrite(str(folder / "images" / name), image)
            box = Box("camera", x, y, x + width, y + height)
            annotation = Annotation(name, WIDTH, HEIGHT, (box,))
            write_voc(annotation, folder / "annotations" / f"{Path(name).stem}.xml")
            table.writerow((name, clip, "val" if i >= 16 else "train"))
    write_label_map(["camera"], folder / "label_map.pbtxt")
    return folder


@pytest.fixture(scope="session")
def tiny_records(tiny_dataset) -> Path:
    """The 04_records of `tiny_dataset`."""
    pytest.importorskip("tensorflow")
    return write_records(tiny_dataset, tiny_dataset.parent / "04_records", shards=1)


def cpu_preset(family: str) -> str:
    """Name of the first preset of a family: the one made for CPUs."""
    return next(preset.name for preset in PRESETS.values() if preset.family == family)


@pytest.fixture(scope="session")
def tiny_config(tiny_records):
    """Return make(family="ssd", steps=4, rate=0.05, **edits): a config that trains in seconds."""

    def make(family="ssd", *, steps=4, rate=0.05, edits=()):
        changes = {
            "task.model.input_size": [64, 128, 3],
            "task.model.max_level": 5,
            "task.model.backbone.resnet.model_id": 10,
            "task.model.backbone.resnet.depth_multiplier": 0.125,
            "task.model.decoder.fpn.num_filters": 16,
        }
        if family == "ssd":
            changes |= {"task.model.head.num_filters": 16, "task.model.head.num_convs": 1}
        config = models.edit(models.from_preset(cpu_preset(family)), changes | dict(edits))
        config = models.for_records(config, tiny_records)
        return models.with_budget(config, train_steps=steps, batch_size=4, learning_rate=rate)

    return make


@pytest.fixture(scope="session")
def untrained(tiny_config):
    """Return untrained(family): a tiny detector with random weights, built once."""
    return functools.cache(lambda family: training.untrained_detector(tiny_config(family)))


@dataclass(frozen=True)
class Trained:
    """A training that was stopped by Ctrl-C after STOP steps and then finished.

    `first` is the history that the stopped call returned, `printed` what the second call said.
    """

    folder: Path
    config: object
    label_map: Path
    detector: object
    first: list[dict]
    after_stop: dict
    history: list[dict]
    score: object

    STOP = 20
    STEPS = 60


@pytest.fixture(scope="session")
def trained(tiny_dataset, tiny_records, tiny_config) -> Trained:
    config, label_map = tiny_config(steps=Trained.STEPS), tiny_records / "label_map.pbtxt"
    folder = tiny_dataset.parent / "06_ssd"

    def score(detector):
        found, _ = evaluation.predict(detector, tiny_dataset / "images", tiny_records / "val.json")
        metrics = evaluation.coco_metrics(tiny_records / "val.json", found)
        # No object is large: COCO has no number for them, and the history must bear that.
        return {name: metrics[name] for name in ("AP50", "AP_large")}

    def stop(history):
        if history[-1]["step"] == Trained.STOP:
            raise KeyboardInterrupt

    options = {"label_map": label_map, "report_every": 2, "evaluate": score}
    _, first = train(config, folder, on_report=stop, **options)
    first = [dict(row) for row in first]
    after_stop = {
        "files": sorted(path.name for path in folder.iterdir()),
        "history": read_history(folder),
    }
    detector, history = train(config, folder, evaluate_every=40, **options)
    return Trained(folder, config, label_map, detector, first, after_stop, history, score)
