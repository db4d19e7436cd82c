import csv
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from helpers.annotations import voc
from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.folders import SPLITS
from helpers.annotations.label_map import write_label_map
from helpers.common.artifacts import read_manifest, write_manifest
from helpers.common.errors import CourseError
from helpers.common.files import read_csv, write_csv
from helpers.dataset import split
from helpers.footage import frames
from helpers.records import shards as records
from helpers.records import tfrecord

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
        found = tfrecord.feature_values(item, key)
        assert found == (pytest.approx(value) if isinstance(value[0], float) else value), key
    assert len(tfrecord.feature_values(item, "image/key/sha256")[0]) == 64


def test_a_background_image_has_no_objects():
    item = records.example(encoded(), of(), MAP, 1)
    assert tfrecord.feature_values(item, "image/object/class/label") == []


def test_png_is_copied_and_others_become_jpeg():
    png = encoded("PNG", "RGBA")
    item = records.example(png, of(), MAP, 1)
    assert tfrecord.feature_values(item, "image/encoded") == [png]
    assert tfrecord.feature_values(item, "image/format") == [b"png"]
    for data in (encoded("BMP"), encoded("WEBP"), encoded("JPEG", "CMYK"), encoded("GIF", "P")):
        item = records.example(data, of(), MAP, 1)
        stored = tfrecord.feature_values(item, "image/encoded")[0]
        assert tfrecord.feature_values(item, "image/format") == [b"jpeg"]
        assert tf.io.decode_jpeg(stored).shape == (80, 100, 3)


def test_an_image_that_exif_turns_is_stored_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(exif=exif)
    item = records.example(data, of(size=(80, 100)), MAP, 1)
    stored = tfrecord.feature_values(item, "image/encoded")[0]
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
        voc.write_voc(annotation, folder / f"annotations/frame{i}.xml")
        rows.append({"image": name, "clip": "ab"[i > 6], "split": SPLITS[i > 6]})
    write_csv(folder / "split.csv", ("image", "clip", "split"), rows)
    write_label_map(MAP, folder / "label_map.pbtxt")
    return folder


