"""Boxes and their files: Pascal VOC XML and the label map, read and written.

A box is in pixels of the image as stored: continuous edges, origin 0 at the left top edge, so
that a box over the whole image is (0, 0, width, height). The files of the PASCAL challenges
count pixels from 1 and are shifted; the coordinates of all other XML are taken as they stand.
VoTT and CVAT write edges from 0, as floats. LabelImg does too, cut to whole numbers, but raises
0 to 1; RectLabel does not say. A shift by one pixel that nobody can prove would spoil more files
than it mends.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape  # as xml.sax.saxutils has it, which imports the network's libraries
from pathlib import Path

from helpers.errors import CourseError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_PASCAL = re.compile(r"The VOC20\d\d Database$")


@dataclass(frozen=True)
class Box:
    """One object: its label and its edges in pixels (float), and what the annotator noted."""

    label: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: bool = False
    truncated: bool = False
    occluded: bool = False

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom edge in pixels."""
        return self.xmin, self.ymin, self.xmax, self.ymax

    @property
    def area(self) -> float:
        """Area in square pixels; negative or zero for a box that is no box."""
        return (self.xmax - self.xmin) * (self.ymax - self.ymin)


@dataclass(frozen=True)
class Annotation:
    """All boxes of one image.

    `image` is the file name that the annotation states, `width` and `height` the size in
    pixels that it states, `source` the name of the XML file ("" when there is none).
    """

    image: str
    width: int
    height: int
    boxes: tuple[Box, ...] = ()
    source: str = ""


def fault(box: Box, width: float, height: float) -> tuple[str, str, str] | None:
    """What is wrong with `box` in an image of `width` x `height` pixels, or None.

    Returns kind ("not a number", "inverted", "zero area" or "outside"), value and fix.
    """
    if not all(math.isfinite(edge) for edge in box.xyxy):
        return "not a number", f"box {_edges(box)}", "draw the box again"
    for low, high, side in (("xmin", "xmax", "right of"), ("ymin", "ymax", "below")):
        a, b = getattr(box, low), getattr(box, high)
        if b < a:
            value = f"{high} {_number(b)} is not {side} {low} {_number(a)}"
            return "inverted", value, "swap them or delete the object"
        if b == a:
            return "zero area", f"{low} and {high} are both {_number(a)}", "delete the object"
    for low, high, size, name in (
        ("xmin", "xmax", width, "width"),
        ("ymin", "ymax", height, "height"),
    ):
        a, b = getattr(box, low), getattr(box, high)
        if a < 0:
            return "outside", f"{low} {_number(a)} is below 0", "clip it to 0"
        if b > size:
            value = f"{high} {_number(b)} is beyond the image's {name} {_number(size)}"
            return "outside", value, f"clip it to {_number(size)}"
    return None


def problem(box: Box, width: float, height: float) -> str | None:
    """What is wrong with `box` in an image of `width` x `height` pixels and the fix, or None."""
    found = fault(box, width, height)
    return None if found is None else f"{found[1]}; {found[2]}"


def check_boxes(annotation: Annotation, file: str) -> None:
    """Raise CourseError at the first box that cannot be trained on; `file` is named in it."""
    for number, box in enumerate(annotation.boxes, 1):
        if message := problem(box, annotation.width, annotation.height):
            raise CourseError(f"{file}: object {number} ({box.label}): {message}")


