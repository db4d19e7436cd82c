"""Annotations of KITTI and VisDrone: a txt for each image, an object in each line, pixels.

    Car 0.00 2 -1.58 587.0 173.3 614.1 200.1 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59    KITTI
    684,8,273,116,0,4,0,2                                                             VisDrone

KITTI: class, truncated (0 to 1), occluded (0 to 3), angle, left, top, right, bottom, then three
dimensions. VisDrone: left, top, width, height, score (0: does not count), class, truncated,
occluded. Both mark areas in which nobody looked for objects; these are left out.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note
from helpers.annotations.shapes import Shape, Sheet
from helpers.common.files import read_text

NAMES = {"kitti": "KITTI txt", "visdrone": "VisDrone txt"}
_KITTI = re.compile(r"[A-Za-z]\S*( -?[\d.]+(e-?\d+)?){14,15}\s*$")
_VISDRONE = re.compile(r"(-?\d+\s*,\s*){7}-?\d+,?\s*$")
# Classes of VisDrone by number, from 1; 0 is an area to be ignored.
_CLASSES = (
    *("pedestrian", "people", "bicycle", "car", "van", "truck"),
    *("tricycle", "awning-tricycle", "bus", "motor", "others"),
)
_HEAVILY = 2  # occluded by half or more, in both
_NOT_LOOKED_AT = re.compile(r"DontCare |([^,]*,){5}\s*0\s*,")


def matches(kind: str, file: Path, head: str) -> bool:
    """Whether a file is one of `kind`, "kitti" or "visdrone", by its first line."""
    line = head.strip().partition("\n")[0]
    form = _KITTI if kind == "kitti" else _VISDRONE
    return file.suffix.lower() == ".txt" and form.match(line) is not None


def read(kind: str, file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read the file of one image."""
    sheet = Sheet(file, pictures, note, "the data set")
    if image := sheet.image(file.stem):
        items = []
        for index, line in enumerate(read_text(file).splitlines(), 1):
            if _NOT_LOOKED_AT.match(line):
                value = "an area in which nobody looked for objects"
                sheet.keep(f"line {index}", "not used", value, "nothing to do")
            elif line.strip():
                items.append((f"line {index}", line))
        shape = _kitti if kind == "kitti" else _visdrone
        yield Annotation(*image, sheet.boxes(items, shape, image[1:]), str(file))
    sheet.hand_over()


def _kitti(line: str) -> Shape:
    label, truncated, occluded, _, *edges = line.split()[:8]
    xmin, ymin, xmax, ymax = map(float, edges)
    flags = {"truncated": float(truncated) > 0, "occluded": int(occluded) >= _HEAVILY}
    return Shape([label], (xmin, ymin, xmax, ymax), flags=flags)


def _visdrone(line: str) -> Shape:
    x, y, width, height, score, number, truncated, occluded = map(int, line.split(",")[:8])
    flags = {
        "difficult": score == 0,
        "truncated": truncated > 0,
        "occluded": occluded >= _HEAVILY,
    }
    return Shape([_CLASSES[number - 1]], (x, y, x + width, y + height), flags=flags)
