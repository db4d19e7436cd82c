"""Each fault in records is found, and said in one line."""

import hashlib
import json
import shutil
import struct
import zlib

import pytest
from sample_pictures import encoded

from helpers.annotations.boxes import Annotation
from helpers.annotations.label_map import write_label_map
from helpers.annotations.voc import write_voc
from helpers.common.errors import CourseError
from helpers.common.files import write_csv
from helpers.records import tfrecord
from helpers.records.__main__ import main
from helpers.records.verify import verify_records
from helpers.records.writing import write_records

tf = pytest.importorskip("tensorflow")


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


def retyped(key, value):
    def change(items):
        items[2].features.feature[key].Clear()
        tfrecord.set_values(items[2], key, [value])

    return change


def bomb():
    """A PNG of a few bytes that says it has 900 million pixels."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


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
        (cut_short, r"record 3 \(frame\d.jpg\): image does not decode.*; replace or delete"),
        (put("image/encoded", 0, bomb()), r"record 3 \(frame\d.jpg\): image does not decode"),
        (put("image/source_id", 0, b"9" * 5000), r"source_id '9{40}'; .* at most 18 digits"),
        (retyped("image/source_id", 3), "image/source_id: 3: it must hold bytes; write it again"),
        (retyped("image/filename", 3), r"record 3 \(\): image/filename: 3: it must hold bytes"),
        (retyped("image/encoded", 0.5), r"image/encoded: 0.5: it must hold bytes"),
        (retyped("image/object/class/text", 1), "class/text: 1: it must hold bytes"),
        (retyped("image/object/bbox/xmin", b"0"), "bbox/xmin: b'0': it must hold real numbers"),
        (retyped("image/object/difficult", b"0"), "difficult: b'0': it must hold whole numbers"),
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
        verify_records(written)
    assert "\n" not in str(error.value)


def test_damaged_and_missing_files_are_found(written):
    path = written / "val-00000-of-00001.tfrecord"
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    for damaged in (bytes(flipped), data[:-5]):
        path.write_bytes(damaged)
        with pytest.raises(CourseError, match=r"val-.*: record \d: damaged"):
            verify_records(written)
    path.unlink()
    with pytest.raises(CourseError, match="missing"):
        verify_records(written)


def test_fewer_boxes_than_the_manifest_says(written):
    def drop(items):
        for key in [k for k in items[0].features.feature if k.startswith("image/object/")]:
            feature(items[0], key).pop()

    rewrite(written, drop)
    with pytest.raises(CourseError, match="train: boxes"):
        verify_records(written)


def test_a_record_that_is_right_but_not_what_was_written(written):
    rewrite(written, lambda items: items.reverse())
    with pytest.raises(CourseError, match=r"train-.*: checksum .*, the manifest says"):
        verify_records(written)


def test_the_boxes_of_the_json_are_those_that_the_parser_gets(written):
    path = written / "val.json"
    truth = json.loads(path.read_text())
    truth["annotations"][1]["bbox"][0] += 1
    path.write_text(json.dumps(truth))
    with pytest.raises(CourseError, match="val: image 8: Model Garden's parser gets other boxes"):
        verify_records(written)


def test_a_picture_in_both_splits(written):
    items = tfrecord.read_examples(written / "val-00000-of-00001.tfrecord")
    (first,) = (i for i in items if b"frame7" in feature(i, "image/filename")[0])
    rewrite(written, put("image/filename", 0, feature(first, "image/filename")[0]))
    with pytest.raises(CourseError, match=r"frame7.jpg is also train-.*: record 3"):
        verify_records(written)


def test_records_from_elsewhere(written, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    for name in ("train-00000-of-00001.tfrecord", "label_map.pbtxt"):
        shutil.copyfile(written / name, tmp_path / "there" / name)
    found = verify_records(tmp_path / "there")
    assert found == {"all": {"images": 7, "boxes": {"radar": 7, "car": 7}}}
    assert "no manifest.json" in capsys.readouterr().out
    shutil.copytree(tmp_path / "there", tmp_path / "bad")
    rewrite(tmp_path / "bad", put("image/object/class/label", 0, 0))
    with pytest.raises(CourseError, match="label 'radar' with id 0"):
        verify_records(tmp_path / "bad")
    (tmp_path / "there/train-00000-of-00001.tfrecord").unlink()
    with pytest.raises(CourseError, match=r"no manifest\.json and no"):
        verify_records(tmp_path / "there")


def test_a_shard_that_training_would_read_as_well(written):
    shutil.copyfile(
        written / "val-00000-of-00001.tfrecord", written / "train-00001-of-00002.tfrecord"
    )
    with pytest.raises(CourseError, match=r"train-00001-of-00002.tfrecord: not in the manifest"):
        verify_records(written)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("train.json", None, "train.json: missing"),
        ("train.json", "{]", "train.json: line 1: no JSON"),
        ("train.json", "[1]", "train.json: not a COCO json"),
        ("train.json", '{"images": [{"id": 1}], "annotations": []}', "not a COCO json"),
        ("examples.csv", None, "examples.csv: missing"),
        ("label_map.pbtxt", None, "label_map.pbtxt: missing"),
    ],
)
def test_files_beside_the_records(written, name, text, says):
    (written / name).unlink()
    if text is not None:
        (written / name).write_text(text)
    with pytest.raises(CourseError, match=says):
        verify_records(written)


def without(*keys):
    def change(manifest):
        for key in keys[:-1]:
            manifest = manifest[key]
        del manifest[keys[-1]]

    return change


@pytest.mark.parametrize(
    "change",
    [
        without("counts"),
        without("counts", "val"),
        without("counts", "train", "shards"),
        without("counts", "crc32c"),
        lambda manifest: manifest.update(counts={}),
        lambda manifest: manifest.update(counts=[]),
        lambda manifest: manifest["counts"].update(train={"images": 7, "clips": 2}),
    ],
)
def test_manifests_of_other_folders_and_versions(written, change):
    manifest = json.loads((written / "manifest.json").read_text())
    change(manifest)
    (written / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CourseError, match=r"manifest.json: not of records that lesson 04 wrote"):
        verify_records(written)


@pytest.mark.parametrize("length", [2**62, 2**64 - 1, 10**6])
def test_a_record_that_claims_more_than_the_file_holds(written, length):
    head = struct.pack("<Q", length)
    path = written / "train-00000-of-00001.tfrecord"
    path.write_bytes(head + tfrecord._checksum(head) + b"1234567890")
    with pytest.raises(
        CourseError, match=rf"record 1: damaged \(the file ends in it, .* {length} bytes"
    ):
        verify_records(written)


def test_the_command_says_what_is_wrong_in_a_line(written, dataset, capsys):
    assert main(["verify", str(written / "val.json")]) == 1
    assert "val.json: no such folder; give a folder of records" in capsys.readouterr().err
    assert main(["write", str(dataset), str(written / "val.json" / "deep")]) == 1
    said = capsys.readouterr().err
    assert "is a file" in said
    assert said.count("\n") == 1


def one_picture(folder, name, data, size):
    """A dataset of three pictures, the second of them as given."""
    for part in ("images", "annotations"):
        (folder / part).mkdir(parents=True)
    rows = []
    for i, picture in enumerate(("a.jpg", name, "z.jpg")):
        shape, content = (size, data) if picture == name else ((100, 80), encoded())
        (folder / "images" / picture).write_bytes(content)
        write_voc(Annotation(picture, *shape, ()), folder / f"annotations/{picture[:-4]}.xml")
        rows.append({"image": picture, "clip": str(i), "split": ("train", "train", "val")[i]})
    write_csv(folder / "split.csv", ("image", "clip", "split"), rows)
    write_label_map(["cat"], folder / "label_map.pbtxt")
    return folder


@pytest.mark.parametrize("cut", [2, 3000])
def test_a_cut_picture_is_named_and_where_to_mend_it(tmp_path, cut):
    """Without its last two bytes PIL takes a JPEG for whole, TensorFlow does not."""
    folder = one_picture(tmp_path / "03", "cut.jpg", encoded()[:-cut], (100, 80))
    written = write_records(folder, tmp_path / "04_records")
    with pytest.raises(
        CourseError, match=r"\(cut.jpg\): image does not decode; replace or del"
    ) as e:
        verify_records(written)
    assert "lesson 01" in str(e.value)


def test_a_picture_too_narrow_to_train_on_is_named(tmp_path):
    folder = one_picture(tmp_path / "03", "thin.jpg", encoded(size=(1, 3000)), (1, 3000))
    written = write_records(folder, tmp_path / "04_records")
    with pytest.raises(CourseError, match=r"\(thin.jpg\): an image of 1x3000 is too narrow"):
        verify_records(written)


def test_the_records_of_vott(shared):
    folder = shared / "cases/29-vott-tfrecords"
    if not folder.is_dir():
        pytest.skip("the reported cases are not there")
    with pytest.raises(CourseError, match=r"missing; if tf_label_map.pbtxt beside it is the label"):
        verify_records(folder)
