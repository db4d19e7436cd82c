import cv2
import numpy as np
import pytest
from coco_cases import truth_file

from helpers import evaluation
from helpers.common.errors import CourseError


def test_samples_are_spread_over_images_that_show_something(tmp_path):
    objects = [(i, 1, (10, 10, 40, 40)) for i in range(10, 20)]
    objects.append((5, 1, (10, 10, 40, 40), True))
    path = truth_file(tmp_path, objects, {i: "" for i in range(30)})
    assert evaluation.sample_images(path, 4) == ["10.jpg", "13.jpg", "16.jpg", "19.jpg"]
    assert evaluation.sample_images(path, 1) == ["10.jpg"]
    assert len(evaluation.sample_images(path, 50)) == 10
    nothing = truth_file(tmp_path, [], {i: "" for i in range(3)})
    assert evaluation.sample_images(nothing, 2) == ["0.jpg", "2.jpg"]


def test_the_longest_clip_is_held_out(tmp_path):
    path = truth_file(tmp_path, [], {1: "a", 2: "b", 3: "b", 4: "a", 5: "b"})
    assert evaluation.longest_clip(path) == ["2.jpg", "3.jpg", "5.jpg"]


def test_a_missing_or_broken_truth_is_named(tmp_path):
    with pytest.raises(CourseError, match=r"val.json: missing; lesson 04"):
        evaluation.match(tmp_path / "val.json", [])
    (tmp_path / "val.json").write_text("{")
    with pytest.raises(CourseError, match=r"val.json: line 1: no JSON"):
        evaluation.sample_images(tmp_path / "val.json", 2)
    for text in ("[]", "{}", '{"images": 3, "annotations": [], "categories": []}'):
        (tmp_path / "val.json").write_text(text)
        with pytest.raises(CourseError, match=r"val.json: no COCO json of images"):
            evaluation.match(tmp_path / "val.json", [])


def test_sampled_frames_come_with_their_boxes(tmp_path):
    objects = [
        (1, 1, (10, 20, 40, 50)),
        (1, 2, (0, 0, 5, 5), True),
        (2, 1, (1, 1, 9, 9), True),
        (3, 2, (30, 30, 60, 60)),
    ]
    path = truth_file(tmp_path, objects, {i: "" for i in range(5)}, categories=(1, 2))
    (tmp_path / "images").mkdir()
    for i in (1, 3):
        picture = np.full((100, 100, 3), (0, 0, 80 * i), np.uint8)  # OpenCV's order: red
        cv2.imwrite(str(tmp_path / "images" / f"{i}.jpg"), picture)
    pictures, truth = evaluation.sample_frames(tmp_path, path, 5)
    assert [picture.shape for picture in pictures] == [(100, 100, 3)] * 2
    assert [picture[50, 50, 0] for picture in pictures] == pytest.approx([80, 240], abs=4)
    assert [[(box.label, *box.xyxy, box.difficult) for box in boxes] for boxes in truth] == [
        [("class1", 10, 20, 50, 70, False), ("class2", 0, 0, 5, 5, True)],
        [("class2", 30, 30, 90, 90, False)],
    ]
    assert len(evaluation.sample_frames(tmp_path, path, 1)[0]) == 1
    (tmp_path / "images" / "3.jpg").unlink()
    with pytest.raises(CourseError, match=r"3.jpg: not a readable image"):
        evaluation.sample_frames(tmp_path, path, 2)
