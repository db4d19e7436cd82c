"""What a training changes: a network's weights, its optimizer, and the means of its losses."""

import contextlib
import itertools
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np

from helpers import models
from helpers.inference.detector import Detector, build_detector
from helpers.training.finetuning import frozen_steps, set_frozen


class TrainState:
    """The network of a config, with random weights, and what trains it.

    Attributes:
        config: of the training.
        seed: of the weights, the batches and a Faster R-CNN's sampling.
        task: Model Garden's, which knows the loss.
        model: the network that is trained.
        optimizer: with the number of steps done, and the learning rate.
        metrics: means of the losses since they were last reset.
        frozen_steps: in how many of the first steps the backbone is frozen.
    """

    def __init__(self, config):
        import tf_keras

        self.config, self.seed = config, config.task.train_data.seed or 0
        tf_keras.utils.set_random_seed(self.seed)
        at_this_size = models.at_training_size(config)
        self.task, self.model = models.build_model(at_this_size)
        # Trained on tiles, run on whole frames: two models with the same weights.
        self._whole = self.model if at_this_size is config else models.build_model(config)[1]
        self.optimizer = self.task.create_optimizer(config.trainer.optimizer_config, config.runtime)
        self.metrics = self.task.build_metrics(training=True)
        self.frozen_steps = frozen_steps(config)

    @property
    def step(self) -> int:
        """The number of steps done."""
        return int(self.optimizer.iterations.numpy())

    def learning_rate(self, step: int) -> float:
        """Return the learning rate at a step."""
        rate = self.optimizer.learning_rate
        return float(rate(step) if callable(rate) else rate)

    def is_finite(self) -> bool:
        """Whether all trainable weights are numbers."""
        return all(np.isfinite(weight.numpy()).all() for weight in self.model.trainable_weights)

    def detector(self, labels: dict[int, str]) -> Detector:
        """Return the network as a detector of whole images; `share_weights` keeps it up to date."""
        return build_detector(self._whole, self.config, labels)

    def share_weights(self) -> None:
        """Give the detector the weights as they are now."""
        if self._whole is not self.model:
            self._whole.set_weights(self.model.get_weights())

    def compiled_step(self, step: int):
        """Return train_step(batch) of the stage that `step` lies in.

        Tracing looks up once what is trainable: another stage needs another one.
        """
        import tensorflow as tf

        if 0 < self.frozen_steps < self.config.trainer.train_steps:
            self._set_frozen(step < self.frozen_steps)

        def replica_step(batch):
            # Model Garden's word for the four: forward pass, loss, gradient, update.
            self.task.train_step(batch, self.model, self.optimizer, self.metrics)

        @tf.function
        def train_step(batch):
            with repeatable_sampling(self.seed, self.optimizer.iterations):
                tf.distribute.get_strategy().run(replica_step, args=(batch,))

        return train_step

    def finish(self) -> None:
        """Leave the weights in the order in which a new model of the config has them."""
        if self.frozen_steps:
            self._set_frozen(True)
        self.share_weights()

    def _set_frozen(self, frozen: bool) -> None:
        # In both models: what can be trained comes first in the order of a model's weights.
        for model in (self.model, self._whole):
            set_frozen(model.backbone, frozen, self.config)


def untrained_detector(config) -> Detector:
    """Return a detector with random weights, as before training; it has no names of classes."""
    _, model = models.build_model(config)
    return build_detector(model, config, labels={})


@contextlib.contextmanager
def repeatable_sampling(seed: int, step) -> Iterator[None]:
    """Within, the proposals that a Faster R-CNN samples follow from the seed and the step.

    Model Garden samples them with `tf.random.shuffle`, whose generator starts again with each
    process and has no state that a checkpoint could hold. In its module, and while a step is
    traced, another one stands in.
    """
    import tensorflow as tf
    from official.vision.ops import sampling_ops

    numbers = itertools.count(1000 * seed)

    def shuffle(values):
        number = tf.constant(next(numbers) % 2**31, tf.int32)
        draw = tf.stack([tf.cast(step, tf.int32), number])
        return tf.random.experimental.stateless_shuffle(values, draw)

    sampling_ops.tf = SimpleNamespace(**{**vars(tf), "random": SimpleNamespace(shuffle=shuffle)})
    try:
        yield
    finally:
        sampling_ops.tf = tf
