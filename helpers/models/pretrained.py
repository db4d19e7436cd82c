"""Starting weights: a detector need not learn from nothing what a picture is.

A network that was trained on a million photographs knows edges, textures and parts; what is left
to learn is the object. `start_from` brings such weights into the form that Model Garden itself
starts from, a checkpoint that `task.init_checkpoint` names: the config stays the whole
description of a run.
"""

import base64
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.common.archives import unpack
from helpers.common.artifacts import input_fingerprint, make_folder
from helpers.common.downloads import download, mirror_address, mirror_folder
from helpers.common.errors import CourseError
from helpers.common.files import ROOT
from helpers.models import config as configs
from helpers.models.networks import CONFIG, WEIGHTS, build_model, load_network

DOWNLOADS = ROOT / "data/downloads/weights"
SHIPPED = ROOT / "data/detector"
CHECKPOINT = "ckpt"


@dataclass(frozen=True)
class Source:
    """Published weights.

    Attributes:
        backbone: type and model_id of the backbone in the config that they fit.
        address: of the file. A mirror holds it as weights/<file name>.
        md5: as its publisher states it; "" where none is stated.
        megabytes: size of the file.
        network: name in `tf_keras.applications`; "" for a checkpoint of Model Garden.
        pixels: how that network reads an image, as Keras calls it.
        top: whether its classifier is in the file.
    """

    backbone: tuple[str, object]
    address: str
    md5: str
    megabytes: int
    network: str = ""
    pixels: str = "tf"
    top: bool = False

    @property
    def file(self) -> str:
        return self.address.rsplit("/", 1)[-1]


_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_GARDEN = "https://storage.googleapis.com/tf_model_garden/vision"

# Trained to name 1000 kinds of things in photographs: backbones only. Code and weights of Keras
# Applications are Apache-2.0 or MIT; ImageNet itself is for research that is not commercial.
IMAGENET = (
    Source(
        ("mobilenet", "MobileNetV2"),
        f"{_KERAS}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        "",
        9,
        "MobileNetV2",
    ),
    Source(
        ("resnet_v1", 50),
        f"{_KERAS}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "4d473c1dd8becc155b73f8504c6f6626",
        95,
        "ResNet50",
        "caffe",
    ),
    Source(
        ("resnet_v1", 101),
        f"{_KERAS}/resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "88cf7a10940856eca736dc7b7e228a21",
        172,
        "ResNet101",
        "caffe",
    ),
    # With its classifier, which becomes the layers conv6 and conv7 of an SSD.
    Source(
        ("vgg16", None),
        f"{_KERAS}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        "64373286793e3c8b2b4e3219cbf3544b",
        553,
        "VGG16",
        "caffe",
        top=True,
    ),
)
# Trained to find 80 kinds of things: backbone and feature pyramid can be taken over.
COCO = (
    Source(("resnet", 50), f"{_GARDEN}/retinanet/retinanet-resnet50fpn.tar.gz", "", 130),
    Source(("spinenet_mobile", "49"), f"{_GARDEN}/retinanet/spinenet49mobile.tar.gz", "", 20),
)


def start_from(config, name: str | Path, folder: Path, *, modules: Sequence[str] = ()):
    """Return `config` so that its training starts from the weights `name`.

    Args:
        config: of the detector to train.
        name: "nothing" (random numbers); "imagenet" or "coco", downloaded once or taken from the
            mirror; "shipped", the small detector in data/detector; or the folder of a
            detector that training left.
        folder: gets the checkpoint.
        modules: which parts to take over: ("backbone",), ("backbone", "decoder") or ("all",),
            with the heads. By default as much as fits: heads only of a detector of as many
            classes, and of ImageNet, which has no boxes, the backbone.

    Raises CourseError for an unknown name, weights of another network, a failed download, or a
    file that is not what its publisher made.
    """
    if str(name) == "nothing":
        return configs.edit(config, {"task.init_checkpoint": None})
    prepare = {"imagenet": _from_imagenet, "coco": _from_coco}.get(str(name), _from_detector)
    write, source, fitting = prepare(str(name), config)
    parts = tuple(modules) or fitting
    offered = {*fitting} | ({"backbone", "decoder"} if "all" in fitting else set())
    if wrong := [part for part in parts if part not in offered]:
        raise CourseError(
            f"weights: {name}: modules: {', '.join(wrong)}; choose of {', '.join(sorted(offered))}"
        )
    origin = {"weights": input_fingerprint(source)}, {"parts": parts, "model": _model(config)}
    make_folder(folder, lambda draft: write(draft, parts), ("start_from", *origin))
    return configs.edit(
        config,
        {
            "task.init_checkpoint": str(folder / CHECKPOINT),
            "task.init_checkpoint_modules": list(parts) if len(parts) > 1 else parts[0],
        },
    )


