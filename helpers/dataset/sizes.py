"""The size that an annotation states, and that of its picture: resized since, or another shape."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from helpers.annotations.boxes import Annotation, Box
from helpers.common.images import ImageSize

# Sides this much apart count as equal: rounding, or the padding to whole blocks that video adds.
_SLACK = 0.01


class Fit(NamedTuple):
    """How an annotation fits its picture.

    `size` is the picture's width and height in pixels, the way round that it was annotated;
    `scale` what the boxes have to be multiplied by, in x and y: (1, 1) where they are right as
    they stand, None where nothing says where they belong.
    """

    size: tuple[int, int]
    scale: tuple[float, float] | None = (1.0, 1.0)


def fit(size: ImageSize, annotation: Annotation) -> Fit:
    """Return how an annotation fits a picture of that size.

    Where the stated size differs by the same factor both ways, the picture was resized after it
    was annotated, and the boxes have to follow; where a box reaches beyond the stated size but
    not beyond the picture, only the size was noted wrongly. A size of 0 says nothing, and a
    picture without boxes cannot be wrong.
    """
    stated, upright = (annotation.width, annotation.height), size.upright
    ways = list(dict.fromkeys(((size.width, size.height), upright)))
    if stated in ways:
        return Fit(stated)
    if min(stated) < 1 or not annotation.boxes:
        return Fit(upright)
    for way in reversed(ways):
        if all(map(_near, stated, way)):
            return Fit(way)
    for way in reversed(ways):
        if _beyond(annotation.boxes, stated) and not _beyond(annotation.boxes, way):
            return Fit(way)
    for way in reversed(ways):
        x, y = (true / said for true, said in zip(way, stated, strict=True))
        # Either side of either size may have been rounded.
        pairs = (
            (stated[1] * x, way[1]),
            (way[1] / x, stated[1]),
            (stated[0] * y, way[0]),
            (way[0] / y, stated[0]),
        )
        if any(_near(one, other) for one, other in pairs):
            return Fit(way, (x, y))
    return Fit(upright, None)


def fitted(annotation: Annotation, size: ImageSize) -> Annotation:
    """Return an annotation as its picture is: with the true size, and the boxes scaled to it."""
    true, scale = fit(size, annotation)
    x, y = scale or (1, 1)
    boxes = annotation.boxes
    if (x, y) != (1, 1):
        boxes = tuple(
            replace(b, xmin=b.xmin * x, ymin=b.ymin * y, xmax=b.xmax * x, ymax=b.ymax * y)
            for b in boxes
        )
    return replace(annotation, width=true[0], height=true[1], boxes=boxes)


def in_words(scale: tuple[float, float]) -> str:
    """Return a scale in x and y as one number: they differ by rounding only."""
    return f"{math.sqrt(scale[0] * scale[1]):.4g}"


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= max(1, _SLACK * max(one, other))


def _beyond(boxes: Iterable[Box], size: tuple[int, int]) -> bool:
    """Whether a box reaches out of a picture of this size, by more than a hair."""
    edges = [box.xyxy for box in boxes if all(map(math.isfinite, box.xyxy))]
    for i, side in enumerate(size):
        most = max((max(e[i], e[i + 2]) for e in edges), default=0)
        if most > side and not _near(most, side):
            return True
    return False
