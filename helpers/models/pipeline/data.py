"""Rules for the data that a `pipeline.config` names: records, label maps, weights, their paths."""

import re
from glob import glob

from helpers.common.prototext import Enum, Leaf, show
from helpers.models.pipeline.draft import Draft
from helpers.models.pipeline.fields import counterparts

_UNSET = "PATH_TO_BE_CONFIGURED"
_ELSEWHERE = r"/|~|[A-Za-z]:[\\/]"  # how a path begins that counts from no folder of this project
# What to do about such a path where no corrected one would be of use.
_FIXES = {
    "fine_tune_checkpoint": "its weights would not fit in any case, set task.init_checkpoint",
    "label_map_path": "the classes are not counted there, models.for_records counts yours",
}


def backslashes(draft: Draft) -> None:
    """Paths of Windows, written with slashes."""
    for path, leaf in draft.leaves.items():
        several = isinstance(leaf.value, list)
        names = leaf.value if several else [leaf.value]
        written = [name.replace("\\", "/") if type(name) is str else name for name in names]
        if written == names:
            continue
        draft.leaves[path] = leaf._replace(value=written if several else written[0])
        old, new = next(pair for pair in zip(names, written, strict=True) if pair[0] != pair[1])
        if not re.match(_ELSEWHERE, new):  # of those `_paths` says what to do
            remark = f"'{old}': a backslash begins an escape here (\\t is a tab); write '{new}'"
            draft.note_mistake(path, remark)


def data(draft: Draft) -> None:
    """Records, label maps, and how they are read."""
    names = draft.readers()
    end = "tf_record_input_reader.input_path"
    inputs = {name: draft.get(f"{name}.{end}", []) for name in names}
    for name, part in (
        ("train_input_reader", "train_data"),
        ("eval_input_reader", "validation_data"),
    ):
        mine = [reader for reader in names if reader.startswith(name)]
        if not any(inputs.get(reader) for reader in mine):
            fix = "models.for_records names the records of lesson 04"
            draft.note_mistake(f"{name}.{end}", f"missing: no records to read; {fix}")
        for number, reader in enumerate(mine):
            if number:
                for leaf in draft.below(reader):
                    draft.no_counterpart(leaf.path, "one set here; evaluate others in lesson 08")
            else:
                _reader(draft, reader, f"task.{part}")
    training = set(inputs["train_input_reader"])
    for reader in names[1:]:
        same = training & set(inputs[reader])
        if same and not any(_UNSET in path for path in same):
            draft.note_mistake(
                f"{reader}.{end}",
                "the same file for training and evaluation: the score says nothing; "
                "models.for_records names both parts of the split",
            )
    for leaf in draft.leaves.values():
        _paths(draft, leaf)


def _reader(draft: Draft, reader: str, data: str) -> None:
    path = f"{reader}.tf_record_input_reader.input_path"
    names = draft.get(path, [])
    if any(_UNSET in name for name in names):
        draft.no_counterpart(path, "models.for_records names the records of lesson 04")
    elif names:
        remark = "as it stands; models.for_records names those of lesson 04"
        value = names[0] if len(names) == 1 else names
        draft.take(path, f"{data}.input_path", value=value, remark=remark)
    remark = "records hold class numbers; models.for_records counts the classes of its label map"
    draft.no_counterpart(f"{reader}.label_map_path", remark)
    for end, key in counterparts("reader").items():
        if end == "drop_remainder" or draft.get(f"{reader}.{end}", 0) > 0:
            draft.take(f"{reader}.{end}", f"{data}.{key}")
        else:
            stays = show(draft.setting(f"{data}.{key}"))
            draft.no_counterpart(f"{reader}.{end}", f"0 or less means nothing; {stays} stays")
    shuffle, key = f"{reader}.shuffle", f"{data}.shuffle_buffer_size"
    if data == "task.train_data" and draft.get(shuffle) is False:
        remark = "a buffer of one image: but shuffled training learns better"
        draft.approximate(shuffle, key, value=1, remark=remark)
    elif data == "task.train_data" or draft.get(shuffle) is False:
        draft.built_in(shuffle)
    draft.no_counterpart(shuffle, "validation reads in order; the score is the same")


def _paths(draft: Draft, leaf: Leaf) -> None:
    """Paths that were never filled in, or of another machine."""
    names = leaf.value if isinstance(leaf.value, list) else [leaf.value]
    for name in names:
        if not isinstance(name, str) or isinstance(name, Enum):
            continue
        if _UNSET in name:
            what = "weights" if "checkpoint" in leaf.path else "files"
            fix = (
                "set task.init_checkpoint, or train from scratch"
                if what == "weights"
                else "models.for_records names the records of lesson 04"
            )
            draft.note_mistake(leaf.path, f"{name!r} was never replaced; {fix}")
            return
        if re.match(_ELSEWHERE, name) and not glob(f"{_shards(name)}*"):
            end = leaf.path.rpartition(".")[2]
            fix = _FIXES.get(end, "write it relative to the course's folder")
            draft.note_mistake(leaf.path, f"{name!r} is a path of another machine; {fix}")
            return


def _shards(name: str) -> str:
    """A path whose shards (`?????`) still match, but nothing else does."""
    return re.sub(r"\[", "[[]", name)
