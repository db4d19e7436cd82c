"""Score detectors: COCO metrics, precision and recall, intervals, hits and misses.

Everything reads two things: ground truth as a COCO json (lesson 04 writes it), and detections
as a list of COCO results: {"image_id", "category_id", "bbox": [x, y, width, height], "score"},
in pixels of the original images.
"""

import contextlib
import io
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.annotations.boxes import Box
from helpers.common.artifacts import artifact
from helpers.common.errors import CourseError
from helpers.common.images import read_image

NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100")


def predict(detector, images: Path, annotation_file: Path) -> tuple[list[dict], float]:
    """Run a detector over the images of a COCO json.

    Args:
        detector: a `detector.Detector`.
        images: folder of the image files.
        annotation_file: COCO json.

    Returns:
        COCO results, and the median milliseconds per image of resizing and detecting (not of
        decoding the file), the first image left out.
    """
    from tqdm.auto import tqdm

    results, times = [], []
    for entry in tqdm(_read(annotation_file)["images"], desc="detecting", unit="image"):
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
    from faster_coco_eval import COCO, COCOeval_faster

    if not results:
        return dict.fromkeys(NAMES, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotation_file))
        scorer = COCOeval_faster(truth, truth.loadRes(results), iouType="bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return {
        name: None if value < 0 else float(value)
        for name, value in zip(NAMES, scorer.stats, strict=False)
    }


@dataclass(frozen=True)
class Matches:
    """Which detections found which objects, at one IoU threshold.

    Attributes:
        truth: the COCO annotations, in order; `found[i]` says whether object i was found at
            any score, and `best_score[i]` at which (0 when never).
        results: the COCO results, best first; `correct[j]` is True for the first to find an
            object, `ignored[j]` for one that lies on a difficult object.
    """

    truth: list[dict]
    results: list[dict]
    best_score: np.ndarray
    correct: np.ndarray
    ignored: np.ndarray
    overlap: np.ndarray

    @property
    def found(self) -> np.ndarray:
        return self.best_score > 0

    @property
    def counted(self) -> np.ndarray:
        """Objects that count: those not marked difficult."""
        return np.array([not a.get("iscrowd") for a in self.truth], bool)


def match(annotation_file: Path, results: list[dict], iou_threshold: float = 0.5) -> Matches:
    """Match detections to objects as COCO does: best score first, each object once.

    `overlap[j]` of the returned Matches is the highest IoU of result j with any object of its
    class.
    """
    from pycocotools import mask

    data = _read(annotation_file)
    truth = data["annotations"]
    results = sorted(results, key=lambda r: -r["score"])
    best = np.zeros(len(truth))
    correct, ignored = np.zeros(len(results), bool), np.zeros(len(results), bool)
    overlap = np.zeros(len(results))

    def by_key(items):
        groups: dict[tuple, list[int]] = {}
        for i, item in enumerate(items):
            groups.setdefault((item["image_id"], item["category_id"]), []).append(i)
        return groups

    objects = by_key(truth)
    for key, indices in by_key(results).items():
        mine = objects.get(key, [])
        if not mine:
            continue
        crowd = [int(bool(truth[i].get("iscrowd"))) for i in mine]
        iou = mask.iou(
            np.array([results[j]["bbox"] for j in indices], float),
            np.array([truth[i]["bbox"] for i in mine], float),
            crowd,
        )
        for row, j in enumerate(indices):
            overlap[j] = iou[row].max()
            chosen, chosen_iou = None, iou_threshold
            # Objects that count first; a difficult one only when no other fits.
            for column in sorted(range(len(mine)), key=lambda c: crowd[c]):
                if chosen is not None and crowd[column] and not crowd[chosen]:
                    break
                taken = best[mine[column]] > 0 and not crowd[column]
                if not taken and iou[row, column] >= chosen_iou:
                    chosen, chosen_iou = column, iou[row, column]
            if chosen is None:
                continue
            best[mine[chosen]] = max(best[mine[chosen]], results[j]["score"])
            correct[j], ignored[j] = not crowd[chosen], bool(crowd[chosen])
    return Matches(truth, results, best, correct, ignored, overlap)


def precision_recall(matches: Matches) -> dict[str, np.ndarray]:
    """Return arrays score, precision, recall, one entry per detection, best first."""
    keep = ~matches.ignored
    hits = np.cumsum(matches.correct[keep])
    count = max(1, int(matches.counted.sum()))
    return {
        "score": np.array([r["score"] for r in matches.results])[keep],
        "precision": hits / np.arange(1, keep.sum() + 1),
        "recall": hits / count,
    }


