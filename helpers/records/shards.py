"""TFRecord files for training, with a COCO json of the same images for scoring.

Each example carries the keys that Model Garden and the old Object Detection API both read.
Model Garden trains without a word on a wrong label id, an inverted box or ids that are no
numbers; so everything is checked before it is written, and `verify` reads it back.

The unit of work is the shard: `plan` says which examples go into which file, `write_shard`
writes one. `write` does all of them on this machine, `helpers.beam_records` on many.

python -m helpers.records write runs/mine/03_dataset runs/mine/04_records --shards 8
python -m helpers.records verify runs/mine/04_records
"""

import argparse
import csv
import hashlib
import io
import json
import multiprocessing
import os
import random
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from helpers.annotations.boxes import Annotation, check_boxes
from helpers.annotations.folders import SPLITS
from helpers.annotations.label_map import read_label_map
from helpers.annotations.voc import parse_voc
from helpers.common.artifacts import MANIFEST, artifact, fingerprint_of, read_manifest
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.records import tfrecord
from helpers.records.tfrecord import feature_text, feature_values, read_examples

_COPIED = {"JPEG": ("jpeg", ("L", "RGB")), "PNG": ("png", None)}
_ORIENTATION = 0x0112  # the EXIF tag
EXAMPLES = "examples.csv"
# Threads start at once, and large files keep them out of each other's way. Python lets only one
# of them run, though: with many small files, processes are worth the half second of their start.
PROCESSES_FROM = 2000
_COLUMNS = ("source_id", "image", "clip", "split", "shard", "record", "stored", "sha256")


def example(image_bytes: bytes, annotation: Annotation, label_map: Mapping[str, int], source_id):
    """One `tf.train.Example` of an image file's bytes and its annotation.

    JPEG and PNG bytes are taken over as they are; other formats, and images that EXIF turns,
    are written anew as upright JPEG of quality 95. Boxes become fractions of the image, in
    [0, 1]. `source_id` must be a whole number: the COCO scores need it. CourseError for a file
    that is no image, or whose size is not its annotation's, a faulty box, or a label that is
    not in the label map.
    """
    data, stored, _ = _encoded(image_bytes, annotation)
    item = _without_image(data, stored, annotation, label_map, source_id)
    item.features.feature["image/encoded"].bytes_list.value.append(data)
    return item


def _without_image(
    data: bytes, stored: str, annotation: Annotation, label_map: Mapping[str, int], source_id
):
    """The example of `data`, but for "image/encoded"."""
    check_boxes(annotation, annotation.source or annotation.image)
    for number, box in enumerate(annotation.boxes, 1):
        if box.label not in label_map:
            known = ", ".join(label_map)
            raise CourseError(
                f"{annotation.source or annotation.image}: object {number}: label {box.label!r} "
                f"is not in the label map ({known}); rename it, or add it to the map"
            )
    item = tfrecord.Example()
    boxes, width, height = annotation.boxes, annotation.width, annotation.height

    def words(key: str, *values: str):
        item.features.feature[key].bytes_list.value.extend(v.encode() for v in values)

    def whole(key: str, *values: int):
        item.features.feature[key].int64_list.value.extend(values)

    def real(key: str, *values: float):
        item.features.feature[key].float_list.value.extend(values)

    words("image/format", stored)
    words("image/filename", annotation.image)
    whole("image/height", height)
    whole("image/width", width)
    words("image/source_id", str(int(source_id)))
    words("image/key/sha256", hashlib.sha256(data).hexdigest())
    real("image/object/bbox/xmin", *(box.xmin / width for box in boxes))
    real("image/object/bbox/xmax", *(box.xmax / width for box in boxes))
    real("image/object/bbox/ymin", *(box.ymin / height for box in boxes))
    real("image/object/bbox/ymax", *(box.ymax / height for box in boxes))
    words("image/object/class/text", *(box.label for box in boxes))
    whole("image/object/class/label", *(label_map[box.label] for box in boxes))
    whole("image/object/difficult", *(int(box.difficult) for box in boxes))
    whole("image/object/truncated", *(int(box.truncated) for box in boxes))
    # Model Garden drops the boxes of "crowds", so what is there counts as background in training,
    # and the scorer looks away: right for difficult objects, which a detector of this input
    # size cannot be asked to see.
    whole("image/object/is_crowd", *(int(box.difficult) for box in boxes))
    real("image/object/area", *(box.area for box in boxes))
    return item


