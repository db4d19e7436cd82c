"""Files that look like annotations and are read by nothing here: what they are, what to export."""

import codecs
import json
import re
from pathlib import Path

from helpers.annotations.folders import readable

# Bytes of a file that are looked at to tell its format.
_HEAD = 1 << 16
_YAML = (".yaml", ".yml")
_TEXTS = (".xml", ".json", ".csv", ".txt", ".jsonl", ".ndjson", ".manifest", ".tsv", *_YAML)
_BINARY = {
    ".record": "TFRecord",
    ".tfrecord": "TFRecord",
    ".tfrecords": "TFRecord",
    ".mat": "MATLAB",
    ".parquet": "Parquet",
    ".pkl": "a Python pickle",
    ".vott": "a VoTT project",
    ".h5": "HDF5",
    ".npz": "NumPy",
}
# Tools export; what a data set's authors have made up themselves can be rewritten.
_EXPORT = (
    "export as Pascal VOC XML, COCO json or YOLO txt, or write a table with the columns "
    "image,xmin,ymin,xmax,ymax,label"
)
# Words in the head of a file -> what it looks like.
_SIGNS = (
    (r'"(dataRow|data_row|Labeled Data)"|,Labeled Data,', "Labelbox"),
    (r'"media_type"|"dm_format_version"', "Datumaro"),
    (r'"source-ref"', "SageMaker Ground Truth without boxes"),
    (r"__VIA_PROJECT_ID__", "VIA 3"),
    (r'"inputTags"|"suggestiontype"', "VoTT 1"),
    (r'"content"\s*:.*"annotation"\s*:', "Dataturks"),
    (r'"(instances|rects|objects|frames|figures|boxes|detections)"\s*:', "some tool's objects"),
    (r"<tagset\b.*<(images?|taggedRectangles)\b", "ICDAR"),
)
# What lies beside annotations and holds none.
_KNOWN = re.compile(
    r"(groups|split|author_split|sources|remarks|frames|dropped|audit)\.csv"
    r"|.*\.(boxes|frames)\.csv"
    r"|(notes|manifest|meta|package|metadata|license|info)\.json|.*readme.*|.*licen[cs]e.*"
    r"|.*requirements.*\.txt|labelmap\.txt|.*classes.*\.txt|.*labels?\.txt"
    r"|.*(train|val|valid|test|trainval|default)[^/]*\.txt",
    re.IGNORECASE,
)
# The table of codes and names that comes with the boxes of Open Images.
_CODES = re.compile(r"\A([^\n]*\n)?/[mgt]/\w+,")
_BOXLIKE = re.compile(
    r"x_?min|\bx1\b|x_?cent(er|re)|cent(er|re)_?x|bbox|bounding|polygon|segmentation|annotation|\bregions?\b|coordinates",
    re.IGNORECASE,
)
# An image and four numbers, in one line or (WIDER FACE) over several.
_ROW = re.compile(
    r"\.(jpe?g|png|bmp|webp|gif|tiff?)[\"']?([,;\s]+-?\d+(\.\d+)?){4}[,;\s]", re.IGNORECASE
)
# A number of boxes, then a line of corners for each.
_LABEL_TOOL = re.compile(r"\d+\s*\n\s*\d+(\.\d+)?( \d+(\.\d+)?){3}")
_MOT = re.compile(r"\d+,-?\d+(,-?\d+(\.\d+)?){4}")
_BROKEN = "broken JSON"
_PAGE = re.compile(r"\s*<(!doctype html|html)", re.IGNORECASE)
_IMAGE_LEVEL = re.compile(r"ImageID,(?!.*XMin).*LabelName")
_IN_YAML = re.compile(r"\b(x_?min|bbox|boxes)\s*:")
_LFS = "version https://git-lfs.github.com/spec/"
_DOTA = re.compile(r"(-?[\d.]+ ){8}\S+ \d$")


def head_of(file: Path) -> str | None:
    """Return the first 64 KiB of a file as text; None for what is no table, no list, no XML.

    Empty for a file that is no text but may hold annotations, or that cannot be opened.
    """
    if _binary(file):
        return ""
    if file.suffix.lower() not in _TEXTS:
        return None
    try:
        with file.open("rb") as stream:
            data = stream.read(_HEAD)
    except OSError:
        return ""
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if utf16 else "utf-8-sig", "replace")


def stranger(file: Path, head: str, *, beside: bool) -> tuple[str, str] | None:
    """Return what a file looks like that no reader takes, and what to do; None for no annotations.

    `beside` says that a picture has the same stem.
    """
    suffix = file.suffix.lower()
    if kind := _binary(file):
        return f"{kind}, which is not read", _EXPORT
    # A list of pictures is called train.txt, but so is a table of their boxes.
    rows = _ROW.search(head)
    if (
        not beside
        and not (suffix == ".txt" and rows)
        and (_KNOWN.fullmatch(file.name) or _CODES.search(head))
    ):
        return None
    if not head.strip():
        if suffix == ".txt" and not beside:
            return None
        return "empty, or cannot be opened", "export it again, or delete it"
    if head.startswith(_LFS):
        return "a pointer of Git LFS in place of the file", "run git lfs pull where it is from"
    if _PAGE.match(head):
        return "a web page in place of the file", "download it again"
    if suffix in _YAML:
        return ("boxes in YAML, which is not read", _EXPORT) if _IN_YAML.search(head) else None
    line = head.strip().splitlines()[0].strip()
    first = readable(line[:60])
    if suffix == ".txt":
        if _MOT.match(line):
            return "tracks of frames as in MOTChallenge; only its gt/gt.txt is read", _EXPORT
        if not beside and not rows:
            return None
        counted = _LABEL_TOOL.match(head.strip())
        kind = "BBox-Label-Tool" if counted else "DOTA" if _DOTA.match(line) else "no known text"
        return f"{kind}, which is not read: {first!r}", _EXPORT
    if _IMAGE_LEVEL.match(line):
        fix = "add the table of boxes, such as oidv6-train-annotations-bbox.csv"
        return "labels of whole images as Open Images has them, no boxes", fix
    for sign, tool in _SIGNS:
        if re.search(sign, head, re.DOTALL):
            return f"looks like {tool}, which is not read", _EXPORT
    what = _what(suffix, head)
    if suffix == ".xml" or beside or rows or what == _BROKEN or _BOXLIKE.search(head):
        return f"{what} of no known format: {first!r}", _EXPORT
    return None


def _binary(file: Path) -> str | None:
    """The kind of a file with annotations that is no text; None for all else."""
    if re.search(r"record-\d+-of-\d+$", file.name):
        return "TFRecord"
    return _BINARY.get(file.suffix.lower())


def _what(suffix: str, head: str) -> str:
    if suffix == ".json" and re.match(r"[\s\[{]{99}", head):
        return _BROKEN  # nesting that no reader can follow
    if suffix == ".json" and len(head) < _HEAD:
        try:
            json.loads(head)
        except (ValueError, RecursionError):
            return _BROKEN
    return {".xml": "XML", ".csv": "a table", ".tsv": "a table"}.get(suffix, "JSON")
