"""Annotations as VoTT 2 json: the export of a project, or <id>-asset.json of one image: pixels.

Frames of videos are assets of their own, called video.mp4#t=1.5.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.annotations.boxes import Annotation
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note
from helpers.annotations.shapes import Shape, Sheet, outline, size_of
from helpers.common.errors import CourseError
from helpers.common.files import read_json

_NOT_VISITED = 0


def matches(file: Path, head: str) -> bool:
    """Whether a file looks like VoTT's json, by its first 64 KiB."""
    project = '"assets"' in head and ('"videoSettings"' in head or '"boundingBox"' in head)
    asset = '"asset"' in head and '"regions"' in head
    return file.suffix.lower() == ".json" and (project or asset)


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read a file of one or more images; CourseError when it is no json of VoTT at all."""
    data = read_json(file)
    assets = data.get("assets", {"": data}) if isinstance(data, dict) else None
    if not isinstance(assets, dict):
        raise CourseError(f"{file}: no 'assets' in it; export the project as VoTT json")
    sheet = Sheet(file, pictures, note, "VoTT")
    for key, entry in assets.items():
        try:
            asset, regions = entry["asset"], list(entry["regions"])
            name, size = str(asset["name"]), asset.get("size") or {}
            size = size_of(size.get("width"), size.get("height"))
        except (AttributeError, LookupError, TypeError):
            sheet.keep(key, "bad line", "no image as VoTT writes it", "export it again")
            continue
        # Nobody has looked at these: that they have no regions says nothing.
        if not regions and asset.get("state") == _NOT_VISITED:
            continue
        if image := sheet.image(name, str(asset.get("path") or name), size=size):
            items = ((f"{name}, region {i}", region) for i, region in enumerate(regions, 1))
            yield Annotation(*image, sheet.boxes(items, _shape, image[1:]), str(file))
    sheet.hand_over()


def _shape(region: Any) -> Shape | str:
    kind, tags = str(region.get("type", "RECTANGLE")), list(region["tags"])
    if kind in ("POINT", "POLYLINE"):
        return kind.lower()
    if kind == "RECTANGLE" and region.get("boundingBox"):
        box = region["boundingBox"]
        x, y, width, height = (float(box[key]) for key in ("left", "top", "width", "height"))
        return Shape(tags, (x, y, x + width, y + height))
    return Shape(tags, outline([(point["x"], point["y"]) for point in region["points"]]))
