"""Tiles: small cut-outs of large images.

A far object fills a thousandth of a frame, so nearly all of a training step is spent on road
and sky. Trained on tiles around the objects, a detector sees several times as many objects in
the same time; being made of convolutions, it then runs on whole frames.
"""

import hashlib
import random
import shutil
from pathlib import Path

import cv2
import numpy as np

from helpers.artifacts import artifact, read_manifest
from helpers.errors import CourseError

MARGIN = 4  # pixels kept around the object of a tile
LARGEST = 0.6  # of a tile's side: larger objects leave no surroundings to learn from
KEPT = 0.5  # of a box must lie in the tile, or it is left out


@artifact
def tile_records(
    records: Path, folder: Path, *, tile: int, per_object: int = 2, seed: int = 0
) -> dict:
    """Copy records, with tiles in place of the training images.

    Each object gets `per_object` tiles, in which it lies at a random place, and each image one
    at random, which mostly shows background. Objects marked difficult get none of their own.
    Held-out images and COCO files are copied as they are.

    Args:
        records: folder of records at the size that the network reads.
        tile: side of the tiles, pixels.
        per_object: tiles around each object.
        seed: of the places.

    Raises CourseError when an image is smaller than a tile.
    """
    import tensorflow as tf
    from tqdm.auto import tqdm

    counts = read_manifest(records)["counts"]
    draw = random.Random(seed)
    number = 0
    with tqdm(total=counts["train"]["images"], desc="tiles", unit="image") as bar:
        for source in sorted(records.glob("*.tfrecord")):
            if not source.name.startswith("train-"):
                shutil.copyfile(source, folder / source.name)
                continue
            with tf.io.TFRecordWriter(str(folder / source.name)) as writer:
                for record in tf.data.TFRecordDataset(str(source)).as_numpy_iterator():
                    example = tf.train.Example.FromString(record)
                    for corner in _corners(example, tile, per_object, draw, source.name):
                        number += 1
                        writer.write(_cut(example, corner, tile, number))
                    bar.update()
    for source in [*records.glob("*.json"), *records.glob("*.pbtxt")]:
        if source.name != "manifest.json":
            shutil.copyfile(source, folder / source.name)
    train = {"images": number, "from_images": counts["train"]["images"]}
    return {"tile": tile, "train": train, "val": counts["val"]}


def fits(records: Path, tile: int, height: int, width: int) -> bool:
    """Whether tiles are of use: objects are small beside a tile, and images larger than one.

    Reads train.json of `records`; 19 of 20 objects must be at most LARGEST of a tile large once the
    image has shrunk to fit height x width.
    """
    import json

    from helpers.detector import fitted_size

    data = json.loads((records / "train.json").read_text())
    small = {
        image["id"]: fitted_size(image["height"], image["width"], height, width)
        for image in data["images"]
    }
    scale = {image["id"]: small[image["id"]][1] / image["width"] for image in data["images"]}
    sides = [max(a["bbox"][2:]) * scale[a["image_id"]] for a in data["annotations"]]
    large_enough = all(min(size) >= tile for size in small.values())
    return bool(sides) and large_enough and np.percentile(sides, 95) <= LARGEST * tile


def _boxes(example) -> np.ndarray:
    """Boxes in pixels, xyxy, [n, 4]."""
    feature = example.features.feature
    width, height = (feature[f"image/{s}"].int64_list.value[0] for s in ("width", "height"))
    edges = [
        feature[f"image/object/bbox/{edge}"].float_list.value
        for edge in ("xmin", "ymin", "xmax", "ymax")
    ]
    return np.array(edges, float).T.reshape(-1, 4) * [width, height, width, height]


def _corners(example, tile: int, per_object: int, draw: random.Random, name: str):
    """Yield the left top corner (x, y) of each tile of an image."""
    feature = example.features.feature
    width, height = (feature[f"image/{s}"].int64_list.value[0] for s in ("width", "height"))
    if min(width, height) < tile:
        raise CourseError(
            f"{name}: an image of {width}x{height} is smaller than a tile of {tile}; "
            "train on whole images (tile = None)"
        )
    difficult = feature["image/object/difficult"].int64_list.value
    for box, skip in zip(_boxes(example), difficult, strict=True):
        if skip:
            continue
        for _ in range(per_object):
            yield tuple(
                _start(box[i], box[i + 2], size, tile, draw)
                for i, size in ((0, width), (1, height))
            )
    yield draw.randint(0, width - tile), draw.randint(0, height - tile)


def _start(low: float, high: float, size: int, tile: int, draw: random.Random) -> int:
    """Return where a tile may start so that [low, high] lies in it, drawn at random."""
    first, last = int(high + MARGIN - tile), int(low - MARGIN)
    if first > last:  # larger than a tile: its middle
        first = last = int((low + high - tile) / 2)
    first, last = max(0, min(first, size - tile)), max(0, min(last, size - tile))
    return draw.randint(min(first, last), max(first, last))


def _cut(example, corner: tuple[int, int], tile: int, number: int) -> bytes:
    import tensorflow as tf

    from helpers.training import encode_jpeg

    cut = tf.train.Example()
    cut.CopyFrom(example)
    feature = cut.features.feature
    encoded = np.frombuffer(feature["image/encoded"].bytes_list.value[0], np.uint8)
    x, y = corner
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[y : y + tile, x : x + tile]
    data = encode_jpeg(image)
    boxes = _boxes(example) - [x, y, x, y]
    inside = boxes.clip(0, tile)
    area, kept_area = (
        (b[:, 2] - b[:, 0]).clip(0) * (b[:, 3] - b[:, 1]).clip(0) for b in (boxes, inside)
    )
    keep = np.flatnonzero(kept_area >= KEPT * area.clip(1e-6))
    for i, edge in enumerate(("xmin", "ymin", "xmax", "ymax")):
        feature[f"image/object/bbox/{edge}"].float_list.value[:] = inside[keep, i] / tile
    feature["image/object/area"].float_list.value[:] = kept_area[keep]
    for key, kind in (
        ("class/text", "bytes_list"),
        ("class/label", "int64_list"),
        ("difficult", "int64_list"),
        ("truncated", "int64_list"),
        ("is_crowd", "int64_list"),
    ):
        values = getattr(feature[f"image/object/{key}"], kind).value
        values[:] = [values[i] for i in keep]
    feature["image/encoded"].bytes_list.value[0] = data
    feature["image/key/sha256"].bytes_list.value[0] = hashlib.sha256(data).hexdigest().encode()
    feature["image/source_id"].bytes_list.value[0] = str(number).encode()
    feature["image/height"].int64_list.value[0] = tile
    feature["image/width"].int64_list.value[0] = tile
    return cut.SerializeToString(deterministic=True)
