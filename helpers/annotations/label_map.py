"""The label map: label -> id, in the syntax of the old Object Detection API."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers.common.errors import CourseError
from helpers.common.files import read_text, write_text
from helpers.common.prototext import Enum, Field, parse

_LIKE = "a label is written as item { id: 1 name: 'label' }"
_LARGEST = 2**31 - 1  # protobuf's int32


def read_label_map(path: Path | str, open_=open) -> dict[str, int]:
    """Read a label map: label -> id, from 1; ids may have gaps.

    `name` is the label; `display_name` where there is no name, or where the name is a
    Freebase id ("/m/01g317") as in the COCO label map.

    Args:
        path: the .pbtxt file.
        open_: opens a path ("rb") wherever it lies.

    Raises:
        CourseError: no file, text that is not in protobuf's text format, no items, an id below 1,
            or an id or label given twice.
    """
    if open_ is open and not os.path.exists(path):
        raise CourseError(_missing(Path(path)))
    text = read_text(path, open_)
    try:
        message = parse(text, str(path))
    except CourseError as error:
        raise CourseError(f"{error}; {_LIKE}") from None
    labels: dict[str, int] = {}
    for key, fields in message.items():
        for field in fields:
            place = f"{path}: line {field.line}"
            if key != "item" or not isinstance(field.value, dict):
                raise CourseError(f"{place}: {key[:40]}: not in a label map; {_LIKE}")
            name, number = _item(field.value, path, place)
            if name in labels or number in labels.values():
                raise CourseError(f"{place}: {name[:40]!r} {number} given twice; delete one")
            labels[name] = number
    if not labels:
        raise CourseError(f"{path}: no item in it; {_LIKE}")
    return labels


def _missing(path: Path) -> str:
    others = sorted(other.name for other in path.parent.glob("*.pbtxt"))
    if others:
        return f"{path}: missing; if {others[0]} beside it is the label map, rename it"
    return f"{path}: missing; it comes with the records: write one with annotations.write_label_map"


def _item(item: Mapping[str, list[Field]], path: Path | str, place: str) -> tuple[str, int]:
    """Name and id of the item that stands at `place`; CourseError where one is not to be had."""
    found = {}
    for key in item.keys() & {"id", "name", "display_name"}:
        (value, line), *more = item[key]
        if more:
            raise CourseError(f"{path}: line {more[0].line}: {key} given twice; delete one")
        if key != "id" and (isinstance(value, Enum) or not isinstance(value, str)):
            shown = str(value)[:40]
            raise CourseError(f"{path}: line {line}: {key}: {shown}: no quotes; write '{shown}'")
        found[key] = value
    name, shown = found.get("name", ""), found.get("display_name", "")
    name = shown if shown and (not name or name.startswith("/m/")) else name
    number = found.get("id")
    if not name.strip() or number is None:
        raise CourseError(f"{place}: no id or no name; {_LIKE}")
    if type(number) is not int or number > _LARGEST:
        raise CourseError(f"{place}: id {number}: no whole number up to {_LARGEST}; correct it")
    if number < 1:
        raise CourseError(
            f"{place}: id {number}; ids start at 1, 0 is background: number the items anew, in "
            "the records too"
        )
    return name, number


def write_label_map(labels: Sequence[str] | Mapping[str, int], path: Path | str) -> None:
    """Write a label map (.pbtxt). A sequence of labels gets the ids 1, 2, … in that order."""
    if not isinstance(labels, Mapping):
        labels = {label: number for number, label in enumerate(labels, 1)}
    items = []
    for label, number in labels.items():
        quoted = re.sub(r"[\\']", r"\\\g<0>", label)
        items.append(f"item {{\n  id: {number}\n  name: '{quoted}'\n}}\n")
    write_text(Path(path), "".join(items))
