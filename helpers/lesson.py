"""The first line of every lesson: checked parameters, folders, recorded values.

lesson = start("02_extract_frames", workspace=workspace, dataset=dataset, profile=profile,
               seed=seed, build_missing=build_missing, every=every)
"""

import ast
import difflib
import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.artifacts import MANIFEST, write_text
from helpers.errors import CourseError
from helpers.profiles import PROFILES, Budget

# TensorFlow reads these when it is imported, which a lesson may do before `start`.
for _name, _value in {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "ERROR",
    "GLOG_minloglevel": "3",
    "AUTOGRAPH_VERBOSITY": "0",
    # A kernel's PATH need not hold the environment that it runs in.
    "TENSORBOARD_BINARY": str(Path(sys.executable).with_name("tensorboard")),
}.items():
    os.environ.setdefault(_name, _value)

DEFAULTS = {"workspace": "runs/course", "dataset": "roadside", "profile": "cpu"}
COMMON = (*DEFAULTS, "seed", "build_missing")

# What a lesson's own parameter may be, by the words in its name.
_COUNTS = {"steps", "every", "batch", "limit", "clips", "shards", "epochs", "frames", "count"}
_FRACTIONS = {"ratio", "threshold", "fraction", "score", "overlap"}
_AMOUNTS = {"seconds", "rate"}
_CHOICES = {"split": ("clip", "frame", "author")}


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
        from helpers import course

        print(f"Building what is missing: lesson {maker} with the defaults.")
        course.build(
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
    _quiet()
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


def find_root(start: Path | None = None) -> Path:
    """Return the project's root: the nearest folder upwards with `helpers/` and `notebooks/`."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "helpers").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return Path(__file__).resolve().parents[1]


def resolve_workspace(workspace: str | Path, root: Path, lesson: str = "course") -> Path:
    """Return the workspace's path: relative to `root` where it lies inside, else absolute."""
    if not isinstance(workspace, str | Path) or not str(workspace).strip():
        raise CourseError(
            f'{lesson}: workspace: {workspace!r}; give a folder, such as "runs/course"'
        )
    path = (root / Path(workspace).expanduser()).resolve()
    if path.exists() and not path.is_dir():
        raise CourseError(f"{lesson}: workspace: {workspace}; is a file, give a folder")
    return path.relative_to(root) if path.is_relative_to(root) and path != root else path


def check_profile(profile: str, lesson: str = "course") -> None:
    """Raise CourseError unless `profile` is a row of PROFILES."""
    if profile not in PROFILES:
        raise CourseError(f"{lesson}: profile: {profile!r}; {_allowed(profile, PROFILES)}")


def check_dataset(dataset: str, root: Path, lesson: str = "course") -> str:
    """Return `dataset`: a known name as it is, a folder or file as an absolute path."""
    if dataset == DEFAULTS["dataset"]:
        return dataset
    from helpers import datasets

    names = list(dict.fromkeys([DEFAULTS["dataset"], *datasets.names()]))
    if dataset in names:
        return dataset
    if isinstance(dataset, str | Path) and str(dataset).strip():
        path = root / Path(dataset).expanduser()
        if path.exists():
            return str(path.resolve())
    raise CourseError(
        f"{lesson}: dataset: {dataset!r}; {_allowed(dataset, names)}, "
        "or the path of a folder of your own"
    )


def check_parameter(name: str, value: Any, lesson: str = "course") -> None:
    """Raise CourseError when `value` cannot be that of a parameter with this name.

    Counts (steps, batch, every, limit, ...) are whole numbers above 0, fractions (threshold,
    ratio, ...) lie in 0..1, seconds and rates are above 0; `None` leaves them to the profile.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = isinstance(value, int) and not isinstance(value, bool)
    words = set(name.split("_"))
    if name == "seed":
        good, rule = whole and value >= 0, "give a whole number, 0 or more"
    elif name in ("build_missing", "broad"):
        good, rule = isinstance(value, bool), "give True or False"
    elif value is None:
        return
    elif name in _CHOICES:
        good, rule = value in _CHOICES[name], _allowed(value, _CHOICES[name])
    elif words & _COUNTS:
        good, rule = whole and value > 0, "give a whole number above 0, or None"
    elif words & _FRACTIONS:
        good, rule = number and 0 <= value <= 1, "give a number from 0 to 1, or None"
    elif words & _AMOUNTS:
        good = number and math.isfinite(value) and value > 0
        rule = "give a number above 0, or None"
    else:
        return
    if not good:
        raise CourseError(f"{lesson}: {name}: {value!r}; {rule}")


def write_json(path: Path, page: dict) -> None:
    """Write `page` to `path` whole or not at all."""
    write_text(path, json.dumps(page, indent=1) + "\n")


def _allowed(value: Any, names: Iterable[str]) -> str:
    names = list(names)
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    return f"use {', '.join(names)}" + (f" (nearest: {near[0]})" if near else "")


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
                raise CourseError(f"{lesson}: {name}: unknown parameter; {_allowed(name, own)}")
            return


def _assigned(source: str) -> set[str]:
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return set()
    targets = [target for line in body if isinstance(line, ast.Assign) for target in line.targets]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _quiet() -> None:
    """Silence what the libraries say about themselves; errors still come through."""
    # IPython makes TensorFlow's logger reset its own level on import; a filter stays.
    logger = logging.getLogger("tensorflow")
    if _only_errors not in logger.filters:
        logger.addFilter(_only_errors)
    try:
        from absl import logging as absl_logging

        absl_logging.set_verbosity(absl_logging.ERROR)
    except ImportError:  # TensorFlow is not needed by every lesson
        pass
    silent = ("pkg_resources is deprecated", "IProgress not found")
    # Model Garden's MobileNet gives a map that no pyramid asks for.
    for message in (*silent, "Input dict contained keys"):
        warnings.filterwarnings("ignore", message=f".*{message}")
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)


def _only_errors(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