def test_records_json_and_manifest_agree(dataset, tmp_path):
    out = records.write_records(dataset, tmp_path / "04_records", shards=2)
    names = sorted(path.name for path in out.glob("*.tfrecord"))
    assert names == [f"{s}-0000{i}-of-00002.tfrecord" for s in ("train", "val") for i in range(2)]
    counts = read_manifest(out)["counts"]
    assert counts["train"]["boxes"] == {"radar": 7, "car": 7}
    assert records.verify_records(out) == {
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
        for item in tfrecord.read_examples(out / name):
            file = tfrecord.feature_values(item, "image/filename")[0].decode()
            stored[file] = tfrecord.feature_values(item, "image/encoded")[0]
    assert stored == {p.name: p.read_bytes() for p in (dataset / "images").iterdir()}


def contents(folder):
    """Name -> digest of the files of a folder, the manifest's stamp of the run apart."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    }


@pytest.mark.parametrize("processes_from", [0, 1000])
def test_the_same_bytes_from_any_number_of_workers(dataset, tmp_path, monkeypatch, processes_from):
    monkeypatch.setattr(records, "PROCESSES_FROM", processes_from)
    alone = records.write_records(dataset, tmp_path / "a", shards=3, workers=1)
    several = records.write_records(dataset, tmp_path / "b", shards=3, workers=3)
    assert contents(alone) == contents(several)
    stated = read_manifest(several)["counts"]["crc32c"]
    assert stated == {name: tfrecord.crc32c(several / name) for name in contents(several)}


def test_the_number_of_workers_is_no_reason_to_write_again(dataset, tmp_path, capsys):
    records.write_records(dataset, tmp_path / "a", workers=1)
    records.write_records(dataset, tmp_path / "a", workers=2)
    assert "kept" in capsys.readouterr().out


def test_the_source_of_every_example(dataset, tmp_path):
    out = records.write_records(dataset, tmp_path / "a", shards=2)
    with (out / "examples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    for row in rows:
        item = list(tfrecord.read_examples(out / row["shard"]))[int(row["record"]) - 1]
        assert tfrecord.feature_text(item, "image/source_id") == row["source_id"]
        assert tfrecord.feature_text(item, "image/filename") == row["image"]
        data = (dataset / "images" / row["image"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert row["stored"] == "copied"


def test_what_was_not_copied_is_said(dataset, tmp_path, capsys):
    source = tmp_path / "03_dataset"
    shutil.copytree(dataset, source)
    exif = Image.Exif()
    exif[0x0112] = 3
    (source / "images/frame1.jpg").write_bytes(encoded(exif=exif))
    (source / "images/frame2.jpg").write_bytes(encoded("WEBP"))
    out = records.write_records(source, tmp_path / "a")
    assert "1 turned upright, 1 converted (examples.csv" in capsys.readouterr().out
    assert read_manifest(out)["counts"]["stored"] == {
        "copied": 8, "turned upright": 1, "converted": 1
    }  # fmt: skip
    records.verify_records(out)


def test_a_run_that_failed_goes_on_by_shard(dataset, tmp_path):
    source, out = tmp_path / "03_dataset", tmp_path / "04_records"
    shutil.copytree(dataset, source)
    write_manifest(source, "a test", {}, {}, {})  # by which a folder is known, as in a lesson
    broken = source / "annotations/frame9.xml"
    whole = broken.read_text()
    broken.write_text(whole.replace("100", "ten", 1))
    with pytest.raises(CourseError, match=r"frame9.xml: size: <width> 'ten'"):
        records.write_records(source, out, shards=2, workers=1)
    assert not out.exists()
    (draft,) = tmp_path.glob(".04_records.draft-*")
    kept = {path.name: path.stat().st_mtime_ns for path in draft.glob("train-*.tfrecord")}
    assert len(kept) == 2
    broken.write_text(whole)
    # What changed meanwhile must not survive in a file that was finished.
    changed = next(iter(tfrecord.read_examples(draft / sorted(kept)[1])))
    image = source / "images" / tfrecord.feature_text(changed, "image/filename")
    image.write_bytes(encoded(quality=30))
    records.write_records(source, out, shards=2, workers=1)
    now = {path.name: path.stat().st_mtime_ns for path in out.glob("train-*.tfrecord")}
    assert [now[name] == kept[name] for name in sorted(kept)] == [True, False]
    assert contents(out) == contents(records.write_records(source, tmp_path / "new", shards=2))
    assert [path.name for path in tmp_path.glob(".*")] == []


KILLED = """
import sys, time
from pathlib import Path
from helpers import records
records.PROCESSES_FROM, pause, encoded = int(sys.argv[4]), float(sys.argv[5]), records._encoded
def slowly(*args):
    time.sleep(pause)
    return encoded(*args)
records._encoded = slowly
if __name__ == "__main__":
    print("ready", flush=True)
    records.write(Path(sys.argv[1]), Path(sys.argv[2]), shards=int(sys.argv[3]), workers=2)
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A dataset of 300 images of 30 kB: some tenths of a second to write."""
    folder = tmp_path_factory.mktemp("many") / "03_dataset"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    data, rows = encoded(size=(160, 120), quality=95), []
    for i in range(300):
        (folder / f"images/{i}.jpg").write_bytes(data)
        found = Annotation(f"{i}.jpg", 160, 120, BOXES[:1])
        voc.write_voc(found, folder / f"annotations/{i}.xml")
        rows.append({"image": f"{i}.jpg", "clip": str(i), "split": SPLITS[i % 10 == 0]})
    write_csv(folder / "split.csv", ("image", "clip", "split"), rows)
    write_label_map(MAP, folder / "label_map.pbtxt")
    return folder


def start_writing(tmp_path, many, shards, processes_from, pause=0.0, **options):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    child = subprocess.Popen(
        [sys.executable, script, many, tmp_path / "04_records"]
        + [str(number) for number in (shards, processes_from, pause)],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        **options,
    )
    assert child.stdout.readline() == b"ready\n"
    return child


def test_killed_at_any_moment_the_records_are_the_old_or_the_new(many, tmp_path):
    new = contents(records.write_records(many, tmp_path / "new", shards=7))
    out = records.write_records(many, tmp_path / "04_records", shards=5)
    old, draw, ends = contents(out), random.Random(0), []
    child = start_writing(tmp_path, many, 7, 10_000)
    began = time.monotonic()
    child.wait()
    whole = time.monotonic() - began
    assert contents(out) == new
    for moment in range(20):
        records.write_records(many, out, shards=5)
        child = start_writing(tmp_path, many, 7, 10_000)
        time.sleep(draw.uniform(0, 1.1 * whole))
        child.kill()
        child.wait()
        ends.append(contents(out))
        assert ends[-1] in (old, new), moment
        if moment % 4 == 0:
            records.write_records(many, out, shards=7)  # in the draft that the killed run left
            assert contents(out) == new, moment
    assert old in ends  # or no run was killed in time, and nothing was tested


def test_processes_end_with_the_one_that_started_them(many, tmp_path):
    records.write_records(many, tmp_path / "04_records", shards=5)
    old = contents(tmp_path / "04_records")
    child = start_writing(tmp_path, many, 150, 0, pause=0.05, start_new_session=True)
    while not any(tmp_path.glob(".04_records.draft-*/*.json")):
        assert child.poll() is None
        time.sleep(0.02)
    assert len(psutil.Process(child.pid).children()) >= 2
    child.kill()
    child.wait()
    assert contents(tmp_path / "04_records") == old
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        os.killpg(child.pid, signal.SIGKILL)
        pytest.fail("processes outlived the one that started them")
    new = records.write_records(many, tmp_path / "04_records", shards=150)
    assert contents(new) == contents(records.write_records(many, tmp_path / "new", shards=150))


def test_no_more_files_than_images(dataset, tmp_path):
    out = records.write_records(dataset, tmp_path / "a", shards=50)
    assert len(list(out.glob("val-*"))) == 3
    with pytest.raises(CourseError, match="shards: 0"):
        records.write_records(dataset, tmp_path / "b", shards=0)


def test_a_fault_in_the_dataset_leaves_no_records(dataset, tmp_path):
    write_label_map(["radar"], dataset / "label_map.pbtxt")
    try:
        with pytest.raises(CourseError, match=r"frame\d.xml: object 2: label 'car'"):
            records.write_records(dataset, tmp_path / "a")
    finally:
        write_label_map(MAP, dataset / "label_map.pbtxt")
    assert not (tmp_path / "a").exists()


@pytest.fixture
def written(dataset, tmp_path):
    return records.write_records(dataset, tmp_path / "04_records", shards=1)


def rewrite(folder, change):
    """Read the training records, let `change` alter the list of them, write them again."""
    path = folder / "train-00000-of-00001.tfrecord"
    items = list(tfrecord.read_examples(path))
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


def cut_short(items):
    data = feature(items[2], "image/encoded")[0][:2000]
    put("image/encoded", 0, data)(items)
    put("image/key/sha256", 0, hashlib.sha256(data).hexdigest().encode())(items)


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
        (cut_short, r"record 3 \(frame\d.jpg\): image does not decode"),
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
        records.verify_records(written)
    assert "\n" not in str(error.value)


def test_from_footage_to_records(footage, tmp_path):
    taken = frames.extract_frames(footage, tmp_path / "02_frames", every=6)
    labels = ["speed_camera", "traffic_sign", "car"]
    data = split.write_dataset(taken, tmp_path / "03_dataset", labels=labels, val_ratio=0.34)
    found = records.verify_records(records.write_records(data, tmp_path / "04_records", shards=2))
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
            records.verify_records(written)
    path.unlink()
    with pytest.raises(CourseError, match="missing"):
        records.verify_records(written)


def test_fewer_boxes_than_the_manifest_says(written):
    def drop(items):
        for key in [k for k in items[0].features.feature if k.startswith("image/object/")]:
            feature(items[0], key).pop()

    rewrite(written, drop)
    with pytest.raises(CourseError, match="train: boxes"):
        records.verify_records(written)


def test_a_record_that_is_right_but_not_what_was_written(written):
    rewrite(written, lambda items: items.reverse())
    with pytest.raises(CourseError, match=r"train-.*: checksum .*, the manifest says"):
        records.verify_records(written)


def test_the_boxes_of_the_json_are_those_that_the_parser_gets(written):
    path = written / "val.json"
    truth = json.loads(path.read_text())
    truth["annotations"][1]["bbox"][0] += 1
    path.write_text(json.dumps(truth))
    with pytest.raises(CourseError, match="val: image 8: Model Garden's parser gets other boxes"):
        records.verify_records(written)


def test_the_command_line(dataset, tmp_path, capsys):
    out = str(tmp_path / "04_records")
    assert records.main(["write", str(dataset), out, "--shards", "2"]) == 0
    assert "train: 7 images, 7 radar, 7 car" in capsys.readouterr().out
    assert records.main(["verify", out]) == 0
    assert "val: 3 images" in capsys.readouterr().out
    (tmp_path / "04_records/val-00000-of-00002.tfrecord").unlink()
    assert records.main(["verify", out]) == 1
    assert "missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("frame0.jpg,a,val", r"split.csv: frame0.jpg comes twice"),
        ("frame77.jpg,a,Train", r"split.csv: frame77.jpg: split 'Train'; write train or val"),
    ],
)
def test_a_split_that_says_nonsense(dataset, tmp_path, line, says):
    source = tmp_path / "03_dataset"
    shutil.copytree(dataset, source)
    with (source / "split.csv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(CourseError, match=says):
        records.write_records(source, tmp_path / "a")


def test_a_picture_in_both_splits(written):
    items = tfrecord.read_examples(written / "val-00000-of-00001.tfrecord")
    (first,) = (i for i in items if b"frame7" in feature(i, "image/filename")[0])
    rewrite(written, put("image/filename", 0, feature(first, "image/filename")[0]))
    with pytest.raises(CourseError, match=r"frame7.jpg is also train-.*: record 3"):
        records.verify_records(written)


def test_a_fault_is_told_before_the_rest_is_written(many, tmp_path, monkeypatch):
    source = tmp_path / "03_dataset"
    shutil.copytree(many, source)
    rows = read_csv(source / "split.csv", ("image", "clip", "split"))
    last = records.plan(rows, 2)[1].rows[0][1]
    (source / "images" / last).write_bytes(b"no image")
    seen = []
    monkeypatch.setattr(
        records, "_coco", lambda *a: (seen.append(a), time.sleep(0.01), ({}, []))[2]
    )
    with pytest.raises(CourseError, match=f"{last}: not an image"):
        records.write_records(source, tmp_path / "a", shards=2, workers=2)
    assert len(seen) < 100


def test_a_disk_that_takes_no_more_is_one_line(many, tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records, "write_shard", full)
    with pytest.raises(CourseError, match="No space left on device; mend that"):
        records.write_records(many, tmp_path / "a")


def test_records_from_elsewhere(written, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    for name in ("train-00000-of-00001.tfrecord", "label_map.pbtxt"):
        shutil.copyfile(written / name, tmp_path / "there" / name)
    found = records.verify_records(tmp_path / "there")
    assert found == {"all": {"images": 7, "boxes": {"radar": 7, "car": 7}}}
    assert "no manifest.json" in capsys.readouterr().out
    shutil.copytree(tmp_path / "there", tmp_path / "bad")
    rewrite(tmp_path / "bad", put("image/object/class/label", 0, 0))
    with pytest.raises(CourseError, match="label 'radar' with id 0"):
        records.verify_records(tmp_path / "bad")
    (tmp_path / "there/train-00000-of-00001.tfrecord").unlink()
    with pytest.raises(CourseError, match=r"no manifest\.json and no"):
        records.verify_records(tmp_path / "there")
