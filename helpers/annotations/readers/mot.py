"""Annotations as MOTChallenge keeps them: gt/gt.txt of a sequence, whose frames lie in img1/.

A line is frame (from 1), track, left, top, width, height in pixels, whether it counts, class, and
how much of it is seen. Tools that know no classes write -1, or leave them out. CVAT writes the
names into gt/labels.txt.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note
from helpers.annotations.shapes import Shape, Sheet
from helpers.common.files import read_text

_LINE = re.compile(r"\d+,-?\d+(,-?\d+(\.\d+)?){4}(,-?\d+(\.\d+)?){1,4},?\s*$")
# Classes of MOT16 to MOT20 by number, from 1.
_CLASSES = (
    *("pedestrian", "person on vehicle", "car", "bicycle", "motorbike", "non-motorized vehicle"),
    *("static person", "distractor", "occluder", "occluder on the ground", "occluder full"),
    *("reflection", "crowd"),
)
_UNNAMED = "object"


def matches(file: Path, head: str) -> bool:
    """Whether a file is such a table, by name and first line; det.txt has a detector's guesses."""
    line = head.strip().partition("\n")[0]
    return file.name.lower() in ("gt.txt", "gt_train_half.txt", "gt_val_half.txt") and bool(
        _LINE.match(line)
    )


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read the file of a sequence; frames without objects are not annotated: it lists none."""
    sheet = Sheet(file, pictures, note, "MOTChallenge")
    listed = file.with_name("labels.txt")
    names = read_text(listed).splitlines() if listed.is_file() else _CLASSES
    frames: dict[int, list[tuple[str, list[str]]]] = defaultdict(list)
    for index, line in enumerate(read_text(file).splitlines(), 1):
        if _LINE.match(line):
            cells = line.strip().strip(",").split(",")
            frames[int(cells[0])].append((f"line {index}", cells))
        elif line.strip():
            value = f"{line[:60]!r} is no line of MOTChallenge"
            sheet.keep(f"line {index}", "bad line", value, "correct it")
    for frame, items in sorted(frames.items()):
        # Frames inside a video are counted from 0, and called as CVAT calls them.
        stated = [f"{frame:06d}", f"{frame:08d}", f"{frame:05d}", f"img{frame:06d}"]
        if not pictures.names:
            stated = [f"frame_{frame - 1:06d}"]
        if image := sheet.image(*stated):
            boxes = sheet.boxes(items, partial(_shape, names=names), image[1:])
            yield Annotation(*image, boxes, str(file))
    sheet.hand_over()


def _shape(cells: Sequence[str], names: Sequence[str]) -> Shape:
    x, y, width, height = map(float, cells[2:6])
    number = int(float(cells[7])) if len(cells) > 7 else -1
    label = names[number - 1] if number >= 1 else _UNNAMED
    # What does not count is neither a hit nor a miss.
    flags = {"difficult": float(cells[6]) == 0}
    return Shape([label], (x, y, x + width, y + height), flags=flags)
