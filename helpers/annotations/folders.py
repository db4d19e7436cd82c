"""Folders of somebody: which files there are, in which order, and how names are compared."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from helpers.common.errors import CourseError, refusals

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SPLITS = ("train", "val", "test")


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
    for root, folders, files in os.walk(folder, onerror=_refused, followlinks=True):
        here = os.stat(root)
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files) + [name for name in folders if is_image(Path(name))]:
            if not name.startswith("."):
                yield Path(root, name)


def _refused(error: OSError) -> None:
    """A folder that may not be opened is said: its pictures would be missed silently."""
    with refusals(str(error.filename)):
        raise error


def is_image(path: Path) -> bool:
    """Whether a file is an image by its suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def natural(paths: Iterable[Path]) -> list[Path]:
    """Sort paths by name as people count: frame2.jpg before frame10.jpg."""

    def key(path: Path):
        parts = re.split(r"([0-9]+)", path.name)
        return [(int(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)]

    return sorted(paths, key=key)


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
    return composed(readable(name)).casefold()


def composed(name: str) -> str:
    """Return a name in Unicode's composed form (NFC), as which "ü" is one character."""
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
