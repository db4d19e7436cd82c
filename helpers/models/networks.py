"""Networks of Model Garden: built from a config, their weights read and assigned."""

import ctypes
import functools
import zlib
from contextlib import suppress
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from helpers.annotations.label_map import read_label_map
from helpers.common.devices import gpus
from helpers.common.errors import CourseError
from helpers.models.config import load_config

WEIGHTS = "weights.npz"
LABEL_MAP = "label_map.pbtxt"
CONFIG = "config.yaml"
# Bytes, unpacked: a ResNet-101 with all that training keeps has a tenth of it.
_LARGEST_WEIGHTS = 4_000_000_000
# What numpy and zipfile raise for archives that are damaged, encrypted, or none; TypeError: a
# single array.
_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    TypeError,
    BadZipFile,
    zlib.error,
    RuntimeError,
    MemoryError,
)


def anchor_boxes(config) -> dict:
    """Return the anchor boxes of a config.

    Returns:
        level -> [1, height, width, 4 * anchors], yxyx in pixels of the network's input.
    """
    from official.vision.ops import anchor

    spec = config.task.model
    if hasattr(spec.anchor, "max_scale"):
        from helpers.models import ssd

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
    """Normalise an image and pad it below and to the right.

    Args:
        image: [at most height, at most width, 3], RGB from 0 to 255.
        height, width: of the network's input, pixels.

    Returns:
        [1, height, width, 3], float32.
    """
    import tensorflow as tf
    from official.vision.ops import preprocess_ops

    padded = tf.image.pad_to_bounding_box(
        preprocess_ops.normalize_image(image), 0, 0, height, width
    )
    return tf.ensure_shape(padded, [height, width, 3])[tf.newaxis]


# absl::lts_20250127::SetMinLogLevel(absl::LogSeverityAtLeast), as the compiler spells it.
_SET_MIN_LOG_LEVEL = "_ZN4absl12lts_2025012714SetMinLogLevelENS0_18LogSeverityAtLeastE"
_ERROR = 2


def _log_errors_only() -> None:
    """Make TensorFlow's C++ code log errors only.

    Its pass for bfloat16 logs a line for each graph, by a logger (Abseil's) that neither Python nor
    TF_CPP_MIN_LOG_LEVEL can reach. With another TensorFlow, whose Abseil is another, nothing
    happens here and the lines are seen.
    """
    import tensorflow as tf

    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(str(Path(tf.__file__).parent / "libtensorflow_cc.so.2"))
        getattr(library, _SET_MIN_LOG_LEVEL)(_ERROR)


@functools.cache
def _use_bfloat16() -> None:
    """Let convolutions run on bfloat16 where the CPU has instructions for it.

    Weights and sums stay float32. Measured on two cores of such a CPU: a training step takes
    0.21 s instead of 0.30 (SSD) and 0.24 instead of 0.28 (Faster R-CNN), a frame 48 ms instead of
    61 and 55 instead of 75, and AP50 stays the same to 0.001.
    """
    import tensorflow as tf

    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return
    if "avx512_bf16" in flags or "amx_bf16" in flags:
        _log_errors_only()
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})


@functools.cache
def _compiles() -> bool:
    """Whether TensorFlow's compiler, XLA, works on this machine's CPU, and is of use."""
    import tensorflow as tf

    if gpus():
        return False  # not tried by us
    try:
        tf.function(lambda number: number + 1, jit_compile=True)(tf.constant(1))
    except (tf.errors.OpError, ValueError):
        return False
    return True


def build_model(config) -> tuple:
    """Return the task and the (untrained) model of a config, a Keras model.

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


def named_weights(model) -> dict:
    """Return the weights of a model by a name that is unique and the same in each process."""
    return {f"{i:04d}/{weight.name}": weight for i, weight in enumerate(model.weights)}


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as stored:
            # An array of 20 GB fits into 2 MB of a file: ask for the sizes before unpacking.
            claimed = sum(entry.file_size for entry in stored.zip.infolist())
            if claimed > _LARGEST_WEIGHTS:
                raise CourseError(
                    f"{path}: {claimed / 1e9:.1f} GB unpacked, more than any detector of the "
                    "course; train again"
                )
            return {name: stored[name] for name in sorted(stored.files)}
    except FileNotFoundError:
        raise CourseError(f"{path}: missing; train first (lesson 06 or 07)") from None
    except CourseError:
        raise
    except _UNREADABLE as error:
        raise CourseError(f"{path}: unreadable ({error}); train again") from None


def _assign_weights(model, stored: dict[str, np.ndarray], path: Path) -> None:
    weights = model.weights
    if odd := [name for name, array in stored.items() if array.dtype.kind != "f"]:
        raise CourseError(f"{path}: {odd[0]}: no decimal numbers in it; train again")
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


def load_network(folder: Path) -> tuple:
    """Return model, config and labels (class id -> name) of the detector stored in `folder`.

    Raises:
        CourseError: the folder has no weights, or weights of another model.
    """
    folder = Path(folder)
    config = load_config(folder / CONFIG)
    labels = {number: name for name, number in read_label_map(folder / LABEL_MAP).items()}
    stored = _read_weights(folder / WEIGHTS)
    _, model = build_model(config)
    _assign_weights(model, stored, folder / WEIGHTS)
    return model, config, labels
