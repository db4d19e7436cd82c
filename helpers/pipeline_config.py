"""Configs of the old Object Detection API (`pipeline.config`) become Model Garden configs.

    config, report = convert("pipeline.config")

The config is the nearest preset of `models.PRESETS`, edited by what the file says. The report
has one row for each field of the file, so that nothing is lost without a word, and names the
mistakes that the file brought along.
"""

import math
import re
import sys
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any

from helpers import config as configs
from helpers import prototext
from helpers.annotations import read_label_map
from helpers.errors import CourseError
from helpers.models import PRESETS
from helpers.pipeline_fields import (
    ACTIVATIONS,
    ALWAYS,
    EXTRACTORS,
    FALLBACK,
    SAME_FASTER_RCNN,
    SAME_NMS,
    SAME_READER,
    SAME_SSD,
    Known,
    groups,
    nearest,
)
from helpers.prototext import Enum, Leaf, show

TAKEN = "taken over"
APPROXIMATED = "approximated"
NONE = "no counterpart"
OUTCOMES = (TAKEN, APPROXIMATED, NONE)

# The key of what Model Garden does in any case.
BUILT_IN = "built in"

_MODEL = "task.model"
_PARSER = "task.train_data.parser"
_OPTIMIZER = "trainer.optimizer_config.optimizer"
_RATE = "trainer.optimizer_config.learning_rate"
_WARMUP = "trainer.optimizer_config.warmup"
_CROPS = "ssd_random_crop|ssd_random_crop_pad|ssd_random_crop(_pad)?_fixed_aspect_ratio"
_UNSET = "PATH_TO_BE_CONFIGURED"


@dataclass(frozen=True)
class Row:
    """What became of one field of the file.

    Attributes:
        field: its path, such as "model.ssd.num_classes".
        line: where it stands, from 1.
        value: what the file says, as text.
        outcome: one of OUTCOMES.
        key: the keys of the config that it set, with their new value; "" for none.
        remark: how it was approximated, or what to do instead.
    """

    field: str
    line: int
    value: str
    outcome: str
    key: str
    remark: str


@dataclass(frozen=True)
class Mistake:
    """Something in the file that never worked; `remark` says what the config got instead.

    `line` is None for a part that is missing.
    """

    field: str
    line: int | None
    remark: str


@dataclass(frozen=True)
class Report:
    """What became of a file: its `path`, the `preset` it became, `rows` and `mistakes`."""

    path: str
    preset: str
    rows: tuple[Row, ...]
    mistakes: tuple[Mistake, ...]

    def __str__(self) -> str:
        counts = {name: sum(row.outcome == name for row in self.rows) for name in OUTCOMES}
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        lines = [f"{self.path} -> preset {self.preset}: {len(self.rows)} fields, {said}"]
        for outcome in OUTCOMES:
            rows = [row for row in self.rows if row.outcome == outcome]
            lines += [f"\n{outcome} ({len(rows)})"] * bool(rows)
            for row in rows:
                become = f" -> {row.key}" if row.key else ""
                remark = f"  ({row.remark})" if row.remark else ""
                lines.append(f"  {self.path}:{row.line}: {row.field}: {row.value}{become}{remark}")
        lines += [f"\nmistakes in the file ({len(self.mistakes)})"] * bool(self.mistakes)
        for mistake in self.mistakes:
            place = self.path if mistake.line is None else f"{self.path}:{mistake.line}"
            lines.append(f"  {place}: {mistake.field}: {mistake.remark}")
        return "\n".join(lines)


@dataclass
class _Draft:
    """A conversion under way: what the file says, what is settled, what the config gets."""

    path: str
    kind: str
    leaves: dict[str, Leaf]
    known: dict[str, Known | None]
    preset: str = ""
    base: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)


def convert(path: Path | str):
    """Convert a `pipeline.config` of the old API.

    What it says of the data stays as it stands: `config.for_records` fills in records of this
    course, `config.with_budget` another length. Augmentation that it does not list is off.

    Returns:
        (config, report): a Model Garden `ExperimentConfig` that `config.check` accepts, and a
        Report.

    Raises:
        CourseError: the file is missing, is not in protobuf's text format, gives a field a value
            of a wrong type or twice, or is of a model without any kin in Model Garden.
    """
    draft = _open(path)
    _choose(draft)
    for step in (
        _classes,
        _levels,
        _size,
        _anchors,
        _layers,
        _losses,
        _detections,
        _training,
        _optimizer,
        _augmentation,
        _checkpoint,
        _readers,
        _evaluation,
        _same,
        _rest,
    ):
        step(draft)
    config = configs.edit(configs.from_preset(draft.preset), draft.changes)
    configs.check(config)
    rows = sorted(draft.rows.values(), key=lambda row: row.line)
    mistakes = sorted(draft.mistakes, key=lambda mistake: mistake.line or 0)
    return config, Report(draft.path, draft.preset, tuple(rows), tuple(mistakes))


def _open(path: Path | str) -> _Draft:
    """Read the file and hold each field against the table of known ones."""
    leaves, known = {}, {}
    for leaf in prototext.leaves(prototext.read(path)):
        known[leaf.path] = _find(leaf, path)
        leaves[leaf.path] = _typed(leaf, known[leaf.path], path)
    kinds = [name for name in groups()["Model"] if any(_below(f"model.{name}", leaves))]
    if not kinds:
        raise CourseError(
            f"{path}: no model {{ ssd {{ … }} }} or model {{ faster_rcnn {{ … }} }} in it; "
            "give a pipeline.config"
        )
    if kinds[0] not in FALLBACK:
        raise CourseError(
            f"{path}:{_below(f'model.{kinds[0]}', leaves)[0].line}: model.{kinds[0]} has no kin "
            f"among Model Garden's detectors here; take the preset {FALLBACK['ssd']!r}"
        )
    return _Draft(str(path), kinds[0], leaves, known)


def _find(leaf: Leaf, path) -> Known | None:
    """Look the field up; None when the old API has no such field."""
    place = f"{path}:{leaf.line}: {leaf.path}"
    group, known = "Pipeline", None
    names = re.findall(r"\[[^\]]*\]|(?:[^.\[]|\[\d+\])+", leaf.path)
    for depth, name in enumerate(names):
        if group == "Any":
            return known
        bare = re.sub(r"(?<=.)\[\d+\]$", "", name)
        if group not in groups():
            raise CourseError(f"{place}: {names[depth - 1]} takes a value, not {{ … }}")
        known = groups()[group].get(bare)
        if known is None:
            return None
        if bare != name and not known.repeated and known.kind != "Any":
            raise CourseError(f"{place}: {bare} is given more than once; delete all but one")
        group = known.kind
    return known


