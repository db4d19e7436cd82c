"""Puts the outputs of a cpu run into the notebooks that readers see on a code host."""

import copy
import json
import re
from pathlib import Path
from typing import Any

from helpers.common.errors import CourseError
from helpers.common.files import write_json, write_text
from helpers.common.palette import PREDICTION
from helpers.course.notebooks import (
    choose,
    has_tag,
    lessons,
    parameters_of,
    read_notebook,
    source_hash,
)
from helpers.course.parameters import DEFAULTS
from helpers.course.saving import WIDGET
from helpers.course.workspace import executed_file, read_state, resolve_workspace
from helpers.inference.detector import load_detector, save_detector

PAGE_LIMIT = 700_000  # bytes of a notebook with its outputs
VIDEO_LIMIT = 100_000  # characters; a longer video stays in the workspace

MACHINE_PATH = re.compile(
    r"(?<![\w.~-])(?:/(?:home|root|work|tmp|Users|mnt)/[\w.~-]|[A-Za-z]:\\{1,2}\w)[^\s'\"<>]*"
)
WARNING = re.compile(r"\b\w*Warning:|\bWARNING\b")
_EMBEDDED = re.compile(r"base64,[A-Za-z0-9+/=\s]+")


def publish(root: Path, workspace: str | Path, only: str | None = None) -> None:
    """Copy outputs of the run in `workspace` into `notebooks/`: every lesson, or none.

    Progress bars, widgets, messages on stderr, long videos, the injected parameters and the
    times of execution are left out; cells are numbered from 1; the source stays as it is.

    Raises CourseError when a lesson has not run to its end with its own parameters and the
    source it has now, when a page would be over 700 kB, or when an output shows a path of
    this machine or a warning.
    """
    import nbformat

    folder = root / resolve_workspace(workspace, root)
    notebooks = lessons(root)
    names = choose(only, list(notebooks)) if only else list(notebooks)
    pages = {}
    for name in names:
        source = read_notebook(notebooks[name])
        _refuse_state(name, source, folder)
        page = clean(name, source, read_notebook(executed_file(folder, name)))
        text = nbformat.writes(page, version=4) + "\n"
        if (size := len(text.encode())) > PAGE_LIMIT:
            raise CourseError(
                f"{name}: {size / 1000:.0f} kB with its outputs; at most "
                f"{PAGE_LIMIT / 1000:.0f}, use smaller pictures"
            )
        pages[notebooks[name]] = text
    for path, text in pages.items():
        write_text(path, text)
        print(f"{path.stem:<28} {len(text.encode()) / 1000:.0f} kB")


def clean(name: str, source: Any, executed: Any) -> Any:
    """Return the notebook `source` with the outputs of `executed` that a reader should see."""
    added = ("injected-parameters", "papermill-error-cell-tag")
    ran = [cell for cell in executed.cells if not has_tag(cell, *added)]
    if [cell.source for cell in ran] != [cell.source for cell in source.cells]:
        raise CourseError(f"{name}: its executed notebook has other cells; run it again")
    page = copy.deepcopy(source)
    for key in ("widgets", "papermill"):
        page.metadata.pop(key, None)
    count = 0
    for cell, done in zip(page.cells, ran, strict=True):
        if cell.cell_type != "code":
            continue
        for key in ("papermill", "execution", "ExecuteTime"):
            cell.metadata.pop(key, None)
        count += bool(cell.source.strip())
        cell.execution_count = count if cell.source.strip() else None
        cell.outputs = [kept for output in done.outputs if (kept := _output(output))]
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
            _refuse(f"{name}: code cell {count}", output)
    return page


def output_texts(output: Any) -> list[str]:
    """Return the texts of an output that a reader sees, without embedded pictures."""
    if output.output_type == "stream":
        return [_joined(output.text)]
    if output.output_type == "error":
        return [f"{output.ename}: {output.evalue}", *output.traceback]
    return [
        _EMBEDDED.sub("", _joined(value))
        for kind, value in output.get("data", {}).items()
        if isinstance(value, str | list) and (kind.startswith("text/") or kind == "image/svg+xml")
    ]


