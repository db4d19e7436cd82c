"""Each fault in records is found, and said in one line."""

import hashlib
import json
import shutil

import pytest
from sample_pictures import encoded

from helpers.common.errors import CourseError
from helpers.records import tfrecord
from helpers.records.verify import verify_records

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