def _typed(leaf: Leaf, known: Known | None, path) -> Leaf:
    """The leaf with its value as the type that is known, and a repeated one as a list."""
    if known is None or known.kind == "Any":
        return leaf
    place = f"{path}:{leaf.line}: {leaf.path}"
    if known.kind in groups():
        if leaf.value != {}:
            raise CourseError(f"{place}: {show(leaf.value)}: write {{ … }} after this name")
        return leaf
    values = leaf.value if isinstance(leaf.value, list) else [leaf.value]
    if len(values) > 1 and not known.repeated:
        raise CourseError(f"{place} is given more than once; delete all but one")
    if known.kind == "bool":
        words = {"t": True, "f": False, "1": True, "0": False}
        values = [words.get(str(value), value) for value in values]
    for value in values:
        if not _is(value, known.kind):
            what = {
                "int": "a whole number",
                "float": "a number",
                "bool": "true or false",
                "text": "a text in quotes",
                "enum": "a bare word",
            }[known.kind]
            raise CourseError(f"{place}: {show(value)}: give {what}")
    return leaf._replace(value=list(values) if known.repeated else values[0])


def _is(value, kind: str) -> bool:
    if isinstance(value, bool) or kind == "bool":
        return isinstance(value, bool) and kind == "bool"
    return {
        "int": isinstance(value, int),
        "float": isinstance(value, (int, float)),
        "text": isinstance(value, str) and not isinstance(value, Enum),
        "enum": isinstance(value, (Enum, int)),
    }[kind]


def _below(prefix: str, leaves: dict[str, Leaf]) -> list[Leaf]:
    """The leaves at and below a path."""
    return [
        leaf for path, leaf in leaves.items() if re.match(rf"{re.escape(prefix)}([.\[]|$)", path)
    ]


def _get(draft: _Draft, path: str, default=None):
    return draft.leaves[path].value if path in draft.leaves else default


def _now(draft: _Draft, key: str):
    """The value of a key of the config as it stands."""
    return draft.changes.get(key, draft.base.get(key))


def _row(draft: _Draft, path: str, outcome: str, key: str, remark: str) -> None:
    if path in draft.leaves and path not in draft.rows:
        leaf = draft.leaves[path]
        draft.rows[path] = Row(path, leaf.line, show(leaf.value), outcome, key, remark)


def _take(draft: _Draft, path: str, *keys: str, value=None, remark: str = "") -> None:
    """Set the keys to the field's value, or to `value`, which says the same in other words."""
    if path not in draft.leaves:
        return
    value = _get(draft, path) if value is None else value
    settled = [key for key in keys if draft.changes.get(key, value) != value]
    if settled:
        was = show(draft.changes[settled[0]])
        _row(draft, path, APPROXIMATED, settled[0], f"one for the whole model: {was} stays")
        return
    draft.changes.update(dict.fromkeys(keys, value))
    _row(draft, path, TAKEN, _shown(keys, value), remark)


def _approximate(draft: _Draft, path: str, *keys: str, value, remark: str) -> None:
    """Set the keys to what comes nearest."""
    if path in draft.leaves:
        draft.changes.update(dict.fromkeys(keys, value))
        _row(draft, path, APPROXIMATED, _shown(keys, value), remark)


def _shown(keys, value) -> str:
    return f"{', '.join(keys)}: {show(value)}"


def _none(draft: _Draft, path: str, remark: str) -> None:
    _row(draft, path, NONE, "", remark)


def _mistake(draft: _Draft, path: str, remark: str) -> None:
    leaf = draft.leaves.get(path)
    draft.mistakes.append(Mistake(path, leaf.line if leaf else None, remark))


def _choose(draft: _Draft) -> None:
    """The preset, by the feature extractor."""
    path = f"model.{draft.kind}.feature_extractor.type"
    name = _get(draft, path)
    draft.preset = FALLBACK[draft.kind]
    if name is None:
        _mistake(draft, path, f"missing: no backbone is named; the preset {draft.preset} is taken")
    else:
        place = f"{draft.path}:{draft.leaves[path].line}: {path}: {name!r}"
        family = "faster_rcnn" if name.startswith("faster_rcnn") else "ssd"
        found = [e for e in EXTRACTORS if re.fullmatch(e.pattern, name)]
        if "efficientnet" in name:
            raise CourseError(
                f"{place}: EfficientDet has no kin among Model Garden's detectors here; "
                "take the preset 'ssd_resnet50_fpn_640', or 'ssd_mobilenet_v2_fpn' for the edge"
            )
        if not found:
            raise CourseError(
                f"{place} is unknown; name one such as ssd_mobilenet_v2_fpn_keras, "
                "ssd_resnet50_v1_fpn_keras or faster_rcnn_resnet50"
            )
        if family != draft.kind:
            raise CourseError(
                f"{place} does not belong into model.{draft.kind}; move it into model.{family}"
            )
        _, draft.preset, changes, remark = found[0]
        draft.changes.update(changes)
        model = " ".join(str(value) for value in changes.values() if isinstance(value, (str, int)))
        become = f"preset {draft.preset}" + (f" with {model}" if model else "")
        _row(draft, path, APPROXIMATED if remark else TAKEN, become, remark)
    draft.base = configs.flatten(configs.from_preset(draft.preset).as_dict())
    if f"{_MODEL}.backbone.type" in draft.changes:  # its keys replace the preset's
        draft.base[f"{_MODEL}.backbone.mobilenet.filter_size_scale"] = 1.0
        draft.base.pop(f"{_MODEL}.backbone.resnet.depth_multiplier", None)
        draft.base.pop(f"{_MODEL}.backbone.resnet.bn_trainable", None)


def _classes(draft: _Draft) -> None:
    path, key = f"model.{draft.kind}.num_classes", f"{_MODEL}.num_classes"
    count = _get(draft, path)
    labels = None
    for reader in _readers_of(draft):
        name = _get(draft, f"{reader}.label_map_path")
        places = [] if name is None else [Path(name), Path(draft.path).parent / name]
        for place in (place for place in places if place.is_file() and labels is None):
            try:
                labels = max(read_label_map(place).values())
            except (CourseError, OSError, UnicodeDecodeError) as error:
                said = " ".join(str(error).split())
                _mistake(draft, f"{reader}.label_map_path", f"cannot be read: {said}")
    right = labels or max(count or 1, 1)
    if count is None or count < 1:
        said = "missing" if count is None else f"{count}: nothing to find"
        _mistake(draft, path, f"{said}; num_classes is set to {right + 1}: {right} + background")
    elif labels and labels != count:
        _mistake(
            draft,
            path,
            f"{count}, but the ids of the label map go up to {labels}; num_classes is set to "
            f"{labels + 1}, or the highest would be trained as background",
        )
    draft.changes[key] = right + 1
    if count == right:
        _take(draft, path, key, value=right + 1, remark="one more: class 0 is the background")
    else:
        _approximate(draft, path, key, value=right + 1, remark="see the mistakes")


