"""The label map: label -> id, in the syntax of the old Object Detection API."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers.common.errors import CourseError

_ITEM = re.compile(r"item\s*:?\s*\{((?:[^{}'\"]|'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")*)\}")
_FIELD = re.compile(r"(\w+)\s*:\s*('(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|[^\s,;]+)")


def read_label_map(path: Path | str, open_=open) -> dict[str, int]:
    """Read a label map: label -> id, from 1.

    `name` is the label; `display_name` where there is no name, or where the name is a
    Freebase id ("/m/01g317") as in the COCO label map.

    Args:
        path: the .pbtxt file.
        open_: opens a path ("rb") wherever it lies.

    Raises:
        CourseError: no file, no items, an id below 1, or an id or label given twice.
    """
    try:
        with io.TextIOWrapper(open_(str(path), "rb"), "utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        raise CourseError(f"{path}: missing; write it with annotations.write_label_map") from None
    labels: dict[str, int] = {}
    for index, item in enumerate(_ITEM.finditer(re.sub(r"(?m)^\s*#.*$", "", text)), 1):
        fields = dict(_FIELD.findall(item[1]))
        name = _unquote(fields.get("name", "")) or _unquote(fields.get("display_name", ""))
        if name.startswith("/m/") and "display_name" in fields:
            name = _unquote(fields["display_name"])
        if not name or not re.fullmatch(r"-?\d+", fields.get("id", "")):
            raise CourseError(f"{path}: item {index}: no id or no name; write id: 1 name: 'label'")
        number = int(fields["id"])
        if number < 1:
            raise CourseError(f"{path}: item {index}: id {number}; ids start at 1, 0 is background")
        if name in labels or number in labels.values():
            raise CourseError(f"{path}: item {index}: {name!r} {number} given twice; delete one")
        labels[name] = number
    if not labels:
        raise CourseError(f"{path}: no item in it; write item {{ id: 1 name: 'label' }}")
    return labels


def write_label_map(labels: Sequence[str] | Mapping[str, int], path: Path | str) -> None:
    """Write a label map (.pbtxt). A sequence of labels gets the ids 1, 2, … in that order."""
    if not isinstance(labels, Mapping):
        labels = {label: number for number, label in enumerate(labels, 1)}
    items = []
    for label, number in labels.items():
        quoted = label.replace("\\", "\\\\").replace("'", "\\'")
        items.append(f"item {{\n  id: {number}\n  name: '{quoted}'\n}}\n")
    Path(path).write_text("".join(items), encoding="utf-8")


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[:1] in ("'", '"') else text
