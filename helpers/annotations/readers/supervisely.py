"""Annotations as Supervisely json: ann/<image>.json for each image, shapes in pixels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.annotations.boxes import Annotation
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note
from helpers.annotations.shapes import Shape, Sheet, outline, size_of
from helpers.common.errors import CourseError
from helpers.common.files import read_json

_OUTLINES = ("rectangle", "polygon")


def matches(file: Path, head: str) -> bool:
    """Whether a file looks like Supervisely's, by its first 64 KiB."""
    objects = '"objects"' in head and '"size"' in head
    ours = '"classTitle"' in head or ('"tags"' in head and '"description"' in head)
    return file.suffix.lower() == ".json" and objects and ours


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read the file of one image; CourseError when it is no json of Supervisely at all."""
    data = read_json(file)
    if not isinstance(data, dict) or not isinstance(data.get("objects"), list):
        raise CourseError(f"{file}: no list 'objects'; export it from Supervisely again")
    sheet = Sheet(file, pictures, note, "Supervisely")
    stated = data.get("size")
    sides = (stated.get("width"), stated.get("height")) if isinstance(stated, dict) else (0, 0)
    if image := sheet.image(file.stem, size=size_of(*sides)):
        items = ((f"objects[{i}]", item) for i, item in enumerate(data["objects"]))
        yield Annotation(*image, sheet.boxes(items, _shape, image[1:]), str(file))
    sheet.hand_over()


def _shape(item: Any) -> Shape | str:
    # Old exports have no "geometryType"; what has an outline has a box.
    points = item["points"]["exterior"]
    kind = str(item.get("geometryType") or ("polygon" if points else "bitmap"))
    return Shape([item["classTitle"]], outline(points)) if kind in _OUTLINES else kind