def _levels(draft: _Draft) -> None:
    model = f"model.{draft.kind}"
    anchors = "anchor_generator" if draft.kind == "ssd" else "first_stage_anchor_generator"
    for end, low, high in (("min_level", 2, 5), ("max_level", 5, 8)):
        for part in (f"{anchors}.multiscale_anchor_generator", "feature_extractor.fpn"):
            path, key = f"{model}.{part}.{end}", f"{_MODEL}.{end}"
            level = _get(draft, path)
            if level is not None and not low <= level <= high:
                remark = f"levels from {low} to {high} can be built"
                clipped = min(high, max(low, level))
                _approximate(draft, path, key, value=clipped, remark=remark)
            _take(draft, path, key)


def _size(draft: _Draft) -> None:
    key = f"{_MODEL}.input_size"
    model = f"model.{draft.kind}.image_resizer"
    fixed, keep = f"{model}.fixed_shape_resizer", f"{model}.keep_aspect_ratio_resizer"
    stride = 2 ** _now(draft, f"{_MODEL}.max_level")
    if _below(fixed, draft.leaves):
        names = ("height", "width")
        wanted = {f"{fixed}.{name}": _get(draft, f"{fixed}.{name}", 300) for name in names}
        squeeze = draft.kind == "ssd"
        if squeeze:
            for data in ("train_data", "validation_data"):
                draft.changes[f"task.{data}.parser.keep_aspect_ratio"] = False
        how = "" if squeeze else "; images keep their shape and are padded"
    elif _below(keep, draft.leaves):
        short, long = f"{keep}.min_dimension", f"{keep}.max_dimension"
        pad = f"{keep}.pad_to_max_dimension"
        padded, most = _get(draft, pad, False), _get(draft, long, 1024)
        wanted = {short: most if padded else _get(draft, short, 600), long: most}
        how = "; images keep their shape and are padded"
        how += "" if padded else ", made for wide ones: swap the two sides for upright ones"
        _row(draft, pad, TAKEN, key if padded else BUILT_IN, "")
    else:
        if not _below(model, draft.leaves):
            stays = show(_now(draft, key))
            _mistake(draft, model, f"missing: no input size; the preset's {stays} stays")
        return
    size = [max(stride, math.ceil(side / stride) * stride) for side in wanted.values()]
    draft.changes[key] = [*size, 3]
    for (path, side), rounded in zip(wanted.items(), size, strict=True):
        outcome, remark = TAKEN, ""
        if side != rounded or how:
            outcome = APPROXIMATED
            exact = f"{side} stays" if side == rounded else f"{side} -> {rounded}"
            remark = f"{exact}: a multiple of 2^max_level = {stride}{how}"
        _row(draft, path, outcome, _shown([key], [*size, 3]), remark)


def _anchors(draft: _Draft) -> None:
    ssd = draft.kind == "ssd"
    name = "anchor_generator" if ssd else "first_stage_anchor_generator"
    model = f"model.{draft.kind}.{name}"
    anchor, level = f"{_MODEL}.anchor", 2 ** _now(draft, f"{_MODEL}.min_level")
    grid, old = f"{model}.grid_anchor_generator", f"{model}.ssd_anchor_generator"
    if _below(grid, draft.leaves):
        scales = _get(draft, f"{grid}.scales", [0.5, 1.0, 2.0])
        side = _get(draft, f"{grid}.height", 256)
        smallest = round(min(scales) * side / level, 3)
        remark = f"the smallest anchor stays {min(scales) * side:g} pixels; each level doubles it"
        key, ratios = f"{anchor}.anchor_size", f"{anchor}.aspect_ratios"
        _approximate(draft, f"{grid}.scales", key, value=smallest, remark=remark)
        for end in ("height", "width"):
            _approximate(draft, f"{grid}.{end}", key, value=smallest, remark=remark)
        if not ssd:
            return
        _take(draft, f"{grid}.aspect_ratios", ratios)
    if _below(old, draft.leaves):
        _ssd_anchors(draft, old, anchor, level)


def _ssd_anchors(draft: _Draft, old: str, anchor: str, level: int) -> None:
    """The anchors of SSD: a range of scales, as shares of the image, over the maps."""
    side = min(_now(draft, f"{_MODEL}.input_size")[:2])
    scales = _get(draft, f"{old}.scales")
    least = min(scales) if scales else _get(draft, f"{old}.min_scale", 0.2)
    size = max(1.0, round(least * side / level, 3))
    most = size * 2 ** _now(draft, f"{_MODEL}.max_level")
    remark = f"anchors from {size * level:g} to {most:g} pixels; each level doubles them"
    key = f"{anchor}.anchor_size"
    for name in ("min_scale", "scales"):
        _approximate(draft, f"{old}.{name}", key, value=size, remark=remark)
    remark += "; set task.model.max_level for another end"
    for name in ("max_scale", "num_layers"):
        _row(draft, f"{old}.{name}", APPROXIMATED, _shown([key], size), remark)
    remark = "the same shapes on all levels, and also the lowest"
    key = f"{anchor}.aspect_ratios"
    ratios = _get(draft, f"{old}.aspect_ratios")
    _approximate(draft, f"{old}.aspect_ratios", key, value=ratios, remark=remark)
    # SSD has one more square anchor, between this level's scale and the next.
    draft.changes[f"{anchor}.num_scales"] = 2
    path, key = f"{old}.interpolated_scale_aspect_ratio", f"{anchor}.num_scales"
    scales = 2 if _get(draft, path, 1.0) > 0 else 1
    _approximate(draft, path, key, value=scales, remark="a scale between the levels for all shapes")


def _layers(draft: _Draft) -> None:
    """Widths, normalisation, activation, weight decay."""
    model = f"model.{draft.kind}"
    for width in ("mobilenet.filter_size_scale", "resnet.depth_multiplier"):
        key = f"{_MODEL}.backbone.{width}"
        if key in draft.base:
            _take(draft, f"{model}.feature_extractor.depth_multiplier", key)
    frozen = f"{_MODEL}.backbone.resnet.bn_trainable"
    if frozen in draft.base:
        _take_if(draft, f"{model}.feature_extractor.batch_norm_trainable", True, frozen)
    convs = f"{model}.box_predictor.convolutional_box_predictor.num_layers_before_predictor"
    count = _get(draft, convs, 0)
    stays = _now(draft, f"{_MODEL}.head.num_convs")
    if count:
        _take(draft, convs, f"{_MODEL}.head.num_convs")
    else:
        remark = f"0 -> {stays}: one head for all levels needs layers of its own"
        _approximate(draft, convs, f"{_MODEL}.head.num_convs", value=stays, remark=remark)
    # The first that the file names counts for all: usually the feature extractor's.
    for path in list(draft.leaves):
        if path.startswith(f"{model}.") and "hyperparams." in path:
            _hyperparameter(draft, path)


def _take_if(draft: _Draft, path: str, value, *keys: str) -> None:
    if _get(draft, path) == value:
        _take(draft, path, *keys)


