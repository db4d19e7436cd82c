"""What to train, from statistics made up for the purpose: no TensorFlow, no pictures."""

import json

import pytest

from helpers import models
from helpers.common.errors import CourseError
from helpers.models.presets import PRESETS


def made(folder, *, images, side, size=(480, 640), classes=1, frames=1, difficult=False):
    """A 04_records of `images` images, each with one object of `side` x `side` pixels."""
    data = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "clip": f"clip{i // frames}"}
            | dict(zip(("height", "width"), size, strict=True))
            for i in range(images)
        ],
        "annotations": [
            {
                "image_id": i,
                "category_id": 1 + i % classes,
                "bbox": [0.0, 0.0, side, side],
                "area": float(side * side),
                "iscrowd": int(difficult),
            }
            for i in range(images)
        ],
        "categories": [{"id": 1 + i, "name": f"class{i}"} for i in range(classes)],
    }
    (folder / "train.json").write_text(json.dumps(data))
    return folder


def test_large_objects_on_photos_take_whole_images_and_imagenet(tmp_path):
    """As the 160 raccoons, of which 400 steps found 0.95."""
    told = models.recommend(made(tmp_path, images=160, side=300), tiles=False)
    assert (told.preset, told.weights, told.steps) == ("ssd_mobilenet_v2_fpn", "imagenet", 400)
    assert told.reason == (
        "160 photos; the smallest objects have 150 pixels at 320x320, so whole images"
    )
    assert PRESETS[told.preset].weights == told.weights
    assert PRESETS[told.preset].tile is None


@pytest.mark.parametrize(("classes", "steps"), [(1, 400), (2, 500), (6, 1500), (20, 5000)])
def test_more_classes_take_more_steps(tmp_path, classes, steps):
    """Six playing cards: 0.45 after 500 steps, 0.98 after 1500."""
    told = models.recommend(made(tmp_path, images=120, side=200, classes=classes), tiles=False)
    assert told.steps == steps
    assert (f"{classes} classes, 250 steps for each" in told.reason) == (classes > 1)


def test_many_photos_are_all_seen(tmp_path):
    told = models.recommend(made(tmp_path, images=4001, side=200), tiles=False)
    assert told.steps == 2100  # four passes in batches of 8, in full hundreds


def test_far_objects_on_footage_take_tiles(tmp_path):
    """As roadside, 1500 steps from scratch; as the few dashcam frames, ImageNet and 800."""
    frames = {"side": 30, "size": (720, 1280), "frames": 9}
    told = models.recommend(made(tmp_path, images=864, **frames), tiles=True)
    assert (told.preset, told.weights, told.steps) == ("ssd_cpu", "scratch", 1500)
    assert told.reason.startswith("864 frames of footage; the smallest objects would have 8 pixels")
    told = models.recommend(made(tmp_path, images=312, **frames), tiles=True)
    assert (told.preset, told.weights) == ("ssd_mobilenet_v2_fpn_tiles", "imagenet")
    assert told.steps == 800
    assert PRESETS[told.preset].tile
    told = models.recommend(made(tmp_path, images=864, classes=8, **frames), tiles=True)
    assert told.steps == 2000


def test_where_tiles_do_not_help_it_says_what_will_be_missed(tmp_path):
    told = models.recommend(made(tmp_path, images=200, side=12), tiles=False)
    assert told.preset == "ssd_mobilenet_v2_fpn"
    assert "under 16 pixels many will be missed" in told.reason


def test_one_small_object_in_many_does_not_decide(tmp_path):
    folder = made(tmp_path, images=100, side=200)
    data = json.loads((folder / "train.json").read_text())
    data["annotations"][0]["area"] = 9.0
    (folder / "train.json").write_text(json.dumps(data))
    assert "have 100 pixels" in models.recommend(folder, tiles=True).reason


def test_nothing_to_learn_is_an_error(tmp_path):
    with pytest.raises(CourseError, match=r"train.json: no object that counts; see lesson 03"):
        models.recommend(made(tmp_path, images=3, side=50, difficult=True), tiles=False)
    (tmp_path / "train.json").write_text("{")
    with pytest.raises(CourseError, match=r"train.json: line 1: no JSON"):
        models.recommend(tmp_path, tiles=False)