def fetch_weights(source: Source) -> Path:
    """Return the file of published weights: from the mirror, or downloaded once.

    Raises CourseError when it cannot be had, or is not the file that was published.
    """
    mirror = mirror_address()
    if mirror and "://" not in mirror:
        path = mirror_folder(mirror) / "weights" / source.file
        if path.is_file():
            _check(path, source.md5)
            return path
    path = DOWNLOADS / source.file
    if path.is_file():
        _check(path, source.md5)
        return path
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    answer = None
    if "://" in mirror:
        place = f"{mirror}/weights/{source.file}"
        answer = download(place, part, source.file, mirrored="weights/", missing_ok=True)
    if answer is None:
        answer = download(source.address, part, source.file, mirrored="weights/")
    try:
        _check(part, source.md5 or _stated_md5(answer), origin=source.address)
    except CourseError:
        part.unlink()
        raise
    part.replace(path)
    return path


def published(table: Sequence[Source], config, name: str) -> Source:
    """Return the row of `table` (IMAGENET or COCO) that fits the backbone of `config`."""
    backbone = config.task.model.backbone
    mine = (backbone.type, getattr(backbone.get(), "model_id", None))
    for source in table:
        if source.backbone == mine:
            return source
    fitting = ", ".join(f"{kind} {which}" for kind, which in (s.backbone for s in table))
    raise CourseError(
        f"weights: {name}: none for a backbone {mine[0]} {mine[1]}; there are for {fitting}"
    )


def convert_weights(keras_model, backbone, pixels: str = "tf") -> None:
    """Copy the weights of a Keras Applications network into Model Garden's of the same kind.

    What the two do differently is reckoned into the weights, so that both give the same features
    of one image: the scaling of pixels, the biases of convolutions (Model Garden has none before
    a batch normalisation), and the epsilon of the normalisations. At the rim they differ by a few
    pixels: where one sees a grey border, the other sees a black one. The two large layers of VGG's
    classifier become convolutions by taking every third or fourth of their numbers (Liu et al.,
    2016, section 3).

    Args:
        keras_model: from `tf_keras.applications`, VGG with its top.
        backbone: from Model Garden's factory.
        pixels: how Keras prepares them, "tf" (-1 to 1) or "caffe" (BGR, 0..255 less a mean).

    Raises CourseError when the layers do not agree one to one.
    """
    units, targets = _units(keras_model), _layers(backbone)
    units[0] = _reading_our_pixels(*units[0], pixels)
    kernels = [layer for layer in targets if not _is_norm(layer)]
    expected = [tuple(layer.weights[0].shape) for layer in kernels]
    if [unit[0].shape for unit in units] != expected:
        raise CourseError(
            f"weights: {keras_model.name}: its layers are not those of the config's backbone; "
            "leave the width of the backbone at 1"
        )
    normalisations = iter([layer for layer in targets if _is_norm(layer)])
    for layer, (kernel, bias, norm) in zip(kernels, units, strict=True):
        layer.set_weights([kernel, bias] if len(layer.weights) == 2 else [kernel])
        if norm:
            (gamma, beta, mean, variance), epsilon = norm
            behind = next(normalisations)
            variance = np.maximum(variance + epsilon - behind.epsilon, 0)
            behind.set_weights([gamma, beta, mean - bias, variance])


def _units(keras_model) -> list[tuple]:
    """Return (kernel, bias, (numbers of the normalisation behind it, its epsilon)) in order."""
    units = []
    for layer in sorted(_layers(keras_model), key=_place):
        if _is_norm(layer):
            units[-1] = (*units[-1][:2], (layer.get_weights(), layer.epsilon))
            continue
        kernel, *rest = layer.get_weights()
        bias = rest[0] if rest else np.zeros(1, np.float32)
        if layer.name in _AS_CONVOLUTION:
            kernel, bias = _AS_CONVOLUTION[layer.name](kernel), bias[::4]
        units.append((kernel, bias, None))
    return units


# VGG's classifier sees 7x7 cells and has 4096 filters; one sees 3x3, six apart, and has 1024.
_AS_CONVOLUTION = {
    "fc1": lambda kernel: kernel.reshape(7, 7, 512, 4096)[::3, ::3, :, ::4],
    "fc2": lambda kernel: kernel.reshape(1, 1, 4096, 4096)[:, :, ::4, ::4],
}


def _place(layer) -> tuple:
    """Where a layer stands: in a block of a Keras ResNet the order is that of its name."""
    parts = re.fullmatch(r"conv(\d+)_block(\d+)_(\d)_(conv|bn)", layer.name)
    return (*map(int, parts.groups()[:3]), parts[4] == "bn") if parts else ()


def _reading_our_pixels(kernel, bias, norm, pixels: str) -> tuple:
    """Make the first convolution, made for pixels as Keras prepares them, read Model Garden's."""
    from official.vision.ops import preprocess_ops

    # Model Garden's parsers subtract this mean and divide by this deviation, of RGB from 0 to 1.
    mean, deviation = map(np.array, (preprocess_ops.MEAN_NORM, preprocess_ops.STDDEV_NORM))
    scale, offset = 2 * deviation, 2 * mean - 1
    if pixels == "caffe":
        scale, offset = 255 * deviation, 255 * mean - np.array([123.68, 116.779, 103.939])
        kernel = kernel[:, :, ::-1]
    constant = (kernel * offset[:, None]).sum((0, 1, 2))
    return kernel * scale[:, None], bias + constant, norm


