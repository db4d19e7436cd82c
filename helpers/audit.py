"""What is wrong with images and annotations, what it does to training, and how to mend it."""

import difflib
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.annotations import Annotation, Box, fault, images_in, pair

COLUMNS = ("file", "object", "kind", "value", "effect", "fix")

# Below this side length in pixels of the image as stored, a box is more likely a slip of the
# mouse than an object: the smallest of the 389 annotated by hand in speedtraps is 13 pixels wide.
TINY = 4

_EFFECTS = {
    "no annotation": "the image is not used; as background it would teach that nothing is there",
    "no image": "the boxes are not used",
    "unreadable image": "writing the records or training stops at it",
    "wrong size": "boxes divided by the wrong size land beside the object",
    "rotated by EXIF": "TensorFlow ignores the tag: boxes may lie across the object",
    "inverted": "Model Garden drops the box without a word: the object is learnt as background",
    "zero area": "the box cannot be learnt, and its loss may become NaN",
    "outside": "Faster R-CNN may stop, or learn edges that no image shows",
    "not a number": "the loss becomes NaN",
    "tiny": "after resizing nothing of the object is left to learn from",
    "same box twice": "the object counts twice, in training and in the score",
    "label": "the box is lost or becomes a class of its own",
    "class left out": "to the detector these objects are background",
    "file name": "tools that go by the name inside the XML pair it with another image",
}


@dataclass(frozen=True)
class Finding:
    """One fault. `object` counts the objects of the file from 1; 0 means the file as a whole."""

    file: str
    object: int
    kind: str
    value: str
    effect: str
    fix: str


@dataclass(frozen=True)
class ImageSize:
    """Width and height in pixels as stored, and the EXIF orientation (1 = upright)."""

    width: int
    height: int
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once the EXIF orientation is applied."""
        turned = self.orientation >= 5
        return (self.height, self.width) if turned else (self.width, self.height)

    def as_annotated(self, annotation: Annotation) -> tuple[int, int]:
        """The size that the boxes refer to: as stored if the annotation says just that."""
        stored = (self.width, self.height)
        return stored if (annotation.width, annotation.height) == stored else self.upright


def image_size(path: Path | str) -> ImageSize | None:
    """Size of an image from its header, without decoding it; None when it cannot be read."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(0x0112, 1)
            return ImageSize(*image.size, orientation if orientation in range(1, 9) else 1)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def check(
    images_folder: Path | str,
    annotations: Sequence[Annotation],
    labels: Sequence[str] | None = None,
    *,
    only: Container[str] | None = None,
) -> list[Finding]:
    """Compare the images of a folder with their annotations; return what is wrong.

    `labels` are the allowed labels; None takes those found and reports only the ones that
    look like another, more frequent label written differently. `only` limits the check to
    these image file names. Reads the header of each image, not its pixels.
    """
    images_folder = Path(images_folder)
    everything = images_in(images_folder)
    images = [path for path in everything if only is None or path.name in only]
    paired = pair([path.name for path in images], annotations)
    used = {id(annotation) for annotation in paired.values()}
    findings = []
    for annotation in annotations:
        if id(annotation) not in used:
            file = annotation.source or annotation.image
            fix = "add the image to the folder, or delete the XML file"
            findings.append(_finding(file, 0, "no image", f"expects {annotation.image}", fix))
    counts = Counter(box.label for annotation in annotations for box in annotation.boxes)
    for path in images:
        annotation, size = paired.get(path.name), image_size(path)
        if size is None:
            value = f"{path.stat().st_size} bytes that are no image"
            fix = "replace the file, or delete it with its XML"
            findings.append(_finding(path.name, 0, "unreadable image", value, fix))
        if annotation is None:
            fix = "annotate it; an XML file without objects says that it shows none"
            findings.append(_finding(path.name, 0, "no annotation", "no XML file", fix))
            continue
        findings += _check_file(path, size, annotation)
        stated = (annotation.width, annotation.height)
        width, height = size.as_annotated(annotation) if size else stated
        file = annotation.source or annotation.image
        for number, box in enumerate(annotation.boxes, 1):
            if wrong := fault(box, width, height):
                findings.append(_finding(file, number, *wrong))
            elif not box.difficult and min(box.xmax - box.xmin, box.ymax - box.ymin) < TINY:
                value = f"{box.xmax - box.xmin:g} x {box.ymax - box.ymin:g} pixels"
                fix = "delete it, or draw it again around the object"
                findings.append(_finding(file, number, "tiny", value, fix))
            twin = _twin(box, annotation.boxes[: number - 1])
            if twin:
                value = f"the same as object {twin}"
                findings.append(_finding(file, number, "same box twice", value, "delete one"))
            if labels is not None and box.label not in labels:
                findings.append(unknown_label(file, number, box.label, labels))
            elif labels is None and (meant := _meant(box.label, counts)):
                value = f"{box.label!r} beside {meant!r}"
                fix = f"rename it to {meant!r}, if that is meant"
                findings.append(_finding(file, number, "label", value, fix))
    return findings


def unknown_label(file: str, number: int, label: str, labels: Sequence[str]) -> Finding:
    """Finding for a label that is not among `labels`, with the one that was probably meant."""
    simple = {name.strip().casefold(): name for name in labels}
    close = difflib.get_close_matches(label.strip().casefold(), simple, n=1, cutoff=0.7)
    value = f"{label!r} is not in the labels"
    if close:
        return _finding(file, number, "label", value, f"rename it to {simple[close[0]]!r}")
    return _finding(file, number, "class left out", value, "add it to the labels to learn it")


def _check_file(path: Path, size: ImageSize | None, annotation: Annotation) -> list[Finding]:
    file = annotation.source or annotation.image
    found = []
    if annotation.image != path.name:
        fix = f"write {path.name} into <filename>"
        found.append(_finding(file, 0, "file name", f"says {annotation.image}", fix))
    if size is None:
        return found
    stated = (annotation.width, annotation.height)
    if size.orientation != 1:
        fix = "write the image upright, without the tag, and look at its boxes"
        value = f"orientation {size.orientation}"
        found.append(_finding(path.name, 0, "rotated by EXIF", value, fix))
    if stated not in ((size.width, size.height), size.upright):
        value = f"XML says {stated[0]}x{stated[1]}, the image is {size.width}x{size.height}"
        fix = "correct <size>, and look whether the boxes fit"
        found.append(_finding(file, 0, "wrong size", value, fix))
    return found


def _finding(file: str, number: int, kind: str, value: str, fix: str) -> Finding:
    return Finding(file, number, kind, value, _EFFECTS[kind], fix)


def _twin(box: Box, earlier: Sequence[Box]) -> int:
    for number, other in enumerate(earlier, 1):
        if box.label == other.label and box.xyxy == other.xyxy:
            return number
    return 0


def _meant(label: str, counts: Counter) -> str | None:
    """The more frequent label that `label` is probably a slip of: case, blanks, one letter."""
    simple = label.strip().casefold()
    for other, count in counts.most_common():
        if other == label:
            return None if label == label.strip() else label.strip()
        same = other.strip().casefold() == simple
        # A rare label close to one ten times as frequent is a slip; two frequent ones are two.
        close = difflib.get_close_matches(simple, [other.strip().casefold()], cutoff=0.85)
        slip = close and count >= 10 * counts[label]
        if same or slip:
            return other.strip()
    return None
