"""Rows of boxes as data sets and training scripts keep them: an image, four edges, a class.

    images/1.jpg,39,20,198,211,cat            keras-retinanet, SKU-110K; with ";" the signs of GTSDB
    1.jpg 39 20 198 211 0 "cat"               Udacity: occluded, class
    images/1.jpg 39,20,198,211,0 5,5,9,9,1    keras-yolo3: an image in each line
    image_name,x_min,y_min,x_max,y_max,tag    a table with a first line of its own

Edges are left, top, right, bottom in pixels; in a table that never exceeds 1, in fractions.
"""

import csv
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from helpers.annotations.boxes import Annotation
from helpers.annotations.pictures import Pictures
from helpers.annotations.reading import number
from helpers.annotations.remarks import Note
from helpers.annotations.shapes import Shape, Sheet, size_of
from helpers.annotations.yolo import Classes
from helpers.common.errors import CourseError
from helpers.common.files import read_text

_NUMBER = r"-?\d+(?:\.\d+)?"
_SUFFIX = r"\.(?:jpe?g|png|bmp|webp|gif|tiff?|ppm)"
_IMAGE = rf"[^,;\t]*{_SUFFIX}"
# An image and four numbers.
_ROW = re.compile(
    rf'"?{_IMAGE}"?(?P<gap>[,;\t]|\s+)\s*{_NUMBER}(?:(?P=gap)\s*{_NUMBER}){{3}}(?:(?P=gap)|$)',
    re.IGNORECASE,
)
# An image, and all its boxes, each with the number of its class.
_BOX = rf"{_NUMBER}(?:,{_NUMBER}){{4}}"
_LIST = re.compile(rf"(?P<image>.*?{_SUFFIX})(?P<boxes>(?:\s+{_BOX})+)\s*$", re.IGNORECASE)
# An image that shows nothing.
_ALONE = re.compile(rf"{_IMAGE}(?:,{{5,}})?\s*$", re.IGNORECASE)
_HEAD_LINES = 20
# Names of columns, without case and all but letters and digits; the likelier first.
_IMAGES = (
    *("image", "imagename", "imagefilename", "imagepath", "imagefile", "imageid", "imgname"),
    *("img", "imgpath", "imgid", "filename", "filepath", "file", "path", "frame"),
)
_EDGES = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("left", "top", "right", "bottom"),
    ("minx", "miny", "maxx", "maxy"),
    ("xtl", "ytl", "xbr", "ybr"),
)
_LABELS = (
    *("class", "classname", "label", "labelname", "category", "categoryname", "tag", "type"),
    *("object", "name", "classid", "categoryid", "labelid", "target"),
)
_SIZES = {"width", "height", "imagewidth", "imageheight", "imgwidth", "imgheight", "w", "h"}
_SCORES = {"score", "confidence", "conf", "prob", "probability"}  # results, not annotations
_FRACTION = 1.0


class _Row(NamedTuple):
    """A row: where it is, its image, edges and label as written, and the size of the image."""

    where: str
    image: str
    edges: Sequence[str]
    label: str
    size: tuple[int, int] | None = None
    occluded: bool = False


def matches(file: Path, head: str) -> bool:
    """Whether a file holds such rows, by its first lines."""
    if file.suffix.lower() not in (".csv", ".txt", ".tsv") or file.name.endswith(".boxes.csv"):
        return False
    lines = [line.strip() for line in head.splitlines()[:_HEAD_LINES]]
    if lines and is_header(lines[0]):
        return True
    return any(_ROW.match(line) or _LIST.match(line) for line in lines)


