"""Annotations as SageMaker Ground Truth and Rekognition write them: an image in each line, json.

A line names the image under "source-ref", and under a name of the job's choice its boxes by corner
and size in pixels; what the numbers of the classes mean stands under that name with "-metadata".
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.annotations.boxes import Annotation
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note
from helpers.annotations.shapes import Shape, Sheet, size_of
from helpers.common.files import read_text


def matches(file: Path, head: str) -> bool:
    """Whether a file looks like such a manifest, with boxes, by its first 64 KiB."""
    ours = '"source-ref"' in head and '"annotations"' in head and '"image_size"' in head
    return file.suffix.lower() in (".manifest", ".json", ".jsonl", ".ndjson", ".txt") and ours


def read(file: Path, pictures: Pictures, note: Note) -> Iterator[Annotation]:
    """Read a manifest; an image that no job has annotated yet is left out."""
    sheet = Sheet(file, pictures, note, "SageMaker Ground Truth")
    for index, line in enumerate(read_text(file).splitlines(), 1):
        where = f"line {index}"
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            name = str(entry["source-ref"])
            jobs = {k: v for k, v in entry.items() if isinstance(v, dict) and "annotations" in v}
            found = [(box, _classes(entry, k)) for k, v in jobs.items() for box in v["annotations"]]
            size = next(map(_size, jobs.values()), None)
        except (ValueError, RecursionError, AttributeError, LookupError, TypeError):
            sheet.keep(where, "bad line", "no image as Ground Truth writes it", "export it again")
            continue
        if jobs and (image := sheet.image(name, size=size)):
            items = ((f"{where}, box {i}", item) for i, item in enumerate(found, 1))
            yield Annotation(*image, sheet.boxes(items, _shape, image[1:]), str(file))
    sheet.hand_over()


def _classes(entry: dict, job: str) -> dict[str, str]:
    return entry.get(f"{job}-metadata", {}).get("class-map", {})


def _size(value: dict) -> tuple[int, int] | None:
    size = (value.get("image_size") or [{}])[0]
    return size_of(size.get("width"), size.get("height"))


def _shape(item: Any) -> Shape:
    box, classes = item
    x, y, width, height = (float(box[key]) for key in ("left", "top", "width", "height"))
    number = str(box["class_id"])
    return Shape([classes.get(number, number)], (x, y, x + width, y + height))
