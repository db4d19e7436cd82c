"""What is wrong with images and annotations, what it does to training, and how to mend it."""

import csv
import dataclasses
import difflib
import hashlib
import io
import math
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.annotations.boxes import Annotation, Box, clipped, fault, swapped
from helpers.annotations.folders import images_in, pair
from helpers.annotations.voc import write_voc
from helpers.common.artifacts import artifact, fingerprint_of
from helpers.common.errors import CourseError
from helpers.common.images import ImageSize, _size, image_size, unreadable

COLUMNS = ("file", "object", "kind", "value", "effect", "fix")
ALL = "all files"

# Below this side length in pixels of the image as stored, a box is more likely a slip of the
# mouse than an object: the smallest of the 389 annotated by hand in speedtraps is 13 pixels wide.
TINY = 4
# Two boxes of one label that overlap more are one object drawn twice: people who draw the same
# object twice rarely reach more, two objects side by side never do.
TWICE = 0.9
# Quartiles of fewer boxes say little about what is usual.
_ENOUGH = 20
# Far out in Tukey's sense (Exploratory Data Analysis, 1977): three quartile distances beyond.
_FAR_OUT = 3
# Boxes drawn by hand scatter by a few percent even when all objects are alike.
_SCATTER = math.log(1.1)
# Differing bits of 64 up to which two pictures may be near-copies, and of 256 up to which a
# closer look agrees. Measured: copies at half the size and a low quality differ by up to 4 and
# 14, consecutive dashcam frames by 2 to 6 and 14 to 60, different roads by 4 to 6 and 58 to 108.
NEAR, _NEAR_DETAIL = 6, 50
# A class ten times rarer than another is learnt worse; lesson 03 says so.
IMBALANCE = 10

_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}

_EFFECTS = {
    "no annotation": "the image is not used; as background it would teach that nothing is there",
    "no image": "the boxes are not used",
    "unreadable image": "writing the records or training stops at it",
    "empty": "it teaches that nothing is there: wrong if an object was forgotten",
    "wrong size": "boxes divided by the wrong size land beside the object",
    "rotated by EXIF": "TensorFlow ignores the tag: boxes may lie across the object",
    "inverted": "Model Garden drops the box without a word: the object is learnt as background",
    "zero area": "the box cannot be learnt, and its loss may become NaN",
    "outside": "Faster R-CNN may stop, or learn edges that no image shows",
    "not a number": "the loss becomes NaN",
    "tiny": "after resizing nothing of the object is left to learn from",
    "small": "if it is a slip, a spot of background is learnt as the object",
    "large": "if it is a slip, background around the object is learnt as part of it",
    "odd shape": "if it is a slip, the box cuts the object or takes in its surroundings",
    "same box twice": "the object counts twice, in training and in the score",
    "label": "the box is lost or becomes a class of its own",
    "class left out": "to the detector these objects are background",
    "class imbalance": "the rare class is learnt worse, and its score rests on few objects",
    "file name": "tools that go by the name inside the XML pair it with another image",
    "same picture twice": "it counts twice, and on both sides of a split it flatters the score",
    "near copy": "it adds little, and on both sides of a split it flatters the score",
    "neighbour across the split": "the score is of a picture as good as trained on",
}
_LEFT = "left to a person"
UPRIGHT = "written upright, without the tag"


@dataclass(frozen=True)
class Finding:
    """One fault. `object` counts the objects of the file from 1; 0 means the file as a whole.

    A finding about the set, such as class imbalance, has the file "all files".
    """

    file: str
    object: int
    kind: str
    value: str
    effect: str
    write_fixed: str


@dataclass(frozen=True)
class Picture:
    """What was read of an image file.

    `size` is None when the file is no image, `sha256` the digest of its bytes, `phash` the
    perceptual hash (64 bits as 16 hex digits), `detail` a finer one (256 bits as 64 digits; ""
    until it is needed), `problem` why the image cannot be decoded ("" when it can).
    """

    size: ImageSize | None
    sha256: str
    phash: str = ""
    detail: str = ""
    problem: str = ""


