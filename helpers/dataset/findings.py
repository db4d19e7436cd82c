"""Findings: what is wrong with a dataset, a line for each, and those that reading it left."""

import functools
from dataclasses import dataclass
from pathlib import Path

from helpers.annotations.remarks import Remark
from helpers.common.files import read_csv, read_text

COLUMNS = ("file", "object", "kind", "value", "effect", "fix")
ALL = "all files"


@dataclass(frozen=True)
class Finding:
    """One fault. `object` counts the objects of the file from 1; 0 means the file as a whole.

    A finding about the set, such as class imbalance, has the file "all files".
    """

    file: str
    object: int
    kind: str
    value: str
    effect: str
    fix: str


@functools.cache
def kinds() -> dict[str, dict[str, str]]:
    """Return the kinds of findings: the effect of each, the fix where it is always the same.

    Kinds that come up while a folder is read say what was done about it, too.
    """
    import yaml

    return yaml.safe_load(read_text(Path(__file__).with_name("findings.yaml")))


def finding(file: str, number: int, kind: str, value: str, fix: str | None = None) -> Finding:
    """Return a finding of a kind, with its effect, and its usual fix where none is given."""
    text = kinds()[kind]
    return Finding(file, number, kind, value, text["effect"], fix or text["fix"])


def read_remarks(frames_folder: Path | str) -> list[Finding]:
    """Return what lessons 01 and 02 noted about the files they were given, in remarks.csv.

    It is about files of the folder that was given, some of which have no picture here. [] where
    nothing was noted.
    """
    path = Path(frames_folder) / "remarks.csv"
    if not path.is_file():
        return []
    columns = Remark._fields
    rows = read_csv(path, columns)
    return [remarked(Remark(*(row[column] for column in columns))) for row in rows]


def remarked(remark: Remark) -> Finding:
    """Return a remark as a finding; its kind is "not understood" where it has none of `kinds`."""
    value = f"{remark.where}: {remark.value}" if remark.where else remark.value
    kind = remark.kind if remark.kind in kinds() else "not understood"
    return finding(remark.file, 0, kind, value, remark.fix or None)
