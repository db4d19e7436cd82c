"""Scores of each class, and which classes are taken for one another."""

from pathlib import Path

import numpy as np

from helpers.evaluation.matching import matched_by_coco
from helpers.evaluation.truth import read_truth

MISSED, NOTHING = "(missed)", "(nothing there)"


def confusion(
    annotation_file: Path, results: list[dict], threshold: float
) -> tuple[list[str], np.ndarray]:
    """Count which classes detections take objects for.

    Detections and objects are matched as COCO does, at an IoU of 0.5, but whatever their classes.
    Objects marked difficult do not count.

    Args:
        annotation_file: COCO json.
        results: COCO results.
        threshold: detections with a lower score are dropped.

    Returns:
        (names of the classes, counts [n + 1, n + 1]): a row for each true class and, last, for
        detections where there is no object; a column for each detected class and, last, for
        objects that were missed.
    """
    data = read_truth(annotation_file)
    categories = sorted(data["categories"], key=lambda category: category["id"])
    place = {category["id"]: i for i, category in enumerate(categories)}
    shown = sorted((r for r in results if r["score"] >= threshold), key=lambda r: -r["score"])
    counts = np.zeros((len(place) + 1, len(place) + 1), int)
    missed = {i for i, one in enumerate(data["annotations"]) if not one.get("iscrowd")}
    for part in matched_by_coco(data, shown, 0.5, by_class=False).evalImgs:  # one for each image
        if not part:
            continue
        found = zip(part["dtIds"], part["dtMatches"][0], part["dtIgnore"][0], strict=True)
        for number, partner, ignored in found:
            if ignored:
                continue
            detected, row = place[shown[number - 1]["category_id"]], -1
            if partner:
                one = int(partner) - 1
                missed.discard(one)
                row = place[data["annotations"][one]["category_id"]]
            counts[row, detected] += 1
    for one in missed:
        counts[place[data["annotations"][one]["category_id"]], -1] += 1
    return [category["name"] for category in categories], counts


def confusion_table(names: list[str], counts: np.ndarray):
    """Return what `confusion` counted as a DataFrame: rows are true, columns detected."""
    import pandas as pd

    table = pd.DataFrame(counts, index=[*names, NOTHING], columns=[*names, MISSED])
    return table.rename_axis(index="true", columns="detected as")


def most_confused(names: list[str], counts: np.ndarray) -> str:
    """Return a line on the two classes that are taken for one another most; "" where none are."""
    mixed = np.array(counts)[:-1, :-1]
    np.fill_diagonal(mixed, 0)
    if not mixed.size or not mixed.max():
        return ""
    true, detected = np.unravel_index(mixed.argmax(), mixed.shape)
    return (
        f"Taken for another class: {mixed.sum()} of {np.array(counts)[:-1].sum()} objects; "
        f"most often {names[true]} for {names[detected]} ({mixed.max()})."
    )


def silence(results: list[dict], threshold: float, steps: int) -> str:
    """Return a line where no detection reaches `threshold`, so that nothing is drawn; else "".

    Args:
        results: COCO results.
        threshold: of the pictures, 0..1.
        steps: for how long the detector was trained.
    """
    highest = max((result["score"] for result in results), default=0.0)
    if highest >= threshold:
        return ""
    return (
        f"The highest score on the held-out images is {highest:.2f}: nothing is drawn at "
        f"{threshold:g}. Train longer (train_steps = {3 * steps}, now {steps}); lesson 05 says "
        "how many steps your classes ask for."
    )
