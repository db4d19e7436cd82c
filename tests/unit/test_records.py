import io
import json

import numpy as np
import pytest
from PIL import Image

from helpers import annotations, frames, records, split
from helpers.annotations import Annotation, Box
from helpers.artifacts import read_manifest
from helpers.errors import CourseError

tf = pytest.importorskip("tensorflow")

MAP = {"radar": 1, "car": 2}
BOXES = (
    Box("radar", 10, 20, 30, 60),
    Box("car", 50, 10.5, 100, 80, difficult=True, truncated=True),
)


def encoded(kind="JPEG", mode="RGB", size=(100, 80), **options):
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def of(*boxes, size=(100, 80)):
    return Annotation("a.jpg", *size, boxes, "a.xml")


def test_an_example_holds_what_both_readers_ask_for():
    data = encoded()
    item = records.example(data, of(*BOXES), MAP, 7)
    expected = {
        "image/encoded": [data],
        "image/format": [b"jpeg"],
        "image/filename": [b"a.jpg"],
        "image/height": [80],
        "image/width": [100],
        "image/source_id": [b"7"],
        "image/object/bbox/xmin": [0.1, 0.5],
        "image/object/bbox/xmax": [0.3, 1.0],
        "image/object/bbox/ymin": [0.25, 0.13125],
        "image/object/bbox/ymax": [0.75, 1.0],
        "image/object/class/text": [b"radar", b"car"],
        "image/object/class/label": [1, 2],
        "image/object/difficult": [0, 1],
        "image/object/truncated": [0, 1],
        "image/object/is_crowd": [0, 1],
        "image/object/area": [800.0, 3475.0],
    }
    for key, value in expected.items():
        found = records.values(item, key)
        assert found == (pytest.approx(value) if isinstance(value[0], float) else value), key
    assert len(records.values(item, "image/key/sha256")[0]) == 64


def test_a_background_image_has_no_objects():
    item = records.example(encoded(), of(), MAP, 1)
    assert records.values(item, "image/object/class/label") == []


def test_png_is_copied_and_others_become_jpeg():
    png = encoded("PNG", "RGBA")
    item = records.example(png, of(), MAP, 1)
    assert records.values(item, "image/encoded") == [png]
    assert records.values(item, "image/format") == [b"png"]
    for data in (encoded("BMP"), encoded("WEBP"), encoded("JPEG", "CMYK"), encoded("GIF", "P")):
        item = records.example(data, of(), MAP, 1)
        stored = records.values(item, "image/encoded")[0]
        assert records.values(item, "image/format") == [b"jpeg"]
        assert tf.io.decode_jpeg(stored).shape == (80, 100, 3)


def test_an_image_that_exif_turns_is_stored_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(exif=exif)
    item = records.example(data, of(size=(80, 100)), MAP, 1)
    stored = records.values(item, "image/encoded")[0]
    assert tf.io.decode_jpeg(stored).shape == (100, 80, 3)
    assert Image.open(io.BytesIO(stored)).getexif().get(0x0112) is None
    with pytest.raises(CourseError, match="image of 80x100, annotation says 100x80"):
        records.example(data, of(), MAP, 1)


