"""`verify_records`: records read back, and every one checked."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.annotations.folders import SPLITS
from helpers.annotations.label_map import read_label_map
from helpers.common.artifacts import MANIFEST, read_manifest
from helpers.common.errors import CourseError
from helpers.common.images import UNREADABLE
from helpers.records.examples import BOX_KEYS, REPLACE
from helpers.records.parser import check_parsed, expected_boxes, located
from helpers.records.tfrecord import (
    AGAIN,
    Message,
    crc32c,
    feature_text,
    feature_values,
)

# What the features that are looked at must hold.
_KINDS: dict[str, type] = {
    "image/encoded": bytes,
    "image/filename": bytes,
    "image/source_id": bytes,
    "image/key/sha256": bytes,
    "image/height": int,
    "image/width": int,
    "image/object/class/text": bytes,
    "image/object/class/label": int,
    "image/object/difficult": int,
    **dict.fromkeys(BOX_KEYS, float),
}
_NAMES = {bytes: "bytes", int: "whole numbers", float: "real numbers"}


def verify_records(folder: Path | str) -> dict[str, dict]:
    """Read records back and check every one; return the counts per split and class.

    Checks that each record is whole (CRC) and its image decodes to the stated size, boxes
    lie in [0, 1] and are not inverted, labels are in the label map with their id, ids are
    unique whole numbers and those of the COCO json, no file comes twice, counts agree with the
    manifest, Model Garden's parser gets the boxes that the COCO json states, each file has
    the checksum that the manifest states, and no file of records is there that it does not state.

    Records from elsewhere have no manifest and no json of this course: of those, only what
    each record says by itself is checked, and label_map.pbtxt must lie next to them.

    Raises:
        CourseError: at the first fault.
    """
    from helpers.common.progress import tqdm

    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"{folder}: no such folder; give a folder of records")
    label_map = read_label_map(folder / "label_map.pbtxt")
    if not (folder / MANIFEST).is_file():
        return _verify_foreign(folder, label_map)
    manifest = _stated(folder)
    splits = [split for split in SPLITS if split in manifest]
    ids: dict[int, str] = {}
    images: dict[str, str] = {}
    counts = {}
    total = sum(manifest[split]["images"] for split in splits)
    with tqdm(total=2 * total, desc="verify", unit="image", mininterval=0.2) as bar:
        for split in splits:
            counts[split] = _no_counts(label_map)
            files, earlier = [folder / name for name in manifest[split]["shards"]], set(ids)
            for where, example in _sound_examples(files, label_map, ids):
                image = feature_text(example, "image/filename")
                if (first := images.setdefault(image, where)) != where:
                    raise CourseError(
                        f"{where}: {image} is also {first}; take one of them out of split.csv "
                        "(lesson 03)"
                    )
                _count(example, counts[split])
                bar.update()
            for key, value in counts[split].items():
                if value != manifest[split][key]:
                    raise CourseError(
                        f"{folder.name}: {split}: {key} {value}, the manifest says "
                        f"{manifest[split][key]}; {AGAIN}"
                    )
            expected = expected_boxes(folder / f"{split}.json")
            if ids.keys() - earlier != expected.keys():
                raise CourseError(
                    f"{folder.name}: {split}.json: its image ids are not the records'; {AGAIN}"
                )
            check_parsed(files, expected, f"{folder.name}: {split}", bar.update)
    _check_files(folder, manifest["crc32c"])
    return counts


def _stated(folder: Path) -> dict:
    """The counts of the manifest; CourseError where they are not those of records."""
    counts: Any = read_manifest(folder).get("counts")
    kinds = {"images": int, "boxes": dict, "difficult": int, "shards": list}
    try:
        splits = [split for split in SPLITS if split in counts or split != "test"]
        known = all(
            isinstance(counts[split][key], kind) for split in splits for key, kind in kinds.items()
        )
        known = known and isinstance(counts["crc32c"], dict)
    except (KeyError, TypeError):
        known = False
    if not known:
        raise CourseError(
            f"{folder / MANIFEST}: not of records that lesson 04 wrote, or of an older one; {AGAIN}"
        )
    return counts


def _check_files(folder: Path, checksums: Mapping[str, str]) -> None:
    """CourseError unless the files are those of the manifest, and of records no others."""
    for name, stated in checksums.items():
        if not (folder / name).is_file():
            raise CourseError(f"{folder / name}: missing; {AGAIN}")
        if (actual := crc32c(folder / name)) != stated:
            raise CourseError(
                f"{folder.name}: {name}: checksum {actual}, the manifest says {stated}: it was "
                f"changed since; {AGAIN}"
            )
    for path in sorted(folder.glob("*.tfrecord")):
        if path.name not in checksums:
            raise CourseError(
                f"{folder.name}: {path.name}: not in the manifest, and training reads every such "
                "file; move it out of the folder"
            )


def _verify_foreign(folder: Path, label_map: Mapping[str, int]) -> dict[str, dict]:
    files = sorted(folder.glob("*.tfrecord*")) or sorted(folder.glob("*.record*"))
    if not files:
        raise CourseError(f"{folder}: no manifest.json and no *.tfrecord; give a folder of records")
    counts = _no_counts(label_map)
    for _, example in _sound_examples(files, label_map, {}):
        _count(example, counts)
    del counts["difficult"]  # records from elsewhere need not say
    print(f"{folder.name}: no manifest.json, so there are no counts to compare with.")
    return {"all": counts}


def _no_counts(label_map: Iterable[str]) -> dict:
    return {"images": 0, "boxes": dict.fromkeys(label_map, 0), "difficult": 0}


def _count(example: Message, counts: dict) -> None:
    counts["images"] += 1
    counts["difficult"] += sum(feature_values(example, "image/object/difficult"))
    for label in _labels(example):
        counts["boxes"][label] += 1


def _sound_examples(
    files: Sequence[Path], label_map: Mapping[str, int], ids: dict[int, str]
) -> Iterator[tuple[str, Message]]:
    """Check the records of some files. `ids` (id -> where) is filled; none may come twice."""
    for where, example in located(files):
        check_example(example, where, label_map)
        number = int(feature_text(example, "image/source_id"))
        if (first := ids.setdefault(number, where)) != where:
            raise CourseError(
                f"{where}: source_id {number} is also that of {first}; ids must be unique"
            )
        yield where, example


def check_example(example: Message, where: str, label_map: Mapping[str, int]) -> None:
    """Raise CourseError, which begins with `where`, unless an example is fit to train on."""
    for key, kind in _KINDS.items():
        if odd := [v for v in feature_values(example, key) if not isinstance(v, kind)]:
            raise CourseError(
                f"{where}: {key}: {str(odd[0])[:40]}: it must hold {_NAMES[kind]}; write it again"
            )
    source_id = feature_text(example, "image/source_id")
    if not (source_id.isascii() and source_id.isdecimal() and len(source_id) < 19):
        raise CourseError(
            f"{where}: source_id {source_id[:40]!r}; it must be a whole number of at most 18 "
            "digits (lesson 04)"
        )
    _check_image(example, where)
    labels, ids = _labels(example), feature_values(example, "image/object/class/label")
    edges = [feature_values(example, key) for key in BOX_KEYS]
    if len({len(labels), len(ids), *map(len, edges)}) > 1:
        raise CourseError(f"{where}: lists of boxes and labels differ in length; write it again")
    boxes = zip(labels, ids, *edges, strict=True)
    for number, (label, id_, xmin, ymin, xmax, ymax) in enumerate(boxes, 1):
        if label_map.get(label) != id_:
            raise CourseError(
                f"{where}: object {number}: label {label!r} with id {id_}; the label map has "
                f"{dict(label_map)}: write it again"
            )
        if not (0 <= xmin < xmax <= 1 and 0 <= ymin < ymax <= 1):
            box = ", ".join(f"{edge:.4f}" for edge in (xmin, ymin, xmax, ymax))
            raise CourseError(
                f"{where}: object {number}: box ({box}) is inverted or not in [0, 1]; correct "
                "the annotation and write it again"
            )


def _check_image(example: Message, where: str) -> None:
    from PIL import Image

    data = b"".join(feature_values(example, "image/encoded"))
    size = tuple(feature_values(example, f"image/{side}") for side in ("width", "height"))
    try:
        # Its head only: the pixels are decoded once, by Model Garden's parser.
        with Image.open(io.BytesIO(data)) as image:
            pass
    except UNREADABLE as error:
        raise CourseError(f"{where}: image does not decode ({error}); {REPLACE}") from None
    if size != ([image.width], [image.height]):
        stated = "x".join(",".join(map(str, side)) for side in size)
        raise CourseError(
            f"{where}: size {stated}, its image is {image.width}x{image.height}; write it again"
        )
    digest = hashlib.sha256(data).hexdigest().encode()
    if digest not in (feature_values(example, "image/key/sha256") or [digest]):
        raise CourseError(f"{where}: sha256 is not that of its image; write it again")


def _labels(example: Message) -> list[str]:
    labels = feature_values(example, "image/object/class/text")
    return [label.decode(errors="replace") for label in labels]
