"""Folders of images and annotations: which files there are, and which belong together."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.remarks import Note, Remark
from helpers.annotations.voc import read_voc
from helpers.common.errors import CourseError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SPLITS = ("train", "val", "test")


def read_folder(folder: Path | str, note: Note | None = None) -> list[Annotation]:
    """Read the XML files of a folder, in natural order (frame2 before frame10), but hidden ones.

    `note` gets each object and each file that cannot be used, and the rest is read; None refuses
    them. A file of which no object can be used is left out: something is there, nobody knows where.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"{folder}: no such folder; give the folder that holds the XML files")
    found = []
    # macOS leaves a ._frame2.xml next to frame2.xml on disks of other systems.
    for path in natural(folder.glob("[!.]*.xml")):
        if note is None:
            found.append(read_voc(path))
            continue
        noted: list[Remark] = []
        try:
            annotation = read_voc(path, note=noted.append)
            if annotation.boxes or all(remark.where == "size" for remark in noted):
                found.append(annotation)
        except CourseError as error:
            value, _, fix = str(error).removeprefix(f"{path}: ").rpartition("; ")
            noted.append(Remark(path.name, "", "not understood", value, fix))
        for remark in noted:
            note(remark._replace(file=path.name))
    return found


def merged(
    annotations: Sequence[Annotation], drawn: Path | str | None, note: Note | None = None
) -> list[Annotation]:
    """Return `annotations`, each replaced by that of the same frame in the folder `drawn`, if any.

    Two belong to the same frame when their XML files share a stem. Those that only `drawn` has
    come last. Without a folder, `annotations` come back as they are. `note` as in `read_folder`.
    """
    if drawn is None or not Path(drawn).is_dir():
        return list(annotations)
    by_stem = {_composed(Path(a.source).stem): a for a in read_folder(drawn, note)}
    found = [by_stem.pop(_composed(Path(a.source or a.image).stem), a) for a in annotations]
    return [*found, *by_stem.values()]


def images_in(folder: Path | str) -> list[Path]:
    """List the image files directly in a folder, by suffix, in natural order.

    Raises CourseError when there are none, or when two share a stem and so the annotation.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"{folder}: no such folder; give the folder that holds the images")
    found = [path for path in folder.iterdir() if is_image(path) and not path.name.startswith(".")]
    if not found:
        kinds = ", ".join(IMAGE_SUFFIXES)
        raise CourseError(f"{folder}: no images in it; expected files ending in {kinds}")
    return _without_twins(natural(found), folder)


def files_below(folder: Path) -> list[Path]:
    """List the files of a folder, all levels deep, without hidden files and folders."""
    return natural(path for path in entries_below(folder) if path.is_file())


def entries_below(folder: Path) -> Iterator[Path]:
    """Yield what lies below a folder, links followed: files, and folders named like a file.

    Hidden files and folders are left out, and a folder that two links lead to comes once.
    """
    seen: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        here = os.stat(root)
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files) + [name for name in folders if is_image(Path(name))]:
            if not name.startswith("."):
                yield Path(root, name)


def is_image(path: Path) -> bool:
    """Whether a file is an image by its suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def natural(paths: Iterable[Path]) -> list[Path]:
    """Sort paths by name as people count: frame2.jpg before frame10.jpg."""

    def key(path: Path):
        parts = re.split(r"([0-9]+)", path.name)
        return [(int(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)]

    return sorted(paths, key=key)


def pair(images: Sequence[str], annotations: Sequence[Annotation]) -> dict[str, Annotation]:
    """Return the annotation of each image file name that has one.

    The XML file with the image's stem wins over the <filename> inside: files get renamed,
    and tools write the name once. How "ü" is composed makes no difference.
    """
    by_stem = {_composed(Path(a.source).stem): a for a in annotations if a.source}
    by_name = {_composed(a.image): a for a in annotations}
    found = {
        name: by_stem.get(_composed(Path(name).stem)) or by_name.get(_composed(name))
        for name in images
    }
    return {name: annotation for name, annotation in found.items() if annotation is not None}


def readable(name: str) -> str:
    """Return a file name as text that can be written: names that are no UTF-8 as in Windows."""
    try:
        name.encode()
    except UnicodeEncodeError:
        # The escape of a half character in JSON is no name of a file.
        name = re.sub(r"[\ud800-\udc7f\udd00-\udfff]", "?", name)
        name = os.fsencode(name).decode("cp1252", "replace")
    return re.sub(r"[\x00-\x1f\x7f]", "_", name)


def key_of(name: str) -> str:
    """Return what names are compared by: composed (NFC), without regard to case."""
    return _composed(readable(name)).casefold()


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _without_twins(images: list[Path], folder: Path) -> list[Path]:
    """`images`; CourseError when two of them would share an annotation."""
    first: dict[str, Path] = {}
    for image in images:
        if (other := first.setdefault(image.stem, image)) != image:
            raise CourseError(
                f"{folder}: {other.relative_to(folder)} and {image.relative_to(folder)} would "
                f"share the annotation {image.stem}.xml; rename one"
            )
    return images
