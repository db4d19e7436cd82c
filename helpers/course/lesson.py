"""The first line of every lesson: checked parameters, folders, recorded values.

lesson = start("02_extract_frames", workspace=workspace, dataset=dataset, profile=profile,
               seed=seed, build_missing=build_missing, every=every)
"""

import ast
import json
import math
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.common.artifacts import MANIFEST
from helpers.common.errors import CourseError
from helpers.common.files import write_json
from helpers.common.quiet import quiet_libraries
from helpers.course.parameters import (
    COMMON,
    DEFAULTS,
    allowed,
    check_dataset,
    check_parameter,
    check_profile,
    find_root,
    resolve_workspace,
)
from helpers.course.profiles import PROFILES, Budget


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

    def need(self, name: str) -> Path:
        """Return the path of an earlier lesson's finished folder, such as "04_records".

        A folder is finished when it has a manifest. One that is missing is built when the
        lesson was started with `build_missing=True`.

        Raises CourseError when it is missing, or when it was made from another dataset; the
        line says which lesson writes it.
        """
        path = self.folder(name)
        maker = _maker(self.root, name)
        if not (path / MANIFEST).is_file():
            if not self.build_missing:
                raise CourseError(
                    f"{path}: missing; open lesson {maker} and run it, or set "
                    "build_missing = True in the parameters cell of this one"
                )
            self._build(maker)
            if not (path / MANIFEST).is_file():
                raise CourseError(f"{path}: lesson {maker} ran but did not write it; run it again")
        made_from = _read(self.workspace, maker).get("dataset", self.dataset)
        if made_from != self.dataset:
            raise CourseError(
                f"{path}: made from dataset {made_from}, not {self.dataset}; choose another "
                f"workspace, or run the lessons up to {maker} again with this dataset"
            )
        return path

    def record(self, name: str, value: Any) -> None:
        """Publish a value (number, string, or lists and dicts of them) under `name`.

        Kept in `lessons/<lesson>.json` of the workspace, for the report and the tests. The
        first record of a run drops the values of the run before.
        """
        self._values[name] = _plain(f"{self.name}: {name}", value)
        page = {
            "lesson": self.name,
            "dataset": self.dataset,
            "profile": self.profile,
            "seed": self.seed,
            "values": self._values,
        }
        write_json(self.workspace / "lessons" / f"{self.name}.json", page)

    def value(self, lesson: str, name: str) -> Any:
        """Return what another lesson ("06_train_ssd" or "06") recorded under `name`."""
        maker = _maker(self.root, lesson)
        values = _read(self.workspace, maker).get("values", {})
        if name not in values:
            known = ", ".join(values) or "nothing"
            raise CourseError(
                f"{maker}: {name}: not recorded (recorded: {known}); run lesson {maker}"
            )
        return values[name]

    def _build(self, maker: str) -> None:
        from helpers.course import runner

        print(f"Building what is missing: lesson {maker} with the defaults.")
        runner.build(
            self.root,
            maker,
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

    Further keywords are the lesson's own parameters; `None` means that the profile decides.

    Raises CourseError (one line: what was given, what is allowed, the nearest right one) for
    an unknown profile, dataset or parameter, a wrong type, or an impossible value.
    """
    quiet_libraries()
    _reject_unknown(name, {*COMMON, *parameters})
    root = find_root()
    given = {"workspace": workspace, "dataset": dataset, "profile": profile}
    replaced = []
    for key, default in DEFAULTS.items():
        variable = f"COURSE_{key.upper()}"
        if given[key] == default and os.environ.get(variable):
            given[key] = os.environ[variable]
            shown = Path(given[key]).name if Path(given[key]).is_absolute() else given[key]
            replaced.append(f"{key} {shown} ({variable})")

    check_profile(given["profile"], name)
    dataset = check_dataset(given["dataset"], root, name)
    for key, value in {"seed": seed, "build_missing": build_missing, **parameters}.items():
        check_parameter(key, value, name)
    os.chdir(root)
    folder = resolve_workspace(given["workspace"], root, name)

    if replaced:
        print("From the environment: " + ", ".join(replaced))
    shown = folder.name if folder.is_absolute() else folder.as_posix()
    source = Path(dataset).name if os.sep in dataset else dataset
    print(f"Lesson {name}: dataset {source}, profile {given['profile']}, workspace {shown}")
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


def _read(workspace: Path, lesson: str) -> dict:
    try:
        return json.loads((workspace / "lessons" / f"{lesson}.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _maker(root: Path, folder: str) -> str:
    """Return the lesson that writes `folder`: the notebook with the same number."""
    found = sorted((root / "notebooks").glob(f"{folder[:2]}_*.ipynb"))
    return found[0].stem if found else folder[:2]


def _plain(item: str, value: Any) -> Any:
    """Return `value` as JSON can hold it: NumPy numbers as Python's, not-a-number as None."""
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item, entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CourseError(f"{item}: a {type(value).__name__}; record numbers and strings")


def _reject_unknown(lesson: str, known: set[str]) -> None:
    """Find parameters that papermill injected and the lesson does not have.

    papermill only logs them, so that a mistyped name would silently change nothing.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    cells = list(shell.user_ns.get("In", [])) if shell else []
    for index in range(len(cells) - 1, 0, -1):
        if cells[index].startswith("# Parameters\n"):
            known = known | _assigned(cells[index - 1])
            for name in sorted(_assigned(cells[index]) - known):
                own = sorted(known & (_assigned(cells[index - 1]) | set(COMMON)))
                raise CourseError(f"{lesson}: {name}: unknown parameter; {allowed(name, own)}")
            return


def _assigned(source: str) -> set[str]:
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return set()
    targets = [target for line in body if isinstance(line, ast.Assign) for target in line.targets]
    return {target.id for target in targets if isinstance(target, ast.Name)}
