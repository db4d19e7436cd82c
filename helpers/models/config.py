"""Model Garden configs: take a preset, edit it strictly, see what changed, save it.

Model Garden itself silently accepts a mistyped key and trains with the default.
Here a key that does not exist is an error that names the nearest right one.
"""

import copy
import difflib
import json
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from helpers.common.artifacts import artifact
from helpers.common.errors import CourseError
from helpers.common.files import write_text
from helpers.common.yaml_files import read_yaml
from helpers.models.config_keys import meaning
from helpers.models.config_types import misfit
from helpers.models.presets import PRESETS, Preset


def from_preset(name: str):
    """Return the Model Garden `ExperimentConfig` of a preset.

    Raises:
        CourseError: `models.PRESETS` has no such name.
    """
    preset = find_preset(name)
    return edit(experiment(preset.experiment), preset.settings)


def find_preset(name: str) -> Preset:
    """Return the row of `models.PRESETS`; CourseError with the nearest name when missing."""
    if name not in PRESETS:
        raise CourseError(f"preset: {name!r} is unknown; {_nearest(name, PRESETS)}")
    return PRESETS[name]


def experiment(name: str):
    """Return an experiment of Model Garden, such as `preset.experiment`, as it is registered."""
    from official.core import exp_factory
    from official.vision.configs import maskrcnn, retinanet  # noqa: F401  (they register)

    from helpers.models.backbones import extended

    if name.startswith("ssd_"):
        from helpers.models import ssd  # noqa: F401  (it registers)

    config = exp_factory.get_exp_config(name)
    config.task.model.backbone = extended(config.task.model.backbone)
    return config


def is_two_stage(config) -> bool:
    """Return whether the config is of a Faster R-CNN (True) or an SSD (False)."""
    return hasattr(config.task.model, "roi_generator")


def edit(config, changes: Mapping[str, Any]):
    """Return a copy of `config` with `changes` made.

    Args:
        config: a Model Garden `ExperimentConfig`.
        changes: dotted key -> value, such as {"task.model.num_classes": 2}.

    Raises:
        CourseError: a key does not exist (the nearest one that does is named), or a value is of
            another type than the one it replaces.
    """
    config = copy.deepcopy(config)
    for key, value in flatten(changes).items():
        _set(config, key, value)
    return config


def _set(config, key: str, value: Any) -> None:
    _open_group(config, key)
    # Looked up for each key: choosing a type brings the keys of that type.
    known = flatten(config.as_dict())
    inside = [name for name in known if name.startswith(f"{key}.")]
    if inside:
        raise CourseError(f"config: {key} is a group; set one of its keys: {_short(inside)}")
    if key not in known:
        raise CourseError(f"config: {key!r} does not exist; {_nearest(key, known)}")
    old, declared = known[key], _declared_type(config, key)
    if isinstance(old, tuple) and isinstance(value, list):
        value = tuple(value)  # YAML has no tuples
    if type(old) is int and declared is float:
        old = float(old)  # Model Garden itself writes anchor_size=3
    if fault := misfit(value, old, declared):
        raise CourseError(f"config: {key}: {fault}")
    try:
        config.override(_nest(key, value), is_strict=True)
        if key.endswith(".type"):
            config.as_dict()  # only this looks whether there is such a type
    except (KeyError, TypeError, ValueError) as error:
        line = " ".join(str(error).split())
        raise CourseError(f"config: {key}: {value!r} does not fit here ({line})") from None


def _open_group(config, key: str) -> None:
    """Give the groups above `key` their defaults where they are None, such as aug_type's."""
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


def _group_of(config, key: str) -> tuple[Any, str]:
    """The group that the field `key` lies in, and the field's own name."""
    *groups, name = key.split(".")
    for group in groups:
        config = getattr(config, group)
    return config, name


def _declared_type(config, key: str) -> Any:
    group, name = _group_of(config, key)
    return typing.get_type_hints(type(group)).get(name)


def _nest(key: str, value: Any) -> dict[str, Any]:
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def _nearest(name: str, known: Iterable[str]) -> str:
    last = name.rsplit(".", 1)[-1]
    matches = (
        difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        or [key for key in known if key.rsplit(".", 1)[-1] == last]
        or [key for key in known if name in key]
    )
    return f"did you mean {matches[0]!r}?" if matches else f"known: {_short(known)}"


def _short(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as {dotted key: leaf}."""
    leaves = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            leaves.update(flatten(value, f"{prefix}{name}."))
        else:
            leaves[f"{prefix}{name}"] = value
    return leaves


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


def _default(config, key: str) -> Any:
    """The value that the field `key` has where nothing sets it."""
    group, name = _group_of(config, key)
    return flatten(type(group)().as_dict()).get(name)


def _readable(value: Any) -> str:
    """A value in one short line; of a long path the end, of a long list the beginning."""
    if isinstance(value, (list, tuple)):
        shown = [_readable(item) for item in value[:6]] + ["…"] * (len(value) > 6)
        return f"[{', '.join(shown)}]"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str) and len(value) > 24 and "/" in value:
        return "…/" + value.split("/")[-1]
    return "none" if value is None else str(value)


def plain(config) -> dict[str, Any]:
    """Return a config as nested dicts of what YAML and JSON know: lists for tuples, no sharing."""
    return json.loads(json.dumps(config.as_dict()))


def write_configs(records: Path, folder: Path, *, configs: Mapping[str, Any]) -> Path:
    """Write `{name: ExperimentConfig}` made for `records` as `folder`/<name>.yaml."""
    trees = {name: plain(config) for name, config in configs.items()}
    return _write_configs(records, folder, configs=trees)


@artifact("write_configs")
def _write_configs(records: Path, folder: Path, *, configs: dict[str, dict]) -> dict:
    for name, tree in configs.items():
        write_text(folder / f"{name}.yaml", yaml.safe_dump(tree, sort_keys=False))
    return {"configs": sorted(configs)}


def save_config(config, path: Path) -> None:
    """Write the config as YAML."""
    write_text(Path(path), yaml.safe_dump(plain(config), sort_keys=False))


def load_config(path: Path):
    """Read a config that `save_config` or `write_configs` wrote.

    Raises:
        CourseError: the file is missing or not YAML, or a key or value in it is wrong.
    """
    if not Path(path).exists():
        raise CourseError(f"{path}: missing; run lesson 05, which writes it")
    tree = read_yaml(path)
    task = tree.get("task") if isinstance(tree, dict) else None
    model = task.get("model") if isinstance(task, dict) else None
    if not isinstance(model, dict):
        raise CourseError(f"{path}: has no 'task' with a 'model'; save a config with lesson 05")
    config = experiment(_experiment_of(model))
    leaves = flatten(tree)
    # Types first: they decide which other keys exist.
    for key in sorted(leaves, key=lambda name: not name.endswith(".type")):
        try:
            _set(config, key, leaves[key])
        except CourseError as error:
            raise CourseError(f"{path}: {error}") from None
    return config


def _experiment_of(model: dict[str, Any]) -> str:
    """The experiment whose config has the keys of `model`."""
    if "roi_generator" in model:
        return "fasterrcnn_resnetfpn_coco"
    # Only an SSD without a pyramid has default boxes that grow from map to map.
    grows = isinstance(model.get("anchor"), dict) and "max_scale" in model["anchor"]
    return "ssd_coco" if grows else "retinanet_resnetfpn_coco"
