"""A trained detector as one call: an RGB image in, boxes with labels and scores out.

Training, evaluation and video all prepare images with `fit`, so that what is measured is
what runs.
"""

import ctypes
import functools
import json
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np

from helpers import workers
from helpers.annotations import read_label_map
from helpers.errors import CourseError

WEIGHTS = "weights.npz"
LABEL_MAP = "label_map.pbtxt"
CONFIG = "config.yaml"


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

    model: object = field(repr=False)
    config: object = field(repr=False)
    labels: dict[int, str]
    run: Callable = field(repr=False)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input, pixels."""
        height, width, _ = self.config.task.model.input_size
        return height, width

    @property
    def parameters(self) -> int:
        """Number of weights that training changes."""
        return int(sum(np.prod(weight.shape) for weight in self.model.trainable_weights))

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

        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise CourseError(
                f"image: shape {image.shape}, {image.dtype}; give uint8 RGB [height, width, 3]"
            )
        boxes, scores, classes = (t.numpy() for t in self.run(fit(image, *self.input_size)))
        small = fitted_size(image.shape[0], image.shape[1], *self.input_size)
        scale = np.array([image.shape[0] / small[0], image.shape[1] / small[1]])
        keep = scores >= max(threshold, 1e-6)
        yxyx = boxes[keep] * np.tile(scale, 2)
        xyxy = yxyx[:, [1, 0, 3, 2]].clip(0, [*image.shape[1::-1], *image.shape[1::-1]])
        class_ids = classes[keep].astype(int)
        return sv.Detections(
            xyxy=xyxy.astype(np.float32).reshape(-1, 4),
            confidence=scores[keep],
            class_id=class_ids,
            data={"class_name": np.array([self.labels.get(i, str(i)) for i in class_ids])},
        )


def fitted_size(height: int, width: int, max_height: int, max_width: int) -> tuple[int, int]:
    """Return the (height, width) that fills max_height x max_width at the same aspect."""
    scale = min(max_height / height, max_width / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def fit(image: np.ndarray, max_height: int, max_width: int) -> np.ndarray:
    """Resize an image to fill max_height x max_width at the same aspect, without padding.

    Shrinking averages over areas: sampling points, as a plain bilinear resize does, would
    drop whole rows of a distant object.
    """
    height, width = fitted_size(*image.shape[:2], max_height, max_width)
    if (height, width) == image.shape[:2]:
        return image
    method = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method)


def build(model, config, labels: dict[int, str]) -> Detector:
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
    if not hasattr(model, "roi_generator"):
        raise CourseError("proposals: this detector is an SSD, it has none; load a Faster R-CNN")
    small = fit(image, *detector.input_size)
    _, features = model._get_backbone_and_decoder_features(canvas(small, *detector.input_size))
    scores, boxes = model.rpn_head(features)
    shape = tf.constant([small.shape[:2]], tf.float32)
    anchors = anchor_boxes(detector.config)
    rois, roi_scores = model.roi_generator(boxes, scores, anchors, shape, False)
    scale = np.array(image.shape[:2]) / np.array(small.shape[:2])
    yxyx = rois[0].numpy()[:count] * np.tile(scale, 2)
    return sv.Detections(
        xyxy=yxyx[:, [1, 0, 3, 2]],
        confidence=roi_scores[0].numpy()[:count],
        class_id=np.zeros(len(yxyx), int),
    )


def anchor_boxes(config) -> dict:
    """Return the anchor boxes of a config: level -> [1, height, width, 4 * anchors]."""
    from official.vision.ops import anchor

    spec = config.task.model
    if hasattr(spec.anchor, "max_scale"):
        from helpers import ssd

        return {level: boxes[None] for level, boxes in ssd.default_boxes(spec).items()}
    levels = anchor.build_anchor_generator(
        min_level=spec.min_level,
        max_level=spec.max_level,
        num_scales=spec.anchor.num_scales,
        aspect_ratios=spec.anchor.aspect_ratios,
        anchor_size=spec.anchor.anchor_size,
    )(tuple(spec.input_size[:2]))
    return {level: boxes[None] for level, boxes in levels.items()}


def canvas(image, height: int, width: int):
    """Normalise an image and pad it below and to the right: [1, height, width, 3]."""
    import tensorflow as tf
    from official.vision.ops import preprocess_ops

    padded = tf.image.pad_to_bounding_box(
        preprocess_ops.normalize_image(image), 0, 0, height, width
    )
    return tf.ensure_shape(padded, [height, width, 3])[tf.newaxis]


@functools.cache
def _use_bfloat16() -> None:
    """Let convolutions run on 16-bit numbers where the processor has instructions for them.

    Weights and sums stay 32 bits wide. Measured on two cores of such a processor: a training step
    takes 0.21 s instead of 0.30 (SSD) and 0.24 instead of 0.28 (Faster R-CNN), a frame 48 ms
    instead of 61 and 55 instead of 75, and AP50 stays the same to 0.001.
    """
    import tensorflow as tf

    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return
    if "avx512_bf16" not in flags and "amx_bf16" not in flags:
        return
    # It logs each graph that it changes, past TF_CPP_MIN_LOG_LEVEL; Python has no switch for that.
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(str(Path(tf.__file__).parent / "libtensorflow_cc.so.2"))
        library._ZN4absl12lts_2025012714SetMinLogLevelENS0_18LogSeverityAtLeastE(2)  # errors only
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})


@functools.cache
def _compiles() -> bool:
    """Whether TensorFlow's compiler, XLA, works on this machine's processor, and is of use."""
    import tensorflow as tf

    if workers.gpus():
        return False  # not tried by us
    try:
        tf.function(lambda number: number + 1, jit_compile=True)(tf.constant(1))
    except (tf.errors.OpError, ValueError):
        return False
    return True


def build_model(config):
    """Return the task and the (untrained) model of a config.

    The loss of an SSD is compiled: sixty small operations on each of its thousands of boxes
    become a few. On two cores a training step of the course's SSD takes 0.21 s instead of 0.26;
    a MobileNet, whose loss is a smaller part, gains nothing. (Compiled as a whole, a step is
    slower: XLA's convolutions are.)
    """
    import tensorflow as tf
    from official.core import task_factory
    from official.vision.tasks import maskrcnn, retinanet  # noqa: F401  (they register)

    _use_bfloat16()
    task = task_factory.get_task(config.task)
    if isinstance(task, retinanet.RetinaNetTask) and _compiles():
        task.build_losses = tf.function(task.build_losses, jit_compile=True)
    return task, task.build_model()


def load(folder: Path) -> Detector:
    """Load the detector that training, or `save`, left in `folder`.

    Raises CourseError when the folder has no weights, or weights of another model.
    """
    from helpers import config as configs

    folder = Path(folder)
    config = configs.load(folder / CONFIG)
    labels = {number: name for name, number in read_label_map(folder / LABEL_MAP).items()}
    stored = _read_weights(folder / WEIGHTS)
    _, model = build_model(config)
    _assign_weights(model, stored, folder / WEIGHTS)
    return build(model, config, labels)


def save(detector: Detector, folder: Path, *, half: bool = False) -> None:
    """Write weights, config and label map into `folder`.

    Args:
        half: store 16-bit floats: half the size, and no measurable loss of accuracy here.
    """
    from helpers import config as configs
    from helpers.annotations import write_label_map

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: value.numpy().astype(np.float16 if half else np.float32)
        for name, value in _weights(detector.model).items()
    }
    part = folder / f".{WEIGHTS}"
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    configs.save(detector.config, folder / CONFIG)
    write_label_map({name: number for number, name in detector.labels.items()}, folder / LABEL_MAP)
    # Last: a folder with weights is a whole detector.
    part.replace(folder / WEIGHTS)


def export(detector: Detector, folder: Path) -> None:
    """Write a SavedModel: after `saved = tf.saved_model.load(folder)`, `saved.detect` is `run`.

    It needs TensorFlow to run, but none of this course and no Model Garden. Keep `saved`: it owns
    the weights that `detect` uses.
    """
    import tensorflow as tf

    module = tf.Module()
    # Its weights, not the model: of that, each layer would be traced and saved on its own.
    module.weights, module.detect = detector.model.weights, detector.run
    tf.saved_model.save(module, str(folder))


def _weights(model) -> dict:
    """Weights by a name that is unique and the same in each process."""
    return {f"{i:04d}/{weight.name}": weight for i, weight in enumerate(model.weights)}


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in sorted(stored.files)}
    except FileNotFoundError:
        raise CourseError(f"{path}: missing; train first (lesson 06 or 07)") from None
    except (ValueError, OSError, EOFError, TypeError, BadZipFile, zlib.error) as error:
        # TypeError: a single array, which is no archive.
        raise CourseError(f"{path}: unreadable ({error}); train again") from None


def _assign_weights(model, stored: dict[str, np.ndarray], path: Path) -> None:
    weights = list(_weights(model).values())
    if len(stored) != len(weights):
        raise CourseError(
            f"{path}: has {len(stored)} weights, the config's model {len(weights)}; "
            "the two files do not belong together"
        )
    for (name, array), weight in zip(stored.items(), weights, strict=True):
        if array.shape != tuple(weight.shape):
            raise CourseError(
                f"{path}: {name}: shape {array.shape}, the config's model has "
                f"{tuple(weight.shape)}; the two files do not belong together"
            )
    for array, weight in zip(stored.values(), weights, strict=True):
        weight.assign(array.astype(np.float32))


def pack(workspace: Path, folder: Path) -> None:
    """Make the detector that the course ships of the SSD that lesson 06 trained in `workspace`.

    Weights are stored in 16 bits; scores.json keeps what lesson 08 measured.
    """
    scores = json.loads((workspace / "08_evaluation" / "metrics.json").read_text())["SSD"]
    truth = json.loads((workspace / "04_records" / "val.json").read_text())
    save(load(workspace / "06_ssd"), folder, half=True)
    kept = {name: scores[name] for name in ("AP", "AP50", "AP50_low", "AP50_high")}
    kept["images"] = len(truth["images"])
    kept["clips"] = len({image["clip"] for image in truth["images"]})
    kept["interval_over"] = scores["interval_over"]
    kept["command"] = "make course && make detector"
    (folder / "scores.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    import helpers.lesson  # noqa: F401  (turns the libraries' log messages off)

    pack(Path("runs/course"), Path("data/detector"))
