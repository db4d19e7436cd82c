"""The folder that a run writes into: where it lies, what the lessons left there, whose it is."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from helpers.common.artifacts import MANIFEST
from helpers.common.errors import CourseError, refusals
from helpers.course.parameters import is_text

_STATE = {"status", "source", "parameters", "seconds", "finished", "folders"}
HOLDER = "COURSE_RUN"  # the process that holds the workspace, told to what it starts


def resolve_workspace(workspace: str | Path, root: Path, lesson: str = "course") -> Path:
    """Return the workspace's path: relative to `root` where it lies inside, else absolute."""
    if not is_text(workspace):
        raise CourseError(
            f'{lesson}: workspace: {workspace!r}; give a folder, such as "runs/course"'
        )
    path = (root / Path(workspace).expanduser()).resolve()
    if path.exists() and not path.is_dir():
        raise CourseError(f"{lesson}: workspace: {workspace}; is a file, give a folder")
    return path.relative_to(root) if path.is_relative_to(root) and path != root else path


def read_json(path: Path) -> dict:
    """Return the page in a JSON file; {} when there is none, or only part of one."""
    try:
        page = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return page if isinstance(page, dict) else {}


def state_file(workspace: Path, lesson: str) -> Path:
    """Return the file in which the runner keeps how a lesson's last run went."""
    return workspace / "lessons" / f"{lesson}.state.json"


def values_file(workspace: Path, lesson: str) -> Path:
    """Return the file in which a lesson keeps the values that it recorded."""
    return workspace / "lessons" / f"{lesson}.json"


def executed_file(workspace: Path, lesson: str) -> Path:
    """Return the notebook of a lesson with the outputs of its last run."""
    return workspace / "lessons" / f"{lesson}.ipynb"


def read_state(workspace: Path, lesson: str) -> dict:
    """Return what the runner wrote of a lesson's last run, {} when it has not run.

    One that lacks something counts as none: the lesson then runs again.
    """
    state = read_json(state_file(workspace, lesson))
    return state if state.keys() >= _STATE else {}


def finished_folders(workspace: Path, lesson: str) -> list[str]:
    """Return the finished folders of a lesson: those with its number and a manifest."""
    return [path.parent.name for path in sorted(workspace.glob(f"{lesson[:2]}_*/{MANIFEST}"))]


@contextlib.contextmanager
def held(workspace: Path) -> Iterator[None]:
    """Hold the workspace, or raise CourseError when another run does.

    The lock ends with the process that holds it, so a killed run leaves nothing to clear.
    A run that a lesson of the holder starts (build_missing) is let in.
    """
    try:
        with refusals(workspace):
            workspace.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:  # below /proc, and on disks that are gone
        raise CourseError(
            f"workspace: {workspace}: no folder can be made there; choose another place"
        ) from None
    with open(workspace / ".course.pid", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip()
            if holder and holder == os.environ.get(HOLDER):
                yield
                return
            raise CourseError(
                f"{workspace.name}: in use by another run (process {holder or 'unknown'}); "
                "wait for it, or choose another workspace"
            ) from None
        outer, own = os.environ.get(HOLDER), str(os.getpid())
        file.truncate(0)
        file.write(own)
        file.flush()
        os.environ[HOLDER] = own
        try:
            yield
        finally:
            file.truncate(0)
            del os.environ[HOLDER]
            if outer is not None:
                os.environ[HOLDER] = outer
