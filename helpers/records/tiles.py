"""What a network reads: records at its input size, cut into tiles where objects are small.

Decoding and shrinking a 1080p image takes longer than training on it, so it is done once. And a
far object fills a thousandth of a frame, so nearly all of a training step is spent on road and
sky. Trained on tiles around the objects, a detector sees several times as many objects in the
same time; being made of convolutions, it then runs on whole frames.
"""

import hashlib
import itertools
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from helpers.annotations.folders import SPLITS
from helpers.common.artifacts import artifact, read_manifest
from helpers.common.errors import CourseError
from helpers.common.files import read_json
from helpers.common.images import fit, fitted_size
from helpers.records.examples import BOX_KEYS, boxes_of, image_of
from helpers.records.tfrecord import (
    Example,
    Message,
    Writer,
    crc32c,
    feature_text,
    feature_values,
    read_examples,
    serialized,
    set_values,
    training_examples,
)

MARGIN = 4  # pixels kept around the object of a tile
LARGEST = 0.85  # of a tile's side: larger objects leave no surroundings to learn from
KEPT = 0.5  # of a box must lie in the tile, or it is left out

_PER_OBJECT = tuple(
    f"image/object/{key}"
    for key in ("class/text", "class/label", "difficult", "truncated", "is_crowd")
)


@artifact("prepare_records")
def prepare_records(
    records: Path,
    folder: Path,
    *,
    height: int,
    width: int,
    tile: int | None = None,
    per_object: int = 2,
    per_image: int = 2,
    seed: int = 0,
) -> dict:
    """Copy records with each image shrunk to fit height x width, the training ones as tiles.

    Each object gets `per_object` tiles, in which it lies at a random place. Each image gets
    `per_image` more at random, which mostly show background: what a detector has not seen as
    background it takes for an object. Objects marked difficult get no tile of their own.
    Held-out images stay whole. The COCO files, with boxes in original pixels, are copied.

    Args:
        records: folder written by lesson 04.
        folder: gets the copies.
        height, width: of the network's input, pixels.
        tile: side of the tiles, pixels of the shrunk image; None keeps images whole.
        per_object: tiles around each object.
        per_image: tiles anywhere in each image.
        seed: of the places.

    Raises:
        CourseError: a shrunk image is smaller than a tile.
    """
    from helpers.common.progress import tqdm

    counts = read_manifest(records)["counts"]
    draw = random.Random(seed)
    tiles = 0
    total = sum(counts[split]["images"] for split in SPLITS if split in counts)
    with tqdm(total=total, desc="tiles" if tile else "shrinking", unit="image") as bar:
        for source in sorted(records.glob("*.tfrecord")):
            with open(folder / source.name, "wb") as file:
                writer = Writer(file)
                for example in read_examples(source):
                    image = fit(image_of(example), height, width)
                    if tile and source.name.startswith("train-"):
                        for corner in _corners(example, image, tile, per_object, per_image, draw):
                            tiles += 1
                            writer.write(serialized(_cut(example, image, corner, tile, tiles)))
                    else:
                        _set_image(example, image)
                        writer.write(serialized(example))
                    bar.update()
    for source in [*records.glob("*.json"), *records.glob("*.pbtxt")]:
        if source.name != "manifest.json":
            shutil.copyfile(source, folder / source.name)
    if tile:
        train = {"images": tiles, "from_images": counts["train"]["images"]}
        whole = {split: counts[split] for split in SPLITS[1:] if split in counts}
        counts = {"tile": tile, "train": train} | whole
    return counts | {"crc32c": {path.name: crc32c(path) for path in sorted(folder.iterdir())}}


