"""The parameters that lessons share: defaults, and what each may be."""

import difflib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helpers.common.errors import CourseError
from helpers.common.files import ROOT
from helpers.course.profiles import PROFILES

DEFAULTS = {"workspace": "runs/course", "dataset": "roadside", "profile": "cpu"}
COMMON = (*DEFAULTS, "seed", "build_missing")

# What a lesson's own parameter may be, by the words in its name.
_COUNTS = {"steps", "every", "batch", "limit", "clips", "shards", "epochs", "frames", "count"}
_FRACTIONS = {"ratio", "threshold", "fraction", "score", "overlap"}
_AMOUNTS = {"seconds", "rate"}
_CHOICES = {"split": ("clip", "frame", "author")}


def find_root(start: Path | None = None) -> Path:
    """Return the project's root: the nearest folder upwards with `helpers/` and `notebooks/`."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "helpers").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return ROOT


def resolve_workspace(workspace: str | Path, root: Path, lesson: str = "course") -> Path:
    """Return the workspace's path: relative to `root` where it lies inside, else absolute."""
    if not isinstance(workspace, str | Path) or not str(workspace).strip():
        raise CourseError(
            f'{lesson}: workspace: {workspace!r}; give a folder, such as "runs/course"'
        )
    path = (root / Path(workspace).expanduser()).resolve()
    if path.exists() and not path.is_dir():
        raise CourseError(f"{lesson}: workspace: {workspace}; is a file, give a folder")
    return path.relative_to(root) if path.is_relative_to(root) and path != root else path


def check_profile(profile: str, lesson: str = "course") -> None:
    """Raise CourseError unless `profile` is a row of PROFILES."""
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
    if isinstance(dataset, str | Path) and str(dataset).strip():
        path = root / Path(dataset).expanduser()
        if path.exists():
            return str(path.resolve())
    raise CourseError(
        f"{lesson}: dataset: {dataset!r}; {allowed(dataset, names)}, "
        "or the path of a folder of your own"
    )


def check_parameter(name: str, value: Any, lesson: str = "course") -> None:
    """Raise CourseError when `value` cannot be that of a parameter with this name.

    Counts (steps, batch, every, limit, ...) are whole numbers above 0, fractions (threshold,
    ratio, ...) lie in 0..1, seconds and rates are above 0; `None` leaves them to the profile.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = isinstance(value, int) and not isinstance(value, bool)
    words = set(name.split("_"))
    if name == "seed":
        good, rule = whole and value >= 0, "give a whole number, 0 or more"
    elif name in ("build_missing", "broad"):
        good, rule = isinstance(value, bool), "give True or False"
    elif value is None:
        return
    elif name in _CHOICES:
        good, rule = value in _CHOICES[name], allowed(value, _CHOICES[name])
    elif words & _COUNTS:
        good, rule = whole and value > 0, "give a whole number above 0, or None"
    elif words & _FRACTIONS:
        good, rule = number and 0 <= value <= 1, "give a number from 0 to 1, or None"
    elif words & _AMOUNTS:
        good = number and math.isfinite(value) and value > 0
        rule = "give a number above 0, or None"
    else:
        return
    if not good:
        raise CourseError(f"{lesson}: {name}: {value!r}; {rule}")


def allowed(value: Any, names: Iterable[str]) -> str:
    names = list(names)
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    return f"use {', '.join(names)}" + (f" (nearest: {near[0]})" if near else "")
