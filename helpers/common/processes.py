"""Child processes that find this code, and that end when their parent does."""

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from helpers.common.files import ROOT


def child_environment(variables: Mapping[str, str] = {}) -> dict[str, str]:
    """Return this process's environment with `variables`, and with our code on PYTHONPATH."""
    path = dict.fromkeys(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(path)}


@contextmanager
def child_process(
    command: Sequence[object], log: Path, variables: Mapping[str, str] = {}
) -> Iterator[subprocess.Popen]:
    """Run `python -m COMMAND` until it ends, or the block does; all that it says goes to `log`.

    Ctrl-C in a terminal reaches this process alone. Where the child calls `end_with_parent`, it
    ends also when this process is killed.
    """
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=child_environment(variables),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None  # a pipe
        process.stdin.close()


def end_with_pool() -> None:
    """End this worker of a pool when the process that made the pool dies, however it dies.

    For the pool's `initializer`. A worker left alone would sleep for ever, and write once more
    into what the next run has cleared.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None  # a worker has one

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def end_with_parent(code: int) -> None:
    """End this process with `code` when the other end of its standard input is closed.

    The parent starts it with a pipe as its input: when the parent dies, however it dies, the
    kernel closes that pipe.
    """

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os._exit(code)

    threading.Thread(target=wait, daemon=True).start()
