"""Score detectors: COCO metrics, and an interval that says how sure a score is."""

import contextlib
import io
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np

from helpers import inference
from helpers.common.artifacts import artifact
from helpers.common.files import write_json, write_text
from helpers.common.images import read_image
from helpers.evaluation.matching import errors_by_kind, match
from helpers.evaluation.truth import read_truth

NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100")


def predict(detector, images: Path, annotation_file: Path) -> tuple[list[dict], float]:
    """Run a detector over the images of a COCO json.

    Args:
        detector: an `inference.Detector`.
        images: folder of the image files.
        annotation_file: COCO json.

    Returns:
        COCO results, and the median milliseconds per image of resizing and detecting (not of
        decoding the file), the first image left out.
    """
    from helpers.common.progress import tqdm

    results, times = [], []
    # The bar goes when it is done: a training evaluates many times.
    bar = {"desc": "detecting", "unit": "image", "leave": False}
    for entry in tqdm(read_truth(annotation_file)["images"], **bar):
        image = read_image(images / entry["file_name"])
        began = time.perf_counter()
        found = detector(image)
        times.append(1000 * (time.perf_counter() - began))
        results += [
            {
                "image_id": entry["id"],
                "category_id": int(class_id),
                "bbox": [float(v) for v in (x1, y1, x2 - x1, y2 - y1)],
                "score": float(score),
            }
            for (x1, y1, x2, y2), score, class_id in zip(
                found.xyxy, found.confidence, found.class_id, strict=True
            )
        ]
    return results, float(np.median(times[1:] or times))


def coco_metrics(annotation_file: Path, results: list[dict]) -> dict[str, float | None]:
    """Return the COCO metrics, 0..1; None where there is nothing to find (COCO says -1).

    AP is the mean over IoU thresholds 0.50 to 0.95; small, medium and large part at 32x32 and
    96x96 pixels of the original image. Objects marked difficult (`iscrowd`) do not count.
    Source: https://cocodataset.org/#detection-eval
    """
    if not results:
        return dict.fromkeys(NAMES, 0.0)
    stats = _scored(annotation_file, results).stats
    return {
        name: None if value < 0 else float(value) for name, value in zip(NAMES, stats, strict=False)
    }


def class_metrics(annotation_file: Path, results: list[dict]) -> dict[str, dict]:
    """Return {class: {"AP", "AP50", "objects"}} in the order of the class ids.

    The mean of the APs is the AP of `coco_metrics`. `objects` counts those that are not marked
    difficult; a class without any has the AP None.
    """
    data = read_truth(annotation_file)
    categories = sorted(data["categories"], key=lambda category: category["id"])
    counted = Counter(a["category_id"] for a in data["annotations"] if not a.get("iscrowd"))
    rows: dict[str, dict] = {}
    # [IoU thresholds, recalls, classes, sizes (the first is all), numbers of detections]
    precision = _scored(annotation_file, results).eval["precision"] if results else None
    for i, category in enumerate(categories):
        objects = counted[category["id"]]
        values = [None, None] if not objects else [0.0, 0.0]
        if objects and precision is not None:
            curves = precision[:, :, i, 0, -1]
            values = [float(curves.mean()), float(curves[0].mean())]
        rows[category["name"]] = {"AP": values[0], "AP50": values[1], "objects": objects}
    return rows


def _scored(annotation_file: Path, results: list[dict]):
    """The `COCOeval_faster` that has scored some COCO results, of which there is one at least."""
    from faster_coco_eval import COCO, COCOeval_faster

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotation_file))
        scorer = COCOeval_faster(truth, truth.loadRes(results), iouType="bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return scorer


def average_precision(correct: np.ndarray, objects: int) -> float:
    """Return AP of one class as COCO reads it: precision at 101 recalls, then the mean.

    Args:
        correct: bool, detections best first.
        objects: how many there were to find; without any, the AP is NaN.
    """
    if not objects:
        return float("nan")
    true_positives = np.cumsum(correct)
    precision = true_positives / np.arange(1, len(correct) + 1)
    # A curve that only falls: what one gets for allowing more recall.
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(true_positives / objects, np.linspace(0, 1, 101), side="left")
    return float(np.append(precision, 0)[at].mean())


def ap50_interval(
    annotation_file: Path, results: list[dict], *, samples: int = 400, seed: int = 0
) -> tuple[float, float, str]:
    """Return a 95 % bootstrap interval of AP50, and what was drawn: "clips" or "images".

    Whole clips are drawn with replacement where the images name at least five, because
    neighbouring frames are near-copies and say little each; else images are, and the interval
    is then too narrow.
    """
    images = read_truth(annotation_file)["images"]
    matches = match(annotation_file, results)
    clips = {image["clip"] for image in images if image.get("clip")}
    unit = "clips" if len(clips) >= 5 else "images"
    names = [(unit == "clips" and image.get("clip")) or image["file_name"] for image in images]
    drawn, places = np.unique(names, return_inverse=True)
    place = {image["id"]: i for image, i in zip(images, places, strict=True)}

    def columns(items: list[dict], counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Class and place of the COCO results or annotations that count."""
        pairs = [(item["category_id"], place[item["image_id"]]) for item in items]
        return np.array(pairs, int).reshape(-1, 2)[counts].T

    result_class, result_place = columns(matches.results, ~matches.ignored)
    object_class, object_place = columns(matches.truth, matches.counted)
    correct = matches.correct[~matches.ignored]
    classes = []
    for category in np.unique(object_class):
        mine = result_class == category
        classes.append((correct[mine], result_place[mine], object_place[object_class == category]))
    rng = np.random.default_rng(seed)
    values = []
    # How often each clip or image is drawn; what was drawn twice counts twice.
    for times in rng.multinomial(len(drawn), np.full(len(drawn), 1 / len(drawn)), size=samples):
        scores = [
            average_precision(np.repeat(found, times[where]), int(times[objects].sum()))
            for found, where, objects in classes
        ]
        if not np.all(np.isnan(scores)):
            values.append(np.nanmean(scores))
    low, high = np.percentile(values, [2.5, 97.5]) if values else (0.0, 1.0)
    return float(low), float(high), unit


@artifact("evaluate")
def evaluate(
    records: Path,
    dataset: Path,
    folder: Path,
    *,
    models: dict[str, Path],
    threshold: float = 0.5,
    split: str = "val",
) -> dict:
    """Score trained models on the images of a split and write what the lesson shows.

    Writes <name>.detections.json and metrics.json: {name: {AP, AP50, …, AP50_low, AP50_high,
    interval_over, parameters, ms_per_image, errors, classes}}, the last as `class_metrics` has it.

    Args:
        records: folder with val.json, or the json of another split.
        dataset: folder with images/.
        models: name -> folder of the trained detector.
        threshold: score above which `errors` are counted.
        split: "val", by which one chooses; or "test", for what was chosen.
    """
    truth = records / f"{split}.json"
    table = {}
    for name, source in models.items():
        detector = inference.load_detector(source)
        results, milliseconds = predict(detector, dataset / "images", truth)
        write_text(folder / f"{name}.detections.json", json.dumps(results))
        low, high, unit = ap50_interval(truth, results)
        table[name] = coco_metrics(truth, results) | {
            "AP50_low": low,
            "AP50_high": high,
            "interval_over": unit,
            "parameters": detector.parameters,
            "ms_per_image": milliseconds,
            "errors": errors_by_kind(match(truth, results), threshold),
            "classes": class_metrics(truth, results),
        }
    write_json(folder / "metrics.json", table)
    return {"models": len(models), "images": len(read_truth(truth)["images"])}
