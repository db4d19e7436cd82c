"""Videos of your own, and annotations of their frames, in the layout of `01_images`."""

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.folders import key_of, readable
from helpers.annotations.formats import Survey, read_annotations
from helpers.annotations.pictures import Pictures, shown, stem_of
from helpers.annotations.remarks import Note, Remark
from helpers.common.files import link, write_csv
from helpers.footage.author_split import FILE_FOR_EACH
from helpers.footage.decoding import frame_index
from helpers.footage.sides import listed, sides_of
from helpers.footage.video import video_info

_LENGTH = 180  # bytes of a stem: the names of its frames and drafts have to fit into 255
_BOXES = ("frame", "label", "xmin", "ymin", "xmax", "ymax", "difficult")
_TIME = re.compile(r"#t=([0-9]+(?:\.[0-9]+)?)$")
_NUMBER = re.compile(r"([0-9]+)$")


def link_videos(videos: Sequence[Path], root: Path, clips: Path) -> dict[Path, Path]:
    """Give each video a name of its own in `clips`, and copy the `<clip>.boxes.csv` beside it.

    The name is the video's own, or, where two share one, begins with the folders below `root`
    that tell them apart.

    Returns:
        video -> its name in `clips`.
    """
    clips.mkdir()
    targets = {video: clips / name for video, name in _flat_names(videos, root).items()}
    for video, target in targets.items():
        link(video, target)
        boxes = video.with_name(f"{video.stem}.boxes.csv")
        if os.path.isfile(boxes):  # unlike Path.is_file, also of a name that is too long
            shutil.copyfile(boxes, target.with_suffix(".boxes.csv"))
    return targets


def frame_annotations(
    path: Path, videos: Sequence[Path], seen: Survey, note: Note
) -> Iterator[Annotation]:
    """Read the annotations of frames that are not there as pictures.

    YOLO counts in fractions of the image and does not say its size: it is that of the video.
    """
    for unit in _units(path, videos, seen):
        video = owner(shown(unit, path), videos)
        info = video_info(video or videos[0])
        frames = Pictures(path, frame_size=(info.width, info.height))
        root = unit if unit.is_dir() else unit.parent

        def relative(remark: Remark, root: Path = root) -> None:
            note(remark._replace(file=shown(root / remark.file, path)))

        for annotation in read_annotations(unit, frames, note=relative):
            yield replace(annotation, source=shown(root / annotation.source, path))


def _units(path: Path, videos: Sequence[Path], seen: Survey) -> Iterator[Path]:
    """What to read at once: a folder of one video's frames, or a file of many frames.

    Frames of two videos have the same names, and must not come together.
    """
    if len(videos) == 1:
        yield path
        return
    folders = {file.parent for files in seen.files.values() for file in files}
    for folder in folders:
        its_files = [(k, f) for k, files in seen.files.items() for f in files if f.parent == folder]
        mixed = owner(shown(folder, path), videos) is None and len(its_files) <= len(videos)
        if mixed and not {kind for kind, _ in its_files} & FILE_FOR_EACH:
            yield from (file for _, file in its_files)
        elif not any(folder.is_relative_to(other) for other in folders - {folder}):
            yield folder


def write_frame_boxes(
    annotations: Iterable[Annotation], targets: Mapping[Path, Path], note: Note
) -> int:
    """Write annotations of single frames as `<clip>.boxes.csv` and `<clip>.frames.csv`.

    An annotation belongs to the one video, or of several to that which its folder or name is
    called after. The number at the end of its name is that of the frame, counted from 0 as CVAT
    does, or from 1 where the last one would be beyond the video's end; of VoTT it is the time.
    Boxes drawn on a smaller or larger rendering of the video are scaled.

    Args:
        annotations: named by the frame; `source` is their file.
        targets: video -> its name in `clips`.
        note: takes a remark for each that fits no frame.

    Returns:
        How many frames are annotated.
    """
    owned: dict[Path, list[Annotation]] = defaultdict(list)
    for annotation in annotations:
        video = owner(f"{annotation.source}/{annotation.image}", list(targets))
        if video is None:
            value = f"{annotation.image}: no telling which of {len(targets)} videos it is of"
            fix = "put them into a folder called as the video"
            note(Remark(annotation.source, "", "not used", value, fix))
        elif targets[video].with_suffix(".boxes.csv").exists():
            value = f"{annotation.image}: {video.stem}.boxes.csv says what is in that frame"
            note(Remark(annotation.source, "", "not used", value, "delete one of the two"))
        else:
            owned[video].append(annotation)
    count = 0
    for video, found in owned.items():
        frames = _by_frame(video, found, note)
        rows = [
            dict(zip(_BOXES, (n, b.label, *b.xyxy, int(b.difficult)), strict=True))
            for n, boxes in sorted(frames.items())
            for b in boxes
        ]
        if frames:
            write_csv(targets[video].with_suffix(".boxes.csv"), _BOXES, rows)
            numbers = ({"frame": number} for number in sorted(frames))
            write_csv(targets[video].with_suffix(".frames.csv"), ("frame",), numbers)
        count += len(frames)
    return count


