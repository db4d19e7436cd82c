"""XML files of a folder, and which of them belongs to which image."""

from collections.abc import Sequence
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.folders import composed, natural
from helpers.annotations.remarks import Note, Remark
from helpers.annotations.voc import read_voc
from helpers.common.errors import CourseError


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
    by_stem = {composed(Path(a.source).stem): a for a in read_folder(drawn, note)}
    found = [by_stem.pop(composed(Path(a.source or a.image).stem), a) for a in annotations]
    return [*found, *by_stem.values()]


def pair(images: Sequence[str], annotations: Sequence[Annotation]) -> dict[str, Annotation]:
    """Return the annotation of each image file name that has one.

    The XML file with the image's stem wins over the <filename> inside: files get renamed,
    and tools write the name once. How "ü" is composed makes no difference.
    """
    by_stem = {composed(Path(a.source).stem): a for a in annotations if a.source}
    by_name = {composed(a.image): a for a in annotations}
    found = {
        name: by_stem.get(composed(Path(name).stem)) or by_name.get(composed(name))
        for name in images
    }
    return {name: annotation for name, annotation in found.items() if annotation is not None}