def result_picture(workspace: Path, path: Path) -> None:
    """Save the README's picture: a frame of lesson 11's clip with its detections.

    The frame with the highest score of a box that is 100 to 200 pixels high: a larger one fills
    a tile of the training, and its box is loose.
    """
    import cv2
    import pandas as pd
    from matplotlib.figure import Figure

    from helpers.footage.video import decode_frames
    from helpers.plots import draw

    rows = pd.read_csv(workspace / "11_video" / "detections.csv")
    height = rows["ymax"] - rows["ymin"]
    number = rows[height.between(100, 200)].sort_values("score")["frame"].iloc[-1]
    (source,) = (workspace / "11_source" / "clips").glob("*.mp4")
    ((_, image),) = decode_frames(source, {int(number)})
    figure = Figure(figsize=(image.shape[1] / 100, image.shape[0] / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    axes.axis("off")
    for row in rows[rows["frame"] == number].itertuples():
        xyxy = (row.xmin, row.ymin, row.xmax, row.ymax)
        draw.box(axes, xyxy, PREDICTION, "--", f"{row.label} {row.score:.2f}")
    figure.savefig(path, pil_kwargs={"quality": 85})


def ship_detector(workspace: Path, folder: Path) -> None:
    """Save the SSD that lesson 06 trained in `workspace` as the detector that the course ships.

    Its weights are stored as float16; scores.json keeps what lesson 08 measured.
    """
    scores = json.loads((workspace / "08_evaluation" / "metrics.json").read_text())["SSD"]
    truth = json.loads((workspace / "04_records" / "val.json").read_text())
    save_detector(load_detector(workspace / "06_ssd"), folder, half=True)
    kept = {name: scores[name] for name in ("AP", "AP50", "AP50_low", "AP50_high")}
    kept["images"] = len(truth["images"])
    kept["clips"] = len({image["clip"] for image in truth["images"]})
    kept["interval_over"] = scores["interval_over"]
    kept["command"] = "make course && make detector"
    write_json(folder / "scores.json", kept)


def _output(output: Any) -> Any | None:
    """Return an output as it is published; None for one that is left out."""
    from helpers.common.progress import METADATA as BAR

    output = copy.deepcopy(output)
    if output.output_type == "stream":
        return output if output.name == "stdout" and _joined(output.text).strip() else None
    data = output.get("data", {})
    if WIDGET in data or BAR in output.get("metadata", {}):
        return None
    long_video = [
        kind
        for kind, value in data.items()
        if (kind.startswith("video/") or (kind == "text/html" and "<video" in _joined(value)))
        and len(_joined(value)) > VIDEO_LIMIT
    ]
    if long_video:
        for kind in long_video:
            del data[kind]
        data["text/plain"] = "(The video appears here when you run this cell.)"
    return output


def _refuse_state(name: str, source: Any, folder: Path) -> None:
    """Refuse a lesson that has not run to its end as its notebook stands."""
    state = read_state(folder, name)
    if state.get("status") != "done":
        raise CourseError(f"{name}: has not run to its end in {folder.name}; run the course")
    if state["source"] != source_hash(source):
        raise CourseError(f"{name}: was changed after the run; run it again, then publish")
    own = DEFAULTS | parameters_of(source)
    for key, value in state["parameters"].items():
        if key != "workspace" and value != own[key]:
            raise CourseError(
                f"{name}: ran with {key} = {value!r}; the notebook says {own[key]!r}, "
                "run the course with its defaults"
            )


def _refuse(where: str, output: Any) -> None:
    if output.output_type == "error":
        raise CourseError(f"{where}: ended with {output.ename}; run the lesson again")
    for text in output_texts(output):
        if found := MACHINE_PATH.search(text):
            raise CourseError(f"{where}: shows a path of this machine: {found[0]}; print less")
        if found := WARNING.search(text):
            line = next(line for line in text.splitlines() if found[0] in line)
            raise CourseError(f"{where}: shows a warning: {line.strip()[:120]}; fix its cause")


def _joined(text: Any) -> str:
    return "".join(text) if isinstance(text, list) else str(text)
