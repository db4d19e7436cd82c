"""Names of folders and files that stand for a side of a split: train2017, valid, test_labels."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from pathlib import Path

from helpers.annotations.folders import SPLITS

SIDES = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# What may stand beside the side's name in that of a folder or list: obj_train_data, images_val.
_NEUTRAL = {
    *("annotations", "data", "dataset", "images", "image", "imgs", "img", "instances"),
    *("labels", "list", "obj", "set", "split"),
}
# Side -> names of its pictures, and what says so.
Found = tuple[Mapping[str, set[str]], str]


def side_in(name: str, *, among: set[str] | None = _NEUTRAL) -> str | None:
    """The side that a name such as "valid", "train2017" or "obj_train_data" stands for, or None.

    The words beside it must be some of `among`; None allows any.
    """
    side, others = _parted(name)
    return side if side and (among is None or among.issuperset(others)) else None


def sides_of(folders: Iterable[str]) -> dict[str, str]:
    """Folder -> side, of those names that stand for one, or form a pair: cards_train, cards_val."""
    parted = {folder: _parted(folder) for folder in folders}
    pairs: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for side, others in parted.values():
        if side:
            pairs[others].add(side)
    return {
        folder: side
        for folder, (side, others) in parted.items()
        if side and (_NEUTRAL.issuperset(others) or {"train"} < pairs[others])
    }


def sides_of_stems(stems: Iterable[str]) -> dict[str, str]:
    """Stem of an annotation file -> side, of those that stand for one: train_labels, val2017.

    Beside annotations_test or val_annotations, annotations is for training.
    """
    parted = {stem: _parted(stem) for stem in stems}
    held_out = {others for side, others in parted.values() if side in ("val", "test")}
    trained = {others for side, others in parted.values() if side == "train"}
    return {
        stem: side or "train"
        for stem, (side, others) in parted.items()
        if side or others in held_out - trained
    }


def _parted(name: str) -> tuple[str | None, tuple[str, ...]]:
    """The side in a name, if there is just one, and the other words of it, but years."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name)]
    sides = [SIDES[word] for word in words if word in SIDES]
    others = [word for word in words if word not in SIDES and not re.fullmatch(r"\d{4}", word)]
    return sides[0] if len(sides) == 1 else None, tuple(others)


def listed(names: Set[str]) -> str:
    """Names in the order of their sides: "train, valid and test"."""
    sides = {name: side_in(Path(name).stem, among=None) or "train" for name in names}
    order = sorted(names, key=lambda name: (SPLITS.index(sides[name]), name))
    return " and ".join(filter(None, (", ".join(order[:-1]), *order[-1:])))
