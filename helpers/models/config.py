"""Model Garden configs: take a preset, edit it strictly, see what changed, save it.

Model Garden itself accepts a mistyped key without a word and trains with the default.
Here a key that does not exist is an error that names the nearest right one.
"""

import copy
import difflib
import json
import math
import typing
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from helpers.annotations.label_map import read_label_map
from helpers.common.artifacts import artifact, read_manifest
from helpers.common.errors import CourseError
from helpers.common.files import write_text
from helpers.models import config as configs
from helpers.models import config_check
from helpers.models.config_keys import meaning
from helpers.models.presets import PRESETS, Preset


def from_preset(name: str):
    """Return the Model Garden `ExperimentConfig` of the preset `name`.

    Raises CourseError for a name that is not in `models.PRESETS`.
    """
    preset = find_preset(name)
    return edit(experiment(preset), preset.settings)


def experiment(preset: Preset):
    """Return the Model Garden experiment that `preset` starts from, as it is registered."""
    return _experiment(preset.experiment)


def find_preset(name: str) -> Preset:
    """Return the row of `models.PRESETS`; CourseError with the nearest name when missing."""
    if name not in PRESETS:
        raise CourseError(f"preset: {name!r} is unknown; {_nearest(name, PRESETS)}")
    return PRESETS[name]


def edit(config, changes: Mapping[str, Any]):
    """Return a copy of `config` with `changes` made.

    Args:
        config: a Model Garden `ExperimentConfig`.
        changes: dotted key -> value, such as {"task.model.num_classes": 2}.

    Raises CourseError for a key that does not exist (with the nearest one that does) and for
    a value of another type than the one it replaces.
    """
    config = copy.deepcopy(config)
    for key, value in flatten(changes).items():
        _set(config, key, value)
    return config


def _set(config, key: str, value) -> None:
    _open_group(config, key)
    # Looked up for each key: choosing a type brings the keys of that type.
    known = flatten(config.as_dict())
    _check_key(key, known)
    old = known.get(key)
    if _is_branch(key, known):
        leaves = [name for name in known if name.startswith(f"{key}.")]
        raise CourseError(f"config: {key} is a group; set one of its keys: {_short(leaves)}")
    if isinstance(old, tuple) and isinstance(value, list):
        value = tuple(value)  # YAML has no tuples
    if type(old) is int and _annotation(config, key) is float:
        old = float(old)  # Model Garden itself writes anchor_size=3
    # One word or a list of words, such as init_checkpoint_modules.
    either = {str, list} <= {
        typing.get_origin(kind) or kind for kind in typing.get_args(_annotation(config, key))
    }
    fits = isinstance(value, str | list | tuple) if either else _same_type(old, value)
    if old is not None and value is not None and not fits:
        raise CourseError(
            f"config: {key}: {value!r} is of type {type(value).__name__}; "
            f"give {type(old).__name__}, such as {old!r}"
        )
    try:
        config.override(_nest(key, value), is_strict=True)
        if key.endswith(".type"):
            config.as_dict()  # only this looks whether there is such a type
    except (KeyError, TypeError, ValueError) as error:
        line = " ".join(str(error).split())
        raise CourseError(f"config: {key}: {value!r} does not fit here ({line})") from None


def _annotation(config, key: str):
    """The declared type of the field `key`."""
    *groups, name = key.split(".")
    for group in groups:
        config = getattr(config, group)
    return typing.get_type_hints(type(config)).get(name)


def _open_group(config, key: str) -> None:
    """Give the group that `key` lies in its defaults, where it is None, such as aug_type's."""
    for name in key.split(".")[:-1]:
        kind = typing.get_type_hints(type(config)).get(name)
        if kind is None:
            return
        if getattr(config, name) is None:
            groups = [part for part in typing.get_args(kind) if hasattr(part, "as_dict")]
            if not groups:
                return
            setattr(config, name, groups[0]())
        config = getattr(config, name)


def for_records(config, records: Path, *, seed: int = 0):
    """Return `config` with the record files, the number of classes and the seed filled in.

    Args:
        records: folder written by lesson 04 or 05.
        seed: of the weights, the shuffling and the augmentation.
    """
    counts = read_manifest(records)["counts"]
    # Model Garden reads 100 objects of an image; a Faster R-CNN takes others for background.
    most = max(100, *(_most_objects(records / f"{split}.json") for split in ("train", "val")))
    return edit(
        config,
        {
            "task.train_data.parser.max_num_instances": most,
            "task.validation_data.parser.max_num_instances": most,
            # One more than there are classes: 0 is the background. The highest id counts: one
            # beyond num_classes would be trained as background, without a word.
            "task.model.num_classes": max(read_label_map(records / "label_map.pbtxt").values()) + 1,
            "task.train_data.input_path": str(records / "train-*.tfrecord"),
            # All of a small set, so that every batch is drawn from all clips.
            "task.train_data.shuffle_buffer_size": min(10_000, counts["train"]["images"]),
            "task.train_data.seed": seed,
            "task.validation_data.input_path": str(records / "val-*.tfrecord"),
            # Model Garden's RetinaNet drops the last, partial batch: those images would
            # silently not count.
            "task.validation_data.drop_remainder": False,
            "task.annotation_file": str(records / "val.json"),
        },
    )


