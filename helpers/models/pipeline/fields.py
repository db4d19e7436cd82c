"""The fields of a `pipeline.config`, and what of them has a counterpart in Model Garden.

The tables are fields.yaml and counterparts.yaml, next to this module.
"""

import difflib
import math
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from helpers.common.errors import CourseError
from helpers.common.prototext import Enum, Leaf, show
from helpers.models.tables import read_table

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "text": "a text in quotes",
    "enum": "a bare word",
}
_BOOLS = {"t": True, "f": False, "1": True, "0": False}


class Known(NamedTuple):
    """What is known of a field: its type, whether it repeats, what to do about it ("" if taken)."""

    kind: str
    repeated: bool
    advice: str


@cache
def messages() -> dict[str, dict[str, Known]]:
    """Return {message: {field: Known}} of the old API; "Pipeline" is the file itself."""
    return {
        message: {name: _known(entry) for name, entry in fields.items()}
        for message, fields in read_table("pipeline/fields.yaml").items()
    }


def _known(entry: str | list[str]) -> Known:
    kind, advice = (entry, "") if isinstance(entry, str) else entry
    return Known(kind.rstrip("*"), kind.endswith("*"), advice)


def find_field(leaf: Leaf, file: Path | str) -> Known | None:
    """Return what is known of a field of `file`; None when the old API has no such field.

    Raises CourseError when a value has fields, or a field is there twice that does not repeat.
    """
    place = f"{file}:{leaf.line}: {leaf.path}"
    message, known, above = "Pipeline", None, ""
    for name in _names(leaf.path):
        if message == "Any":
            break
        if message not in messages():
            raise CourseError(f"{place}: {above} takes a value, not {{ … }}")
        bare = _without_number(name)
        known = messages()[message].get(bare)
        if known is None:
            break
        if bare != name and not known.repeated and known.kind != "Any":
            raise CourseError(f"{place}: {bare} is given more than once; delete all but one")
        message, above = known.kind, name
    return known


def guess_field(path: str) -> str:
    """Return the known field that an unknown one is likely to mean: "did you mean …?"."""
    message = "Pipeline"
    for name in map(_without_number, _names(path)):
        known = messages().get(message, {}).get(name)
        if known is None:
            return _nearest(name, message)
        message = known.kind
    return ""


def _names(path: str) -> list[str]:
    """The names of a path, from the outermost, such as "schedule[1]" or "[an.extension]"."""
    return re.findall(r"\[[^\]]*\]|(?:[^.\[]|\[\d+\])+", path)


def _without_number(name: str) -> str:
    return re.sub(r"(?<=.)\[\d+\]$", "", name)


def _nearest(name: str, message: str) -> str:
    # Other messages are searched too: a field that is right may stand in a wrong place.
    close = difflib.get_close_matches(name, messages()[message], n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    for other, fields in messages().items():
        close = difflib.get_close_matches(name, fields, n=1, cutoff=0.85)
        if close:
            return f"did you mean {close[0]!r}, which belongs into a message {other!r}?"
    return f"known here: {', '.join(sorted(messages()[message])[:8])}"


def typed(leaf: Leaf, known: Known | None, file: Path | str) -> Leaf:
    """Return the leaf with its value as the known type, and a repeated one as a list.

    Raises CourseError for a value of another type, or several where one is allowed.
    """
    if known is None or known.kind == "Any":
        return leaf
    place = f"{file}:{leaf.line}: {leaf.path}"
    if known.kind in messages():
        if leaf.value != {}:
            raise CourseError(f"{place}: {show(leaf.value)}: write {{ … }} after this name")
        return leaf
    values = list(leaf.value) if isinstance(leaf.value, list) else [leaf.value]
    if len(values) > 1 and not known.repeated:
        raise CourseError(f"{place} is given more than once; delete all but one")
    if known.kind == "bool":
        values = [_BOOLS.get(str(value), value) for value in values]
    for value in values:
        if not _is(value, known.kind):
            raise CourseError(f"{place}: {show(value)}: give {_TYPES[known.kind]}")
    return leaf._replace(value=values if known.repeated else values[0])


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool) or kind == "bool":
        return isinstance(value, bool) and kind == "bool"
    return {
        "int": isinstance(value, int) and -(2**31) <= value < 2**32,
        "float": isinstance(value, (int, float)) and math.isfinite(value),
        "text": isinstance(value, str) and not isinstance(value, Enum),
        "enum": isinstance(value, (Enum, int)),
    }[kind]


def counterparts(table: str) -> dict[str, Any]:
    """Return a table of counterparts.yaml, such as "ssd" or "built_in"."""
    return read_table("pipeline/counterparts.yaml")[table]


@dataclass(frozen=True)
class Extractor:
    """Feature extractors by name, the preset they become, and what it takes beyond the preset."""

    names: str
    preset: str
    changes: dict[str, Any] = field(default_factory=dict)
    remark: str = ""


@cache
def extractors() -> tuple[Extractor, ...]:
    """Return the feature extractors; the first whose `names` match counts."""
    rows = read_table("pipeline/counterparts.yaml")["extractors"]
    return tuple(Extractor(**row) for row in rows)


def find_extractor(name: str) -> Extractor | None:
    """Return the row of a feature extractor; None for an unknown one."""
    return next((found for found in extractors() if re.fullmatch(found.names, name)), None)
