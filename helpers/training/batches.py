"""The batches that a training reads: a resume finds the ones that come next."""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from helpers.common.artifacts import read_manifest
from helpers.common.devices import gpus

ROUND = 100  # steps, at least, after which the images are shuffled again


def read_in_order(task, data, context=None):
    """Return the batches that `task` reads as `data` says, augmented in one order.

    One thread draws the augmentation: the same seed, the same images. It is faster than a CPU
    trains, but would starve a GPU.

    Args:
        task: of `models.build_model`.
        data: a Model Garden `DataConfig`, such as `task.train_data` of a config.
        context: `tf.distribute.InputContext` of one of several workers.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    return task.build_inputs(data, context).with_options(options)


def batches_after(task, config, step: int) -> Iterator:
    """Yield the batches that follow after `step` steps, without end.

    The images are shuffled again in each round of steps, from the seed and the step. So a resume
    finds its place by passing over the batches since the round began, which costs less than it
    cost to train on them. (On a GPU, where several threads draw them, it begins a round.)
    """
    length = steps_per_round(config)
    while True:
        done = step % length
        passed = 0 if gpus() else done
        batches = _round(task, config, step - passed)
        yield from islice(batches, passed, passed + length - done)
        step += length - done
        del batches  # the old images go before the new ones come


def _round(task, config, start: int) -> Iterator:
    """The batches of the round that begins at the step `start`."""
    import tensorflow as tf

    def read(context):
        # The seed is the same on all workers: each orders the files alike and takes its share.
        seed = (config.task.train_data.seed or 0) + start
        data = config.task.train_data.replace(seed=seed)
        return task.build_inputs(data, context) if gpus() else read_in_order(task, data, context)

    return iter(tf.distribute.get_strategy().distribute_datasets_from_function(read))


def steps_per_round(config) -> int:
    """Return the length of a round: whole passes over the images, ROUND steps or more."""
    records = Path(config.task.train_data.input_path).parent
    images = read_manifest(records)["counts"]["train"]["images"]
    one_pass = math.ceil(images / config.task.train_data.global_batch_size)
    return one_pass * math.ceil(ROUND / one_pass)
