import math

import pytest

from helpers.common.errors import CourseError
from helpers.training.history import (
    best_row,
    best_scored,
    has_stalled,
    read_history,
    read_rows,
    with_score,
    write_rows,
)
from helpers.training.snapshots import read_snapshots


def test_there_is_no_history_before_the_first_report(tmp_path):
    assert read_history(tmp_path) == []


def test_rows_are_read_as_they_were_written(tmp_path):
    rows = [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "loss": math.nan, "AP": 0.5}]
    write_rows(tmp_path / "rows.csv", rows)
    read = read_rows(tmp_path / "rows.csv")
    assert read == [rows[0], pytest.approx(rows[1], nan_ok=True)]
    assert type(read[0]["step"]) is int


def test_a_training_that_stops_before_its_first_report_can_be_read(tmp_path):
    write_rows(tmp_path / "history.csv", [])
    assert read_history(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step,total_loss\nx,1\n", "row 1: step: 'x' is no number; correct it, or delete the file"),
        ("step,total_loss\n1,1\n2,much\n", "row 2: total_loss: 'much' is no number"),
        ("step,total_loss\n,1\n", "row 1: step: '' is no number"),
        ("step,total_loss\n5,\n", "step 5: no total_loss; correct it"),
        ("step,total_loss\n1,2\n2\n", "line 3: not 2 cells"),
        ("loss\n1\n", "no column 'step'"),
    ],
)
def test_a_damaged_history_is_one_line(tmp_path, text, said):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(CourseError) as caught:
        read_history(tmp_path)
    assert f"history.csv: {said}" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"step": 1}', '[{"step": 1}]', '[{"step": 1, "found": [[1, 2]]}]']
)
def test_damaged_snapshots_are_one_line(tmp_path, text):
    (tmp_path / "snapshots.json").write_text(text)
    with pytest.raises(CourseError, match=r"snapshots\.json: (line 1: no JSON|not as training)"):
        read_snapshots(tmp_path)


def rows_of(*scores) -> list[dict]:
    return [{"step": i} if s is None else {"step": i, "score": s} for i, s in enumerate(scores)]


def test_the_best_is_the_last_of_equals_and_the_last_row_where_there_are_no_scores():
    assert best_row(rows_of(0.1, 0.5, math.nan, 0.5, None))["step"] == 3
    assert best_row(rows_of(None, math.nan))["step"] == 1
    assert best_scored(rows_of(None, math.nan)) is None


def test_ap_decides_or_what_comes_first():
    assert with_score({"AP50": 0.9, "AP": 0.4})["score"] == 0.4
    assert with_score({"found": 3, "missed": 1}) == {"found": 3, "missed": 1, "score": 3}
    assert math.isnan(with_score({"AP": None})["score"])
    assert math.isnan(with_score({})["score"])


@pytest.mark.parametrize(
    ("scores", "patience", "stalled"),
    [
        ((0.5, 0.4, 0.4), None, False),
        ((0.5, 0.4, 0.4), 2, True),
        ((0.5, 0.4, None, 0.5), 2, True),
        ((0.5, 0.4, 0.6), 2, False),
        ((0.0, 0.0, 0.0), 2, False),
        ((0.5, 0.4), 2, False),
        ((), 2, False),
    ],
)
def test_patience_counts_evaluations_without_progress(scores, patience, stalled):
    assert has_stalled(rows_of(*scores), patience) is stalled
