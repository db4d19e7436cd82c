"""What lies between an image and its detections: anchors, and the boxes before the last choice."""

from collections.abc import Sequence

import numpy as np

from helpers.annotations.boxes import Box
from helpers.common.images import fit, fitted_size
from helpers.inference import detector as detectors
from helpers.models import config as configs
from helpers.models.networks import anchor_boxes, canvas


def matched_anchors(detector, image: np.ndarray, boxes: Sequence[Box]):
    """Return the anchors that training would hold against the objects of an image.

    The choice is Model Garden's own, with the thresholds of the detector's config: those of the
    parser for an SSD, those of the region proposal network for a Faster R-CNN. An anchor that
    overlaps an object enough has to predict it; so has the best anchor of each object, however
    little it overlaps. Anchors in between are left out of the loss. (Of a Faster R-CNN's anchors
    each step draws 256.)

    Args:
        image: RGB, uint8, [height, width, 3], any size.
        boxes: its objects, pixels. Difficult ones count for nothing, as in training.

    Returns:
        `supervision.Detections`, those that overlap most first: xyxy in pixels of `image`;
        confidence: the IoU with the object, 0..1; class_id: place of that object in `boxes`;
        data["level"]: of the feature pyramid, stride 2^level; data["used"]: True where it has to
        predict the object, False where it is left out.
    """
    import supervision as sv
    import tensorflow as tf

    counted = [i for i, box in enumerate(boxes) if not box.difficult]
    if not counted:
        empty = {"level": np.zeros(0, int), "used": np.zeros(0, bool)}
        return sv.Detections(
            np.zeros((0, 4), np.float32),
            None,
            np.zeros(0, np.float32),
            np.zeros(0, int),
            data=empty,
        )
    small = fitted_size(*image.shape[:2], *detector.input_size)
    scale = np.tile(np.array(small) / image.shape[:2], 2)
    truth = np.array(
        [[boxes[i].ymin, boxes[i].xmin, boxes[i].ymax, boxes[i].xmax] for i in counted]
    )
    yxyx, levels = _flat(anchor_boxes(detector.config))
    labeler = _labeler(detector.config)
    overlap = labeler.similarity_calc(yxyx, tf.constant(truth * scale, tf.float32))
    which, state = (t.numpy() for t in labeler.matcher(overlap))
    kept = np.flatnonzero(state != -1)
    iou = overlap.numpy()[kept, which[kept]]
    kept, iou = (array[np.argsort(-iou, kind="stable")] for array in (kept, iou))
    return sv.Detections(
        xyxy=(yxyx[kept] / scale)[:, [1, 0, 3, 2]].astype(np.float32),
        confidence=iou,
        class_id=np.array(counted)[which[kept]],
        data={"level": levels[kept], "used": state[kept] == 1},
    )


def candidate_boxes(detector, image: np.ndarray, count: int = 200):
    """Return the best boxes of an image before the detector's last choice among them.

    Of an SSD: the boxes of all anchors, before those that cover one another are dropped. Of a
    Faster R-CNN: the proposals of its first stage, with how sure it is of an object at all.

    Returns `supervision.Detections`, best first: xyxy in pixels of `image`, confidence, class_id.
    """
    if configs.is_two_stage(detector.config):
        return detectors.proposals(detector, image, count)
    import supervision as sv
    import tensorflow as tf
    from official.vision.ops import box_ops

    model = detector.model
    small = fit(image, *detector.input_size)
    pyramid = model.backbone(canvas(small, *detector.input_size), training=False)
    raw_scores, raw_boxes, _ = model.head(model.decoder(pyramid, training=False), training=False)
    classes = detector.config.task.model.num_classes
    scores = [tf.sigmoid(tf.reshape(raw_scores[level], [-1, classes])) for level in raw_scores]
    scores = tf.concat(scores, 0).numpy()[:, 1:]  # class 0 is the background
    best = np.argsort(-scores.max(1), kind="stable")[:count]
    coded = np.concatenate([raw_boxes[level].numpy().reshape(-1, 4) for level in raw_boxes])
    yxyx, _ = _flat(anchor_boxes(detector.config))
    weights = detector.config.task.model.detection_generator.box_coder_weights
    found = box_ops.decode_boxes(coded[best], yxyx[best], weights).numpy()
    found /= np.tile(np.array(small.shape[:2]) / image.shape[:2], 2)
    edges = [*image.shape[1::-1], *image.shape[1::-1]]
    return sv.Detections(
        xyxy=found[:, [1, 0, 3, 2]].clip(0, edges).astype(np.float32),
        confidence=scores[best].max(1),
        class_id=scores[best].argmax(1) + 1,
    )


def _flat(anchors: dict) -> tuple[np.ndarray, np.ndarray]:
    """Anchors of all levels in the labeler's order, yxyx [n, 4], and the level of each [n]."""
    parts = {level: np.reshape(boxes, (-1, 4)) for level, boxes in anchors.items()}
    levels = [np.full(len(part), int(level)) for level, part in parts.items()]
    return np.concatenate(list(parts.values())).astype(np.float32), np.concatenate(levels)


def _labeler(config):
    from official.vision.ops import anchor

    parser = config.task.train_data.parser
    if configs.is_two_stage(config):
        return anchor.RpnAnchorLabeler(parser.rpn_match_threshold, parser.rpn_unmatched_threshold)
    return anchor.AnchorLabeler(parser.match_threshold, parser.unmatched_threshold)
