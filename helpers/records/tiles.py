"""What a network reads: records at its input size, cut into tiles where objects are small.

Decoding and shrinking a 1080p image takes longer than training on it, so it is done once. And a
far object fills a thousandth of a frame, so nearly all of a training step is spent on road and
sky. Trained on tiles around the objects, a detector sees several times as many objects in the
same time; being made of convolutions, it then runs on whole frames.
"""

import hashlib
import json
import random
import shutil
from pathlib import Path

import cv2
import numpy as np

from helpers.common.artifacts import artifact, read_manifest
from helpers.common.errors import CourseError
from helpers.common.images import fit, fitted_size
from helpers.records.tfrecord import Writer, crc32c, feature_values, read_examples, serialized

MARGIN = 4  # pixels kept around the object of a tile
LARGEST = 0.85  # of a tile's side: larger objects leave no surroundings to learn from
KEPT = 0.5  # of a box must lie in the tile, or it is left out

_EDGES = tuple(f"image/object/bbox/{edge}" for edge in ("xmin", "ymin", "xmax", "ymax"))
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
        height, width: of the network's input, pixels.
        tile: side of the tiles, pixels of the shrunk image; None keeps images whole.
        per_object: tiles around each object.
        per_image: tiles anywhere in each image.
        seed: of the places.

    Raises CourseError when a shrunk image is smaller than a tile.
    """
    from tqdm.auto import tqdm

    counts = read_manifest(records)["counts"]
    draw = random.Random(seed)
    tiles = 0
    total = counts["train"]["images"] + counts["val"]["images"]
    with tqdm(total=total, desc="tiles" if tile else "shrinking", unit="image") as bar:
        for source in sorted(records.glob("*.tfrecord")):
            with open(folder / source.name, "wb") as file:
                writer = Writer(file)
                for item in read_examples(source):
                    image = fit(decoded_image(item), height, width)
                    if tile and source.name.startswith("train-"):
                        corners = _corners(item, image, tile, per_object, per_image, draw)
                        for corner in corners:
                            tiles += 1
                            cut = _cut(item, image, corner, tile, tiles)
                            writer.write(serialized(cut))
                    else:
                        _set_image(item, image)
                        writer.write(serialized(item))
                    bar.update()
    for source in [*records.glob("*.json"), *records.glob("*.pbtxt")]:
        if source.name != "manifest.json":
            shutil.copyfile(source, folder / source.name)
    if tile:
        train = {"images": tiles, "from_images": counts["train"]["images"]}
        counts = {"tile": tile, "train": train, "val": counts["val"]}
    return counts | {"crc32c": {path.name: crc32c(path) for path in sorted(folder.iterdir())}}


def tiles_help(records: Path, tile: int, height: int, width: int) -> bool:
    """Whether to cut tiles: objects are small beside a tile, and images larger than one.

    Reads train.json of `records`; once images have shrunk to fit height x width, 19 of 20
    objects must be at most LARGEST of a tile large.
    """
    data = json.loads((records / "train.json").read_text())
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
    found = []
    for path in sorted(records.glob("train-*.tfrecord")):
        for item in read_examples(path):
            if len(found) == count:
                return found
            found.append(cv2.cvtColor(decoded_image(item), cv2.COLOR_BGR2RGB))
    return found


def decoded_image(item) -> np.ndarray:
    """Return the image of an example: BGR, uint8, [height, width, 3]."""
    encoded = np.frombuffer(feature_values(item, "image/encoded")[0], np.uint8)
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def _set_image(item, image: np.ndarray) -> None:
    """Put another BGR image into an example; boxes are relative and stay, areas are scaled."""
    feature = item.features.feature
    # Full colour resolution: with the usual half, a red rim two pixels wide would be gone.
    options = [cv2.IMWRITE_JPEG_QUALITY, 95]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    data = cv2.imencode(".jpg", image, options)[1].tobytes()
    height, width = image.shape[:2]
    old = feature_values(item, "image/height")[0] * feature_values(item, "image/width")[0]
    areas = feature["image/object/area"].float_list.value
    areas[:] = [area * height * width / old for area in areas]
    feature["image/encoded"].bytes_list.value[:] = [data]
    feature["image/key/sha256"].bytes_list.value[:] = [hashlib.sha256(data).hexdigest().encode()]
    feature["image/format"].bytes_list.value[:] = [b"jpeg"]
    feature["image/height"].int64_list.value[:] = [height]
    feature["image/width"].int64_list.value[:] = [width]


def boxes(item, image: np.ndarray) -> np.ndarray:
    """Return the boxes of an example in pixels of `image`, xyxy, [n, 4]."""
    height, width = image.shape[:2]
    edges = np.array([feature_values(item, edge) for edge in _EDGES], float)
    return edges.T.reshape(-1, 4) * [width, height, width, height]


def _corners(item, image, tile: int, per_object: int, per_image: int, draw: random.Random):
    """Yield the left top corner (x, y) of each tile of an image."""
    height, width = image.shape[:2]
    if min(width, height) < tile:
        name = b"".join(feature_values(item, "image/filename")).decode(errors="replace")
        raise CourseError(
            f"{name}: an image of {width}x{height} is smaller than a tile of {tile}; "
            "train on whole images (tile = None)"
        )
    difficult = feature_values(item, "image/object/difficult")
    for box, skip in zip(boxes(item, image), difficult, strict=True):
        for _ in range(0 if skip else per_object):
            yield (
                _start(box[0], box[2], width, tile, draw),
                _start(box[1], box[3], height, tile, draw),
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


def _cut(item, image: np.ndarray, corner: tuple[int, int], tile: int, number: int):
    """Return the example of one tile, with the boxes that lie in it by half or more."""
    x, y = corner
    moved = boxes(item, image) - [x, y, x, y]
    inside = moved.clip(0, tile)
    area, kept_area = (
        (b[:, 2] - b[:, 0]).clip(0) * (b[:, 3] - b[:, 1]).clip(0) for b in (moved, inside)
    )
    keep = np.flatnonzero(kept_area >= KEPT * area.clip(1e-6))
    cut = type(item)()
    cut.CopyFrom(item)
    _set_image(cut, image[y : y + tile, x : x + tile])
    feature = cut.features.feature
    for i, edge in enumerate(_EDGES):
        feature[edge].float_list.value[:] = inside[keep, i] / tile
    feature["image/object/area"].float_list.value[:] = kept_area[keep]
    for key in _PER_OBJECT:
        kept = getattr(feature[key], feature[key].WhichOneof("kind") or "int64_list").value
        kept[:] = [kept[i] for i in keep]
    feature["image/source_id"].bytes_list.value[:] = [str(number).encode()]
    return cut