def look(images_folder: Path | str, only: Container[str] | None = None) -> dict[str, Picture]:
    """Read the images of a folder: file name -> `Picture`, on all processor cores.

    Every file is read whole. A JPEG is decoded at an eighth of its size or so, in grey, for
    the perceptual hashes. Where `frames.csv` beside the folder has the hash already, an image
    is not decoded as long as its file ends as its format must. `only` limits it to these names.
    """
    paths = [path for path in images_in(images_folder) if only is None or path.name in only]
    hashes = {name: row["phash"] for name, row in _frames(images_folder).items()}
    read = _in_threads(lambda path: _look(path, hashes.get(path.name, "")), paths, "look")
    return {path.name: picture for path, picture in zip(paths, read, strict=True)}


def find_faults(
    images_folder: Path | str,
    annotations: Sequence[Annotation],
    labels: Sequence[str] | None = None,
    *,
    only: Container[str] | None = None,
    split: Mapping[str, str] | None = None,
    pictures: Mapping[str, Picture] | None = None,
) -> list[Finding]:
    """Compare the images of a folder with their annotations; return what is wrong.

    `labels` are the allowed labels; None takes those found and reports only the ones that
    look like another, more frequent label written differently. `only` limits the check to
    these image file names. `split` (image -> "train" or "val") adds the neighbours across the
    split. `pictures` is what `look` returned, which is called otherwise: see there what is read.

    Where `frames.csv` beside the folder names the clips, images of one clip may be near-copies
    of each other, and may be empty unless the frames before and after show objects. What is
    small, large or odd for a label is judged by the other boxes of that label, 20 at least.
    Boxes at the image's border, truncated, occluded or difficult ones may be as they are.
    """
    images_folder = Path(images_folder)
    if pictures is None:
        pictures = look(images_folder, only)
    names = [name for name in pictures if only is None or name in only]
    paired = pair(names, annotations)
    sizes = {name: _true_size(pictures[name], annotation) for name, annotation in paired.items()}
    frames = _frames(images_folder)
    meant = _meant_labels(annotations, labels)
    usual = _usual(paired, sizes, meant)
    empty = _empty(paired, frames)
    alike = _alike(images_folder, {name: pictures[name] for name in names}, paired, frames)

    used = {id(annotation) for annotation in paired.values()}
    findings = []
    for annotation in annotations:
        if id(annotation) not in used:
            how = "add the image to the folder, or delete the XML file"
            value = f"expects {annotation.image}"
            findings.append(_finding(_file(annotation), 0, "no image", value, how))
    for name in names:
        picture, annotation = pictures[name], paired.get(name)
        if picture.problem:
            how = "replace the file, or delete it with its XML"
            findings.append(_finding(name, 0, "unreadable image", picture.problem, how))
        if name in alike:
            findings.append(alike[name])
        if annotation is None:
            how = "annotate it; an XML file without objects says that it shows none"
            findings.append(_finding(name, 0, "no annotation", "no XML file", how))
            if picture.size and picture.size.orientation != 1:
                findings.append(_rotated(name, picture.size))
            continue
        findings += _check_file(name, picture.size, annotation)
        if name in empty:
            how = "look at the image: draw what was forgotten, or leave it as background"
            findings.append(_finding(_file(annotation), 0, "empty", empty[name], how))
        findings += _check_boxes(annotation, sizes[name], labels, meant, usual)
    counts = Counter(meant.get(b.label, b.label) for a in annotations for b in a.boxes)
    findings += imbalance(counts if labels is None else {x: counts[x] for x in labels})
    if split is not None:
        findings += neighbours(images_folder, pictures, split)
    return findings


def imbalance(counts: Mapping[str, int]) -> list[Finding]:
    """Findings for the labels that are at least ten times rarer than the most frequent one."""
    if not counts:
        return []
    most = max(counts, key=counts.get)
    found = []
    for label, count in counts.items():
        if 0 < count * IMBALANCE <= counts[most]:
            value = f"{label!r} {count} boxes, {most!r} {counts[most]}: {IMBALANCE} times or more"
            how = "add images of the rare class, or leave it out"
            found.append(_finding(ALL, 0, "class imbalance", value, how))
    return found


