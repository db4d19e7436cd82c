"""Annotations in CSV files: a box in each line, as VoTT, the TFOD tutorials and LISA have it."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.reading import FORMATS, Pictures, box_near, number, stated_size
from helpers.common.errors import CourseError
from helpers.common.files import whole_file

_CORNERS = (
    "Upper left corner X",
    "Upper left corner Y",
    "Lower right corner X",
    "Lower right corner Y",
)
_EDGES = ("xmin", "ymin", "xmax", "ymax")
# LISA's signs have this comma inside one column; its traffic lights lack the column.
_LISA_FLAGS = "Occluded,On another road"
# For each format: the columns of image and label, then those of the edges.
_COLUMNS = {
    "vott_csv": ("image", "label", *_EDGES),
    "tfod_csv": ("filename", "class", *_EDGES),
    "lisa_csv": ("Filename", "Annotation tag", *_CORNERS),
}
_HEADERS = {
    "vott_csv": ("image", *_EDGES, "label"),
    "tfod_csv": ("filename", "width", "height", "class", *_EDGES),
    "lisa_csv": ("Filename", "Annotation tag", *_CORNERS, _LISA_FLAGS),
}


def kind_of(header: str) -> str | None:
    """Return the format of a CSV file by its first line; None for other tables."""
    # Some of the columns are enough: the reader says which of the others is missing.
    columns = {name.strip(' "\n\r') for name in re.split("[,;]", header)}
    for kind, (image, label, *edges) in _COLUMNS.items():
        boxes_of_images = {label, *edges} <= columns and "frame" not in columns
        if boxes_of_images or (image in columns and columns & set(edges)):
            return kind
    return None


def read(file: Path, kind: str, pictures: Pictures) -> Iterator[Annotation]:
    """Read a CSV file of the format `kind`; CourseError with the line."""
    image_column, label_column, *edge_columns = _COLUMNS[kind]
    images: dict[str, tuple[str, int, int]] = {}
    called: dict[str, str] = {}
    boxes: dict[tuple[str, int, int], list[Box]] = defaultdict(list)
    for line, row in _rows(file, kind):
        where = f"{file}: line {line}"
        stated, label = row[image_column], row[label_column]
        if not label.strip():
            raise CourseError(f"{where}: column {label_column!r} is empty; write the label into it")
        size = stated_size(row, where)
        if stated not in images:
            images[stated] = pictures.named(stated, size, where)
            first = called.setdefault(images[stated][0], stated)
            if first != stated and not pictures.by_name:
                raise CourseError(
                    f"{where}: {stated} and {first} have the same file name; rename one, or add "
                    "the images"
                )
        name, width, height = images[stated]
        if size and size != (width, height):
            raise CourseError(
                f"{where}: {name}: size {size[0]}x{size[1]}, above it is {width}x{height}; "
                "correct one"
            )
        edges = [number(row[column], f"{where}: {column}") for column in edge_columns]
        occluded = kind == "lisa_csv" and _occluded(row)
        boxes[images[stated]].append(box_near(label, edges, width, height, occluded=occluded))
    for image, its_boxes in boxes.items():
        yield Annotation(*image, tuple(its_boxes))


def write(annotations: Sequence[Annotation], path: Path, kind: str) -> None:
    """Write a CSV file of the format `kind`: a line for each box."""
    image, label, *edges = _COLUMNS[kind]
    with whole_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(
            file,
            _HEADERS[kind],
            extrasaction="ignore",
            delimiter=";" if kind == "lisa_csv" else ",",
            # VoTT quotes all that is no number.
            quoting=csv.QUOTE_NONNUMERIC if kind == "vott_csv" else csv.QUOTE_MINIMAL,
            lineterminator="\n",
        )
        table.writeheader()
        for a in annotations:
            for box in a.boxes:
                row = {image: a.image, label: box.label, "width": a.width, "height": a.height}
                row[_LISA_FLAGS] = f"{box.occluded:d},0"
                row |= zip(edges, map(_whole, box.xyxy), strict=True)
                table.writerow(row)


def _rows(file: Path, kind: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of each row of a CSV file, with commas or with semicolons."""
    wanted = _COLUMNS[kind]
    with file.open(newline="", encoding="utf-8-sig") as lines:
        try:
            header = lines.readline()
            lines.seek(0)
            delimiter = ";" if header.count(";") > header.count(",") else ","
            reader = csv.DictReader(lines, delimiter=delimiter)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            if lacking := [name for name in wanted if name not in reader.fieldnames]:
                raise CourseError(
                    f"{file}: line 1: no column {lacking[0]!r}; {FORMATS[kind]} has "
                    f"{', '.join(wanted)}"
                )
            for row in reader:
                if any(row[name] is None for name in wanted):
                    raise CourseError(
                        f"{file}: line {reader.line_num}: fewer cells than columns; complete it"
                    )
                yield reader.line_num, row
        except (UnicodeDecodeError, csv.Error) as error:
            raise CourseError(f"{file}: no CSV in UTF-8 ({error}); export it again") from None


def _occluded(row: dict[str, str]) -> bool:
    flags = row.get(_LISA_FLAGS) or row.get("Occluded") or "0"
    return flags.split(",")[0].strip() == "1"


def _whole(edge: float) -> int | float:
    return int(edge) if float(edge).is_integer() else float(edge)
