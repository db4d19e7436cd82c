"""Every file of text that the course reads, spoilt in every way: one line that names it, or read.

A row of the table is a fault; a column is a reader, with a good file of its kind.
"""

import pytest

from helpers.annotations.formats import read_annotations
from helpers.annotations.label_map import read_label_map
from helpers.annotations.writing import write_annotations
from helpers.common.artifacts import read_manifest
from helpers.common.errors import CourseError
from helpers.common.files import read_csv, read_json
from helpers.dataset.assemble import write_dataset
from helpers.footage.own import own_folder
from helpers.records.verify import verify_records
from helpers.records.writing import write_records
from helpers.training.history import read_history
from tests.faults.conftest import photos, refusal

DIGITS = "9" * 5000
NEST = "[" * 200_000


def _spoilt(data: bytes) -> dict[str, bytes]:
    text = data.decode()
    middle = len(data) // 2
    return {
        "empty": b"",
        "UTF-16": text.encode("utf-16"),
        "Latin-1": data[:middle] + "é".encode("latin-1") + data[middle:],
        "byte order mark": b"\xef\xbb\xbf" + data,
        "zero byte": data[:middle] + b"\0" + data[middle:],
        "cut in the middle": data[:middle],
        "200 kB without a break": data[:middle] + b"x" * 200_000 + data[middle:],
        "an open quote": data[:middle] + b'"' + data[middle:],
        "5000 digits": "".join(DIGITS if c == "6" else c for c in text).encode(),
        "deep nesting": NEST.encode(),
        "a web page": b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "blanks": b"  \n \n",
        "Windows line ends": text.replace("\n", "\r\n").encode(),
    }


FAULTS = list(_spoilt(b"abcdef"))


def _voc(course):
    path = course / "own" / "p3.xml"
    return path, lambda: read_annotations(course / "own")


def _export(format, name):
    def make(course):
        target = course / "export"
        pictures = target / "images"
        annotations = photos(pictures)
        written = target / name if "." in name and format != "yolo" else target
        write_annotations(annotations, written, format)
        path = target / name
        return path, lambda: read_annotations(target)

    return make


def _in(name, call):
    return lambda course: (course / name, lambda: call(course))


def _author(course):
    path = course / "own" / "split.csv"
    rows = [f"p{i}.jpg,{'val' if i > 3 else 'train'}" for i in range(6)]
    path.write_text("\n".join(["image,split", *rows, ""]))
    return path, lambda: own_folder(course / "own", course / "again")


def _groups(course):
    path = course / "own" / "groups.csv"
    path.write_text("\n".join(["image,clip", *(f"p{i}.jpg,{i // 2}" for i in range(6)), ""]))
    return path, lambda: own_folder(course / "own", course / "again")


def _history(course):
    path = course / "history.csv"
    path.write_text("step,total_loss,AP\n6,1.5,\n16,0.5,0.25\n")
    return path, lambda: read_history(course)


READERS = {
    "Pascal VOC": _voc,
    "COCO": _export("coco", "labels.json"),
    "VoTT CSV": _export("vott_csv", "labels.csv"),
    "TFOD CSV": _export("tfod_csv", "labels.csv"),
    "LISA CSV": _export("lisa_csv", "labels.csv"),
    "YOLO": _export("yolo", "labels/p3.txt"),
    "data.yaml": _export("yolo", "data.yaml"),
    "label map": _in(
        "03_dataset/label_map.pbtxt", lambda c: read_label_map(c / "03_dataset/label_map.pbtxt")
    ),
    "own split.csv": _author,
    "own groups.csv": _groups,
    "frames.csv": _in(
        "02_frames/frames.csv",
        lambda c: write_dataset(c / "02_frames", c / "again", split="frame"),
    ),
    "XML of frames": _in(
        "02_frames/annotations/p3.xml",
        lambda c: write_dataset(c / "02_frames", c / "again", split="frame"),
    ),
    "split.csv": _in(
        "03_dataset/split.csv", lambda c: write_records(c / "03_dataset", c / "again", shards=1)
    ),
    "XML of the dataset": _in(
        "03_dataset/annotations/p3.xml",
        lambda c: write_records(c / "03_dataset", c / "again", shards=1),
    ),
    "COCO json of records": _in(
        "04_records/train.json", lambda c: verify_records(c / "04_records")
    ),
    "examples.csv": _in("04_records/examples.csv", lambda c: verify_records(c / "04_records")),
    "manifest of records": _in(
        "04_records/manifest.json", lambda c: verify_records(c / "04_records")
    ),
    "manifest": _in("02_frames/manifest.json", lambda c: read_manifest(c / "02_frames")),
    "history.csv": _history,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("reader", READERS)
def test_a_spoilt_text_is_read_or_named_in_one_line(course, reader, fault):
    path, read = READERS[reader](course)
    path.write_bytes(_spoilt(path.read_bytes())[fault])
    # What was a table is no table any more: then the folder has none.
    if line := refusal(read):
        assert path.stem in line or "no annotations in it" in line


@pytest.mark.parametrize("fault", ["a folder", "a broken link", "a link to itself"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_passed_by_or_named_in_one_line(course, reader, fault):
    path, read = READERS[reader](course)
    path.unlink()
    if fault == "a folder":
        path.mkdir()
    else:
        path.symlink_to(path if "itself" in fault else path.with_name("gone"))
    refusal(read)


@pytest.mark.parametrize("reader", READERS)
def test_the_good_file_of_each_reader_is_read(course, reader):
    """Else the tests above would pass for want of anything to spoil."""
    path, read = READERS[reader](course)
    assert path.stat().st_size
    read()


def test_a_row_with_a_cell_too_many_is_never_shifted(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("image,clip\na.jpg,1,5\n")
    with pytest.raises(CourseError, match=r"a\.csv: line 2: not 2 cells"):
        read_csv(path, ("image", "clip"))


def test_json_tells_the_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1,\n "b": }')
    with pytest.raises(CourseError, match=r"a\.json: line 2: no JSON"):
        read_json(path)
    path.write_text("1" * 5000)
    with pytest.raises(CourseError, match=r"a\.json: no JSON that can be read"):
        read_json(path)
