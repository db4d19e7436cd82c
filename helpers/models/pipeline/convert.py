"""Configs of the old Object Detection API (`pipeline.config`) become Model Garden configs.

    config, report = convert("pipeline.config")

The config is the nearest preset of `models.PRESETS`, edited by what the file says. The report
has one row for each field of the file, so that nothing is lost without a word, and names the
mistakes that the file brought along.
"""

import math
import re
import sys
from pathlib import Path

from helpers.common.errors import CourseError
from helpers.models import config as configs
from helpers.models.pipeline import model as pipeline_model
from helpers.models.pipeline import prototext, training
from helpers.models.pipeline.draft import (
    APPROXIMATED,
    BUILT_IN,
    MODEL,
    PARSER,
    TAKEN,
    Draft,
    Report,
    below,
    get,
    mistaken,
    no_counterpart,
    now,
    put,
    take,
)
from helpers.models.pipeline.fields import (
    ALWAYS,
    DEFAULTS,
    EXTRACTORS,
    FALLBACK,
    SAME_FASTER_RCNN,
    SAME_SSD,
    Known,
    groups,
    nearest,
)
from helpers.models.pipeline.prototext import Enum, Leaf, show


def convert_pipeline(path: Path | str):
    """Convert a `pipeline.config` of the old API.

    What it says of the data stays as it stands: `config.for_records` fills in records of this
    course, `config.with_budget` another length. Augmentation that it does not list is off.

    Returns:
        (config, report): a Model Garden `ExperimentConfig` that `config.check` accepts, and a
        Report.

    Raises:
        CourseError: the file is missing, is not in protobuf's text format, gives a field a value
            of a wrong type or twice, or one with which nothing can train (a rate of 0), or is of
            a model without any kin in Model Garden.
    """
    draft = _open(path)
    _choose(draft)
    for step in (
        pipeline_model.classes,
        pipeline_model.levels,
        pipeline_model.size,
        pipeline_model.anchors,
        pipeline_model.layers,
        pipeline_model.losses,
        pipeline_model.detections,
        training.training,
        training.optimizer,
        training.augmentation,
        training.checkpoint,
        training.data,
        training.evaluation,
        _same,
        _rest,
    ):
        step(draft)
    config = configs.edit(configs.from_preset(draft.preset), draft.changes)
    _check(draft, config)
    rows = sorted(draft.rows.values(), key=lambda row: row.line)
    mistakes = sorted(draft.mistakes, key=lambda mistake: mistake.line or 0)
    return config, Report(draft.path, draft.preset, tuple(rows), tuple(mistakes))


def _check(draft: Draft, config) -> None:
    """As `config.check`, but name the field of the file that set the faulty key."""
    try:
        configs.check_config(config)
    except CourseError as error:
        key = str(error).split(": ")[1]
        rows = [row for row in draft.rows.values() if f"{key}:" in row.key or f"{key}," in row.key]
        place = f"{draft.path}:{rows[0].line}: {rows[0].field}" if rows else draft.path
        raise CourseError(f"{place}: {error}") from None


def _open(path: Path | str) -> Draft:
    """Read the file and hold each field against the table of known ones."""
    leaves, known = {}, {}
    for leaf in prototext.leaves(prototext.read(path)):
        known[leaf.path] = _find(leaf, path)
        leaves[leaf.path] = _typed(leaf, known[leaf.path], path)
    kinds = [name for name in groups()["Model"] if any(below(f"model.{name}", leaves))]
    if not kinds:
        raise CourseError(
            f"{path}: no model {{ ssd {{ … }} }} or model {{ faster_rcnn {{ … }} }} in it; "
            "give a pipeline.config"
        )
    if kinds[0] not in FALLBACK:
        raise CourseError(
            f"{path}:{below(f'model.{kinds[0]}', leaves)[0].line}: model.{kinds[0]} has no kin "
            f"among Model Garden's detectors here; take the preset {FALLBACK['ssd']!r}"
        )
    return Draft(str(path), kinds[0], leaves, known)


