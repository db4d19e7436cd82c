"""Annotations as Labelme json: a file for each image, shapes with points in pixels.

X-AnyLabeling and others write the same. Sources: the json of Labelme 3 to 5 (github.com/wkentaro).
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.annotations.boxes import Annotation
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note
from helpers.annotations.shapes import Edges, Shape, Sheet, outline, size_of
from helpers.common.errors import CourseError
from helpers.common.files import read_json

_OUTLINES = ("polygon", "rectangle", "oriented_rectangle", "rotation")


def matches(file: Path, head: str) -> bool:
    """Whether a file looks like Labelme's, by its first 64 KiB."""
    # Old ones begin with the image itself, in base64.
    by_shapes = '"shapes"' in head and ('"imagePath"' in head or '"points"' in head)
    return file.suffix.lower() == ".json" and (by_shapes or '"imageData"' in head)


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read the file of one image; CourseError when it is no Labelme json at all."""
    data = read_json(file)
    if not isinstance(data, dict) or not isinstance(data.get("shapes"), list):
        raise CourseError(f"{file}: no list 'shapes'; save it again in Labelme")
    sheet = Sheet(file, pictures, note, "Labelme")
    size = size_of(data.get("imageWidth"), data.get("imageHeight"))
    # Json and image are renamed together, and Labelme writes the name inside only once.
    stated = str(data.get("imagePath") or "").replace("\\", "/")
    same = Path(stated).stem == file.stem
    names = (stated, file.stem) if same else (file.stem, stated)
    if image := sheet.image(*filter(None, names), size=size):
        items = ((f"shapes[{i}]", item) for i, item in enumerate(data["shapes"]))
        boxes = sheet.boxes(items, _shape, image[1:])
        yield Annotation(*image, boxes, str(file))
    embedded = "it lies inside the json alone: save it from Labelme, next to the json"
    sheet.hand_over(embedded if data.get("imageData") else "")


def _shape(item: Any) -> Shape | str:
    # Version 3 has no "shape_type": all were polygons.
    kind, points = item.get("shape_type") or "polygon", item["points"]
    flags = {**item, **(item.get("flags") or {})}
    flags = {flag: flags.get(flag) is True for flag in ("difficult", "truncated", "occluded")}
    labels = [item["label"]]
    if kind == "circle":
        (x, y), (at_x, at_y) = points  # its centre, and a point of it
        radius = math.hypot(at_x - x, at_y - y)
        return Shape(labels, (x - radius, y - radius, x + radius, y + radius), flags=flags)
    if kind == "mask":
        xmin, ymin, xmax, ymax = outline(points)
        return Shape(labels, (xmin, ymin, xmax + 1, ymax + 1), flags=flags)  # pixels, both included
    if kind not in _OUTLINES:
        return str(kind)
    edges = outline(points)
    turned = kind not in ("polygon", "rectangle") and not _upright(points, edges)
    return Shape(labels, edges, turned, flags)


def _upright(points: list[list[float]], edges: Edges) -> bool:
    """Whether all corners of a rectangle are those of the box around it."""
    xmin, ymin, xmax, ymax = edges
    return all(
        min(abs(x - xmin), abs(x - xmax)) < 0.01 and min(abs(y - ymin), abs(y - ymax)) < 0.01
        for x, y in points
    )
