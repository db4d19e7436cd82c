"""Mutated files through every parser: a `CourseError` or an answer, never another exception.

In `make test` a fixed number of tries; `make torture` (COURSE_TORTURE=minutes) tries until the
time is over, other files each time.
"""

import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.annotations.formats import read_annotations, survey
from helpers.annotations.label_map import read_label_map
from helpers.annotations.voc import read_voc
from helpers.common.artifacts import read_manifest
from helpers.common.files import read_csv, read_json
from helpers.common.prototext import parse
from helpers.records.tfrecord import read_examples
from helpers.training.history import read_history
from tests.faults.conftest import refusal

MINUTES = float(os.environ.get("COURSE_TORTURE", "0"))
TRIES = 150

VOC = b"""<annotation><filename>p0.jpg</filename><size><width>64</width><height>48</height></size>
<object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>
<xmax>30.5</xmax><ymax>40</ymax></bndbox></object></annotation>"""
COCO = b"""{"images": [{"id": 1, "file_name": "p0.jpg", "width": 64, "height": 48}],
 "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "iscrowd": 0}],
 "categories": [{"id": 1, "name": "cat"}]}"""
SEEDS = {
    "p0.xml": VOC,
    "coco.json": COCO,
    "vott.csv": b'"image","xmin","ymin","xmax","ymax","label"\n"p0.jpg",1,2,30,40,"cat"\n',
    "tfod.csv": b"filename,width,height,class,xmin,ymin,xmax,ymax\np0.jpg,64,48,cat,1,2,30,40\n",
    "labels/p0.txt": b"0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.05 0.05\n",
    "data.yaml": b"train: images\nval: images\nnc: 2\nnames: {0: cat, 1: dog}\n",
    "p0.json": b"""{"version": "5.0", "imagePath": "p0.jpg", "imageWidth": 64, "imageHeight": 48,
 "shapes": [{"label": "cat", "points": [[1, 2], [30, 40]], "shape_type": "rectangle"}]}""",
    "map.pbtxt": b"item {\n  id: 1\n  name: 'cat'\n}\nitem { id: 2 name: \"dog\" }\n",
    "history.csv": b"step,total_loss,AP\n6,1.5,\n16,0.5,0.25\n",
    "manifest.json": b'{"made_by": "x", "fingerprint": "0", "counts": {"train": {"images": 1}}}',
    "a.config": b'model { ssd { num_classes: 1 type: "a" } } train_config { batch_size: 24 }',
    "a.tfrecord": bytes.fromhex("0300000000000000") + b"\0\0\0\0" + b"abc" + b"\0\0\0\0",
}


def _parsers(folder, name):
    path = folder / name
    match name:
        case "p0.xml":
            return [lambda: read_voc(path), lambda: read_annotations(folder)]
        case "map.pbtxt":
            return [lambda: read_label_map(path)]
        case "history.csv":
            return [lambda: read_history(folder), lambda: read_csv(path, ("step",))]
        case "manifest.json":
            return [lambda: read_manifest(folder), lambda: read_json(path)]
        case "a.config":
            return [lambda: parse(path.read_bytes().decode("utf-8", "replace"))]
        case "a.tfrecord":
            return [lambda: list(read_examples(path))]
    return [lambda: read_annotations(folder), lambda: survey(folder)]


def _mutations(seed: bytes):
    """`seed` with some of it cut out, doubled, overwritten or replaced by what breaks parsers."""
    odd = [b"\0", b"\xff\xfe", b'"', b"'", b"{", b"[", b"<!", b"&", b"nan", b"1e999", b"-", b",,"]
    odd += [b"9" * 5000, b"\r", b"\n", b"\xed\xa0\x80", b"null", b"true", b"*a", b": &a [*a]"]
    place = st.integers(0, len(seed))
    piece = st.one_of(st.sampled_from(odd), st.binary(max_size=6))
    edit = st.tuples(place, place, piece)

    def apply(edits):
        data = seed
        for start, stop, new in edits:
            start, stop = sorted((start, min(stop, start + 12)))
            data = data[:start] + new + data[stop:]
        return data

    return st.lists(edit, min_size=1, max_size=4).map(apply)


@pytest.mark.parametrize("name", SEEDS)
def test_a_mutated_file_never_raises_anything_but_a_course_error(course, name):
    folder = course / "fuzz"
    (folder / "labels").mkdir(parents=True)
    (course / "own/p0.jpg").rename(folder / "p0.jpg")
    if name.startswith("labels/"):
        (folder / "classes.txt").write_text("cat\ndog\n")
    if name == "data.yaml":
        (folder / "labels/p0.txt").write_bytes(SEEDS["labels/p0.txt"])
    parsers = _parsers(folder, name)

    @settings(
        max_examples=TRIES,
        deadline=None,
        database=None,
        derandomize=not MINUTES,
        suppress_health_check=list(HealthCheck),
    )
    @given(_mutations(SEEDS[name]))
    def attempt(data):
        (folder / name).write_bytes(data)
        for parse_it in parsers:
            refusal(parse_it)

    end = time.monotonic() + MINUTES * 60 / len(SEEDS)
    attempt()
    while time.monotonic() < end:
        attempt()
