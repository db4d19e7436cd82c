"""The split that comes with a dataset: a table, lists, folders, or files named after the sides."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from helpers.annotations.boxes import Annotation
from helpers.annotations.folders import SPLITS, files_below
from helpers.annotations.formats import Survey, read_annotations
from helpers.annotations.pictures import Pictures
from helpers.annotations.remarks import Note
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.footage.author_lists import of_lists, of_yaml
from helpers.footage.sides import SIDES, Found, listed, side_in, sides_of, sides_of_stems

# Formats with a file for each picture.
FILE_FOR_EACH = {"voc", "yolo", "labelme", "oidv4", "supervisely", "kitti", "visdrone"}


class AuthorSplit(NamedTuple):
    """Which picture goes where, and how that is known.

    Attributes:
        sides: picture, by its name in `Pictures.names` -> "train", "val" or "test".
        origin: what says it, as a part of a sentence: "folders train and valid".
        twice: pictures that are on two sides; the one that is held out counts.
    """

    sides: dict[str, str]
    origin: str
    twice: Sequence[str] = ()

    def lines(self, pictures: int) -> Iterator[str]:
        """What to say of it, where there are `pictures` in all."""
        count = Counter(self.sides.values())
        shares = ", ".join(f"{count[side]} {side}" for side in SPLITS if count[side])
        yield f"The author's split is kept: {shares} ({self.origin})."
        if self.twice:
            yield f"On two sides of it: {_some(self.twice)}; not trained on."
        if left := pictures - len(self.sides):
            yield (
                f"On no side of it: {left} of {pictures} pictures, left out; "
                'split="clip" in lesson 03 takes them as well.'
            )


def find_author_split(
    path: Path, seen: Survey, annotations: Sequence[Annotation], note: Note
) -> AuthorSplit | None:
    """Look for a split that comes with the pictures of the folder `path`; None without one.

    Looked for, in this order: `split.csv` (image,split) in the folder itself; lists in
    `ImageSets`; folders that are named after the sides, at any level; what data.yaml names; lists
    such as train.txt; annotation files such as train_labels.csv or instances_val2017.json, or
    their folders; beside annotations_test.csv, annotations.csv is the training. The sides may be
    called train, val, valid, validation and test. Where there are two, train and test, the latter
    becomes the validation. A side without any annotation is none.

    Args:
        path: the folder.
        seen: what lies in it.
        annotations: what was read of it.
        note: takes remarks on lists.

    Raises:
        CourseError: with the line, a split.csv that names no such picture or side.
    """
    pictures = seen.pictures
    if given := _given(path, pictures):
        return given
    files = files_below(path)
    image_sets = [file for file in files if "ImageSets" in file.parts]
    annotated = {annotation.image for annotation in annotations} or set(pictures.names.values())
    for found in (
        lambda: of_lists(path, image_sets, pictures, note),
        lambda: _of_folders(path, pictures),
        lambda: of_yaml(path, files, pictures),
        lambda: of_lists(path, files, pictures, note),
        lambda: _of_sources(annotations),
        lambda: _of_named_files(seen),
    ):
        members, origin = found()
        members = {side: names for side, names in members.items() if names & annotated}
        if split := _split(members, origin):
            return split
    return None


def _split(members: Mapping[str, set[str]], origin: str) -> AuthorSplit | None:
    """The split that these make; None for fewer than two sides, or without a training side."""
    members = {side: names for side, names in members.items() if names}
    if "train" not in members or len(members) < 2:
        return None
    if set(members) == {"train", "test"}:
        members = {"train": members["train"], "val": members["test"]}
        origin += "; test became val"
    # A picture on two sides is held out: scored on it, a detector must not have trained on it.
    sides = {name: side for side in SPLITS for name in sorted(members.get(side, ()))}
    if len(set(sides.values())) < len(members):
        return None  # the same pictures for both, as in a data.yaml without a validation
    counts = Counter(name for names in members.values() for name in names)
    return AuthorSplit(sides, origin, [name for name, count in counts.items() if count > 1])


def _given(path: Path, pictures: Pictures) -> AuthorSplit | None:
    """The split of the user's own table."""
    # author_split.csv: its name before it was the same in all folders.
    table = next((path / n for n in ("split.csv", "author_split.csv") if (path / n).exists()), None)
    if table is None:
        return None
    members: dict[str, set[str]] = defaultdict(set)
    for line, row in enumerate(read_csv(table, ("image", "split")), 2):
        side = SIDES.get(row["split"].strip().lower())
        if side is None:
            sides = ", ".join(SPLITS)
            raise CourseError(f"{table}: line {line}: split {row['split']!r}; say one of {sides}")
        members[side].add(named(row["image"], table, line, pictures))
    split = _split(members, table.name)
    if split is None:
        raise CourseError(
            f"{table}: {', '.join(members) or 'no rows'}; it must name pictures for train and for "
            "val, or be deleted"
        )
    return split


def named(stated: str, table: Path, line: int, pictures: Pictures) -> str:
    """Name of the picture that a table of the user's means; CourseError with the line if none."""
    image = pictures.find(stated, table)
    if image is None:
        example = next(iter(pictures.names.values()), "")
        raise CourseError(
            f"{table}: line {line}: image {stated!r} is none of the {len(pictures.names)} "
            f"pictures, which are called as {example!r}; correct the name or delete the line"
        )
    return pictures.names[image]


def _of_folders(path: Path, pictures: Pictures) -> Found:
    """The sides by the folders that the pictures lie in, copies of a picture included."""
    places = {p: p.relative_to(path).parts[:-1] for p in (*pictures.names, *pictures.copies)}
    sides = sides_of({part for parts in places.values() for part in parts})
    # The folder nearest to `path` counts, or else that nearest to the picture.
    for order in (1, -1):
        members: dict[str, set[str]] = defaultdict(set)
        folders = set()
        for image, parts in places.items():
            if part := next((part for part in parts[::order] if part in sides), None):
                members[sides[part]].add(pictures.names[pictures.copies.get(image, image)])
                folders.add(part)
        if len(members) > 1:
            break
    return members, f"folders {listed(folders)}"


def _of_sources(annotations: Sequence[Annotation]) -> Found:
    """The sides by the folders that the annotations lie in."""
    members: dict[str, set[str]] = defaultdict(set)
    said = set()
    for annotation in annotations:
        for part in Path(annotation.source).parts[:-1]:
            if side := side_in(part):
                members[side].add(annotation.image)
                said.add(part)
                break
    return members, f"annotations in {listed(said)}"


def _of_named_files(seen: Survey) -> Found:
    """The sides by files of many pictures, such as train_labels.csv, used or not.

    A file for each picture is named after the picture, and says nothing of sides.
    """
    files = [f for kind, its in seen.files.items() if kind not in FILE_FOR_EACH for f in its]
    sides = sides_of_stems(file.stem for file in files)
    named = {file: sides[file.stem] for file in files if file.stem in sides}
    members: dict[str, set[str]] = defaultdict(set)
    if len(set(named.values())) > 1:
        for file, side in named.items():
            found = read_annotations(file, seen.pictures, note=lambda remark: None)
            members[side] |= {annotation.image for annotation in found}
    many = sum(map(len, members.values())) > len(named)
    return members if many else {}, listed({file.name for file in named})


def _some(names: Sequence[str]) -> str:
    """How many, with an example: "2 pictures, such as a.jpg"."""
    return names[0] if len(names) == 1 else f"{len(names)} pictures, such as {names[0]}"
