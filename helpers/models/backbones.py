"""Backbones that Model Garden lacks, registered with its factory.

Importing this module makes them known. `extended` lets a config choose them.
"""

import dataclasses

import tf_keras
from official.modeling import hyperparams
from official.vision.configs import backbones
from official.vision.modeling.backbones import resnet
from official.vision.modeling.backbones.factory import register_backbone_builder
from official.vision.modeling.layers import nn_blocks


@dataclasses.dataclass
class ResNetV1(hyperparams.Config):
    """`model_id`: number of layers, 50 or 101."""

    model_id: int = 50


@dataclasses.dataclass
class VGG16(hyperparams.Config):
    """The base network. `filter_size_scale`: share of the usual filters, 0..1."""

    filter_size_scale: float = 1.0


@dataclasses.dataclass
class Backbone(backbones.Backbone):
    """Model Garden's backbones, and those of this module."""

    resnet_v1: ResNetV1 = dataclasses.field(default_factory=ResNetV1)
    vgg16: VGG16 = dataclasses.field(default_factory=VGG16)


def extended(backbone: backbones.Backbone) -> Backbone:
    """Return the same choice of backbone, from among all."""
    own = {field.name for field in dataclasses.fields(backbones.Backbone)}
    return Backbone(**{name: getattr(backbone, name) for name in own})


@register_backbone_builder("resnet_v1")
def build_resnet_v1(input_specs, backbone_config, norm_activation_config, l2_regularizer=None):
    """Return a ResNet that halves the map in the first convolution of a block, not the second.

    So it was published (He et al., 2015, arXiv:1512.03385, section 3.4), and so the weights of
    Keras Applications were trained. Model Garden's own, like most today, halves one later, which
    is more accurate when trained so, and wrong with weights that were not.
    """
    norm = norm_activation_config
    model = resnet.ResNet(
        model_id=backbone_config.get().model_id,
        input_specs=input_specs,
        activation=norm.activation,
        use_sync_bn=norm.use_sync_bn,
        norm_momentum=norm.norm_momentum,
        norm_epsilon=norm.norm_epsilon,
        kernel_regularizer=l2_regularizer,
    )
    for block in model.layers:
        if isinstance(block, nn_blocks.BottleneckBlock) and block._strides == 2:
            block._conv1.strides, block._conv2.strides = (2, 2), (1, 1)
    return model


@register_backbone_builder("vgg16")
def build_vgg16(input_specs, backbone_config, norm_activation_config, l2_regularizer=None):
    """Return VGG-16 up to conv7: maps "3" (conv4_3) and "4" (conv7).

    The two fully connected layers of the classifier are convolutions here. The last pooling keeps
    the size of the map, and conv6 looks at cells 6 apart ("a trous"), so as to see as much.

    Source: K. Simonyan and A. Zisserman, 2014 (arXiv:1409.1556), as W. Liu et al., 2016
    (arXiv:1512.02325), section 3, change it for SSD.
    """
    width = backbone_config.get().filter_size_scale

    def conv(x, filters, name, size=3, dilation=1):
        return tf_keras.layers.Conv2D(
            max(8, round(filters * width)),
            size,
            padding="same",
            dilation_rate=dilation,
            activation="relu",
            kernel_initializer="he_normal",
            kernel_regularizer=l2_regularizer,
            name=name,
        )(x)

    inputs = x = tf_keras.Input(input_specs.shape[1:])
    maps = {}
    for block, (filters, count) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1):
        for i in range(1, count + 1):
            x = conv(x, filters, f"conv{block}_{i}")
        if block == 4:
            maps["3"] = x
        size, stride = (3, 1) if block == 5 else (2, 2)
        x = tf_keras.layers.MaxPool2D(size, stride, padding="same", name=f"pool{block}")(x)
    x = conv(x, 1024, "conv6", dilation=6)
    maps["4"] = conv(x, 1024, "conv7", size=1)
    model = tf_keras.Model(inputs, maps)
    model.output_specs = {level: x.shape for level, x in maps.items()}
    return model
