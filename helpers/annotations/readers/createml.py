"""Annotations as Create ML json: a list of images, boxes by their centre and size in pixels.

Source: developer.apple.com, "Building an object detector data source".
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
    """Whether a file looks like Create ML's json, by its first 64 KiB."""
    ours = all(f'"{key}"' in head for key in ("coordinates", "label", "x", "width"))
    return file.suffix.lower() == ".json" and head.lstrip().startswith("[") and ours


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read a file of several images; CourseError when it is no json of Create ML at all."""
    entries = read_json(file)
    if not isinstance(entries, list):
        raise CourseError(f"{file}: no list of images; export it as Create ML json")
    sheet = Sheet(file, pictures, note, "Create ML")
    for index, entry in enumerate(entries):
        try:
            # The second names are those of Apple's older pages.
            name = str(entry["image"] if "image" in entry else entry["imagefilename"])
            shapes = list(entry["annotations"] if "annotations" in entry else entry["annotation"])
        except (LookupError, TypeError):
            sheet.keep(f"[{index}]", "bad line", "no image and its annotations", "export it again")
            continue
        if image := sheet.image(name):
            items = ((f"{name}, annotation {i}", shape) for i, shape in enumerate(shapes, 1))
            yield Annotation(*image, sheet.boxes(items, _shape, image[1:]), str(file))
    sheet.hand_over()


def _shape(item: Any) -> Shape:
    x, y, width, height = (float(item["coordinates"][key]) for key in ("x", "y", "width", "height"))
    edges = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Shape([item["label"]], edges)
