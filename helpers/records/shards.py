"""The unit of work in writing records is the shard, one TFRecord file.

`plan` says which examples go into which file, `write_shard` writes one, `finish` writes what
describes them all. `helpers.records.writing` does so on this machine, `helpers.records.beam` on
many: the bytes are the same.
"""

import csv
import io
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.annotations.boxes import Annotation
from helpers.annotations.folders import SPLITS
from helpers.annotations.voc import parse_voc
from helpers.common.errors import CourseError
from helpers.records.examples import make_example
from helpers.records.tfrecord import Writer, crc32c, feature_text, serialized

EXAMPLES = "examples.csv"
_COLUMNS = ("source_id", "image", "clip", "split", "shard", "record", "stored", "sha256")


@dataclass(frozen=True)
class Shard:
    """One file of records to be: its name, its split, and which examples go into it.

    `rows` are (source_id, image file name, clip), in the order of the records.
    """

    name: str
    split: str
    rows: tuple[tuple[int, str, str], ...]

    @property
    def notes(self) -> str:
        """Name of the file with what `write_shard` returned, while records are being written."""
        return f"{self.name}.json"


def plan(rows: Sequence[Mapping[str, str]], shards: int) -> list[Shard]:
    """Share out the rows of `split.csv` (image, clip, split) over `shards` files per split.

    Ids count the rows from 1. Training images are shuffled once, with a fixed seed, so that a
    small shuffle buffer sees more than one clip. A split of fewer images gets as many files as
    it has images; test, which not every dataset has, may have none.

    Raises:
        CourseError: train or val has no image, or an image comes twice.
    """
    if not isinstance(shards, int) or shards < 1:
        raise CourseError(f"shards: {shards!r}; it must be a whole number from 1")
    seen = set()
    for row in rows:
        if row["split"] not in SPLITS:
            raise CourseError(
                f"split.csv: {row['image']}: split {row['split']!r}; write {' or '.join(SPLITS)}"
            )
        if row["image"] in seen:
            raise CourseError(f"split.csv: {row['image']} comes twice; delete one of the lines")
        seen.add(row["image"])
    found = []
    for split in SPLITS:
        chosen = [
            (number, row["image"], row["clip"])
            for number, row in enumerate(rows, 1)
            if row["split"] == split
        ]
        if not chosen and split != "test":
            raise CourseError(f"split.csv: no image in {split}; split again (lesson 03)")
        if split == "train":
            chosen = random.Random(0).sample(chosen, len(chosen))
        parts = min(shards, len(chosen))
        found += [
            Shard(f"{split}-{i:05d}-of-{parts:05d}.tfrecord", split, tuple(chosen[i::parts]))
            for i in range(parts)
        ]
    return found


def write_shard(
    shard: Shard,
    dataset: str,
    folder: str,
    label_map: Mapping[str, int],
    *,
    open_: Callable = open,
    on_image: Callable[[], object] = lambda: None,
) -> dict:
    """Write one file of records, and return what it holds.

    Args:
        shard: from `plan`.
        dataset: folder with images/ and annotations/, as lesson 03 writes it.
        folder: gets the file, under the shard's name.
        label_map: label -> id, from 1.
        open_: opens a path for reading ("rb") or writing ("wb"), wherever it lies.
        on_image: called after each image.

    Returns:
        dict of plain values: the file's size and crc32c, the images and annotations of the COCO
        json, and one row of examples.csv for each record.

    Raises:
        CourseError: as `make_example`, or a file is missing; the file is named.
    """
    images, objects, examples = [], [], []
    with open_(f"{folder}/{shard.name}", "wb") as file:
        writer = Writer(file)
        for number, name, clip in shard.rows:
            path = annotation_path(dataset, name)
            annotation = parse_voc(_contents(path, open_), path)
            picture = _contents(f"{dataset}/images/{name}", open_)
            example, how = make_example(picture, annotation, label_map, number)
            writer.write(serialized(example))
            images.append(_coco_image(number, annotation, clip))
            objects += _coco_objects(number, annotation, label_map)
            where = (shard.split, shard.name, writer.records)
            digest = feature_text(example, "image/key/sha256")
            examples.append((number, name, clip, *where, how, digest))
            on_image()
    return {
        "name": shard.name,
        "split": shard.split,
        "size": writer.size,
        "crc32c": writer.crc32c,
        "images": images,
        "annotations": objects,
        "examples": examples,
    }


