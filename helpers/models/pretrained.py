"""Pretrained weights: a detector need not learn from scratch what a picture is.

A network that was trained on a million photographs knows edges, textures and parts; what is left
to learn is the object. `use_pretrained` brings such weights into the form that Model Garden itself
starts from, a checkpoint that `task.init_checkpoint` names: the config stays the whole
description of a run.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from helpers.common.archives import unpack
from helpers.common.artifacts import input_fingerprint, make_folder
from helpers.common.errors import CourseError
from helpers.common.files import ROOT
from helpers.models import published
from helpers.models.config import edit, load_config, plain
from helpers.models.keras_weights import convert_weights
from helpers.models.networks import CONFIG, WEIGHTS, build_model, load_network

SHIPPED = ROOT / "data/detector"
CHECKPOINT = "ckpt"


class _Weights(NamedTuple):
    """Weights that can be had.

    `write(folder, parts)` makes a checkpoint of them, `file` is what they come from, and `fitting`
    names the parts of the network that they fit, as `task.init_checkpoint_modules` does.
    """

    write: Callable[[Path, Sequence[str]], None]
    file: Path
    fitting: tuple[str, ...]


def use_pretrained(config, name: str | Path, folder: Path, *, modules: Sequence[str] = ()):
    """Return `config` so that its training starts from the weights `name`.

    Args:
        config: of the detector to train.
        name: "scratch" (random numbers); "imagenet" or "coco", downloaded once or taken from the
            mirror; "shipped", the small detector in data/detector; or the folder of a
            detector that training left.
        folder: gets the checkpoint.
        modules: which parts to load: ("backbone",), ("backbone", "decoder") or ("all",),
            with the heads. By default as much as fits: heads only of a detector of as many
            classes, and of ImageNet, which has no boxes, the backbone.

    Raises:
        CourseError: an unknown name, weights of another network, a failed download, or a file
            that is not what its publisher made.
    """
    if str(name) == "scratch":
        return edit(config, {"task.init_checkpoint": None})
    find = {"imagenet": _imagenet, "coco": _coco}.get(str(name), _detector)
    weights = find(str(name), config)
    parts = tuple(modules) or weights.fitting
    offered = {*weights.fitting}
    if "all" in offered:
        offered |= {"backbone", "decoder"}
    if wrong := [part for part in parts if part not in offered]:
        raise CourseError(
            f"weights: {name}: modules: {', '.join(wrong)}; choose of {', '.join(sorted(offered))}"
        )
    make_folder(
        folder,
        lambda draft: weights.write(draft, parts),
        (
            # Earlier runs have this maker in their manifests: it must stay.
            "start_from",
            {"weights": input_fingerprint(weights.file)},
            # What of a config decides which weights fit.
            {"parts": parts, "model": plain(config)["task"]["model"]},
        ),
    )
    return edit(
        config,
        {
            "task.init_checkpoint": str(folder / CHECKPOINT),
            "task.init_checkpoint_modules": list(parts) if len(parts) > 1 else parts[0],
        },
    )


def _imagenet(name: str, config) -> _Weights:
    source = published.find_source(published.IMAGENET, config, name)
    path = published.fetch_weights(source)

    def write(folder: Path, parts: Sequence[str]) -> None:
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
            raise CourseError(f"{path}: unreadable ({_short(error)}); {_AGAIN}") from None
        backbone = factory.build_backbone(
            input_specs=tf_keras.layers.InputSpec(shape=[None, None, None, 3]),
            backbone_config=config.task.model.backbone,
            norm_activation_config=config.task.model.norm_activation,
        )
        convert_weights(trained, backbone, source.pixels)
        tf.train.Checkpoint(backbone=backbone).write(str(folder / CHECKPOINT))

    return _Weights(write, path, ("backbone",))


def _coco(name: str, config) -> _Weights:
    path = published.fetch_weights(published.find_source(published.COCO, config, name))

    def write(folder: Path, parts: Sequence[str]) -> None:
        import tensorflow as tf

        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as scratch:
            unpack(path, Path(scratch))
            found = sorted(Path(scratch).rglob("*.index"))
            if len(found) != 1:
                raise CourseError(f"{path}: holds {len(found)} checkpoints, not one; delete it")
            stem = found[0].with_suffix("")
            for file in stem.parent.glob(f"{stem.name}.*"):
                shutil.copyfile(file, folder / file.name.replace(stem.name, CHECKPOINT, 1))
        try:
            # Every tensor is read once: the format keeps a checksum of each.
            reader = tf.train.load_checkpoint(str(folder / CHECKPOINT))
            for key in reader.get_variable_to_shape_map():
                reader.get_tensor(key)
        except (tf.errors.OpError, ValueError) as error:
            raise CourseError(f"{path}: broken ({_short(error)}); {_AGAIN}") from None

    has_pyramid = config.task.model.decoder.type != "identity"
    return _Weights(write, path, ("backbone", "decoder") if has_pyramid else ("backbone",))


_AGAIN = "delete it and try again"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:100]


def _detector(name: str, config) -> _Weights:
    place = SHIPPED if name == "shipped" else Path(name)
    if not (place / WEIGHTS).is_file():
        raise CourseError(
            f"weights: {name!r}: unknown; use scratch, shipped, imagenet, coco, or the folder of a "
            f"trained detector, which holds {WEIGHTS}"
        )
    classes = load_config(place / CONFIG).task.model.num_classes
    same = classes == config.task.model.num_classes

    def write(folder: Path, parts: Sequence[str]) -> None:
        import tensorflow as tf

        trained = load_network(place)[0].checkpoint_items
        mine = build_model(config)[1].checkpoint_items
        for part in trained if "all" in parts else parts:
            if part not in mine or _shapes(trained[part]) != _shapes(mine[part]):
                raise CourseError(
                    f"weights: {name}: its {part} is not that of this config; take the preset that "
                    "it was trained with, or other pretrained weights"
                )
        tf.train.Checkpoint(**trained).write(str(folder / CHECKPOINT))

    return _Weights(write, place / WEIGHTS, ("all",) if same else ("backbone", "decoder"))


def _shapes(layer) -> list[tuple]:
    return [tuple(weight.shape) for weight in layer.weights]
