"""Annotations in CSV files: a box in each line, as VoTT, the TFOD tutorials and LISA have it."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.folders import is_image
from helpers.annotations.pictures import Pictures, in_other_folder
from helpers.annotations.readers import rows
from helpers.annotations.reading import bad_line, box_near, label_of, number, stated_size
from helpers.annotations.remarks import Note
from helpers.common.errors import CourseError
from helpers.common.files import read_text, whole_file

NAMES = {
    "vott_csv": "VoTT CSV",
    "tfod_csv": "TFOD CSV",
    "lisa_csv": "LISA CSV",
    "makesense_csv": "makesense.ai CSV",
}
_CORNERS = (
    "Upper left corner X",
    "Upper left corner Y",
    "Lower right corner X",
    "Lower right corner Y",
)
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_SIDES = ("width", "height")
# LISA's signs have this comma inside one column; its traffic lights lack the column.
_LISA_FLAGS = "Occluded,On another road"
# For each format: the columns of image and label, then those of the edges; makesense.ai gives the
# upper left corner, width and height.
_COLUMNS = {
    "vott_csv": ("image", "label", *_EDGES),
    "tfod_csv": ("filename", "class", *_EDGES),
    "lisa_csv": ("Filename", "Annotation tag", *_CORNERS),
    "makesense_csv": ("image_name", "label_name", "bbox_x", "bbox_y", "bbox_width", "bbox_height"),
}
# Older files of makesense.ai lack this line.
_MAKESENSE = (
    *("label_name", "bbox_x", "bbox_y", "bbox_width", "bbox_height"),
    *("image_name", "image_width", "image_height"),
)
_HEADERS = {
    "vott_csv": ("image", *_EDGES, "label"),
    "tfod_csv": ("filename", "width", "height", "class", *_EDGES),
    "lisa_csv": ("Filename", "Annotation tag", *_CORNERS, _LISA_FLAGS),
}


def matches(kind: str, file: Path, head: str) -> bool:
    """Whether a file is a CSV of the format `kind`, by its first line."""
    lines = head.splitlines()
    if file.suffix.lower() not in (".csv", ".tsv", ".txt") or not lines:
        return False
    columns = {name.strip(' "') for name in re.split("[,;\t]", lines[0])}
    image, label, *edges = _COLUMNS[kind]
    if kind == "makesense_csv" and any(map(_lacks_header, lines[:5])):
        return True
    if label not in columns and rows.is_header(lines[0]):  # another word for it, or no label
        return False
    # Some of the columns are enough: the reader says which of the others is missing.
    boxes_of_images = {label, *edges} <= columns and "frame" not in columns
    return boxes_of_images or bool(image in columns and columns & set(edges))


def read(kind: str, file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read a CSV file of the format `kind`; CourseError for a file that lacks a column."""
    image_column, label_column, *edge_columns = _COLUMNS[kind]
    images: dict[str, tuple[str, int, int] | None] = {}
    called: dict[str, str] = {}
    boxes: dict[tuple[str, int, int], list[Box]] = defaultdict(list)
    for line, row in _rows(file, kind, note):
        where = f"line {line}"
        stated = row[image_column]
        try:
            label = label_of(row[label_column], f"column {label_column!r}")
            sides = ("image_width", "image_height") if kind == "makesense_csv" else _SIDES
            size = stated_size(row, sides)
            edges = [number(row[column], column) for column in edge_columns]
            if stated not in images:
                images[stated] = pictures.named(stated, size, file, where, note)
            image = images[stated]
            if image is None:
                continue
            name, width, height = image
            first = called.setdefault(name, stated)
            if first != stated and (not pictures.names or in_other_folder(stated, first)):
                raise CourseError(
                    f"{stated} and {first} would be one picture, {name}; add the missing one"
                )
            if size and size != (width, height):
                raise CourseError(
                    f"{name}: size {size[0]}x{size[1]}, above it is {width}x{height}; correct one"
                )
        except CourseError as error:
            bad_line(file, where, error, note)
            continue
        if kind == "makesense_csv":
            edges = [*edges[:2], edges[0] + edges[2], edges[1] + edges[3]]
        occluded = kind == "lisa_csv" and _occluded(row)
        boxes[image].append(box_near(label, edges, width, height, occluded=occluded))
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


def _rows(file: Path, kind: str, note: Note) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of each row of a CSV file, with commas, semicolons or tabs."""
    text = read_text(file)
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        wanted = _COLUMNS[kind]
        if kind == "makesense_csv" and wanted[0] not in header:
            names = list(_MAKESENSE)
        else:
            names = [name.strip() for name in next(reader)]
        if lacking := [name for name in wanted if name not in names]:
            raise CourseError(
                f"{file}: line 1: no column {lacking[0]!r}; {NAMES[kind]} has {', '.join(wanted)}"
            )
        for cells in reader:
            if len(cells) == len(names):
                yield reader.line_num, dict(zip(names, cells, strict=True))
            elif cells:
                # Decimal commas, or a comma in a name: nobody knows which cells belong together.
                error = CourseError(
                    f"{len(cells)} cells, the table has {len(names)} columns; correct it"
                )
                bad_line(file, f"line {reader.line_num}", error, note)
    except csv.Error as error:
        fault = CourseError(f"no CSV from here on ({error}); correct it")
        bad_line(file, f"line {reader.line_num}", fault, note)


def _lacks_header(line: str) -> bool:
    """Whether a line is a row of makesense.ai: label, four numbers, image, two numbers."""
    cells = [cell.strip(' "\r') for cell in line.split(",")]
    numbers = [*cells[-7:-3], *cells[-2:]]
    return (
        len(cells) == len(_MAKESENSE)
        and is_image(Path(cells[-3]))
        and all(re.fullmatch(r"-?[\d.]+", cell) for cell in numbers)
    )


def _occluded(row: dict[str, str]) -> bool:
    flags = row.get(_LISA_FLAGS) or row.get("Occluded") or "0"
    return flags.split(",")[0].strip() == "1"


def _whole(edge: float) -> int | float:
    return int(edge) if float(edge).is_integer() else float(edge)
