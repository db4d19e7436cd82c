"""Annotations of the VGG Image Annotator (VIA) 1 and 2, as CSV, json or project: pixels.

A region has attributes that its annotator has named. One of them holds the label: the only one,
or the one that is called so.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from helpers.annotations.boxes import Annotation
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note
from helpers.annotations.shapes import Shape, Sheet, ellipse, outline
from helpers.common.errors import CourseError
from helpers.common.files import read_json

# Names of the attribute with the label, the likelier first.
_LABEL_NAMES = ("label", "class", "class_name", "category", "object", "name", "type")
_COLUMNS = ("region_shape_attributes", "region_attributes")


def matches(file: Path, head: str) -> bool:
    """Whether a file looks like VIA's, by its first 64 KiB."""
    if file.suffix.lower() == ".csv":
        return all(name in head.split("\n", 1)[0] for name in _COLUMNS)
    found = '"_via_' in head or '"shape_attributes"' in head
    return file.suffix.lower() == ".json" and (
        found or ('"regions"' in head and '"file_attributes"' in head)
    )


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read a file of several images; CourseError when it is no file of VIA at all."""
    sheet = Sheet(file, pictures, note, "VIA")
    images = _table(sheet) if file.suffix.lower() == ".csv" else _entries(file, sheet)
    attribute = _label_attribute([r for regions in images.values() for r in regions], sheet)
    for name, regions in images.items():
        if image := sheet.image(name):
            boxes = sheet.boxes(regions, partial(_shape, attribute=attribute), image[1:])
            yield Annotation(*image, boxes, str(file))
    sheet.hand_over()


# Where a region is, and what the file says: its shape, its attributes.
_Regions = list[tuple[str, tuple[Any, Any]]]


def _table(sheet: Sheet) -> dict[str, _Regions]:
    """Image name -> its regions, from a CSV file."""
    images: dict[str, _Regions] = defaultdict(list)
    for where, row in sheet.rows(_COLUMNS):
        name = row.get("filename") or row.get("#filename")
        try:
            shape, attributes = (json.loads(row[column]) for column in _COLUMNS)
            if not name:
                raise ValueError("no file name")
        except (ValueError, RecursionError) as error:
            sheet.keep(where, "bad line", f"no line of VIA ({error})", "export it again")
            continue
        # An image without regions has one line, with an empty shape.
        images[name] += [(where, (shape, attributes))] if shape else []
    return images


def _entries(file: Path, sheet: Sheet) -> dict[str, _Regions]:
    """Image name -> its regions, from a json file or a project."""
    data = read_json(file)
    if isinstance(data, dict):
        data = data.get("_via_img_metadata", data)
    if not isinstance(data, dict):
        raise CourseError(f"{file}: no images in it as VIA writes them; export it again")
    images: dict[str, _Regions] = defaultdict(list)
    for key, entry in data.items():
        try:
            regions = entry["regions"]
            name = str(entry["filename"])
            # VIA 1 numbers them in an object, VIA 2 has a list.
            regions = list(regions.values() if isinstance(regions, dict) else regions)
            found = [(r["shape_attributes"], r.get("region_attributes") or {}) for r in regions]
        except (AttributeError, LookupError, TypeError):
            sheet.keep(key, "bad line", "no image as VIA writes it", "export it again")
            continue
        images[name] += [(f"{name}, region {i}", region) for i, region in enumerate(found, 1)]
    return images


def _label_attribute(regions: _Regions, sheet: Sheet) -> str:
    """The name of the attribute that holds the label; says which others are not used."""
    used = Counter(
        str(name)
        for _, (_, attributes) in regions
        if isinstance(attributes, Mapping)
        for name, value in attributes.items()
        if value
    )
    if not used:
        return ""
    ranks = {name: i for i, name in enumerate(_LABEL_NAMES)}
    # The name first, then how many regions have it; the first of equals.
    label = min(used, key=lambda name: (ranks.get(name.strip().lower(), len(ranks)), -used[name]))
    if others := [name for name in used if name != label]:
        value = f"attribute {label!r} is taken as the label; not used: {', '.join(others)}"
        sheet.keep("", "not used", value, "to use another, call it 'label' in VIA")
    return label


def _shape(region: tuple[Any, Any], attribute: str) -> Shape | str:
    shape, attributes = region
    kind = shape["name"]
    value = attributes.get(attribute)
    # A checkbox holds {option: true, ...}.
    labels: Sequence = [k for k, v in value.items() if v] if isinstance(value, dict) else [value]
    labels = [label for label in labels if label not in (None, "")]
    if kind == "rect":
        x, y, width, height = (float(shape[key]) for key in ("x", "y", "width", "height"))
        return Shape(labels, (x, y, x + width, y + height))
    if kind == "circle":
        x, y, r = (float(shape[key]) for key in ("cx", "cy", "r"))
        return Shape(labels, ellipse(x, y, r, r))
    if kind == "ellipse":
        x, y, rx, ry = (float(shape[key]) for key in ("cx", "cy", "rx", "ry"))
        return Shape(labels, ellipse(x, y, rx, ry, math.degrees(shape.get("theta", 0))))
    if kind == "polygon":
        points = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
        return Shape(labels, outline(points))
    return str(kind)
