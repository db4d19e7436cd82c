"""What a run made: summary.json, and the page report.html with scores, pictures and the clip."""

import json
import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helpers.common.artifacts import versions
from helpers.common.files import write_text
from helpers.course.notebooks import has_tag, read_notebook
from helpers.course.workspace import executed_file, read_json, read_state, values_file

VIDEO = "11_video/annotated.mp4"
_VERSIONS = ("tensorflow", "tf-models-official", "numpy", "opencv-python-headless", "papermill")
_MODEL = re.compile(r"(ssd|faster_rcnn)_(.+)", re.IGNORECASE)
_TITLES = {"ssd": "SSD", "faster_rcnn": "Faster R-CNN"}


def summarize(
    workspace: Path, lessons: list[str], parameters: dict[str, Any], failed: dict | None = None
) -> dict[str, Any]:
    """Return the page of summary.json: what is known of every lesson that has run.

    Args:
        workspace: the folder of the run.
        lessons: names of the course's lessons, in order.
        parameters: workspace, dataset, profile, and what else was asked for.
        failed: lesson, cell, source and error of the lesson that ended the run.
    """
    shown = {}
    for name in lessons:
        if state := read_state(workspace, name):
            shown[name] = {
                "status": state["status"],
                "seconds": state["seconds"],
                "finished": state["finished"],
                "profile": state["parameters"].get("profile", parameters["profile"]),
                "metrics": read_json(values_file(workspace, name)).get("values", {}),
            }
    dataset = parameters["dataset"]
    own = {k: v for k, v in parameters.items() if k not in ("workspace", "dataset", "profile")}
    summary = {
        "profile": parameters["profile"],
        "dataset": Path(dataset).name if os.sep in dataset else dataset,
        "parameters": own,
        "seed": own.get("seed", 0),
        "split": own.get("split", "clip"),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M UTC}",
        "seconds": round(sum(entry["seconds"] for entry in shown.values()), 1),
        "machine": _machine(),
        "versions": versions(_VERSIONS),
        "lessons": shown,
    }
    if failed:
        summary["failed"] = failed
    return summary


def write_report(workspace: Path, summary: dict[str, Any]) -> Path:
    """Write `report.html` into the workspace from its summary and return its path.

    One file that works offline: pictures are inside, the video is linked by its relative
    path. Pictures are the outputs of cells tagged `report` in the executed notebooks;
    the caption is the cell's metadata `caption`, else the first line that it printed.
    """
    import jinja2

    lessons = summary["lessons"]
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"number": number, "words": words, "title": title}
    text = templates.get_template("report.html").render(
        summary=summary,
        lessons=lessons,
        scores=scores(lessons),
        pictures=[picture for name in lessons for picture in _pictures(workspace, name)],
        video=VIDEO if (workspace / VIDEO).is_file() else None,
        notebooks={name for name in lessons if executed_file(workspace, name).is_file()},
    )
    path = workspace / "report.html"
    write_text(path, text)
    return path


def scores(lessons: dict[str, dict]) -> dict[str, dict[str, dict]]:
    """Return {model: {column: {"value", "low", "high", "share"}}} of the recorded numbers.

    Read from records such as `ssd_AP50` with `ssd_AP50_low` and `ssd_AP50_high`; without any,
    from AP and AP50 of the lessons that train. A `share` runs from 0 to 1.
    """
    rows: dict[str, dict] = {}
    for entry in lessons.values():
        for name, value in entry["metrics"].items():
            if (match := _MODEL.fullmatch(name)) and _is_number(value):
                rows.setdefault(_TITLES[match[1].lower()], {})[match[2]] = value
    if not rows:
        for name, entry in lessons.items():
            if own := {k: v for k, v in entry["metrics"].items() if k in ("AP", "AP50")}:
                rows[title(name)] = own
    return {model: _cells(row) for model, row in rows.items()}


def number(value: Any) -> str:
    """Return a value as a person would write it: 0.912, 4.1, 1 200, 3.2 M."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if not _is_number(value):
        text = value if isinstance(value, str) else json.dumps(value)
        return text if len(text) < 160 else text[:150] + " ..."
    if abs(value) >= 1e6:
        return f"{value / 1e6:.1f} M"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.3f}" if abs(value) <= 1 else f"{value:.1f}"


def words(name: str) -> str:
    """Return a recorded name as words."""
    return name.replace("_", " ").strip()


def title(lesson: str) -> str:
    """Return "06_train_ssd" as "Train SSD"."""
    text = words(lesson[3:] if lesson[:2].isdigit() else lesson)
    for plain, proper in {**_TITLES, "tfrecords": "TFRecords"}.items():
        text = text.replace(words(plain), proper)
    return text[:1].upper() + text[1:]


def _cells(row: dict[str, Any]) -> dict[str, dict]:
    """Return the columns of a model, each with the ends of its interval."""
    ends = {f"{column}{end}" for column in row for end in ("_low", "_high")}
    return {
        column: {
            "value": value,
            "low": row.get(f"{column}_low"),
            "high": row.get(f"{column}_high"),
            "share": _is_number(value) and column.startswith("AP") and 0 <= value <= 1,
        }
        for column, value in row.items()
        if column not in ends
    }


def _pictures(workspace: Path, lesson: str) -> list[dict[str, str]]:
    """Return lesson, source (a data: URL) and caption of the pictures tagged for the report."""
    path = executed_file(workspace, lesson)
    cells = read_notebook(path).cells if path.is_file() else []
    found = []
    for cell in cells:
        if not has_tag(cell, "report"):
            continue
        outputs = cell.get("outputs", [])
        printed = "".join(o.text for o in outputs if o.get("name") == "stdout").strip()
        caption = cell.metadata.get("caption") or printed.split("\n")[0]
        for output in outputs:
            for kind in ("image/png", "image/jpeg"):
                if data := output.get("data", {}).get(kind):
                    source = f"data:{kind};base64,{data.strip()}"
                    found.append({"lesson": lesson, "source": source, "caption": caption})
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _machine() -> dict[str, Any]:
    """Return the class of this machine: system, cores, memory; nothing that names it."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError):
        memory = 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.machine()}"
    return {"platform": system, "cores": cores, "memory_gb": round(memory, 1)}
