"""Which frames of a video are taken, and what they must reach to be kept."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from helpers.common.errors import CourseError
from helpers.common.sampling import evenly


@dataclass(frozen=True)
class Step:
    """How frames are taken; the arguments of `extract_frames`. None: no such step, no limit."""

    every: int | None = None
    seconds: float | None = None
    count: int | None = None
    max_frames: int | None = None

    def check(self) -> None:
        """Raise CourseError for numbers that cannot be used, and for more than one step."""
        steps = {"every": self.every, "seconds": self.seconds, "count": self.count}
        given = {name: value for name, value in steps.items() if value is not None}
        if len(given) > 1:
            text = ", ".join(f"{name}={value!r}" for name, value in given.items())
            raise CourseError(f"{text}: give one of every, seconds and count, not {len(given)}")
        _check("every", self.every, _is_count, "a whole number from 1")
        _check("count", self.count, _is_count, "a whole number from 1")
        rule = "a number above 0, such as 0.5"
        _check("seconds", self.seconds, lambda value: 0 < value < np.inf, rule)
        _check("max_frames", self.max_frames, lambda value: value >= 1, "at least 1, or None")

    def chosen(self, times: np.ndarray, among: Collection[int] | None = None) -> list[int]:
        """Return the numbers of the frames to take of a video, rising.

        Args:
            times: of its frames in seconds, float64 (frames,), rising.
            among: take these only; `every` is then how far apart they are at least. None: all.
        """
        numbers = np.arange(len(times)) if among is None else np.array(sorted(among))
        times = times[numbers]
        if self.seconds is not None:
            # Finer than any video; a smaller step would only fill the memory.
            marks = np.arange(0, times[-1] + 1e-6, max(self.seconds, 0.0005))
            after = np.searchsorted(times, marks).clip(1, max(1, len(times) - 1))
            before = after - 1
            after = after.clip(max=len(times) - 1)
            nearest = np.where(marks - times[before] <= times[after] - marks, before, after)
            numbers = numbers[np.unique(nearest)]
        taken: list[int] = []
        for number in numbers.tolist():
            if not taken or number - taken[-1] >= (self.every or 1):
                taken.append(number)
        if self.count is not None:
            taken = evenly(taken, self.count)
        return evenly(taken, self.max_frames)


class Limits(NamedTuple):
    """What a frame must reach: a part of its clip's median sharpness, more bits than so many."""

    min_sharpness: float | None = None
    near_copies: int | None = None

    def check(self) -> None:
        """Raise CourseError for numbers that cannot be used."""
        rule = "0 to 1, a part of the median"
        _check("min_sharpness", self.min_sharpness, lambda value: 0 <= value <= 1, rule)
        rule = "0 to 64 differing bits"
        _check("near_copies", self.near_copies, lambda value: 0 <= value <= 64, rule)


def _check(name: str, value: Any, fits: Callable[[Any], bool], rule: str) -> None:
    if value is not None and not fits(value):
        raise CourseError(f"{name}: {value!r}; it must be {rule}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 1
