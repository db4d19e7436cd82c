"""Tiny lessons in the course's shape: the gate's good notebook, and courses for the runner."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

OPENING = """# Count the frames of {name}

The result is one number, printed below.

**What you'll do**: count.

**What you'll learn**: how a lesson is shaped.

**What you'll need**: nothing. It takes 1 minute."""

CLOSING = """## Recap

You counted.

## Exercises

Count again.

## Next

[{next}]({next}.ipynb)"""

PARAMETERS = {
    "workspace": "runs/course",
    "dataset": "roadside",
    "profile": "cpu",
    "seed": 0,
    "build_missing": False,
}


def lesson(name, *, cells=("print(lesson.name)",), parameters=None, following=None):
    """Return a notebook of the lesson `name` without outputs.

    `cells` are sources of the code cells after `lesson = start(...)`; `parameters` are added
    to the common ones; `following` is the lesson that the next link names.
    """
    parameters = PARAMETERS | (parameters or {})
    passed = "".join(f", {key}={key}" for key in parameters)
    literals = "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
    page = new_notebook(
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        }
    )
    page.cells = [
        new_markdown_cell(OPENING.format(name=name)),
        new_code_cell("import json\n\nfrom helpers.course import start"),
        new_code_cell(literals, metadata={"tags": ["parameters"]}),
        new_code_cell(f'lesson = start("{name}"{passed})'),
        new_markdown_cell("## Work\n\nNow to the work itself."),
        *(new_code_cell(source) for source in cells),
        new_markdown_cell(CLOSING.format(next=following or name)),
    ]
    for number, cell in enumerate(page.cells):
        cell["id"] = f"cell-{number}"
    return page


def executed(page):
    """Return the notebook as if its code cells had run in order, each with a line of output."""
    count = 0
    for cell in page.cells:
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"{count}\n")]
    return page


MAKE = """folder = lesson.folder("{folder}")
folder.mkdir(parents=True, exist_ok=True)
(folder / "manifest.json").write_text(json.dumps({{"made": lesson.name}}))
lesson.record("made", {value})"""


def course(root: Path, **changed) -> Path:
    """Write a course of three lessons at `root` and return it.

    01 makes 01_images, 02 needs it and makes 02_frames (parameter `every`), 03 needs that and
    records `total`. `changed` gives other notebooks by name, such as `c02={"cells": [...]}`.
    """
    (root / "helpers").mkdir(parents=True)
    (root / "notebooks").mkdir()
    plan = {
        "01_images": {"cells": [MAKE.format(folder="01_images", value=7)]},
        "02_frames": {
            "parameters": {"every": None, "split": "clip"},
            "cells": [
                'images = lesson.need("01_images")',
                MAKE.format(folder="02_frames", value="every or 5"),
            ],
        },
        "03_count": {
            "cells": [
                'lesson.need("02_frames")',
                'lesson.record("total", lesson.value("02", "made") + lesson.value("01", "made"))',
            ],
        },
    }
    names = list(plan)
    for number, name in enumerate(names):
        options = plan[name] | changed.get(f"c{name[:2]}", {})
        following = names[min(number + 1, len(names) - 1)]
        write(root / "notebooks" / f"{name}.ipynb", lesson(name, following=following, **options))
    return root


def write(path: Path, page) -> Path:
    """Write a notebook and return its path."""
    nbformat.write(page, path)
    return path
