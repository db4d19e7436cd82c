"""Our TFRecord files and TensorFlow's are the same."""

import io

import google_crc32c
import pytest

from helpers.common.errors import CourseError
from helpers.records import tfrecord

tf = pytest.importorskip("tensorflow")


def filled(item):
    feature = item.features.feature
    feature["image/encoded"].bytes_list.value.append(bytes(range(256)) * 100)
    feature["image/height"].int64_list.value.extend([-1, 2**40])
    feature["image/object/area"].float_list.value.extend([0.1, -3e8])
    feature["image/text"].bytes_list.value.extend([b"a", b""])
    feature["image/object/none"].float_list.value.extend([])
    return item


def test_the_checksum_is_the_one_of_the_standard():
    # Source: RFC 3720, appendix B.4 (iSCSI): 32 bytes of zero, least significant byte first.
    assert google_crc32c.value(bytes(32)) == 0x8A9136AA


def test_examples_are_those_of_tensorflow():
    ours, theirs = filled(tfrecord.Example()), filled(tf.train.Example())
    assert tfrecord.serialized(ours) == theirs.SerializeToString(deterministic=True)
    assert tf.train.Example.FromString(tfrecord.serialized(ours)) == theirs


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_384, 300_000])
def test_an_image_of_any_size_gives_the_bytes_of_tensorflow(size):
    ours, theirs = filled(tfrecord.Example()), filled(tf.train.Example())
    for item in (ours, theirs):
        item.features.feature["image/encoded"].bytes_list.value[:] = [b"\xff" * size]
    assert tfrecord.serialized(ours) == theirs.SerializeToString(deterministic=True)


def test_tensorflow_reads_ours_and_we_read_tensorflows(tmp_path):
    items = [filled(tfrecord.Example()) for _ in range(3)]
    items[1].features.feature["image/id"].bytes_list.value.append(b"1")
    tfrecord.write_examples(tmp_path / "ours", items)
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for item in items:
            writer.write(tfrecord.serialized(item))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    found = list(tf.data.TFRecordDataset(str(tmp_path / "ours")).as_numpy_iterator())
    assert found == [tfrecord.serialized(item) for item in items]
    assert list(tfrecord.read_examples(tmp_path / "theirs")) == items


def test_values_and_text():
    item = filled(tfrecord.Example())
    assert tfrecord.feature_values(item, "image/height") == [-1, 2**40]
    assert tfrecord.feature_values(item, "image/object/none") == []
    assert tfrecord.feature_values(item, "no such") == []
    assert "no such" not in item.features.feature
    assert tfrecord.feature_text(item, "image/text") == "a"
    assert tfrecord.feature_text(item, "no such") == ""


def test_the_writer_keeps_the_checksum_of_the_file(tmp_path):
    file = io.BytesIO()
    writer = tfrecord.Writer(file)
    writer.write(b"one record")
    writer.write(b"another")
    (tmp_path / "file").write_bytes(file.getvalue())
    assert (writer.records, writer.size) == (2, len(file.getvalue()))
    assert writer.crc32c == tfrecord.crc32c(tmp_path / "file")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda data: data[:-1], "record 2: damaged .the file ends in it"),
        (lambda data: data[:20], "record 1: damaged .the file ends in it"),
        (lambda data: data + b"x", "record 3: damaged .its length"),
        (lambda data: b"\xff" + data[1:], "record 1: damaged .its length"),
        (lambda data: data[:50] + b"x" + data[51:], "record 1: damaged .its data"),
        (lambda data: data[:-1] + b"\0", "record 2: damaged .its data"),
    ],
)
def test_damage_is_located(tmp_path, spoil, says):
    path = tmp_path / "file"
    tfrecord.write_examples(path, [filled(tfrecord.Example()) for _ in range(2)])
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(CourseError, match=says):
        list(tfrecord.read_examples(path))


def test_a_record_that_is_no_example(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        tfrecord.Writer(file).write(b"plain text")
    with pytest.raises(CourseError, match=r"no tf\.train\.Example"):
        list(tfrecord.read_examples(tmp_path / "file"))
    with pytest.raises(CourseError, match="missing; write the records again"):
        list(tfrecord.read_examples(tmp_path / "none"))
