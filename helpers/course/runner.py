"""The runner: all lessons in order, resumed where it stopped."""

import ast
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from helpers.common.artifacts import MANIFEST
from helpers.common.errors import CourseError
from helpers.common.files import write_json
from helpers.course.execution import HOLDER, SHOW, Progress, environment, execute
from helpers.course.parameters import (
    DEFAULTS,
    allowed,
    check_dataset,
    check_parameter,
    check_profile,
    resolve_workspace,
)

_VERSIONS = ("tensorflow", "tf-models-official", "numpy", "opencv-python-headless", "papermill")


def lessons(root: Path) -> dict[str, Path]:
    """Return name and path of the lessons' notebooks, in order."""
    return {path.stem: path for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))}


def choose(text: str, names: Sequence[str]) -> list[str]:
    """Return the lessons meant by "06", "06_train_ssd" or "06,07", in the course's order."""
    chosen = set()
    for token in text.replace(",", " ").split():
        found = [name for name in names if name == token or name[:2] == token.zfill(2)]
        if not found:
            raise CourseError(f"course: lesson: {token}; {allowed(token, names)}")
        chosen.update(found)
    return [name for name in names if name in chosen]


def run(
    root: Path,
    *,
    workspace: str | Path = DEFAULTS["workspace"],
    dataset: str = DEFAULTS["dataset"],
    profile: str = DEFAULTS["profile"],
    seed: int | None = None,
    split: str | None = None,
    first: str | None = None,
    only: str | None = None,
    extra: dict[str, Any] | None = None,
) -> dict:
    """Run the lessons of the project at `root` in order and return the summary.

    A lesson is kept when it was finished with the same source, parameters and files of the
    learner's own, its folder is still there, and no lesson before it was run again. `first`
    ("06") starts there, `only` ("06,07") runs just these; both run what they name, finished or
    not. `extra` are further parameters, given to the lessons that have them.

    Writes `lessons/`, `summary.json` and `report.html` into the workspace. The first lesson
    that fails ends the run; the summary then has the key "failed" with lesson, cell, source
    and error.

    Raises CourseError for a wrong parameter or a workspace in use by another run;
    KeyboardInterrupt after the lesson's kernel has ended.
    """
    notebooks = lessons(root)
    if not notebooks:
        raise CourseError(f"{root / 'notebooks'}: no lessons; run this in the course's folder")
    workspace_text = str(workspace)
    folder = root / resolve_workspace(workspace, root)
    check_profile(profile)
    dataset = check_dataset(dataset, root)
    parameters = {"workspace": workspace_text, "dataset": dataset, "profile": profile}
    own = {"seed": seed, "split": split}
    own = {name: value for name, value in own.items() if value is not None} | (extra or {})
    for name, value in own.items():
        check_parameter(name, value)
    parameters |= own

    chosen = list(notebooks)
    if only:
        chosen = choose(only, chosen)
    elif first:
        chosen = chosen[chosen.index(choose(first, chosen)[0]) :]
    contents = {name: read_notebook(notebooks[name]) for name in chosen}
    known = sorted({name for content in contents.values() for name in literals(content)})
    for name in own:
        if name not in known:
            raise CourseError(
                f"course: {name}: no lesson has this parameter; " + allowed(name, known)
            )

    with _alone(folder):
        plural = "" if len(chosen) == 1 else "s"
        print(
            f"{len(chosen)} lesson{plural}, profile {profile}, dataset {dataset}, "
            f"workspace {workspace_text}"
        )
        again = bool(only or first)
        began = time.monotonic()
        failed = None
        try:
            for name in chosen:
                has = literals(contents[name])
                given = {key: value for key, value in parameters.items() if key in has}
                files = _files_by_hand(root, folder, name, dataset)
                if not again and _is_done(folder, name, contents[name], given, files):
                    minutes = read_state(folder, name)["seconds"] / 60
                    print(f"{name:<28} kept, took {minutes:.1f} min")
                    continue
                again = True
                failed = _run_lesson(root, folder, notebooks[name], contents[name], given, files)
                if failed:
                    break
        finally:
            summary = _summary(folder, list(notebooks), parameters, failed)
            write_json(folder / "summary.json", summary)
            _write_report(folder, summary)
        print(f"{'':<28} {(time.monotonic() - began) / 60:.1f} min in all")
        print(f"Report: {Path(workspace_text) / 'report.html'}")
    return summary


