"""What the preview shows is what training reads: pixels and boxes move together, or it shows."""

import cv2
import numpy as np
import pytest

from helpers import models, plots
from helpers.common.errors import CourseError
from helpers.training import augmentation

pytest.importorskip("tensorflow")

FAMILIES = ("ssd", "faster_rcnn")


def overlap(image, box) -> float:
    """IoU of a box with the red rectangle of the tiny images, 0 where there is none."""
    hue, saturation, _ = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    red = (np.minimum(hue, 180 - hue) < 12) & (saturation > 110)
    red = cv2.morphologyEx(red.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    if not red.any():
        return 0.0
    ys, xs = np.nonzero(red)
    seen = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    width = min(seen[2], box.xmax) - max(seen[0], box.xmin)
    height = min(seen[3], box.ymax) - max(seen[1], box.ymin)
    both = max(0, width) * max(0, height)
    return both / ((seen[2] - seen[0]) * (seen[3] - seen[1]) + box.area - both)


def fits(images, truth) -> list[float]:
    return [overlap(image, boxes[0]) for image, boxes in zip(images, truth, strict=True) if boxes]


@pytest.mark.parametrize("family", FAMILIES)
def test_boxes_follow_what_zoom_does_to_the_image(tiny_config, family):
    config = augmentation.set_augmentation(tiny_config(family), 1.0)
    images, truth = augmentation.preview_augmentation(config, count=12)
    assert len(images) == len(truth) == 13
    assert {image.shape for image in images[1:]} == {(64, 128, 3)}  # the size that training reads
    assert [box.label for box in truth[0]] == ["camera"]
    assert np.median(fits(images, truth)) > 0.85
    areas = [boxes[0].area for boxes in truth[1:] if boxes]
    assert max(areas) > 3 * min(areas)


@pytest.mark.parametrize("family", FAMILIES)
def test_strength_0_leaves_everything_where_it_was(tiny_config, family):
    config = augmentation.set_augmentation(tiny_config(family), 0.0, "randaug")
    images, truth = augmentation.preview_augmentation(config, count=3)
    for image, boxes in zip(images[1:], truth[1:], strict=True):
        assert boxes[0].xyxy == pytest.approx(truth[0][0].xyxy, abs=0.2)
        part = image[: images[0].shape[0], : images[0].shape[1]].astype(int)
        assert np.abs(part - images[0]).mean() < 6  # only resized in another way


def test_strength_makes_it_stronger(tiny_config):
    def spread(strength):
        config = augmentation.set_augmentation(tiny_config(), strength)
        _, truth = augmentation.preview_augmentation(config, count=12)
        areas = [boxes[0].area for boxes in truth[1:] if boxes]
        return max(areas) / min(areas)

    assert spread(0.1) < 1.4 < spread(0.6)


def test_the_same_seed_draws_the_same(tiny_config):
    config = augmentation.set_augmentation(tiny_config(), 0.7)
    first, again, other = (
        augmentation.preview_augmentation(config, count=3, seed=seed) for seed in (5, 5, 6)
    )
    assert np.array_equal(np.stack(first[0][1:]), np.stack(again[0][1:]))
    assert first[1] == again[1]
    assert not np.array_equal(np.stack(first[0][1:]), np.stack(other[0][1:]))


@pytest.mark.parametrize("family", FAMILIES)
def test_colours_leave_boxes_in_place(tiny_config, family):
    config = models.edit(tiny_config(family), {"task.train_data.parser.aug_rand_hflip": False})
    config = augmentation.set_augmentation(config, 0.8, "colours")
    images, truth = augmentation.preview_augmentation(config, count=6)
    for boxes in truth[1:]:
        assert boxes[0].xyxy == pytest.approx(truth[0][0].xyxy, abs=0.2)
    change = [np.abs(image.astype(int) - images[1]).mean() for image in images[2:]]
    assert max(change) > 5


def test_a_faster_rcnn_never_moves_pixels_without_boxes(tiny_config):
    config = augmentation.set_augmentation(tiny_config("faster_rcnn"), 1.0, "randaug")
    drawn = config.task.train_data.parser.aug_type.randaug.exclude_ops
    assert {"Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"} <= set(drawn)


def test_the_preview_shows_boxes_that_stay_behind(tiny_config):
    """Planted: a turn of 30 degrees, whose boxes only an SSD's parser moves along."""
    off = [*augmentation._MOVES[1:], *augmentation._HARSH, "AutoContrast"]
    off += ["Color", "Contrast", "Brightness", "Sharpness"]
    changes = {
        "task.train_data.parser.aug_type.type": "randaug",
        "task.train_data.parser.aug_type.randaug.exclude_ops": off,
        "task.train_data.parser.aug_type.randaug.num_layers": 1,
    }
    worst = {}
    for family in FAMILIES:
        config = models.edit(augmentation.set_augmentation(tiny_config(family), 0.0), changes)
        worst[family] = min(fits(*augmentation.preview_augmentation(config, count=12)))
    assert worst["faster_rcnn"] < 0.3 < worst["ssd"]


def test_the_policy_is_the_one_for_boxes(tiny_config):
    config = augmentation.set_augmentation(tiny_config(), 1.0, "autoaug")
    policy = config.task.train_data.parser.aug_type.autoaug.augmentation_name
    assert policy == "detection_v0"  # the default, v0, moves pixels but not boxes


@pytest.mark.parametrize(
    ("family", "strength", "kind", "said"),
    [
        ("ssd", 0.5, "rotate", "one of zoom, crop"),
        ("ssd", 1.5, "zoom", "strength: 1.5; give 0 to 1"),
        ("faster_rcnn", 0.5, "crop", "'crop' is for an SSD"),
        ("faster_rcnn", 0.5, "autoaug", "zoom, colours, randaug"),
    ],
)
def test_what_cannot_be_is_refused(tiny_config, family, strength, kind, said):
    with pytest.raises(CourseError, match=said):
        augmentation.set_augmentation(tiny_config(family), strength, kind)


def test_an_image_that_is_not_there(tiny_config):
    with pytest.raises(CourseError, match="image 16: has 16 images with an object"):
        augmentation.preview_augmentation(tiny_config(), number=16)


@pytest.mark.parametrize("kind", augmentation.KINDS)
def test_each_kind_survives_a_file(tiny_config, tmp_path, kind):
    config = augmentation.set_augmentation(tiny_config(), 0.4, kind)
    models.save_config(config, tmp_path / "c.yaml")
    assert models.difference(config, models.load_config(tmp_path / "c.yaml")) == []


def test_old_options_say_what_there_is_now():
    rows = {row["option"]: row for row in augmentation.old_augmentation_options()}
    assert all(set(row) == {"option", "SSD", "Faster R-CNN"} for row in rows.values())
    assert rows["random_horizontal_flip"]["SSD"] == "aug_rand_hflip: true"
    assert rows["ssd_random_crop"]["SSD"] == "aug_type.type: ssd_random_crop"
    assert "aug_scale_min" in rows["ssd_random_crop"]["Faster R-CNN"]
    assert rows["random_jitter_boxes"]["SSD"].startswith("none: boxes are never moved")


def test_figure_has_the_caption_as_its_text(tiny_config, capsys):
    images, truth = augmentation.preview_augmentation(tiny_config(), count=2)
    picture = plots.augmentations(images, truth, caption="Three views.")
    assert picture.alt == "Three views."
    assert capsys.readouterr().out == "Three views.\n"
