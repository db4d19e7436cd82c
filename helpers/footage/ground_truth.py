"""What is known of a video's frames: the boxes of <clip>.boxes.csv, the list <clip>.frames.csv."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from helpers.annotations.boxes import Box
from helpers.annotations.reading import bad_line, label_of, number
from helpers.annotations.remarks import Note, Remark
from helpers.common.errors import CourseError
from helpers.common.files import read_csv

_EDGES = ("xmin", "ymin", "xmax", "ymax")


class GroundTruth(NamedTuple):
    """The boxes of the frames of a video.

    Attributes:
        boxes: frame number -> its boxes. A frame that is not in it shows none.
        frames: the numbers of those that are annotated, inside the video; None for all.
        spoilt: frames that have a line which cannot be used, and so count as not annotated.
    """

    boxes: Mapping[int, list[Box]]
    frames: frozenset[int] | None
    spoilt: frozenset[int]

    def knows(self, frame: int) -> bool:
        """Whether what a frame shows is known."""
        return frame not in self.spoilt and (self.frames is None or frame in self.frames)


def read_ground_truth(video: Path, length: int, note: Note) -> GroundTruth | None:
    """Read what is known of a video of `length` frames; None where there is no boxes.csv.

    A line that cannot be used is noted, and so are frames beyond the end of the video.

    Raises:
        CourseError: a file is no such table.
    """
    path = video.with_name(f"{video.stem}.boxes.csv")
    # os.path, since a name that is too long for the disk is no error to it.
    if not os.path.isfile(path):
        return None
    boxes, spoilt = defaultdict(list), set()
    for line, row in enumerate(read_csv(path, ("frame", "label", *_EDGES)), 2):
        frame = None
        try:
            frame = _frame(row["frame"])
            xmin, ymin, xmax, ymax = (number(row[name], name) for name in _EDGES)
            difficult = bool(number(row.get("difficult") or 0, "difficult"))
            label = label_of(row["label"], "label")
            boxes[frame].append(Box(label, xmin, ymin, xmax, ymax, difficult))
        except CourseError as error:
            bad_line(Path(path.name), f"line {line}", error, note)
            spoilt |= set() if frame is None else {frame}
    _check_end(path, video, boxes, length, note)
    listed = video.with_name(f"{video.stem}.frames.csv")
    frames = _read_frames(listed, video, length, note) if os.path.isfile(listed) else None
    return GroundTruth(boxes, frames, frozenset(spoilt))


def _read_frames(path: Path, video: Path, length: int, note: Note) -> frozenset[int]:
    frames = set()
    for line, row in enumerate(read_csv(path, ("frame",)), 2):
        try:
            frames.add(_frame(row["frame"]))
        except CourseError as error:
            bad_line(Path(path.name), f"line {line}", error, note)
    _check_end(path, video, frames, length, note)
    return frozenset(frame for frame in frames if frame < length)


def _frame(text: str) -> int:
    value = number(text, "frame")
    if value < 0 or not value.is_integer():
        raise CourseError(f"frame {text!r} is no number of a frame; they count from 0")
    return int(value)


def _check_end(path: Path, video: Path, frames: Iterable[int], length: int, note: Note) -> None:
    if beyond := sorted(frame for frame in frames if frame >= length):
        value = f"frame {beyond[0]}: {video.name} has {length}, counted from 0"
        value += f" ({len(beyond)} such frames)" if len(beyond) > 1 else ""
        note(Remark(path.name, "", "no image", value, "check that it belongs to this video"))
