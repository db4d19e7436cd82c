"""The first line of every lesson: checked parameters, folders, recorded values.

lesson = start("02_extract_frames", workspace=workspace, dataset=dataset, profile=profile,
               seed=seed, build_missing=build_missing, every=every)
"""

import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.common.artifacts import MANIFEST
from helpers.common.errors import CourseError
from helpers.common.files import write_json
from helpers.common.quiet import quiet_libraries
from helpers.course.notebooks import find_root, lessons, maker, parameters_of, read_notebook
from helpers.course.parameters import (
    COMMON,
    DEFAULTS,
    allowed,
    check_dataset,
    check_parameter,
    check_profile,
)
from helpers.course.profiles import PROFILES, Budget
from helpers.course.workspace import read_json, resolve_workspace, values_file


@dataclass
class Lesson:
    """One running lesson: where it reads and writes, and how much work it does.

    `workspace` is relative to the project's root (the working directory) where it can be, so
    that printed paths name no machine. `dataset` is a known name or the path of a folder.
    """

    name: str
    workspace: Path
    dataset: str
    profile: str
    seed: int
    budget: Budget
    parameters: dict[str, Any]
    build_missing: bool = False
    root: Path = field(default_factory=Path.cwd, repr=False)
    _values: dict[str, Any] = field(default_factory=dict, repr=False)

    def folder(self, name: str) -> Path:
        """Return the path of the workspace's folder `name`, such as "02_frames"; made by you."""
        return self.workspace / name

    def has(self, name: str) -> bool:
        """Whether an earlier lesson's finished folder, such as "06_ssd", is there."""
        return (self.folder(name) / MANIFEST).is_file()

    def need(self, name: str) -> Path:
        """Return the path of an earlier lesson's finished folder, such as "04_records".

        A folder is finished when it has a manifest. One that is missing is built when the
        lesson was started with `build_missing=True`. Of a training that was stopped, a line
        says at which step.

        Raises CourseError when it is missing, or when it was made from another dataset; the
        line says which lesson writes it.
        """
        path = self.folder(name)
        writer = maker(self.root, name)
        if not (path / MANIFEST).is_file():
            if not self.build_missing:
                raise CourseError(
                    f"{path}: missing; open lesson {writer} and run it, or set "
                    "build_missing = True in the parameters cell of this one"
                )
            self._build(writer)
            if not (path / MANIFEST).is_file():
                raise CourseError(f"{path}: lesson {writer} ran but did not write it; run it again")
        made_from = self._recorded(writer).get("dataset", self.dataset)
        if made_from != self.dataset:
            raise CourseError(
                f"{path}: made from dataset {made_from}, not {self.dataset}; choose another "
                f"workspace, or run the lessons up to {writer} again with this dataset"
            )
        counts = read_json(path / MANIFEST).get("counts", {})
        if "stopped_at" in counts:
            at = f"{counts['stopped_at']} of {counts['steps']}"
            print(f"{name}: stopped at step {at}; run lesson {writer} again, and it goes on.")
        return path

    def record(self, name: str, value: Any) -> None:
        """Publish a value (number, string, or lists and dicts of them) under `name`.

        Kept in `lessons/<lesson>.json` of the workspace, for the report and the tests. The
        first record of a run drops the values of the run before.

        Raises CourseError for a value that JSON cannot hold.
        """
        self._values[name] = _plain(f"{self.name}: {name}", value)
        page = {
            "lesson": self.name,
            "dataset": self.dataset,
            "profile": self.profile,
            "seed": self.seed,
            "values": self._values,
        }
        write_json(values_file(self.workspace, self.name), page)

    def value(self, lesson: str, name: str) -> Any:
        """Return what another lesson ("06_train_ssd" or "06") recorded under `name`.

        Raises CourseError when it recorded no such value.
        """
        writer = maker(self.root, lesson)
        values = self._recorded(writer).get("values", {})
        if name not in values:
            known = ", ".join(values) or "nothing"
            raise CourseError(
                f"{writer}: {name}: not recorded (recorded: {known}); run lesson {writer}"
            )
        return values[name]

    def _recorded(self, lesson: str) -> dict:
        return read_json(values_file(self.workspace, lesson))

    def _build(self, lesson: str) -> None:
        from helpers.course import runner

        print(f"Building what is missing: lesson {lesson} with the defaults.")
        runner.build(
            self.root,
            lesson,
            workspace=str(self.workspace),
            dataset=self.dataset,
            profile=self.profile,
            seed=self.seed,
        )


