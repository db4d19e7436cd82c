"""A trained detector as one call: an RGB image in, boxes with labels and scores out.

Training, evaluation and video all prepare images with `fit`, so that what is measured is
what runs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from helpers.annotations.label_map import write_label_map
from helpers.common.errors import CourseError
from helpers.common.files import whole_file
from helpers.common.images import fit, fitted_size
from helpers.models.config import is_two_stage, save_config
from helpers.models.networks import (
    CONFIG,
    LABEL_MAP,
    WEIGHTS,
    anchor_boxes,
    canvas,
    load_network,
    named_weights,
)


@dataclass(frozen=True)
class Detector:
    """A detector that is ready to run.

    Attributes:
        model: the Model Garden model.
        config: its experiment config.
        labels: class id (from 1) -> name.
        run: image, uint8 [height, width, 3], no larger than the input -> boxes [n, 4] (yxyx
            pixels of that image), scores [n] in 0..1, class ids [n].
    """

    model: Any = field(repr=False)
    config: Any = field(repr=False)
    labels: dict[int, str]
    run: Callable = field(repr=False)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input, pixels."""
        height, width, _ = self.config.task.model.input_size
        return height, width

    @property
    def is_two_stage(self) -> bool:
        """True for a Faster R-CNN, whose first stage makes proposals; False for an SSD."""
        return is_two_stage(self.config)

    @property
    def parameters(self) -> int:
        """Number of weights that training changes."""
        return int(sum(np.prod(weight.shape) for weight in self.model.trainable_weights))

    def in_image(self, yxyx: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Return boxes on the input (yxyx, pixels, [n, 4]) as xyxy in pixels of `image`."""
        small = fitted_size(image.shape[0], image.shape[1], *self.input_size)
        scale = np.array(image.shape[:2]) / small
        return (yxyx * np.tile(scale, 2))[:, [1, 0, 3, 2]].astype(np.float32)

    def __call__(self, image: np.ndarray, threshold: float = 0.05):
        """Detect objects in one image.

        Args:
            image: RGB, uint8, [height, width, 3], any size.
            threshold: detections with a lower score are left out, 0..1.

        Returns:
            `supervision.Detections`: xyxy in pixels of `image`, confidence, class_id (from 1),
            data["class_name"]; best first.
        """
        import supervision as sv

        _check_image(image)
        if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
            raise CourseError(f"threshold: {threshold!r}; it must be a number from 0 to 1")
        yxyx, scores, classes = (t.numpy() for t in self.run(fit(image, *self.input_size)))
        keep = scores >= max(threshold, 1e-6)  # what pads the list scores 0
        class_ids = classes[keep].astype(int)
        return sv.Detections(
            xyxy=clipped(self.in_image(yxyx[keep], image), image),
            confidence=scores[keep],
            class_id=class_ids,
            data={"class_name": np.array([self.labels.get(i, str(i)) for i in class_ids])},
        )


def _check_image(image: Any) -> None:
    if not isinstance(image, np.ndarray):
        raise CourseError(f"image: {type(image).__name__}; give a NumPy array, RGB")
    right = image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
    if not right or not image.size:
        raise CourseError(
            f"image: shape {image.shape}, {image.dtype}; give uint8 RGB [height, width, 3]"
        )


def clipped(xyxy: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return boxes (xyxy, pixels, [n, 4]) cut off at the edges of an image."""
    height, width = image.shape[:2]
    return xyxy.clip(0, np.array([width, height, width, height], xyxy.dtype))


def build_detector(model, config, labels: dict[int, str]) -> Detector:
    """Make a Detector of a Model Garden model (`labels`: class id -> name)."""
    import tensorflow as tf

    height, width, _ = config.task.model.input_size
    anchors = anchor_boxes(config)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    def run(image):
        outputs = model(
            canvas(image, height, width),
            image_shape=tf.cast(tf.shape(image)[:2], tf.float32)[tf.newaxis],
            anchor_boxes=anchors,
            training=False,
        )
        return (
            tf.cast(outputs["detection_boxes"][0], tf.float32),
            tf.cast(outputs["detection_scores"][0], tf.float32),
            outputs["detection_classes"][0],
        )

    return Detector(model, config, labels, run)


def proposals(detector: Detector, image: np.ndarray, count: int = 20):
    """Return the best proposals of a Faster R-CNN's first stage on one RGB image.

    Returns `supervision.Detections` as a Detector does, with class id 0 and, as confidence, how
    sure the first stage is that there is an object at all. CourseError for an SSD, which has none.
    """
    import supervision as sv
    import tensorflow as tf

    model = detector.model
    if not detector.is_two_stage:
        raise CourseError("proposals: this detector is an SSD, it has none; load a Faster R-CNN")
    small = fit(image, *detector.input_size)
    _, features = model._get_backbone_and_decoder_features(canvas(small, *detector.input_size))
    scores, boxes = model.rpn_head(features)
    shape = tf.constant([small.shape[:2]], tf.float32)
    anchors = anchor_boxes(detector.config)
    rois, roi_scores = (
        t[0].numpy()[:count] for t in model.roi_generator(boxes, scores, anchors, shape, False)
    )
    return sv.Detections(
        xyxy=detector.in_image(rois, image),
        confidence=roi_scores,
        class_id=np.zeros(len(rois), int),
    )


def load_detector(folder: Path) -> Detector:
    """Load the detector that training, or `save_detector`, left in `folder`.

    Raises CourseError when the folder has no weights, or weights of another model.
    """
    return build_detector(*load_network(folder))


def save_detector(detector: Detector, folder: Path, *, half: bool = False) -> None:
    """Write weights, config and label map into `folder`.

    Args:
        half: store float16: half the size, and no measurable loss of accuracy here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_config(detector.config, folder / CONFIG)
    write_label_map({name: number for number, name in detector.labels.items()}, folder / LABEL_MAP)
    arrays = {
        name: value.numpy().astype(np.float16 if half else np.float32)
        for name, value in named_weights(detector.model).items()
    }
    # Last: a folder with weights is a whole detector.
    with whole_file(folder / WEIGHTS) as draft:
        np.savez_compressed(draft, **arrays)
