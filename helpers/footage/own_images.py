"""Pictures of your own with their annotations, in the layout of `01_images`."""

import shutil
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.clips import read_groups
from helpers.annotations.folders import readable
from helpers.annotations.formats import Survey
from helpers.annotations.pictures import Pictures, picture_size, shown, unreadable
from helpers.annotations.remarks import Note, Remark
from helpers.annotations.voc import read_voc, write_voc
from helpers.common.errors import CourseError
from helpers.common.files import link, write_csv
from helpers.footage.author_split import find_author_split
from helpers.footage.sides import side_in


def link_images(pictures: Pictures, folder: Path, note: Note) -> dict[str, Path]:
    """Link the pictures into `folder` under their names; name -> path of those taken.

    What cannot be read as a picture is left out, with a remark.
    """
    from helpers.common.progress import tqdm

    folder.mkdir()
    taken = {}
    for path, name in tqdm(pictures.names.items(), "pictures", unit="picture", leave=False):
        if picture_size(path) is None:
            value, fix = unreadable(path)
            note(Remark(shown(path, pictures.folder), "", "unreadable image", value, fix))
        else:
            link(path, folder / name)
            taken[name] = path
    return taken


def write_annotations_of(
    annotations: Sequence[Annotation], taken: Mapping[str, Path], root: Path, folder: Path
) -> dict[str, Annotation]:
    """Write an XML file for each picture that has an annotation; name -> annotation.

    An XML file that needs no change is copied, since it may hold more than is read: poses, parts,
    attributes.
    """
    folder.mkdir()
    found = {a.image: a for a in annotations if a.image in taken}
    for name, annotation in found.items():
        target = folder / f"{Path(name).stem}.xml"
        source = root / annotation.source
        if source.suffix.lower() == ".xml" and _same(source, annotation):
            shutil.copyfile(source, target)
        else:
            write_voc(annotation, target, check=False)
    return found


def _same(source: Path, annotation: Annotation) -> bool:
    """Whether an XML file says just what was made of it."""
    try:
        stated = read_voc(source)
    except CourseError:  # such as one without a size
        return False
    return (stated.image, stated.width, stated.height, stated.boxes) == (
        annotation.image,
        annotation.width,
        annotation.height,
        annotation.boxes,
    )


def write_tables(
    path: Path,
    seen: Survey,
    taken: Collection[str],
    annotations: Mapping[str, Annotation],
    folder: Path,
    note: Note,
) -> dict:
    """Write split.csv and groups.csv, where something says what is to stand in them.

    Lines say so. Returns counts for the manifest.

    Raises:
        CourseError: as `find_author_split` and `read_groups`.
    """
    counts = {}
    if split := find_author_split(path, seen, list(annotations.values()), note):
        sides = {name: side for name, side in split.sides.items() if name in taken}
        rows = [{"image": name, "split": side} for name, side in sides.items()]
        write_csv(folder / "split.csv", ("image", "split"), rows)
        counts["author_split"] = len(rows)
        print(*split._replace(sides=sides).lines(len(taken)), sep="\n")
    table = path / "groups.csv"
    groups = read_groups(table, taken, note) if table.is_file() else {}
    clips = set(groups.values())
    if groups:
        print(f"groups.csv: {len(groups)} of {len(taken)} pictures; clips: {len(clips)}.")
    elif groups := _folders_as_clips(seen.pictures, annotations):
        clips = set(groups.values())
        print(f"The same names lie in {len(clips)} folders: each folder counts as a clip.")
    if groups:
        rows = [{"image": name, "clip": clip} for name, clip in groups.items() if name in taken]
        write_csv(folder / "groups.csv", ("image", "clip"), rows)
    return counts


def _folders_as_clips(pictures: Pictures, annotations: Mapping[str, Annotation]) -> dict[str, str]:
    """Name -> clip of pictures whose folders had to tell them apart; {} where that says nothing.

    Two exports with frame_000000 to frame_000099 each are two videos. Folders of one class each
    are not, nor are the sides of a split.
    """
    groups: dict[str, str] = {}
    labels: dict[str, set[str]] = defaultdict(set)
    for path, name in pictures.names.items():
        own = readable(unicodedata.normalize("NFC", path.name))
        parts = name.removesuffix(own).rstrip("_")
        if parts in ("", name) or side_in(parts):
            continue
        groups[name] = parts
        if name in annotations:
            labels[parts].update(box.label for box in annotations[name].boxes)
    shared = set().union(*labels.values())
    by_class = len(shared) > 1 and sum(map(len, labels.values())) == len(shared)
    return {} if by_class or len(set(groups.values())) < 2 else groups
