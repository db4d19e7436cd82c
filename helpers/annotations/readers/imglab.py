"""Annotations as dlib's imglab writes them: one XML for many images, boxes by corner and size."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.annotations.boxes import Annotation
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note
from helpers.annotations.shapes import Shape, Sheet, size_of
from helpers.common.files import read_xml

_UNNAMED = "object"


def matches(file: Path, head: str) -> bool:
    """Whether a file looks like imglab's, by its first 64 KiB."""
    return file.suffix.lower() == ".xml" and "<dataset>" in head and "<images>" in head


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read a file of several images; a box without a label is called "object"."""
    root = read_xml(file)
    sheet = Sheet(file, pictures, note, "imglab")
    for image in root.iterfind("images/image"):
        name = image.get("file", "")
        size = size_of(image.get("width"), image.get("height"))
        if found := sheet.image(name, size=size):
            items = ((f"{name}, box {i}", box) for i, box in enumerate(image.iterfind("box"), 1))
            yield Annotation(*found, sheet.boxes(items, _shape, found[1:]), str(file))
    sheet.hand_over()


def _shape(box: Any) -> Shape:
    x, y, width, height = (float(box.attrib[key]) for key in ("left", "top", "width", "height"))
    # What imglab is told to ignore is neither a hit nor a miss: difficult.
    flags = {
        "difficult": box.get("ignore") == "1" or box.get("difficult") == "1",
        "truncated": box.get("truncated") == "1",
        "occluded": box.get("occluded") == "1",
    }
    return Shape([box.findtext("label") or _UNNAMED], (x, y, x + width, y + height), flags=flags)
