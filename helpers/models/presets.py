"""The detectors one can train here: one table of presets.

A preset is a registered Model Garden experiment and the few settings in which it differs.
Each names its ancestor in the zoo of the old TensorFlow Object Detection API.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from helpers.common.files import ROOT

# What all share: 32-bit floats, no starting weights, mirrored and scaled images, and a rate
# that warms up and falls as a cosine to zero. `config.for_records` and `config.with_budget` fit
# records, steps and rate to the run.
_COMMON = {
    "runtime.mixed_precision_dtype": "float32",
    "task.train_data.dtype": "float32",
    "task.validation_data.dtype": "float32",
    "task.init_checkpoint": None,
    # What a checkpoint of weights, once named, holds: the part that knows ImageNet.
    "task.init_checkpoint_modules": "backbone",
    "task.annotation_file": None,
    "task.losses.l2_weight_decay": 0.0001,
    "task.train_data.parser.aug_rand_hflip": True,
    "task.train_data.parser.aug_scale_min": 0.8,
    "task.train_data.parser.aug_scale_max": 1.25,
    "trainer.optimizer_config.learning_rate.type": "cosine",
    "trainer.optimizer_config.warmup.type": "linear",
}

# The presets of Model Garden are for 256 images a step on a TPU and use SGD. In runs of a few
# hundred steps from nothing, Adam had fitted the training clips twice as well after 150 steps.
_ADAM = {
    "trainer.optimizer_config.optimizer.type": "adam",
    "trainer.optimizer_config.optimizer.adam.global_clipnorm": 1.0,
}
_SGD = {
    "trainer.optimizer_config.optimizer.type": "sgd",
    "trainer.optimizer_config.optimizer.sgd.momentum": 0.9,
    "trainer.optimizer_config.optimizer.sgd.global_clipnorm": 10.0,
}

# For small objects on large frames, in a run of some hundred steps.
_FRAMES = {
    "task.model.min_level": 3,
    "task.model.max_level": 6,
    # Large, because the objects are small: 720p stays as it is, and 1080p shrinks by a third.
    # Training does not pay for it, since it reads tiles.
    "task.model.input_size": [768, 1280, 3],
    "task.model.norm_activation.use_sync_bn": False,
    # The running means must keep up with a run of a few hundred steps, or evaluation
    # normalises by numbers that training has long left (MODEL_GARDEN: 0.99 cost 0.25 AP).
    "task.model.norm_activation.norm_momentum": 0.97,
    # Roadside objects are upright: two of the three shapes are taller than wide.
    "task.model.anchor.aspect_ratios": [1.0, 0.5, 0.3],
}

# A narrow ResNet-18 learns from nothing and is fast on a processor: plain convolutions run
# several times faster there than the depthwise ones of a MobileNet of equal size.
_SMALL = {
    **_FRAMES,
    "task.model.backbone.type": "resnet",
    "task.model.backbone.resnet.model_id": 18,
    # A quarter of the usual width: twice as many steps in the same time as with 0.375, and
    # each of them lowered the loss as much (150 steps on roadside).
    "task.model.backbone.resnet.depth_multiplier": 0.25,
    "task.model.decoder.fpn.num_filters": 64,
}

_SSD_ON_FRAMES = {
    "task.model.decoder.type": "fpn",
    "task.model.decoder.fpn.num_filters": 64,
    "task.model.decoder.fpn.use_separable_conv": True,
    "task.model.head.num_convs": 2,
    "task.model.head.num_filters": 64,
    "task.model.head.use_separable_conv": True,
    # With one class the best 1000 of all boxes give the same scores as the usual 5000,
    # and a frame takes half the time.
    "task.model.detection_generator.pre_nms_top_k": 1000,
    # A box of 5x12 pixels rarely overlaps a grid of 8 pixels by half.
    "task.train_data.parser.match_threshold": 0.4,
    "task.train_data.parser.unmatched_threshold": 0.4,
}

_FASTER_RCNN_ON_FRAMES = {
    "task.model.anchor.num_scales": 2,
    "task.model.decoder.fpn.num_filters": 64,
    "task.model.rpn_head.num_filters": 64,
    "task.model.detection_head.num_convs": 0,
    "task.model.detection_head.fc_dims": 256,
    "task.model.roi_generator.pre_nms_top_k": 500,
    "task.model.roi_generator.num_proposals": 200,
    "task.model.roi_generator.test_pre_nms_top_k": 300,
    "task.model.roi_generator.test_num_proposals": 100,
    "task.model.roi_sampler.num_sampled_rois": 64,
}

_MOBILENET = {
    "task.model.backbone.type": "mobilenet",
    "task.model.backbone.mobilenet.model_id": "MobileNetV2",
    "task.model.norm_activation.activation": "relu6",
}


@dataclass(frozen=True)
class Preset:
    """A detector by name.

    Attributes:
        name: how lessons and files call it.
        title: how tables and figures call it.
        family: "ssd" (one stage) or "faster_rcnn" (two stages).
        ancestor: its kin in the model zoo of the old TensorFlow Object Detection API.
        experiment: the registered Model Garden experiment it starts from.
        weights: the published starting weights that fit, as `weights.start_from` calls them;
            None where there are none.
        learning_rate: for a batch of 8.
        tile: side in pixels of the tiles to train on where all objects are small; None trains
            on whole images.
        settings: dotted config keys and their values, where it differs from the experiment.
    """

    name: str
    title: str
    family: str
    ancestor: str
    experiment: str
    weights: str | None
    learning_rate: float
    tile: int | None = None
    settings: dict = field(default_factory=dict, hash=False)


_TABLE = (
    Preset(
        name="ssd_cpu",
        title="SSD ResNet-18 (slim)",
        family="ssd",
        ancestor="ssd_mobilenet_v1_fpn",
        experiment="retinanet_resnetfpn_coco",
        weights=None,
        learning_rate=0.002,
        tile=320,
        settings={
            **_COMMON,
            **_ADAM,
            **_SMALL,
            **_SSD_ON_FRAMES,
        },
    ),
    Preset(
        name="faster_rcnn_cpu",
        title="Faster R-CNN ResNet-18 (slim)",
        family="faster_rcnn",
        ancestor="faster_rcnn_resnet50",
        experiment="fasterrcnn_resnetfpn_coco",
        weights=None,
        learning_rate=0.002,
        tile=320,
        settings={
            **_COMMON,
            **_ADAM,
            **_SMALL,
            **_FASTER_RCNN_ON_FRAMES,
        },
    ),
    Preset(
        name="ssd_mobilenet_v2_fpn_tiles",
        title="SSD MobileNetV2 FPN on tiles",
        family="ssd",
        ancestor="ssd_mobilenet_v2_fpnlite_640x640",
        experiment="retinanet_mobile_coco",
        weights="imagenet",
        learning_rate=0.002,
        tile=320,
        settings={**_COMMON, **_ADAM, **_MOBILENET, **_FRAMES, **_SSD_ON_FRAMES},
    ),
    Preset(
        name="faster_rcnn_mobilenet_v2",
        title="Faster R-CNN MobileNetV2 FPN on tiles",
        family="faster_rcnn",
        ancestor="faster_rcnn_inception_v2",
        experiment="fasterrcnn_resnetfpn_coco",
        weights="imagenet",
        learning_rate=0.002,
        tile=320,
        settings={**_COMMON, **_ADAM, **_MOBILENET, **_FRAMES, **_FASTER_RCNN_ON_FRAMES},
    ),
    Preset(
        name="ssd_mobilenet_v2_fpn",
        title="SSD MobileNetV2 FPN 320",
        family="ssd",
        ancestor="ssd_mobilenet_v2_fpnlite_320x320",
        experiment="retinanet_mobile_coco",
        weights="imagenet",
        learning_rate=0.02,
        settings={
            **_COMMON,
            **_SGD,
            **_MOBILENET,
            "task.model.decoder.type": "fpn",
            "task.model.decoder.fpn.num_filters": 128,
            "task.model.decoder.fpn.use_separable_conv": True,
            "task.model.head.num_filters": 128,
            "task.model.head.use_separable_conv": True,
            "task.model.min_level": 3,
            # 320 is a multiple of 2^6, not of 2^7.
            "task.model.max_level": 6,
            "task.model.input_size": [320, 320, 3],
            "task.model.norm_activation.use_sync_bn": False,
        },
    ),
    Preset(
        name="ssd_mobilenet_v2",
        title="SSD MobileNetV2 300",
        family="ssd",
        ancestor="ssd_mobilenet_v2",
        experiment="ssd_coco",
        weights="imagenet",
        learning_rate=0.005,
        # As the ancestor, but for two things: its finest map is read in the middle of a block
        # (576 filters) and here at the end of the one before (96), since Model Garden gives no
        # other; and its classes are sigmoids, here a softmax.
        settings={
            **_COMMON,
            **_SGD,
            **_MOBILENET,
            "task.model.decoder.extra_layers.taken": ["4", "6"],
            "task.model.decoder.extra_layers.filters": [512, 256, 256, 128],
            "task.model.decoder.extra_layers.without_padding": 0,
            "task.model.decoder.extra_layers.l2_normalize": False,
            "task.model.decoder.extra_layers.batch_norm": True,
            "task.model.min_level": 4,
            "task.model.max_level": 9,
            "task.model.anchor.anchor_size": 1.875,
            "task.model.anchor.max_scale": 0.95,
            "task.model.anchor.four_boxes_on": [4],
        },
    ),
    Preset(
        name="ssd300_vgg16",
        title="SSD-300 VGG-16",
        family="ssd",
        # The paper's own: the old API had no VGG.
        ancestor="ssd300_vgg16 (Caffe)",
        experiment="ssd_coco",
        weights="imagenet",
        learning_rate=0.001,
        settings={**_COMMON, **_SGD, "task.losses.l2_weight_decay": 0.0005},
    ),
    Preset(
        name="ssd_spinenet49_mobile",
        title="SSD mobile SpineNet-49 384 (RetinaNet)",
        family="ssd",
        ancestor="ssd_mobilenet_v2_fpnlite_320x320",
        experiment="retinanet_mobile_coco",
        weights="coco",
        learning_rate=0.01,
        settings={
            **_COMMON,
            **_SGD,
            "task.losses.l2_weight_decay": 0.00003,
            "task.model.norm_activation.use_sync_bn": False,
        },
    ),
    Preset(
        name="ssd_resnet50_fpn_640",
        title="SSD ResNet-50 FPN 640 (RetinaNet)",
        family="ssd",
        ancestor="ssd_resnet50_v1_fpn_640x640",
        experiment="retinanet_resnetfpn_coco",
        weights="coco",
        learning_rate=0.01,
        settings={
            **_COMMON,
            **_SGD,
            "task.init_checkpoint_modules": ["backbone", "decoder"],
        },
    ),
    Preset(
        name="faster_rcnn_resnet50_640",
        title="Faster R-CNN ResNet-50 FPN 640",
        family="faster_rcnn",
        ancestor="faster_rcnn_resnet50_v1_640x640",
        experiment="fasterrcnn_resnetfpn_coco",
        weights="imagenet",
        learning_rate=0.015,
        settings={
            **_COMMON,
            **_SGD,
            "task.model.input_size": [640, 640, 3],
            # The ResNet that ImageNet weights of Keras are for.
            "task.model.backbone.type": "resnet_v1",
            "task.model.backbone.resnet_v1.model_id": 50,
        },
    ),
    Preset(
        name="faster_rcnn_resnet101_640",
        title="Faster R-CNN ResNet-101 FPN 640",
        family="faster_rcnn",
        ancestor="faster_rcnn_resnet101_v1_640x640",
        experiment="fasterrcnn_resnetfpn_coco",
        weights="imagenet",
        learning_rate=0.015,
        settings={
            **_COMMON,
            **_SGD,
            "task.model.input_size": [640, 640, 3],
            "task.model.backbone.type": "resnet_v1",
            "task.model.backbone.resnet_v1.model_id": 101,
        },
    ),
)

PRESETS = {preset.name: preset for preset in _TABLE}

MEASURED = ROOT / "data/models.json"
COLUMNS = {
    "title": "detector, preset",
    "ancestor": "in the old API",
    "input": "input",
    "parameters": "million weights",
    "ms_per_image": "ms an image",
    "ms_per_step": "ms a step",
    "step_memory_mb": "GB a step (images)",
    "weights": "starts from",
}


def preset_rows(measured: Path = MEASURED) -> list[dict]:
    """Return what is known of each preset, a dict a preset, in their order.

    Keys: name, family, those of COLUMNS, `batch` (images a training step) and `trained_on` (height
    and width of those images). Numbers come from `measured`, which tests/benchmarks/models.py
    writes: parameters that training changes, milliseconds by the clock, and megabytes (2^20 bytes)
    of the process at its largest. None where a preset was not measured.
    """
    page = json.loads(measured.read_text())
    numbers = {row["name"]: row for row in page["rows"]}
    fields = ("input", "trained_on", "batch", "parameters", "ms_per_image", "ms_per_step")
    return [
        {
            "name": preset.name,
            "title": preset.title,
            "family": preset.family,
            "ancestor": preset.ancestor,
            "weights": preset.weights,
        }
        | {field: numbers.get(preset.name, {}).get(field) for field in (*fields, "step_memory_mb")}
        for preset in PRESETS.values()
    ]


def preset_table(found: list[dict]) -> str:
    """Return rows as a Markdown table."""
    lines = [list(COLUMNS.values()), ["---"] * len(COLUMNS)]
    lines += [[_cell(row, name) for name in COLUMNS] for row in found]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: dict, name: str) -> str:
    value = row[name]
    if name == "title":
        return f"{value}<br>`{row['name']}`"
    if name == "weights":
        return value or "nothing"
    if value is None:
        return "–"
    if name == "input":
        return "x".join(map(str, value))
    if name == "parameters":
        return f"{value / 1e6:.1f}"
    if name == "step_memory_mb":
        size = "x".join(map(str, row["trained_on"]))
        return f"{value / 1024:.1f} ({row['batch']} of {size})"
    return f"{value:.0f}" if name.startswith("ms") else value
