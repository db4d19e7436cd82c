"""Annotations written in the formats of other tools."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from helpers.annotations import coco, tables, yolo
from helpers.annotations.boxes import Annotation, check_boxes, label_fault
from helpers.annotations.voc import write_voc
from helpers.common.errors import CourseError

FORMATS = {
    "voc": "Pascal VOC XML",
    "vott_csv": "VoTT CSV",
    "tfod_csv": "TFOD CSV",
    "lisa_csv": "LISA CSV",
    "coco": "COCO json",
    "yolo": "YOLO txt",
}


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
        for annotation in annotations:
            write_voc(annotation, path / f"{Path(annotation.image).stem}.xml")
    elif format == "yolo":
        yolo.write(annotations, path, labels)
    elif format == "coco":
        coco.write(annotations, path, labels)
    else:
        tables.write(annotations, path, format)
    return _losses(annotations, format)


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
            if message := label_fault(box.label):
                raise CourseError(
                    f"{annotation.image}: object {number}: label {box.label!r} {message}; write "
                    "the label again"
                )
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
