"""The lessons as notebooks: where they are, and what stands in them."""

import ast
import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.common.errors import CourseError
from helpers.common.files import ROOT
from helpers.course.parameters import allowed


def find_root(start: Path | None = None) -> Path:
    """Return the project's root: the nearest folder upwards with `helpers/` and `notebooks/`."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "helpers").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return ROOT


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


def maker(root: Path, folder: str) -> str:
    """Return the lesson that writes the workspace's `folder`: the one with the same number."""
    return next((name for name in lessons(root) if name[:2] == folder[:2]), folder[:2])


def read_notebook(path: Path) -> Any:
    """Return the notebook as nbformat reads it; CourseError when it is none."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:
        line = " ".join(str(error).split())[:200]
        raise CourseError(f"{path.name}: not a notebook ({line}); restore the file") from None


def parameters_of(notebook: Any) -> dict[str, Any]:
    """Return the names and literal values of the cell tagged `parameters` ({} without one)."""
    found = {}
    for cell in notebook.cells:
        if has_tag(cell, "parameters"):
            for line in ast.parse(cell.source).body:
                match line:
                    case ast.Assign(targets=[ast.Name(id=name)], value=value):
                        with contextlib.suppress(ValueError):
                            found[name] = ast.literal_eval(value)
    return found


def has_tag(cell: Any, *tags: str) -> bool:
    """Return whether a notebook's cell has one of these tags."""
    return not set(tags).isdisjoint(cell.metadata.get("tags", []))


def source_hash(notebook: Any) -> str:
    """Return a hash of the notebook's cells without their outputs."""
    cells = [[cell.cell_type, cell.source] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:16]
