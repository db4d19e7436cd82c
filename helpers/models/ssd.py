"""SSD as its authors describe it, made of Model Garden's parts and registered with its factories.

Source: W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016 (arXiv:1512.02325); the
words here are the paper's. Model Garden itself has RetinaNet, which came later: it adds a pyramid
that carries coarse maps back to fine ones, shares one head between all maps, and weighs all boxes
by the focal loss. An SSD predicts from each map directly, with a head of its own, and learns from
the few boxes without an object that it is most wrong about.

Importing this module makes the experiment `ssd_coco` known to Model Garden.
"""

import dataclasses
import inspect
import math

import numpy as np
import tensorflow as tf
import tf_keras
from official.common import dataset_fn
from official.core import config_definitions, exp_factory, task_factory
from official.modeling import hyperparams, optimization
from official.vision.configs import common, decoders, retinanet
from official.vision.dataloaders import (
    input_reader,
    input_reader_factory,
    retinanet_input,
    tf_example_decoder,
)
from official.vision.losses import loss_utils
from official.vision.modeling import factory, retinanet_model
from official.vision.modeling.decoders.factory import register_decoder_builder
from official.vision.modeling.layers.detection_generator import MultilevelDetectionGenerator
from official.vision.tasks import retinanet as retinanet_task
from tf_keras import layers

from helpers.common.errors import CourseError
from helpers.models.backbones import Backbone


@dataclasses.dataclass
class ExtraLayers(hyperparams.Config):
    """The extra feature layers behind the base network.

    Attributes:
        taken: the two maps that the base network gives, the finer one first.
        filters: of each extra layer; before it, a 1x1 convolution of half as many.
        without_padding: so many of the last layers shrink a map by 2 cells instead of by half.
        l2_normalize: scale the first map to length 20 in each cell, a length that is learnt.
        batch_norm: normalise each convolution, with the settings of `norm_activation`.
    """

    taken: list[str] = dataclasses.field(default_factory=lambda: ["3", "4"])
    filters: list[int] = dataclasses.field(default_factory=lambda: [512, 256, 256, 256])
    without_padding: int = 2
    l2_normalize: bool = True
    batch_norm: bool = False


@dataclasses.dataclass
class Decoder(decoders.Decoder):
    """Model Garden's decoders, and the extra feature layers."""

    extra_layers: ExtraLayers = dataclasses.field(default_factory=ExtraLayers)


@dataclasses.dataclass
class DefaultBoxes(hyperparams.Config):
    """Scales and shapes of the default boxes.

    Attributes:
        anchor_size: side of the squares on the first map, in cells of 2^min_level pixels: 3.75
            cells of 8 pixels are 30 pixels, the paper's scale of 0.1 for an input of 300.
        min_scale, max_scale: side of the squares on the second and the last map, as a part of
            the input's shorter side; in even steps between.
        aspect_ratios: width to height of the other boxes; each also upright, as 1 / ratio.
        four_boxes_on: levels that use the first of the aspect ratios only.
    """

    anchor_size: float = 3.75
    min_scale: float = 0.2
    max_scale: float = 0.9
    aspect_ratios: list[float] = dataclasses.field(default_factory=lambda: [2.0, 3.0])
    four_boxes_on: list[int] = dataclasses.field(default_factory=lambda: [3, 7, 8])


@dataclasses.dataclass
class SSD(retinanet.RetinaNet):
    """The model: levels `min_level` to `max_level` number the feature maps."""

    input_size: list[int] = dataclasses.field(default_factory=lambda: [300, 300, 3])
    max_level: int = 8
    anchor: DefaultBoxes = dataclasses.field(default_factory=DefaultBoxes)
    backbone: Backbone = dataclasses.field(default_factory=lambda: Backbone(type="vgg16"))
    decoder: Decoder = dataclasses.field(default_factory=lambda: Decoder(type="extra_layers"))
    # One 3x3 convolution per map, for the classes, and one for the boxes.
    head: retinanet.RetinaNetHead = dataclasses.field(
        default_factory=lambda: retinanet.RetinaNetHead(num_convs=0, share_level_convs=False)
    )
    detection_generator: retinanet.DetectionGenerator = dataclasses.field(
        default_factory=lambda: retinanet.DetectionGenerator(
            pre_nms_top_k=400,
            pre_nms_score_threshold=0.01,
            nms_iou_threshold=0.45,
            max_num_detections=200,
            # The "variances" 0.1 and 0.2 of the authors' code.
            box_coder_weights=[10.0, 10.0, 5.0, 5.0],
        )
    )