def owner(named: str, videos: Sequence[Path]) -> Path | None:
    """The video whose frame is called `named`, a path; None where that cannot be known."""
    if len(videos) == 1:
        return videos[0]
    for part in re.split(r"[/\\]", key_of(named))[::-1]:
        fits = [
            video
            for video in videos
            if re.search(rf"(?<![^\W_]){re.escape(key_of(video.stem))}(?![^\W_])", part)
        ]
        # drive_1 is in drive_1_night: the longer one is meant.
        longest = max((len(video.stem) for video in fits), default=0)
        fits = [video for video in fits if len(video.stem) == longest]
        if len(fits) == 1:
            return fits[0]
    return None


def _by_frame(video: Path, annotations: Sequence[Annotation], note: Note) -> dict[int, list[Box]]:
    """Number of each annotated frame of a video -> its boxes in pixels of the video."""
    info = video_info(video)
    times = frame_index(video).times
    numbers: dict[str, int] = {}
    for annotation in annotations:
        stem = stem_of(annotation.image)
        if time := _TIME.search(stem):
            numbers[annotation.image] = int(abs(times - float(time[1])).argmin())
        elif digits := _NUMBER.search(stem):
            numbers[annotation.image] = int(digits[1])
    from_one = max(numbers.values(), default=0) == len(times) and min(numbers.values()) > 0
    frames: dict[int, list[Box]] = {}
    for annotation in annotations:
        wrong = ""
        number = numbers.get(annotation.image, -1) - from_one
        scale = info.width / (annotation.width or info.width)
        high = info.height / (annotation.height or info.height)
        if not 0 <= number < len(times):
            wrong = f"{annotation.image} is no frame of {video.name}, which has {len(times)}"
        elif number in frames:
            wrong = f"{annotation.image}: frame {number} of {video.name} is annotated twice"
        elif abs(scale / high - 1) > 0.01:
            wrong = (
                f"{annotation.image}: drawn on {annotation.width}x{annotation.height} pixels, "
                f"{video.name} has {info.width}x{info.height}"
            )
        if wrong:
            fix = "export the annotations of this video again"
            note(Remark(annotation.source, "", "not used", wrong, fix))
            continue
        frames[number] = [
            replace(
                box,
                xmin=box.xmin * scale,
                ymin=box.ymin * high,
                xmax=box.xmax * scale,
                ymax=box.ymax * high,
            )
            for box in annotation.boxes
        ]
    return frames


def _flat_names(videos: Sequence[Path], root: Path) -> dict[Path, str]:
    """A file name for each video that no other has, up to the suffix and in any letter case."""
    same: dict[str, list[Path]] = defaultdict(list)
    for video in videos:
        same[key_of(video.stem)].append(video)
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for twins in same.values():
        folders = [video.relative_to(root).parts[:-1] for video in twins]
        common = set(folders[0]).intersection(*folders[1:])
        for video, parts in zip(twins, folders, strict=True):
            parts = tuple(part for part in parts if part not in common) if len(twins) > 1 else ()
            stem = base = _fitting("_".join([*parts, video.stem]))
            count = 1
            while key_of(stem) in taken:
                count += 1
                stem = f"{base}_{count}"
            taken.add(key_of(stem))
            names[video] = f"{stem}{video.suffix}"
    return names


def _fitting(stem: str) -> str:
    """A stem that any disk takes, with room for the number of a frame."""
    return readable(stem).encode()[:_LENGTH].decode("utf-8", "ignore")


def sides_of_folders(path: Path, videos: Sequence[Path]) -> str:
    """The folders of videos that are called as sides of a split: "train and test", or ""."""
    sides = sides_of(part for video in videos for part in video.relative_to(path).parts[:-1])
    return listed(sides.keys()) if len(set(sides.values())) > 1 else ""