def average_precision(correct: np.ndarray, objects: int) -> float:
    """Return AP of one class as COCO reads it: precision at 101 recalls, then the mean.

    Args:
        correct: bool, detections best first.
        objects: how many there were to find.
    """
    if not objects:
        return float("nan")
    hits = np.cumsum(correct)
    precision = hits / np.arange(1, len(correct) + 1)
    # A curve that only falls: what one gets for allowing more recall.
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / objects, np.linspace(0, 1, 101), side="left")
    return float(np.append(precision, 0)[at].mean())


def ap50_interval(
    annotation_file: Path, results: list[dict], *, samples: int = 400, seed: int = 0
) -> tuple[float, float, str]:
    """Return a 95 % bootstrap interval of AP50, and what was drawn: "clips" or "images".

    Whole clips are drawn with replacement where the images name at least five, because
    neighbouring frames are near-copies and say little each; else images are, and the interval
    is then too narrow.
    """
    data = _read(annotation_file)
    matches = match(annotation_file, results)
    clips = {image["id"]: image.get("clip") or image["file_name"] for image in data["images"]}
    unit = "clips"
    if len({image["clip"] for image in data["images"] if image.get("clip")}) < 5:
        unit, clips = "images", {image["id"]: image["file_name"] for image in data["images"]}
    names = sorted(set(clips.values()))
    index = {name: i for i, name in enumerate(names)}
    categories = sorted({a["category_id"] for a in matches.truth})

    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=samples)
    keep = ~matches.ignored
    result_clip = np.array([index[clips[r["image_id"]]] for r in matches.results], int)[keep]
    result_class = np.array([r["category_id"] for r in matches.results], int)[keep]
    correct = matches.correct[keep]
    truth_clip = np.array([index[clips[a["image_id"]]] for a in matches.truth], int)
    truth_class = np.array([a["category_id"] for a in matches.truth], int)
    values = []
    for draw in draws:
        scores = []
        for category in categories:
            mine = result_class == category
            repeats = draw[result_clip[mine]]
            objects = draw[truth_clip[(truth_class == category) & matches.counted]].sum()
            scores.append(average_precision(np.repeat(correct[mine], repeats), int(objects)))
        if not np.all(np.isnan(scores)):
            values.append(np.nanmean(scores))
    low, high = np.percentile(values, [2.5, 97.5]) if values else (0.0, 1.0)
    return float(low), float(high), unit


def count_at(matches: Matches, threshold: float) -> dict[str, int]:
    """Return hits, misses and false alarms when detections below `threshold` are dropped."""
    scores = np.array([r["score"] for r in matches.results])
    shown = (scores >= threshold) & ~matches.ignored
    hits = int((matches.correct & shown).sum())
    return {
        "hits": hits,
        "misses": int(matches.counted.sum()) - hits,
        "false_alarms": int((shown & ~matches.correct).sum()),
    }


def errors_by_kind(matches: Matches, threshold: float) -> dict[str, int]:
    """Count what went wrong at `threshold`, by kind.

    "missed": no detection above the threshold lies on the object. "badly placed": a detection
    that overlaps an object by IoU 0.1 to 0.5. "twice": a second detection of a found object.
    "background": a detection where there is nothing of its class.
    """
    kinds = {"missed": count_at(matches, threshold)["misses"]}
    kinds |= {"badly placed": 0, "twice": 0, "background": 0}
    for j, result in enumerate(matches.results):
        if result["score"] < threshold or matches.correct[j] or matches.ignored[j]:
            continue
        overlap = matches.overlap[j]
        kinds[
            "twice" if overlap >= 0.5 else "badly placed" if overlap >= 0.1 else "background"
        ] += 1
    return kinds


@dataclass(frozen=True)
class Example:
    """One image of a report: its file name, objects (`Box`es) and `supervision.Detections`."""

    image: str
    truth: list[Box]
    detections: object