def is_header(line: str) -> bool:
    """Whether a line names the columns of an image, of four edges, and of nothing that is amiss."""
    return bool(_columns(_split(line, _delimiter(line))))


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read a file of several images; an image in a row of its own shows nothing.

    Raises CourseError where the third and fourth number cannot be the right and lower edge.
    """
    sheet = Sheet(file, pictures, note, "its author")
    rows = list(_rows(read_text(file), sheet))
    _check_corners(file, rows)
    names = _names(file, rows, sheet, note)
    fractions = all(_is_fraction(edge) for row in rows for edge in row.edges)
    images: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        images[row.image].append(row)

    def shape(row: _Row) -> Shape:
        edges = [number(edge, "an edge") for edge in row.edges]
        if fractions:
            edges = [edge * side for edge, side in zip(edges, (*size, *size), strict=True)]
        label = names.get(row.label, row.label)
        xmin, ymin, xmax, ymax = edges
        return Shape([label], (xmin, ymin, xmax, ymax), flags={"occluded": row.occluded})

    for stated, its_rows in images.items():
        if image := sheet.image(stated, size=its_rows[0].size):
            size = image[1:]
            items = [(row.where, row) for row in its_rows if row.edges]
            boxes = sheet.boxes(items, shape, size)
            if boxes or not items:
                yield Annotation(*image, boxes, str(file))
    sheet.hand_over()


def _rows(text: str, sheet: Sheet) -> Iterator[_Row]:
    lines = text.splitlines()
    sample = [line for line in lines[:_HEAD_LINES] if line.strip()]
    if not sample:
        return
    header = _split(sample[0], _delimiter(sample[0]))
    columns = _columns(header)
    is_list = not columns and any(_LIST.match(line.strip()) for line in sample)
    row = next(filter(None, (_ROW.match(line.strip()) for line in sample)), None)
    delimiter = _delimiter(sample[0]) if columns else row["gap"][0] if row else " "
    first = True
    for index, line in enumerate(lines, 1):
        where, line = f"line {index}", line.strip()
        if not line:
            continue
        if is_list:
            yield from _listed(line, where, sheet)
            continue
        if columns or not (_ROW.match(line) or _ALONE.match(line)):
            # The first line may name the columns; a comment may follow.
            if not (first or columns) and not line.startswith("#"):
                sheet.keep(where, "bad line", f"{line[:60]!r} is no row of a box", "correct it")
            if first or not columns:
                first = False
                continue
        first = False
        cells = _split(line, delimiter)
        if columns and len(cells) != len(header):
            found: _Row | str = f"{len(cells)} cells, the table has {len(header)} columns"
        else:
            found = _by_column(cells, columns, where) if columns else _by_place(cells, where)
        if isinstance(found, str):
            sheet.keep(where, "bad line", found, "correct it")
        else:
            yield found


def _listed(line: str, where: str, sheet: Sheet) -> Iterator[_Row]:
    """Rows of a line of keras-yolo3."""
    if found := _LIST.match(line):
        for box in found["boxes"].split():
            *edges, label = box.split(",")
            yield _Row(where, found["image"], edges, label)
    elif _ALONE.match(line):
        yield _Row(where, line, (), "")
    else:
        sheet.keep(where, "bad line", f"{line[:60]!r} is no image and its boxes", "correct it")


def _by_column(cells: Sequence[str], columns: Sequence[int], where: str) -> _Row:
    image, label, *edges = (cells[i].strip() if i >= 0 else "" for i in columns)
    if not any(edges):  # a row for an image that shows nothing
        return _Row(where, image, (), "")
    return _Row(where, image, edges, label if columns[1] >= 0 else "object")


def _by_place(cells: Sequence[str], where: str) -> _Row:
    cells = [cell.strip() for cell in cells]
    image, edges, rest = cells[0], cells[1:5], cells[5:]
    if not any(cells[1:]):
        return _Row(where, image, (), "")
    if len(rest) >= 2 and rest[0] in ("0", "1") and not _is_number(rest[1]):
        return _Row(where, image, edges, rest[1], occluded=rest[0] == "1")
    if not rest or not rest[0]:
        return _Row(where, image, edges, "object")
    size = size_of(*rest[1:3]) if len(rest) >= 3 else None
    return _Row(where, image, edges, rest[0], size)


def _columns(names: Sequence[str]) -> tuple[int, ...]:
    """The places of image, label (-1 for none) and edges in a table with such a first line."""
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    if _SCORES.intersection(plain):
        return ()
    image = next((plain.index(name) for name in _IMAGES if name in plain), -1)
    label = next((plain.index(name) for name in _LABELS if name in plain), -1)
    for edges in _EDGES:
        if image < 0 or not all(edge in plain for edge in edges):
            continue
        # Without a label all are of one class, unless a column is left that may be the label.
        if label >= 0 or set(plain) <= {plain[image], *edges, *_SIZES}:
            return (image, label, *(plain.index(edge) for edge in edges))
    return ()


def _check_corners(file: Path, rows: Sequence[_Row]) -> None:
    """Refuse rows whose numbers may be x, y, width and height: the boxes would be wrong."""
    boxes = [[float(edge) for edge in r.edges] for r in rows if all(map(_is_number, r.edges))]
    boxes = [box for box in boxes if box]
    inverted = sum(box[2] <= box[0] or box[3] <= box[1] for box in boxes)
    if boxes and inverted > len(boxes) / 10:
        raise CourseError(
            f"{file}: in {inverted} of {len(boxes)} rows the right edge would be left of the left "
            "one, or the lower above the upper; if they are x, y, width and height, make the first "
            "line image_name,bbox_x,bbox_y,bbox_width,bbox_height,label_name in their order"
        )


def _names(file: Path, rows: Sequence[_Row], sheet: Sheet, note: Note) -> dict[str, str]:
    """Number of a class as written -> its name, where a list beside the file gives them."""
    numbers = dict.fromkeys(row.label for row in rows if row.edges)
    if not numbers or not all(re.fullmatch(r"\d{1,6}", label) for label in numbers):
        return {}
    classes = Classes(file)
    known, source = classes.of(file) or ({}, None)
    for remark in classes.remarks():
        note(remark)
    names = {label: known[int(label)] for label in numbers if int(label) in known}
    if nameless := [label for label in numbers if label not in names]:
        some = ", ".join(nameless[:5]) + ", …" * (len(nameless) > 5)
        place = f"{source.name} does not name them" if source else "no list names them"
        value = f"classes {some}: {place}, so the numbers are taken for names"
        fix = "add classes.txt: the name of class 0, 1, … in each line"
        sheet.keep("", "class by number", value, fix)
    return names


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        try:
            return shlex.split(line)
        except ValueError:
            return line.split()
    return next(csv.reader([line], delimiter=delimiter), [])


def _is_number(text: str) -> bool:
    return re.fullmatch(_NUMBER, text) is not None


def _is_fraction(text: str) -> bool:
    return _is_number(text) and 0 <= float(text) <= _FRACTION