def annotation_path(dataset: str | Path, image: str) -> str:
    """Return where the annotation of an image lies, by the image's file name."""
    return f"{dataset}/annotations/{os.path.splitext(image)[0]}.xml"


def _contents(path: str, open_: Callable) -> bytes:
    try:
        with open_(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise CourseError(
            f"{path}: missing, and split.csv lists it; delete the folder of lesson 03, run it again"
        ) from None


def _coco_image(number: int, annotation: Annotation, clip: str) -> dict:
    return {
        "id": number,
        "file_name": annotation.image,
        "width": annotation.width,
        "height": annotation.height,
        "clip": clip,
    }


def _coco_objects(number: int, annotation: Annotation, label_map: Mapping[str, int]) -> list[dict]:
    """Objects as COCO has them, but for their own ids, which `finish` gives."""
    # Difficult objects get `iscrowd` 1, with which the COCO evaluation neither counts nor misses
    # them. Boxes are [x, y, width, height] in pixels. Source: cocodataset.org, "Data format".
    return [
        {
            "image_id": number,
            "category_id": label_map[box.label],
            "bbox": [box.xmin, box.ymin, box.xmax - box.xmin, box.ymax - box.ymin],
            "area": box.area,
            "iscrowd": int(box.difficult),
        }
        for box in annotation.boxes
    ]


def finish(
    planned: Sequence[Shard],
    dataset: str,
    folder: str,
    label_map: Mapping[str, int],
    *,
    open_: Callable = open,
) -> dict:
    """Write what describes the records of `planned`, from the notes that lie next to them.

    That is train.json, val.json and, where there is a test, test.json (COCO), examples.csv and
    label_map.pbtxt. Says how many images were not copied as they are, and returns the counts for
    the manifest.
    """

    def written(name: str) -> io.TextIOWrapper:
        return io.TextIOWrapper(open_(f"{folder}/{name}", "wb"), "utf-8", newline="")

    found = []
    for shard in planned:
        with open_(f"{folder}/{shard.notes}", "rb") as file:
            found.append(json.loads(file.read()))
    examples = [row for notes in found for row in notes["examples"]]
    with written(EXAMPLES) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows(examples)
    stored = Counter(row[_COLUMNS.index("stored")] for row in examples)
    counts: dict = {"stored": dict(stored)}
    splits = list(dict.fromkeys(shard.split for shard in planned))
    for split in splits:
        parts = [notes for notes in found if notes["split"] == split]
        images = [image for notes in parts for image in notes["images"]]
        objects = [item for notes in parts for item in notes["annotations"]]
        truth = {
            "images": images,
            "annotations": [{"id": number} | item for number, item in enumerate(objects, 1)],
            "categories": [{"id": number, "name": label} for label, number in label_map.items()],
        }
        with written(f"{split}.json") as file:
            file.write(json.dumps(truth) + "\n")
        per_class = Counter(item["category_id"] for item in objects)
        counts[split] = {
            "images": len(images),
            "boxes": {label: per_class[number] for label, number in label_map.items()},
            "difficult": sum(item["iscrowd"] for item in objects),
            "shards": [notes["name"] for notes in parts],
        }
    with open_(f"{folder}/label_map.pbtxt", "wb") as file:
        file.write(_contents(f"{dataset}/label_map.pbtxt", open_))
    checksums = {notes["name"]: notes["crc32c"] for notes in found}
    for name in (EXAMPLES, *(f"{split}.json" for split in splits), "label_map.pbtxt"):
        checksums[name] = crc32c(f"{folder}/{name}", open_)
    _report_conversions(stored)
    return counts | {"crc32c": dict(sorted(checksums.items()))}


def _report_conversions(stored: Mapping[str, int]) -> None:
    if listed := ", ".join(f"{n} {how}" for how, n in stored.items() if how != "copied"):
        print(f"Encoded again as JPEG, not copied byte for byte: {listed} ({EXAMPLES} says which).")


def print_counts(counts: Mapping[str, dict]) -> None:
    """Print a line for each split of what `verify_records` returns or a manifest states."""
    for split in (name for name in (*SPLITS, "all") if name in counts):
        boxes = ", ".join(f"{n} {label}" for label, n in counts[split]["boxes"].items())
        print(f"{split}: {counts[split]['images']} images, {boxes}")
