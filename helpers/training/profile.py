"""Where the time of a training step goes."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.common.artifacts import read_manifest
from helpers.common.errors import CourseError
from helpers.models import at_training_size, build_model, is_two_stage
from helpers.training.batches import read_in_order

# Part of a step -> its phase, in the order in which they run.
PARTS = {
    "backbone": "forward",
    "decoder and heads": "forward",
    "loss": "forward",
    "gradients": "backward",
    "new weights": "optimizer",
}


@dataclass(frozen=True)
class Step:
    """The time of one training step, and where it goes; all times are in seconds.

    Attributes:
        batch: images in it.
        seconds: of one step, its images waiting in memory.
        with_input: of one step that also reads its images.
        input_rate: images/s of reading and preparing alone.
        start: what comes once a run: "building the network", "the first images", "tracing"
            (Python describes the step as a graph) and "the first step" (TensorFlow optimises the
            graph).
        parts: seconds of each of PARTS; together they are `seconds`.
    """

    batch: int
    seconds: float
    with_input: float
    input_rate: float
    start: dict[str, float]
    parts: dict[str, float]

    @property
    def phases(self) -> dict[str, float]:
        """Seconds of each phase: forward, backward, optimizer."""
        phases = dict.fromkeys(PARTS.values(), 0.0)
        for part, seconds in self.parts.items():
            phases[PARTS[part]] += seconds
        return phases


def profile_step(config, *, steps: int = 5) -> Step:
    """Build the detector of `config`, and time a step of its training, whole and part by part.

    The forward parts and the optimizer are run on their own; the gradients take the rest of the
    step. Nothing that was trained changes, and a GPU is not used.

    Args:
        config: from `for_records`; where its records hold tiles, the step is one on tiles, as in
            training.
        steps: how often the step and each of its parts are timed.

    Raises:
        CourseError: the records are missing, or hold less than one batch.
    """
    import tensorflow as tf

    start: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        start[name] = time.perf_counter() - began

    size = config.task.train_data.global_batch_size
    _check_images(Path(config.task.train_data.input_path).parent, size)
    config = at_training_size(config)
    with tf.device("CPU:0"):
        with timed("building the network"):
            task, model = build_model(config)
            optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
            metrics = task.build_metrics(training=True)

        @tf.function
        def train_step(batch):
            task.train_step(batch, model, optimizer, metrics)

        with timed("the first images"):
            batches = iter(read_in_order(task, config.task.train_data))
            batch = next(batches)
        with timed("tracing"):
            train_step.get_concrete_function(batch)
        with timed("the first step"):
            train_step(batch)
        times = _times(lambda: train_step(batch), steps)
        forward = _forward(config, task, model, batch)
        shares = _shares(forward, model, optimizer, min(times), steps)
        # The first of these find images that were read meanwhile.
        with_input = _times(lambda: train_step(next(batches)), steps, before=steps)
        reading = _times(lambda: next(batches), steps, before=steps)
    seconds = statistics.median(times)
    return Step(
        batch=size,
        seconds=seconds,
        with_input=statistics.median(with_input),
        input_rate=size / statistics.median(reading),
        start=start,
        parts={part: share * seconds for part, share in shares.items()},
    )


def _check_images(folder: Path, batch: int) -> None:
    images = read_manifest(folder)["counts"]["train"]["images"]
    if images < batch:
        raise CourseError(
            f"{folder}: {images} training images are less than one batch of {batch}; "
            "set task.train_data.global_batch_size lower"
        )


def _times(function: Callable[[], object], count: int, *, before: int = 1) -> list[float]:
    """Seconds of each of `count` calls, after some that are not timed."""
    times = []
    for _ in range(before + count):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return times[before:]


def _forward(config, task, model, batch) -> list[Callable[[], object]]:
    """The forward pass up to the end of the backbone, of the network, and of the loss."""
    images, labels = batch
    inputs = {}
    if is_two_stage(config):
        inputs = {name: labels[name] for name in ("anchor_boxes", "gt_boxes", "gt_classes")}
        inputs["image_shape"] = labels["image_info"][:, 1, :]

    def backbone():
        return model.backbone(images, training=True)

    def network():
        return model(images, **inputs, training=True)

    def loss():
        return task.build_losses(outputs=network(), labels=labels, aux_losses=model.losses)

    return [backbone, network, loss]


def _shares(forward, model, optimizer, fastest: float, steps: int) -> dict[str, float]:
    """Share of each of PARTS in a step, by the fastest calls: other programs slow the rest.

    `fastest`, in seconds, is that of the whole step.
    """
    import tensorflow as tf

    def apply_gradients():
        optimizer.apply_gradients([(tf.zeros_like(w), w) for w in model.trainable_weights])

    ends = [min(_times(tf.function(part), steps)) for part in forward]
    ends += [fastest - min(_times(tf.function(apply_gradients), steps)), fastest]
    # On a busy machine a part may take longer alone than all of them together.
    rising = np.minimum.accumulate(ends[::-1])[::-1].clip(0)
    return dict(zip(PARTS, (np.diff(rising, prepend=0.0) / fastest).tolist(), strict=True))
