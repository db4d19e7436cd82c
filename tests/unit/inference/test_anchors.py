"""Anchors, and the boxes before NMS, are those that training and detection use."""

import cv2
import numpy as np
import pytest

from helpers import models
from helpers.annotations.boxes import Box
from helpers.inference import anchors
from helpers.records import tfrecord
from helpers.records.examples import boxes_of, image_of

pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def found(trained, tiny_dataset):
    """A held-out image, its object, and the detector that was trained on others."""
    from helpers.annotations.voc import read_voc

    path = sorted((tiny_dataset / "images").glob("clip4_*"))[0]
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    boxes = read_voc(tiny_dataset / "annotations" / f"{path.stem}.xml").boxes
    return trained.detector, image, boxes


def iou(a, b) -> float:
    both = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def test_matches_are_the_labels_that_training_reads(trained, tiny_records):
    """The same number on each level as the input function of training marks as positive."""
    from official.core import task_factory
    from official.vision.tasks import retinanet  # noqa: F401

    config = models.edit(
        trained.config,
        {
            "task.train_data.parser.aug_rand_hflip": False,
            "task.train_data.parser.aug_scale_min": 1.0,
            "task.train_data.parser.aug_scale_max": 1.0,
        },
    )
    item = next(tfrecord.read_examples(next(tiny_records.glob("train-*.tfrecord"))))
    image, boxes = image_of(item), boxes_of(item)
    path = trained.folder.parent / "one.tfrecord"
    tfrecord.write_examples(path, [item])
    data = config.task.train_data.replace(
        input_path=str(path), global_batch_size=1, shuffle_buffer_size=1
    )
    _, labels = next(iter(task_factory.get_task(config.task).build_inputs(data)))
    expected = {int(k): int((v.numpy() > 0).sum()) for k, v in labels["cls_targets"].items()}
    used = anchors.matched_anchors(trained.detector, image, boxes)
    used = used[used.data["used"]]
    counted = {level: int((used.data["level"] == level).sum()) for level in expected}
    assert sum(counted.values()) > 0
    assert counted == expected


def test_matches_say_how_well_they_fit(found):
    detector, image, boxes = found
    matched = anchors.matched_anchors(detector, image, boxes)
    assert set(matched.class_id) == {0}
    for xyxy, best in zip(matched.xyxy, matched.confidence, strict=True):
        assert iou(xyxy, np.array(boxes[0].xyxy)) == pytest.approx(best, abs=1e-3)
    assert list(matched.confidence) == sorted(matched.confidence, reverse=True)


def test_each_object_has_an_anchor_unless_it_is_difficult(found):
    detector, image, _ = found
    small = Box("camera", 70.0, 40.0, 72.0, 42.0)  # fits no anchor: the best is forced
    hard = Box("camera", 20.0, 20.0, 60.0, 60.0, difficult=True)
    matched = anchors.matched_anchors(detector, image, [hard, small])
    assert set(matched.class_id[matched.data["used"]]) == {1}
    assert matched.confidence[matched.data["used"]].max() < 0.4
    assert len(anchors.matched_anchors(detector, image, [hard])) == 0


def test_candidates_hold_what_the_detector_keeps(found):
    detector, image, _ = found
    # Of all anchors: a barely trained detector is sure of several hundred.
    before, after = anchors.candidate_boxes(detector, image, 5000), detector(image, threshold=0.3)
    assert len(after)
    assert len(before) > len(after)
    assert list(before.confidence) == sorted(before.confidence, reverse=True)
    for xyxy, score in zip(after.xyxy, after.confidence, strict=True):
        if min(xyxy[2:] - xyxy[:2]) < 1:
            continue  # it lay in the padding below the image: nothing is left to compare
        near = [iou(xyxy, other) for other in before.xyxy]
        assert max(near) > 0.95
        assert before.confidence[int(np.argmax(near))] == pytest.approx(score, abs=0.02)


def test_a_faster_rcnn_shows_its_proposals(untrained):
    detector = untrained("faster_rcnn")
    image = np.full((96, 160, 3), 90, np.uint8)
    assert len(anchors.candidate_boxes(detector, image, 10)) <= 10
    matched = anchors.matched_anchors(detector, image, [Box("camera", 30.0, 20.0, 126.0, 84.0)])
    used = matched.data["used"]
    assert used.any()
    assert (~used).any()  # between the two thresholds of the first stage
    assert (
        matched.confidence[~used].max() < detector.config.task.train_data.parser.rpn_match_threshold
    )