def read_voc(path: Path | str, *, origin: int | None = None) -> Annotation:
    """Read a Pascal VOC XML file as RectLabel, LabelImg, VoTT, CVAT and many others write it.

    `origin` 0 takes the coordinates as edges, 1 as pixels that count from 1, the last one
    included: xmin and ymin lose 1. None decides by what the file says: 1 where <database>
    names a PASCAL challenge and no edge is 0, as in copied headers; else 0.

    Faulty boxes are returned as they are: `audit.check` reports them. CourseError when the
    file is no XML or lacks a size, a name or a coordinate.
    Source: the VOC2012 development kit, section "Annotation" (Everingham and Winn).
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise CourseError(f"{path}: missing; check the name of the folder") from None
    return parse_voc(data, path, origin=origin)


def parse_voc(data: bytes, path: Path | str, *, origin: int | None = None) -> Annotation:
    """Return what `read_voc` does, of the bytes of a file; `path` is named in errors."""
    from defusedxml import DefusedXmlException

    if origin not in (None, 0, 1):
        raise CourseError(f"origin: {origin!r}; it must be 0 or 1, or None")
    # Entities are declared in a "<!DOCTYPE". What has none needs no guard against them, and
    # Python's own parser is four times as fast. A zero byte: UTF-16, where "<!" looks different.
    if b"<!" in data or b"\0" in data:
        from defusedxml.ElementTree import ParseError, fromstring
    else:
        from xml.etree.ElementTree import ParseError, fromstring
    try:
        root = fromstring(data)
    except DefusedXmlException as error:
        reason = type(error).__name__
        raise CourseError(f"{path}: XML that declares entities ({reason}); remove them") from None
    except (ParseError, ValueError) as error:
        raise CourseError(f"{path}: broken XML ({error}); export the file again") from None
    if root.tag != "annotation":
        raise CourseError(
            f"{path}: root <{root.tag}> is not <annotation>; export as Pascal VOC XML"
        )

    def number(node, item: str, tag: str) -> float:
        text = None if node is None else node.findtext(tag)
        try:
            return float(text)
        except (TypeError, ValueError):
            shown = "missing" if text is None else repr(text.strip())
            raise CourseError(
                f"{path}: {item}: <{tag}> {shown}; it must be a number of pixels"
            ) from None

    size = root.find("size")
    width, height = (int(number(size, "size", tag)) for tag in ("width", "height"))
    boxes = []
    for index, item in enumerate(root.iterfind("object"), 1):
        where = f"object {index}"
        label = item.findtext("name")
        if not (label or "").strip():
            raise CourseError(f"{path}: {where}: <name> missing; write the object's label into it")
        edges = (number(item.find("bndbox"), where, tag) for tag in _EDGES)
        flags = {tag: _flag(item.findtext(tag)) for tag in ("difficult", "truncated", "occluded")}
        boxes.append(Box(label, *edges, **flags))
    if origin is None:
        database = (root.findtext("source/database") or "").strip()
        first = min((edge for box in boxes for edge in box.xyxy), default=1)
        origin = int(bool(_PASCAL.match(database)) and first >= 1)
    if origin:
        boxes = [replace(box, xmin=box.xmin - 1, ymin=box.ymin - 1) for box in boxes]
    # LabelImg on Windows may write a whole path into <filename>.
    image = re.split(r"[/\\]", (root.findtext("filename") or "").strip())[-1]
    file = Path(path)
    return Annotation(image or f"{file.stem}.jpg", width, height, tuple(boxes), file.name)


def write_voc(annotation: Annotation, path: Path | str, *, check: bool = True) -> None:
    """Write a Pascal VOC XML file; coordinates to 0.01 pixel, whole numbers without a point.

    CourseError for a box that is inverted, empty or outside the image; `check=False` writes
    it as it is, for the audit to find.
    """
    path = Path(path)
    if check:
        check_boxes(annotation, path.name)
    lines = [
        "<annotation>",
        f"  <filename>{escape(annotation.image, quote=False)}</filename>",
        "  <size>",
        f"    <width>{annotation.width}</width>",
        f"    <height>{annotation.height}</height>",
        "    <depth>3</depth>",
        "  </size>",
        "  <segmented>0</segmented>",
    ]
    for box in annotation.boxes:
        lines += [
            "  <object>",
            f"    <name>{escape(box.label, quote=False)}</name>",
            "    <pose>Unspecified</pose>",
            f"    <truncated>{box.truncated:d}</truncated>",
            f"    <occluded>{box.occluded:d}</occluded>",
            f"    <difficult>{box.difficult:d}</difficult>",
            "    <bndbox>",
            *(
                f"      <{tag}>{_number(edge)}</{tag}>"
                for tag, edge in zip(_EDGES, box.xyxy, strict=True)
            ),
            "    </bndbox>",
            "  </object>",
        ]
    path.write_text("\n".join([*lines, "</annotation>", ""]), encoding="utf-8")


def read_folder(folder: Path | str) -> list[Annotation]:
    """Read every XML file of a folder, in natural order of names (frame2 before frame10)."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"{folder}: no such folder; give the folder that holds the XML files")
    return [read_voc(path) for path in natural(folder.glob("*.xml"))]


def merged(annotations: Sequence[Annotation], drawn: Path | str | None) -> list[Annotation]:
    """`annotations`, with those of the folder `drawn` in place of others of the same frame.

    Two belong to the same frame when their XML files share a stem. What only `drawn` has comes
    last. Without a folder, `annotations` come back as they are.
    """
    if drawn is None or not Path(drawn).is_dir():
        return list(annotations)
    by_stem = {Path(annotation.source).stem: annotation for annotation in read_folder(drawn)}
    found = [by_stem.pop(Path(a.source or a.image).stem, a) for a in annotations]
    return [*found, *by_stem.values()]


