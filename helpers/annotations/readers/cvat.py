"""Annotations as CVAT's own XML 1.1, "for images" and "for video": edges in pixels to 0.01.

"For images" lists the images, those without objects too. "For video" lists tracks: a shape for
each frame that it is in. CVAT exports a shape that is in one frame only as a track as well, with
an end in the next frame; so a frame with nothing but ends may never have been looked at, and is
not annotated. Source: docs.cvat.ai, "XML annotation format".
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.annotations.boxes import Annotation
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note
from helpers.annotations.shapes import (
    Edges,
    Shape,
    Sheet,
    ellipse,
    is_turned,
    outline,
    rotated,
    size_of,
)
from helpers.common.errors import CourseError
from helpers.common.files import read_xml

_NUMBER = re.compile(r"[0-9]{1,9}")
_ROOT = re.compile(r"<annotations[\s>]")
# The corners of a box (xtl, xbr) and of the two sides of a cuboid (xtl1, …, xbr2).
_X, _Y = re.compile(r"x[tb][lr]\d?"), re.compile(r"y[tb][lr]\d?")


def matches(file: Path, head: str) -> bool:
    """Whether a file looks like CVAT's XML, by its first 64 KiB."""
    return file.suffix.lower() == ".xml" and bool(_ROOT.search(head))


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read a file of several images, or of the frames of a video.

    Frames are called frame_000012, as CVAT calls them when it exports images.

    Raises:
        CourseError: no XML, or tracks of several videos, whose frames cannot be told apart.
    """
    sheet = Sheet(file, pictures, note, "CVAT")
    root = _root(file)
    for i, item in enumerate(root.iterfind("image"), 1):
        name = item.get("name") or ""
        size = size_of(item.get("width"), item.get("height"))
        if name and (image := sheet.image(name, size=size)):
            shapes = ((f"{name}, shape {n}", shape) for n, shape in enumerate(item, 1))
            yield Annotation(*image, sheet.boxes(shapes, _shape, image[1:]), str(sheet.file))
        elif not name:
            sheet.keep(f"image {i}", "bad line", "image without a name", "export it again")
    yield from _frames(root, sheet)
    by_number = root.find("track") is not None and bool(pictures.names)
    sheet.hand_over("export as 'CVAT for images', which has the names" if by_number else "")


def _frames(root: Any, sheet: Sheet) -> Iterator[Annotation]:
    """The frames of a video, from its tracks."""
    tracks = root.findall("track")
    if len({track.get("task_id") for track in tracks}) > 1:
        raise CourseError(
            f"{sheet.file}: tracks of several tasks, whose frames have the same names; export each "
            "task by itself"
        )
    stated = root.find("meta//original_size")
    size = None if stated is None else size_of(stated.findtext("width"), stated.findtext("height"))
    frames = defaultdict(list)
    for number, track in enumerate(tracks, 1):
        for shape in track:
            if shape.get("outside") != "1" and shape.tag != "attribute":
                shape.set("label", track.get("label", ""))
                frames[shape.get("frame", "")].append((f"track {number}", shape))
    for frame, shapes in frames.items():
        if not _NUMBER.fullmatch(frame):
            where, value = shapes[0][0], f"frame {frame!r}, which is no number"
            sheet.keep(where, "bad line", value, "export it again")
            continue
        name = f"frame_{int(frame):06d}"
        if image := sheet.image(name, size=size):
            at = ((f"{where}, frame {frame}", shape) for where, shape in shapes)
            yield Annotation(*image, sheet.boxes(at, _shape, image[1:]), str(sheet.file))


def _root(file: Path) -> Any:
    """The <annotations> element; entities are not resolved."""
    root = read_xml(file)
    if root.tag != "annotations":
        raise CourseError(f"{file}: root <{root.tag}> is not <annotations>; export it again")
    return root


def _shape(item: Any) -> Shape | str:
    flags = {
        attribute.get("name"): (attribute.text or "").strip().lower() in ("true", "1", "yes")
        for attribute in item.iterfind("attribute")
    } | {"occluded": item.get("occluded") == "1"}
    values = dict(item.items())
    if item.tag in ("box", "cuboid"):
        xs = [float(value) for key, value in values.items() if _X.fullmatch(key)]
        ys = [float(value) for key, value in values.items() if _Y.fullmatch(key)]
        edges: Edges = (min(xs), min(ys), max(xs), max(ys))
        if item.tag == "box":  # a faulty one as it is, for the audit to find
            xtl, ytl, xbr, ybr = (float(values[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
            edges = (xtl, ytl, xbr, ybr)
    elif item.tag == "polygon":
        edges = outline([point.split(",") for point in values["points"].split(";")])
    elif item.tag == "ellipse":
        degrees = float(values.get("rotation", 0))
        x, y, rx, ry = (float(values[key]) for key in ("cx", "cy", "rx", "ry"))
        return Shape([values["label"]], ellipse(x, y, rx, ry, degrees), flags=flags)
    elif item.tag == "mask":
        x, y, width, height = (float(values[key]) for key in ("left", "top", "width", "height"))
        edges = (x, y, x + width, y + height)
    else:
        return item.tag
    degrees = float(values.get("rotation", 0))
    xmin, ymin, xmax, ymax = edges
    if degrees:
        edges = rotated(edges, degrees, ((xmin + xmax) / 2, (ymin + ymax) / 2))
    return Shape([values["label"]], edges, is_turned(degrees), flags)
