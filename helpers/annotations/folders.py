"""Folders of images and annotations: which files there are, and which belong together."""

import re
from collections.abc import Sequence
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.voc import read_voc
from helpers.common.errors import CourseError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def read_folder(folder: Path | str) -> list[Annotation]:
    """Read every XML file of a folder, in natural order of names (frame2 before frame10)."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"{folder}: no such folder; give the folder that holds the XML files")
    return [read_voc(path) for path in natural(folder.glob("*.xml"))]


def merged(annotations: Sequence[Annotation], drawn: Path | str | None) -> list[Annotation]:
    """`annotations`, with those of the folder `drawn` in place of others of the same frame.

    Two belong to the same frame when their XML files share a stem. What only `drawn` has comes
    last. Without a folder, `annotations` come back as they are.
    """
    if drawn is None or not Path(drawn).is_dir():
        return list(annotations)
    by_stem = {Path(annotation.source).stem: annotation for annotation in read_folder(drawn)}
    found = [by_stem.pop(Path(a.source or a.image).stem, a) for a in annotations]
    return [*found, *by_stem.values()]


def images_in(folder: Path | str) -> list[Path]:
    """The image files of a folder by suffix, in natural order.

    CourseError when there is none, or when two share a stem and so the annotation.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"{folder}: no such folder; give the folder that holds the images")
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    if not found:
        kinds = ", ".join(IMAGE_SUFFIXES)
        raise CourseError(f"{folder}: no images in it; expected files ending in {kinds}")
    stems: dict[str, str] = {}
    for path in natural(found):
        if stems.setdefault(path.stem, path.name) != path.name:
            raise CourseError(
                f"{folder}: {stems[path.stem]} and {path.name} would share the annotation "
                f"{path.stem}.xml; rename one"
            )
    return natural(found)


def natural(paths) -> list[Path]:
    """Sort paths as people count: frame2.jpg before frame10.jpg."""

    def key(path: Path):
        parts = re.split(r"([0-9]+)", path.name)
        return [(int(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)]

    return sorted(paths, key=key)


def pair(images: Sequence[str], annotations: Sequence[Annotation]) -> dict[str, Annotation]:
    """Annotation of each image file name that has one.

    The XML file with the image's stem wins over the <filename> inside: files get renamed,
    and tools write the name once.
    """
    by_stem = {Path(a.source).stem: a for a in annotations if a.source}
    by_name = {a.image: a for a in annotations}
    found = {name: by_stem.get(Path(name).stem) or by_name.get(name) for name in images}
    return {name: annotation for name, annotation in found.items() if annotation is not None}


SPLITS = ("train", "val")
