"""Annotations as WIDER FACE has them: a txt for many images, in blocks.

An image's path, the number of its faces, then a line for each: left, top, width, height in pixels
and six marks: blurred, expression, light, invalid, occluded, pose. For none, the number is 0, and
a line of zeros may follow.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.folders import is_image
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note
from helpers.annotations.shapes import Shape, Sheet
from helpers.common.files import read_text

_FACE = re.compile(r"-?\d+( -?\d+){3,9}$")
_LABEL = "face"


def matches(file: Path, head: str) -> bool:
    """Whether a file looks like such a list, by its first lines: an image, a number, a face."""
    lines = [line.strip() for line in head.splitlines()[:3]]
    return (
        file.suffix.lower() == ".txt"
        and len(lines) == 3
        and is_image(Path(lines[0]))
        and lines[1].isdigit()
        and _FACE.match(lines[2]) is not None
    )


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read a file of several images; an invalid face is difficult."""
    sheet = Sheet(file, pictures, note, "WIDER FACE")
    lines = [line.strip() for line in read_text(file).splitlines()]
    starts = [i for i, line in enumerate(lines) if is_image(Path(line))]
    for start, end in pairwise([*starts, len(lines)]):
        name, count = lines[start], "".join(lines[start + 1 : start + 2])
        faces = [(f"line {i + 1}", lines[i]) for i in range(start + 2, end) if lines[i]]
        if count == "0":
            faces = []
        if not count.isdigit() or int(count) != len(faces):
            value = f"{name}: {len(faces)} lines of faces, above them stands {count[:20]!r}"
            sheet.keep(f"line {start + 2}", "bad line", value, "correct it")
        elif image := sheet.image(name):
            yield Annotation(*image, sheet.boxes(faces, _shape, image[1:]), str(file))
    sheet.hand_over()


def _shape(line: str) -> Shape:
    x, y, width, height, *marks = map(int, line.split())
    invalid, occluded = marks[3:5] if len(marks) >= 5 else (0, 0)
    flags = {"difficult": invalid == 1, "occluded": occluded > 0}
    return Shape([_LABEL], (x, y, x + width, y + height), flags=flags)