@dataclass(frozen=True)
class Shard:
    """One file of records to be: its name, its split, and which examples go into it.

    `rows` are (source_id, image file name, clip), in the order of the records.
    """

    name: str
    split: str
    rows: tuple[tuple[int, str, str], ...]


def plan(rows: Sequence[Mapping[str, str]], shards: int) -> list[Shard]:
    """Share out the rows of `split.csv` (image, clip, split) over `shards` files per split.

    Ids count the rows from 1. Training images are shuffled once, with a fixed seed, so that a
    small shuffle buffer sees more than one clip. A split of fewer images gets as many files as
    it has images. CourseError when a split has none, or for an image that comes twice.
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
        if not chosen:
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
    on_image: Callable[[], None] | None = None,
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
        dict of plain values: the file's size and crc32c, per-label counts, the images and
        annotations of the COCO json, and one row of examples.csv for each record.

    Raises CourseError as in `example`, naming the file.
    """
    images, objects, rows = [], [], []
    with open_(f"{folder}/{shard.name}", "wb") as file:
        writer = tfrecord.Writer(file)
        for number, name, clip in shard.rows:
            annotation = _annotation(dataset, name, open_)
            picture = _contents(f"{dataset}/images/{name}", open_)
            data, stored, how = _encoded(picture, annotation)
            item = _without_image(data, stored, annotation, label_map, number)
            writer.write(*tfrecord.with_image(item, data))
            image, found = _coco(number, annotation, label_map)
            images.append(image | {"clip": clip})
            objects += found
            digest = feature_text(item, "image/key/sha256")
            row = (number, name, clip, shard.split, shard.name, writer.records, how, digest)
            rows.append(row)
            if on_image:
                on_image()
    return {
        "name": shard.name,
        "split": shard.split,
        "size": writer.size,
        "crc32c": writer.crc32c,
        "images": images,
        "annotations": objects,
        "examples": rows,
    }


def _annotation(dataset: str, image: str, open_: Callable) -> Annotation:
    path = _xml(dataset, image)
    return parse_voc(_contents(path, open_), path)


