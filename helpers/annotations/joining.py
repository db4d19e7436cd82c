"""The same picture in several files: what they say together, or which of them is taken."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.pictures import stem_of
from helpers.annotations.remarks import Note, Remark
from helpers.common.errors import CourseError

# Pixels by which an edge may differ that two formats round: TFOD's CSV to whole numbers.
_ROUNDING = 1.01


def joined(
    found: Mapping[str, Sequence[Annotation]], formats: Mapping[str, str], note: Note
) -> list[Annotation]:
    """Return one annotation for each picture, from those of each format, the preferred one first.

    Files of one format add up: boxes that both have count once. Of two formats that say the same
    of a picture the first is taken, also where the second has numbers in place of the labels.
    `formats` names the formats. Each pair of files, or of folders of such files, is noted once.

    Raises:
        CourseError: two formats give a picture different boxes.
    """
    taken: dict[str, tuple[str, Annotation]] = {}
    twice: dict[tuple[str, str, str], list[tuple[Annotation, Annotation]]] = defaultdict(list)
    for kind, annotations in found.items():
        for annotation in annotations:
            name = annotation.image
            first, before = taken.setdefault(name, (kind, annotation))
            if before is annotation or (first, kind) == ("voc", "tfod_csv"):
                continue
            if first == kind:
                new = tuple(box for box in annotation.boxes if not _has(before.boxes, box))
                taken[name] = kind, replace(before, boxes=before.boxes + new)
                does = "their boxes are joined" if new else "with the same boxes"
            elif _same(before.boxes, annotation.boxes):
                does = f"with the same boxes: the {formats[first]} is taken"
            else:
                raise CourseError(
                    f"{annotation.source}: {formats[kind]} has other boxes for {name} than "
                    f"{formats[first]} in {before.source}; move one of the two elsewhere"
                )
            if before.source != annotation.source:
                twice[_group(annotation), _group(before), does].append((annotation, before))
    for (_, _, does), again in twice.items():
        annotation, before = again[0]
        more = f" (and {len(again) - 1} more)" if len(again) > 1 else ""
        value = f"{annotation.image} is also in {before.source}{more}, {does}"
        fix = "delete one of the two if it is old"
        note(Remark(annotation.source, "", "same picture twice", value, fix))
    return [annotation for _, annotation in taken.values()]


def _group(annotation: Annotation) -> str:
    """The file of several pictures that an annotation is from, or the folder of its own file."""
    source = PurePosixPath(annotation.source)
    own = stem_of(annotation.image).endswith(source.stem)
    return str(source.parent) if own else annotation.source


def _same(ours: Sequence[Box], theirs: Sequence[Box]) -> bool:
    return len(ours) == len(theirs) and all(_has(ours, box, numbered=True) for box in theirs)


def _has(boxes: Sequence[Box], wanted: Box, *, numbered: bool = False) -> bool:
    """Whether one of `boxes` has the label and, within rounding, the edges of `wanted`.

    With `numbered`, the label of `wanted` may be a number instead.
    """
    return any(
        (box.label == wanted.label or (numbered and wanted.label.isdigit()))
        and all(abs(a - b) <= _ROUNDING for a, b in zip(box.xyxy, wanted.xyxy, strict=True))
        for box in boxes
    )
