"""TFRecord files and `tf.train.Example`, written and read without TensorFlow.

Importing TensorFlow takes seconds and half a gigabyte in every process that writes a file, and
Apache Beam's workers cannot have it next to them. The bytes are the same: the tests read these
files with TensorFlow, and write others with it.

A file is one record after the other: length (8 bytes, little endian), its checksum, the data,
its checksum. Sources: tensorflow.org/tutorials/load_data/tfrecord ("TFRecords format details"),
tensorflow/core/example/example.proto and feature.proto.
"""

import base64
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError, Message

from helpers.common.errors import CourseError

# In a pool of its own: TensorFlow, if imported, registers the same names in the default one.
_POOL = descriptor_pool.DescriptorPool()
_PROTO = Path(__file__).with_name("example.textproto").read_text(encoding="utf-8")
_POOL.Add(text_format.Parse(_PROTO, descriptor_pb2.FileDescriptorProto()))
Example = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("tensorflow.Example"))

# What to do about records that are damaged. Lesson 04 would keep a folder that is there.
AGAIN = "write the records again (those of lesson 04: delete their folder, run it)"

_KINDS = {bytes: "bytes_list", int: "int64_list", float: "float_list"}


def feature_values(example: Message, key: str) -> list:
    """Return the values of one feature as a list: bytes, float or int; empty where it has none."""
    if key not in example.features.feature:
        return []
    feature = example.features.feature[key]
    kind = feature.WhichOneof("kind")
    return list(getattr(feature, kind).value) if kind else []


def feature_text(example: Message, key: str) -> str:
    """Return the first value of a feature of bytes as a string; "" where it has none."""
    values = [value for value in feature_values(example, key)[:1] if isinstance(value, bytes)]
    return b"".join(values).decode(errors="replace")


def set_values(example: Message, key: str, values: Sequence[bytes | int | float]) -> None:
    """Replace the values of one feature: all bytes, all int or all float."""
    feature = example.features.feature[key]
    kind = feature.WhichOneof("kind") or (values and _KINDS[type(values[0])])
    if kind:  # a new feature without values has none
        getattr(feature, kind).value[:] = values


def serialized(example: Message) -> bytes:
    """Return the bytes of an `Example`: the same for the same values, in any process."""
    return example.SerializeToString(deterministic=True)


class Writer:
    """Writes records into an open binary file; counts them, and keeps the file's checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.records, self.size, self._crc = file, 0, 0, 0

    def write(self, record: bytes) -> None:
        """Append one record."""
        length = struct.pack("<Q", len(record))
        for piece in (length, _checksum(length), record, _checksum(record)):
            self.file.write(piece)
            self._crc = google_crc32c.extend(self._crc, piece)
            self.size += len(piece)
        self.records += 1

    @property
    def crc32c(self) -> str:
        """Checksum of everything written so far, as `crc32c` gives it for a file."""
        return _base64(self._crc)


def write_examples(path: Path | str, examples: Iterable[Message]) -> None:
    """Write a TFRecord file of `Example`s."""
    with open(path, "wb") as file:
        writer = Writer(file)
        for example in examples:
            writer.write(serialized(example))


def read_examples(path: Path | str) -> Iterator[Message]:
    """Yield each `Example` of a TFRecord file; CourseError where it is damaged or missing."""
    path = Path(path)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise CourseError(f"{path}: missing; {AGAIN}") from None
    number = 0
    with file:
        while head := file.read(12):
            number += 1
            try:
                example = _read_rest(file, head)
            except ValueError as error:
                raise CourseError(f"{path}: record {number}: damaged ({error}); {AGAIN}") from None
            yield example


def training_examples(folder: Path) -> Iterator[Message]:
    """Yield each training example of a folder of records."""
    for path in sorted(folder.glob("train-*.tfrecord")):
        yield from read_examples(path)


def _read_rest(file: BinaryIO, head: bytes) -> Message:
    """Read the record whose first 12 bytes are `head`; ValueError says what is wrong with it."""
    length = head[:8]
    if head[8:] != _checksum(length):
        raise ValueError("its length does not match its checksum")
    (size,) = struct.unpack("<Q", length)
    left = os.fstat(file.fileno()).st_size - file.tell()
    if size + 4 > left:  # before memory is asked for it: a faulty writer may state any length
        raise ValueError(f"the file ends in it, which says to have {size} bytes")
    data, foot = file.read(size), file.read(4)
    if foot != _checksum(data):
        raise ValueError("its data do not match their checksum")
    try:
        return Example.FromString(data)
    except DecodeError:
        raise ValueError("it is no tf.train.Example") from None


def crc32c(path: Path | str, open_: Callable = open) -> str:
    """CRC32C of a file in base64: what cloud storage states for each object (`gsutil ls -L`)."""
    crc = 0
    with open_(str(path), "rb") as file:
        while piece := file.read(1 << 20):
            crc = google_crc32c.extend(crc, piece)
    return _base64(crc)


def _checksum(data: bytes) -> bytes:
    """CRC32C, masked: a checksum of data that hold checksums is a bad one."""
    crc = google_crc32c.value(data)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def _base64(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4, "big")).decode()