@dataclasses.dataclass
class Losses(hyperparams.Config):
    """`box_loss_weight` is the paper's alpha."""

    box_loss_weight: float = 1.0
    negatives_per_positive: int = 3
    l2_weight_decay: float = 0.0005


@dataclasses.dataclass
class SSDTask(retinanet.RetinaNetTask):
    """What to train and on what, as in a RetinaNet's config."""

    model: SSD = dataclasses.field(default_factory=SSD)
    losses: Losses = dataclasses.field(default_factory=Losses)


@exp_factory.register_config_factory("ssd_coco")
def ssd_coco() -> config_definitions.ExperimentConfig:
    """SSD-300 with VGG-16, as a Model Garden experiment."""

    def data(**fields):
        # 300 is no multiple of the coarsest map's cell, and need not be: nothing is added up.
        parser = retinanet.Parser(pad=False)
        return retinanet.DataConfig(global_batch_size=32, parser=parser, **fields)

    return config_definitions.ExperimentConfig(
        task=SSDTask(
            model=SSD(num_classes=91, norm_activation=common.NormActivation(use_sync_bn=False)),
            train_data=data(is_training=True),
            validation_data=data(is_training=False, drop_remainder=False),
        ),
        trainer=config_definitions.TrainerConfig(
            train_steps=120_000,
            optimizer_config=optimization.OptimizationConfig(
                {
                    "optimizer": {"type": "sgd", "sgd": {"momentum": 0.9}},
                    "learning_rate": {"type": "cosine", "cosine": {"decay_steps": 120_000}},
                    "warmup": {"type": "linear", "linear": {"warmup_steps": 500}},
                }
            ),
        ),
        restrictions=["task.train_data.is_training != None"],
    )


class L2Normalization(layers.Layer):
    """Give the vector in each cell of a map the same length: 20 at first, then learnt."""

    def build(self, shape):
        self.scale = self.add_weight("scale", shape[-1:], initializer=tf.constant_initializer(20.0))

    def call(self, x):
        return self.scale * tf.math.l2_normalize(x, axis=-1, epsilon=1e-10)