def images_in(folder: Path | str) -> list[Path]:
    """The image files of a folder by suffix, in natural order.

    CourseError when there is none, or when two share a stem and so the annotation.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"{folder}: no such folder; give the folder that holds the images")
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    if not found:
        kinds = ", ".join(IMAGE_SUFFIXES)
        raise CourseError(f"{folder}: no images in it; expected files ending in {kinds}")
    stems: dict[str, str] = {}
    for path in natural(found):
        if stems.setdefault(path.stem, path.name) != path.name:
            raise CourseError(
                f"{folder}: {stems[path.stem]} and {path.name} would share the annotation "
                f"{path.stem}.xml; rename one"
            )
    return natural(found)


def natural(paths) -> list[Path]:
    """Sort paths as people count: frame2.jpg before frame10.jpg."""

    def key(path: Path):
        parts = re.split(r"([0-9]+)", path.name)
        return [(int(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)]

    return sorted(paths, key=key)


def pair(images: Sequence[str], annotations: Sequence[Annotation]) -> dict[str, Annotation]:
    """Annotation of each image file name that has one.

    The XML file with the image's stem wins over the <filename> inside: files get renamed,
    and tools write the name once.
    """
    by_stem = {Path(a.source).stem: a for a in annotations if a.source}
    by_name = {a.image: a for a in annotations}
    found = {name: by_stem.get(Path(name).stem) or by_name.get(name) for name in images}
    return {name: annotation for name, annotation in found.items() if annotation is not None}


_ITEM = re.compile(r"item\s*:?\s*\{((?:[^{}'\"]|'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")*)\}")
_FIELD = re.compile(r"(\w+)\s*:\s*('(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|[^\s,;]+)")


def read_label_map(path: Path | str, open_=open) -> dict[str, int]:
    """Read a label map in the syntax of the old Object Detection API: label -> id, from 1.

    `name` is the label; `display_name` where there is no name, or where the name is a
    Freebase id ("/m/01g317") as in the COCO label map. CourseError for a file without items,
    an id below 1, or an id or label given twice. `open_` opens a path
    ("rb") wherever it lies.
    """
    try:
        with io.TextIOWrapper(open_(str(path), "rb"), "utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        raise CourseError(f"{path}: missing; write it with annotations.write_label_map") from None
    labels: dict[str, int] = {}
    for index, item in enumerate(_ITEM.finditer(re.sub(r"(?m)^\s*#.*$", "", text)), 1):
        fields = {key: value for key, value in _FIELD.findall(item[1])}
        name = _unquote(fields.get("name", "")) or _unquote(fields.get("display_name", ""))
        if name.startswith("/m/") and "display_name" in fields:
            name = _unquote(fields["display_name"])
        if not name or not re.fullmatch(r"-?\d+", fields.get("id", "")):
            raise CourseError(f"{path}: item {index}: no id or no name; write id: 1 name: 'label'")
        number = int(fields["id"])
        if number < 1:
            raise CourseError(f"{path}: item {index}: id {number}; ids start at 1, 0 is background")
        if name in labels or number in labels.values():
            raise CourseError(f"{path}: item {index}: {name!r} {number} given twice; delete one")
        labels[name] = number
    if not labels:
        raise CourseError(f"{path}: no item in it; write item {{ id: 1 name: 'label' }}")
    return labels


def write_label_map(labels: Sequence[str] | Mapping[str, int], path: Path | str) -> None:
    """Write a label map (.pbtxt). A sequence of labels gets the ids 1, 2, … in its order."""
    if not isinstance(labels, Mapping):
        labels = {label: number for number, label in enumerate(labels, 1)}
    items = []
    for label, number in labels.items():
        quoted = label.replace("\\", "\\\\").replace("'", "\\'")
        items.append(f"item {{\n  id: {number}\n  name: '{quoted}'\n}}\n")
    Path(path).write_text("".join(items), encoding="utf-8")


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[:1] in ("'", '"') else text


def _flag(text: str | None) -> bool:
    return (text or "").strip().lower() in ("1", "true", "yes")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    value = round(float(value), 2)
    return str(int(value)) if value.is_integer() else str(value)


def _edges(box: Box) -> str:
    return "(" + ", ".join(_number(edge) for edge in box.xyxy) + ")"