def leaks(
    images_folder: Path | str, pictures: Mapping[str, Picture], split: Mapping[str, str]
) -> list[tuple[str, str, int]]:
    """Near-copies of which one is in train and one in val, by perceptual hash.

    Returns for each such image of val: its name, that of the nearest image of train, and by
    how many of 64 bits they differ (0 to 6). Candidates are confirmed by a hash of 256 bits.
    """
    train, val = (
        [name for name, picture in pictures.items() if picture.phash and split.get(name) == side]
        for side in ("train", "val")
    )
    found = _nearest(_codes(val, pictures), _codes(train, pictures))
    return _confirmed(images_folder, pictures, [(val[i], train[j], n) for i, j, n in found])


def neighbours(
    images_folder: Path | str, pictures: Mapping[str, Picture], split: Mapping[str, str]
) -> list[Finding]:
    """Findings for the near-copies that `leaks` finds across a split."""
    how = "split by clip, or put both on one side"
    found = []
    for image, other, bits in leaks(images_folder, pictures, split):
        value = f"like {other} in train: {bits} of 64 bits differ (near: up to {NEAR})"
        found.append(_finding(image, 0, "neighbour across the split", value, how))
    return found


def unknown_label(file: str, number: int, label: str, labels: Sequence[str]) -> Finding:
    """Finding for a label that is not among `labels`, with the one that was probably meant."""
    value = f"{label!r} is not in the labels"
    if close := _closest_label(label, labels):
        return _finding(file, number, "label", value, f"rename it to {close!r}")
    return _finding(file, number, "class left out", value, "add it to the labels to learn it")