def build(
    root: Path, lesson: str, *, workspace: str, dataset: str, profile: str, seed: int
) -> None:
    """Run one lesson, and what it needs, from inside another lesson; CourseError if it fails."""
    command = [sys.executable, "-m", "helpers.course", "run", "--only", lesson]
    command += ["--workspace", workspace, "--dataset", dataset, "--profile", profile]
    has = literals(read_notebook(lessons(root)[lesson])) if lesson in lessons(root) else {}
    for name, value in {"build_missing": True, "seed": seed}.items():
        if name in has:
            command += ["-p", name, str(value)]
    last = ""
    with subprocess.Popen(
        command,
        cwd=root,
        env=environment(root) | {SHOW: "1"},
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


def literals(notebook: Any) -> dict[str, Any]:
    """Return the names and values of the cell tagged `parameters` ({} without one)."""
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            found = {}
            for line in ast.parse(cell.source).body:
                if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
                    with contextlib.suppress(ValueError):
                        found[line.targets[0].id] = ast.literal_eval(line.value)
            return found
    return {}


def source_hash(notebook: Any) -> str:
    """Return a hash of the notebook's cells without their outputs."""
    cells = [[cell.cell_type, cell.source] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:16]


def _run_lesson(
    root: Path, folder: Path, path: Path, notebook: Any, given: dict, files: str
) -> dict | None:
    """Execute one lesson; return None, or what failed."""
    from papermill.exceptions import PapermillExecutionError

    name = path.stem
    code_cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source]
    progress = Progress(name, len(code_cells))
    done = folder / "lessons" / f"{name}.ipynb"
    draft = done.with_name(f".{name}.draft.ipynb")
    done.parent.mkdir(parents=True, exist_ok=True)
    state = folder / "lessons" / f"{name}.state.json"
    state.unlink(missing_ok=True)
    failed = None
    try:
        execute(path, draft, given, root, progress)
    except PapermillExecutionError as error:
        failed = _failure(progress, error.source, f"{error.ename}: {error.evalue}")
    except Exception as error:  # the kernel died, or did not start
        what = f"{type(error).__name__}: {error}"
        if type(error).__name__ == "DeadKernelError":
            what += "; perhaps for want of memory: close programs, or use a smaller batch"
        failed = _failure(progress, progress.source, what)
    except KeyboardInterrupt:
        draft.unlink(missing_ok=True)
        where = f"{name}, code cell {progress.cell} of {progress.cells}"
        raise KeyboardInterrupt(f"Stopped in {where}; the same command goes on there.") from None
    if draft.exists():
        draft.replace(done)
    page = {
        "lesson": name,
        "status": "failed" if failed else "done",
        "source": source_hash(notebook),
        "parameters": given,
        "files": files,
        "seconds": round(progress.minutes() * 60, 1),
        "finished": _now(),
        "folders": _folders(folder, name),
    }
    if failed:
        page["failed"] = failed
        print(f"{name:<28} FAILED in code cell {failed['cell']}, {progress.minutes():.1f} min")
        for line in failed["source"].splitlines():
            print(f"    | {line}")
        print(f"    {failed['error']}")
        print(f"    the notebook up to there: {_short(done, root)}")
    else:
        print(f"{name:<28} {progress.minutes():.1f} min")
    write_json(state, page)
    return failed


def _failure(progress: Progress, source: str, error: str) -> dict:
    lines = [line for line in source.splitlines() if line.strip()]
    shown = "\n".join(lines[:3] + (["..."] if len(lines) > 3 else []))
    line = " ".join(error.split())
    return {"lesson": progress.lesson, "cell": progress.cell, "source": shown, "error": line[:600]}


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the workspace, or raise CourseError when another run does.

    The lock ends with the process that holds it, so a killed run leaves nothing to clear.
    A run that a lesson of the holder starts (build_missing) is let in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".course.pid", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip()
            if holder and holder == os.environ.get(HOLDER):
                yield
                return
            raise CourseError(
                f"{folder.name}: in use by another run (process {holder or 'unknown'}); "
                "wait for it, or choose another workspace"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        outer = os.environ.pop(HOLDER, None)
        try:
            yield
        finally:
            file.truncate(0)
            if outer is not None:
                os.environ[HOLDER] = outer


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


def _is_done(folder: Path, name: str, notebook: Any, given: dict, files: str) -> bool:
    state = read_state(folder, name)
    return (
        state.get("status") == "done"
        and state["source"] == source_hash(notebook)
        and state["parameters"] == given
        and state.get("files", "") == files
        and (folder / "lessons" / f"{name}.ipynb").is_file()
        and all((folder / made / MANIFEST).is_file() for made in state["folders"])
    )


def _folders(folder: Path, name: str) -> list[str]:
    """Return the finished folders of a lesson: those with its number."""
    return [path.parent.name for path in sorted(folder.glob(f"{name[:2]}_*/{MANIFEST}"))]


def read_state(folder: Path, name: str) -> dict:
    return _json(folder / "lessons" / f"{name}.state.json")


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def read_notebook(path: Path) -> Any:
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:
        line = " ".join(str(error).split())[:200]
        raise CourseError(f"{path.name}: not a notebook ({line}); restore the file") from None


def _summary(folder: Path, names: list[str], parameters: dict, failed: dict | None) -> dict:
    """Return what is known of every lesson that has run in this workspace."""
    shown = {}
    for name in names:
        state = read_state(folder, name)
        if state:
            shown[name] = {
                "status": state["status"],
                "seconds": state["seconds"],
                "finished": state["finished"],
                "profile": state["parameters"].get("profile", parameters["profile"]),
                "metrics": _json(folder / "lessons" / f"{name}.json").get("values", {}),
            }
    found = {"python": platform.python_version()}
    for name in _VERSIONS:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    dataset = parameters["dataset"]
    summary = {
        "profile": parameters["profile"],
        "dataset": Path(dataset).name if os.sep in dataset else dataset,
        "parameters": {
            name: value
            for name, value in parameters.items()
            if name not in ("workspace", "dataset", "profile")
        },
        "seed": parameters.get("seed", 0),
        "split": parameters.get("split", "clip"),
        "date": _now(),
        "seconds": round(sum(entry["seconds"] for entry in shown.values()), 1),
        "machine": machine(),
        "versions": found,
        "lessons": shown,
    }
    if failed:
        summary["failed"] = failed
    return summary


def machine() -> dict[str, Any]:
    """Return the class of this machine: processor, cores, memory; nothing that names it."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError):
        memory = 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.machine()}"
    return {"platform": system, "cores": cores, "memory_gb": round(memory, 1)}


def _write_report(folder: Path, summary: dict) -> None:
    from helpers.course import report

    report.write_report(folder, summary)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
