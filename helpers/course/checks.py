"""Feedback on the exercises: each check tries your function or result and says what it found.

A check prints one line and returns whether the answer is right. It looks at behaviour only;
any way of writing the function will do.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def check_iou(iou: Callable) -> bool:
    """Check `iou(first, second)`: the IoU of two xyxy pixel boxes, 0 to 1.

    Edges are continuous: a box from 0 to 10 is 10 wide, and boxes that only touch have 0.
    """
    cases = [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0, "a box with itself"),
        (
            (0, 0, 10, 10),
            (5, 0, 15, 10),
            1 / 3,
            "two boxes that share half; is the union counted once, and are edges continuous "
            "(no + 1)?",
        ),
        ((0, 0, 10, 10), (2, 2, 4, 4), 0.04, "a box inside another"),
        ((0, 0, 10, 20), (5, 10, 25, 20), 0.5 / 3.5, "boxes that are not square: x first, then y"),
        (
            (0, 0, 10, 10),
            (20, 20, 30, 30),
            0.0,
            "boxes apart in x and y: two negative sides multiply to a positive area, so clip at 0",
        ),
        ((0, 0, 10, 10), (20, 0, 30, 10), 0.0, "boxes apart in x only"),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0, "boxes that only touch"),
    ]
    for first, second, expected, hint in cases:
        for pair in ((first, second), (second, first)):
            shown = f"iou({pair[0]}, {pair[1]})"
            value, failure = _call(iou, *pair)
            if failure:
                return _not_yet(f"{shown} {failure}")
            if np.shape(value) or not _close(value, expected):
                return _not_yet(f"{shown} gives {_show(value)}, not {expected:.4g}: {hint}")
    return _right("the IoU is right for equal, nested, touching and separate boxes")


def check_box_conversion(convert: Callable) -> bool:
    """Check `convert(box, width, height)`: xyxy pixels to yxyx normalised to 0..1."""
    cases = [
        ((0, 0, 200, 100), 200, 100, (0, 0, 1, 1), "the whole image"),
        ((50, 10, 150, 40), 200, 100, (0.1, 0.25, 0.4, 0.75), "a box in a 200 by 100 image"),
        ((0.5, 0.25, 1, 0.5), 2, 1, (0.25, 0.25, 0.5, 0.5), "edges between pixels: do not round"),
    ]
    for box, width, height, expected, what in cases:
        shown = f"convert({box}, {width}, {height})"
        value, failure = _call(convert, box, width, height)
        if failure:
            return _not_yet(f"{shown} {failure}")
        if np.shape(value) != (4,):
            return _not_yet(f"{shown} gives {_show(value)}; return four numbers")
        if _close(value, expected):
            continue
        ymin, xmin, ymax, xmax = expected
        hint = what
        if _close(value, (xmin, ymin, xmax, ymax)):
            hint = "y comes first: ymin, xmin, ymax, xmax"
        elif np.max(value) > 1:
            hint = "divide y by the height and x by the width"
        elif _close(value, (box[1] / width, box[0] / height, box[3] / width, box[2] / height)):
            hint = "y is divided by the height, x by the width"
        return _not_yet(f"{shown} gives {_show(value)}, not {_show(expected)}: {hint}")
    return _right("y first, each side divided by its own length")


def check_split(clips: Mapping[str, str], split: Mapping[str, str], *, unknown: int = 0) -> bool:
    """Check a split into train and val: every image once, no clip on both sides.

    The line does not say "Right" where the clips are not known: each image is one of its own.

    Args:
        clips: image -> clip.
        split: image -> "train", "val" or, where some are kept for the end, "test".
        unknown: of how many images nothing says what they belong to.
    """
    if missing := [image for image in clips if image not in split]:
        return _not_yet(f"{len(missing)} images are in neither part, such as {missing[0]}")
    if extra := [image for image in split if image not in clips]:
        return _not_yet(f"{extra[0]} is in the split, but not among the images")
    if odd := [part for part in split.values() if part not in ("train", "val", "test")]:
        return _not_yet(f'a part is called {odd[0]!r}; use "train" and "val"')
    sides: dict[str, set[str]] = {}
    for image, clip in clips.items():
        sides.setdefault(clip, set()).add(split[image])
    if both := [clip for clip, parts in sides.items() if len(parts) > 1]:
        where = "both sides" if "test" not in split.values() else "more than one side"
        return _not_yet(
            f"{len(both)} of {len(sides)} clips are on {where}, such as {both[0]}: frames of "
            "one clip look alike, so the score would be of images already seen"
        )
    for part in ("train", "val"):
        if part not in split.values():
            return _not_yet(f"no image is in {part}")
    if len(sides) == len(clips):
        print(
            f"Each of {len(clips)} images counts as a clip of its own, so that by clip and by "
            "frame are the same. If some are frames of one video or show one scene, nobody has "
            "said so, and they may lie on both sides."
        )
        return True
    if unknown:
        print(
            f"{len(sides)} clips, none of them on both sides. But {unknown} of {len(clips)} images "
            "count as a clip of their own because nobody knows what they belong to."
        )
        return True
    return _right(f"{len(sides)} clips, none of them on both sides")


def _call(function: Callable, *arguments: Any) -> tuple[Any, str]:
    """Return what the learner's function gives, and how it failed, in words, or ""."""
    try:
        value = function(*arguments)
    except Exception as error:
        return None, f"raises {type(error).__name__}: {error}"
    if value is None:
        return None, "gives None; does the function end with return?"
    try:
        return np.asarray(value, dtype=float), ""
    except (TypeError, ValueError):
        return None, f"gives {value!r}; return numbers"


def _close(value: Any, expected: Any) -> bool:
    return bool(np.allclose(value, expected, atol=1e-6))


def _show(value: Any) -> str:
    numbers = [f"{number:.4g}" for number in np.ravel(value)]
    return numbers[0] if np.ndim(value) == 0 else f"({', '.join(numbers)})"


def _right(line: str) -> bool:
    print(f"Right: {line}.")
    return True


def _not_yet(line: str) -> bool:
    print(f"Not yet: {line}")
    return False
