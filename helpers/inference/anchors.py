"""What lies between an image and its detections: anchors, and the boxes before NMS."""

from collections.abc import Sequence

import numpy as np

from helpers.annotations.boxes import Box
from helpers.common.images import fit, fitted_size
from helpers.inference.detector import clipped, proposals
from helpers.models.config import is_two_stage
from helpers.models.networks import anchor_boxes, canvas


def matched_anchors(detector, image: np.ndarray, boxes: Sequence[Box]):
    """Return the anchors that training would hold against the objects of an image.

    The choice is Model Garden's own, with the thresholds of the detector's config: those of the
    parser for an SSD, those of the region proposal network for a Faster R-CNN. An anchor whose IoU
    with an object is high enough has to predict it; so has the best anchor of each object, however
    low its IoU. Anchors in between are left out of the loss. (Of a Faster R-CNN's anchors each
    step draws 256.)

    Args:
        image: RGB, uint8, [height, width, 3], any size.
        boxes: its objects, pixels. Difficult ones count for nothing, as in training.

    Returns:
        `supervision.Detections`, highest IoU first: xyxy in pixels of `image`;
        confidence: the IoU with the object, 0..1; class_id: place of that object in `boxes`;
        data["level"]: of the feature pyramid, stride 2^level; data["used"]: True where it has to
        predict the object, False where it is left out.
    """
    import supervision as sv
    import tensorflow as tf

    counted = [i for i, box in enumerate(boxes) if not box.difficult]
    if not counted:
        return sv.Detections(
            xyxy=np.zeros((0, 4), np.float32),
            confidence=np.zeros(0, np.float32),
            class_id=np.zeros(0, int),
            data={"level": np.zeros(0, int), "used": np.zeros(0, bool)},
        )
    small = fitted_size(*image.shape[:2], *detector.input_size)
    scale = np.tile(np.array(small) / image.shape[:2], 2)
    truth = np.array([boxes[i].xyxy for i in counted])[:, [1, 0, 3, 2]] * scale
    yxyx, levels = _flat(anchor_boxes(detector.config))
    labeler = _labeler(detector.config)
    ious = labeler.similarity_calc(yxyx, tf.constant(truth, tf.float32))
    which, state = (t.numpy() for t in labeler.matcher(ious))
    kept = np.flatnonzero(state != -1)
    kept = kept[np.argsort(-ious.numpy()[kept, which[kept]], kind="stable")]
    return sv.Detections(
        xyxy=detector.in_image(yxyx[kept], image),
        confidence=ious.numpy()[kept, which[kept]],
        class_id=np.array(counted)[which[kept]],
        data={"level": levels[kept], "used": state[kept] == 1},
    )


def candidate_boxes(detector, image: np.ndarray, count: int = 200):
    """Return the best boxes of an image before NMS drops those that cover one another.

    Of an SSD: the boxes of all anchors. Of a Faster R-CNN: the proposals of its first stage, with
    how sure it is of an object at all.

    Returns `supervision.Detections`, best first: xyxy in pixels of `image`, confidence, class_id.
    """
    import supervision as sv
    import tensorflow as tf
    from official.vision.ops import box_ops

    if detector.is_two_stage:
        return proposals(detector, image, count)
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
    return sv.Detections(
        xyxy=clipped(detector.in_image(found, image), image),
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
    if is_two_stage(config):
        return anchor.RpnAnchorLabeler(parser.rpn_match_threshold, parser.rpn_unmatched_threshold)
    return anchor.AnchorLabeler(parser.match_threshold, parser.unmatched_threshold)
