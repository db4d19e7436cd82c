"""TFRecord files and `tf.train.Example`, written and read without TensorFlow.

Importing TensorFlow takes seconds and half a gigabyte in every process that writes a file.
Packing bytes needs neither, and Apache Beam's workers cannot have it beside them. The bytes are
the same: the tests read these files with TensorFlow, and write others with it.

A file is one record after the other: length (8 bytes, little endian), its checksum, the data,
its checksum. Sources: tensorflow.org/tutorials/load_data/tfrecord ("TFRecords format details"),
tensorflow/core/example/example.proto and feature.proto.
"""

import base64
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from helpers.common.errors import CourseError


def _example_class():
    """Return the message class `tensorflow.Example`, in a pool of its own: TensorFlow has its."""
    file = descriptor_pb2.FileDescriptorProto(
        name="example.proto", package="tensorflow", syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(into, name: str, *fields: tuple):
        made = into.add(name=name)
        for number, (field, type_, options) in enumerate(fields, 1):
            if isinstance(type_, str):
                options = options | {"type_name": f".tensorflow.{type_}"}
                type_ = kinds.TYPE_MESSAGE
            made.field.add(name=field, number=number, type=type_, **options)
        return made

    many, one_of = {"label": kinds.LABEL_REPEATED}, {"oneof_index": 0}
    message(file.message_type, "BytesList", ("value", kinds.TYPE_BYTES, many))
    message(file.message_type, "FloatList", ("value", kinds.TYPE_FLOAT, many))
    message(file.message_type, "Int64List", ("value", kinds.TYPE_INT64, many))
    lists = (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List"))
    feature = message(file.message_type, "Feature", *((*pair, one_of) for pair in lists))
    feature.oneof_decl.add(name="kind")
    features = message(file.message_type, "Features", ("feature", "Features.FeatureEntry", many))
    entry = message(
        features.nested_type,
        "FeatureEntry",
        ("key", kinds.TYPE_STRING, {}),
        ("value", "Feature", {}),
    )
    entry.options.map_entry = True
    message(file.message_type, "Example", ("features", "Features", {}))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


Example = _example_class()


def feature_values(item, key: str) -> list:
    """Values of one feature of an `Example`, as a list; empty when it has none."""
    if key not in item.features.feature:
        return []
    feature = item.features.feature[key]
    kind = feature.WhichOneof("kind")
    return list(getattr(feature, kind).value) if kind else []


def feature_text(item, key: str) -> str:
    """Return the first value of a feature of bytes as a string, "" when it has none."""
    return b"".join(feature_values(item, key)[:1]).decode(errors="replace")


def serialized(item) -> bytes:
    """Return the bytes of an `Example`: the same for the same values, in any process."""
    return item.SerializeToString(deterministic=True)


def with_image(item, image: bytes) -> tuple[bytes, ...]:
    """Return the bytes of `item` with `image` as its "image/encoded", in pieces.

    Joined, they are what `serialized` gives for the whole; but the image, nearly all of it, is
    not copied. "image/encoded" must come before all other keys of `item`, as it does among
    those of a detector.
    """
    others = item.features.SerializeToString(deterministic=True)
    parts = [b"\x0a" + _varint(len(image))]  # BytesList.value
    for head in (b"\x0a", b"\x12"):  # Feature.bytes_list, then the value of the map's entry
        parts.insert(0, head + _varint(sum(map(len, parts)) + len(image)))
    parts.insert(0, b"\x0a\x0dimage/encoded")  # the key of the entry
    parts.insert(0, b"\x0a" + _varint(sum(map(len, parts)) + len(image)))  # Features.feature
    whole = sum(map(len, parts)) + len(image) + len(others)
    return b"\x0a" + _varint(whole) + b"".join(parts), image, others


class Writer:
    """Writes records into an open binary file, and keeps count of them and of the checksum."""

    def __init__(self, file):
        self.file, self.records, self.size, self._crc = file, 0, 0, 0

    def write_examples(self, *data: bytes) -> None:
        """Append one record, given in one piece or in several that follow each other."""
        length = struct.pack("<Q", sum(map(len, data)))
        pieces = [length + _checksum(length), *data, _checksum(*data)]
        for piece in pieces:
            self._crc = google_crc32c.extend(self._crc, piece)
            self.file.write(piece)
            self.size += len(piece)
        self.records += 1

    @property
    def crc32c(self) -> str:
        """Checksum of everything written so far, as `crc32c` gives it for a file."""
        return _base64(self._crc)


def write_examples(path: Path | str, items: Iterable) -> None:
    """Write a TFRecord file of `Example`s."""
    with open(path, "wb") as file:
        writer = Writer(file)
        for item in items:
            writer.write(serialized(item))


def read_examples(path: Path | str) -> Iterator:
    """Yield each `Example` of a TFRecord file; CourseError where it is damaged."""
    path, again = Path(path), "write the records again (lesson 04)"
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise CourseError(f"{path}: missing; {again}") from None
    number = 0
    with file:
        while head := file.read(12):
            number += 1
            reason = None
            length = data = foot = b""
            if len(head) < 12 or head[8:] != _checksum(length := head[:8]):
                reason = "its length does not match its checksum"
            else:
                size = struct.unpack("<Q", length)[0]
                data, foot = file.read(size), file.read(4)
                if len(foot) < 4:
                    reason = "the file ends in it"
                elif foot != _checksum(data):
                    reason = "its data do not match their checksum"
            if reason is None:
                try:
                    item = Example.FromString(data)
                except DecodeError:
                    reason = "it is no tf.train.Example"
            if reason:
                raise CourseError(f"{path}: record {number}: damaged ({reason}); {again}")
            yield item


def crc32c(path: Path | str, open_=open) -> str:
    """CRC32C of a file in base64: what cloud storage states for each object (`gsutil ls -L`)."""
    found = 0
    with open_(str(path), "rb") as file:
        while piece := file.read(1 << 20):
            found = google_crc32c.extend(found, piece)
    return _base64(found)


def _checksum(*data: bytes) -> bytes:
    """CRC32C of the pieces, masked: a checksum of data that hold checksums is a bad one."""
    crc = 0
    for piece in data:
        crc = google_crc32c.extend(crc, piece)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(number: int) -> bytes:
    """`number` in protobuf's base 128: seven bits a byte, the top bit for "more follows"."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _base64(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4, "big")).decode()