def _most_objects(annotation_file: Path) -> int:
    objects = Counter(a["image_id"] for a in json.loads(annotation_file.read_text())["annotations"])
    return max(objects.values(), default=0)


def with_budget(
    config,
    *,
    train_steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
):
    """Return `config` with another length, batch size or rate; None keeps what is there.

    The learning rate warms up over the first tenth of the run and then falls as a cosine, to
    reach zero at its end: the schedule always fits the length.

    Args:
        train_steps: steps in all, also after a resume.
        batch_size: images a step.
        learning_rate: the highest rate, reached after the warm-up.
    """
    cosine = "trainer.optimizer_config.learning_rate.cosine"
    warmup = "trainer.optimizer_config.warmup.linear"
    schedule = config.trainer.optimizer_config.learning_rate.cosine
    steps = config.trainer.train_steps if train_steps is None else train_steps
    rate = schedule.initial_learning_rate if learning_rate is None else learning_rate
    batch = config.task.train_data.global_batch_size if batch_size is None else batch_size
    kind = config.trainer.optimizer_config.learning_rate.type
    if config.task.freeze_backbone and kind == "step_cosine_with_offset":
        raise CourseError(
            "config: has two stages already, and a single schedule would leave its backbone frozen "
            "for ever; call with_budget first, training.staged after it"
        )
    if rate is None or rate <= 0:
        raise CourseError(f"config: learning_rate: {rate}; give a rate above 0, such as 0.04")
    config = edit(
        config,
        {
            "task.train_data.global_batch_size": batch,
            "task.validation_data.global_batch_size": batch,
            "trainer.train_steps": steps,
            # A converted pipeline.config may have another schedule.
            "trainer.optimizer_config.learning_rate.type": "cosine",
            "trainer.optimizer_config.warmup.type": "linear",
            f"{cosine}.initial_learning_rate": float(rate),
            f"{cosine}.decay_steps": steps,
            f"{warmup}.warmup_steps": min(max(1, steps // 10), max(0, steps - 1)),
            f"{warmup}.warmup_learning_rate": rate / 10,
        },
    )
    check_config(config)
    return config


def anchor_size(config, records: Path) -> float:
    """Return the `anchor_size` whose smallest anchor is as large as the smallest objects.

    An anchor on the level with stride s has the area of a square of anchor_size * s pixels. Of the
    objects that count, 19 of 20 are at least as large as the smallest anchor. From 1 to 4, the
    range of sizes in use.

    Args:
        config: with the input size and levels of the detector.
        records: folder written by lesson 04, whose train.json is read.
    """
    height, width, _ = config.task.model.input_size
    data = json.loads((records / "train.json").read_text())
    scale = {
        image["id"]: min(height / image["height"], width / image["width"])
        for image in data["images"]
    }
    sides = [
        math.sqrt(a["area"]) * scale[a["image_id"]]
        for a in data["annotations"]
        if not a.get("iscrowd")
    ]
    smallest = sorted(sides)[len(sides) // 20] if sides else 0
    return min(4.0, max(1.0, round(smallest / 2**config.task.model.min_level, 1)))


def check_config(config) -> None:
    """Raise CourseError for the first setting that would fail, or spoil training, only later.

    Where `task.train_data.input_path` lies in a folder of records with a manifest, these count too.
    """
    for fault in config_check.faults(config):
        raise CourseError(fault)


def check_folder(config, folder: Path) -> None:
    """Raise CourseError when Model Garden's own trainer would go on with another training.

    `python -m official.vision.train --model_dir=<folder>` resumes from any checkpoint in the
    folder, and then ignores `task.init_checkpoint`, both without a word. `training.train` of the
    course needs no such check: it sets the folder aside.
    """
    folder, kept = Path(folder), Path(folder) / "params.yaml"
    if not (folder / "checkpoint").is_file():
        return
    if not kept.is_file():
        raise CourseError(
            f"{folder}: holds a checkpoint, and no params.yaml says of which config; Model Garden "
            "would go on from it without a word; give a new folder"
        )
    changed = [key for key, _, _ in difference(load_config(kept), config)]
    if changed:
        raise CourseError(
            f"{folder}: was trained with another config ({_short(changed)}); Model Garden would go "
            "on from its weights without a word; give a new folder"
        )


def difference(before, after) -> list[tuple[str, Any, Any]]:
    """Return the rows (dotted key, value before, value after) in which two configs differ."""
    old, new = flatten(before.as_dict()), flatten(after.as_dict())
    return [
        (key, old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def difference_table(before, after):
    """Return `difference` to read: a DataFrame of the columns before, after, what it does.

    The index holds the keys. Where another type was chosen (of an optimizer, a schedule, …), the
    settings of the old one and the defaults of the new one are left out.
    """
    import pandas as pd

    old, new = flatten(before.as_dict()), flatten(after.as_dict())
    rows = {
        key: (_readable(first) if key in old else "-", _readable(last), meaning(key))
        for key, first, last in difference(before, after)
        if key in new and (key in old or last != _default(after, key))
    }
    columns = ["before", "after", "what it does"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("key")


def _default(config, key: str):
    """The value that the field `key` has where nothing sets it."""
    *groups, name = key.split(".")
    for group in groups:
        config = getattr(config, group)
    return flatten(type(config)().as_dict()).get(name)


def _readable(value) -> str:
    """A value in one short line; of a long path the end, of a long list the beginning."""
    if isinstance(value, (list, tuple)):
        shown = [_readable(item) for item in value[:6]] + ["…"] * (len(value) > 6)
        return f"[{', '.join(shown)}]"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str) and len(value) > 24 and "/" in value:
        return "…/" + value.split("/")[-1]
    return "none" if value is None else str(value)


def flatten(tree: Mapping, prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as {dotted key: leaf}."""
    leaves = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            leaves.update(flatten(value, f"{key}."))
        else:
            leaves[key] = value
    return leaves


def write_configs(records: Path, folder: Path, *, configs: Mapping[str, Any]) -> Path:
    """Write `{name: ExperimentConfig}` made for `records` as `folder`/<name>.yaml."""
    trees = {name: _plain(config.as_dict()) for name, config in configs.items()}
    return _write_configs(records, folder, configs=trees)


@artifact("write_configs")
def _write_configs(records: Path, folder: Path, *, configs: dict[str, dict]) -> dict:
    for name, tree in configs.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return {"configs": sorted(configs)}


def save_config(config, path: Path) -> None:
    """Write the config as YAML."""
    write_text(Path(path), yaml.safe_dump(_plain(config.as_dict()), sort_keys=False))


def load_config(path: Path):
    """Read a config that `save` wrote. CourseError when it is missing, broken or mistyped."""
    try:
        tree = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise CourseError(f"{path}: missing; run lesson 05, which writes it") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise CourseError(f"{path}: not YAML: {line}; correct that line") from None
    model = tree
    for name in ("task", "model"):
        model = model.get(name) if isinstance(model, dict) else None
    if not isinstance(model, dict):
        raise CourseError(f"{path}: has no 'task' with a 'model'; save a config with lesson 05")
    if "roi_generator" in model:
        experiment = "fasterrcnn_resnetfpn_coco"
    else:
        # Only an SSD without a pyramid has default boxes that grow from map to map.
        experiment = "ssd_coco" if "max_scale" in model["anchor"] else "retinanet_resnetfpn_coco"
    config = _experiment(experiment)
    leaves = flatten(tree)
    # Types first: they decide which other keys exist.
    for key in sorted(leaves, key=lambda name: not name.endswith(".type")):
        try:
            _set(config, key, leaves[key])
        except CourseError as error:
            raise CourseError(f"{path}: {error}") from None
    return config


def is_two_stage(config) -> bool:
    """Whether the config is of a Faster R-CNN (True) or an SSD (False)."""
    return hasattr(config.task.model, "roi_generator")


def _experiment(name: str):
    from official.core import exp_factory
    from official.vision.configs import maskrcnn, retinanet  # noqa: F401  (they register)

    from helpers.models.backbones import extended

    if name.startswith("ssd_"):
        from helpers.models import ssd  # noqa: F401  (it registers)

    config = exp_factory.get_exp_config(name)
    config.task.model.backbone = extended(config.task.model.backbone)
    return config


def _check_key(key: str, known: Mapping) -> None:
    if key not in known and not _is_branch(key, known):
        raise CourseError(f"config: {key!r} does not exist; {_nearest(key, known)}")


def _is_branch(key: str, known: Mapping) -> bool:
    return any(name.startswith(f"{key}.") for name in known)


def _same_type(old, value) -> bool:
    if isinstance(old, bool) or isinstance(value, bool):
        return isinstance(old, bool) and isinstance(value, bool)
    if isinstance(old, (int, float)):
        # An int is a fine value for a float, not the other way round.
        return isinstance(value, int) or (isinstance(old, float) and isinstance(value, float))
    if isinstance(old, (list, tuple)):
        return isinstance(value, (list, tuple))
    return isinstance(value, (str, list, tuple)) if isinstance(old, str) else True


def _nest(key: str, value) -> dict:
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def _nearest(name: str, known) -> str:
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not matches:
        last = name.rsplit(".", 1)[-1]
        matches = [key for key in known if key.rsplit(".", 1)[-1] == last][:1]
    if not matches:
        matches = [key for key in known if name in key][:1]
    if matches:
        return f"did you mean {matches[0]!r}?"
    return f"known: {_short(known)}"


def _short(names) -> str:
    names = sorted(names)
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")


def _plain(value):
    """Tuples and numpy numbers as YAML's own types."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def at_training_size(config):
    """Return `config` with the input size it trains at: a tile's, where its records hold tiles."""
    tile = read_manifest(Path(config.task.train_data.input_path).parent)["counts"].get("tile")
    return configs.edit(config, {"task.model.input_size": [tile, tile, 3]}) if tile else config
