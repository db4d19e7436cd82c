"""A box, the boxes of an image, and what can be wrong with one."""

import dataclasses
import math
from dataclasses import dataclass

from helpers.common.errors import CourseError


@dataclass(frozen=True)
class Box:
    """One object: its label and its edges in pixels (float), and what the annotator noted."""

    label: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: bool = False
    truncated: bool = False
    occluded: bool = False

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom edge in pixels."""
        return self.xmin, self.ymin, self.xmax, self.ymax

    @property
    def area(self) -> float:
        """Area in square pixels; negative or zero for a box that is no box."""
        return (self.xmax - self.xmin) * (self.ymax - self.ymin)


@dataclass(frozen=True)
class Annotation:
    """All boxes of one image.

    `image` is the file name that the annotation states, `width` and `height` the size in
    pixels that it states, `source` the name of the XML file ("" when there is none).
    """

    image: str
    width: int
    height: int
    boxes: tuple[Box, ...] = ()
    source: str = ""


def fault(box: Box, width: float, height: float) -> tuple[str, str, str] | None:
    """What is wrong with `box` in an image of `width` x `height` pixels, or None.

    Returns kind ("not a number", "inverted", "zero area" or "outside"), value and fix.
    """
    if not all(math.isfinite(edge) for edge in box.xyxy):
        return "not a number", f"box {_edges(box)}", "draw the box again"
    for low, high, side in (("xmin", "xmax", "right of"), ("ymin", "ymax", "below")):
        a, b = getattr(box, low), getattr(box, high)
        if b < a:
            value = f"{high} {_number(b)} is not {side} {low} {_number(a)}"
            return "inverted", value, "swap them or delete the object"
        if b == a:
            return "zero area", f"{low} and {high} are both {_number(a)}", "delete the object"
    for low, high, size, name in (
        ("xmin", "xmax", width, "width"),
        ("ymin", "ymax", height, "height"),
    ):
        a, b = getattr(box, low), getattr(box, high)
        if a < 0:
            return "outside", f"{low} {_number(a)} is below 0", "clip it to 0"
        if b > size:
            value = f"{high} {_number(b)} is beyond the image's {name} {_number(size)}"
            return "outside", value, f"clip it to {_number(size)}"
    return None


def problem(box: Box, width: float, height: float) -> str | None:
    """What is wrong with `box` in an image of `width` x `height` pixels and the fix, or None."""
    found = fault(box, width, height)
    return None if found is None else f"{found[1]}; {found[2]}"


def check_boxes(annotation: Annotation, file: str) -> None:
    """Raise CourseError at the first box that cannot be trained on; `file` is named in it."""
    for number, box in enumerate(annotation.boxes, 1):
        if message := problem(box, annotation.width, annotation.height):
            raise CourseError(f"{file}: object {number} ({box.label}): {message}")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    value = round(float(value), 2)
    return str(int(value)) if value.is_integer() else str(value)


def _edges(box: Box) -> str:
    return "(" + ", ".join(_number(edge) for edge in box.xyxy) + ")"


def swapped(box: Box) -> Box:
    """The box with its edges in order: left before right, top before bottom."""
    (x1, x2), (y1, y2) = sorted((box.xmin, box.xmax)), sorted((box.ymin, box.ymax))
    return dataclasses.replace(box, xmin=x1, ymin=y1, xmax=x2, ymax=y2)


def clipped(box: Box, width: float, height: float) -> Box:
    """The part of `box` inside an image of `width` x `height` pixels; may be no box any more."""
    return dataclasses.replace(
        box,
        xmin=max(box.xmin, 0.0),
        ymin=max(box.ymin, 0.0),
        xmax=min(box.xmax, width),
        ymax=min(box.ymax, height),
    )