def _hyperparameter(draft: _Draft, path: str) -> None:
    norm = f"{_MODEL}.norm_activation"
    value = _get(draft, path)
    if path.endswith(".batch_norm.decay"):
        key, steps = f"{norm}.norm_momentum", _get(draft, "train_config.num_steps") or 0
        # The average looks back over 1 / (1 - decay) steps; ten times that and it has settled.
        longest = max(0.9, 1 - 10 / steps) if steps else 1.0
        if value > longest and key not in draft.changes:
            fits = round(longest, 4)
            remark = f"the average looks back over {1 / (1 - value or 1e-9):.0f} of {steps} steps"
            _approximate(draft, path, key, value=fits, remark=remark)
        else:
            _take(draft, path, key, remark="0.97 or less for runs of a few hundred steps")
    elif path.endswith(".batch_norm.epsilon"):
        _take(draft, path, f"{norm}.norm_epsilon")
    elif path.endswith(".l2_regularizer.weight"):
        _take(draft, path, "task.losses.l2_weight_decay", remark="for the whole model")
    elif path.endswith(".activation") and value in ACTIVATIONS:
        _take(draft, path, f"{norm}.activation", value=ACTIVATIONS[value])


def _losses(draft: _Draft) -> None:
    model = f"model.{draft.kind}"
    if draft.kind == "faster_rcnn":
        _second_stage(draft, model)
        return
    coder = f"{model}.box_coder.faster_rcnn_box_coder"
    names = {"y_scale": 10.0, "x_scale": 10.0, "height_scale": 5.0, "width_scale": 5.0}
    scales = [_get(draft, f"{coder}.{name}", default) for name, default in names.items()]
    coded = _below(coder, draft.leaves) or not _below(f"{model}.box_coder", draft.leaves)
    if coded:
        key = f"{_MODEL}.detection_generator.box_coder_weights"
        draft.changes[key] = scales
        for path in [coder, *(f"{coder}.{name}" for name in names)]:
            _row(draft, path, TAKEN, _shown([key], scales), "")
    loss = f"{model}.loss"
    _box_loss(draft, loss, coded)
    focal = f"{loss}.classification_loss.weighted_sigmoid_focal"
    _take(draft, f"{focal}.alpha", "task.losses.focal_loss_alpha")
    _take(draft, f"{focal}.gamma", "task.losses.focal_loss_gamma")
    _row(draft, focal, TAKEN, BUILT_IN, "")
    gamma = _now(draft, "task.losses.focal_loss_gamma")
    for name in ("weighted_sigmoid", "weighted_softmax"):
        remark = (
            f"focal loss with gamma {gamma:g} weighs easy background down instead of dropping it"
        )
        _row(draft, f"{loss}.classification_loss.{name}", APPROXIMATED, BUILT_IN, remark)
    for leaf in _below(f"{loss}.hard_example_miner", draft.leaves):
        _none(draft, leaf.path, "no mining: focal loss weighs easy background down")


def _box_loss(draft: _Draft, loss: str, coded: bool) -> None:
    """The smooth L1 loss of boxes, which is a Huber loss."""
    huber = f"{loss}.localization_loss.weighted_smooth_l1"
    if not (coded and _below(loss, draft.leaves)):
        remark = "stays as it is, since the box coder is another"
        _none(draft, f"{huber}.delta", remark)
        return
    delta, key = _get(draft, f"{huber}.delta", 1.0), "task.losses.huber_loss_delta"
    draft.changes[key] = delta
    for path in (huber, f"{huber}.delta"):
        _row(draft, path, TAKEN, _shown([key], delta), "")
    by_size = "model.ssd.normalize_loc_loss_by_codesize"
    box, scores = f"{loss}.localization_weight", f"{loss}.classification_weight"
    # Model Garden takes the mean over the four numbers of a box, the old API their sum.
    factor = 1 if _get(draft, by_size, False) else 4
    total = _get(draft, scores, 1.0)
    exact = factor * _get(draft, box, 1.0) / (total or 1.0)
    weight = max(1, round(exact))
    key = "task.losses.box_loss_weight"
    draft.changes[key] = weight
    why = "it takes the mean of a box's four numbers" if factor == 4 else "per score weight"
    outcome = TAKEN if weight == exact else APPROXIMATED
    remark = f"{why}: {exact:g}" + ("" if weight == exact else " -> a whole number")
    _row(draft, box, outcome, _shown([key], weight), remark)
    _row(draft, by_size, TAKEN, _shown([key], weight), "")
    if total > 0:
        _take(draft, scores, "task.losses.loss_weight", remark="of the sum of both losses")
    else:
        _none(draft, scores, "scores must be learned; the weight stays 1")


