"""The one exception that the course raises for input that it cannot use."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What the system says when it refuses a file, and what a person can do about it.
_REFUSALS = {
    errno.ENOSPC: "the disk is full; free some space and run it again",
    errno.EDQUOT: "your quota on this disk is used up; free some space and run it again",
    errno.EFBIG: "larger than a file may be here; choose another disk",
    errno.EROFS: "the disk is read-only; choose another workspace",
    errno.EACCES: "no permission; change the rights of the file, or choose another place",
    errno.EPERM: "no permission; change the rights of the file, or choose another place",
    errno.ENAMETOOLONG: "the name is too long for this disk; choose a shorter one",
    errno.ENOTDIR: "a part of this path is a file, not a folder; correct the path",
    errno.EISDIR: "a folder, where a file is needed; move it away",
    errno.ELOOP: "a link that leads back to itself; remove it",
    errno.EMFILE: "too many open files; close programs, or raise the limit (ulimit -n)",
    errno.EIO: "the disk cannot read or write it; copy your files to another disk",
}


class CourseError(ValueError):
    """Bad input, said in one line: file, item, value; what to do.

    Jupyter shows the line alone instead of a traceback, because the fault is in the
    input and the frames of our code would hide it.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


@contextmanager
def refusals(path: Path | str) -> Iterator[None]:
    """Say in one line what the system refuses in this block: a full disk, no permission, ….

    `path` is what the block writes or reads. Errors of other kinds pass as they are: those are
    faults of the code.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        # Of a draft, nobody knows the name; a name that is too long is best seen itself.
        hidden = error.filename is None or "/." in str(error.filename)
        name = str(path) if hidden else str(error.filename)
        if len(name) > 200:
            name = f"{name[:90]}…{name[-90:]}"
        raise CourseError(f"{name}: {_REFUSALS[error.errno]}") from error
