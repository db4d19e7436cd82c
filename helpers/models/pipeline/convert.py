"""Configs of the old Object Detection API (`pipeline.config`) become Model Garden

    config, report = convert_pipeline("pipeline.config")

The config is the nearest preset of `models.PRESETS`, edited by what the file says. The report
has one row for each field of the file, so that nothing is lost silently, and names the
mistakes that the file brought along.
"""

import re
import sys
from pathlib import Path

from helpers.common import prototext
from helpers.common.errors import CourseError
from helpers.common.files import read_text
from helpers.models.config import edit, flatten, from_preset, save_config
from helpers.models.config_check import check_config
from helpers.models.pipeline import data, losses, model, training
from helpers.models.pipeline.draft import (
    APPROXIMATED,
    MODEL,
    PARSER,
    TAKEN,
    Draft,
    Report,
    leaves_below,
)
from helpers.models.pipeline.fields import (
    counterparts,
    find_extractor,
    find_field,
    guess_field,
    messages,
    typed,
)

_STRING = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""")
_ESCAPE = re.compile(
    r"\\([0-3][0-7]{2}|.)"
)  # the escapes of a string; three octal digits are a byte


def convert_pipeline(path: Path | str) -> tuple:
    """Convert a `pipeline.config` of the old API.

    What it says of the data stays as it stands: `models.for_records` fills in records of this
    course, `models.with_budget` another length. Augmentation that it does not list is off.

    Returns:
        (config, report): a Model Garden `ExperimentConfig` that `models.check_config` accepts, and
        a `Report`.

    Raises:
        CourseError: the file is missing, is not in protobuf's text format, gives a field a value
            of a wrong type or twice, or one with which nothing can train (a rate of 0), or is of
            a model without any kin in Model Garden.
    """
    draft = _open(path)
    _choose_preset(draft)
    for rule in (
        data.backslashes,
        model.classes,
        model.levels,
        model.size,
        model.anchors,
        model.layers,
        losses.losses,
        model.detections,
        training.training,
        training.optimizer,
        training.augmentation,
        training.checkpoint,
        data.data,
        training.evaluation,
        _same_value,
        _built_in,
        _rest,
    ):
        rule(draft)
    config = edit(from_preset(draft.preset), draft.changes)
    _check(draft, config)
    rows = sorted(draft.rows.values(), key=lambda row: row.line)
    mistakes = sorted(draft.mistakes, key=lambda mistake: mistake.line or 0)
    return config, Report(draft.path, draft.preset, tuple(rows), tuple(mistakes))


def _check(draft: Draft, config) -> None:
    """As `check_config`, but name the field of the file that set the faulty key."""
    try:
        check_config(config)
    except CourseError as error:
        key = str(error).split(": ")[1]
        rows = [row for row in draft.rows.values() if f"{key}:" in row.key or f"{key}," in row.key]
        place = f"{draft.path}:{rows[0].line}: {rows[0].field}" if rows else draft.path
        raise CourseError(f"{place}: {error}") from None


def _open(path: Path | str) -> Draft:
    """Read the file and hold each field against the table of known ones."""
    if not Path(path).exists():
        raise CourseError(f"{path}: missing; give the path of a pipeline.config")
    try:
        text = read_text(path)
    except CourseError as error:
        if "not UTF-8" not in str(error):
            raise
        raise CourseError(f"{error}; a checkpoint or a frozen graph is no config") from None
    leaves, known = {}, {}
    for leaf in prototext.leaves(prototext.parse(_escaped(text), str(path))):
        known[leaf.path] = find_field(leaf, path)
        leaves[leaf.path] = typed(leaf, known[leaf.path], path)
    kinds = [name for name in messages()["Model"] if leaves_below(f"model.{name}", leaves)]
    if not kinds:
        raise CourseError(
            f"{path}: no model {{ ssd {{ … }} }} or model {{ faster_rcnn {{ … }} }} in it; "
            "give a pipeline.config"
        )
    kind, presets = kinds[0], counterparts("fallback")
    if kind not in presets:
        line = leaves_below(f"model.{kind}", leaves)[0].line
        raise CourseError(
            f"{path}:{line}: model.{kind} has no kin among Model Garden's detectors here; "
            f"take the preset {presets['ssd']!r}"
        )
    return Draft(str(path), kind, leaves, known)


def _escaped(text: str) -> str:
    r"""`text` with backslashes as they were meant: "annotations\train.record" holds no tab.

    Where a string has an escape that no program writes into a path, its backslashes are doubled.
    """

    def meant(match: re.Match) -> str:
        string = match[0]
        meaningful = all(len(end) == 3 or end in "\\'\"" for end in _ESCAPE.findall(string))
        if string.startswith("#") or meaningful:
            return string
        return _ESCAPE.sub(lambda pair: pair[0] if pair[1] in "\\'\"" else f"\\{pair[0]}", string)

    return _STRING.sub(meant, text)


def _choose_preset(draft: Draft) -> None:
    """The preset, by the feature extractor."""
    path = f"model.{draft.kind}.feature_extractor.type"
    name = draft.get(path)
    draft.preset = counterparts("fallback")[draft.kind]
    if name is None:
        said = f"missing: no backbone is named; the preset {draft.preset} is taken"
        draft.note_mistake(path, said)
    else:
        found = _extractor(draft, path, name)
        draft.preset = found.preset
        draft.changes.update(found.changes)
        beyond = " ".join(str(value) for value in found.changes.values())
        become = f"preset {draft.preset}" + (f" with {beyond}" if beyond else "")
        draft.record(path, APPROXIMATED if found.remark else TAKEN, become, found.remark)
    draft.base = flatten(from_preset(draft.preset).as_dict())
    if f"{MODEL}.backbone.type" in draft.changes:  # its keys replace the preset's
        draft.base[f"{MODEL}.backbone.mobilenet.filter_size_scale"] = 1.0
        draft.base.pop(f"{MODEL}.backbone.resnet.depth_multiplier", None)
        draft.base.pop(f"{MODEL}.backbone.resnet.bn_trainable", None)


def _extractor(draft: Draft, path: str, name: str):
    place = f"{draft.path}:{draft.leaves[path].line}: {path}: {name!r}"
    if "efficientnet" in name:
        raise CourseError(
            f"{place}: EfficientDet has no kin among Model Garden's detectors here; "
            "take the preset 'ssd_resnet50_fpn_640', or 'ssd_mobilenet_v2_fpn' for the edge"
        )
    found = find_extractor(name)
    if found is None:
        raise CourseError(
            f"{place} is unknown; name one such as ssd_mobilenet_v2_fpn_keras, "
            "ssd_resnet50_v1_fpn_keras or faster_rcnn_resnet50"
        )
    family = "faster_rcnn" if name.startswith("faster_rcnn") else "ssd"
    if family != draft.kind:
        raise CourseError(
            f"{place} does not belong into model.{draft.kind}; move it into model.{family}"
        )
    return found


def _same_value(draft: Draft) -> None:
    """Fields that only change their name."""
    prefix, defaults = f"model.{draft.kind}", counterparts("defaults")
    for path, keys in counterparts(draft.kind).items():
        draft.take(f"{prefix}.{path}", *keys)
        if path in defaults and draft.below(f"{prefix}.{path}".rpartition(".")[0]):
            for key in keys:
                draft.changes.setdefault(key, defaults[path])
    high, low = f"{PARSER}.match_threshold", f"{PARSER}.unmatched_threshold"
    if draft.kind == "ssd" and draft.setting(low) > draft.setting(high):
        draft.changes[low] = draft.setting(high)


def _built_in(draft: Draft) -> None:
    """Fields that ask for what Model Garden does in any case."""
    for path, leaf in draft.leaves.items():
        for end, value in counterparts("built_in").items():
            if f".{path}".endswith(f".{end}") and leaf.value == value:
                draft.built_in(path)


def _rest(draft: Draft) -> None:
    """What nothing above took: known fields with advice, and unknown ones."""
    for path, known in draft.known.items():
        if path in draft.rows:
            continue
        if known is None:
            guess = guess_field(path)
            draft.no_counterpart(path, f"unknown to the old API; {guess}")
            draft.note_mistake(path, f"no such field, the old API refuses the file; {guess}")
        elif known.advice:
            draft.no_counterpart(path, known.advice)
        elif draft.get(path) == {}:
            draft.built_in(path, "empty: the defaults")
        else:
            draft.no_counterpart(path, "not used: another setting of the file counts")


def main(arguments: list[str]) -> int:
    """`python -m helpers.pipeline_config pipeline.config [out.yaml]`; return the exit status."""
    if len(arguments) not in (1, 2):
        print("python -m helpers.pipeline_config pipeline.config [out.yaml]", file=sys.stderr)
        return 2
    try:
        config, report = convert_pipeline(arguments[0])
        print(report)
        if len(arguments) == 2:
            save_config(config, Path(arguments[1]))
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}; name another file to write", file=sys.stderr)
        return 1
    return 0
