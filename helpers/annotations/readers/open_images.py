"""Annotations as the CSV of Open Images: edges in fractions of the image, classes by code.

The names of the codes, such as /m/0k4j for a car, are in class-descriptions-boxable.csv. Boxes
around a group (IsGroupOf) become difficult, as those do that COCO calls a crowd.
Source: storage.googleapis.com/openimages, "Data formats".
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.folders import files_below
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note
from helpers.annotations.shapes import Shape, Sheet
from helpers.common.files import read_text

_COLUMNS = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
_FLAGS = {"difficult": "IsGroupOf", "truncated": "IsTruncated", "occluded": "IsOccluded"}
_CODE = re.compile(r"/[mgt]/\w+$")


def matches(file: Path, head: str) -> bool:
    """Whether a file is a table of boxes as Open Images has it, by its first line."""
    columns = head.split("\n", 1)[0].replace('"', "").strip().split(",")
    return file.suffix.lower() == ".csv" and set(_COLUMNS) <= set(columns)


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read a file of several images; rows of images that are not there give one remark."""
    sheet = Sheet(file, pictures, note, "Open Images")
    images: dict[str, tuple[str, int, int] | None] = {}
    rows: dict[tuple[str, int, int], list] = defaultdict(list)
    for where, row in sheet.rows(_COLUMNS):
        # The tables list all images of Open Images; most people have a few of them.
        stated = row["ImageID"]
        if stated not in images:
            images[stated] = sheet.image(stated)
        if image := images[stated]:
            rows[image].append((where, row))
    names = _class_names(file, pictures)
    for image, its_rows in rows.items():
        boxes = sheet.boxes(its_rows, partial(_shape, names=names, size=image[1:]), image[1:])
        yield Annotation(*image, boxes, str(file))
    unnamed = {row["LabelName"] for some in rows.values() for _, row in some} - set(names)
    if codes := sorted(filter(_CODE.match, unnamed)):
        value = f"nothing says what {', '.join(codes[:3])} is: the code becomes the label"
        sheet.keep("", "label", value, "put class-descriptions-boxable.csv next to it")
    sheet.hand_over("download them too, or leave it: the rows of the other images are used")


def _shape(row: dict[str, str], names: dict[str, str], size: tuple[int, int]) -> Shape:
    width, height = size
    xmin, xmax = (float(row[key]) * width for key in ("XMin", "XMax"))
    ymin, ymax = (float(row[key]) * height for key in ("YMin", "YMax"))
    flags = {flag: row.get(column) == "1" for flag, column in _FLAGS.items()}
    label = row["LabelName"]
    return Shape([names.get(label, label)], (xmin, ymin, xmax, ymax), flags=flags)


def _class_names(file: Path, pictures: Pictures) -> dict[str, str]:
    """Code -> name, from the tables beside the boxes, else from those below the images' folder."""
    beside = [path for path in file.parent.iterdir() if path.suffix.lower() == ".csv"]
    for files in (sorted(beside), files_below(pictures.folder)):
        names: dict[str, str] = {}
        for path in files:
            if "class" in path.name.lower() and path.suffix.lower() == ".csv":
                lines = csv.reader(read_text(path).splitlines())
                names |= {row[0]: row[1] for row in lines if len(row) > 1 and _CODE.match(row[0])}
        if names:
            return names
    return {}
