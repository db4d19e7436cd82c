"""Pascal VOC XML, read and written.

A box is in pixels of the image as stored: continuous edges, origin 0 at the top left corner, so
that a box over the whole image is (0, 0, width, height). The files of the PASCAL challenges
count pixels from 1 and are shifted; the coordinates of all other XML are taken as they stand.
VoTT and CVAT write edges from 0, as floats. LabelImg does too, truncated to whole numbers, but
raises 0 to 1; RectLabel does not say. A shift by one pixel that nobody can prove would spoil more
files than it repairs.
"""

import re
from dataclasses import replace
from html import escape  # that of xml.sax.saxutils imports urllib
from pathlib import Path

from helpers.annotations.boxes import Annotation, Box, check_boxes, pixels
from helpers.common.errors import CourseError

_EDGES = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = ("difficult", "truncated", "occluded")
_PASCAL = re.compile(r"The VOC20\d\d Database$")


def read_voc(path: Path | str, *, origin: int | None = None) -> Annotation:
    """Read a Pascal VOC XML file as RectLabel, LabelImg, VoTT, CVAT and many others write it.

    Faulty boxes are returned as they are: `find_faults` reports them.
    Source: the VOC2012 development kit, section "Annotation" (Everingham and Winn).

    Args:
        path: the XML file.
        origin: 0 takes the coordinates as edges; 1 as pixels counted from 1, the last one
            included, so that xmin and ymin lose 1. None decides by the file: 1 where <database>
            names a PASCAL challenge and no edge is 0, as it may be under a copied header; else 0.

    Raises:
        CourseError: the file is missing, no XML, or lacks a size, a name or a coordinate.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise CourseError(f"{path}: missing; check the name of the folder") from None
    return parse_voc(data, path, origin=origin)


def parse_voc(data: bytes, path: Path | str, *, origin: int | None = None) -> Annotation:
    """Return what `read_voc` does, from the bytes of a file; `path` is named in errors."""
    if origin not in (None, 0, 1):
        raise CourseError(f"origin: {origin!r}; it must be 0 or 1, or None")
    root = _root(data, path)
    size = root.find("size")
    width, height = (int(_number(size, tag, f"{path}: size")) for tag in ("width", "height"))
    boxes = []
    for index, item in enumerate(root.iterfind("object"), 1):
        where = f"{path}: object {index}"
        label = item.findtext("name", "")
        if not label.strip():
            raise CourseError(f"{where}: <name> missing; write the object's label into it")
        xmin, ymin, xmax, ymax = (_number(item.find("bndbox"), tag, where) for tag in _EDGES)
        flags = {tag: _flag(item.findtext(tag)) for tag in _FLAGS}
        boxes.append(Box(label, xmin, ymin, xmax, ymax, **flags))
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

    Raises CourseError for a box that is inverted, empty or outside the image; `check=False`
    writes it as it is, for the audit to find.
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
            *(f"      <{tag}>{pixels(getattr(box, tag))}</{tag}>" for tag in _EDGES),
            "    </bndbox>",
            "  </object>",
        ]
    path.write_text("\n".join([*lines, "</annotation>", ""]), encoding="utf-8")


def _root(data: bytes, path: Path | str):
    """The <annotation> element, parsed without resolving entities."""
    from defusedxml import DefusedXmlException

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
    return root


def _number(node, tag: str, where: str) -> float:
    text = None if node is None else node.findtext(tag)
    try:
        return float(text or "")
    except ValueError:
        shown = "missing" if text is None else repr(text.strip())
        raise CourseError(f"{where}: <{tag}> {shown}; it must be a number of pixels") from None


def _flag(text: str | None) -> bool:
    return (text or "").strip().lower() in ("1", "true", "yes")