def _is_norm(layer) -> bool:
    return "Normalization" in type(layer).__name__


def _from_imagenet(name: str, config):
    source = published(IMAGENET, config, name)
    path = fetch_weights(source)

    def write(draft: Path, parts: Sequence[str]) -> None:
        import tensorflow as tf
        import tf_keras
        from official.vision.modeling.backbones import factory

        network = getattr(tf_keras.applications, source.network)
        if source.top:
            trained = network(weights=None)
        else:
            trained = network(include_top=False, weights=None, input_shape=(None, None, 3))
        try:
            trained.load_weights(path)
        except (OSError, ValueError) as error:
            line = " ".join(str(error).split())[:100]
            raise CourseError(f"{path}: unreadable ({line}); delete it and try again") from None
        backbone = factory.build_backbone(
            input_specs=tf_keras.layers.InputSpec(shape=[None, None, None, 3]),
            backbone_config=config.task.model.backbone,
            norm_activation_config=config.task.model.norm_activation,
        )
        convert_weights(trained, backbone, source.pixels)
        tf.train.Checkpoint(backbone=backbone).write(str(draft / CHECKPOINT))

    return write, path, ("backbone",)


def _from_coco(name: str, config):
    path = fetch_weights(published(COCO, config, name))

    def write(draft: Path, parts: Sequence[str]) -> None:
        import tensorflow as tf

        with tempfile.TemporaryDirectory(dir=draft.parent, prefix=".unpack-") as scratch:
            unpack(path, Path(scratch))
            found = sorted(Path(scratch).rglob("*.index"))
            if len(found) != 1:
                raise CourseError(f"{path}: holds {len(found)} checkpoints, not one; delete it")
            stem = found[0].with_suffix("")
            for file in stem.parent.glob(f"{stem.name}.*"):
                shutil.copyfile(file, draft / file.name.replace(stem.name, CHECKPOINT, 1))
        try:
            # Every tensor is read once: the format keeps a checksum of each.
            reader = tf.train.load_checkpoint(str(draft / CHECKPOINT))
            for key in reader.get_variable_to_shape_map():
                reader.get_tensor(key)
        except (tf.errors.OpError, ValueError) as error:
            line = " ".join(str(error).split())[:100]
            raise CourseError(f"{path}: broken ({line}); delete it and try again") from None

    identity = config.task.model.decoder.type == "identity"
    return write, path, ("backbone",) if identity else ("backbone", "decoder")


def _from_detector(name: str, config):
    place = SHIPPED if name == "shipped" else Path(name)
    if not (place / WEIGHTS).is_file():
        raise CourseError(
            f"weights: {name!r}: unknown; use nothing, shipped, imagenet, coco, or the folder of a "
            f"trained detector, which holds {WEIGHTS}"
        )
    classes = configs.load_config(place / CONFIG).task.model.num_classes
    same = classes == config.task.model.num_classes

    def write(draft: Path, parts: Sequence[str]) -> None:
        import tensorflow as tf

        trained = load_network(place)[0].checkpoint_items
        mine = build_model(config)[1].checkpoint_items
        for part in trained if "all" in parts else parts:
            if part not in mine or _shapes(trained[part]) != _shapes(mine[part]):
                raise CourseError(
                    f"weights: {name}: its {part} is not that of this config; take the preset that "
                    "it was trained with, or other starting weights"
                )
        tf.train.Checkpoint(**trained).write(str(draft / CHECKPOINT))

    return write, place / WEIGHTS, ("all",) if same else ("backbone", "decoder")


def _model(config) -> dict:
    """What of a config decides which weights fit."""
    return json.loads(json.dumps(config.as_dict()["task"]["model"]))


def _check(path: Path, md5: str, origin: str = "") -> None:
    if not md5:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise CourseError(
            f"{origin or path}: not the file that was published (its MD5 differs); delete it and "
            "try again"
        )


def _stated_md5(headers: dict[str, str]) -> str:
    """Return the MD5 that Google's storage states with each answer, "" where none is stated."""
    for item in headers.get("x-goog-hash", "").split(","):
        kind, _, value = item.strip().partition("=")
        if kind == "md5":
            return base64.b64decode(value).hex()
    return ""


def _layers(model) -> list:
    """Convolutions and normalisations of a model, in the order in which they were made."""
    kinds = ("Conv2D", "DepthwiseConv2D", "BatchNormalization", "SyncBatchNormalization")
    layers = [layer for layer in model._flatten_layers() if layer.weights]
    return [
        layer for layer in layers if type(layer).__name__ in kinds or layer.name in _AS_CONVOLUTION
    ]


def _shapes(layer) -> list[tuple]:
    return [tuple(weight.shape) for weight in layer.weights]
