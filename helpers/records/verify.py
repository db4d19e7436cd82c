"""`verify_records`: records read back, and every one checked."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from helpers.annotations.folders import SPLITS
from helpers.annotations.label_map import read_label_map
from helpers.common.artifacts import MANIFEST, read_manifest
from helpers.common.errors import CourseError
from helpers.common.images import UNREADABLE
from helpers.records.examples import BOX_KEYS
from helpers.records.tfrecord import Message, crc32c, feature_text, feature_values, read_examples


def verify_records(folder: Path | str) -> dict[str, dict]:
    """Read records back and check every one; return the counts per split and class.

    Checks that each record is whole (CRC) and its image decodes to the stated size, boxes
    lie in [0, 1] and are not inverted, labels are in the label map with their id, ids are
    unique whole numbers and those of the COCO json, no file comes twice, counts agree with the
    manifest, Model Garden's parser gets the boxes that the COCO json states, and each file has
    the checksum that the manifest states.

    Records from elsewhere have no manifest and no json of this course: of those, only what
    each record says by itself is checked, and label_map.pbtxt must lie next to them.

    Raises:
        CourseError: at the first fault.
    """
    from tqdm.auto import tqdm

    folder = Path(folder)
    label_map = read_label_map(folder / "label_map.pbtxt")
    if not (folder / MANIFEST).is_file():
        return _verify_foreign(folder, label_map)
    manifest = read_manifest(folder)["counts"]
    ids: dict[int, str] = {}
    images: dict[str, str] = {}
    counts = {}
    total = sum(manifest[split]["images"] for split in SPLITS)
    with tqdm(total=2 * total, desc="verify", unit="image", mininterval=0.2) as bar:
        for split in SPLITS:
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
                        f"{manifest[split][key]}; write the records again (lesson 04)"
                    )
            truth = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
            if ids.keys() - earlier != {image["id"] for image in truth["images"]}:
                raise CourseError(
                    f"{folder.name}: {split}.json: its image ids are not those of the records; "
                    "write both again (lesson 04)"
                )
            _check_parsed(files, truth, f"{folder.name}: {split}", bar.update)
    for name, stated in manifest["crc32c"].items():
        if (actual := crc32c(folder / name)) != stated:
            raise CourseError(
                f"{folder.name}: {name}: checksum {actual}, the manifest says {stated}: it was "
                "changed since; write the records again (lesson 04)"
            )
    return counts


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
    for where, example in _located(files):
        check_example(example, where, label_map)
        number = int(feature_text(example, "image/source_id"))
        if (first := ids.setdefault(number, where)) != where:
            raise CourseError(
                f"{where}: source_id {number} is also that of {first}; ids must be unique"
            )
        yield where, example


def _located(files: Sequence[Path]) -> Iterator[tuple[str, Message]]:
    """Yield (where, example) for each record: file, number and image, for messages."""
    for path in files:
        for number, example in enumerate(read_examples(path), 1):
            name = feature_text(example, "image/filename")
            yield f"{path.name}: record {number} ({name})", example


def check_example(example: Message, where: str, label_map: Mapping[str, int]) -> None:
    """Raise CourseError, which begins with `where`, unless an example is fit to train on."""
    source_id = feature_text(example, "image/source_id")
    if not (source_id.isascii() and source_id.isdecimal()):
        raise CourseError(
            f"{where}: source_id {source_id!r}; it must be a whole number (lesson 04)"
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
        raise CourseError(f"{where}: image does not decode ({error}); write it again") from None
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


def _check_parsed(
    files: Sequence[Path], truth: dict, where: str, on_image: Callable[[], object]
) -> None:
    """CourseError unless Model Garden's parser gets the boxes of `truth` (COCO) from `files`."""
    import numpy as np
    import tensorflow as tf

    expected = _expected(truth)
    data = tf.data.TFRecordDataset([str(path) for path in files])
    data = data.map(
        _parse_function(max(map(len, expected.values()), default=0) or 1),
        num_parallel_calls=os.cpu_count() or 1,
        deterministic=True,
    )
    try:
        for number, found in data.as_numpy_iterator():
            stated = np.array(expected[int(number)], np.float32).reshape(-1, 7)
            more = (found[len(stated) :, 4] >= 0).any()  # rows that only pad are of class -1
            if more or not np.allclose(found[: len(stated)], stated, rtol=1e-4, atol=1e-5):
                raise CourseError(
                    f"{where}: image {int(number)}: Model Garden's parser gets other boxes than "
                    "the COCO json states; write both again (lesson 04)"
                )
            on_image()
    except tf.errors.InvalidArgumentError as error:
        raise CourseError(_undecodable(files) or f"{where}: {error.message}") from None


def _expected(truth: dict) -> dict[int, list[tuple]]:
    """Image id -> (ymin, xmin, ymax, xmax, class, crowd, area) of its objects in a COCO json."""
    # As fractions of the image: records may hold it smaller than it was, the json does not.
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    expected: dict[int, list] = {number: [] for number in sizes}
    for item in truth["annotations"]:
        (x, y, width, height), (rows, columns) = item["bbox"], sizes[item["image_id"]]
        box = (y / rows, x / columns, (y + height) / rows, (x + width) / columns)
        label = (item["category_id"], item["iscrowd"], item["area"] / rows / columns)
        expected[item["image_id"]].append(box + label)
    return expected


def _parse_function(most_objects: int) -> Callable:
    """A function from a serialized record to its id and rows as in `_expected`, padded."""
    import tensorflow as tf
    from official.vision.dataloaders import retinanet_input, tf_example_decoder

    # Of the network only the size of its input is asked for here, and boxes come back in
    # pixels of the image: the smallest will do.
    parser = retinanet_input.Parser(
        output_size=[32, 32],
        min_level=3,
        max_level=5,
        num_scales=1,
        aspect_ratios=[1.0],
        anchor_size=4.0,
        max_num_instances=most_objects,
    )
    decode = tf_example_decoder.TfExampleDecoder().decode
    parse = parser.parse_fn(is_training=False)

    def parsed(record):
        found = parse(decode(record))[1]["groundtruths"]
        rows, columns = (tf.cast(found[side], tf.float32) for side in ("height", "width"))
        boxes = found["boxes"] / tf.stack([rows, columns, rows, columns])
        labels = (found["classes"], found["is_crowds"], found["areas"] / rows / columns)
        parts = (*tf.unstack(boxes, axis=1), *labels)
        return found["source_id"], tf.stack([tf.cast(p, tf.float32) for p in parts], axis=1)

    return parsed


def _undecodable(files: Sequence[Path]) -> str | None:
    """What is wrong with the first image that does not decode: TensorFlow does not say which."""
    from PIL import Image

    for where, example in _located(files):
        try:
            with Image.open(io.BytesIO(feature_values(example, "image/encoded")[0])) as image:
                image.load()
        except UNREADABLE as error:
            return f"{where}: image does not decode ({error}); write it again"
    return None
