"""How a command line ends: its exit code, and one line where something was wrong."""

import sys
from collections.abc import Callable

from helpers.common.errors import CourseError, refusals


def ended(work: Callable[[], int | None], place: object, stopped: str) -> int:
    """Do the work of a command; return its exit code: 0, 1 after an error, 130 after Ctrl-C.

    Args:
        work: what the command does; it returns the exit code, None for 0.
        place: the folder that it writes into, named where the disk refuses.
        stopped: the line after Ctrl-C, where the interrupt brings none of its own.
    """
    try:
        with refusals(str(place)):
            return work() or 0
    except CourseError as error:
        print(f"CourseError: {error}", file=sys.stderr)
    except MemoryError:
        print("Not enough memory; close programs, or use a smaller batch.", file=sys.stderr)
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or stopped, file=sys.stderr)
        return 130
    return 1