def overlap(box: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0 to 1; 1 for equal boxes, whatever their area."""
    if box.xyxy == other.xyxy:
        return 1.0
    width = min(box.xmax, other.xmax) - max(box.xmin, other.xmin)
    if not width > 0:
        return 0.0
    height = min(box.ymax, other.ymax) - max(box.ymin, other.ymin)
    if not height > 0:
        return 0.0
    union = box.area + other.area - width * height
    return width * height / union if union > 0 else 0.0


def twin(box: Box, others: Sequence[Box]) -> int:
    """Number, from 1, of the first of `others` that is `box` once more; 0 when none is.

    That is a box of the same label with the same edges, or with an IoU above 0.9 when neither
    is difficult: of two cars one behind the other, annotators mark the hidden one difficult.
    """
    for number, other in enumerate(others, 1):
        share = overlap(box, other) if box.label == other.label else 0.0
        if share == 1 or (share > TWICE and not (box.difficult or other.difficult)):
            return number
    return 0


def turning(size: ImageSize, annotation: Annotation | None) -> str:
    """What `write_upright` does to an image of this size: turn it, or only remove the tag."""
    upright = annotation is None or size.as_annotated(annotation) == size.upright
    return UPRIGHT if upright else "tag removed"


def write_upright(source: Path, target: Path, annotation: Annotation | None) -> str:
    """Write an image that has an EXIF orientation without the tag; return what was done.

    It is turned upright, unless the annotation's size is that of the image as stored: then
    the boxes were drawn on that. CourseError when it is no image.
    """
    from PIL import Image, ImageOps

    size = image_size(source)
    if size is None:
        raise CourseError(f"{source}: no image; replace the file, or delete it with its XML")
    done = turning(size, annotation)
    upright = done == UPRIGHT
    with Image.open(source) as image:
        pixels = ImageOps.exif_transpose(image) if upright else image.copy()
    pixels.info.pop("exif", None)
    pixels.convert("RGB").save(target, quality=95, exif=b"")
    return done


def write_fixed(
    images_folder: Path | str,
    annotations: Sequence[Annotation],
    findings: Sequence[Finding],
    folder: Path | str,
    *,
    labels: Sequence[str] | None = None,
) -> list[dict]:
    """Write a copy of images and annotations into `folder` with the mechanical fixes applied.

    Boxes are swapped, clipped, renamed or deleted, sizes and names corrected, images turned
    upright, exact copies with the same boxes and unreadable images left out. Only what is in
    `findings` is mended, so take out of them what you do not want; `labels` as in `check`. A
    size is corrected only if all boxes fit into the true one.

    `folder` gets images/, annotations/ (VOC XML), fixes.csv, and groups.csv where the clips are
    known. Returns the rows of fixes.csv: each finding with an `action`; what the machine must
    not decide is "left to a person". The originals stay as they are. CourseError, with nothing
    written, for a box that cannot be written and is in no finding.
    """
    images_folder, found = Path(images_folder), list(findings)
    contents = fingerprint_of(
        [dataclasses.asdict(annotation) for annotation in annotations],
        [dataclasses.asdict(finding) for finding in found],
        list(labels or ()),
    )

    @artifact("write_fixed")
    def fixed(images_folder: Path, folder: Path, *, contents: str) -> dict:
        return _write_fixed(images_folder, annotations, found, folder, labels)

    target = fixed(images_folder, Path(folder), contents=contents)
    with (target / "fixes.csv").open(newline="", encoding="utf-8") as file:
        return [{**row, "object": int(row["object"])} for row in csv.DictReader(file)]


def box_statistics(
    annotations: Iterable[Annotation], input_size: tuple[int, int]
) -> list[dict[str, object]]:
    """One row for each box, in the pixels of the network's input.

    `input_size` is its (width, height); images are shrunk or enlarged to fit into it and keep
    their aspect. Columns: image, label, difficult; width, height and side (root of the area)
    in pixels there; aspect (width / height); x and y, the centre as part of the image, 0 to 1.
    Boxes that are inverted, empty or no numbers are left out. Feed it to pandas or to
    `plots.statistics`.
    """
    rows = []
    for annotation in annotations:
        if min(annotation.width, annotation.height) < 1:
            continue
        scale = min(input_size[0] / annotation.width, input_size[1] / annotation.height)
        for box in annotation.boxes:
            width, height = (box.xmax - box.xmin) * scale, (box.ymax - box.ymin) * scale
            if not (math.isfinite(box.area) and width > 0 and height > 0):
                continue
            rows.append(
                {
                    "image": annotation.image,
                    "label": box.label,
                    "difficult": box.difficult,
                    "width": width,
                    "height": height,
                    "side": math.sqrt(width * height),
                    "aspect": width / height,
                    "x": (box.xmin + box.xmax) / 2 / annotation.width,
                    "y": (box.ymin + box.ymax) / 2 / annotation.height,
                }
            )
    return rows


def share_under(
    rows: Iterable[Mapping], limits: Sequence[float] = (8, 16, 32)
) -> list[dict[str, object]]:
    """One row for each label of `statistics`, most frequent first.

    Columns: label, images (with it), boxes, per_image (boxes in such an image, mean), side (the
    median, pixels of the network's input), and for each limit the share, 0 to 1, of boxes whose
    side is below it: under_8, under_16, under_32.
    """
    by_label = defaultdict(list)
    for row in rows:
        by_label[row["label"]].append(row)
    found = []
    for label, part in sorted(by_label.items(), key=lambda item: -len(item[1])):
        sides = sorted(row["side"] for row in part)
        images = len({row["image"] for row in part})
        found.append(
            {
                "label": label,
                "images": images,
                "boxes": len(part),
                "per_image": len(part) / images,
                "side": (sides[(len(sides) - 1) // 2] + sides[len(sides) // 2]) / 2,
                **{f"under_{n:g}": sum(s < n for s in sides) / len(sides) for n in limits},
            }
        )
    return found


def _look(path: Path, phash: str) -> Picture:
    import imagehash
    from PIL import Image

    size, digest = None, ""
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        with Image.open(io.BytesIO(data)) as image:
            size = _size(image)
            end = _ENDS.get(image.format)
            if not phash or end is None or end not in data[-64:]:
                small = _small(image)
                phash = str(imagehash.phash(small))
                return Picture(size, digest, phash, str(imagehash.phash(small, hash_size=16)))
    except unreadable() as error:
        if size is None:
            problem = f"{path.stat().st_size} bytes that are no image, or one cut short"
            return Picture(None, digest, problem=problem)
        return Picture(size, digest, problem=f"broken or cut short: {error}")
    return Picture(size, digest, phash)


def _small(image):
    """The image in grey, 128 x 128, decoded at a fraction of its size where the format can."""
    from PIL import Image, ImageOps

    image.draft("L", (128, 128))
    # Upright, as OpenCV reads it for the hashes in frames.csv.
    small = ImageOps.exif_transpose(image)
    return small.convert("L").resize((128, 128), Image.Resampling.BOX)


def _frames(images_folder: Path | str) -> dict[str, dict[str, str]]:
    """Clip and phash of each image by frames.csv beside the folder, in its order; {} without."""
    path = Path(images_folder).parent / "frames.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {
            row["image"]: {"clip": row["clip"], "phash": _hash(row.get("phash"))}
            for row in csv.DictReader(file)
            if row.get("image") and row.get("clip")
        }


def _hash(text: str | None) -> str:
    return text if re.fullmatch("[0-9a-f]{16}", text or "") else ""


def _file(annotation: Annotation) -> str:
    return annotation.source or annotation.image


def _true_size(picture: Picture, annotation: Annotation) -> tuple[int, int]:
    if picture.size is None:
        return annotation.width, annotation.height
    return picture.size.as_annotated(annotation)


def _rotated(name: str, size: ImageSize) -> Finding:
    how = "write the image upright, without the tag, and look at its boxes"
    return _finding(name, 0, "rotated by EXIF", f"orientation {size.orientation}", how)


def _check_file(name: str, size: ImageSize | None, annotation: Annotation) -> list[Finding]:
    file, found = _file(annotation), []
    if annotation.image != name:
        value, how = f"says {annotation.image}", f"write {name} into <filename>"
        found.append(_finding(file, 0, "file name", value, how))
    if size is None:
        return found
    stated = (annotation.width, annotation.height)
    if size.orientation != 1:
        found.append(_rotated(name, size))
    if stated not in ((size.width, size.height), size.upright):
        value = f"XML says {stated[0]}x{stated[1]}, the image is {size.width}x{size.height}"
        how = "correct <size>, and look whether the boxes fit"
        found.append(_finding(file, 0, "wrong size", value, how))
    return found


def _check_boxes(
    annotation: Annotation,
    size: tuple[int, int],
    labels: Sequence[str] | None,
    meant: Mapping[str, str],
    usual: Mapping[tuple[str, str], tuple[float, ...]],
) -> list[Finding]:
    file, found = _file(annotation), []
    # Two spellings of one label are one label, when boxes are compared.
    boxes = [dataclasses.replace(b, label=meant.get(b.label, b.label)) for b in annotation.boxes]
    for number, box in enumerate(annotation.boxes, 1):
        if wrong := fault(box, *size):
            found.append(_finding(file, number, *wrong))
        elif not box.difficult and min(box.xmax - box.xmin, box.ymax - box.ymin) < TINY:
            value = f"{box.xmax - box.xmin:g} x {box.ymax - box.ymin:g} pixels, under {TINY}"
            how = "delete it, or draw it again around the object"
            found.append(_finding(file, number, "tiny", value, how))
        else:
            found += _unusual(file, number, boxes[number - 1], size, usual)
        if other := twin(boxes[number - 1], boxes[: number - 1]):
            share = overlap(box, boxes[other - 1])
            more = "" if share == 1 else f" but for the drawing: IoU {share:.2f}, over {TWICE}"
            value = f"the same as object {other}{more}"
            found.append(_finding(file, number, "same box twice", value, "delete one"))
        if labels is not None and box.label not in labels:
            found.append(unknown_label(file, number, box.label, labels))
        elif labels is None and box.label in meant:
            value = f"{box.label!r} beside {meant[box.label]!r}"
            how = f"rename it to {meant[box.label]!r}, if that is meant"
            found.append(_finding(file, number, "label", value, how))
    return found


def _measures(box: Box, size: tuple[int, int]) -> dict[str, float]:
    return {
        # As part of the image, since images differ in size.
        "size": math.sqrt(box.area / (size[0] * size[1])),
        "aspect": (box.xmax - box.xmin) / (box.ymax - box.ymin),
    }


def _usual(
    paired: Mapping[str, Annotation],
    sizes: Mapping[str, tuple[int, int]],
    meant: Mapping[str, str],
) -> dict[tuple[str, str], tuple[float, ...]]:
    """(label, measure) -> lower fence, quartiles, upper fence, for labels with enough boxes."""
    import numpy as np

    values = defaultdict(list)
    for name, annotation in paired.items():
        for box in annotation.boxes:
            if not box.difficult and fault(box, *sizes[name]) is None:
                for measure, value in _measures(box, sizes[name]).items():
                    values[meant.get(box.label, box.label), measure].append(math.log(value))
    found = {}
    for key, logs in values.items():
        if len(logs) >= _ENOUGH:
            low, high = (float(q) for q in np.percentile(logs, (25, 75)))
            reach = _FAR_OUT * max(high - low, _SCATTER)
            found[key] = tuple(math.exp(v) for v in (low - reach, low, high, high + reach))
    return found


def _unusual(
    file: str,
    number: int,
    box: Box,
    size: tuple[int, int],
    usual: Mapping[tuple[str, str], tuple[float, ...]],
) -> list[Finding]:
    at_border = min(box.xmin, box.ymin) < 1 or box.xmax > size[0] - 1 or box.ymax > size[1] - 1
    cut = at_border or box.truncated or box.occluded or box.difficult
    how, found = "look at it: draw it again, delete it, or leave it", []
    for measure, value in _measures(box, size).items():
        fences = usual.get((box.label, measure))
        if fences is None or fences[0] <= value <= fences[3]:
            continue
        if cut and (measure == "aspect" or value < fences[0]):
            continue
        if measure == "aspect":
            kind, shown, unit = "odd shape", [value, *fences[1:3]], "width / height"
        else:
            kind = "small" if value < fences[0] else "large"
            root = math.sqrt(size[0] * size[1])
            shown, unit = [root * v for v in (value, *fences[1:3])], "root of its area, pixels"
        one, low, high = (f"{v:.3g}" for v in shown)
        text = f"{unit}: {one}; half of all {box.label!r} have {low} to {high}"
        found.append(_finding(file, number, kind, text, how))
    return found


def _empty(
    paired: Mapping[str, Annotation], frames: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Images whose annotation has no object although one may be expected -> why."""
    order = [name for name in frames if name in paired] if frames else []
    clips = Counter(frames[name]["clip"] for name in order)
    found = {}
    for i, name in enumerate(order):
        clip = frames[name]["clip"]
        if paired[name].boxes or clips[clip] == 1 or not 0 < i < len(order) - 1:
            continue
        around = [n for n in (order[i - 1], order[i + 1]) if frames[n]["clip"] == clip]
        if len(around) == 2 and all(paired[n].boxes for n in around):
            found[name] = f"no object, but {around[0]} and {around[1]} have some"
    for name, annotation in paired.items():
        alone = name not in frames or clips[frames[name]["clip"]] == 1
        if alone and not annotation.boxes:
            found[name] = "no object"
    return found


def _alike(
    images_folder: Path,
    pictures: Mapping[str, Picture],
    paired: Mapping[str, Annotation],
    frames: Mapping[str, Mapping[str, str]],
) -> dict[str, Finding]:
    """A finding for each image that repeats an earlier one, exactly or nearly."""
    import numpy as np

    def boxes(name: str) -> tuple[Box, ...] | None:
        return paired[name].boxes if name in paired else None

    first: dict[str, str] = {}
    found = {}
    for name, picture in pictures.items():
        if picture.problem:
            continue
        if (other := first.setdefault(picture.sha256, name)) != name:
            same = boxes(name) in (boxes(other), None)
            value = f"the same bytes as {other}{'' if same else ', but with other boxes'}"
            how = "delete one" if same else "look which boxes are right, and delete the other"
            found[name] = _finding(name, 0, "same picture twice", value, how)
    names = [name for name in first.values() if pictures[name].phash]
    # An image of no known clip is a clip of its own.
    known: dict[str, int] = {}
    keys = (frames[n]["clip"] if n in frames else f"/{n}" for n in names)
    clip = np.array([known.setdefault(key, len(known)) for key in keys])
    place = np.arange(len(names))
    codes = _codes(names, pictures)

    def barred(rows: slice) -> np.ndarray:
        return (clip[rows, None] == clip[None]) | (place[rows, None] <= place[None])

    pairs = [(names[i], names[j], bits) for i, j, bits in _nearest(codes, codes, barred)]
    for name, other, bits in _confirmed(images_folder, pictures, pairs):
        value = f"like {other}: {bits} of 64 bits differ (near: up to {NEAR})"
        how = "keep one, or see that a split puts both on one side"
        found[name] = _finding(name, 0, "near copy", value, how)
    return found


def _codes(names: Iterable[str], pictures: Mapping[str, Picture]):
    import numpy as np

    return np.array([int(pictures[name].phash, 16) for name in names], np.uint64)


def _nearest(codes, others, barred: Callable | None = None) -> list[tuple[int, int, int]]:
    """(index, index of the nearest other, differing bits) where that is near.

    `barred` gives for a slice of `codes` which of the others do not count. All pairs, but in
    blocks of numpy: 10 000 take a second.
    """
    import numpy as np

    found = []
    if not len(others):
        return found
    for start in range(0, len(codes), 256):
        rows = slice(start, start + 256)
        bits = np.bitwise_count(codes[rows, None] ^ others[None])
        if barred:
            bits[barred(rows)] = 255
        best = bits.argmin(axis=1)
        least = bits[np.arange(len(best)), best]
        near = np.flatnonzero(least <= NEAR)
        found += [(start + int(i), int(best[i]), int(least[i])) for i in near]
    return found


def _confirmed(
    images_folder: Path | str,
    pictures: Mapping[str, Picture],
    pairs: Sequence[tuple[str, str, int]],
) -> list[tuple[str, str, int]]:
    """The pairs that are near-copies by the finer hash too; images without one are decoded."""
    details = {name: pictures[name].detail for pair in pairs for name in pair[:2]}
    missing = [name for name, detail in details.items() if not detail]

    paths = [Path(images_folder) / name for name in missing]
    closer = _in_threads(lambda path: _look(path, "").detail, paths, "look closer")
    details.update(zip(missing, closer, strict=True))

    def differing(a: str, b: str) -> int:
        # An image that cannot be decoded is reported as such, and like nothing.
        return (int(a, 16) ^ int(b, 16)).bit_count() if a and b else 256

    return [p for p in pairs if differing(details[p[0]], details[p[1]]) <= _NEAR_DETAIL]


def _in_threads(function: Callable, items: Sequence, what: str) -> list:
    """Results of `function`, in order. Decoding leaves the interpreter free: threads do."""
    from concurrent.futures import ThreadPoolExecutor

    import imagehash  # noqa: F401  (before the threads, which would all wait for it)
    from tqdm.auto import tqdm

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            results = pool.map(function, items)
            return list(tqdm(results, total=len(items), desc=what, unit="image", delay=2))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for the rest
            raise


def _finding(file: str, number: int, kind: str, value: str, how: str) -> Finding:
    return Finding(file, number, kind, value, _EFFECTS[kind], how)


def _closest_label(label: str, labels: Iterable[str]) -> str | None:
    simple = {name.strip().casefold(): name for name in labels}
    close = difflib.get_close_matches(label.strip().casefold(), simple, n=1, cutoff=0.7)
    return simple[close[0]] if close else None


def _meant_labels(
    annotations: Iterable[Annotation], labels: Sequence[str] | None
) -> dict[str, str]:
    """Each label that is probably a slip -> the one that was meant."""
    counts = Counter(box.label for annotation in annotations for box in annotation.boxes)
    if labels is None:
        found = {label: _meant(label, counts) for label in counts}
    else:
        found = {label: _closest_label(label, labels) for label in counts if label not in labels}
    return {label: meant for label, meant in found.items() if meant}


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


def _write_fixed(
    images_folder: Path,
    annotations: Sequence[Annotation],
    findings: Sequence[Finding],
    folder: Path,
    labels: Sequence[str] | None,
) -> dict:
    from tqdm.auto import tqdm

    (folder / "images").mkdir()
    (folder / "annotations").mkdir()
    paths = images_in(images_folder)
    paired = pair([path.name for path in paths], annotations)
    meant = _meant_labels(annotations, labels)
    actions = [_LEFT] * len(findings)
    by_file = defaultdict(list)
    for index, finding in enumerate(findings):
        by_file[finding.file].append((index, finding))
        if finding.kind == "no image":
            actions[index] = "annotation left out"
    first: dict[str, str] = {}
    kept = []
    for path in tqdm(paths, desc="fix", unit="image", delay=2):
        annotation = paired.get(path.name)
        files = {path.name, _file(annotation)} if annotation else {path.name}
        own = [item for file in sorted(files) for item in by_file[file]]
        kinds = {finding.kind: index for index, finding in own}
        if "unreadable image" in kinds:
            actions[kinds["unreadable image"]] = "left out, with its annotation"
            continue
        other = first.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path.name)
        if "same picture twice" in kinds and other != path.name:
            before = paired[other].boxes if other in paired else None
            if annotation is None or annotation.boxes == before:
                actions[kinds["same picture twice"]] = f"left out, {other} is kept"
                continue
        target = folder / "images" / path.name
        if "rotated by EXIF" in kinds:
            actions[kinds["rotated by EXIF"]] = write_upright(path, target, annotation)
        else:
            shutil.copyfile(path, target)
        kept.append(path.name)
        if annotation is not None:
            mended = _mend(path, annotation, own, meant, actions)
            write_voc(mended, folder / "annotations" / f"{path.stem}.xml")
    rows = [
        {**dataclasses.asdict(finding), "action": action}
        for finding, action in zip(findings, actions, strict=True)
    ]
    _write_csv(folder / "fixes.csv", (*COLUMNS, "action"), rows)
    if frames := _frames(images_folder):
        groups = [{"image": n, "clip": frames[n]["clip"]} for n in kept if n in frames]
        _write_csv(folder / "groups.csv", ("image", "clip"), groups)
    return {"images": len(kept), "fixed": sum(not action.startswith(_LEFT) for action in actions)}


def _mend(
    path: Path,
    annotation: Annotation,
    own: Sequence[tuple[int, Finding]],
    meant: Mapping[str, str],
    actions: list[str],
) -> Annotation:
    """The annotation with its findings mended; what is done to each is put into `actions`."""
    wrong = {(finding.kind, finding.object): index for index, finding in own}
    name, size = annotation.image, (annotation.width, annotation.height)
    found = image_size(path)
    true = found.as_annotated(annotation) if found else size
    if ("file name", 0) in wrong:
        name = path.name
        actions[wrong["file name", 0]] = f"name set to {name}"
    if ("wrong size", 0) in wrong:
        # A box that is at fault in either size says nothing about which is right.
        doubted = [b for b in annotation.boxes if fault(b, *true) and not fault(b, *size)]
        action = f"{_LEFT}: not all boxes fit into {true[0]}x{true[1]}"
        if not doubted:
            size, action = true, f"size set to {true[0]}x{true[1]}: the boxes fit"
        actions[wrong["wrong size", 0]] = action
    boxes = []
    for number, box in enumerate(annotation.boxes, 1):
        if ("label", number) in wrong and box.label in meant:
            actions[wrong["label", number]] = f"renamed to {meant[box.label]!r}"
            box = dataclasses.replace(box, label=meant[box.label])
        gone = [kind for kind in ("zero area", "not a number") if (kind, number) in wrong]
        for kind in gone:
            actions[wrong[kind, number]] = "deleted"
        if ("same box twice", number) in wrong:
            actions[wrong["same box twice", number]] = "deleted"
            gone.append("same box twice")
        if gone:
            continue
        turned = wrong.get(("inverted", number))
        if turned is not None:
            box = swapped(box)
            actions[turned] = "edges swapped"
        beyond = wrong.get(("outside", number))
        # A box may be both, and only its first fault is a finding.
        index = turned if beyond is None else beyond
        if index is not None and (still := fault(box, *size)):
            inside = clipped(box, *size) if still[0] == "outside" else box
            if fault(inside, *size) is not None:
                actions[index] = "deleted: nothing of it is in the image"
                continue
            box = inside
            actions[index] = "edges swapped, clipped" if beyond is None else "clipped to the image"
        boxes.append(box)
    return Annotation(name, *size, tuple(boxes), f"{path.stem}.xml")


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
