"""Annotations as COCO json: images, boxes and categories of a whole dataset in one file."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.reading import Pictures, box_near, number, stated_size
from helpers.common.errors import CourseError
from helpers.common.files import write_text


def read(file: Path, pictures: Pictures) -> list[Annotation]:
    """Read a COCO json file; CourseError with the place in its lists."""
    data = _load(file)

    def field(group: str, index: int, name: str):
        item = data[group][index]
        value = item.get(name) if isinstance(item, dict) else None
        if value is None or (name != "bbox" and not isinstance(value, int | str)):
            raise CourseError(f"{file}: {group}[{index}]: no {name!r}; export the file again")
        return value

    labels = {
        field("categories", i, "id"): str(field("categories", i, "name"))
        for i in range(len(data["categories"]))
    }
    images: dict[object, tuple[str, int, int]] = {}
    taken: set[str] = set()
    for i, item in enumerate(data["images"]):
        where = f"{file}: images[{i}]"
        key, stated = field("images", i, "id"), str(field("images", i, "file_name"))
        image = pictures.named(stated, stated_size(item, where), where)
        if key in images or image[0] in taken:
            raise CourseError(f"{where}: {stated!r}, id {key}: given twice; delete one")
        images[key] = image
        taken.add(image[0])
    boxes = defaultdict(list)
    for i, item in enumerate(data["annotations"]):
        where = f"{file}: annotations[{i}]"
        key = field("annotations", i, "image_id")
        category = field("annotations", i, "category_id")
        if key not in images:
            raise CourseError(f"{where}: image_id {key!r} is not in images; add it there")
        if category not in labels:
            raise CourseError(
                f"{where}: category_id {category!r} is not in categories, which has "
                f"{', '.join(map(str, labels))}; add it there"
            )
        xywh = field("annotations", i, "bbox")
        if not isinstance(xywh, list) or len(xywh) != 4:
            raise CourseError(f"{where}: bbox {xywh!r}; it must be [x, y, width, height]")
        x, y, w, h = (number(value, f"{where}: bbox") for value in xywh)
        _, width, height = images[key]
        edges = (x, y, x + w, y + h)
        boxes[key].append(box_near(labels[category], edges, width, height, **_flags(item)))
    return [Annotation(*image, tuple(boxes[key])) for key, image in images.items()]


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


def _flags(item: Mapping) -> dict[str, bool]:
    more = item["attributes"] if isinstance(item.get("attributes"), dict) else {}
    return {
        "difficult": bool(item.get("iscrowd")) or more.get("difficult") is True,
        "truncated": more.get("truncated") is True,
        "occluded": more.get("occluded") is True,
    }


def _load(file: Path) -> dict:
    """The file's contents: a dict with the three lists of COCO."""
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise CourseError(
            f"{file}: line {error.lineno}: no JSON ({error.msg}); export it again"
        ) from None
    except UnicodeDecodeError as error:
        raise CourseError(f"{file}: not UTF-8 ({error}); export it again") from None
    for name in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(name), list):
            raise CourseError(f"{file}: no list {name!r}; export the objects as COCO json")
    return data
