import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.models.networks import build_model

CONVOLVE = """
import tensorflow as tf
from helpers.models import networks
networks._use_bfloat16()
image, kernel = tf.random.uniform([1, 64, 64, 16]), tf.random.uniform([3, 3, 16, 16])
convolve = tf.function(lambda x: tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")))
print(float(tf.reduce_mean(convolve(image))))
"""


def test_the_choice_of_precision_is_silent():
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", CONVOLVE],
        cwd=Path(__file__).parents[3],
        env=quiet,
        capture_output=True,
        text=True,
    )
    assert float(done.stdout) > 0, done.stderr
    assert "precision" not in done.stderr


@pytest.mark.parametrize("family", ["ssd", "faster_rcnn"])
def test_the_loss_of_an_ssd_is_compiled_and_the_same(family, tiny_config):
    config = tiny_config(family)
    task, model = build_model(config)
    if family == "faster_rcnn":
        assert not hasattr(task.build_losses, "get_concrete_function")
        return
    images, labels = next(iter(task.build_inputs(config.task.train_data)))
    outputs = model(images, training=True)
    plain = type(task).build_losses(task, outputs=outputs, labels=labels)
    compiled = task.build_losses(outputs=outputs, labels=labels)
    assert hasattr(task.build_losses, "get_concrete_function")
    np.testing.assert_allclose(compiled, plain, rtol=1e-5)
