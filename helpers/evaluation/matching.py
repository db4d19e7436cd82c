"""Which detections found which objects: true and false positives, false negatives.

Here and in `metrics`, detections are a list of COCO results: {"image_id", "category_id",
"bbox": [x, y, width, height], "score"}, in pixels of the original images.
"""

import contextlib
import io
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.annotations.boxes import Box
from helpers.common.errors import CourseError
from helpers.evaluation.truth import boxes_of, read_truth

KINDS = ("true_positives", "false_negatives", "false_positives")


@dataclass(frozen=True)
class Matches:
    """Which detections found which objects, at one IoU threshold.

    Attributes:
        truth: the COCO annotations, in order.
        results: the COCO results, best first.
        best_score: for each object the highest score at which it is found, 0 when it never is.
        correct: for each result, whether it is the first to find its object.
        ignored: for each result, whether it lies on a difficult object, and so does not count.
        iou: for each result its highest IoU with any object of its class, 0..1.
        other_iou: for each result its highest IoU with any object of another class, 0..1.
        labels: class id -> name.
    """

    truth: list[dict]
    results: list[dict]
    best_score: np.ndarray
    correct: np.ndarray
    ignored: np.ndarray
    iou: np.ndarray
    other_iou: np.ndarray
    labels: dict[int, str]

    @property
    def scores(self) -> np.ndarray:
        """Score of each result."""
        return np.array([result["score"] for result in self.results], float)

    @property
    def counted(self) -> np.ndarray:
        """Whether each object counts: those marked difficult do not."""
        return np.array([not a.get("iscrowd") for a in self.truth], bool)


def match(annotation_file: Path, results: list[dict], iou_threshold: float = 0.5) -> Matches:
    """Match detections to objects as COCO does: best score first, each object once.

    Objects that count go first; a detection is held against a difficult one when no other fits.
    Source: `evalImgs` of pycocotools' COCOeval.
    """
    data = read_truth(annotation_file)
    truth = data["annotations"]
    results = sorted(results, key=lambda result: -result["score"])
    evaluation = matched_by_coco(data, results, iou_threshold)
    matches = Matches(
        truth,
        results,
        best_score=np.zeros(len(truth)),
        correct=np.zeros(len(results), bool),
        ignored=np.zeros(len(results), bool),
        iou=np.zeros(len(results)),
        other_iou=_other_iou(truth, results),
        labels={category["id"]: category["name"] for category in data["categories"]},
    )
    for part in evaluation.evalImgs:  # one for each image and class
        if not part or not part["dtIds"]:
            continue
        mine = np.array(part["dtIds"]) - 1
        ious = evaluation.ious[part["image_id"], part["category_id"]]
        matches.iou[mine] = np.reshape(ious, (len(mine), -1)).max(axis=1, initial=0)
        matches.ignored[mine] = part["dtIgnore"][0]
        objects = part["dtMatches"][0].astype(int) - 1
        found = objects >= 0
        matches.correct[mine] = found & ~part["dtIgnore"][0]
        np.maximum.at(matches.best_score, objects[found], np.array(part["dtScores"])[found])
    return matches


def matched_by_coco(data: dict, results: list[dict], iou: float, *, by_class: bool = True):
    """Return pycocotools' `COCOeval` after it has matched `results`, best first, to the truth.

    In its `evalImgs` and `ious`, ids are places in `results` and data["annotations"], plus one.
    Without `by_class` a detection may find an object of any class.
    """
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco(data, data["annotations"]), _coco(data, results), "bbox")
        evaluation.params.iouThrs = [iou]
        evaluation.params.areaRng = [[0, np.inf]]
        evaluation.params.maxDets = [len(results)]
        evaluation.params.useCats = int(by_class)
        evaluation.evaluate()
    return evaluation


def _other_iou(truth: list[dict], results: list[dict]) -> np.ndarray:
    """Highest IoU of each result with an object of another class in its image."""
    from pycocotools import mask

    objects, highest = defaultdict(list), np.zeros(len(results))
    for one in truth:
        objects[one["image_id"]].append(one)
    for i, result in enumerate(results):
        own = result["category_id"]
        if others := [o for o in objects[result["image_id"]] if o["category_id"] != own]:
            boxes = [o["bbox"] for o in others]
            highest[i] = mask.iou([result["bbox"]], boxes, [0] * len(boxes)).max()
    return highest


