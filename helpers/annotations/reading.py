"""What the readers of annotation formats share: the images they speak of, numbers, boxes."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from helpers.annotations.boxes import Box
from helpers.annotations.folders import files_below, find_images, is_image
from helpers.common.errors import CourseError
from helpers.common.images import image_size

FORMATS = {
    "voc": "Pascal VOC XML",
    "vott_csv": "VoTT CSV",
    "tfod_csv": "TFOD CSV",
    "lisa_csv": "LISA CSV",
    "coco": "COCO json",
    "yolo": "YOLO txt",
}
# Pixels by which decimals that a tool has cut off may put an edge outside the image: YOLO with
# six decimals up to 0.006 in an image of 8000 pixels, COCO with two decimals 0.01.
_SLACK = 0.0101


@dataclass(frozen=True)
class Pictures:
    """The images that annotations may speak of: file name -> path, and the folder."""

    folder: Path
    by_name: Mapping[str, Path]
    by_stem: Mapping[str, Path]

    @classmethod
    def of(cls, folder: Path) -> "Pictures":
        """Collect the images of a folder, as `find_images` does; there may be none."""
        try:
            found = find_images(folder)
        except CourseError:
            # COCO and TFOD CSV may come without images; two images may not share a name.
            if any(map(is_image, files_below(folder))):
                raise
            found = []
        return cls(folder, {p.name: p for p in found}, {p.stem: p for p in found})

    def find(self, stated: str, where: str, *, stem: bool = False) -> Path:
        """Return the path of the image that an annotation calls `stated`; CourseError if none."""
        known = self.by_stem if stem else self.by_name
        name = _file_name(stated)
        image = known.get(name) or known.get(unquote(name))
        if image is None:
            there = f"not among the {len(known)} in {self.folder.name}" if known else "not there"
            raise CourseError(
                f"{where}: image {stated!r} is {there}; correct the name, or add the image"
            )
        return image

    def named(self, stated: str, size: tuple[int, int] | None, where: str) -> tuple[str, int, int]:
        """Return name, width and height of an image, from its header where `size` is None."""
        if size and not self.by_name:
            return _file_name(stated), *size
        image = self.find(stated, where)
        return image.name, *(size or self.size(image))

    @staticmethod
    def size(image: Path) -> tuple[int, int]:
        """Return width and height of an image upright, as tools show it to the annotator."""
        size = image_size(image)
        if size is None:
            raise CourseError(f"{image}: not a readable image; replace it or delete it")
        return size.upright


def box_near(label: str, edges: Sequence[float], width: int, height: int, **flags: bool) -> Box:
    """Return a box; an edge that is outside by no more than rounding is moved to the border."""
    inside = []
    for edge, size in zip(edges, (width, height, width, height), strict=True):
        nearest = min(max(edge, 0.0), float(size))
        inside.append(nearest if abs(edge - nearest) <= _SLACK else edge)
    xmin, ymin, xmax, ymax = inside
    return Box(label, xmin, ymin, xmax, ymax, **flags)


def number(value: Any, where: str) -> float:
    """Return a finite number; CourseError for anything else."""
    try:
        found = float(value)
        if math.isfinite(found) and not isinstance(value, bool):
            return found
    except (TypeError, ValueError, OverflowError):
        pass
    raise CourseError(f"{where}: {value!r} is no number; correct it")


def stated_size(item: Mapping, where: str) -> tuple[int, int] | None:
    """Return width and height, or None where one is missing or 0, as some tools leave them."""
    if not (item.get("width") and item.get("height")):
        return None
    width, height = (int(number(item[key], f"{where}: {key}")) for key in ("width", "height"))
    return (width, height) if width > 0 and height > 0 else None


def text_of(file: Path) -> str:
    """Return the text of a file in UTF-8, without a byte order mark."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CourseError(f"{file}: not UTF-8 ({error.reason}); save it as UTF-8") from None


def _file_name(stated: str) -> str:
    """The last part of a path as any system writes it."""
    return re.split(r"[/\\]", stated.strip())[-1]
