"""Annotations as the OIDv4 toolkit downloads them: Label/<image>.txt, a label and four edges.

A line is "Traffic light 12.5 80 220.0 190": left, top, right and bottom in pixels.
"""

from collections.abc import Iterator
from pathlib import Path

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.pictures import Pictures
from helpers.annotations.reading import bad_line, box_near, label_of, number
from helpers.annotations.remarks import Note
from helpers.common.errors import CourseError
from helpers.common.files import read_text


def matches(file: Path, head: str) -> bool:
    """Whether a file looks like the toolkit's, by its first line: words, then four numbers."""
    words = head.strip().partition("\n")[0].split()
    numbers = [_is_number(word) for word in words]
    ours = len(words) > 4 and all(numbers[-4:]) and not any(numbers[:-4])
    return file.suffix.lower() == ".txt" and ours


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read the file of one image."""
    image = pictures.named(file.stem, None, file, note=note)
    if image is None:
        return
    boxes = []
    for line, text in enumerate(read_text(file).splitlines(), 1):
        if text.strip():
            try:
                boxes.append(_box(text.split(), *image[1:]))
            except CourseError as error:
                bad_line(file, f"line {line}", error, note)
    if boxes:  # The toolkit writes no file for a picture without objects.
        yield Annotation(*image, tuple(boxes))


def _box(cells: list[str], width: int, height: int) -> Box:
    if len(cells) < 5:
        raise CourseError(f"{' '.join(cells)[:60]!r}; it must be a label and four numbers")
    edges = [number(cell, "edge") for cell in cells[-4:]]
    return box_near(label_of(" ".join(cells[:-4]), "label"), edges, width, height)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
