"""The runner: all lessons in order, resumed where it stopped."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helpers.common.artifacts import MANIFEST
from helpers.common.errors import CourseError
from helpers.common.files import write_json
from helpers.course.execution import SHOW, Progress, environment, execute
from helpers.course.notebooks import choose, lessons, parameters_of, read_notebook, source_hash
from helpers.course.parameters import (
    DEFAULTS,
    allowed,
    check_dataset,
    check_parameter,
    check_profile,
)
from helpers.course.report import summarize, write_report
from helpers.course.workspace import (
    executed_file,
    finished_folders,
    held,
    read_state,
    resolve_workspace,
    state_file,
)


def run(
    root: Path,
    /,
    *,
    workspace: str | Path = DEFAULTS["workspace"],
    dataset: str = DEFAULTS["dataset"],
    profile: str = DEFAULTS["profile"],
    first: str | None = None,
    only: str | None = None,
    **own: Any,
) -> dict:
    """Run the lessons of the project at `root` in order.

    A lesson is kept when it was finished with the same source, parameters and files of the
    learner's own, its folder is still there, and no lesson before it was run again.

    Writes `lessons/`, `summary.json` and `report.html` into the workspace.

    Args:
        root: the project's folder.
        workspace: the folder to write into; inside `root` unless absolute.
        dataset: a known name, or the path of a folder.
        profile: a name of PROFILES.
        first: the lesson to start with ("06"), finished or not.
        only: the lessons to run ("06,07"), finished or not.
        **own: further parameters, given to the lessons that have them.

    Returns:
        The page of summary.json. The first lesson that fails ends the run; the page then has
        the key "failed" with lesson, cell, source and error.

    Raises:
        CourseError: a wrong parameter, or a workspace in use by another run.
        KeyboardInterrupt: after the lesson's kernel has ended.
    """
    notebooks = lessons(root)
    if not notebooks:
        raise CourseError(f"{root / 'notebooks'}: no lessons; run this in the course's folder")
    folder = root / resolve_workspace(workspace, root)
    check_profile(profile)
    dataset = check_dataset(dataset, root)
    for name, value in own.items():
        check_parameter(name, value)
    parameters = {"workspace": str(workspace), "dataset": dataset, "profile": profile, **own}

    chosen = list(notebooks)
    if only:
        chosen = choose(only, chosen)
    elif first:
        chosen = chosen[chosen.index(choose(first, chosen)[0]) :]
    pages = {name: read_notebook(notebooks[name]) for name in chosen}
    known = {name: parameters_of(page) for name, page in pages.items()}
    _refuse_unknown(own, sorted(set().union(*known.values())))

    with held(folder):
        plural = "" if len(chosen) == 1 else "s"
        print(
            f"{len(chosen)} lesson{plural}, profile {profile}, dataset {dataset}, "
            f"workspace {workspace}"
        )
        began = time.monotonic()
        again = bool(only or first)
        failed = None
        try:
            for name, page in pages.items():
                made_from = {
                    "source": source_hash(page),
                    "parameters": {k: v for k, v in parameters.items() if k in known[name]},
                    "files": _files_by_hand(root, folder, name, dataset),
                }
                if not again and _is_done(folder, name, made_from):
                    minutes = read_state(folder, name)["seconds"] / 60
                    print(f"{name:<28} kept, took {minutes:.1f} min")
                    continue
                again = True
                failed = _run_lesson(root, folder, notebooks[name], page, made_from)
                if failed:
                    break
        finally:
            summary = summarize(folder, list(notebooks), parameters, failed)
            write_json(folder / "summary.json", summary)
            write_report(folder, summary)
        print(f"{'':<28} {(time.monotonic() - began) / 60:.1f} min in all")
        print(f"Report: {Path(workspace) / 'report.html'}")
    return summary


def build(
    root: Path, lesson: str, *, workspace: str, dataset: str, profile: str, seed: int
) -> None:
    """Run one lesson, and what it needs, from inside another lesson.

    Raises CourseError when it fails.
    """
    options = {"only": lesson, "workspace": workspace, "dataset": dataset, "profile": profile}
    command = [sys.executable, "-m", "helpers.course", "run"]
    command += [f"--{name}={value}" for name, value in options.items()]
    has = parameters_of(read_notebook(lessons(root)[lesson])) if lesson in lessons(root) else {}
    for name, value in {"build_missing": True, "seed": seed}.items():
        if name in has:
            command += ["-p", name, str(value)]
    last = ""
    with subprocess.Popen(
        command,
        cwd=root,
        env=environment() | {SHOW: "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            for line in process.stdout or ():
                # The child's display overwrites its line; read as text, each state is a line.
                if line.startswith(lesson) and " cell " in line and "FAILED" not in line:
                    print("\r" + line.rstrip("\n"), end="", flush=True)
                elif line.startswith(lesson) or "Error: " in line:
                    last = line.strip()
                    print("\r" + last.ljust(79), flush=True)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    if process.returncode:
        raise CourseError(f"{lesson}: could not be built ({last}); open that lesson and run it")


def _run_lesson(
    root: Path, folder: Path, path: Path, page: Any, made_from: dict[str, Any]
) -> dict | None:
    """Execute one lesson and write its state; return what failed, or None."""
    name = path.stem
    done = executed_file(folder, name)
    draft = done.with_name(f".{name}.draft.ipynb")
    done.parent.mkdir(parents=True, exist_ok=True)
    state_file(folder, name).unlink(missing_ok=True)
    code_cells = [cell for cell in page.cells if cell.cell_type == "code" and cell.source.strip()]
    progress = Progress(name, len(code_cells))
    failed = None
    try:
        execute(path, draft, made_from["parameters"], root, progress)
    except KeyboardInterrupt:
        draft.unlink(missing_ok=True)
        where = f"{name}, code cell {progress.cell} of {progress.cells}"
        raise KeyboardInterrupt(f"Stopped in {where}; the same command resumes there.") from None
    except Exception as error:  # of the cell, or the kernel died or did not start
        failed = _failure(progress, error)
    if draft.exists():
        with suppress(CourseError):  # cut short, on a full disk: the one of before stays
            read_notebook(draft)
            draft.replace(done)
        draft.unlink(missing_ok=True)
    state = {
        "lesson": name,
        "status": "failed" if failed else "done",
        **made_from,
        "seconds": round(progress.minutes() * 60, 1),
        "finished": f"{datetime.now(UTC):%Y-%m-%d %H:%M UTC}",
        "folders": finished_folders(folder, name),
    }
    if failed:
        state["failed"] = failed
        shown = done.relative_to(root) if done.is_relative_to(root) else done
        print(f"{name:<28} FAILED in code cell {failed['cell']}, {progress.minutes():.1f} min")
        for line in failed["source"].splitlines():
            print(f"    | {line}")
        print(f"    {failed['error']}")
        print(f"    the notebook up to there: {shown}")
    else:
        print(f"{name:<28} {progress.minutes():.1f} min")
    write_json(state_file(folder, name), state)
    return failed


def _failure(progress: Progress, error: Exception) -> dict[str, Any]:
    """Return where a lesson failed, and why, in one line."""
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    source, why = progress.source, f"{type(error).__name__}: {error}"
    if isinstance(error, PapermillExecutionError):
        source, why = error.source, f"{error.ename}: {error.evalue}"
    elif isinstance(error, DeadKernelError):
        why += "; perhaps for want of memory: close programs, or use a smaller batch"
    lines = [line for line in source.splitlines() if line.strip()]
    return {
        "lesson": progress.lesson,
        "cell": progress.cell,
        "source": "\n".join(lines[:3] + ["..."] * (len(lines) > 3)),
        "error": " ".join(why.split())[:600],
    }


def _refuse_unknown(own: dict[str, Any], known: list[str]) -> None:
    for name in own:
        if name not in known:
            advice = allowed(name, known)
            raise CourseError(f"course: {name}: no lesson has this parameter; {advice}")


def _files_by_hand(root: Path, folder: Path, name: str, dataset: str) -> str:
    """Return a hash of the files that a lesson reads and a person may change.

    Lesson 01 reads the learner's own folder, lesson 03 what was drawn by hand.
    """
    place = {"01": root / dataset, "03": folder / "labels"}.get(name[:2])
    if place is None or not place.exists():
        return ""
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    facts = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]
    # The drawing tool makes its folder as it opens: an empty one is none.
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16] if facts else ""


def _is_done(folder: Path, name: str, made_from: dict[str, Any]) -> bool:
    """Return whether a lesson was finished from this, and what it made is still there."""
    state = read_state(folder, name)
    return (
        state.get("status") == "done"
        and made_from.items() <= state.items()
        and executed_file(folder, name).is_file()
        and all((folder / made / MANIFEST).is_file() for made in state["folders"])
    )
