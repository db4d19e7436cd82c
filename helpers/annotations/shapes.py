"""Shapes as labelling tools draw them: the upright box around each, and what has none.

`Sheet` is one file of a tool while it is read. A shape that cannot be used is remarked upon, the
rest is read. What is the same for many shapes of a file is one remark with their number.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from helpers.annotations.boxes import Box
from helpers.annotations.folders import readable
from helpers.annotations.pictures import Pictures
from helpers.annotations.reading import around, box_near, label_of, number, stated_size
from helpers.annotations.remarks import Note, Remark
from helpers.common.errors import CourseError
from helpers.common.files import read_text

Edges = tuple[float, float, float, float]
Size = tuple[int, int]
# What Python answers to a shape that is not built as its tool builds it: fields that are missing,
# lists in place of numbers, words in place of lists.
_MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_FLAGS = ("difficult", "truncated", "occluded")
_NAMED = 3  # images that a remark names; of the others it gives the number
_LONGEST = 200  # characters of a file that a remark repeats


class Shape(NamedTuple):
    """A shape that has a box.

    Attributes:
        labels: its labels; a box is made for each.
        edges: left, top, right, bottom edge of the box around it, in pixels.
        turned: whether it is a rectangle that does not stand upright.
        flags: those of "difficult", "truncated", "occluded" that are set.
    """

    labels: Sequence[object]
    edges: Edges
    turned: bool = False
    flags: Mapping[str, bool] = {}


class Sheet:
    """A file of annotations while it is read: finds its images, makes boxes, collects remarks.

    Args:
        file: the file.
        pictures: the images that it may speak of.
        note: takes the remarks.
        tool: name of the program that writes such files.
    """

    def __init__(self, file: Path, pictures: Pictures, note: Note, tool: str):
        self.file, self.pictures, self.tool = file, pictures, tool
        self._note = note
        self._missing: dict[str, None] = {}
        # (kind, value, fix) -> where it was seen first, how often
        self._seen: dict[tuple[str, str, str], tuple[str, int]] = {}

    def image(self, *stated: str, size: Size | None = None) -> tuple[str, int, int] | None:
        """Name, width and height of the image that has one of the names `stated`; None if none.

        `size` is what the file says; where it is None, that of the image is taken.
        """
        for name in stated:
            if self.pictures.find(name, self.file):
                return self.pictures.named(name, size, self.file, note=self._note)
        if not self.pictures.names and (size or self.pictures.frame_size):
            return self.pictures.named(stated[0], size, self.file)
        self._missing[stated[0]] = None
        return None

    def boxes(
        self,
        items: Iterable[tuple[str, Any]],
        shape_of: Callable[[Any], Shape | str],
        size: Size,
    ) -> tuple[Box, ...]:
        """The boxes around shapes in an image.

        Args:
            items: where each is, such as "shapes[3]", and what the file says of it.
            shape_of: the shape of such an item, or the name of a kind that has no box. May raise
                whatever Python raises for an item that is built differently.
            size: width and height of the image in pixels.
        """
        found = []
        for where, item in items:
            try:
                shape = shape_of(item)
                if isinstance(shape, str):
                    fix = "draw a rectangle instead: only what encloses an object has a box"
                    self.keep(where, "not understood", f"shape without a box: {shape}", fix)
                    continue
                edges = [number(edge, "an edge") for edge in shape.edges]
                # A number, as a class may be called, is a label as well.
                stated = [str(x) if type(x) is int else x for x in shape.labels] or [""]
                labels = [label_of(label, "the label") for label in stated]
            except CourseError as error:
                value, _, fix = str(error).rpartition("; ")
                self.keep(where, "bad line", value, fix)
                continue
            except _MALFORMED as error:
                value = f"no shape as {self.tool} writes it ({type(error).__name__}: {error})"
                self.keep(where, "bad line", value, f"draw it again in {self.tool}")
                continue
            if shape.turned:
                fix = "look at it: the upright box around it is larger"
                self.keep(where, "rotated box", "a rectangle that was rotated", fix)
            flags = {flag: bool(shape.flags.get(flag)) for flag in _FLAGS}
            found += [box_near(label, edges, *size, **flags) for label in labels]
        return tuple(found)

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
        """Where each row of a CSV file is ("line 3"), and its cells, for a file that is a table.

        Rows with more or fewer cells than the header are remarked upon and left out. CourseError
        when one of `columns` is missing.
        """
        text = read_text(self.file)
        header = text.partition("\n")[0]
        lines = io.StringIO(text, newline="")
        reader = csv.DictReader(lines, delimiter=max(",;", key=header.count), strict=True)
        try:
            names = reader.fieldnames or ()
            if lacking := [name for name in columns if name not in names]:
                raise CourseError(f"{self.file}: no column {lacking[0]!r}; export it again")
            for row in reader:
                if None in row or None in row.values():
                    value = f"more or fewer cells than the {len(names)} columns"
                    self.keep(f"line {reader.line_num}", "bad line", value, "correct it")
                else:
                    yield f"line {reader.line_num}", row
        except csv.Error as error:
            value = f"no CSV from here on ({error})"
            self.keep(f"line {reader.line_num}", "bad line", value, "correct it")

    def keep(self, where: str, kind: str, value: str, fix: str) -> None:
        """Keep a remark for `hand_over`; the same again only counts."""
        where, value = _brief(where), _brief(value)
        first, count = self._seen.get((kind, value, fix), (where, 0))
        self._seen[kind, value, fix] = (first, count + 1)

    def hand_over(self, advice: str = "") -> None:
        """Hand over what is to be said; `advice` replaces the fix for images not found."""
        for (kind, value, fix), (where, count) in self._seen.items():
            more = f" (and {count - 1} more like it in this file)" if count > 1 else ""
            self._note(Remark(str(self.file), where, kind, value + more, fix))
        if names := list(self._missing):
            named = ", ".join(repr(_brief(name)) for name in names[:_NAMED])
            named += ", …" * (len(names) > _NAMED)
            some = f"picture {named} is" if len(names) == 1 else f"{len(names)} pictures are"
            value = f"{some} not there" + f": {named}" * (len(names) > 1)
            fix = advice or "correct the names, or add the pictures"
            self._note(Remark(str(self.file), "", "no image", value, fix))


def outline(points: Iterable[Sequence[Any]]) -> Edges:
    """The box around points (x, y) in numbers or text; ValueError for a single one."""
    found = [(float(x), float(y)) for x, y in points]
    if len(found) < 2:
        raise ValueError("a single point")
    return around(found)


def rotated(edges: Edges, degrees: float, pivot: tuple[float, float]) -> Edges:
    """The box around `edges` turned clockwise about `pivot` (x, y)."""
    xmin, ymin, xmax, ymax = edges
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x0, y0 = pivot
    corners = [(x - x0, y - y0) for x in (xmin, xmax) for y in (ymin, ymax)]
    return around([(x0 + x * cos - y * sin, y0 + x * sin + y * cos) for x, y in corners])


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0.0) -> Edges:
    """The box around an ellipse with its centre at x, y, turned by `degrees`."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    half_width, half_height = math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)
    return x - half_width, y - half_height, x + half_width, y + half_height


def is_turned(degrees: float) -> bool:
    """Whether a rectangle turned by `degrees` no longer stands upright."""
    return abs((degrees + 45) % 90 - 45) > 0.01


def size_of(width: object, height: object) -> Size | None:
    """Width and height as a file states them; None where they are missing, 0 or no numbers."""
    try:
        return stated_size({"width": width, "height": height})
    except CourseError:
        return None


def _brief(text: str) -> str:
    """What a file says, as a remark repeats it."""
    return readable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
