"""What was seen while reading somebody's folder and is not as it should be: a line for each."""

from collections.abc import Callable
from typing import NamedTuple

from helpers.common.errors import CourseError


class Remark(NamedTuple):
    """Something that could not be taken as it stands; the rest of the folder was read.

    Attributes:
        file: the file, as its owner finds it: relative to the folder that was given.
        where: "line 3", "annotations[2]", "object 1"; "" for the file as a whole.
        kind: a kind of `dataset/findings.yaml`.
        value: what is there.
        fix: what to do about it.
    """

    file: str
    where: str
    kind: str
    value: str
    fix: str

    def __str__(self) -> str:
        place = f"{self.file}: {self.where}" if self.where else self.file
        return f"{place}: {self.value}; {self.fix}"


# Readers hand each remark to such a function: a list's `append`, or `refuse`.
Note = Callable[[Remark], None]


def refuse(remark: Remark) -> None:
    """Raise CourseError: for callers that want all of a file or nothing."""
    raise CourseError(str(remark))
