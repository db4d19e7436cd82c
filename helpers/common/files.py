"""Small files: text, JSON and CSV, written whole or not at all; links instead of copies."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from helpers.common.errors import CourseError

# The project: its data/ and notebooks/ lie here.
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yield a draft next to `path`, with its suffix, that takes its name when the block ends well.

    So the file is there whole or not at all: when the block raises, the draft is removed and what
    was there before stays. Makes the folder when it is missing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".draft-{os.getpid()}-{path.name}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file (UTF-8, line ends as they are) that is there whole or not at all."""
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="")


def read_csv(path: Path | str, columns: Sequence[str], open_=open) -> list[dict[str, str]]:
    """Rows of a CSV file as dicts; CourseError when it is missing or lacks one of `columns`.

    `open_` opens a path ("rb") wherever it lies.
    """
    try:
        with io.TextIOWrapper(open_(str(path), "rb"), "utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except FileNotFoundError:
        raise CourseError(f"{path}: missing; run the lesson that writes its folder") from None
    if lacking := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise CourseError(f"{path}: no column {lacking[0]!r}; its columns must be {columns}")
    return rows


def write_csv(path: Path | str, columns: Sequence[str], rows: Iterable[Mapping]) -> None:
    """Write rows (dicts) as a CSV file with a header, whole or not at all."""
    with whole_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the disk cannot do that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_json(path: Path, page: dict | list) -> None:
    """Write `page` to `path` whole or not at all."""
    write_text(path, json.dumps(page, indent=1) + "\n")