def examples(
    matches: Matches, annotation_file: Path, kind: str, threshold: float, count: int = 3
) -> list[Example]:
    """Return up to `count` images with "hits", "misses" or "false alarms" at `threshold`.

    The surest hits and false alarms, and the largest missed objects, come first; one image is
    shown once.
    """
    import supervision as sv

    data = _read(annotation_file)
    shown = [
        (r, bool(c), bool(i))
        for r, c, i in zip(matches.results, matches.correct, matches.ignored, strict=True)
        if r["score"] >= threshold
    ]
    if kind == "misses":
        missed = [
            a
            for a, best, counts in zip(
                matches.truth, matches.best_score, matches.counted, strict=True
            )
            if counts and best < threshold
        ]
        order = [a["image_id"] for a in sorted(missed, key=lambda a: -a["area"])]
    elif kind in ("hits", "false alarms"):
        order = [r["image_id"] for r, c, i in shown if not i and c == (kind == "hits")]
    else:
        raise CourseError(f"examples: kind: {kind!r}; use 'hits', 'misses' or 'false alarms'")
    names = {image["id"]: image["file_name"] for image in data["images"]}
    labels = {category["id"]: category["name"] for category in data["categories"]}
    found = []
    for image_id in list(dict.fromkeys(order))[:count]:
        mine = [r for r, _, _ in shown if r["image_id"] == image_id]
        xywh = np.array([r["bbox"] for r in mine], float).reshape(-1, 4)
        truth = _truth(data, image_id, labels)
        found.append(
            Example(
                names[image_id],
                truth,
                sv.Detections(
                    xyxy=np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]),
                    confidence=np.array([r["score"] for r in mine], float),
                    class_id=np.array([r["category_id"] for r in mine], int),
                ),
            )
        )
    return found


@artifact("evaluate")
def evaluate(
    records: Path, dataset: Path, folder: Path, *, models: dict[str, Path], threshold: float = 0.5
) -> dict:
    """Score trained models on the validation images and write what the lesson shows.

    Writes <name>.detections.json and metrics.json: {name: {AP, AP50, …, AP50_low, AP50_high,
    interval_over, parameters, ms_per_image, errors}}.

    Args:
        records: folder with val.json.
        dataset: folder with images/.
        models: name -> folder of the trained detector.
        threshold: score above which `errors` are counted.
    """
    from helpers.inference import detector as detectors

    truth = records / "val.json"
    table = {}
    for name, source in models.items():
        detector = detectors.load_detector(source)
        results, milliseconds = predict(detector, dataset / "images", truth)
        (folder / f"{name}.detections.json").write_text(json.dumps(results))
        low, high, unit = ap50_interval(truth, results)
        table[name] = coco_metrics(truth, results) | {
            "AP50_low": low,
            "AP50_high": high,
            "interval_over": unit,
            "parameters": detector.parameters,
            "ms_per_image": milliseconds,
            "errors": errors_by_kind(match(truth, results), threshold),
        }
    (folder / "metrics.json").write_text(json.dumps(table, indent=1) + "\n")
    return {"models": len(models), "images": len(_read(truth)["images"])}


def _read(annotation_file: Path) -> dict:
    try:
        return json.loads(Path(annotation_file).read_text())
    except FileNotFoundError:
        raise CourseError(f"{annotation_file}: missing; lesson 04 writes it") from None
    except ValueError as error:
        raise CourseError(f"{annotation_file}: not JSON ({error}); run lesson 04 again") from None


def sample_images(annotation_file: Path, count: int) -> list[str]:
    """Return `count` file names, spread evenly over the images that show a counted object."""
    data = _read(annotation_file)
    shown = {a["image_id"] for a in data["annotations"] if not a.get("iscrowd")}
    names = [image["file_name"] for image in data["images"] if image["id"] in shown]
    names = names or [image["file_name"] for image in data["images"]]
    picks = np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)
    return [names[i] for i in dict.fromkeys(picks.tolist())]


def sample_frames(
    dataset: Path, annotation_file: Path, count: int
) -> tuple[list[np.ndarray], list[list[Box]]]:
    """Return `count` pictures that show a counted object, and the boxes of each.

    Args:
        dataset: folder with images/, as lesson 03 writes it.
        annotation_file: COCO json of some of its images.
        count: how many, spread evenly over them.

    Returns:
        (pictures, truth): RGB, uint8, [height, width, 3], and their `annotations.Box`es.
    """
    data = _read(annotation_file)
    labels = {category["id"]: category["name"] for category in data["categories"]}
    ids = {image["file_name"]: image["id"] for image in data["images"]}
    names = sample_images(annotation_file, count)
    pictures = [read_image(Path(dataset) / "images" / name) for name in names]
    return pictures, [_truth(data, ids[name], labels) for name in names]


def _truth(data: dict, image_id: int, labels: dict[int, str]) -> list[Box]:
    """The boxes of one image of a COCO json; `iscrowd` stands for difficult."""
    return [
        Box(labels[a["category_id"]], x, y, x + w, y + h, difficult=bool(a.get("iscrowd")))
        for a in data["annotations"]
        if a["image_id"] == image_id
        for x, y, w, h in [a["bbox"]]
    ]


def longest_clip(annotation_file: Path) -> list[str]:
    """Return the file names, in order, of the clip with the most images in a COCO json."""
    clips: dict[str, list[str]] = {}
    for image in _read(annotation_file)["images"]:
        clips.setdefault(image.get("clip", ""), []).append(image["file_name"])
    return max(clips.values(), key=len)