def _find(leaf: Leaf, path) -> Known | None:
    """Look the field up; None when the old API has no such field."""
    place = f"{path}:{leaf.line}: {leaf.path}"
    group, known = "Pipeline", None
    names = _names(leaf.path)
    for depth, (name, bare) in enumerate(names):
        if group == "Any":
            return known
        if group not in groups():
            raise CourseError(f"{place}: {names[depth - 1][0]} takes a value, not {{ … }}")
        known = groups()[group].get(bare)
        if known is None:
            return None
        if bare != name and not known.repeated and known.kind != "Any":
            raise CourseError(f"{place}: {bare} is given more than once; delete all but one")
        group = known.kind
    return known


def _names(path: str) -> list[tuple[str, str]]:
    """The names of a path, from the outermost, each as it stands and without its number."""
    names = re.findall(r"\[[^\]]*\]|(?:[^.\[]|\[\d+\])+", path)
    return [(name, re.sub(r"(?<=.)\[\d+\]$", "", name)) for name in names]


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
        "float": isinstance(value, (int, float)) and math.isfinite(value),
        "text": isinstance(value, str) and not isinstance(value, Enum),
        "enum": isinstance(value, (Enum, int)),
    }[kind]


def _choose(draft: Draft) -> None:
    """The preset, by the feature extractor."""
    path = f"model.{draft.kind}.feature_extractor.type"
    name = get(draft, path)
    draft.preset = FALLBACK[draft.kind]
    if name is None:
        mistaken(draft, path, f"missing: no backbone is named; the preset {draft.preset} is taken")
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
        put(draft, path, APPROXIMATED if remark else TAKEN, become, remark)
    draft.base = configs.flatten(configs.from_preset(draft.preset).as_dict())
    if f"{MODEL}.backbone.type" in draft.changes:  # its keys replace the preset's
        draft.base[f"{MODEL}.backbone.mobilenet.filter_size_scale"] = 1.0
        draft.base.pop(f"{MODEL}.backbone.resnet.depth_multiplier", None)
        draft.base.pop(f"{MODEL}.backbone.resnet.bn_trainable", None)


def _same(draft: Draft) -> None:
    """Fields that only change their name, and those that Model Garden has no choice about."""
    model = f"model.{draft.kind}"
    for path, keys in (SAME_SSD if draft.kind == "ssd" else SAME_FASTER_RCNN).items():
        take(draft, f"{model}.{path}", *keys)
        if path in DEFAULTS and below(f"{model}.{path}".rpartition(".")[0], draft.leaves):
            for key in keys:
                draft.changes.setdefault(key, DEFAULTS[path])
    high, low = f"{PARSER}.match_threshold", f"{PARSER}.unmatched_threshold"
    if draft.kind == "ssd" and now(draft, low) > now(draft, high):
        draft.changes[low] = now(draft, high)
    for path, leaf in draft.leaves.items():
        for end, value in ALWAYS.items():
            if f".{path}".endswith(f".{end}") and leaf.value == value:
                put(draft, path, TAKEN, BUILT_IN, "")


def _rest(draft: Draft) -> None:
    """What nothing above took: known fields with advice, and unknown ones."""
    for path, known in draft.known.items():
        if path in draft.rows:
            continue
        if known is None:
            guess = _guess(path)
            no_counterpart(draft, path, f"unknown to the old API; {guess}")
            mistaken(draft, path, f"no such field, the old API refuses the file; {guess}")
        elif known.advice:
            no_counterpart(draft, path, known.advice)
        elif get(draft, path) == {}:
            put(draft, path, TAKEN, BUILT_IN, "empty: the defaults")
        else:
            no_counterpart(draft, path, "not used: another setting of the file counts")


def _guess(path: str) -> str:
    """The known field that an unknown one is likely to mean."""
    group = "Pipeline"
    for _, bare in _names(path):
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
        config, report = convert_pipeline(arguments[0])
        print(report)
        if len(arguments) == 2:
            configs.save_config(config, Path(arguments[1]))
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}; name another file to write", file=sys.stderr)
        return 1
    return 0
