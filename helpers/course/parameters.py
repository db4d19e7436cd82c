"""The parameters of the lessons: their defaults, and what each may be."""

import difflib
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from helpers.common.errors import CourseError
from helpers.course.profiles import PROFILES

DEFAULTS = {"workspace": "runs/course", "dataset": "roadside", "profile": "cpu"}
COMMON = (*DEFAULTS, "seed", "build_missing")


# Says what to give instead of a value; "" when the value is right.
Rule = Callable[[Any], str]


def _rule(words: str, holds: Callable[[Any], bool], *, optional: bool = True) -> Rule:
    """Return the rule of a parameter; `None` leaves an optional one to the profile or lesson."""

    def advice(value: Any) -> str:
        if holds(value) or (value is None and optional):
            return ""
        return f"give {words}" + (", or None" if optional else "")

    return advice


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return _whole(value) or (isinstance(value, float) and math.isfinite(value))


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def is_text(value: Any) -> bool:
    """Return whether `value` is a string or a path, and not blank."""
    return isinstance(value, str | Path) and str(value).strip() != ""


def _names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(is_text, value))


def _split(value: Any) -> str:
    ways = ("clip", "frame", "author")
    return "" if value is None or value in ways else allowed(value, ways)


COUNT = _rule("a whole number above 0", lambda value: _whole(value) and value > 0)
SEED = _rule("a whole number, 0 or more", lambda v: _whole(v) and v >= 0, optional=False)
BITS = _rule("a whole number from 0 to 64", lambda value: _whole(value) and 0 <= value <= 64)
AMOUNT = _rule("a number above 0", lambda value: _number(value) and value > 0)
FRACTION = _rule("a number from 0 to 1", _share)
THRESHOLD = _rule("a number from 0 to 1", _share, optional=False)
SWITCH = _rule("True or False", lambda value: isinstance(value, bool), optional=False)
TEXT = _rule("text in quotes", is_text)
PATTERN = _rule(
    'a regular expression in quotes, such as "(.+)_[0-9]+"', lambda v: isinstance(v, str)
)
NAMES = _rule('a list of names, such as ["crane"]', _names)

# Every parameter of every lesson, but those of DEFAULTS, which have checks of their own.
RULES: dict[str, Rule] = {
    "seed": SEED,
    "build_missing": SWITCH,
    "threshold": THRESHOLD,
    # 01
    "clips": COUNT,
    "clip_seconds": AMOUNT,
    "broad": SWITCH,
    "search_words": TEXT,
    "limit": COUNT,
    # 02
    "every": COUNT,
    "seconds": AMOUNT,
    "count": COUNT,
    "min_sharpness": FRACTION,
    "near_copies": BITS,
    "clip_pattern": PATTERN,
    # 03
    "labels": NAMES,
    "split": _split,
    "val_ratio": FRACTION,
    "held_out": NAMES,
    # 04
    "shards": COUNT,
    # 05
    "ssd_preset": TEXT,
    "ssd_steps": COUNT,
    "ssd_batch": COUNT,
    "ssd_weights": TEXT,
    "frcnn_preset": TEXT,
    "frcnn_steps": COUNT,
    "frcnn_batch": COUNT,
    "frcnn_weights": TEXT,
    "probe_seconds": AMOUNT,
    # 06, 07
    "train_steps": COUNT,
    "batch_size": COUNT,
    "learning_rate": AMOUNT,
    "frozen_steps": COUNT,
    # 11
    "video_file": TEXT,
    "model": TEXT,
    # 12
    "worker_steps": COUNT,
}


def check_parameter(name: str, value: Any, lesson: str = "course") -> None:
    """Raise CourseError when a lesson's parameter `name` cannot have this value.

    A name that is not in RULES is a learner's own and may be anything.
    """
    if name in RULES and (advice := RULES[name](value)):
        raise CourseError(f"{lesson}: {name}: {value!r}; {advice}")


def check_profile(profile: str, lesson: str = "course") -> None:
    """Raise CourseError unless `profile` is one of PROFILES."""
    if profile not in PROFILES:
        raise CourseError(f"{lesson}: profile: {profile!r}; {allowed(profile, PROFILES)}")


def check_dataset(dataset: str, root: Path, lesson: str = "course") -> str:
    """Return `dataset`: a known name as it is, a folder or file as an absolute path."""
    if dataset == DEFAULTS["dataset"]:
        return dataset
    from helpers.footage import datasets

    names = list(dict.fromkeys([DEFAULTS["dataset"], *datasets.dataset_names()]))
    if dataset in names:
        return dataset
    looked = ""
    if is_text(dataset):
        path = root / Path(dataset).expanduser()
        if os.path.exists(path):  # unlike Path.exists, also of a name that is too long for a disk
            return str(path.resolve())
        looked = f" (not found, looked in {path}; relative paths count from the project's folder)"
    raise CourseError(
        f"{lesson}: dataset: {dataset!r}; {allowed(dataset, names)}, "
        f"or the path of a folder of your own{looked}"
    )


def allowed(value: Any, names: Iterable[str]) -> str:
    """Return advice for a wrong name: "use smoke, cpu, gpu (nearest: cpu)"."""
    names = list(names)
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    return f"use {', '.join(names)}" + (f" (nearest: {near[0]})" if near else "")
