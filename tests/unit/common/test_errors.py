"""What the system refuses, said in one line; and how a command ends."""

import errno

import pytest

from helpers.common.commands import ended
from helpers.common.errors import CourseError, refusals


def refuse(code, name=None):
    raise OSError(code, "said by the system", name)


def test_a_refusal_names_the_file_and_what_to_do():
    with pytest.raises(CourseError, match=r"^a\.csv: the disk is full; free"), refusals("a.csv"):
        refuse(errno.ENOSPC)
    with pytest.raises(CourseError, match=r"^other\.csv: no permission; "), refusals("out"):
        refuse(errno.EACCES, "other.csv")


def test_drafts_are_called_by_the_name_of_what_they_become():
    with pytest.raises(CourseError, match=r"^runs/02: the disk is full"), refusals("runs/02"):
        refuse(errno.ENOSPC, "runs/.02.draft-1/images/a.jpg")


def test_a_long_name_is_shortened():
    with pytest.raises(CourseError, match="too long") as caught, refusals("out"):
        refuse(errno.ENAMETOOLONG, "n" * 5000)
    assert len(str(caught.value)) < 300


def test_other_errors_stay_what_they_are():
    with pytest.raises(FileNotFoundError), refusals("out"):
        refuse(errno.ENOENT, "gone")
    with pytest.raises(CourseError, match="own line"), refusals("out"):
        raise CourseError("own line")


def stop(line=""):
    raise KeyboardInterrupt(line)


def memory():
    raise MemoryError


@pytest.mark.parametrize(
    ("work", "code", "line"),
    [
        (lambda: None, 0, ""),
        (lambda: 3, 3, ""),
        (lambda: refuse(errno.EROFS), 1, "CourseError: runs/mine: the disk is read-only; choose"),
        (memory, 1, "Not enough memory"),
        (stop, 130, "Stopped."),
        (lambda: stop("Stopped in 03."), 130, "Stopped in 03."),
    ],
)
def test_a_command_ends_with_its_code_and_one_line(capsys, work, code, line):
    assert ended(work, "runs/mine", "Stopped.") == code
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == bool(line)
