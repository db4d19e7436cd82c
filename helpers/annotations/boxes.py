"""A box, the boxes of an image, what can be wrong with a box, and its repair."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from helpers.common.errors import CourseError


@dataclass(frozen=True)
class Box:
    """One object: its label, its edges in pixels (float), and what the annotator noted."""

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
        """Area in square pixels; zero or negative for a box that cannot be trained on."""
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


class Fault(NamedTuple):
    """What is wrong with a box: "not a number", "inverted", "zero area" or "outside"."""

    kind: str
    value: str
    fix: str


def fault(box: Box, width: float, height: float) -> Fault | None:
    """Return the first thing wrong with `box` in an image of `width` x `height` pixels, or None."""
    if not all(map(math.isfinite, box.xyxy)):
        edges = ", ".join(map(pixels, box.xyxy))
        return Fault("not a number", f"box ({edges})", "draw the box again")
    spans = (
        ("x", box.xmin, box.xmax, "right of", "width", width),
        ("y", box.ymin, box.ymax, "below", "height", height),
    )
    for axis, low, high, side, _, _ in spans:
        if high < low:
            value = f"{axis}max {pixels(high)} is not {side} {axis}min {pixels(low)}"
            return Fault("inverted", value, "swap them or delete the object")
        if high == low:
            value = f"{axis}min and {axis}max are both {pixels(low)}"
            return Fault("zero area", value, "delete the object")
    for axis, low, high, _, name, size in spans:
        if low < 0:
            return Fault("outside", f"{axis}min {pixels(low)} is below 0", "clip it to 0")
        if high > size:
            value = f"{axis}max {pixels(high)} is beyond the image's {name} {pixels(size)}"
            return Fault("outside", value, f"clip it to {pixels(size)}")
    return None


def problem(box: Box, width: float, height: float) -> str | None:
    """Return what is wrong with `box` and how to fix it, in one line, or None; see `fault`."""
    found = fault(box, width, height)
    return found and f"{found.value}; {found.fix}"


def label_fault(label: str) -> str | None:
    """Return what keeps `label` from being written into a file, or None."""
    if not label.strip():
        return "is empty"
    if any(ord(c) < 32 or c in "\x7f\ufffe\uffff" or "\ud800" <= c <= "\udfff" for c in label):
        return "has a control character"
    return None


def check_boxes(annotation: Annotation, file: str) -> None:
    """Raise CourseError at the first box that cannot be trained on; `file` is named in it."""
    for number, box in enumerate(annotation.boxes, 1):
        if message := problem(box, annotation.width, annotation.height):
            raise CourseError(f"{file}: object {number} ({box.label}): {message}")


def repaired(box: Box, width: float, height: float) -> Box | None:
    """Return `box` with its edges in order and clipped to the image; None when nothing is left."""
    if not all(map(math.isfinite, box.xyxy)):
        return None
    (x1, x2), (y1, y2) = sorted((box.xmin, box.xmax)), sorted((box.ymin, box.ymax))
    box = replace(box, xmin=max(x1, 0), ymin=max(y1, 0), xmax=min(x2, width), ymax=min(y2, height))
    return None if fault(box, width, height) else box


def turned(box: Box, degrees: float) -> Box:
    """Return the upright box around `box` turned about its centre by `degrees`."""
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    width, height = box.xmax - box.xmin, box.ymax - box.ymin
    x, y = (box.xmin + box.xmax) / 2, (box.ymin + box.ymax) / 2
    w, h = (width * cos + height * sin) / 2, (width * sin + height * cos) / 2
    return replace(box, xmin=x - w, ymin=y - h, xmax=x + w, ymax=y + h)


def iou(box: Box, other: Box) -> float:
    """Return the intersection over union of two boxes, 0 to 1; 1 for equal boxes of any area."""
    if box.xyxy == other.xyxy:
        return 1.0
    width = min(box.xmax, other.xmax) - max(box.xmin, other.xmin)
    height = min(box.ymax, other.ymax) - max(box.ymin, other.ymin)
    if not (width > 0 and height > 0):
        return 0.0
    union = box.area + other.area - width * height
    return width * height / union if union > 0 else 0.0


def pixels(value: float) -> str:
    """Return a coordinate as text: rounded to 0.01 pixel, whole numbers without a point."""
    if not math.isfinite(value):
        return str(value)
    value = round(float(value), 2)
    return str(int(value)) if value.is_integer() else str(value)
