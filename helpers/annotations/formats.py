"""Annotation files of other tools, recognised and read.

A box is what `voc` says: edges in pixels, origin 0. What each format can hold:

| format | a box | rounding when written | images without objects | flags |
| --- | --- | --- | --- | --- |
| Pascal VOC XML | four edges | 0.01 pixel | yes | all |
| VoTT CSV | four edges | none | no | none |
| TFOD CSV | four edges | none | no | none |
| LISA CSV | two corners | none | no | occluded |
| COCO json | corner and size | none | yes | all |
| YOLO txt | centre and size / image | 1e-10 of the image | yes: an empty file | none |

Others are read only: see `READERS`. VoTT, LISA and YOLO do not give the size of an image: it is
read from the image's header.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from helpers.annotations import coco, tables, voc, yolo
from helpers.annotations.boxes import Annotation
from helpers.annotations.folders import files_below
from helpers.annotations.joining import joined
from helpers.annotations.pictures import Pictures, shown
from helpers.annotations.readers import (
    createml,
    cvat,
    driving,
    imglab,
    label_studio,
    labelme,
    mot,
    oidv4,
    open_images,
    rows,
    sagemaker,
    scalabel,
    supervisely,
    via,
    vott,
    wider_face,
)
from helpers.annotations.remarks import Note, Remark, refuse
from helpers.annotations.strangers import head_of, stranger
from helpers.common.errors import CourseError


class Reader(NamedTuple):
    """A format: its name, how a file of it is told, and how one is read.

    `matches` gets the file and its first 64 KiB as text; `read` the file, the pictures that it may
    speak of, and what takes a remark on each line that is left out.
    """

    name: str
    matches: Callable[[Path, str], bool]
    read: Callable[[Path, Pictures, Note], Iterable[Annotation]]


# The first that matches reads the file. Of two that hold the same boxes, the upper one is taken.
READERS: dict[str, Reader] = {
    "voc": Reader("Pascal VOC XML", voc.matches, voc.read),
    "coco": Reader("COCO json", coco.matches, coco.read),
    **{
        kind: Reader(name, partial(tables.matches, kind), partial(tables.read, kind))
        for kind, name in tables.NAMES.items()
    },
    "cvat": Reader("CVAT XML", cvat.matches, cvat.read),
    "vott": Reader("VoTT json", vott.matches, vott.read),
    "labelme": Reader("Labelme json", labelme.matches, labelme.read),
    "label_studio": Reader("Label Studio json", label_studio.matches, label_studio.read),
    "via": Reader("VIA csv or json", via.matches, via.read),
    "createml": Reader("Create ML json", createml.matches, createml.read),
    "open_images": Reader("Open Images CSV", open_images.matches, open_images.read),
    "imglab": Reader("imglab XML", imglab.matches, imglab.read),
    "supervisely": Reader("Supervisely json", supervisely.matches, supervisely.read),
    "scalabel": Reader("Scalabel or BDD100K json", scalabel.matches, scalabel.read),
    "sagemaker": Reader("SageMaker manifest", sagemaker.matches, sagemaker.read),
    **{
        kind: Reader(name, partial(driving.matches, kind), partial(driving.read, kind))
        for kind, name in driving.NAMES.items()
    },
    "wider_face": Reader("WIDER FACE txt", wider_face.matches, wider_face.read),
    "mot": Reader("MOTChallenge txt", mot.matches, mot.read),
    "rows": Reader("table of boxes", rows.matches, rows.read),
    "yolo": Reader("YOLO txt", yolo.matches, yolo.read),
    "oidv4": Reader("OIDv4 txt", oidv4.matches, oidv4.read),
}


class Survey(NamedTuple):
    """What lies in a folder.

    Attributes:
        pictures: the pictures.
        files: key of `READERS` -> the files in that format.
        unknown: what will not be read: files that look like annotations, pictures of other kinds.
    """

    pictures: Pictures
    files: dict[str, list[Path]]
    unknown: list[Remark]


def survey(path: Path | str, images: Path | str | Pictures | None = None) -> Survey:
    """Look at a folder, all levels deep, or at a single file: pictures, annotations, the rest.

    `images` is as in `read_annotations`. Raises CourseError when there is no such folder.
    """
    path = Path(path)
    if not path.exists():
        raise CourseError(f"{path}: no such folder or file; give the one with the annotations")
    root = path if path.is_dir() else path.parent
    pictures = images if isinstance(images, Pictures) else _pictures(images or root)
    found: dict[str, list[Path]] = defaultdict(list)
    unclaimed: list[tuple[Path, str]] = []
    for file in [path] if path.is_file() else files_below(path):
        head = head_of(file)
        if head is None:
            continue
        for kind, reader in READERS.items():
            if reader.matches(file, head):
                found[kind].append(file)
                break
        else:
            unclaimed.append((file, head))
    unknown = list(pictures.remarks)
    folders = {file.parent for file in found["yolo"]}
    for file, head in unclaimed:
        beside = pictures.find(file.stem, file) is not None
        text, empty = file.suffix.lower() == ".txt", not head.strip()
        if text and (beside + empty + (file.parent in folders)) >= 2:
            # An image without objects, or a file whose first line is no box.
            found["yolo"].append(file)
        elif guess := stranger(file, head, beside=beside):
            unknown.append(Remark(shown(file, root), "", "not understood", *guess))
    if not any(found.values()):
        unknown += _label_maps(files_below(root), root)
    order = [kind for kind in READERS if found[kind]]
    return Survey(pictures, {kind: found[kind] for kind in order}, unknown)


def read_annotations(
    path: Path | str,
    images: Path | str | Pictures | None = None,
    *,
    origin: int | None = None,
    note: Note = refuse,
) -> list[Annotation]:
    """Read the annotations of a folder or file, in whichever of `READERS` they are.

    An annotation carries its picture's flat name (`Pictures.names`), also where the file says
    "my%20cat.jpg" for "my cat.jpg", and its source is the path of the file below `path`. Images
    that no file mentions, or that have no YOLO file, are not annotated: they get no `Annotation`.
    Faulty boxes are returned as they are, for `find_faults` to report, but an edge that rounding
    has put outside the image (0.01 pixel at most) is moved to its border.

    Several files, also of several formats, are read together. What a TFOD CSV says of pictures
    that have an XML is ignored: the old tutorials made the one out of the other.

    Sources: cocodataset.org, "Data format"; docs.ultralytics.com, "Object detection datasets";
    the CSV export of VoTT 2; the LISA traffic sign dataset (Mogelmose et al., 2012).

    Args:
        path: the folder, searched all levels deep, or the file.
        images: folder with the images, all levels deep, or the `Pictures` of it; None takes
            `path`, or the folder of the file.
        origin: as in `read_voc`; every other format counts from 0.
        note: takes a `Remark` for each file, line or box that is left out, or not taken as it
            stands; `refuse` makes an error of the first.

    Raises:
        CourseError: there is nothing to read; two formats give the same picture different boxes;
            and with `note=refuse`, with file and line: what is no number, a column or field that is
            missing, an unknown class, an image that is not there.
    """
    from helpers.common.progress import tqdm

    path = Path(path)
    pictures, files, unknown = survey(path, images)
    if not files:
        seen = next((f" ({r})" for r in unknown if r.kind == "not understood"), "")
        raise CourseError(
            f"{path}: no annotations in it{seen}; known are Pascal VOC XML, COCO json, YOLO txt "
            f"and {len(READERS) - 3} more, which lesson 01 lists"
        )
    if origin and set(files) != {"voc"}:
        raise CourseError(f"origin: {origin!r}; only Pascal VOC XML can have one other than 0")
    root = path if path.is_dir() else path.parent

    classes = yolo.Classes(path)
    special = {
        "voc": partial(voc.read, origin=origin),
        "yolo": partial(yolo.read, classes=classes),
    }
    found: dict[str, list[Annotation]] = defaultdict(list)
    by_number: list[Remark] = []
    for kind, its_files in files.items():
        read = special.get(kind, READERS[kind].read)
        for file in tqdm(its_files, READERS[kind].name, unit="file"):
            remarks: list[Remark] = []
            try:
                some = list(read(file, pictures, remarks.append))
            except CourseError as error:
                value, _, fix = str(error).removeprefix(f"{file}: ").rpartition("; ")
                some, remarks = [], [Remark(str(file), "", "not understood", value, fix)]
            found[kind] += [replace(a, source=shown(file, root)) for a in some]
            for remark in remarks:
                remark = remark._replace(file=shown(Path(remark.file), root))
                (by_number.append if remark.kind == "class by number" else note)(remark)
    for remark in classes.remarks():
        note(remark._replace(file=shown(Path(remark.file), root)))
    taken = joined(found, {kind: reader.name for kind, reader in READERS.items()}, note)
    used = {annotation.source for annotation in taken}
    for remark in by_number:  # of no interest where another file has the names
        if remark.file in used:
            note(remark)
    return taken


def _label_maps(files: Iterable[Path], root: Path) -> Iterator[Remark]:
    """A remark on each label map where it is all that there is."""
    for file in files:
        if file.suffix == ".pbtxt":
            value, fix = (
                "a label map: names of classes, no boxes",
                "add the annotations it belongs to",
            )
            yield Remark(shown(file, root), "", "not used", value, fix)


def _pictures(folder: Path | str) -> Pictures:
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"{folder}: no such folder; give the one with the images")
    return Pictures.of(folder)