class ExtraFeatureLayers(layers.Layer):
    """Two maps of the base network in, all feature maps out, numbered from `min_level` on."""

    def __init__(self, spec: ExtraLayers, min_level: int, norm, l2_regularizer=None):
        super().__init__(name="extra_feature_layers")
        self.taken, self.min_level = list(spec.taken), min_level
        self.l2_normalize = L2Normalization() if spec.l2_normalize else None
        padded = len(spec.filters) - spec.without_padding

        def conv(filters, size, stride, padding, name):
            kernel = {"kernel_initializer": "he_normal", "kernel_regularizer": l2_regularizer}
            made = tf_keras.Sequential(name=name)
            made.add(layers.Conv2D(filters, size, stride, padding, **kernel))
            if spec.batch_norm:
                made.add(
                    layers.BatchNormalization(
                        momentum=norm.norm_momentum, epsilon=norm.norm_epsilon
                    )
                )
            made.add(layers.Activation(norm.activation))
            return made

        self.blocks = []
        for i, filters in enumerate(spec.filters):
            name = f"conv{8 + i}"  # the base network ends with conv7
            stride, padding = (2, "same") if i < padded else (1, "valid")
            squeeze = conv(filters // 2, 1, 1, "same", f"{name}_1")
            shrink = conv(filters, 3, stride, padding, f"{name}_2")
            self.blocks.append(tf_keras.Sequential([squeeze, shrink], name=name))

    def call(self, features):
        first, x = (features[name] for name in self.taken)
        maps = [self.l2_normalize(first) if self.l2_normalize else first, x]
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return {str(level): x for level, x in enumerate(maps, self.min_level)}


@register_decoder_builder("extra_layers")
def build_extra_layers(input_specs, model_config, l2_regularizer=None):
    """Return the extra feature layers of a config."""
    spec, norm = model_config.decoder.get(), model_config.norm_activation
    return ExtraFeatureLayers(spec, model_config.min_level, norm, l2_regularizer)


def map_sizes(size: int, model: SSD) -> list[int]:
    """Return how many cells each map has along a side of the input.

    Args:
        size: of that side, pixels.
        model: with the base network's maps and the extra layers.

    Raises:
        CourseError: the last map would have none.
    """
    spec = model.decoder.extra_layers
    cells = [math.ceil(size / 2 ** (model.min_level + i)) for i in (0, 1)]
    padded = len(spec.filters) - spec.without_padding
    for i in range(len(spec.filters)):
        cells.append(math.ceil(cells[-1] / 2) if i < padded else cells[-1] - 2)
    if cells[-1] < 1:
        raise CourseError(
            f"config: task.model.input_size: {size} leaves no cell for the last map; give 300"
        )
    return cells


def shapes(model: SSD) -> dict[str, np.ndarray]:
    """Return the (height, width) of the default boxes of a cell: level -> [boxes, 2], pixels."""
    spec, side = model.anchor, min(model.input_size[:2])
    levels = range(model.min_level, model.max_level + 1)
    rising = np.linspace(spec.min_scale, spec.max_scale, len(levels) - 1).tolist()
    # One more than there are maps: the last one's extra box looks a step further.
    further = 2 * rising[-1] - rising[-2]
    scales = [spec.anchor_size * 2**model.min_level / side, *rising, further]
    found = {}
    for level, scale, following in zip(levels, scales[:-1], scales[1:], strict=True):
        # The extra square, between this map's and the next one's.
        boxes = [(scale, scale), (math.sqrt(scale * following),) * 2]
        for ratio in spec.aspect_ratios[: 1 if level in spec.four_boxes_on else None]:
            root = math.sqrt(ratio)
            boxes += [(scale / root, scale * root), (scale * root, scale / root)]
        found[str(level)] = np.array(boxes) * side
    return found


def default_boxes(model: SSD) -> dict[str, tf.Tensor]:
    """Return the default boxes: level -> [height, width, 4 * boxes], yxyx in pixels."""
    rows, columns = (map_sizes(size, model) for size in model.input_size[:2])
    found = {}
    for (level, sizes), height, width in zip(shapes(model).items(), rows, columns, strict=True):
        centres = np.stack(
            np.meshgrid(
                (np.arange(height) + 0.5) / height * model.input_size[0],
                (np.arange(width) + 0.5) / width * model.input_size[1],
                indexing="ij",
            ),
            axis=-1,
        )[:, :, np.newaxis]
        boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1)
        found[level] = tf.constant(boxes.reshape(height, width, -1), tf.float32)
    return found


def hard_negatives(losses, positive, negative, per_positive: int = 3):
    """Return the negatives to learn from: those with the highest loss.

    The paper keeps at most 3 per positive. They are taken from the whole batch, so that an image
    without any object teaches too: it has no positives, which would allow it no negatives.

    Args:
        losses: confidence loss of each default box, [batch, boxes].
        positive, negative: whether a box is matched, or is background, bool, [batch, boxes].
        per_positive: negatives to keep for each positive.

    Returns:
        bool, [batch, boxes].
    """
    count = per_positive * tf.math.count_nonzero(positive, dtype=tf.int32)
    hardness = tf.reshape(tf.where(negative, losses, -1.0), [-1])
    rank = tf.argsort(tf.argsort(hardness, direction="DESCENDING"))
    return negative & tf.reshape(rank < count, tf.shape(losses))


