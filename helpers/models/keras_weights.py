"""Weights of Keras Applications, converted into the same network of Model Garden."""

import re
from typing import NamedTuple

import numpy as np

from helpers.common.errors import CourseError

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")
_NORMALIZATIONS = ("BatchNormalization", "SyncBatchNormalization")


class Normalization(NamedTuple):
    """A batch normalization: one number a filter of each, and what is added to the variance."""

    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float


class Convolution(NamedTuple):
    """A convolution ([height, width, in, out] and a bias), and the normalization behind it."""

    kernel: np.ndarray
    bias: np.ndarray
    normalization: Normalization | None


def convert_weights(keras_model, backbone, pixels: str = "tf") -> None:
    """Copy the weights of a Keras Applications network into Model Garden's of the same kind.

    What the two do differently is folded into the weights, so that both give the same features
    of one image: the scaling of pixels, the biases of convolutions (Model Garden has none before
    a batch normalization), and the epsilon of the normalizations. At the edges they differ by a
    few pixels: where one sees a grey border, the other sees a black one. The two large layers of
    VGG's classifier become convolutions by taking every third or fourth of their numbers (Liu et
    al., 2016, section 3).

    Args:
        keras_model: from `tf_keras.applications`, VGG with its top.
        backbone: from Model Garden's factory.
        pixels: how Keras prepares them, "tf" (-1 to 1) or "caffe" (BGR, 0..255 less a mean).

    Raises:
        CourseError: the layers do not agree one to one.
    """
    convolutions = _convolutions(keras_model)
    convolutions[0] = _reading_our_pixels(convolutions[0], pixels)
    layers = _layers(backbone)
    targets = [layer for layer in layers if not _is_normalization(layer)]
    expected = [tuple(layer.weights[0].shape) for layer in targets]
    if [convolution.kernel.shape for convolution in convolutions] != expected:
        raise CourseError(
            f"weights: {keras_model.name}: its layers are not those of the config's backbone; "
            "leave the width of the backbone at 1"
        )
    normalizations = iter([layer for layer in layers if _is_normalization(layer)])
    for layer, (kernel, bias, behind) in zip(targets, convolutions, strict=True):
        layer.set_weights([kernel, bias] if len(layer.weights) == 2 else [kernel])
        if behind:
            target = next(normalizations)
            variance = np.maximum(behind.variance + behind.epsilon - target.epsilon, 0)
            target.set_weights([behind.gamma, behind.beta, behind.mean - bias, variance])


def _convolutions(keras_model) -> list[Convolution]:
    """The convolutions of a Keras network in the order in which an image passes them."""
    found: list[Convolution] = []
    for layer in sorted(_layers(keras_model), key=_place):
        if _is_normalization(layer):
            gamma, beta, mean, variance = layer.get_weights()
            behind = Normalization(gamma, beta, mean, variance, layer.epsilon)
            found[-1] = found[-1]._replace(normalization=behind)
            continue
        kernel, *biases = layer.get_weights()
        bias = biases[0] if biases else np.zeros(1, np.float32)
        if layer.name in _AS_CONVOLUTION:
            kernel, bias = _AS_CONVOLUTION[layer.name](kernel), bias[::4]
        found.append(Convolution(kernel, bias, None))
    return found


# VGG's classifier sees 7x7 cells and has 4096 filters; one sees 3x3, six apart, and has 1024.
_AS_CONVOLUTION = {
    "fc1": lambda kernel: kernel.reshape(7, 7, 512, 4096)[::3, ::3, :, ::4],
    "fc2": lambda kernel: kernel.reshape(1, 1, 4096, 4096)[:, :, ::4, ::4],
}


def _layers(model) -> list:
    """Convolutions and normalizations of a model, in the order in which they were made."""
    return [
        layer
        for layer in model._flatten_layers()
        if layer.weights
        and (
            type(layer).__name__ in (*_CONVOLUTIONS, *_NORMALIZATIONS)
            or layer.name in _AS_CONVOLUTION
        )
    ]


def _is_normalization(layer) -> bool:
    return type(layer).__name__ in _NORMALIZATIONS


def _place(layer) -> tuple:
    """Where a layer stands: in a block of a Keras ResNet the order is that of its name."""
    parts = re.fullmatch(r"conv(\d+)_block(\d+)_(\d)_(conv|bn)", layer.name)
    return (*map(int, parts.groups()[:3]), parts[4] == "bn") if parts else ()


def _reading_our_pixels(first: Convolution, pixels: str) -> Convolution:
    """Make the first convolution, made for pixels as Keras prepares them, read Model Garden's."""
    from official.vision.ops import preprocess_ops

    # Model Garden's parsers subtract this mean and divide by this deviation, of RGB from 0 to 1.
    mean, deviation = map(np.array, (preprocess_ops.MEAN_NORM, preprocess_ops.STDDEV_NORM))
    kernel, scale, offset = first.kernel, 2 * deviation, 2 * mean - 1
    if pixels == "caffe":
        kernel = kernel[:, :, ::-1]  # BGR
        scale, offset = 255 * deviation, 255 * mean - np.array([123.68, 116.779, 103.939])
    constant = (kernel * offset[:, None]).sum((0, 1, 2))
    return first._replace(kernel=kernel * scale[:, None], bias=first.bias + constant)