def _contents(path: str, open_: Callable) -> bytes:
    try:
        with open_(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise CourseError(f"{path}: missing; run lesson 03 again") from None


def _xml(dataset: str | Path, image: str) -> str:
    return f"{dataset}/annotations/{os.path.splitext(image)[0]}.xml"


def _coco(
    number: int, annotation: Annotation, label_map: Mapping[str, int]
) -> tuple[dict, list[dict]]:
    """Image and objects of the COCO format; the objects' own ids are given by `finish`.

    Boxes are [x, y, width, height] in pixels. Difficult objects get `iscrowd` 1, which makes
    the COCO evaluation neither miss nor reward them. Source: cocodataset.org, "Data format".
    """
    image = {
        "id": number,
        "file_name": annotation.image,
        "width": annotation.width,
        "height": annotation.height,
    }
    objects = [
        {
            "image_id": number,
            "category_id": label_map[box.label],
            "bbox": [box.xmin, box.ymin, box.xmax - box.xmin, box.ymax - box.ymin],
            "area": box.area,
            "iscrowd": int(box.difficult),
        }
        for box in annotation.boxes
    ]
    return image, objects


@artifact("write_records", resumes=True)
def write_records(
    dataset: Path, folder: Path, *, shards: int = 4, workers: int | None = None
) -> dict:
    """Write `04_records` from `03_dataset`: TFRecord files, COCO json, label map, examples.csv.

    Each split gets `shards` files, or as many as it has images (see `plan`). `workers` of them
    (one per processor) are written at a time; the bytes are the same for any number. A run
    that was stopped goes on with the files that it had not finished, unless an image or
    annotation in one of the others has changed since.

    The manifest holds counts per split and class, how images were stored, and the CRC32C of
    each file. CourseError as in `example`, naming the file.
    """
    from tqdm.auto import tqdm

    dataset, folder = Path(dataset), Path(folder)
    label_map = read_label_map(dataset / "label_map.pbtxt")
    rows = read_csv(dataset / "split.csv", ("image", "clip", "split"))
    planned = plan(rows, shards)
    known = {name for shard in planned for name in (shard.name, notes(shard))}
    for path in folder.iterdir():
        if path.name not in known:
            path.unlink()
    with tqdm(total=len(rows), desc="records", unit="image", mininterval=0.2) as bar:
        _write_shards(planned, (dataset, folder, label_map), workers, bar)
    counts = finish(planned, str(dataset), str(folder), label_map)
    for shard in planned:
        (folder / notes(shard)).unlink()
    say_what_is_new(counts)
    return counts


def say_what_is_new(counts: Mapping) -> None:
    """Print how many images were not taken over as they are, by the counts of a manifest."""
    anew = {how: n for how, n in counts["stored"].items() if how != "copied"}
    if anew:
        listed = ", ".join(f"{n} {how}" for how, n in anew.items())
        print(
            f"Not copied byte for byte but written anew as JPEG: {listed} ({EXAMPLES} says which)."
        )


class _Stopped(Exception):
    """Ends a worker whose work is no longer wanted."""


_worker = threading.local()  # of each worker: done (a counter) and stop (an event)


def _write_shards(planned: Sequence[Shard], where: tuple, workers: int | None, bar) -> None:
    """Write the shards of a plan, several at a time, and show it on `bar`."""
    count = min(workers or os.cpu_count() or 1, len(planned))
    context = multiprocessing.get_context("spawn")  # the caller may already run threads
    done, stop = context.Value("q", 0), context.Event()
    shared = (done, stop)
    if count == 1 or bar.total < PROCESSES_FROM:
        pool = ThreadPoolExecutor(count, initializer=_begin, initargs=shared)
    else:
        pool = ProcessPoolExecutor(
            count, mp_context=context, initializer=_begin_process, initargs=shared
        )
    with pool:
        waiting = [pool.submit(_write_one, shard, *where) for shard in planned]
        try:
            while wait(waiting, timeout=0.2, return_when=FIRST_EXCEPTION).not_done:
                bar.update(done.value - bar.n)
                if any(result.done() and result.exception() for result in waiting):
                    break
            for result in waiting:
                if result.done():
                    result.result()
        except BrokenProcessPool:
            raise CourseError(
                "records: a process that wrote them was killed, for want of memory perhaps; the "
                "same call goes on from here"
            ) from None
        except OSError as error:
            raise CourseError(
                f"records: {error.strerror or error}; mend that (free space, rights): the same "
                "call goes on from here"
            ) from error
        finally:
            # Also for Ctrl-C: a shard under way ends with its next image.
            stop.set()
            pool.shutdown(cancel_futures=True)
            bar.update(done.value - bar.n)


def _begin(done, stop) -> None:
    """Run in each worker before its first shard."""
    _worker.done, _worker.stop = done, stop


def _begin_process(done, stop) -> None:
    _begin(done, stop)
    parent = multiprocessing.parent_process()
    # A process whose parent was killed must not go on writing beside the next run.
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which says stop


def _write_one(shard: Shard, dataset: Path, folder: Path, label_map: Mapping[str, int]) -> None:
    def count(images: int = 1) -> None:
        if _worker.stop.is_set():
            raise _Stopped
        with _worker.done.get_lock():
            _worker.done.value += images

    inputs = _inputs(shard, dataset, label_map)
    if _is_finished(folder, shard, inputs):
        return count(len(shard.rows))
    (folder / notes(shard)).unlink(missing_ok=True)
    done = write_shard(shard, str(dataset), str(folder), label_map, on_image=count)
    part = folder / f"{notes(shard)}.part"
    part.write_text(json.dumps({"inputs": inputs} | done), encoding="utf-8")
    part.replace(folder / notes(shard))


def notes(shard: Shard) -> str:
    """Name of the file with what `write_shard` returned, while records are being written."""
    return f"{shard.name}.json"


def finish(
    planned: Sequence[Shard],
    dataset: str,
    folder: str,
    label_map: Mapping[str, int],
    *,
    open_: Callable = open,
) -> dict:
    """Write what describes the records of `planned`, from the notes that lie beside them.

    That is train.json and val.json (COCO), examples.csv and label_map.pbtxt. Returns the counts
    for the manifest. Holds one shard's notes at a time, so that memory does not grow with them.
    """

    def read_notes(shards: Iterable[Shard]) -> Iterator[dict]:
        for shard in shards:
            with open_(f"{folder}/{notes(shard)}", "rb") as file:
                yield json.loads(file.read())

    def written(name: str):
        return io.TextIOWrapper(open_(f"{folder}/{name}", "wb"), "utf-8", newline="")

    stored, checksums = Counter(), {}
    with written(EXAMPLES) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_COLUMNS)
        for found in read_notes(planned):
            table.writerows(found["examples"])
            stored.update(row[_COLUMNS.index("stored")] for row in found["examples"])
            checksums[found["name"]] = found["crc32c"]
    counts: dict = {"stored": dict(stored)}
    labels = {number: label for label, number in label_map.items()}
    for split in SPLITS:
        shards = [shard for shard in planned if shard.split == split]
        images, boxes, difficult = 0, Counter(), 0
        with written(f"{split}.json") as file:
            file.write('{"images": [')
            for found in read_notes(shards):
                for image in found["images"]:
                    file.write((", " if images else "") + json.dumps(image))
                    images += 1
            file.write('], "annotations": [')
            for found in read_notes(shards):
                for item in found["annotations"]:
                    number = boxes.total() + 1
                    file.write((", " if number > 1 else "") + json.dumps({"id": number} | item))
                    boxes[labels[item["category_id"]]] += 1
                    difficult += item["iscrowd"]
            categories = [{"id": number, "name": label} for label, number in label_map.items()]
            file.write(f'], "categories": {json.dumps(categories)}}}\n')
        counts[split] = {
            "images": images,
            "boxes": {label: boxes[label] for label in label_map},
            "difficult": difficult,
            "shards": [shard.name for shard in shards],
        }
    with (
        open_(f"{dataset}/label_map.pbtxt", "rb") as source,
        open_(f"{folder}/label_map.pbtxt", "wb") as file,
    ):
        file.write(source.read())
    for name in (EXAMPLES, *(f"{split}.json" for split in SPLITS), "label_map.pbtxt"):
        checksums[name] = tfrecord.crc32c(f"{folder}/{name}", open_)
    return counts | {"crc32c": dict(sorted(checksums.items()))}