def log_odds(logits, classes: int):
    """Return the logits for which a sigmoid gives what a softmax gives for `logits`.

    Args:
        logits: [batch, height, width, boxes * classes].
        classes: with the background.

    Returns:
        The same shape.
    """
    split = tf.reshape(logits, [-1, *logits.shape[1:-1], logits.shape[-1] // classes, classes])
    log = tf.nn.log_softmax(split)
    odds = log - tf.math.log1p(-tf.minimum(tf.exp(log), 1 - 1e-6))
    return tf.reshape(odds, [-1, *logits.shape[1:]])


class SoftmaxDetections(MultilevelDetectionGenerator):
    """Model Garden's NMS, for classes that exclude each other."""

    def __call__(self, raw_boxes, raw_scores, anchor_boxes, *args, **kwargs):
        scores = {}
        for level, logits in raw_scores.items():
            classes = 4 * logits.shape[-1] // raw_boxes[level].shape[-1]
            scores[level] = log_odds(logits, classes)
        return super().__call__(raw_boxes, scores, anchor_boxes, *args, **kwargs)


class Parser(retinanet_input.Parser):
    """RetinaNet's reader of images and boxes, which matches them with default boxes instead.

    A default box is positive where its IoU with an object is at least `match_threshold`, and each
    object has at least the one of the highest IoU.
    """

    def __init__(self, boxes: dict, params, **kwargs):
        generator = ("min_level", "max_level", "num_scales", "aspect_ratios", "anchor_size")
        taken = inspect.signature(retinanet_input.Parser).parameters
        settings = {name: value for name, value in vars(params).items() if name in taken}
        super().__init__(**kwargs, **settings, **dict.fromkeys(generator))
        self.boxes = boxes

    def _parse_train_data(self, data):
        return super()._parse_train_data(data, input_anchor=lambda image_size: self.boxes)

    def _parse_eval_data(self, data):
        return super()._parse_eval_data(data, input_anchor=lambda image_size: self.boxes)


@task_factory.register_task_cls(SSDTask)
class Task(retinanet_task.RetinaNetTask):
    """RetinaNet's task, with another model, other boxes and another loss."""

    def build_model(self):
        spec = self.task_config.model
        boxes = default_boxes(spec)
        decay = self.task_config.losses.l2_weight_decay
        built = factory.build_retinanet(
            tf_keras.layers.InputSpec(shape=[None, *spec.input_size]),
            spec,
            # Halved, as Model Garden's own tasks do.
            tf_keras.regularizers.l2(decay / 2) if decay else None,
            num_anchors_per_location={level: len(sizes) for level, sizes in shapes(spec).items()},
            anchor_boxes=boxes,
        )
        model = retinanet_model.RetinaNetModel(
            built.backbone,
            built.decoder,
            built.head,
            SoftmaxDetections(**built.detection_generator.get_config()),
            anchor_boxes=boxes,
            min_level=spec.min_level,
            max_level=spec.max_level,
        )
        if self.task_config.freeze_backbone:
            model.backbone.trainable = False
        return model

    def build_inputs(self, params, input_context=None):
        spec = self.task_config.model
        parser = Parser(
            default_boxes(spec),
            params.parser,
            output_size=list(spec.input_size[:2]),
            dtype=params.dtype,
            box_coder_weights=spec.detection_generator.box_coder_weights,
        )
        decoder = tf_example_decoder.TfExampleDecoder(
            regenerate_source_id=params.decoder.get().regenerate_source_id
        )
        reader = input_reader_factory.input_reader_generator(
            params,
            dataset_fn=dataset_fn.pick_dataset_fn(params.file_type),
            decoder_fn=decoder.decode,
            combine_fn=input_reader.create_combine_fn(params),
            parser_fn=parser.parse_fn(params.is_training),
        )
        return reader.read(input_context=input_context)

    def build_losses(self, outputs, labels, aux_losses=None):
        """Return (total, confidence, localization, sum of these two): one number each.

        Confidence: cross-entropy over the classes and the background. Localization: smooth L1.
        Both are summed and divided by the number of positives.
        """
        spec = self.task_config.losses
        classes = self.task_config.model.num_classes
        truth = tf.maximum(loss_utils.multi_level_flatten(labels["cls_targets"]), 0)
        logits = loss_utils.multi_level_flatten(outputs["cls_outputs"], last_dim=classes)
        confidence = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.cast(truth, tf.int32), logits
        )
        positive = labels["box_weights"] > 0
        negative = (labels["cls_weights"] > 0) & ~positive
        chosen = positive | hard_negatives(
            confidence, positive, negative, spec.negatives_per_positive
        )
        positives = tf.maximum(tf.reduce_sum(tf.cast(positive, tf.float32)), 1.0)
        cls_loss = tf.reduce_sum(tf.where(chosen, confidence, 0.0)) / positives

        boxes = (labels["box_targets"], outputs["box_outputs"])
        wanted, given = (loss_utils.multi_level_flatten(tree, last_dim=4) for tree in boxes)
        error = tf.abs(wanted - given)
        smooth = tf.reduce_sum(tf.where(error < 1, 0.5 * error**2, error - 0.5), axis=-1)
        box_loss = tf.reduce_sum(tf.where(positive, smooth, 0.0)) / positives

        model_loss = cls_loss + spec.box_loss_weight * box_loss
        total = model_loss + tf.add_n(aux_losses) if aux_losses else model_loss
        return total, cls_loss, box_loss, model_loss
