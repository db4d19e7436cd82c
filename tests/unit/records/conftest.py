"""Datasets of lesson 03, and the records of one."""

import pytest
from sample_pictures import BOXES, MAP, encoded

from helpers.annotations.boxes import Annotation
from helpers.annotations.folders import SPLITS
from helpers.annotations.label_map import write_label_map
from helpers.annotations.voc import write_voc
from helpers.common.files import write_csv
from helpers.records.writing import write_records


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
        write_voc(annotation, folder / f"annotations/frame{i}.xml")
        rows.append({"image": name, "clip": "ab"[i > 6], "split": SPLITS[i > 6]})
    write_csv(folder / "split.csv", ("image", "clip", "split"), rows)
    write_label_map(MAP, folder / "label_map.pbtxt")
    return folder


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
        write_voc(found, folder / f"annotations/{i}.xml")
        rows.append({"image": f"{i}.jpg", "clip": str(i), "split": SPLITS[i % 10 == 0]})
    write_csv(folder / "split.csv", ("image", "clip", "split"), rows)
    write_label_map(MAP, folder / "label_map.pbtxt")
    return folder


@pytest.fixture(scope="module")
def three_sides(tmp_path_factory):
    """A dataset of six images, two of each split."""
    folder = tmp_path_factory.mktemp("three") / "03_dataset"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    rows = []
    for i in range(6):
        (folder / f"images/{i}.jpg").write_bytes(encoded(size=(160, 120), quality=50 + i))
        write_voc(Annotation(f"{i}.jpg", 160, 120, BOXES), folder / f"annotations/{i}.xml")
        rows.append({"image": f"{i}.jpg", "clip": str(i), "split": SPLITS[i % 3]})
    write_csv(folder / "split.csv", ("image", "clip", "split"), rows)
    write_label_map(MAP, folder / "label_map.pbtxt")
    return folder


@pytest.fixture
def written(dataset, tmp_path):
    return write_records(dataset, tmp_path / "04_records", shards=1)
