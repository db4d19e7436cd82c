"""Annotations as Scalabel and BDD100K write them: json of many images, or of one, edges in pixels.

Old files of BDD100K hold one image each, its objects in the only frame.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.annotations.boxes import Annotation
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note
from helpers.annotations.shapes import Shape, Sheet
from helpers.common.errors import CourseError
from helpers.common.files import read_json


def matches(file: Path, head: str) -> bool:
    """Whether a file looks like Scalabel's, by its first 64 KiB."""
    ours = '"box2d"' in head or ('"poly2d"' in head and '"category"' in head)
    return file.suffix.lower() == ".json" and ours


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read a file; CourseError when it is no json of Scalabel at all."""
    data = read_json(file)
    images = [data] if isinstance(data, dict) and "name" in data else data
    if isinstance(images, dict):
        images = images.get("frames")
    if not isinstance(images, list):
        raise CourseError(f"{file}: no list of images; export it from Scalabel again")
    sheet = Sheet(file, pictures, note, "Scalabel")
    for index, entry in enumerate(images):
        try:
            name, shapes = str(entry["name"]), list(_objects(entry))
        except (AttributeError, LookupError, TypeError):
            sheet.keep(f"[{index}]", "bad line", "no image and its labels", "export it again")
            continue
        if image := sheet.image(name):
            items = ((f"{name}, label {i}", item) for i, item in enumerate(shapes, 1))
            yield Annotation(*image, sheet.boxes(items, _shape, image[1:]), str(file))
    sheet.hand_over()


def _objects(entry: Any) -> list:
    if "frames" in entry:
        return [item for frame in entry["frames"] for item in frame["objects"]]
    return entry.get("labels") or []


def _shape(item: Any) -> Shape | str:
    box = item.get("box2d")
    if not box:
        return f"{item.get('category')} as a line or an area"
    edges = (float(box["x1"]), float(box["y1"]), float(box["x2"]), float(box["y2"]))
    stated = item.get("attributes") or {}
    flags = {flag: stated.get(flag) is True for flag in ("truncated", "occluded")}
    return Shape([item["category"]], edges, flags=flags)
