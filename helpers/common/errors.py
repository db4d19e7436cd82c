"""The one exception that the course raises for input that it cannot use."""


class CourseError(ValueError):
    """Bad input, said in one line: file, item, value; what to do.

    Jupyter shows the line alone instead of a traceback, because the fault is in the
    input and the frames of our code would hide it.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]
