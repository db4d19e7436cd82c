"""The audit: what is wrong with images and annotations, and what it would do to a training."""

import math
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from helpers.annotations.boxes import Annotation, Box, fault, iou
from helpers.annotations.pairing import pair
from helpers.common.images import ImageSize
from helpers.dataset.findings import Finding, finding
from helpers.dataset.labels import closest_label, meant_labels
from helpers.dataset.near_copies import (
    Picture,
    exact_copies,
    near_copies,
    read_frames,
    read_pictures,
)
from helpers.dataset.sizes import fit, fitted, in_words
from helpers.dataset.whole_set import imbalance, leak_findings, likeness

# Below this side length in pixels of the image as stored, a box is more likely a slip of the
# mouse than an object: the smallest of the 389 annotated by hand in speedtraps is 13 pixels wide.
TINY = 4
# Two boxes of one label with a higher IoU are one object drawn twice: people who draw the same
# object twice rarely reach more, two objects side by side never do.
TWICE = 0.9
# Quartiles of fewer boxes say little about what is usual.
_ENOUGH = 20
# Far out in Tukey's sense (Exploratory Data Analysis, 1977): three quartile distances beyond.
_FAR_OUT = 3
# Boxes drawn by hand scatter by a few percent even when all objects are alike.
_SCATTER = math.log(1.1)


def find_faults(
    images_folder: Path | str,
    annotations: Sequence[Annotation],
    labels: Sequence[str] | None = None,
    *,
    only: Container[str] | None = None,
    split: Mapping[str, str] | None = None,
    pictures: Mapping[str, Picture] | None = None,
) -> list[Finding]:
    """Compare the images of a folder with their annotations; return what is wrong.

    Where `frames.csv` next to the folder names the clips, images of one clip may be near-copies
    of each other, and may be empty unless the frames before and after show objects. What is
    small, large or odd for a label is judged by the other boxes of that label, 20 at least.
    Boxes at the image's border, truncated, occluded or difficult ones may be as they are.

    Args:
        images_folder: the images.
        annotations: their annotations, paired by name.
        labels: the allowed labels; None takes those found and reports only the ones that look
            like another, more frequent label written differently.
        only: limits the check to these image file names.
        split: image -> "train", "val" or "test": adds the near-copies across the split.
        pictures: what `read_pictures` returned; None calls it.
    """
    if pictures is None:
        pictures = read_pictures(images_folder, only)
    pictures = {n: picture for n, picture in pictures.items() if only is None or n in only}
    paired = pair(list(pictures), annotations)
    clips = {name: row["clip"] for name, row in read_frames(images_folder).items()}
    meant = meant_labels(annotations, labels)
    true = {name: _as_pictured(a, pictures[name]) for name, a in paired.items()}
    usual = _usual(true.values(), meant)
    empty = _empty(paired, clips)
    copies = _copies(images_folder, pictures, paired, clips)

    used = set(map(id, paired.values()))
    findings = [
        finding(_file(a), 0, "no image", f"expects {a.image}")
        for a in annotations
        if id(a) not in used
    ]
    for name, picture in pictures.items():
        if picture.problem:
            findings.append(finding(name, 0, "unreadable image", picture.problem))
        if name in copies:
            findings.append(copies[name])
        annotation = paired.get(name)
        if annotation is None:
            findings.append(finding(name, 0, "no annotation", "no XML file"))
        elif annotation.image != name:
            value, fix = f"says {annotation.image}", f"write {name} into <filename>"
            findings.append(finding(_file(annotation), 0, "file name", value, fix))
        if picture.size:
            findings += _check_size(name, picture.size, annotation)
        if name in empty:
            findings.append(finding(_file(paired[name]), 0, "empty", empty[name]))
        if annotation:
            findings += _check_boxes(true[name], labels, meant, usual)
    counts = Counter(meant.get(b.label, b.label) for a in annotations for b in a.boxes)
    findings += imbalance(counts if labels is None else {x: counts[x] for x in labels})
    if split is not None:
        findings += leak_findings(images_folder, pictures, split)
    return findings


def unknown_label(file: str, number: int, label: str, labels: Sequence[str]) -> Finding:
    """Return a finding for a label that is not among `labels`, with the one probably meant."""
    value = f"{label!r} is not in the labels"
    if close := closest_label(label, labels):
        return finding(file, number, "label", value, f"rename it to {close!r}")
    return finding(file, number, "class left out", value)


def twin(box: Box, others: Sequence[Box]) -> int:
    """Return the number, from 1, of the first of `others` that is `box` once more; 0 for none.

    That is a box of the same label with the same edges, or with an IoU above 0.9 when neither
    is difficult: of two cars one behind the other, annotators mark the hidden one difficult.
    """
    for number, other in enumerate(others, 1):
        share = iou(box, other) if box.label == other.label else 0.0
        if share == 1 or (share > TWICE and not (box.difficult or other.difficult)):
            return number
    return 0


def _file(annotation: Annotation) -> str:
    return annotation.source or annotation.image


def _as_pictured(annotation: Annotation, picture: Picture) -> Annotation:
    return fitted(annotation, picture.size) if picture.size else annotation


def _check_size(name: str, size: ImageSize, annotation: Annotation | None) -> Iterator[Finding]:
    if size.orientation != 1:
        yield finding(name, 0, "rotated by EXIF", f"orientation {size.orientation}")
    if annotation is None:
        return
    width, height = stated = annotation.width, annotation.height
    if stated in ((size.width, size.height), size.upright):
        return
    value = f"XML says {width}x{height}, the image is {size.width}x{size.height}"
    _, scale = fit(size, annotation)
    fix = None
    if scale is None:
        value += ": another shape, so that its boxes belong to another picture"
        fix = "give the picture that was annotated, or draw the boxes again"
    elif scale != (1, 1):
        value += f": resized by {in_words(scale)} since it was annotated"
        fix = "look whether the boxes, which are scaled alike, fit"
    yield finding(_file(annotation), 0, "wrong size", value, fix)


