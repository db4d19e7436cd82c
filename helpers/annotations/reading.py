"""What the readers of annotation formats share: numbers, sizes, labels and boxes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.annotations.boxes import Box, label_fault, pixels, turned
from helpers.annotations.remarks import Note, Remark
from helpers.common.errors import CourseError

# Pixels by which decimals that a tool has cut off may put an edge outside the image: YOLO with
# six decimals up to 0.006 in an image of 8000 pixels, COCO with two decimals 0.01.
_SLACK = 0.0101
# No picture has a longer side; what claims one has a damaged number.
_LONGEST_SIDE = 1_000_000


def box_near(label: str, edges: Sequence[float], width: int, height: int, **flags: bool) -> Box:
    """Return a box; an edge that is outside by no more than rounding is moved to the border."""
    inside = []
    for edge, size in zip(edges, (width, height, width, height), strict=True):
        nearest = min(max(edge, 0.0), float(size))
        inside.append(nearest if abs(edge - nearest) <= _SLACK else edge)
    xmin, ymin, xmax, ymax = inside
    return Box(label, xmin, ymin, xmax, ymax, **flags)


def around(points: Iterable[Sequence[float]]) -> tuple[float, float, float, float]:
    """Return the edges of the upright box around points (x, y): a polygon, a mask's outline."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def number(value: Any, what: str) -> float:
    """Return a finite number; CourseError, "<what>: … is no number", for anything else."""
    try:
        found = float(value)
        if math.isfinite(found) and not isinstance(value, bool):
            return found
    except (TypeError, ValueError, OverflowError):
        pass
    raise CourseError(f"{what}: {_short(value)} is no number; correct it")


def stated_size(
    item: Mapping, names: tuple[str, str] = ("width", "height")
) -> tuple[int, int] | None:
    """Return (width, height) in pixels, or None where one is missing or 0, as some tools leave it.

    Raises CourseError for what is no number of pixels.
    """
    if not all(item.get(name) for name in names):
        return None
    width, height = (number(item[name], name) for name in names)
    if not (0 <= width <= _LONGEST_SIDE and 0 <= height <= _LONGEST_SIDE):
        raise CourseError(f"size {width:g} x {height:g} is impossible; correct it")
    return (int(width), int(height)) if width >= 1 and height >= 1 else None


def label_of(value: Any, what: str) -> str:
    """Return a label; CourseError where it is missing, or no file can hold it."""
    label = value.strip("\r\n\t") if isinstance(value, str) else ""
    if fault := label_fault(label):
        stated = f" {label!r}" if label.strip() else ""
        raise CourseError(f"{what}{stated} {fault}; write the object's label into it")
    return label


def bad_line(file: Path, where: str, error: CourseError, note: Note) -> None:
    """Hand a `CourseError` of this module to `note`, as the remark on a line or an object."""
    value, _, fix = str(error).rpartition("; ")
    note(Remark(str(file), where, "bad line", value, fix))


def upright(box: Box, degrees: float, what: str, file: Path, where: str, note: Note) -> Box:
    """Return the upright box around one that is turned by `degrees`; a remark on `what` it is."""
    if not degrees % 180:
        return box
    value = f"{what} is turned by {pixels(degrees)} degrees"
    fix = "the upright box around it is taken: look whether it fits"
    note(Remark(str(file), where, "rotated box", value, fix))
    return turned(box, degrees)


def _short(value: Any) -> str:
    """A value as text of at most 40 characters; not what is too large or deep to be one."""
    if isinstance(value, list | dict):
        return f"a {type(value).__name__}"
    if isinstance(value, int) and abs(value) > 10**30:
        return "a huge number"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
