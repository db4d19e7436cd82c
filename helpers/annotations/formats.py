"""Annotation files of other tools, recognised, read and written.

A box is what `voc` says: edges in pixels, origin 0. What each format can hold:

| format | a box | rounding when written | images without objects | flags |
| --- | --- | --- | --- | --- |
| Pascal VOC XML | four edges | 0.01 pixel | yes | all |
| VoTT CSV | four edges | none | no | none |
| TFOD CSV | four edges | none | no | none |
| LISA CSV | two corners | none | no | occluded |
| COCO json | corner and size | none | yes | all |
| YOLO txt | centre and size / image | 1e-10 of the image | yes: an empty file | none |

VoTT, LISA and YOLO do not give the size of an image: it is read from the image's header.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from helpers.annotations import coco, tables, yolo
from helpers.annotations.boxes import Annotation, check_boxes
from helpers.annotations.folders import files_below, is_image
from helpers.annotations.reading import FORMATS, Pictures
from helpers.annotations.voc import read_voc, write_voc
from helpers.common.errors import CourseError

_YOLO_LINE = re.compile(r"\s*\d+(\s+[-+.\de]+){4}\s*$")
_COCO_LIST = re.compile(r'"(images|annotations|categories)"\s*:\s*\[')


def detect_format(path: Path | str) -> tuple[str | None, list[Path]]:
    """Return the format of the annotations in a folder, all levels deep, and their files.

    `path` may be a single file. The format is a key of `FORMATS`, or None where there are no
    annotations. Hidden files are ignored, and so is a TFOD CSV next to the XML that it was made
    from. Raises CourseError when there are two formats.
    """
    path = Path(path)
    if not path.exists():
        raise CourseError(f"{path}: no such folder or file; give the one with the annotations")
    files = [path] if path.is_file() else files_below(path)
    stems = {file.stem for file in files if is_image(file)}
    found = defaultdict(list)
    for file in files:
        if kind := _kind(file, path, stems):
            found[kind].append(file)
    if {"voc", "tfod_csv"} == set(found):
        # The old tutorials made the CSV out of the XML: the same boxes once more.
        del found["tfod_csv"]
    if len(found) > 1:
        (first, ours), (second, theirs) = list(found.items())[:2]
        raise CourseError(
            f"{path}: two formats: {FORMATS[first]} ({ours[0].relative_to(path)}) and "
            f"{FORMATS[second]} ({theirs[0].relative_to(path)}); move one of them elsewhere"
        )
    return next(iter(found.items()), (None, []))


def read_annotations(
    path: Path | str, images: Path | str | None = None, *, origin: int | None = None
) -> list[Annotation]:
    """Read the annotations of a folder or file, in whichever of `FORMATS` they are.

    An annotation whose image is found carries the image's name on the disk, also where the file
    says "my%20cat.jpg" for "my cat.jpg". Images that no file mentions, or that have no YOLO file,
    are not annotated: they get no `Annotation`. Faulty boxes are returned as they are, for
    `find_faults` to report, but an edge that rounding has put outside the image (0.01 pixel at
    most) is moved to its border. Objects that COCO calls a crowd become difficult.

    Sources: cocodataset.org, "Data format"; docs.ultralytics.com, "Object detection datasets";
    the CSV export of VoTT 2; the LISA traffic sign dataset (Mogelmose et al., 2012).

    Args:
        path: the folder, searched all levels deep, or the file.
        images: folder with the images, as in `find_images`; None takes `path`, or the folder of
            the file.
        origin: as in `read_voc`; every other format counts from 0.

    Raises:
        CourseError: with file and line: what is no number, a column or field that is missing, an
            unknown class, an image that is not there, the same image in two files.
    """
    from tqdm.auto import tqdm

    path = Path(path)
    kind, files = detect_format(path)
    if kind is None:
        raise CourseError(f"{path}: no annotations in it; known are {', '.join(FORMATS.values())}")
    files = tqdm(files, FORMATS[kind], unit="file")
    if kind == "voc":
        return [read_voc(file, origin=origin) for file in files]
    if origin:
        raise CourseError(f"origin: {origin!r}; only Pascal VOC XML can have one other than 0")
    read = _reader(kind, path, Path(images) if images is not None else None)
    found: dict[str, tuple[Annotation, Path]] = {}
    for file in files:
        for annotation in read(file):
            _, first = found.setdefault(annotation.image, (annotation, file))
            if first != file:
                raise CourseError(
                    f"{file}: {annotation.image} is also in {first.name}; give one of the files, "
                    "or move it elsewhere"
                )
    return [annotation for annotation, _ in found.values()]


def write_annotations(
    annotations: Iterable[Annotation],
    path: Path | str,
    format: str,
    labels: Sequence[str] | None = None,
) -> list[str]:
    """Write annotations in one of `FORMATS`; return what the format could not hold.

    CSV and COCO make the file `path`. Pascal VOC makes <image>.xml in the folder `path`; YOLO
    makes labels/<image>.txt and data.yaml in it, to lie next to images/.

    Args:
        annotations: what to write.
        path: file or folder.
        format: a key of `FORMATS`.
        labels: the classes in the order of their numbers, from 1 in COCO, from 0 in YOLO; None
            sorts those that occur.

    Returns:
        A line for each kind of loss; empty when nothing was lost.

    Raises:
        CourseError: before anything is written, for a faulty box, a label that is not in
            `labels`, an image that occurs twice, or an unknown format.
    """
    annotations, path = list(annotations), Path(path)
    if format not in FORMATS:
        raise CourseError(f"format: {format!r}; choose one of {', '.join(FORMATS)}")
    if labels is None:
        labels = sorted({box.label for a in annotations for box in a.boxes})
    _check(annotations, labels, by_stem=format in ("voc", "yolo"))
    if format == "voc":
        path.mkdir(parents=True, exist_ok=True)
        for annotation in annotations:
            write_voc(annotation, path / f"{Path(annotation.image).stem}.xml")
    elif format == "yolo":
        yolo.write(annotations, path, labels)
    elif format == "coco":
        coco.write(annotations, path, labels)
    else:
        tables.write(annotations, path, format)
    return _losses(annotations, format)


def _kind(file: Path, root: Path, image_stems: set[str]) -> str | None:
    """Format of a single file by name and first lines; None for what is no annotation."""
    suffix = file.suffix.lower()
    if suffix == ".xml":
        return "voc"
    if suffix not in (".json", ".csv", ".txt") or file.name in yolo.CLASS_FILES:
        return None
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        if suffix == ".json":
            return "coco" if _COCO_LIST.search(lines.read(1 << 16)) else None
        first = lines.readline(1 << 16)
    if suffix == ".csv":
        return tables.kind_of(first)
    folders = (root.name, *file.relative_to(root).parts[:-1])
    ours = file.stem in image_stems or "labels" in folders
    return "yolo" if ours or _YOLO_LINE.match(first) else None


def _reader(kind: str, path: Path, images: Path | None) -> Callable[[Path], Iterable[Annotation]]:
    """The function that reads one file of a format other than Pascal VOC."""
    folder = images or (path if path.is_dir() else path.parent)
    if not folder.is_dir():
        raise CourseError(f"{folder}: no such folder; give the one with the images")
    pictures = Pictures.of(folder)
    if kind == "coco":
        return partial(coco.read, pictures=pictures)
    if kind == "yolo":
        return partial(yolo.read, pictures=pictures, names=yolo.class_names(path))
    return partial(tables.read, kind=kind, pictures=pictures)


def _check(annotations: Sequence[Annotation], labels: Sequence[str], *, by_stem: bool) -> None:
    """CourseError for what cannot be written, or would overwrite another image's file."""
    seen: dict[str, str] = {}
    for annotation in annotations:
        check_boxes(annotation, annotation.image)
        key = Path(annotation.image).stem if by_stem else annotation.image
        if key in seen:
            raise CourseError(f"{annotation.image}: its file is that of {seen[key]}; rename one")
        seen[key] = annotation.image
        for number, box in enumerate(annotation.boxes, 1):
            if box.label not in labels:
                raise CourseError(
                    f"{annotation.image}: object {number}: label {box.label!r} is not in labels; "
                    f"add it: there are {', '.join(labels)}"
                )


def _losses(annotations: Sequence[Annotation], kind: str) -> list[str]:
    if kind in ("voc", "coco"):
        return []
    lost: Counter[str] = Counter()
    for annotation in annotations:
        if not annotation.boxes and kind != "yolo":
            lost["images without objects"] += 1
        for box in annotation.boxes:
            for flag in ("difficult", "truncated", "occluded"):
                if getattr(box, flag) and (kind, flag) != ("lisa_csv", "occluded"):
                    lost[f"marks {flag!r}"] += 1
    return [f"{FORMATS[kind]} cannot hold {count} {what}" for what, count in lost.items()]