def _second_stage(draft: _Draft, model: str) -> None:
    loss = f"{model}.second_stage_classification_loss"
    key = "task.losses.frcnn_class_use_binary_cross_entropy"
    for leaf in _below(f"{loss}.weighted_sigmoid", draft.leaves):
        if leaf.value == {}:
            _take(draft, leaf.path, key, value=True)
        else:
            draft.changes[key] = True
    for leaf in _below(f"{loss}.weighted_sigmoid_focal", draft.leaves):
        _none(
            draft,
            leaf.path,
            "no focal loss in the second stage; try frcnn_class_loss_top_k_percent",
        )
    for leaf in _below(f"{model}.hard_example_miner", draft.leaves):
        remark = "no mining; task.losses.frcnn_class_loss_top_k_percent keeps the hardest regions"
        _none(draft, leaf.path, remark)
    crop, stride = f"{model}.initial_crop_size", _get(draft, f"{model}.maxpool_stride", 1)
    size = max(1, _get(draft, crop, 14) // max(1, stride))
    key = f"{_MODEL}.roi_aligner.crop_size"
    remark = f"crops are made {size} x {size} at once, without pooling"
    for path in (crop, f"{model}.maxpool_kernel_size", f"{model}.maxpool_stride"):
        _approximate(draft, path, key, value=size, remark=remark)


def _detections(draft: _Draft) -> None:
    name = "post_processing" if draft.kind == "ssd" else "second_stage_post_processing"
    model = f"model.{draft.kind}.{name}"
    nms = f"{model}.batch_non_max_suppression"
    for end, keys in SAME_NMS.items():
        _take(draft, f"{nms}.{end}", *keys)
    sigma = f"{nms}.soft_nms_sigma"
    if _get(draft, sigma, 0) > 0:
        remark = "with nms_version v1, the only one that knows it"
        _take(draft, sigma, f"{_MODEL}.detection_generator.soft_nms_sigma", remark=remark)
        draft.changes[f"{_MODEL}.detection_generator.nms_version"] = "v1"
    else:
        _row(draft, sigma, TAKEN, BUILT_IN, "")
    path, word = f"{model}.score_converter", "SIGMOID" if draft.kind == "ssd" else "SOFTMAX"
    if _get(draft, path) == word:
        _row(draft, path, TAKEN, BUILT_IN, "")
    key = f"{_MODEL}.detection_generator.use_sigmoid_probability"
    if draft.kind == "faster_rcnn" and _get(draft, path) == "SIGMOID":
        _take(draft, path, key, value=True)
    _none(draft, path, f"scores are always a {word.lower()}")


def _training(draft: _Draft) -> None:
    if not _below("train_config", draft.leaves):
        _mistake(draft, "train_config", "missing: how to train; the preset's settings are taken")
    path, key = "train_config.batch_size", "task.train_data.global_batch_size"
    batch = _get(draft, path)
    if not batch or batch < 1:
        said = "missing (the old API took 32)" if batch is None else "no images in a step"
        _mistake(draft, path, f"{said}; global_batch_size is set to 8")
        batch = 8
        _approximate(draft, path, key, value=8, remark="see the mistakes")
    else:
        _take(draft, path, key, remark="over all devices together")
    draft.changes[key] = batch
    replicas = _get(draft, "train_config.replicas_to_aggregate", 1)
    if replicas > 1 and batch % replicas:
        _mistake(
            draft,
            "train_config.replicas_to_aggregate",
            f"{replicas} replicas cannot share a batch of {batch}: these come from a TPU's config, "
            f"as does the learning rate; keep one device, and rate x {batch} / the batch it was "
            "made for",
        )
    path, key = "train_config.num_steps", "trainer.train_steps"
    steps = _get(draft, path)
    if not steps or steps < 1:
        said = "missing" if steps is None else str(steps)
        _mistake(draft, path, f"{said}: training never ends; train_steps is set to 25000")
        _approximate(draft, path, key, value=25_000, remark="see the mistakes")
        draft.changes[key] = 25_000
    else:
        _take(draft, path, key, remark="in all, also after a resume")
    path, key = "train_config.max_number_of_boxes", f"{_PARSER}.max_num_instances"
    _take(draft, path, key, "task.validation_data.parser.max_num_instances")
    path = "train_config.add_regularization_loss"
    if _get(draft, path) is False:
        draft.changes["task.losses.l2_weight_decay"] = 0.0
        _row(draft, path, TAKEN, "task.losses.l2_weight_decay: 0", "")
    _row(draft, path, TAKEN, BUILT_IN, "")
    path = "train_config.use_bfloat16"
    if _get(draft, path):
        keys = ("task.train_data.dtype", "task.validation_data.dtype")
        _take(draft, path, "runtime.mixed_precision_dtype", *keys, value="bfloat16")
    _row(draft, path, TAKEN, BUILT_IN, "")


def _optimizer(draft: _Draft) -> None:
    optimizer = "train_config.optimizer"
    names = {"momentum_optimizer": "sgd", "rms_prop_optimizer": "rmsprop", "adam_optimizer": "adam"}
    found = [name for name in names if _below(f"{optimizer}.{name}", draft.leaves)]
    if not found:
        _mistake(draft, optimizer, "missing: SGD with momentum 0.9 and a falling rate is taken")
        found = ["momentum_optimizer"]
    path, kind = f"{optimizer}.{found[0]}", names[found[0]]
    key = f"{_OPTIMIZER}.{kind}"
    draft.changes[f"{_OPTIMIZER}.type"] = kind
    # What the old API takes where the file is silent differs from Keras' own.
    defaults = {
        "sgd": {"momentum": ("momentum_optimizer_value", 0.9)},
        "rmsprop": {
            "momentum": ("momentum_optimizer_value", 0.9),
            "rho": ("decay", 0.9),
            "epsilon": ("epsilon", 1.0),
        },
        "adam": {"epsilon": ("epsilon", 1e-8)},
    }[kind]
    for end, (name, default) in defaults.items():
        draft.changes[f"{key}.{end}"] = _get(draft, f"{path}.{name}", default)
        _take(draft, f"{path}.{name}", f"{key}.{end}")
    clip = _get(draft, "train_config.gradient_clipping_by_norm", 10.0)
    draft.changes[f"{key}.global_clipnorm"] = float(clip) if clip > 0 else None
    remark = "of all gradients together" if clip > 0 else "0 clips nothing"
    shown = _shown([f"{key}.global_clipnorm"], draft.changes[f"{key}.global_clipnorm"])
    _row(draft, "train_config.gradient_clipping_by_norm", TAKEN, shown, remark)
    average = f"{optimizer}.use_moving_average"
    if _get(draft, average) is False:
        _row(draft, average, TAKEN, BUILT_IN, "")
    for name in (average, f"{optimizer}.moving_average_decay", "eval_config.use_moving_averages"):
        if _get(draft, average) is False or _get(draft, name) is False:
            _row(draft, name, TAKEN, BUILT_IN, "off")
        remark = "lesson 06 keeps no averages; Model Garden's trainer does: optimizer_config.ema"
        _none(draft, name, remark)
    _schedule(draft, f"{path}.learning_rate")


def _schedule(draft: _Draft, path: str) -> None:
    """The learning rate: one that fits the number of steps, whatever the file says."""
    steps = _now(draft, "trainer.train_steps")
    schedules = {
        "constant_learning_rate": _constant,
        "exponential_decay_learning_rate": _exponential,
        "manual_step_learning_rate": _manual,
        "cosine_decay_learning_rate": _cosine,
    }
    for name, schedule in schedules.items():
        if _below(f"{path}.{name}", draft.leaves):
            schedule(draft, f"{path}.{name}", steps)
            return
    rate = PRESETS[draft.preset].learning_rate
    _mistake(draft, path, f"missing; a cosine from the preset's rate {rate:g} is taken")
    _fall(draft, rate, steps)
    _warm(draft, rate / 10, max(1, steps // 10))


def _fall(draft: _Draft, rate: float, steps: int) -> None:
    """A cosine from `rate` to 0 over all steps, the schedule that always fits."""
    draft.changes[f"{_RATE}.type"] = "cosine"
    draft.changes[f"{_RATE}.cosine.initial_learning_rate"] = float(rate)
    draft.changes[f"{_RATE}.cosine.decay_steps"] = steps


def _warm(draft: _Draft, rate: float, steps: int) -> None:
    """A warm-up from `rate` over `steps`; none for 0 steps."""
    draft.changes[f"{_WARMUP}.type"] = "linear" if steps else None
    if steps:
        draft.changes[f"{_WARMUP}.linear.warmup_learning_rate"] = float(rate)
        draft.changes[f"{_WARMUP}.linear.warmup_steps"] = steps


def _constant(draft: _Draft, path: str, steps: int) -> None:
    rate, key = f"{path}.learning_rate", f"{_RATE}.constant.learning_rate"
    draft.changes[f"{_RATE}.type"] = "constant"
    draft.changes[key] = _get(draft, rate, 0.002)
    _take(draft, rate, key, remark="a rate that falls to 0 learns more: config.with_budget sets it")
    _row(draft, path, TAKEN, _shown([key], 0.002), "")
    _warm(draft, 0, 0)


def _exponential(draft: _Draft, path: str, steps: int) -> None:
    initial, decay = f"{path}.initial_learning_rate", f"{path}.decay_steps"
    rate, after = _get(draft, initial, 0.002), _get(draft, decay, 4_000_000)
    stairs = f"{path}.staircase"
    factor = f"{path}.decay_factor"
    fits = 0 < after < steps
    if fits:
        key = f"{_RATE}.exponential"
        draft.changes[f"{_RATE}.type"] = "exponential"
        values = {
            initial: ("initial_learning_rate", rate),
            decay: ("decay_steps", after),
            factor: ("decay_rate", _get(draft, factor, 0.95)),
            stairs: ("staircase", _get(draft, stairs, True)),
        }
        for name, (end, value) in values.items():
            draft.changes[f"{key}.{end}"] = value
            _take(draft, name, f"{key}.{end}")
    else:
        _mistake(
            draft,
            decay if decay in draft.leaves else path,
            f"the rate first falls after {after} steps, but training ends after {steps}: it never "
            f"falls; it gets a cosine from {rate:g} to 0 over {steps} steps",
        )
        _fall(draft, rate, steps)
        cosine = f"{_RATE}.cosine"
        _take(draft, initial, f"{cosine}.initial_learning_rate")
        remark = f"{after} -> {steps}: a cosine that ends with training"
        _approximate(draft, decay, f"{cosine}.decay_steps", value=steps, remark=remark)
        for name in (factor, stairs):
            _none(draft, name, "the cosine needs none")
    burn, burning = f"{path}.burnin_learning_rate", f"{path}.burnin_steps"
    warm = min(_get(draft, burning, 0), steps // 2)
    start = min(_get(draft, burn, 0.0), rate)
    _warm(draft, start, warm)
    if warm:
        linear, remark = f"{_WARMUP}.linear", "the rate rises from it in a line; it does not jump"
        _approximate(draft, burn, f"{linear}.warmup_learning_rate", value=start, remark=remark)
        _approximate(draft, burning, f"{linear}.warmup_steps", value=warm, remark=remark)
    for name in (burn, burning):
        _row(draft, name, TAKEN, BUILT_IN, "no warm-up")
    _none(draft, f"{path}.min_learning_rate", "its exponential has no floor; a cosine ends at 0")


def _manual(draft: _Draft, path: str, steps: int) -> None:
    initial, warmup = f"{path}.initial_learning_rate", f"{path}.warmup"
    first = _get(draft, initial, 0.002)
    places = sorted(
        {
            re.match(rf"{re.escape(path)}\.schedule(\[\d+\])?", leaf.path)[0]
            for leaf in _below(f"{path}.schedule", draft.leaves)
        },
        key=lambda place: int("0" + re.sub(r"\D", "", place.rpartition("schedule")[2])),
    )
    schedule = []
    for place in places:
        step, rate = _get(draft, f"{place}.step", 0), _get(draft, f"{place}.learning_rate", 0.002)
        name = f"{place}.step" if f"{place}.step" in draft.leaves else place
        if step < 1:
            _mistake(
                draft,
                name,
                f"a first step of {step} is refused by the old API since 2018; the schedule starts "
                f"with {rate:g} instead",
            )
            first = rate
        elif step >= steps:
            _mistake(
                draft, name, f"training ends after {steps} steps: this rate, {rate:g}, never comes"
            )
        elif schedule and step <= schedule[-1][0]:
            _mistake(
                draft, name, f"step {step} does not follow {schedule[-1][0]}; this rate is left out"
            )
        else:
            schedule.append((step, rate, place))
    if _get(draft, warmup) and schedule:
        step, rate, place = schedule.pop(0)
        _warm(draft, first, step)
        linear = f"{_WARMUP}.linear"
        _take(draft, initial, f"{linear}.warmup_learning_rate", value=float(first))
        _take(draft, f"{place}.step", f"{linear}.warmup_steps")
        _row(draft, warmup, TAKEN, f"{_WARMUP}.type: linear", "")
        first, initial = rate, f"{place}.learning_rate"
    else:
        _warm(draft, 0, 0)
        _row(draft, warmup, TAKEN, BUILT_IN, "no warm-up")
    if schedule:
        key, rates = f"{_RATE}.stepwise", [first, *(rate for _, rate, _ in schedule)]
        draft.changes[f"{_RATE}.type"] = "stepwise"
        draft.changes[f"{key}.boundaries"] = [step for step, _, _ in schedule]
        draft.changes[f"{key}.values"] = [float(rate) for rate in rates]
        boundaries, values = (_now(draft, f"{key}.{end}") for end in ("boundaries", "values"))
        for _, _, place in schedule:
            _row(draft, f"{place}.step", TAKEN, _shown([f"{key}.boundaries"], boundaries), "")
            _row(draft, f"{place}.learning_rate", TAKEN, _shown([f"{key}.values"], values), "")
        _row(draft, initial, TAKEN, _shown([f"{key}.values"], values), "")
    else:
        _fall(draft, first, steps)
        if not _get(draft, warmup):
            remark = f"no other rate comes before the end: a cosine to 0 over {steps} steps"
        else:
            remark = f"after the warm-up a cosine to 0 over {steps} steps"
        key = f"{_RATE}.cosine.initial_learning_rate"
        _approximate(draft, initial, key, value=float(first), remark=remark)
    for leaf in _below(f"{path}.schedule", draft.leaves):
        _none(draft, leaf.path, "see the mistakes")
    _none(draft, initial, "see the mistakes")


def _cosine(draft: _Draft, path: str, steps: int) -> None:
    base, total = f"{path}.learning_rate_base", f"{path}.total_steps"
    low, warm = f"{path}.warmup_learning_rate", f"{path}.warmup_steps"
    rate, end = _get(draft, base, 0.002), _get(draft, total, 4_000_000)
    start, rising = _get(draft, low, 0.0002), _get(draft, warm, 10_000)
    _fall(draft, rate, steps)
    key, linear = f"{_RATE}.cosine", f"{_WARMUP}.linear"
    _take(draft, base, f"{key}.initial_learning_rate", value=float(rate))
    if end == steps:
        _take(draft, total, f"{key}.decay_steps")
    else:
        why = (
            "training stops before it has fallen" if end > steps else "the last steps learn nothing"
        )
        said = f"the rate reaches 0 at step {end}, training ends at {steps}: {why}"
        where = total if total in draft.leaves else path
        _mistake(draft, where, f"{said}; decay_steps is set to {steps}")
        remark = f"{end} -> {steps}: ends with training"
        _approximate(draft, total, f"{key}.decay_steps", value=steps, remark=remark)
    if rising >= min(end, steps):
        where, fits = warm if warm in draft.leaves else path, max(1, steps // 10)
        said = f"a warm-up of {rising} steps leaves none of {min(end, steps)} to learn"
        _mistake(draft, where, f"{said}; it is set to {fits}")
        remark = f"{rising} -> {fits}: a tenth of training"
        _approximate(draft, warm, f"{linear}.warmup_steps", value=fits, remark=remark)
        rising = fits
    if rising and start > rate:
        where = low if low in draft.leaves else path
        _mistake(
            draft,
            where,
            f"a warm-up that starts at {start:g}, above the base rate {rate:g}: the old API "
            f"refuses it; it is set to {rate / 10:g}",
        )
        start = rate / 10
        remark = "a tenth of the base rate"
        _approximate(draft, low, f"{linear}.warmup_learning_rate", value=start, remark=remark)
    _warm(draft, start, rising)
    if rising:
        _take(draft, low, f"{linear}.warmup_learning_rate", value=float(start))
        _take(draft, warm, f"{linear}.warmup_steps")
    for name in (low, warm):
        _row(draft, name, TAKEN, f"{_WARMUP}.type: none", "no warm-up")
    hold = f"{path}.hold_base_rate_steps"
    if not _get(draft, hold):
        _row(draft, hold, TAKEN, BUILT_IN, "")
    _none(draft, hold, "the rate falls straight after the warm-up")


def _augmentation(draft: _Draft) -> None:
    ssd = draft.kind == "ssd"
    # Off, unless the file lists it: the presets mirror and scale.
    low, high = f"{_PARSER}.aug_scale_min", f"{_PARSER}.aug_scale_max"
    draft.changes |= {f"{_PARSER}.aug_rand_hflip": False, low: 1.0, high: 1.0}
    for path, leaf in list(draft.leaves.items()):
        step = re.match(r"train_config\.data_augmentation_options(?:\[\d+\])?\.(\w+)", path)
        if not step:
            continue
        name, end = step[1], path[step.end() + 1 :]
        if name == "random_horizontal_flip":
            draft.changes[f"{_PARSER}.aug_rand_hflip"] = True
            if not end:
                _row(draft, path, TAKEN, f"{_PARSER}.aug_rand_hflip: true", "")
            if end == "probability" and leaf.value != 0.5:
                remark = "every second image"
                _row(draft, path, APPROXIMATED, f"{_PARSER}.aug_rand_hflip: true", remark)
        elif name == "random_vertical_flip":
            if ssd:
                _none(draft, path, "RetinaNet has no vertical flip; roads seldom stand on the head")
            elif end != "keypoint_flip_permutation":
                draft.changes[f"{_PARSER}.aug_rand_vflip"] = True
                _row(draft, path, TAKEN, f"{_PARSER}.aug_rand_vflip: true", "")
        elif re.fullmatch(_CROPS, name) and ssd:
            key = f"{_PARSER}.aug_type.type"
            draft.changes[key] = "ssd_random_crop"
            plain = name == "ssd_random_crop" and not end
            remark = "" if plain else "with the crops of the SSD paper, without padding"
            outcome = TAKEN if plain else APPROXIMATED
            _row(draft, path, outcome, f"{key}: ssd_random_crop", remark)
        elif name == "random_image_scale" or re.search("crop|pad", name):
            _scale(draft, path, name, low, high)
        elif name == "autoaugment_image":
            if ssd:
                key = f"{_PARSER}.aug_type.type"
                draft.changes[key] = "autoaug"
                _row(draft, path, APPROXIMATED, f"{key}: autoaug", "with the policy v0")
            _none(
                draft, path, "Faster R-CNN's would move pixels, not boxes; aug_scale_min and _max"
            )


def _scale(draft: _Draft, path: str, name: str, low: str, high: str) -> None:
    """Random crops, padding and scales, all of which are a random zoom in Model Garden."""
    place = path[: path.rindex(name) + len(name)]
    if name == "random_image_scale":
        zoom = (
            _get(draft, f"{place}.min_scale_ratio", 0.5),
            _get(draft, f"{place}.max_scale_ratio", 2.0),
        )
    else:
        area = _get(draft, f"{place}.min_area", 0.25)
        area = area if isinstance(area, (int, float)) and area > 0 else 0.25
        # A crop of a quarter of the image doubles what it shows.
        crop = min(2.0, round(area**-0.5, 2)) if "crop" in name else 1.0
        zoom = (0.5 if "pad" in name else 1.0), crop
    draft.changes[low] = float(min(draft.changes[low], zoom[0]))
    draft.changes[high] = float(max(draft.changes[high], zoom[1]))
    key = f"{_shown([low], draft.changes[low])}, {_shown([high], draft.changes[high])}"
    remark = "a random zoom into the input size, cropped or padded; boxes follow"
    _row(draft, path, APPROXIMATED, key, remark)


def _checkpoint(draft: _Draft) -> None:
    train = "train_config"
    remark = "the old API names weights otherwise; set task.init_checkpoint to one of Model Garden"
    _none(draft, f"{train}.fine_tune_checkpoint", remark)
    key = "task.init_checkpoint_modules"
    modules = {
        "classification": "backbone",
        "detection": ["backbone", "decoder"],
        "fine_tune": ["backbone", "decoder"],
        "full": "all",
        True: ["backbone", "decoder"],
        False: "backbone",
    }
    remark = "for a task.init_checkpoint of Model Garden"
    for name in ("fine_tune_checkpoint_type", "from_detection_checkpoint"):
        path = f"{train}.{name}"
        value = _get(draft, path)
        if value in modules:
            _take(draft, path, key, value=modules[value], remark=remark)
        elif value:
            _mistake(
                draft,
                path,
                f"{value!r} is no type of checkpoint; it is classification, detection or full",
            )
            _none(draft, path, "see the mistakes")
        _none(draft, path, "no checkpoint, nothing to load")


def _readers_of(draft: _Draft) -> list[str]:
    """Paths of the readers, that of training first."""
    found = [re.match(r"eval_input_reader(\[\d+\])?", path) for path in draft.leaves]
    return list(dict.fromkeys(["train_input_reader", *(match[0] for match in found if match)]))


def _readers(draft: _Draft) -> None:
    readers = _readers_of(draft)
    end = "tf_record_input_reader.input_path"
    inputs = {name: _get(draft, f"{name}.{end}", []) for name in readers}
    for name, part in (
        ("train_input_reader", "train_data"),
        ("eval_input_reader", "validation_data"),
    ):
        mine = [reader for reader in readers if reader.startswith(name)]
        if not any(inputs.get(reader) for reader in mine):
            fix = "config.for_records names the records of lesson 04"
            _mistake(draft, f"{name}.{end}", f"missing: no records to read; {fix}")
        for number, reader in enumerate(mine):
            if number:
                for leaf in _below(reader, draft.leaves):
                    _none(draft, leaf.path, "one set for validation; evaluate others in lesson 08")
            else:
                _reader(draft, reader, f"task.{part}")
    training = set(inputs["train_input_reader"])
    for reader in readers[1:]:
        same = training & set(inputs[reader])
        if same and not any(_UNSET in name for name in same):
            _mistake(
                draft,
                f"{reader}.{end}",
                "the same file for training and evaluation: the score says nothing; "
                "config.for_records names both parts of the split",
            )
    for leaf in draft.leaves.values():
        _paths(draft, leaf)


def _reader(draft: _Draft, reader: str, data: str) -> None:
    path = f"{reader}.tf_record_input_reader.input_path"
    names = _get(draft, path, [])
    if any(_UNSET in name for name in names):
        _none(draft, path, "config.for_records names the records of lesson 04")
    elif names:
        remark = "as it stands; config.for_records names those of lesson 04"
        value = names[0] if len(names) == 1 else names
        _take(draft, path, f"{data}.input_path", value=value, remark=remark)
    remark = "records hold class numbers; config.for_records counts the classes of its label map"
    _none(draft, f"{reader}.label_map_path", remark)
    for end, key in SAME_READER.items():
        if end == "drop_remainder" or _get(draft, f"{reader}.{end}", 0) > 0:
            _take(draft, f"{reader}.{end}", f"{data}.{key}")
        else:
            stays = show(_now(draft, f"{data}.{key}"))
            _none(draft, f"{reader}.{end}", f"0 or less means nothing; {stays} stays")
    shuffle, key = f"{reader}.shuffle", f"{data}.shuffle_buffer_size"
    if data == "task.train_data" and _get(draft, shuffle) is False:
        remark = "a buffer of one image: but shuffled training learns better"
        _approximate(draft, shuffle, key, value=1, remark=remark)
    elif data == "task.train_data" or _get(draft, shuffle) is False:
        _row(draft, shuffle, TAKEN, BUILT_IN, "")
    _none(draft, shuffle, "validation reads in order; the score is the same")


def _paths(draft: _Draft, leaf: Leaf) -> None:
    """Paths that were never filled in, or of another machine."""
    names = leaf.value if isinstance(leaf.value, list) else [leaf.value]
    for name in names:
        if not isinstance(name, str) or isinstance(name, Enum):
            continue
        if _UNSET in name:
            what = "weights" if "checkpoint" in leaf.path else "files"
            fix = (
                "set task.init_checkpoint, or train from nothing"
                if what == "weights"
                else "config.for_records names the records of lesson 04"
            )
            _mistake(draft, leaf.path, f"{name!r} was never replaced; {fix}")
            return
        if re.match(r"/|~|[A-Za-z]:[\\/]", name) and not glob(f"{_shards(name)}*"):
            _mistake(
                draft,
                leaf.path,
                f"{name!r} is a path of another machine; write it relative to the course's folder",
            )
            return


def _shards(name: str) -> str:
    """A path whose shards (`?????`) still match, but nothing else does."""
    return re.sub(r"\[", "[[]", name)


def _evaluation(draft: _Draft) -> None:
    path, key = "eval_config.batch_size", "task.validation_data.global_batch_size"
    batch = _get(draft, path) or _now(draft, "task.train_data.global_batch_size")
    draft.changes[key] = batch
    _take(draft, path, key, value=batch)
    examples, most = "eval_config.num_examples", "eval_config.max_evals"
    count, evaluations = _get(draft, examples), _get(draft, most, 0)
    if count:
        batches = math.ceil(count / batch)
        remark = f"{count} images are {batches} batches of {batch}; -1 counts all there are"
        _approximate(draft, examples, "trainer.validation_steps", value=batches, remark=remark)
    else:
        draft.changes["trainer.validation_steps"] = -1
        _row(draft, examples, TAKEN, "trainer.validation_steps: -1", "all images")
    if evaluations and count:
        _mistake(
            draft,
            most,
            f"evaluation stops for good after {evaluations} times ({count} images each), and no "
            "later checkpoint gets a score; Model Garden evaluates until training ends",
        )
        _none(draft, most, "see the mistakes")
    path, sets = "eval_config.metrics_set", _get(draft, "eval_config.metrics_set", [])
    if sets and all(name.startswith("coco_detection") for name in sets):
        _take(draft, path, "task.use_coco_metrics", value=True)
    else:
        _none(draft, path, "it has COCO metrics only; AP50 is nearest to PASCAL's mAP")
    path = "eval_config.num_visualizations"
    shown = (_get(draft, path) or 0) > 0
    remark = "in Model Garden's own trainer; lesson 08 draws them here"
    _approximate(draft, path, "task.allow_image_summary", value=shown, remark=remark)
    path, remark = "eval_config.include_metrics_per_category", "needs a changed pycocotools"
    _take(draft, path, "task.per_category_metrics", remark=remark)


def _same(draft: _Draft) -> None:
    """Fields that only change their name, and those that Model Garden has no choice about."""
    model = f"model.{draft.kind}"
    for path, keys in (SAME_SSD if draft.kind == "ssd" else SAME_FASTER_RCNN).items():
        _take(draft, f"{model}.{path}", *keys)
    high, low = f"{_PARSER}.match_threshold", f"{_PARSER}.unmatched_threshold"
    if draft.kind == "ssd" and _now(draft, low) > _now(draft, high):
        draft.changes[low] = _now(draft, high)
    for path, leaf in draft.leaves.items():
        for end, value in ALWAYS.items():
            if f".{path}".endswith(f".{end}") and leaf.value == value:
                _row(draft, path, TAKEN, BUILT_IN, "")


def _rest(draft: _Draft) -> None:
    """What nothing above took: known fields with advice, and unknown ones."""
    for path, known in draft.known.items():
        if path in draft.rows:
            continue
        if known is None:
            guess = _guess(path)
            _none(draft, path, f"unknown to the old API; {guess}")
            _mistake(draft, path, f"no such field, the old API refuses the file; {guess}")
        elif known.advice:
            _none(draft, path, known.advice)
        elif _get(draft, path) == {}:
            _row(draft, path, TAKEN, BUILT_IN, "empty: the defaults")
        else:
            _none(draft, path, "not used: another setting in the file counts instead of it")


def _guess(path: str) -> str:
    """The known field that an unknown one is likely to mean."""
    group = "Pipeline"
    for name in re.findall(r"\[[^\]]*\]|(?:[^.\[]|\[\d+\])+", path):
        bare = re.sub(r"(?<=.)\[\d+\]$", "", name)
        known = groups().get(group, {}).get(bare)
        if known is None:
            return nearest(bare, group)
        group = known.kind
    return ""


def main(arguments: list[str]) -> int:
    """`python -m helpers.pipeline_config pipeline.config [out.yaml]`"""
    if len(arguments) not in (1, 2):
        print("python -m helpers.pipeline_config pipeline.config [out.yaml]", file=sys.stderr)
        return 2
    try:
        config, report = convert(arguments[0])
        print(report)
        if len(arguments) == 2:
            configs.save(config, Path(arguments[1]))
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}; name another file to write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