def _check_boxes(
    annotation: Annotation,
    labels: Sequence[str] | None,
    meant: Mapping[str, str],
    usual: Mapping[tuple[str, str], tuple[float, ...]],
) -> Iterator[Finding]:
    file, size = _file(annotation), (annotation.width, annotation.height)
    # Two spellings of one label are one label, when boxes are compared.
    boxes = [replace(box, label=meant.get(box.label, box.label)) for box in annotation.boxes]
    for number, (box, stated) in enumerate(zip(boxes, annotation.boxes, strict=True), 1):
        width, height = box.xmax - box.xmin, box.ymax - box.ymin
        if wrong := fault(box, *size):
            yield finding(file, number, *wrong)
        elif min(width, height) < TINY and not box.difficult:
            value = f"{width:g} x {height:g} pixels, under {TINY}"
            yield finding(file, number, "tiny", value)
        else:
            yield from _unusual(file, number, box, size, usual)
        if other := twin(box, boxes[: number - 1]):
            share = iou(box, boxes[other - 1])
            more = "" if share == 1 else f" but for the drawing: IoU {share:.2f}, over {TWICE}"
            yield finding(file, number, "same box twice", f"the same as object {other}{more}")
        if labels is not None and stated.label not in labels:
            yield unknown_label(file, number, stated.label, labels)
        elif stated.label != box.label and labels is None:
            value = f"{stated.label!r} next to {box.label!r}"
            yield finding(
                file, number, "label", value, f"rename it to {box.label!r}, if that is meant"
            )


def _measures(box: Box, size: tuple[int, int]) -> dict[str, float]:
    return {
        # As part of the image, since images differ in size.
        "size": math.sqrt(box.area / (size[0] * size[1])),
        "aspect": (box.xmax - box.xmin) / (box.ymax - box.ymin),
    }


def _usual(
    annotations: Iterable[Annotation], meant: Mapping[str, str]
) -> dict[tuple[str, str], tuple[float, ...]]:
    """(label, measure) -> lower fence, quartiles, upper fence, for labels with enough boxes."""
    import numpy as np

    values = defaultdict(list)
    for annotation in annotations:
        size = annotation.width, annotation.height
        for box in annotation.boxes:
            if not box.difficult and fault(box, *size) is None:
                for measure, value in _measures(box, size).items():
                    values[meant.get(box.label, box.label), measure].append(math.log(value))
    found = {}
    for key, logs in values.items():
        if len(logs) >= _ENOUGH:
            low, high = (float(q) for q in np.percentile(logs, (25, 75)))
            reach = _FAR_OUT * max(high - low, _SCATTER)
            found[key] = tuple(math.exp(v) for v in (low - reach, low, high, high + reach))
    return found


def _unusual(
    file: str,
    number: int,
    box: Box,
    size: tuple[int, int],
    usual: Mapping[tuple[str, str], tuple[float, ...]],
) -> Iterator[Finding]:
    """Findings for a box that is small, large or oddly shaped among those of its label."""
    at_border = min(box.xmin, box.ymin) < 1 or box.xmax > size[0] - 1 or box.ymax > size[1] - 1
    cut = at_border or box.truncated or box.occluded or box.difficult
    for measure, value in _measures(box, size).items():
        least, low, high, most = usual.get((box.label, measure), (0, 0, 0, math.inf))
        if least <= value <= most or (cut and (measure == "aspect" or value < least)):
            continue
        if measure == "aspect":
            kind, unit, scale = "odd shape", "width / height", 1.0
        else:
            kind = "small" if value < least else "large"
            unit, scale = "root of its area, pixels", math.sqrt(size[0] * size[1])
        this, lower, upper = (f"{scale * v:.3g}" for v in (value, low, high))
        text = f"{unit}: {this}; half of all {box.label!r} have {lower} to {upper}"
        yield finding(file, number, kind, text)


def _empty(paired: Mapping[str, Annotation], clips: Mapping[str, str]) -> dict[str, str]:
    """Images whose annotation has no object although one may be expected -> why."""
    order = [name for name in clips if name in paired]
    frames_in: Counter[str | None] = Counter(clips[name] for name in order)
    found = {}
    for before, name, after in zip(order, order[1:], order[2:], strict=False):
        same_clip = clips[before] == clips[name] == clips[after]
        if same_clip and not paired[name].boxes and paired[before].boxes and paired[after].boxes:
            found[name] = f"no object, but {before} and {after} have some"
    for name, annotation in paired.items():
        # A photo has no neighbours that could tell.
        if not annotation.boxes and frames_in[clips.get(name)] <= 1:
            found[name] = "no object"
    return found


def _copies(
    images_folder: Path | str,
    pictures: Mapping[str, Picture],
    paired: Mapping[str, Annotation],
    clips: Mapping[str, str],
) -> dict[str, Finding]:
    """A finding for each image that repeats an earlier one, exactly or nearly."""
    boxes = {name: annotation.boxes for name, annotation in paired.items()}
    found = {}
    for name, other in exact_copies(pictures).items():
        value, fix = f"the same bytes as {other}", None
        if boxes.get(name) not in (boxes.get(other), None):
            value += ", but with other boxes"
            fix = "look which boxes are right, and delete the other"
        found[name] = finding(name, 0, "same picture twice", value, fix)
    for name, other, bits in near_copies(images_folder, pictures, clips):
        found[name] = finding(name, 0, "near copy", likeness(other, bits))
    return found
