"""Pascal VOC XML, read and written.

A box is in pixels of the image as stored: continuous edges, origin 0 at the top left corner, so
that a box over the whole image is (0, 0, width, height). The files of the PASCAL challenges
count pixels from 1 and are shifted; the coordinates of all other XML are taken as they stand.
VoTT and CVAT write edges from 0, as floats. LabelImg does too, truncated to whole numbers, but
raises 0 to 1; RectLabel does not say. A shift by one pixel that nobody can prove would spoil more
files than it repairs.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape  # that of xml.sax.saxutils imports urllib
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.annotations.boxes import Annotation, Box, check_boxes, label_fault, pixels
from helpers.annotations.reading import around, bad_line, label_of, number, stated_size, upright
from helpers.annotations.remarks import Note, Remark, refuse
from helpers.common.errors import CourseError
from helpers.common.files import write_text

if TYPE_CHECKING:  # pictures imports folders, which imports this module
    from helpers.annotations.pictures import Pictures

_EDGES = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = ("difficult", "truncated", "occluded")
_PASCAL = re.compile(r"The VOC20\d\d Database$")


def matches(file: Path, head: str) -> bool:
    """Whether a file is Pascal VOC XML, by its first 64 KiB."""
    text = re.sub(r"<!--.*?(-->|\Z)", "", head, flags=re.DOTALL)
    root = re.search(r"<(?![?!])([^\s/>]+)", text)
    return file.suffix.lower() == ".xml" and root is not None and root[1] == "annotation"


def read(
    file: Path, pictures: "Pictures", note: Note, *, origin: int | None = None
) -> Iterator[Annotation]:
    """Read an XML file: of the picture with its stem, else of that in <filename>.

    As `read_voc`, but an object that cannot be used is noted and left out, and a size that is
    missing or 0 is that of the picture.
    """
    bad: list[Remark] = []
    found = _parsed(_bytes(file), file, origin, bad.append)
    for remark in bad:
        note(remark)
    if not found.boxes and any(remark.where != "size" for remark in bad):
        return  # Something is there, nobody knows where: that is not an empty picture.
    stated = found.image if pictures.find(file.stem, file) is None else file.stem
    size = (found.width, found.height) if found.width else None
    if image := pictures.named(stated, size, file, note=note):
        yield Annotation(*image, found.boxes)


def read_voc(
    path: Path | str, *, origin: int | None = None, note: Note | None = None
) -> Annotation:
    """Read a Pascal VOC XML file as RectLabel, LabelImg, VoTT, CVAT and many others write it.

    Faulty boxes are returned as they are: `find_faults` reports them.
    Source: the VOC2012 development kit, section "Annotation" (Everingham and Winn).

    Args:
        path: the XML file.
        origin: 0 takes the coordinates as edges; 1 as pixels counted from 1, the last one
            included, so that xmin and ymin lose 1. None decides by the file: 1 where <database>
            names a PASCAL challenge and no edge is 0, as it may be under a copied header; else 0.
        note: gets each object that cannot be used, which is then left out; a size that is missing
            is 0x0. None refuses both.

    Raises:
        CourseError: the file is missing, no XML, or lacks a size, a name or a coordinate.
    """
    if note is not None:
        return _parsed(_bytes(path), path, origin, note)
    return parse_voc(_bytes(path), path, origin=origin)


def parse_voc(data: bytes, path: Path | str, *, origin: int | None = None) -> Annotation:
    """Return what `read_voc` does, from the bytes of a file; `path` is named in errors."""
    found = _parsed(data, path, origin, _strict)
    if not found.width:
        raise CourseError(f"{path}: <size> missing or 0; write the picture's width and height")
    return found


def _strict(remark: Remark) -> None:
    """Refuse all but a rotated box: the upright one around it is taken."""
    if remark.kind != "rotated box":
        refuse(remark)


def _parsed(data: bytes, path: Path | str, origin: int | None, note: Note) -> Annotation:
    """The contents of a file; width and height are 0 where it does not say them."""
    if origin not in (None, 0, 1):
        raise CourseError(f"origin: {origin!r}; it must be 0 or 1, or None")
    root, file = _root(data, path), Path(path)
    texts = {tag: (root.findtext(f"size/{tag}") or "").strip() for tag in ("width", "height")}
    width, height = 0, 0
    try:
        width, height = stated_size(texts) or (0, 0)
    except CourseError as error:
        bad_line(file, "size", error, note)
    boxes = []
    for index, item in enumerate(root.iterfind("object"), 1):
        if _flag(item.findtext("deleted")):  # of the LabelMe of MIT, which keeps it
            continue
        where = f"object {index}"
        try:
            box, degrees = _box(item)
        except CourseError as error:
            bad_line(file, where, error, note)
            continue
        boxes.append(upright(box, degrees, box.label, file, where, note))
    if origin is None:
        database = (root.findtext("source/database") or "").strip()
        first = min((edge for box in boxes for edge in box.xyxy), default=1)
        origin = int(bool(_PASCAL.match(database)) and first >= 1)
    if origin:
        boxes = [replace(box, xmin=box.xmin - 1, ymin=box.ymin - 1) for box in boxes]
    # LabelImg on Windows may write a whole path into <filename>.
    image = re.split(r"[/\\]", (root.findtext("filename") or "").strip())[-1]
    return Annotation(image or f"{file.stem}.jpg", width, height, tuple(boxes), file.name)


def write_voc(annotation: Annotation, path: Path | str, *, check: bool = True) -> None:
    """Write a Pascal VOC XML file; coordinates to 0.01 pixel, whole numbers without a point.

    Raises CourseError for a box that is inverted, empty or outside the image; `check=False`
    writes it as it is, for the audit to find. A name or label that XML cannot hold is refused.
    """
    path = Path(path)
    for text in (annotation.image, *(box.label for box in annotation.boxes)):
        if message := label_fault(text):
            raise CourseError(f"{path.name}: {text!r} {message}; write a name or label into it")
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
    write_text(path, "\n".join([*lines, "</annotation>", ""]))


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
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        raise CourseError(f"{path}: broken XML ({error}); export the file again") from None
    if root.tag != "annotation":
        raise CourseError(
            f"{path}: root <{root.tag}> is not <annotation>; export as Pascal VOC XML"
        )
    return root


def _bytes(path: Path | str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise CourseError(f"{path}: missing; check the name of the folder") from None
    except OSError as error:
        raise CourseError(f"{path}: cannot be read ({error.strerror}); replace it") from None


def _box(item) -> tuple[Box, float]:
    """The box of an <object>, and the degrees by which it is turned about its centre.

    CourseError, without the file, for what is no box.
    """
    label = label_of(item.findtext("name"), "<name>")
    flags = {tag: _flag(item.findtext(tag)) for tag in _FLAGS}
    edges, turned_edges = item.find("bndbox"), item.find("robndbox")
    if edges is None and turned_edges is not None:
        # As roLabelImg writes it; its angle is in radians.
        x, y, w, h, angle = _numbers(turned_edges, ("cx", "cy", "w", "h", "angle"))
        box = Box(label, x - w / 2, y - h / 2, x + w / 2, y + h / 2, **flags)
        return box, math.degrees(angle)
    corners = item.findall("polygon/pt")
    if edges is None and corners:  # of the LabelMe of MIT
        xmin, ymin, xmax, ymax = around(_numbers(corner, ("x", "y")) for corner in corners)
    else:
        xmin, ymin, xmax, ymax = _numbers(edges, _EDGES)
    degrees = 0.0
    for attribute in item.iterfind("attributes/attribute"):  # of CVAT
        if attribute.findtext("name") == "rotation":
            degrees = number(attribute.findtext("value"), "rotation")
    return Box(label, xmin, ymin, xmax, ymax, **flags), degrees


def _numbers(node, tags: Sequence[str]) -> list[float]:
    texts = {tag: None if node is None else node.findtext(tag) for tag in tags}
    for tag, text in texts.items():
        if text is None:
            raise CourseError(f"<{tag}> missing; it must be a number of pixels")
    return [number((text or "").strip(), f"<{tag}>") for tag, text in texts.items()]


def _flag(text: str | None) -> bool:
    return (text or "").strip().lower() in ("1", "true", "yes")
