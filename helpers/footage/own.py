"""Footage and pictures of your own, taken into the layout of `01_images`."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.folders import (
    IMAGE_SUFFIXES,
    entries_below,
    files_below,
    natural,
    readable,
)
from helpers.annotations.formats import READERS, Survey, read_annotations, survey
from helpers.annotations.pictures import Pictures, shown
from helpers.annotations.remarks import Note, Remark
from helpers.common.artifacts import artifact
from helpers.common.errors import CourseError
from helpers.common.files import read_csv, write_csv
from helpers.footage.decoding import opened
from helpers.footage.own_images import link_images, write_annotations_of, write_tables
from helpers.footage.own_videos import (
    frame_annotations,
    link_videos,
    sides_of_folders,
    write_frame_boxes,
)
from helpers.footage.video import VIDEO_SUFFIXES

# What cameras write beside a video: a small copy of it, and its thumbnail.
_BESIDE_VIDEOS = (".lrv", ".thm")
_LINES = 8  # of remarks, at most


def own_folder(path: Path, folder: Path, *, rebuild: bool = False) -> Path:
    """Take your own footage or pictures into the layout of `01_images`.

    All levels below `path` are looked through. Lines say what was understood; what was not, or is
    not used, is named in lines and listed in remarks.csv (the fields of `Remark`). Nothing in
    `path` is changed.

    Pictures keep their names; where several folders share some, their pictures get the folders in
    front. Annotations in any of the `READERS` become Pascal VOC XML of the same stem; XML that
    needs no change is copied. groups.csv (image,clip) of yours is taken along, and one is made
    where folders keep pictures of the same names apart. split.csv (image,split) is your own, or
    what `find_author_split` finds.

    Of videos, `<clip>.boxes.csv` is taken along, and made where annotations of single frames lie
    there without the frames.

    Args:
        path: a video, or a folder of videos or of pictures. Where both are in it, the pictures are
            taken if they are annotated or more than the videos.
        folder: the output, in the layout of `01_images`.
        rebuild: take all again.

    Returns:
        The path of the folder.

    Raises:
        CourseError: there is nothing to take; nothing was understood of what looks like
            annotations, or none of them belongs to a picture; a table of yours is wrong.
    """
    path = Path(path)
    if not os.path.exists(path):  # unlike Path.exists, also of a name too long for a disk
        raise CourseError(f"{path}: not found; looked in {path.absolute().parent}")
    # Files may be added between two runs: names, sizes and times belong to the fingerprint.
    files = [path] if path.is_file() else files_below(path)
    text = "".join(f"{readable(str(p))} {p.stat().st_size} {p.stat().st_mtime_ns}\n" for p in files)
    contents = hashlib.sha256(text.encode()).hexdigest()[:16]
    return _own_folder(path, folder, contents=contents, rebuild=rebuild)


@artifact("own_folder 2")
def _own_folder(path: Path, folder: Path, *, contents: str) -> dict:
    remarks: list[Remark] = []
    if path.is_file():
        counts, taken = _take_video(path, folder)
    else:
        videos = list(_videos_below(path, remarks.append))
        seen = survey(path)
        names = seen.pictures.names
        if not names and not videos:
            raise _nothing(path, seen, remarks)
        notes = [*seen.unknown]
        found = (
            read_annotations(path, seen.pictures, note=notes.append) if names and seen.files else []
        )
        alone = "to use them, give a folder that holds them alone"
        if names and (not videos or found or len(names) > len(videos)) and not _boxed(videos):
            counts, taken = _take_images(path, seen, found, folder, notes)
            remarks += [*notes, *_unused(videos, path, "video", alone)]
        else:
            counts, taken = _take_videos(path, videos, seen, folder, remarks)
            remarks += _unused(list(names), path, "picture", alone)
    remarks = list(dict.fromkeys(remarks))
    _tell(remarks)
    _write_sources(path, taken, folder)
    if remarks:
        write_csv(folder / "remarks.csv", Remark._fields, (r._asdict() for r in remarks))
    return counts | {"remarks": len(remarks)}


def _write_sources(path: Path, taken: Sequence[str], folder: Path) -> None:
    """Write sources.csv: the licences that come with the files, as those of lesson 01 do."""
    stated: dict[str, dict[str, str]] = {}
    with suppress(CourseError):  # none, or a table of something else
        rows = read_csv(path / "sources.csv", ("file", "licence", "origin"))
        stated = {row["file"]: row for row in rows}
    columns = list(next(iter(stated.values()), ("file", "licence", "origin")))
    own = {"licence": "your own", "origin": readable(path.resolve().name)}
    rows = [stated.get(name, dict.fromkeys(columns, "") | own | {"file": name}) for name in taken]
    write_csv(folder / "sources.csv", columns, rows)


def _videos_below(path: Path, note: Note) -> Iterator[Path]:
    """The videos of a folder, all levels deep; what only looks like one is noted."""
    beside: list[Path] = []
    for entry in natural(entries_below(path)):
        suffix = entry.suffix.lower()
        if suffix in _BESIDE_VIDEOS:
            beside.append(entry)
        elif suffix in VIDEO_SUFFIXES:
            try:
                with opened(entry):
                    pass
            except CourseError as error:
                value, _, fix = str(error).removeprefix(f"{entry}: ").partition("; ")
                note(Remark(shown(entry, path), "", "not used", value, fix))
            else:
                yield entry
    if beside:
        value = f"what the camera wrote beside its videos ({_counted(len(beside), 'file')})"
        note(Remark(shown(beside[0], path), "", "not used", value, "nothing to do"))


def _boxed(videos: Iterable[Path]) -> bool:
    return any(os.path.isfile(video.with_name(f"{video.stem}.boxes.csv")) for video in videos)


def _nothing(path: Path, seen: Survey, remarks: Sequence[Remark]) -> CourseError:
    """What to say of a folder without pictures or videos that can be read."""
    if unread := [*seen.pictures.remarks, *remarks, *seen.unknown]:
        return CourseError(f"{path}: no images or videos in it that can be read: {unread[0]}")
    if seen.files:
        names = " and ".join(READERS[kind].name for kind in seen.files)
        return CourseError(
            f"{path}: annotations ({names}), but no images in it; put the pictures next to them"
        )
    kinds = ", ".join((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
    return CourseError(f"{path}: no images in it, and no videos; expected files ending in {kinds}")


def _unused(files: Sequence[Path], path: Path, what: str, fix: str) -> list[Remark]:
    if not files:
        return []
    value = f"{_counted(len(files), what)} beside what is taken"
    return [Remark(shown(files[0], path), "", "not used", value, fix)]


def _take_video(path: Path, folder: Path) -> tuple[dict, list[str]]:
    """A single video; its neighbours belong to other things."""
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        kinds = ", ".join(VIDEO_SUFFIXES)
        raise CourseError(f"{path}: not a video; give a folder, or a file ending in {kinds}")
    targets = link_videos([path], path.parent, folder / "clips")
    return {"clips": 1}, [target.name for target in targets.values()]


def _take_videos(
    path: Path, videos: Sequence[Path], seen: Survey, folder: Path, remarks: list[Remark]
) -> tuple[dict, list[str]]:
    """Videos, with what is annotated of their frames."""
    remarks += [remark for remark in seen.unknown if remark.kind != "same picture twice"]
    targets = link_videos(videos, path, folder / "clips")
    print(f"{readable(path.resolve().name)}: {_counted(len(videos), 'video')}.")
    counts = {"clips": len(videos)}
    if seen.files:
        annotations = frame_annotations(path, videos, seen, remarks.append)
        frames = write_frame_boxes(annotations, targets, remarks.append)
        names = ", ".join(READERS[kind].name for kind in seen.files)
        print(f"Annotated frames: {frames} ({names}).")
        counts["annotated_frames"] = frames
    if split := sides_of_folders(path, videos):
        print(f"The videos lie in folders {split}; held_out in lesson 03 keeps some of them apart.")
    return counts, [target.name for target in targets.values()]


def _take_images(
    path: Path,
    seen: Survey,
    found: Sequence[Annotation],
    folder: Path,
    notes: list[Remark],
) -> tuple[dict, list[str]]:
    """Pictures, with their annotations and the tables of clips and sides."""
    _check_understood(path, seen, found, notes)
    notes += _idle(path, seen, found, notes)
    taken = link_images(seen.pictures, folder / "images", notes.append)
    if not taken:
        raise CourseError(f"{path}: no images in it that can be read: {notes[-1]}")
    annotations = write_annotations_of(found, taken, path, folder / "annotations")
    print(*_understood(path, seen, len(taken), annotations), sep="\n")
    counts = write_tables(path, seen, taken, annotations, folder, notes.append)
    formats = list(_formats(path, seen, annotations))
    counts |= {"images": len(taken), "annotations": len(annotations), "format": formats}
    return counts, list(taken)


def _check_understood(
    path: Path, seen: Survey, found: Sequence[Annotation], notes: Sequence[Remark]
) -> None:
    """CourseError where annotations lie in the folder, and none is of any use."""
    if found:
        return
    count = len(seen.pictures.names)
    meant = _meant(path, seen)
    if meant and all(seen.pictures.find(name, path / source) is None for name, source in meant):
        names = ", ".join(repr(name) for name, _ in meant[:3])
        ours = ", ".join(repr(name) for name in list(seen.pictures.names.values())[:3])
        raise CourseError(
            f"{path}: none of {_counted(len(meant), 'annotation')} belongs to a picture: they "
            f"expect {names}; the {_counted(count, 'picture')} are called {ours}; rename the "
            "pictures back, or give the folder that holds those that were annotated"
        )
    unclear = [remark for remark in notes if remark.kind in ("not understood", "bad line")]
    if unclear:
        more = f" (and {len(unclear) - 1} more)" if len(unclear) > 1 else ""
        raise CourseError(
            f"{path}: {_counted(count, 'picture')}, and nothing understood of the annotations: "
            f"{unclear[0]}{more}; to draw boxes instead, move these files out of the folder"
        )


def _meant(path: Path, seen: Survey) -> list[tuple[str, str]]:
    """Name of the picture and file of all annotations, of those that belong to none as well."""
    if not seen.files:
        return []
    anything = Pictures(path, frame_size=(1, 1))
    found = read_annotations(path, anything, note=lambda remark: None)
    return [(annotation.image, annotation.source) for annotation in found]


def _idle(
    path: Path, seen: Survey, found: Sequence[Annotation], notes: Sequence[Remark]
) -> Iterator[Remark]:
    """A remark for each format of which nothing was taken, and nothing said."""
    named = {annotation.source for annotation in found} | {remark.file for remark in notes}
    for kind, files in seen.files.items():
        names = [shown(file, path) for file in files]
        if named.isdisjoint(names):
            says = "the boxes are from other files" if found else "it says nothing of any picture"
            value = f"{_counted(len(names), 'file')} of {READERS[kind].name}: {says}"
            yield Remark(names[0], "", "not used", value, "delete it if it is out of date")


def _understood(
    path: Path, seen: Survey, count: int, annotations: Mapping[str, Annotation]
) -> Iterator[str]:
    """Lines on what was understood of a folder of pictures."""
    name = readable(path.resolve().name)
    if not annotations:
        yield f"{name}: {_counted(count, 'picture')}, no annotations."
        return
    boxed = sum(bool(annotation.boxes) for annotation in annotations.values())
    formats = _formats(path, seen, annotations)
    files = _counted(sum(formats.values()), "file")
    names = " and ".join(READERS[kind].name for kind in formats)
    yield f"{name}: {boxed} of {_counted(count, 'picture')} have boxes, from {files} ({names})."
    if empty := len(annotations) - boxed:
        yield f"Annotated as showing nothing: {_counted(empty, 'picture')}."
    if left := count - len(annotations):
        yield f"Not annotated: {_counted(left, 'picture')}."


def _formats(path: Path, seen: Survey, annotations: Mapping[str, Annotation]) -> dict[str, int]:
    """Key of `READERS` -> how many files of that format are used."""
    sources = {annotation.source for annotation in annotations.values()}
    used = {k: sum(shown(f, path) in sources for f in files) for k, files in seen.files.items()}
    return {kind: number for kind, number in used.items() if number}


def _tell(remarks: Sequence[Remark]) -> None:
    """Print a line for each kind of remark, and for each thing to do about it."""
    alike: dict[tuple[str, str], list[Remark]] = defaultdict(list)
    for remark in remarks:
        alike[remark.kind, remark.fix].append(remark)
    lines = []
    for (kind, _), its in sorted(alike.items(), key=lambda item: -len(item[1])):
        number = f"{len(its)}, such as " if len(its) > 1 else ""
        lines.append(f"{kind[0].upper()}{kind[1:]}: {number}{its[0]}.")
    print(*lines[:_LINES], sep="\n", end="\n" if lines else "")
    if len(lines) > _LINES or len(remarks) > len(lines):
        print(f"All {len(remarks)} remarks are in remarks.csv.")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