def _inputs(shard: Shard, dataset: Path, label_map: Mapping[str, int]) -> str:
    """Fingerprint of what a shard is made from, by the sizes and times of the files."""
    facts = []
    for _, image, _ in shard.rows:
        for path in (f"{dataset}/images/{image}", _xml(dataset, image)):
            with suppress(FileNotFoundError):
                found = os.stat(path)
                facts.append((found.st_size, found.st_mtime_ns))
    return fingerprint_of(shard.rows, label_map, facts)


def _is_finished(folder: Path, shard: Shard, inputs: str) -> bool:
    """Whether an earlier run wrote this file to its end, from these inputs."""
    try:
        done = json.loads((folder / notes(shard)).read_text(encoding="utf-8"))
        return (done["inputs"], done["size"]) == (inputs, (folder / shard.name).stat().st_size)
    except (FileNotFoundError, ValueError):
        return False


def verify_records(folder: Path | str) -> dict:
    """Read records back and check every one; return the counts per split and class.

    Checks that each record is whole (CRC) and its image decodes to the stated size, boxes
    lie in [0, 1] and are not inverted, labels are in the label map with their id, ids are
    unique whole numbers and those of the COCO json, no file comes twice, counts agree with the
    manifest, Model Garden's parser gets the boxes that the COCO json states, and each file has
    the checksum that the manifest states. CourseError at the first fault.

    Records from elsewhere have no manifest and no json of this course: of those, only what
    each record says by itself is checked, and label_map.pbtxt must lie beside them.
    """
    from tqdm.auto import tqdm

    folder = Path(folder)
    label_map = read_label_map(folder / "label_map.pbtxt")
    if not (folder / MANIFEST).is_file():
        return _verify_foreign(folder, label_map)
    manifest = read_manifest(folder)["counts"]
    ids_seen, pictures, counts = {}, {}, {}
    total = sum(manifest[split]["images"] for split in SPLITS)
    with tqdm(total=2 * total, desc="verify", unit="image", mininterval=0.2) as bar:
        for split in SPLITS:
            images, difficult, per_class, ids = 0, 0, Counter(), set()
            files = [folder / name for name in manifest[split]["shards"]]
            for where, number, picture, labels, hard in _checked(files, label_map, ids_seen):
                if (first := pictures.setdefault(picture, where)) != where:
                    raise CourseError(
                        f"{where}: {picture} is also {first}; take one of them out of "
                        "split.csv (lesson 03)"
                    )
                ids.add(number)
                per_class.update(labels)
                difficult += hard
                images += 1
                bar.update()
            found = {
                "images": images,
                "boxes": {label: per_class[label] for label in label_map},
                "difficult": difficult,
            }
            for key, value in found.items():
                if value != manifest[split][key]:
                    raise CourseError(
                        f"{folder.name}: {split}: {key} {value}, the manifest says "
                        f"{manifest[split][key]}; write the records again (lesson 04)"
                    )
            truth = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
            if ids != {image["id"] for image in truth["images"]}:
                raise CourseError(
                    f"{folder.name}: {split}.json: its image ids are not those of the records; "
                    "write both again (lesson 04)"
                )
            counts[split] = found
            _check_parsed(files, truth, f"{folder.name}: {split}", bar.update)
    for name, stated in manifest["crc32c"].items():
        if (actual := tfrecord.crc32c(folder / name)) != stated:
            raise CourseError(
                f"{folder.name}: {name}: checksum {actual}, the manifest says {stated}: it was "
                "changed since; write the records again (lesson 04)"
            )
    return counts


