"""What is wrong with a dataset as a whole: classes that are rare or on one side, copies across."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from helpers.annotations.folders import SPLITS
from helpers.dataset.findings import ALL, Finding, finding
from helpers.dataset.near_copies import NEAR, Picture, leaks

# A class ten times rarer than another is learnt worse; lesson 03 says so.
IMBALANCE = 10


def imbalance(counts: Mapping[str, int]) -> list[Finding]:
    """Return findings for the labels that are at least ten times rarer than the most frequent."""
    most = max(counts, key=counts.__getitem__, default="")
    found = []
    for label, count in counts.items():
        if 0 < count * IMBALANCE <= counts[most]:
            value = f"{label!r} {count} boxes, {most!r} {counts[most]}: {IMBALANCE} times or more"
            found.append(finding(ALL, 0, "class imbalance", value))
    return found


def leak_findings(
    images_folder: Path | str, pictures: Mapping[str, Picture], split: Mapping[str, str]
) -> list[Finding]:
    """Return findings for the near-copies across a split, image -> "train", "val" or "test"."""
    return [
        finding(name, 0, "neighbour across the split", likeness(f"{other} in {split[other]}", bits))
        for name, other, bits in leaks(images_folder, pictures, split)
    ]


def one_sided(
    per_image: Mapping[str, Mapping[str, int]], split: Mapping[str, str]
) -> list[Finding]:
    """Return a finding for each label that training or every other side lacks.

    Args:
        per_image: image -> label -> number of boxes.
        split: image -> "train", "val" or "test".
    """
    sides: dict[str, Counter[str]] = defaultdict(Counter)
    for image, counts in per_image.items():
        for label, count in counts.items():
            sides[label][split[image]] += count
    found = []
    for label, counts in sides.items():
        there = [side for side in SPLITS if counts[side]]
        if there == ["train"] or "train" not in there:
            value = f"{label!r} in {' and '.join(there)} only, boxes: {sum(counts.values())}"
            found.append(finding(ALL, 0, "class on one side", value))
    return found


def likeness(other: str, bits: int) -> str:
    """Return how much a picture is like another one, in words."""
    return f"like {other}: {bits} of 64 bits differ (near: up to {NEAR})"