def tiles_help(records: Path, tile: int, height: int, width: int) -> bool:
    """Whether to cut tiles: objects are small next to a tile, and images larger than one.

    Reads train.json of `records`; once images have shrunk to fit height x width, 19 of 20
    objects must be at most LARGEST of a tile large.
    """
    data = read_json(records / "train.json")
    small = {
        image["id"]: fitted_size(image["height"], image["width"], height, width)
        for image in data["images"]
    }
    scale = {image["id"]: small[image["id"]][1] / image["width"] for image in data["images"]}
    sides = [max(a["bbox"][2:]) * scale[a["image_id"]] for a in data["annotations"]]
    large_enough = all(min(size) >= tile for size in small.values())
    return bool(sides) and large_enough and np.percentile(sides, 95) <= LARGEST * tile


def first_images(records: Path, count: int) -> list[np.ndarray]:
    """Return the first training images of a folder of records: RGB, uint8."""
    return [image_of(example) for example in itertools.islice(training_examples(records), count)]


def _set_image(example: Message, image: np.ndarray) -> None:
    """Put another image into an example; boxes are relative and stay, areas are scaled."""
    # Full colour resolution: with the usual half, a red rim two pixels wide would be gone.
    options = [cv2.IMWRITE_JPEG_QUALITY, 95]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()
    height, width = image.shape[:2]
    old = math.prod(feature_values(example, f"image/{side}")[0] for side in ("height", "width"))
    areas = feature_values(example, "image/object/area")
    set_values(example, "image/object/area", [area * height * width / old for area in areas])
    set_values(example, "image/encoded", [data])
    set_values(example, "image/key/sha256", [hashlib.sha256(data).hexdigest().encode()])
    set_values(example, "image/format", [b"jpeg"])
    set_values(example, "image/height", [height])
    set_values(example, "image/width", [width])


def _corners(
    example: Message,
    image: np.ndarray,
    tile: int,
    per_object: int,
    per_image: int,
    draw: random.Random,
) -> Iterator[tuple[int, int]]:
    """Yield the top left corner (x, y) of each tile of an image."""
    height, width = image.shape[:2]
    if min(width, height) < tile:
        raise CourseError(
            f"{feature_text(example, 'image/filename')}: an image of {width}x{height} is smaller "
            f"than a tile of {tile}; train on whole images (tile = None)"
        )
    for box in boxes_of(example, (width, height)):
        for _ in range(0 if box.difficult else per_object):
            yield (
                _start(box.xmin, box.xmax, width, tile, draw),
                _start(box.ymin, box.ymax, height, tile, draw),
            )
    for _ in range(per_image):
        yield draw.randint(0, width - tile), draw.randint(0, height - tile)


def _start(low: float, high: float, size: int, tile: int, draw: random.Random) -> int:
    """Return where a tile may start so that [low, high] lies in it, drawn at random."""
    first, last = int(high + MARGIN - tile), int(low - MARGIN)
    if first > last:  # larger than a tile: its middle
        first = last = int((low + high - tile) / 2)
    first, last = max(0, min(first, size - tile)), max(0, min(last, size - tile))
    return draw.randint(min(first, last), max(first, last))


def _cut(
    example: Message, image: np.ndarray, corner: tuple[int, int], tile: int, number: int
) -> Message:
    """Return the example of one tile, with the boxes that lie in it by half or more."""
    x, y = corner
    height, width = image.shape[:2]
    boxes = np.array([box.xyxy for box in boxes_of(example, (width, height))]).reshape(-1, 4)
    moved = boxes - [x, y, x, y]
    inside = moved.clip(0, tile)
    area, kept_area = (
        (b[:, 2] - b[:, 0]).clip(0) * (b[:, 3] - b[:, 1]).clip(0) for b in (moved, inside)
    )
    keep = np.flatnonzero(kept_area >= KEPT * area.clip(1e-6))
    cut = Example()
    cut.CopyFrom(example)
    _set_image(cut, image[y : y + tile, x : x + tile])
    for key, edges in zip(BOX_KEYS, inside[keep].T, strict=True):
        set_values(cut, key, (edges / tile).tolist())
    set_values(cut, "image/object/area", kept_area[keep].tolist())
    for key in _PER_OBJECT:
        values = feature_values(cut, key)
        set_values(cut, key, [values[i] for i in keep])
    set_values(cut, "image/source_id", [str(number).encode()])
    return cut