def _verify_foreign(folder: Path, label_map: Mapping[str, int]) -> dict:
    files = sorted(folder.glob("*.tfrecord*")) or sorted(folder.glob("*.record*"))
    if not files:
        raise CourseError(f"{folder}: no manifest.json and no *.tfrecord; give a folder of records")
    images, per_class = 0, Counter()
    for _, _, _, labels, _ in _checked(files, label_map, {}):
        per_class.update(labels)
        images += 1
    print(f"{folder.name}: no manifest.json, so there are no counts to compare with.")
    return {"all": {"images": images, "boxes": {label: per_class[label] for label in label_map}}}


def _checked(
    files: Sequence[Path], label_map: Mapping[str, int], seen: dict[int, str]
) -> Iterator[tuple]:
    """Check the records of some files, on all processors; yield (where, id, file name, labels,
    difficult). `seen` (id -> where) is filled, and no id may be in it already."""
    workers = os.cpu_count() or 1
    waiting: deque = deque()

    def oldest() -> tuple:
        found = waiting.popleft().result()
        where, number = found[:2]
        if (first := seen.setdefault(number, where)) != where:
            raise CourseError(
                f"{where}: source_id {number} is also that of {first}; ids must be unique"
            )
        return found

    with ThreadPoolExecutor(workers) as pool:
        try:
            for where, item in _numbered(files):
                waiting.append(pool.submit(_check_item, item, where, label_map))
                while len(waiting) > 2 * workers:
                    yield oldest()
            while waiting:
                yield oldest()
        finally:
            pool.shutdown(cancel_futures=True)


def _numbered(files: Sequence[Path]) -> Iterator[tuple]:
    """Yield (where, example) for each record: file, number and image, for messages."""
    for path in files:
        for number, item in enumerate(read_examples(path), 1):
            yield f"{path.name}: record {number} ({feature_text(item, 'image/filename')})", item


