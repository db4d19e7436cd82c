"""The history of a training: rows of numbers by step, and what they say of its best."""

import math
from collections.abc import Mapping
from pathlib import Path

from helpers.common.errors import CourseError
from helpers.common.files import read_csv, write_csv

HISTORY = "history.csv"
_ADVICE = "correct it, or delete the file: only the curve up to now is lost"


def read_history(folder: Path) -> list[dict]:
    """Return the rows of <folder>/history.csv (empty when there is none).

    Raises CourseError as `read_rows`, and for a row without a loss.
    """
    path = Path(folder) / HISTORY
    rows = read_rows(path)
    for row in rows:
        if "total_loss" not in row:
            raise CourseError(f"{path}: step {row['step']}: no total_loss; {_ADVICE}")
    return rows


def read_rows(path: Path) -> list[dict]:
    """Return the rows that `write_rows` wrote: numbers by name, none where the field is empty.

    Raises CourseError for a file that is no such table, and for a value that is no number.
    """
    if not path.is_file():
        return []
    rows = []
    for number, texts in enumerate(read_csv(path, ["step"]), 1):
        row = {}
        for name, text in texts.items():
            if not text and name != "step":
                continue
            try:
                row[name] = int(text) if name == "step" else float(text)
            except ValueError:
                raise CourseError(
                    f"{path}: row {number}: {name}: {text[:40]!r} is no number; {_ADVICE}"
                ) from None
        rows.append(row)
    return rows


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write dicts of numbers as a CSV file; apart from "step", their keys may differ."""
    # "step" in any case: a training that stops before its first report leaves a table of no rows.
    write_csv(path, list(dict.fromkeys(["step", *(name for row in rows for name in row)])), rows)


def with_score(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return what an evaluation found with "score", the metric that decides: AP, else the first.

    None, for what cannot be measured, becomes nan.
    """
    row = {name: math.nan if value is None else value for name, value in metrics.items()}
    return row | {"score": row.get("AP", next(iter(row.values()), math.nan))}


def best_row(history: list[dict]) -> dict:
    """Return the row of the step whose weights `train` returns: the best, or the last."""
    return best_scored(history) or history[-1]


def best_scored(history: list[dict]) -> dict | None:
    """Return the row with the highest score, the last one of equals; None without scores."""
    return max(reversed(_scored(history)), key=lambda row: row["score"], default=None)


def has_stalled(history: list[dict], patience: int | None) -> bool:
    """Whether the last `patience` evaluations were no better than one before them, above 0."""
    if patience is None:
        return False
    scores = [row["score"] for row in _scored(history)]
    before = max(scores[:-patience], default=0)
    return before > 0 and max(scores[-patience:]) <= before


def _scored(history: list[dict]) -> list[dict]:
    return [row for row in history if math.isfinite(row.get("score", math.nan))]