@pytest.mark.parametrize(
    ("data", "annotation", "says"),
    [
        (b"no image", of(), "a.jpg: not an image"),
        (encoded(size=(50, 40)), of(), "image of 50x40"),
        (encoded(), of(Box("radar", 30, 1, 10, 9)), "a.xml: object 1 .*not right of"),
        (encoded(), of(Box("radar", 30, 1, 101, 9)), "a.xml: object 1 .*beyond"),
        (encoded(), of(BOXES[0], Box("bus", 1, 1, 9, 9)), "a.xml: object 2: label 'bus'"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(data, annotation, says):
    with pytest.raises(CourseError, match=says):
        records.example(data, annotation, MAP, 1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Ten images in two clips, the second for validation; the last shows nothing."""
    folder = tmp_path_factory.mktemp("data") / "03_dataset"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    rows = []
    for i in range(10):
        name = f"frame{i}.jpg"
        (folder / "images" / name).write_bytes(encoded(quality=50 + i))
        annotation = Annotation(name, 100, 80, BOXES if i < 9 else ())
        annotations.write_voc(annotation, folder / f"annotations/frame{i}.xml")
        rows.append({"image": name, "clip": "ab"[i > 6], "split": split.SPLITS[i > 6]})
    split.write_csv(folder / "split.csv", ("image", "clip", "split"), rows)
    annotations.write_label_map(MAP, folder / "label_map.pbtxt")
    return folder


def test_records_json_and_manifest_agree(dataset, tmp_path):
    out = records.write(dataset, tmp_path / "04_records", shards=2)
    names = sorted(path.name for path in out.glob("*.tfrecord"))
    assert names == [f"{s}-0000{i}-of-00002.tfrecord" for s in ("train", "val") for i in range(2)]
    counts = read_manifest(out)["counts"]
    assert counts["train"]["boxes"] == {"radar": 7, "car": 7}
    assert records.verify(out) == {
        "train": {"images": 7, "boxes": {"radar": 7, "car": 7}, "difficult": 7},
        "val": {"images": 3, "boxes": {"radar": 2, "car": 2}, "difficult": 2},
    }
    truth = json.loads((out / "val.json").read_text())
    assert truth["images"][0] == {
        "id": 8, "file_name": "frame7.jpg", "width": 100, "height": 80, "clip": "b"
    }  # fmt: skip
    assert truth["categories"] == [{"id": 1, "name": "radar"}, {"id": 2, "name": "car"}]
    assert truth["annotations"][1] == {
        "id": 2, "image_id": 8, "category_id": 2, "bbox": [50, 10.5, 50, 69.5],
        "area": 3475.0, "iscrowd": 1,
    }  # fmt: skip
    stored = {}
    for name in names:
        for item in records.read(out / name):
            file = records.values(item, "image/filename")[0].decode()
            stored[file] = records.values(item, "image/encoded")[0]
    assert stored == {p.name: p.read_bytes() for p in (dataset / "images").iterdir()}


def test_the_same_input_gives_the_same_bytes(dataset, tmp_path):
    first = records.write(dataset, tmp_path / "a", shards=3)
    second = records.write(dataset, tmp_path / "b", shards=3)
    assert read_manifest(first)["counts"]["sha256"] == read_manifest(second)["counts"]["sha256"]


def test_no_more_files_than_images(dataset, tmp_path):
    out = records.write(dataset, tmp_path / "a", shards=50)
    assert len(list(out.glob("val-*"))) == 3
    with pytest.raises(CourseError, match="shards: 0"):
        records.write(dataset, tmp_path / "b", shards=0)


def test_a_fault_in_the_dataset_leaves_nothing_behind(dataset, tmp_path):
    annotations.write_label_map(["radar"], dataset / "label_map.pbtxt")
    try:
        with pytest.raises(CourseError, match=r"frame\d.xml: object 2: label 'car'"):
            records.write(dataset, tmp_path / "a")
    finally:
        annotations.write_label_map(MAP, dataset / "label_map.pbtxt")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def written(dataset, tmp_path):
    return records.write(dataset, tmp_path / "04_records", shards=1)


def rewrite(folder, change):
    """Read the training records, let `change` alter the list of them, write them again."""
    path = folder / "train-00000-of-00001.tfrecord"
    items = list(records.read(path))
    change(items)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for item in items:
            writer.write(item.SerializeToString())


def feature(item, key):
    kind = item.features.feature[key].WhichOneof("kind")
    return getattr(item.features.feature[key], kind).value


def put(key, index, value):
    def change(items):
        feature(items[2], key)[index] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            put("image/object/bbox/xmin", 1, 1.5),
            r"record 3 \(frame\d.jpg\): object 2: box \(1.5000",
        ),
        (put("image/object/bbox/ymax", 0, 0.1), r"record 3 \(frame\d.jpg\): object 1: box"),
        (
            put("image/object/bbox/xmax", 0, float("nan")),
            r"record 3 \(frame\d.jpg\): object 1: box",
        ),
        (
            put("image/object/class/label", 0, 0),
            r"record 3 \(frame\d.jpg\): object 1: label 'radar' with id 0",
        ),
        (
            put("image/object/class/label", 0, 3),
            r"record 3 \(frame\d.jpg\): object 1: label 'radar' with id 3",
        ),
        (
            put("image/object/class/label", 0, 2),
            r"record 3 \(frame\d.jpg\): object 1: label 'radar' with id 2",
        ),
        (
            put("image/object/class/text", 1, b"bus"),
            r"record 3 \(frame\d.jpg\): object 2: label 'bus'",
        ),
        (put("image/source_id", 0, b"a.jpg"), r"record 3 \(frame\d.jpg\): source_id 'a.jpg'"),
        (put("image/width", 0, 99), r"record 3 \(frame\d.jpg\): size 99x80, its image is 100x80"),
        (put("image/encoded", 0, b"no image"), r"record 3 \(frame\d.jpg\): image does not decode"),
        (
            put("image/encoded", 0, encoded()[:2000]),
            r"record 3 \(frame\d.jpg\): image does not decode",
        ),
        (put("image/encoded", 0, encoded()), r"record 3 \(frame\d.jpg\): sha256"),
        (lambda items: feature(items[2], "image/object/bbox/xmin").pop(), "differ in length"),
        (lambda items: items.append(items[0]), "source_id .* is also that of .*record 1"),
        (lambda items: items.pop(), "train: images 6, the manifest says 7"),
        (put("image/source_id", 0, b"77"), "train.json: its image ids"),
    ],
)
def test_each_fault_is_found(written, change, says):
    rewrite(written, change)
    with pytest.raises(CourseError, match=says) as error:
        records.verify(written)
    assert "\n" not in str(error.value)


def test_from_footage_to_records(footage, tmp_path):
    taken = frames.extract(footage, tmp_path / "02_frames", every=6)
    labels = ["speed_camera", "traffic_sign", "car"]
    data = split.write_dataset(taken, tmp_path / "03_dataset", labels=labels, val_ratio=0.34)
    found = records.verify(records.write(data, tmp_path / "04_records", shards=2))
    assert found["train"]["images"] + found["val"]["images"] == 15
    assert found["val"]["images"] == 5
    assert sum(found["train"]["boxes"].values()) > 0


def test_damaged_and_missing_files_are_found(written):
    path = written / "val-00000-of-00001.tfrecord"
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    for damaged in (bytes(flipped), data[:-5]):
        path.write_bytes(damaged)
        with pytest.raises(CourseError, match=r"val-.*: record \d: damaged"):
            records.verify(written)
    path.unlink()
    with pytest.raises(CourseError, match="missing"):
        records.verify(written)


def test_fewer_boxes_than_the_manifest_says(written):
    def drop(items):
        for key in [k for k in items[0].features.feature if k.startswith("image/object/")]:
            feature(items[0], key).pop()

    rewrite(written, drop)
    with pytest.raises(CourseError, match="train: boxes"):
        records.verify(written)
