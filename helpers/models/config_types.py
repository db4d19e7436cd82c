"""Whether a value may stand where a config has another: types, and numbers that are numbers."""

import math
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

_PLAIN = (bool, int, float, str, list)


def misfit(value: Any, old: Any, declared: Any) -> str:
    """Return what is wrong with a value and what to give; "" where it fits.

    Args:
        value: the new one.
        old: what stands there; None says nothing of the type.
        declared: the type that the field's class declares, such as `float | None`.
    """
    kinds = {_plain(kind) for kind in _members(declared)}
    if value is None:
        needed = type(old) in (bool, int, float, list, tuple) and type(None) not in kinds
        return f"None; give {type(old).__name__}, such as {old!r}" if needed else ""
    wanted = _plain(type(old)) if old is not None else _only(kinds)
    either = {str, list} <= kinds and wanted in (str, list)  # one word or a list of words
    if wanted and not (_is_a(value, wanted) or (either and isinstance(value, str | list | tuple))):
        example = _example(value, old, wanted)
        return f"{value!r} is of type {type(value).__name__}; give {wanted.__name__}{example}"
    items = value if isinstance(value, list | tuple) else [value]
    for item in items:
        if isinstance(item, float) and not math.isfinite(item):
            return f"{value!r}; give a number that is one"
    inner = {kind for member in _members(declared) for kind in typing.get_args(member)}
    if isinstance(value, list | tuple) and inner and inner <= {int, float, str}:
        (kind,) = inner if len(inner) == 1 else (float,)
        for item in items:
            if not _is_a(item, kind):
                return f"{value!r}: {item!r} is of type {type(item).__name__}; give {kind.__name__}"
    return ""


def _is_a(value: Any, kind: type) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(value, list | tuple if kind is list else kind)


def _example(value: Any, old: Any, wanted: type) -> str:
    """What could stand there: the number that a text means (4e-3 is text in YAML), or the old."""
    if wanted is float and isinstance(value, str):
        with suppress(ValueError):
            if math.isfinite(number := float(value)):
                return f", such as {number}"
    return "" if old is None else f", such as {old!r}"


def _only(kinds: set) -> type | None:
    """The one type that is declared besides None, if it is one of those that YAML has."""
    known = kinds - {type(None)}
    return known.pop() if len(known) == 1 and known <= {*_PLAIN} else None


def _members(declared: Any) -> Iterator[Any]:
    """The types that a Union joins; else the type alone."""
    union = typing.get_origin(declared) in (typing.Union, types.UnionType)
    return iter(typing.get_args(declared) if union else (declared,))


def _plain(kind: Any) -> Any:
    """A type without what it holds, as YAML has it: lists for tuples."""
    kind = typing.get_origin(kind) or kind
    return list if kind in (tuple, list, Sequence) else kind
