"""Folders of images and annotations: which files there are, and which belong together."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.voc import read_voc
from helpers.common.errors import CourseError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SPLITS = ("train", "val")
# Folders of segmentation masks, next to the images of PASCAL challenges.
_MASKS = ("SegmentationClass", "SegmentationObject")


def read_folder(folder: Path | str) -> list[Annotation]:
    """Read the XML files of a folder, in natural order (frame2 before frame10), but hidden ones."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"{folder}: no such folder; give the folder that holds the XML files")
    # macOS leaves a ._frame2.xml next to frame2.xml on disks of other systems.
    return [read_voc(path) for path in natural(folder.glob("[!.]*.xml"))]


def merged(annotations: Sequence[Annotation], drawn: Path | str | None) -> list[Annotation]:
    """Return `annotations`, each replaced by that of the same frame in the folder `drawn`, if any.

    Two belong to the same frame when their XML files share a stem. Those that only `drawn` has
    come last. Without a folder, `annotations` come back as they are.
    """
    if drawn is None or not Path(drawn).is_dir():
        return list(annotations)
    by_stem = {Path(annotation.source).stem: annotation for annotation in read_folder(drawn)}
    found = [by_stem.pop(Path(a.source or a.image).stem, a) for a in annotations]
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


def find_images(folder: Path | str) -> list[Path]:
    """List the images of a dataset's folder, in natural order.

    Those in images/ or JPEGImages/, else those in the folder itself, else those of all folders
    below. Raises CourseError when there are none, or when two share a name up to the suffix.
    """
    folder = Path(folder)
    for place in (folder / "images", folder / "JPEGImages", folder):
        if place.is_dir() and any(map(is_image, place.iterdir())):
            return images_in(place)
    root = folder / "images" if (folder / "images").is_dir() else folder
    below = files_below(root) if root.is_dir() else []
    found = [path for path in below if is_image(path) and path.parent.name not in _MASKS]
    # `images_in` says what is wrong with a folder without images.
    return _without_twins(found, folder) if found else images_in(root)


def files_below(folder: Path) -> list[Path]:
    """List the files of a folder, all levels deep, without hidden files and folders."""
    return natural(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


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
    and tools write the name once.
    """
    by_stem = {Path(a.source).stem: a for a in annotations if a.source}
    by_name = {a.image: a for a in annotations}
    found = {name: by_stem.get(Path(name).stem) or by_name.get(name) for name in images}
    return {name: annotation for name, annotation in found.items() if annotation is not None}


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