def _check_parsed(
    files: Sequence[Path], truth: dict, where: str, on_image: Callable[[], object]
) -> None:
    """CourseError unless Model Garden's parser gets the boxes of `truth` (COCO) from `files`."""
    import numpy as np
    import tensorflow as tf
    from official.vision.dataloaders import retinanet_input, tf_example_decoder

    # As parts of the image: records may hold it smaller than it was, the json does not.
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    expected: dict[int, list] = {number: [] for number in sizes}
    for item in truth["annotations"]:
        (x, y, width, height), (rows, columns) = item["bbox"], sizes[item["image_id"]]
        box = (y / rows, x / columns, (y + height) / rows, (x + width) / columns)
        label = (item["category_id"], item["iscrowd"], item["area"] / rows / columns)
        expected[item["image_id"]].append(box + label)
    # Of the network only the size of its input is asked for here, and boxes come back in
    # pixels of the image: the smallest will do.
    parser = retinanet_input.Parser(
        output_size=[32, 32],
        min_level=3,
        max_level=5,
        num_scales=1,
        aspect_ratios=[1.0],
        anchor_size=4.0,
        max_num_instances=max(map(len, expected.values()), default=0) or 1,
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

    data = tf.data.TFRecordDataset([str(path) for path in files])
    data = data.map(parsed, num_parallel_calls=os.cpu_count() or 1, deterministic=True)
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


def _undecodable(files: Sequence[Path]) -> str | None:
    """What is wrong with the first image that does not decode: TensorFlow does not say which."""
    from PIL import Image

    for where, item in _numbered(files):
        try:
            with Image.open(io.BytesIO(feature_values(item, "image/encoded")[0])) as image:
                image.load()
        except (OSError, SyntaxError, ValueError) as error:
            return f"{where}: image does not decode ({error}); write it again"
    return None


def _encoded(data: bytes, annotation: Annotation) -> tuple[bytes, str, str]:
    """Bytes to store, their format, and how they came about: "copied", "turned upright" (EXIF)
    or "converted". CourseError unless they are an image of the annotation's size."""
    from PIL import Image, ImageOps

    name, how = annotation.image, "copied"
    try:
        with Image.open(io.BytesIO(data)) as image:
            size, kind, mode = image.size, image.format, image.mode
            turned = image.getexif().get(_ORIENTATION, 1) not in (0, 1)
            stored, modes = _COPIED.get(kind, (None, ()))
            if turned or stored is None or (modes and mode not in modes):
                how = "turned upright" if turned else "converted"
                image = ImageOps.exif_transpose(image)
                size, stored = image.size, "jpeg"
                buffer = io.BytesIO()
                image.convert("RGB").save(buffer, "JPEG", quality=95, exif=b"")
                data = buffer.getvalue()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise CourseError(f"{name}: not an image that can be read ({error}); replace it") from None
    if size != (annotation.width, annotation.height):
        raise CourseError(
            f"{name}: image of {size[0]}x{size[1]}, annotation says "
            f"{annotation.width}x{annotation.height}; correct <size> and look at the boxes"
        )
    return data, stored, how


def _check_item(item, where: str, label_map: Mapping[str, int]) -> tuple:
    from PIL import Image

    source_id = feature_text(item, "image/source_id")
    if not (source_id.isascii() and source_id.isdecimal()):
        raise CourseError(
            f"{where}: source_id {source_id!r}; it must be a whole number (lesson 04)"
        )
    data = b"".join(feature_values(item, "image/encoded"))
    size = tuple(feature_values(item, f"image/{side}") for side in ("width", "height"))
    try:
        # Its head only: the pixels are decoded once, by Model Garden's parser.
        with Image.open(io.BytesIO(data)) as image:
            pass
    except (OSError, SyntaxError, ValueError) as error:
        raise CourseError(f"{where}: image does not decode ({error}); write it again") from None
    if size != ([image.width], [image.height]):
        stated = "x".join(",".join(map(str, side)) for side in size)
        raise CourseError(
            f"{where}: size {stated}, its image is {image.width}x{image.height}; write it again"
        )
    digest = hashlib.sha256(data).hexdigest().encode()
    if digest not in (feature_values(item, "image/key/sha256") or [digest]):
        raise CourseError(f"{where}: sha256 is not that of its image; write it again")
    labels = [
        label.decode(errors="replace") for label in feature_values(item, "image/object/class/text")
    ]
    ids = feature_values(item, "image/object/class/label")
    edges = [
        feature_values(item, f"image/object/bbox/{e}") for e in ("xmin", "ymin", "xmax", "ymax")
    ]
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
    return (
        where,
        int(source_id),
        feature_text(item, "image/filename"),
        labels,
        sum(feature_values(item, "image/object/difficult")),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: write records, or read them back. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write", help="write records from a dataset of lesson 03")
    writing.add_argument("dataset", type=Path)
    writing.add_argument("folder", type=Path)
    writing.add_argument("--shards", type=int, default=4, help="files per split (default 4)")
    checking = commands.add_parser("verify", help="read records back and check every one")
    checking.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    try:
        if given.command == "write":
            write_records(given.dataset, given.folder, shards=given.shards)
            counts = read_manifest(given.folder)["counts"]
        else:
            counts = verify_records(given.folder)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("records: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print_counts(counts)
    return 0


def print_counts(counts: Mapping[str, dict]) -> None:
    """Print a line for each split of what `verify` returns or a manifest states."""
    for split in (name for name in (*SPLITS, "all") if name in counts):
        boxes = ", ".join(f"{n} {label}" for label, n in counts[split]["boxes"].items())
        print(f"{split}: {counts[split]['images']} images, {boxes}")
