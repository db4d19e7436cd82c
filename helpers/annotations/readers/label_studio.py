"""Annotations as Label Studio json, whole or "min": shapes in percent of the image.

Sources: labelstud.io, "Export annotations" and the tag RectangleLabels. A rectangle is turned
about its upper left corner.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note
from helpers.annotations.shapes import (
    Shape,
    Sheet,
    Size,
    ellipse,
    is_turned,
    outline,
    rotated,
    size_of,
)
from helpers.common.errors import CourseError
from helpers.common.files import read_json

_MARKS = ('"rectanglelabels"', '"polygonlabels"', '"ellipselabels"', '"original_width"')


def matches(file: Path, head: str) -> bool:
    """Whether a file looks like Label Studio's json, by its first 64 KiB."""
    tasks = file.suffix.lower() == ".json" and head.lstrip().startswith("[")
    # Where nobody has drawn anything there are no marks.
    empty = all(f'"{key}"' in head for key in ("data", "annotations", "created_at"))
    return tasks and (empty or any(mark in head for mark in _MARKS))


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read a file of several images; CourseError when it is no json of Label Studio at all.

    A task that nobody has annotated, or that was skipped, is not annotated. Where several people
    have annotated one, the first is read.
    """
    tasks = read_json(file)
    if not isinstance(tasks, list):
        raise CourseError(f"{file}: no list of tasks; export it as JSON or JSON-MIN")
    sheet = Sheet(file, pictures, note, "Label Studio")
    for index, task in enumerate(tasks):
        where = f"task {task['id']}" if isinstance(task, dict) and "id" in task else f"[{index}]"
        try:
            names, regions = _parts(task, where, sheet)
        except (AttributeError, LookupError, TypeError):
            sheet.keep(where, "bad line", "no task as Label Studio writes it", "export it again")
            continue
        if regions is None:
            continue
        stated = next((size for region in regions if (size := _size(region))), None)
        if names and (image := sheet.image(*names, size=stated)):
            size = image[1:]
            items = ((f"{where}, region {i}", region) for i, region in enumerate(regions, 1))
            boxes = sheet.boxes(items, partial(_shape, size=size), size)
            yield Annotation(*image, boxes, str(file))
    sheet.hand_over()


def _parts(task: Mapping, where: str, sheet: Sheet) -> tuple[list[str], list[dict] | None]:
    """What may be the name of a task's image, the likelier first, and its regions if any."""
    data = task.get("data", task)
    named = [str(task.get("file_upload") or "")]
    # The key is what the labelling interface calls it: image, img, photo, ….
    named += [value for value in data.values() if isinstance(value, str) and "." in value]
    named = [name.removeprefix("/data/local-files/?d=") for name in named if name]
    names = [name for name in named if sheet.pictures.find(name, sheet.file)] or named
    if "data" not in task:
        # "min": each kind of label is a list of its own, the result of one annotator.
        lists = [value for value in task.values() if isinstance(value, list)]
        return names, [{"value": v} for items in lists for v in items if isinstance(v, dict)]
    done = task.get("annotations", task.get("completions")) or []
    done = [one for one in done if not one.get("was_cancelled")]
    if not done:
        if task.get("predictions"):
            fix = "accept it in Label Studio if it is right, and export again"
            sheet.keep(where, "not used", "predicted by a model, annotated by nobody", fix)
        return names, None
    if len(done) > 1:
        fix = "delete the others in Label Studio if they are better"
        value = f"annotated {len(done)} times: the first is used"
        sheet.keep(where, "not used", value, fix)
    # The tags Labels and Rectangle give two results with one id: only one has the label.
    results = done[0]["result"]
    labelled = {r.get("id") for r in results if _labels(r["value"])}
    return names, [
        r
        for r in results
        if _labels(r["value"]) or (r.get("id") not in labelled and {"x", "width"} <= {*r["value"]})
    ]


def _labels(value: Mapping) -> list:
    """The labels of a region, such as those under "rectanglelabels"."""
    found = [labels for key, labels in value.items() if key.endswith("labels")]
    return found[0] if found and isinstance(found[0], list) else []


def _size(region: Mapping) -> Size | None:
    """Width and height that the image had when it was annotated."""
    value = region if "original_width" in region else region["value"]
    return size_of(value.get("original_width"), value.get("original_height"))


def _shape(region: Mapping, size: Size) -> Shape | str:
    value = region["value"]
    if region.get("image_rotation"):
        return "shape in an image that was turned in Label Studio"
    labels = _labels(value)
    scale_x, scale_y = size[0] / 100, size[1] / 100
    degrees = float(value.get("rotation") or 0)
    if "points" in value:
        return Shape(labels, outline((x * scale_x, y * scale_y) for x, y in value["points"]))
    if "width" in value and "height" in value:
        x, y = value["x"] * scale_x, value["y"] * scale_y
        edges = (x, y, x + value["width"] * scale_x, y + value["height"] * scale_y)
        # Turned in pixels, since percent of width and height differ.
        turned = rotated(edges, degrees, (x, y)) if degrees else edges
        return Shape(labels, turned, is_turned(degrees))
    if "radiusX" in value:
        x, y = value["x"] * scale_x, value["y"] * scale_y
        radii = value["radiusX"] * scale_x, value["radiusY"] * scale_y
        return Shape(labels, ellipse(x, y, *radii, degrees))
    return str(region.get("type") or next((key for key in value if key.endswith("labels")), "?"))
