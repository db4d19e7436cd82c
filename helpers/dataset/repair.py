"""Repair: what cannot be trained on is mended or left out, and what was done is noted."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from helpers.annotations.boxes import Annotation, Box, fault, repaired
from helpers.dataset.audit import twin, unknown_label
from helpers.dataset.findings import ALL, COLUMNS, Finding, kinds
from helpers.dataset.labels import simple
from helpers.dataset.near_copies import Picture
from helpers.dataset.orientation import drawn_upright
from helpers.dataset.sizes import fit, fitted, in_words

KEPT = "kept as it is"
_LEFT_OUT = "left out"
_BEYOND_REPAIR = ("zero area", "not a number")


class AuditLog:
    """The findings of the audit, each with the action taken: the rows of audit.csv."""

    COLUMNS = (*COLUMNS, "action")

    def __init__(self, findings: Iterable[Finding] = ()):
        self.rows: list[dict] = []
        self._of_file: dict[str, list[dict]] = defaultdict(list)
        self.extend(findings)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Append findings on which nothing was done yet."""
        for finding in findings:
            self.add(finding)

    def add(self, finding: Finding, action: str = KEPT) -> None:
        """Append a finding."""
        row = {**dataclasses.asdict(finding), "action": action}
        self.rows.append(row)
        self._of_file[finding.file].append(row)

    def add_remarks(self, remarks: Iterable[Finding]) -> None:
        """Append what came up while the folder was read, with what reading did about it."""
        for remark in remarks:
            self.add(remark, kinds()[remark.kind].get("done", KEPT))

    def of(self, image: str, annotation: Annotation) -> list[dict]:
        """Return the rows about an image or its annotation."""
        files = dict.fromkeys(filter(None, (image, annotation.source)))
        return [row for file in files for row in self._of_file[file]]


def repair(
    paired: Mapping[str, Annotation],
    pictures: Mapping[str, Picture],
    labels: Sequence[str],
    log: AuditLog,
) -> dict[str, Annotation]:
    """Return the annotations with boxes that can be trained on, and note in `log` what was done.

    Edges are swapped, boxes clipped to the image, labels spelt as in `labels`, sizes set to the
    true ones, boxes scaled where the image was resized since; boxes that are beyond repair, given
    twice or of other labels are left out. So are images that cannot be decoded or have another
    shape than the one that was annotated, and those where a broken box was the only one:
    something is there, nobody knows where, and as background it would teach the opposite.
    """
    spelling = {simple(label): label for label in labels}
    respelt: Counter[tuple[str, str | None]] = Counter()
    kept = {}
    for image, annotation in paired.items():
        rows, picture = log.of(image, annotation), pictures[image]
        if picture.problem or picture.size is None:
            continue
        (width, height), scale = fit(picture.size, annotation)
        if scale is None:
            _note(rows, "wrong size", "image left out")
            continue
        done = "boxes as they are" if scale == (1, 1) else f"boxes scaled by {in_words(scale)}"
        _note(rows, "wrong size", f"size set to {width}x{height}, {done}")
        upright = drawn_upright(picture.size, annotation)
        done = "written upright, without the tag" if upright else "tag removed"
        _note(rows, "rotated by EXIF", done)

        annotation = fitted(annotation, picture.size)
        boxes = _mended_boxes(annotation.boxes, spelling, (width, height), rows)
        respelt.update((box.label, spelling.get(simple(box.label))) for box in annotation.boxes)
        if not boxes and _holds_a_broken_box(annotation, spelling, width, height):
            for row in rows:
                if row["kind"] in _BEYOND_REPAIR and row["action"] == _LEFT_OUT:
                    row["action"] = "image left out: its only box is broken"
            continue
        kept[image] = Annotation(image, width, height, tuple(boxes))
    for kind in ("no annotation", "unreadable image"):
        _note(log.rows, kind, "image left out")
    _note(log.rows, "no image", "annotation left out")
    # Other classes first, then the misspelt.
    for (label, meant), count in sorted(respelt.items(), key=lambda item: (bool(item[0][1]), item)):
        if label != meant:
            done = f"read as {meant!r}" if meant else "left out"
            log.add(unknown_label(ALL, 0, label, labels), f"{count} boxes {done}")
    return kept


def _holds_a_broken_box(
    annotation: Annotation, spelling: Mapping[str, str], width: int, height: int
) -> bool:
    """Whether an object to be learnt has a box that says nothing of where it is."""
    wrong = [fault(b, width, height) for b in annotation.boxes if simple(b.label) in spelling]
    return any(w is not None and w.kind in _BEYOND_REPAIR for w in wrong)


def _mended_boxes(
    boxes: Iterable[Box], spelling: Mapping[str, str], size: tuple[int, int], rows: Iterable[dict]
) -> list[Box]:
    """The boxes of an image that can be trained on; what was done is noted in its `rows`."""
    kept: list[Box] = []
    for number, box in enumerate(boxes, 1):
        of_box = [row for row in rows if row["object"] == number]
        label = spelling.get(simple(box.label))
        if label is None:
            for row in of_box:
                row["action"] = "left out with its label"
            continue
        if label != box.label:
            _note(of_box, "label", f"read as {label!r}")
        mended = _mended(dataclasses.replace(box, label=label), *size, of_box)
        if mended and twin(mended, kept):
            _note(of_box, "same box twice", _LEFT_OUT)
        elif mended:
            kept.append(mended)
    return kept


def _mended(box: Box, width: int, height: int, rows: Iterable[dict]) -> Box | None:
    """The box as it can be trained on, if it can; what was done is noted in its `rows`."""
    wrong = fault(box, width, height)
    if wrong is None:
        return box
    mended = None if wrong.kind in _BEYOND_REPAIR else repaired(box, width, height)
    if mended:
        done = "edges swapped" if wrong.kind == "inverted" else "clipped to the image"
    else:
        done = _LEFT_OUT if wrong.kind in _BEYOND_REPAIR else "left out: nothing of it is inside"
    _note(rows, wrong.kind, done)
    return mended


def _note(rows: Iterable[dict], kind: str, action: str) -> None:
    for row in rows:
        if row["kind"] == kind:
            row["action"] = action
