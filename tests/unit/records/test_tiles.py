import json

import cv2
import numpy as np
import pytest

from helpers import models
from helpers.common.artifacts import read_manifest
from helpers.common.errors import CourseError
from helpers.common.images import fit
from helpers.records import tfrecord
from helpers.records.tiles import prepare_records, tiles_help
from helpers.records.verify import verify_records
from helpers.records.writing import write_records
from helpers.training.loop import train

tf = pytest.importorskip("tensorflow")

TILE = 64
SIZE = {"height": 96, "width": 160}  # that of the images themselves


BOX = [f"image/object/bbox/{edge}" for edge in ("xmin", "ymin", "xmax", "ymax")]


def examples(folder):
    """Every record of a folder by its id."""
    found = [
        item for path in sorted(folder.glob("*.tfrecord")) for item in tfrecord.read_examples(path)
    ]
    return {tfrecord.feature_values(item, "image/source_id")[0]: item for item in found}


def decoded(item):
    data = np.frombuffer(tfrecord.feature_values(item, "image/encoded")[0], np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


@pytest.fixture(scope="module")
def shrunk(tiny_records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shrunk") / "05_records"
    return prepare_records(tiny_records, folder, height=48, width=96)


def test_shrinking_keeps_everything_but_pixels(tiny_records, shrunk):
    before, after = examples(tiny_records), examples(shrunk)
    assert len(before) == 24
    assert before.keys() == after.keys()
    for number, item in before.items():
        for key in (*BOX, "image/object/class/label", "image/filename", "image/object/difficult"):
            assert tfrecord.feature_values(after[number], key) == tfrecord.feature_values(item, key)
    old, new = (read_manifest(folder)["counts"] for folder in (tiny_records, shrunk))
    assert (new["train"], new["val"]) == (old["train"], old["val"])
    for name in ("train.json", "val.json", "label_map.pbtxt"):
        assert (shrunk / name).read_bytes() == (tiny_records / name).read_bytes()


def test_shrinking_shrinks_the_images(tiny_records, shrunk):
    before, after = examples(tiny_records), examples(shrunk)
    for number, item in after.items():
        image = decoded(item)
        assert image.shape == (48, 80, 3)
        assert tfrecord.feature_values(item, "image/height") == [48]
        assert tfrecord.feature_values(item, "image/width") == [80]
        expected = fit(decoded(before[number]), 48, 96)
        assert np.abs(image.astype(int) - expected).mean() < 4
        areas = [
            tfrecord.feature_values(each[number], "image/object/area")[0]
            for each in (before, after)
        ]
        assert areas[1] == pytest.approx(areas[0] / 4)


def test_shrunk_records_pass_the_verification(tiny_records, shrunk):
    assert verify_records(shrunk) == verify_records(tiny_records)


def test_shrunk_records_are_made_once(tiny_records, shrunk, capsys):
    capsys.readouterr()
    prepare_records(tiny_records, shrunk, height=48, width=96)
    assert "already made" in capsys.readouterr().out


@pytest.fixture(scope="module")
def tiles(tiny_records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles") / "05_tiles"
    return prepare_records(tiny_records, folder, **SIZE, tile=TILE)


def items(folder, split):
    return [i for path in sorted(folder.glob(f"{split}-*")) for i in tfrecord.read_examples(path)]


def pixels_and_boxes(item):
    edges = [tfrecord.feature_values(item, edge) for edge in BOX]
    return decoded(item), np.array(edges).T.reshape(-1, 4) * TILE


def test_every_object_gets_two_tiles_and_every_image_two(tiles, tiny_records):
    images = read_manifest(tiny_records)["counts"]["train"]["images"]
    counts = read_manifest(tiles)["counts"]
    assert counts["tile"] == TILE
    # Each image holds one object.
    assert counts["train"] == {"images": 4 * images, "from_images": images}
    assert len(items(tiles, "train")) == 4 * images


def test_boxes_lie_on_the_object_in_each_tile(tiles):
    """The object is red: the box is where the red is."""
    with_box = 0
    for item in items(tiles, "train"):
        image, boxes = pixels_and_boxes(item)
        assert image.shape == (TILE, TILE, 3)
        for x1, y1, x2, y2 in boxes:
            with_box += 1
            assert 0 <= x1 < x2 <= TILE
            assert 0 <= y1 < y2 <= TILE
            red = (image[..., 2] > 170) & (image[..., 0] < 100)
            ys, xs = np.nonzero(red)
            assert abs(xs.min() - x1) <= 2
            assert abs(xs.max() + 1 - x2) <= 2
            assert abs(ys.min() - y1) <= 2
            assert abs(ys.max() + 1 - y2) <= 2
        names = tfrecord.feature_values(item, "image/object/class/label")
        assert len(names) == len(boxes)
    assert with_box >= 2 * 16, "each of the 16 training objects lies whole in two tiles"


def test_ids_are_unique_and_held_out_images_stay_whole(tiles, tiny_records):
    ids = [tfrecord.feature_values(item, "image/source_id")[0] for item in items(tiles, "train")]
    assert len(set(ids)) == len(ids)
    for before, after in zip(items(tiny_records, "val"), items(tiles, "val"), strict=True):
        assert decoded(after).shape == decoded(before).shape
        assert all(
            tfrecord.feature_values(after, edge) == tfrecord.feature_values(before, edge)
            for edge in BOX
        )
    assert (tiles / "val.json").read_bytes() == (tiny_records / "val.json").read_bytes()


def test_a_test_side_stays_whole_and_is_counted(three_sides, tmp_path):
    records = write_records(three_sides, tmp_path / "04", shards=1)
    for name, tile in (("whole", None), ("tiles", 60)):
        out = prepare_records(records, tmp_path / name, height=120, width=160, tile=tile)
        assert [decoded(item).shape for item in items(out, "test")] == [(120, 160, 3)] * 2
        assert (out / "test.json").read_bytes() == (records / "test.json").read_bytes()
        counts = read_manifest(out)["counts"]
        assert counts["test"] == read_manifest(records)["counts"]["test"]
        assert "test.json" in counts["crc32c"]
    assert len(items(out, "train")) == 2 * (2 + 2)  # of each the one object that counts


def test_the_same_seed_gives_the_same_tiles(tiles, tiny_records, tmp_path):
    again = prepare_records(tiny_records, tmp_path / "again", **SIZE, tile=TILE)
    other = prepare_records(tiny_records, tmp_path / "other", **SIZE, tile=TILE, seed=1)
    first, second, third = (
        [i.SerializeToString(deterministic=True) for i in items(f, "train")]
        for f in (tiles, again, other)
    )
    assert first == second
    assert first != third


def test_image_smaller_than_a_tile_is_refused_in_one_line(tiny_records, tmp_path):
    with pytest.raises(CourseError, match="160x96 is smaller than a tile of 128"):
        prepare_records(tiny_records, tmp_path / "none", **SIZE, tile=128)
    assert not (tmp_path / "none").exists()


def test_tiles_are_of_use_only_where_objects_are_small(tiny_records):
    # Objects of up to 48 pixels in images of 160x96.
    assert tiles_help(tiny_records, 96, 96, 160)
    assert not tiles_help(tiny_records, 48, 96, 160), "objects too large for a tile"
    assert not tiles_help(tiny_records, 128, 96, 160), "images smaller than a tile"


def test_a_detector_trained_on_tiles_runs_on_whole_images(tiles, tiny_config, tmp_path):
    config = models.for_records(tiny_config(steps=2), tiles)
    detector, history = train(
        config, tmp_path / "06", label_map=tiles / "label_map.pbtxt", report_every=1
    )
    assert len(history) == 2
    assert detector.input_size == (64, 128)
    image = np.zeros((96, 160, 3), np.uint8)
    found = detector(image, threshold=0)
    assert (found.xyxy <= [160, 96, 160, 96]).all()


def test_the_smallest_anchor_is_as_large_as_the_smallest_objects(tiny_config, tiny_records):
    config = tiny_config()
    data = json.loads((tiny_records / "train.json").read_text())
    scale = 64 / 96
    sides = sorted(np.sqrt(a["area"]) * scale for a in data["annotations"])
    chosen = models.anchor_size(config, tiny_records)
    assert 1 <= chosen <= 4
    assert chosen * 8 == pytest.approx(sides[len(sides) // 20], abs=0.5)
