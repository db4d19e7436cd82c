"""Annotations as COCO json: images, boxes and categories of a whole dataset in one file."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.pictures import Pictures
from helpers.annotations.reading import (
    around,
    bad_line,
    box_near,
    label_of,
    number,
    stated_size,
    upright,
)
from helpers.annotations.remarks import Note, Remark
from helpers.common.errors import CourseError
from helpers.common.files import read_json, write_text


def matches(file: Path, head: str) -> bool:
    """Whether a file is COCO json, by its first 64 KiB: it lists images or boxes."""
    return (
        file.suffix.lower() == ".json"
        and head.lstrip().startswith("{")
        and re.search(r'"(images|annotations)"\s*:\s*\[', head) is not None
    )


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read a COCO json file; CourseError for what is wrong with the file as a whole.

    Crowds become difficult, but not the masks of single objects that CVAT exports as such.
    """
    data = _load(file)
    labels = _labels(data["categories"], file)
    images: dict[str, tuple[str, int, int]] = {}
    skipped: set[str] = set()
    taken: set[str] = set()
    for i, item in enumerate(data["images"]):
        where = f"images[{i}]"
        try:
            key, stated = _id(item, "id"), _field(item, "file_name", str)
            if key in images or key in skipped:
                raise CourseError(f"id {key} ({stated!r}) is given twice; delete one")
        except CourseError as error:
            bad_line(file, where, error, note)
            continue
        size = None
        try:
            size = stated_size(item)
        except CourseError as error:
            bad_line(file, where, error, note)
        image = pictures.named(stated, size, file, where, note)
        if image and image[0] in taken:
            value = f"{stated!r} is {image[0]}, which is listed above"
            note(Remark(str(file), where, "same picture twice", value, "delete one"))
        if image is None or image[0] in taken:
            skipped.add(key)
            continue
        images[key] = image
        taken.add(image[0])
    boxes = defaultdict(list)
    spoilt: set[str] = set()
    objects = data["annotations"]
    # A real crowd is the exception: where all are, a tool has written every mask as one.
    all_crowds = all(isinstance(item, dict) and item.get("iscrowd") for item in objects)
    for i, item in enumerate(objects):
        where, key = f"annotations[{i}]", ""
        try:
            key = _id(item, "image_id")
            if key in skipped:
                continue
            if key not in images:
                raise CourseError(f"image_id {key} is not in images; add it there")
            label = _label(item, labels)
            _, width, height = images[key]
            box = box_near(label, _edges(item), width, height, **_flags(item, all_crowds))
            degrees = _rotation(item)
        except CourseError as error:
            bad_line(file, where, error, note)
            spoilt.add(key)
            continue
        what = f"{label} in {images[key][0]}"
        boxes[key].append(upright(box, degrees, what, file, where, note))
    for key, image in images.items():
        # Of bad boxes alone nobody knows where the objects are: that is not an empty picture.
        if boxes[key] or key not in spoilt:
            yield Annotation(*image, tuple(boxes[key]))


def write(annotations: Sequence[Annotation], path: Path, labels: Sequence[str]) -> None:
    """Write a COCO json file; `labels` get the ids 1, 2, … in that order."""
    category = {label: i for i, label in enumerate(labels, 1)}
    images: list[dict] = []
    objects: list[dict] = []
    for image_id, a in enumerate(annotations, 1):
        images.append({"id": image_id, "file_name": a.image, "width": a.width, "height": a.height})
        for box in a.boxes:
            ids = {
                "id": len(objects) + 1,
                "image_id": image_id,
                "category_id": category[box.label],
            }
            objects.append(ids | _object(box))
    page = {
        "images": images,
        "annotations": objects,
        "categories": [{"id": id_, "name": label} for label, id_ in category.items()],
    }
    write_text(path, json.dumps(page, ensure_ascii=False) + "\n")


def _object(box: Box) -> dict:
    item = {
        "bbox": [box.xmin, box.ymin, box.xmax - box.xmin, box.ymax - box.ymin],
        "area": box.area,
        "iscrowd": int(box.difficult),
    }
    # As CVAT writes them.
    if box.truncated or box.occluded:
        item["attributes"] = {"truncated": box.truncated, "occluded": box.occluded}
    return item


def _load(file: Path) -> dict:
    """The file's contents: a dict with the three lists of COCO."""
    data = read_json(file)
    for name in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(name), list):
            raise CourseError(f"{file}: no list {name!r}; export the objects as COCO json")
    return data


def _labels(categories: list, file: Path) -> dict[str, str]:
    """Id -> label; CourseError where an id has two names, since nobody knows which is meant."""
    labels: dict[str, str] = {}
    for i, item in enumerate(categories):
        try:
            key, label = _id(item, "id"), label_of(item.get("name"), "name")
            if labels.setdefault(key, label) != label:
                raise CourseError(f"id {key} is both {labels[key]!r} and {label!r}; delete one")
        except CourseError as error:
            raise CourseError(f"{file}: categories[{i}]: {error}") from None
    return labels


def _field(item: Any, name: str, kind: type) -> Any:
    value = item.get(name) if isinstance(item, dict) else None
    if not isinstance(value, kind):
        raise CourseError(f"no {name!r}; export the file again")
    return value


def _id(item: Any, name: str) -> str:
    """An id as text: 7, 7.0 and "7" are the same one."""
    value = item.get(name) if isinstance(item, dict) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise CourseError(f"no {name!r}; export the file again")
    return str(value)


def _label(item: dict, labels: Mapping[str, str]) -> str:
    category = _id(item, "category_id")
    if category not in labels:
        known = ", ".join(labels)
        raise CourseError(
            f"category_id {category} is not in categories, which has {known}; add it there"
        )
    return labels[category]


def _edges(item: dict) -> tuple[float, float, float, float]:
    """The edges that "bbox" gives, or those around the polygons where there is no bbox."""
    xywh, polygons = item.get("bbox"), item.get("segmentation")
    if not xywh and isinstance(polygons, list) and polygons:
        parts = [part if isinstance(part, list) else [part] for part in polygons]
        flat = [number(value, "segmentation") for part in parts for value in part]
        if len(flat) < 6 or len(flat) % 2:
            raise CourseError("segmentation is no polygon; draw it again")
        return around(zip(flat[::2], flat[1::2], strict=True))
    if xywh is None:
        raise CourseError("no 'bbox'; export the file again")
    if not isinstance(xywh, list) or len(xywh) != 4:
        raise CourseError("bbox is no list of four; it must be [x, y, width, height]")
    x, y, w, h = (number(value, "bbox") for value in xywh)
    return x, y, x + w, y + h


def _rotation(item: dict) -> float:
    """Degrees by which CVAT has turned the box about its centre."""
    more = item.get("attributes")
    return number(more.get("rotation") or 0, "rotation") if isinstance(more, dict) else 0.0


def _flags(item: dict, all_crowds: bool) -> dict[str, bool]:
    more = item["attributes"] if isinstance(item.get("attributes"), dict) else {}
    mask = isinstance(item.get("segmentation"), dict)
    single = mask and (all_crowds or "attributes" in item)
    return {
        "difficult": (bool(item.get("iscrowd")) and not single) or more.get("difficult") is True,
        "truncated": more.get("truncated") is True,
        "occluded": more.get("occluded") is True,
    }
