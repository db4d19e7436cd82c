"""TFRecord files for training, with a COCO json of the same images for scoring.

Each example carries the keys that Model Garden and the old Object Detection API both read.
Model Garden trains without a word on a wrong label id, an inverted box or ids that are no
numbers; so everything is checked before it is written, and `verify` reads it back.
"""

import hashlib
import io
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from helpers.annotations import Annotation, check_boxes, read_label_map, read_voc
from helpers.artifacts import artifact, read_manifest
from helpers.errors import CourseError
from helpers.split import SPLITS, read_csv

_COPIED = {"JPEG": ("jpeg", ("L", "RGB")), "PNG": ("png", None)}


def example(image_bytes: bytes, annotation: Annotation, label_map: Mapping[str, int], source_id):
    """One `tf.train.Example` of an image file's bytes and its annotation.

    JPEG and PNG bytes are taken over as they are; other formats, and images that EXIF turns,
    are written anew as upright JPEG of quality 95. Boxes become fractions of the image, in
    [0, 1]. `source_id` must be a whole number: the COCO scores need it. CourseError for an
    image that cannot be decoded or differs in size from its annotation, a faulty box, or a
    label that is not in the label map.
    """
    import tensorflow as tf

    name = annotation.image
    data, kind = _encoded(image_bytes, annotation)
    check_boxes(annotation, annotation.source or name)
    for number, box in enumerate(annotation.boxes, 1):
        if box.label not in label_map:
            known = ", ".join(label_map)
            raise CourseError(
                f"{annotation.source or name}: object {number}: label {box.label!r} is not in "
                f"the label map ({known}); rename it, or add it to the map"
            )
    boxes, width, height = annotation.boxes, annotation.width, annotation.height

    def text(*values: str | bytes):
        data = [value.encode() if isinstance(value, str) else value for value in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=data))

    def whole(*values: int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def real(*values: float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    features = {
        "image/encoded": text(data),
        "image/format": text(kind),
        "image/filename": text(name),
        "image/height": whole(height),
        "image/width": whole(width),
        "image/source_id": text(str(int(source_id))),
        "image/key/sha256": text(hashlib.sha256(data).hexdigest()),
        "image/object/bbox/xmin": real(*(box.xmin / width for box in boxes)),
        "image/object/bbox/xmax": real(*(box.xmax / width for box in boxes)),
        "image/object/bbox/ymin": real(*(box.ymin / height for box in boxes)),
        "image/object/bbox/ymax": real(*(box.ymax / height for box in boxes)),
        "image/object/class/text": text(*(box.label for box in boxes)),
        "image/object/class/label": whole(*(label_map[box.label] for box in boxes)),
        "image/object/difficult": whole(*(int(box.difficult) for box in boxes)),
        "image/object/truncated": whole(*(int(box.truncated) for box in boxes)),
        # Model Garden leaves "crowds" out of training and of its scores: the mark is used for
        # difficult objects, which a detector of this input size cannot be asked to see.
        "image/object/is_crowd": whole(*(int(box.difficult) for box in boxes)),
        "image/object/area": real(*(box.area for box in boxes)),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def coco(
    annotations: Mapping[int, Annotation],
    label_map: Mapping[str, int],
    clips: Mapping[str, str] | None = None,
) -> dict:
    """COCO ground truth of `annotations` (image id -> annotation), ready for `json.dump`.

    Boxes are [x, y, width, height] in pixels. Difficult objects get `iscrowd` 1, which makes
    the COCO evaluation neither miss nor reward them. `clips` (file name -> clip) is added to
    the images. Source: cocodataset.org, "Data format".
    """
    images, objects = [], []
    for number, annotation in annotations.items():
        image = {
            "id": number,
            "file_name": annotation.image,
            "width": annotation.width,
            "height": annotation.height,
        }
        if clips:
            image["clip"] = clips[annotation.image]
        images.append(image)
        for box in annotation.boxes:
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": number,
                    "category_id": label_map[box.label],
                    "bbox": [box.xmin, box.ymin, box.xmax - box.xmin, box.ymax - box.ymin],
                    "area": box.area,
                    "iscrowd": int(box.difficult),
                }
            )
    categories = [{"id": number, "name": label} for label, number in label_map.items()]
    return {"images": images, "annotations": objects, "categories": categories}


@artifact
def write(dataset: Path, folder: Path, *, shards: int = 4) -> dict:
    """Write `04_records` from `03_dataset`: TFRecord files, COCO json, label map.

    Each split gets `shards` files, or as many as it has images. Training images are
    shuffled once, with a fixed seed, so that a small shuffle buffer sees more than one clip.
    The manifest holds counts per split and class and the SHA-256 of each file. CourseError as
    in `example`, naming the file.
    """
    import tensorflow as tf
    from tqdm.auto import tqdm

    if not isinstance(shards, int) or shards < 1:
        raise CourseError(f"shards: {shards!r}; it must be a whole number from 1")
    dataset, folder = Path(dataset), Path(folder)
    label_map = read_label_map(dataset / "label_map.pbtxt")
    rows = read_csv(dataset / "split.csv", ("image", "clip", "split"))
    clips = {row["image"]: row["clip"] for row in rows}
    ids = {row["image"]: number for number, row in enumerate(rows, 1)}
    counts = {}
    with tqdm(total=len(rows), desc="records", unit="image") as bar:
        for split in SPLITS:
            images = [row["image"] for row in rows if row["split"] == split]
            if not images:
                raise CourseError(f"{dataset / 'split.csv'}: no image in {split}; split again")
            found = {}
            for image in images:
                xml = dataset / "annotations" / f"{Path(image).stem}.xml"
                found[ids[image]] = read_voc(xml)
            order = random.Random(0).sample(images, len(images)) if split == "train" else images
            parts = min(shards, len(images))
            names = [f"{split}-{i:05d}-of-{parts:05d}.tfrecord" for i in range(parts)]
            for i, name in enumerate(names):
                with tf.io.TFRecordWriter(str(folder / name)) as writer:
                    for image in order[i::parts]:
                        data = (dataset / "images" / image).read_bytes()
                        item = example(data, found[ids[image]], label_map, ids[image])
                        writer.write(item.SerializeToString(deterministic=True))
                        bar.update()
            truth = coco(found, label_map, clips)
            (folder / f"{split}.json").write_text(json.dumps(truth) + "\n")
            counts[split] = _count(found.values(), label_map) | {"shards": names}
    shutil.copyfile(dataset / "label_map.pbtxt", folder / "label_map.pbtxt")
    paths = sorted(folder.iterdir())
    return counts | {"sha256": {path.name: sha256(path) for path in paths}}


def read(path: Path | str) -> Iterator:
    """Yield each `tf.train.Example` of a TFRecord file; CourseError where it is damaged."""
    import tensorflow as tf

    path = Path(path)
    if not path.is_file():
        raise CourseError(f"{path}: missing; write the records again (lesson 04)")
    dataset = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    number = 0
    while True:
        number += 1
        try:
            item = tf.train.Example.FromString(next(dataset))
        except StopIteration:
            return
        except Exception as error:  # DataLossError, DecodeError: TensorFlow names no common base
            raise CourseError(
                f"{path}: record {number}: damaged ({type(error).__name__}); write the records "
                "again (lesson 04)"
            ) from None
        yield item


def values(item, key: str) -> list:
    """Values of one feature of a `tf.train.Example`, as a list; empty when it has none."""
    feature = item.features.feature.get(key)
    kind = feature.WhichOneof("kind") if feature is not None else None
    return list(getattr(feature, kind).value) if kind else []


def verify(folder: Path | str) -> dict:
    """Read records back and check every one; return the counts per split and class.

    Checks that each record is whole (CRC) and its image decodes to the stated size, boxes
    lie in [0, 1] and are not inverted, labels are in the label map with their id, ids are
    unique whole numbers and those of the COCO json, and counts agree with the manifest.
    CourseError at the first fault.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)["counts"]
    label_map = read_label_map(folder / "label_map.pbtxt")
    seen: dict[int, str] = {}
    counts = {}
    from tqdm.auto import tqdm

    total = sum(manifest[split]["images"] for split in SPLITS)
    with tqdm(total=total, desc="verify", unit="image") as bar:
        for split in SPLITS:
            images, difficult, per_class, ids = 0, 0, Counter(), set()
            for name in manifest[split]["shards"]:
                for number, item in enumerate(read(folder / name), 1):
                    image = b"".join(values(item, "image/filename")).decode(errors="replace")
                    where = f"{name}: record {number} ({image})"
                    ids.add(_check_id(item, where, seen))
                    labels = _check_item(item, where, label_map)
                    per_class.update(labels)
                    difficult += sum(values(item, "image/object/difficult"))
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
            truth = json.loads((folder / f"{split}.json").read_text())
            if ids != {image["id"] for image in truth["images"]}:
                raise CourseError(
                    f"{folder.name}: {split}.json: its image ids are not those of the records; "
                    "write both again (lesson 04)"
                )
            counts[split] = found
    return counts


def _encoded(data: bytes, annotation: Annotation) -> tuple[bytes, str]:
    """Bytes to store and their format; checks that the image can be read and its size."""
    from PIL import Image, ImageOps

    name = annotation.image
    try:
        with Image.open(io.BytesIO(data)) as image:
            size, kind, mode = image.size, image.format, image.mode
            turned = image.getexif().get(0x0112, 1) not in (0, 1)
            stored, modes = _COPIED.get(kind, (None, ()))
            if turned or stored is None or (modes and mode not in modes):
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
    return data, stored


def _count(annotations, label_map: Mapping[str, int]) -> dict:
    annotations = list(annotations)
    boxes = [box for annotation in annotations for box in annotation.boxes]
    per_class = Counter(box.label for box in boxes)
    return {
        "images": len(annotations),
        "boxes": {label: per_class[label] for label in label_map},
        "difficult": sum(box.difficult for box in boxes),
    }


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_id(item, where: str, seen: dict[int, str]) -> int:
    text = b"".join(values(item, "image/source_id")).decode(errors="replace")
    if not text.isdecimal():
        raise CourseError(f"{where}: source_id {text!r}; it must be a whole number (lesson 04)")
    if (number := int(text)) in seen:
        raise CourseError(
            f"{where}: source_id {text} is also that of {seen[number]}; ids must be unique"
        )
    seen[number] = where
    return number


def _check_item(item, where: str, label_map: Mapping[str, int]) -> list[str]:
    from PIL import Image

    data = b"".join(values(item, "image/encoded"))
    size = tuple(values(item, f"image/{side}") for side in ("width", "height"))
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise CourseError(f"{where}: image does not decode ({error}); write it again") from None
    if size != ([image.width], [image.height]):
        stated = "x".join(",".join(map(str, side)) for side in size)
        raise CourseError(
            f"{where}: size {stated}, its image is {image.width}x{image.height}; write it again"
        )
    if hashlib.sha256(data).hexdigest().encode() not in values(item, "image/key/sha256"):
        raise CourseError(f"{where}: sha256 is not that of its image; write it again")
    labels = [label.decode() for label in values(item, "image/object/class/text")]
    ids = values(item, "image/object/class/label")
    edges = [values(item, f"image/object/bbox/{e}") for e in ("xmin", "ymin", "xmax", "ymax")]
    if len({len(labels), len(ids), *map(len, edges)}) > 1:
        raise CourseError(f"{where}: lists of boxes and labels differ in length; write it again")
    boxes = zip(labels, ids, *edges, strict=True)
    for number, (label, id_, xmin, ymin, xmax, ymax) in enumerate(boxes, 1):
        if id_ not in label_map.values() or label_map.get(label) != id_:
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
    return labels