def start(
    name: str,
    *,
    workspace: str = DEFAULTS["workspace"],
    dataset: str = DEFAULTS["dataset"],
    profile: str = DEFAULTS["profile"],
    seed: int = 0,
    build_missing: bool = False,
    **parameters: Any,
) -> Lesson:
    """Check the parameters of lesson `name` and return the lesson.

    The working directory becomes the project's root, so that a notebook behaves the same in
    JupyterLab (which starts it in `notebooks/`) and in the runner. The libraries' log noise
    is turned off. COURSE_WORKSPACE, COURSE_DATASET and COURSE_PROFILE in the environment
    replace values that are still the default.

    Args:
        name: the notebook's name, such as "02_extract_frames".
        workspace: the folder to write into; inside the project unless absolute.
        dataset: a known name, or the path of a folder.
        profile: a name of PROFILES.
        seed: of everything random, 0 or more.
        build_missing: run the lessons that write what this one needs and does not find.
        **parameters: the lesson's own parameters; `None` means that the profile decides.

    Raises:
        CourseError: one line (what was given, what is allowed, the nearest right one) for an
            unknown profile, dataset or parameter, a wrong type, or an impossible value.
    """
    quiet_libraries()
    root = find_root()
    _refuse_unknown(name, {*COMMON, *parameters}, root)
    given = {"workspace": workspace, "dataset": dataset, "profile": profile}
    replaced = []
    for key, default in DEFAULTS.items():
        variable = f"COURSE_{key.upper()}"
        if given[key] == default and os.environ.get(variable):
            given[key] = os.environ[variable]
            replaced.append(f"{key} {_without_folders(given[key])} ({variable})")

    check_profile(given["profile"], name)
    dataset = check_dataset(given["dataset"], root, name)
    for key, value in {"seed": seed, "build_missing": build_missing, **parameters}.items():
        check_parameter(key, value, name)
    os.chdir(root)
    folder = resolve_workspace(given["workspace"], root, name)

    if replaced:
        print("From the environment: " + ", ".join(replaced))
    print(
        f"Lesson {name}: dataset {_without_folders(dataset)}, profile {given['profile']}, "
        f"workspace {_without_folders(folder)}"
    )
    return Lesson(
        name=name,
        workspace=folder,
        dataset=dataset,
        profile=given["profile"],
        seed=seed,
        budget=PROFILES[given["profile"]],
        parameters=parameters,
        build_missing=build_missing,
        root=root,
    )


def _without_folders(path: str | Path) -> str:
    """Return a path as it may be printed: an absolute one would name this machine's folders."""
    return Path(path).name if Path(path).is_absolute() else Path(path).as_posix()


def _plain(item: str, value: Any) -> Any:
    """Return `value` as JSON can hold it: NumPy numbers as Python's, not-a-number as None."""

    def from_numpy(odd: Any) -> Any:
        if hasattr(odd, "tolist"):
            return odd.tolist()
        raise CourseError(f"{item}: a {type(odd).__name__}; record numbers and strings")

    try:
        return json.loads(json.dumps(value, default=from_numpy), parse_constant=lambda _: None)
    except TypeError as error:
        raise CourseError(f"{item}: {error}; record dicts with strings as keys") from None


def _refuse_unknown(lesson: str, known: Iterable[str], root: Path) -> None:
    """Refuse a name that papermill was given and the lesson does not have.

    papermill makes a variable of it, and only logs that nothing reads it. So when a program
    runs the lesson, every plain value must be a parameter; a person may have variables.
    """
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    request = getattr(shell, "parent_header", {}).get("content", {})
    if request.get("allow_stdin", True):  # somebody sits there and could be asked
        return
    plain = (bool, int, float, str, list, dict, type(None))
    odd = [
        name
        for name, value in shell.user_ns.items()
        if isinstance(value, plain)
        and not name.startswith("_")
        and name not in {*shell.user_ns_hidden, *known}
    ]
    if odd and lesson in lessons(root):
        # Whoever edits a lesson may add variables to its parameters cell.
        with suppress(CourseError):
            known = {*known, *parameters_of(read_notebook(lessons(root)[lesson]))}
    for name in odd:
        if name not in known:
            advice = allowed(name, sorted(known))
            raise CourseError(f"{lesson}: {name}: unknown parameter; {advice}")
