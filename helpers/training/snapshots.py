"""Prediction snapshots: what a detector finds in the same few images as it learns."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.common.errors import CourseError
from helpers.common.files import read_json, write_text

SNAPSHOTS = "snapshots.json"
MIN_SCORE = 0.1
MOST = 10  # detections of an image


def read_snapshots(folder: Path) -> list[dict]:
    """Return the prediction snapshots that `train` took of the images in `watch`, oldest first.

    Each has step, and found: for each image a list of [xmin, ymin, xmax, ymax, score], in pixels
    of the image, best first, at most MOST, with scores of MIN_SCORE or more; and names, the class
    of each of them (missing in those of an earlier version).

    Raises CourseError for a file that holds something else.
    """
    path = Path(folder) / SNAPSHOTS
    if not path.is_file():
        return []
    taken = read_json(path)
    try:
        for one in taken:
            one["step"] + 0
            for boxes in one["found"]:
                np.asarray(boxes, float).reshape(-1, 5)
    except (KeyError, TypeError, ValueError):
        raise CourseError(
            f"{path}: not as training writes it; delete it, only the pictures up to now are lost"
        ) from None
    return taken


class Snapshots:
    """The snapshots of a training that resumes after `step` steps."""

    def __init__(self, folder: Path, images: Sequence[np.ndarray], step: int):
        self.folder, self.images = Path(folder), list(images)
        self.taken = [snapshot for snapshot in read_snapshots(folder) if snapshot["step"] <= step]

    def take(self, detector, step: int) -> None:
        """Add what `detector` finds after `step` steps; snapshots of later steps are dropped."""
        if not self.images:
            return
        detections = [detector(image, threshold=MIN_SCORE)[:MOST] for image in self.images]
        found = [np.column_stack([d.xyxy, d.confidence]).round(3).tolist() for d in detections]
        names = [d.data["class_name"].tolist() for d in detections]
        self.taken = [snapshot for snapshot in self.taken if snapshot["step"] < step]
        self.taken.append({"step": step, "found": found, "names": names})
        write_text(self.folder / SNAPSHOTS, json.dumps(self.taken))
