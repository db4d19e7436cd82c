"""Executes one notebook with papermill in a kernel of this Python, and shows how far it is."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.common.processes import child_environment
from helpers.course.notebooks import has_tag
from helpers.course.parameters import DEFAULTS

SHOW = "COURSE_SHOW"  # set by a lesson that starts a run and passes its display on


@dataclass
class Progress:
    """What the running lesson is doing; the display reads it."""

    lesson: str
    cells: int
    cell: int = 0
    source: str = ""
    started: float = field(default_factory=time.monotonic)
    client: Any = None

    def minutes(self) -> float:
        """Return how long the lesson has been running."""
        return (time.monotonic() - self.started) / 60


def execute(
    path: Path, output: Path, parameters: dict[str, Any], root: Path, progress: Progress
) -> None:
    """Run the notebook `path` with `parameters` in `root`, write it with its outputs.

    Raises papermill's PapermillExecutionError when a cell fails (the output is written all
    the same), DeadKernelError, and KeyboardInterrupt when the kernel has ended after Ctrl-C.
    """
    import papermill

    _register_engine()
    with _display(progress):
        papermill.execute_notebook(
            _for_papermill(path),
            _for_papermill(output),
            parameters=parameters,
            engine_name="course",
            kernel_name="python3",
            language="python",
            progress_bar=False,
            progress=progress,
            root=root,
        )


def _for_papermill(path: Path) -> str:
    """papermill formats paths with the parameters: braces must be doubled."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _register_engine() -> None:
    """Teach papermill to use this very Python, and to end the kernel on Ctrl-C."""
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.utils import run_sync
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, papermill_engines

    class ThisPython(KernelSpecManager):
        """A "python3" that the user has registered may belong to another environment."""

        def get_kernel_spec(self, kernel_name: str) -> Any:
            return self.kernel_spec_class(resource_dir=RESOURCES, **get_kernel_dict())

    class CourseEngine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(
            cls, nb_man, kernel_name, *, progress, root, start_timeout=60, **_
        ):
            def on_cell_execute(cell, cell_index):
                if not has_tag(cell, "injected-parameters"):
                    progress.cell += 1
                    progress.source = cell.source

            # Sockets as files that only this user can open; the names must stay short.
            # Of a socket's path, 107 characters fit into the system's call.
            place = tempfile.gettempdir()
            private = tempfile.mkdtemp(prefix="course-", dir="/tmp" if len(place) > 60 else place)
            manager = AsyncKernelManager(
                kernel_name="python3",
                kernel_spec_manager=ThisPython(),
                transport="ipc",
                connection_file=os.path.join(private, "kernel.json"),
            )
            client = PapermillNotebookClient(
                nb_man,
                km=manager,
                timeout=None,
                startup_timeout=start_timeout,
                iopub_timeout=60,
                on_cell_execute=on_cell_execute,
            )
            progress.client = client
            try:
                # What a lesson says on stderr comes by the sockets; this is the kernel's own.
                client.execute(env=environment(), cwd=str(root), stderr=subprocess.DEVNULL)
            except KeyboardInterrupt:
                with _undisturbed():
                    _interrupt(manager, in_a_cell=progress.cell > 0)
                raise
            finally:
                with _undisturbed():
                    if manager.has_kernel:
                        run_sync(manager.shutdown_kernel)()
                    run_sync(manager.cleanup_resources)()
                shutil.rmtree(private, ignore_errors=True)

    papermill_engines.register("course", CourseEngine)


def _interrupt(manager: Any, *, in_a_cell: bool) -> None:
    """Drop what the event loop still waits for, and let the running cell end or the kernel die."""
    from jupyter_core.utils import ensure_event_loop, run_sync

    loop = ensure_event_loop()
    waiting = asyncio.all_tasks(loop)
    for task in waiting:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
    if in_a_cell:
        run_sync(manager.interrupt_kernel)()
        time.sleep(1)  # the cell tidies up: drafts of folders are removed
    else:
        run_sync(manager.shutdown_kernel)(now=True)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore a second Ctrl-C while the kernel is being ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def environment() -> dict[str, str]:
    """Return the kernels' environment: our modules, inline figures, no overrides."""
    variables = child_environment({"MPLBACKEND": "module://matplotlib_inline.backend_inline"})
    for name in DEFAULTS:
        variables.pop(f"COURSE_{name.upper()}", None)
    return variables


@contextlib.contextmanager
def _display(progress: Progress) -> Iterator[None]:
    """Show lesson, cell, minutes and the cell's own progress bar on one line of the terminal."""
    asked = bool(os.environ.get(SHOW))
    if not (asked or sys.stdout.isatty()):
        yield
        return
    stop = threading.Event()
    width = min(shutil.get_terminal_size().columns - 1, 100)

    def show() -> None:
        while not stop.wait(2 if asked else 0.5):
            line = f"{progress.lesson:<28} cell {progress.cell}/{progress.cells}"
            line += f"  {progress.minutes():.1f} min  {_inner_bar(progress.client)}"
            print("\r" + line[:width].ljust(width), end="", flush=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        print("\r" + " " * width + "\r", end="", flush=True)


def _inner_bar(client: Any) -> str:
    """Return "[120/450]" of the newest unfinished progress bar in the running cell."""
    from helpers.common.progress import METADATA as BAR

    for cell in reversed(client.nb.cells if client else []):
        for output in reversed(cell.get("outputs", [])):
            value, end = output.get("metadata", {}).get(BAR) or (0, 0)
            if end and 0 < value < end:
                return f"[{value:g}/{end:g}]"
    return ""
