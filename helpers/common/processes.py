"""Child processes that find this code, and that end when their parent does."""

import os
import threading
from collections.abc import Mapping

from helpers.common.files import ROOT


def child_environment(variables: Mapping[str, str] = {}) -> dict[str, str]:
    """Return this process's environment with `variables`, and with our code on PYTHONPATH."""
    path = dict.fromkeys(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(path)}


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
