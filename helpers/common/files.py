"""Small files: text, JSON and CSV, written whole or not at all; links instead of copies."""

import codecs
import csv
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from zlib import crc32

from helpers.common.errors import CourseError, refusals

# The project: its data/ and notebooks/ lie here.
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yield a draft next to `path`, with its suffix, that takes its name when the block ends well.

    So the file is there whole or not at all: when the block raises, the draft is removed and what
    was there before stays. Makes the folder when it is missing. CourseError where the disk refuses.
    """
    path = Path(path)
    # Short, since the name itself may be as long as the disk allows.
    draft = path.with_name(f".draft-{os.getpid()}-{crc32(os.fsencode(path.name)):08x}{path.suffix}")
    with refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield draft
            draft.replace(path)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file (UTF-8, line ends as they are) that is there whole or not at all."""
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="")


def read_text(path: Path | str, open_=open) -> str:
    """Text of a file in UTF-8, with or without a byte order mark; line ends as they are.

    `open_` opens a path ("rb") wherever it lies. CourseError with one line for a file that is
    missing, cannot be read, or is no such text: UTF-16, Latin-1, bytes of zero.
    """
    try:
        with refusals(path), open_(str(path), "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise CourseError(f"{path}: missing; run the lesson that writes its folder") from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise CourseError(f"{path}: UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CourseError(f"{path}: line {line}: not UTF-8; save it as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CourseError(f"{path}: line {line}: a zero byte; no text file, save it again")
    return text


def read_json(path: Path | str, open_=open) -> Any:
    """What a JSON file holds; CourseError with the line where it is no JSON."""
    text = read_text(path, open_)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CourseError(
            f"{path}: line {error.lineno}: no JSON ({error.msg}); write it again"
        ) from None
    except (RecursionError, ValueError):  # ValueError: an integer of thousands of digits
        raise CourseError(f"{path}: no JSON that can be read; write it again") from None


def read_xml(path: Path | str, open_=open) -> Any:
    """The root element of an XML file, entities not resolved; CourseError where it is no XML."""
    from defusedxml import DefusedXmlException

    try:
        with refusals(path), open_(str(path), "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise CourseError(f"{path}: missing; check the name of the folder") from None
    # Entities are declared in a "<!DOCTYPE". What has none needs no guard against them, and
    # Python's own parser is four times as fast. A zero byte: UTF-16, where "<!" looks different.
    if b"<!" in data or b"\0" in data:
        from defusedxml.ElementTree import ParseError, fromstring
    else:
        from xml.etree.ElementTree import ParseError, fromstring
    try:
        return fromstring(data)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError) as error:
        raise CourseError(f"{path}: broken XML ({error}); export it again") from None


def read_csv(path: Path | str, columns: Sequence[str], open_=open) -> list[dict[str, str]]:
    """Rows of a CSV file as dicts, blank lines left out.

    Raises:
        CourseError: as `read_text`; one of `columns` is missing; a row has more or fewer cells
            than there are columns; a quote is not closed.
    """
    text = read_text(path, open_)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if lacking := [name for name in columns if name not in (reader.fieldnames or ())]:
            wanted = ", ".join(columns)
            raise CourseError(f"{path}: no column {lacking[0]!r}; its columns must be {wanted}")
        rows = []
        for row in reader:
            if None in row or None in row.values():
                count = len(reader.fieldnames or ())
                raise CourseError(
                    f"{path}: line {reader.line_num}: not {count} cells, as the header has; "
                    "correct it"
                )
            rows.append(row)
    except csv.Error as error:
        raise CourseError(f"{path}: line {reader.line_num}: no CSV ({error}); correct it") from None
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