def _coco(data: dict, boxes: list[dict]):
    """`boxes` as pycocotools wants them, the first of them with id 1: it says 0 for "none"."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = data | {
        "annotations": [
            {"iscrowd": 0, **box, "id": i, "area": box["bbox"][2] * box["bbox"][3]}
            for i, box in enumerate(boxes, 1)
        ]
    }
    coco.createIndex()
    return coco


def precision_recall(matches: Matches) -> dict[str, np.ndarray]:
    """Return arrays score, precision, recall, one entry per detection, best first."""
    keep = ~matches.ignored
    true_positives = np.cumsum(matches.correct[keep])
    return {
        "score": matches.scores[keep],
        "precision": true_positives / np.arange(1, keep.sum() + 1),
        "recall": true_positives / max(1, matches.counted.sum()),
    }


def count_at(matches: Matches, threshold: float) -> dict[str, int]:
    """Return true positives, false negatives and false positives.

    Detections that score below `threshold` are dropped.
    """
    shown = (matches.scores >= threshold) & ~matches.ignored
    found = int((matches.correct & shown).sum())
    counts = found, int(matches.counted.sum()) - found, int((shown & ~matches.correct).sum())
    return dict(zip(KINDS, counts, strict=True))


def errors_by_kind(matches: Matches, threshold: float) -> dict[str, int]:
    """Count what went wrong at `threshold`, by kind.

    "missed": no detection above the threshold finds the object. "localization": a detection whose
    IoU with an object is 0.1 to 0.5. "duplicate": a further detection of a found object.
    "other class": a detection of an object of another class; told apart where there are several.
    "background": a detection where there is nothing.

    The kinds of a wrong detection are those of TIDE (Bolya et al., 2020), but that a box which
    sits badly on an object of another class counts as "other class".
    """
    wrong = (matches.scores >= threshold) & ~matches.correct & ~matches.ignored
    own, other = matches.iou[wrong], matches.other_iou[wrong]
    duplicate = own >= 0.5
    confused = ~duplicate & ((other >= 0.5) | ((own < 0.1) & (other >= 0.1)))
    localization = ~duplicate & ~confused & (own >= 0.1)
    counts = {
        "missed": count_at(matches, threshold)["false_negatives"],
        "localization": int(localization.sum()),
        "duplicate": int(duplicate.sum()),
        "other class": int(confused.sum()),
        "background": int((~duplicate & ~confused & ~localization).sum()),
    }
    if len(matches.labels) < 2:
        del counts["other class"]
    return counts


@dataclass(frozen=True)
class Example:
    """One image of a report: its file name, objects (`Box`es) and `supervision.Detections`."""

    image: str
    truth: list[Box]
    detections: object


def examples(
    matches: Matches, annotation_file: Path, kind: str, threshold: float, count: int = 3
) -> list[Example]:
    """Return up to `count` images with an example of `kind` at a score threshold.

    The highest-scoring positives, and the largest missed objects, come first; each image is shown
    once.

    Args:
        kind: "true_positives", "false_negatives" or "false_positives".
    """
    import supervision as sv

    data = read_truth(annotation_file)
    shown = matches.scores >= threshold
    if kind == "false_negatives":
        missed = np.flatnonzero(matches.counted & (matches.best_score < threshold))
        order = sorted((matches.truth[i] for i in missed), key=lambda a: -a["area"])
    elif kind in KINDS:
        of_kind = matches.correct == (kind == "true_positives")
        order = [matches.results[j] for j in np.flatnonzero(shown & ~matches.ignored & of_kind)]
    else:
        raise CourseError(f"examples: kind: {kind!r}; use one of {', '.join(KINDS)}")
    names = {image["id"]: image["file_name"] for image in data["images"]}
    visible = [result for result in matches.results if result["score"] >= threshold]
    found = []
    for image_id in list(dict.fromkeys(item["image_id"] for item in order))[:count]:
        mine = [r for r in visible if r["image_id"] == image_id]
        xywh = np.array([r["bbox"] for r in mine], float).reshape(-1, 4)
        detections = sv.Detections(
            xyxy=np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]),
            confidence=np.array([r["score"] for r in mine], float),
            class_id=np.array([r["category_id"] for r in mine], int),
            data={"class_name": np.array([matches.labels[r["category_id"]] for r in mine], str)},
        )
        found.append(Example(names[image_id], boxes_of(data, image_id), detections))
    return found
