"""The detectors one can train here; the table is presets.yaml.

A preset is a registered Model Garden experiment and the few settings in which it differs.
Each names its ancestor in the zoo of the old TensorFlow Object Detection API.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.common.files import ROOT
from helpers.models.tables import read_table


@dataclass(frozen=True)
class Preset:
    """A detector by name.

    Attributes:
        name: how lessons and files call it.
        title: how tables and figures call it.
        family: "ssd" (one stage) or "faster_rcnn" (two stages).
        ancestor: its kin in the model zoo of the old TensorFlow Object Detection API.
        experiment: the registered Model Garden experiment that it edits.
        weights: the published pretrained weights that fit, as `use_pretrained` calls them; None
            where there are none.
        learning_rate: for a batch of 8.
        tile: side in pixels of the tiles to train on where all objects are small; None trains
            on whole images.
        settings: dotted config keys and their values, where it differs from the experiment.
    """

    name: str
    title: str
    family: str
    ancestor: str
    experiment: str
    learning_rate: float
    weights: str | None = None
    tile: int | None = None
    settings: dict[str, Any] = field(default_factory=dict, hash=False)


def _read_presets() -> dict[str, Preset]:
    table, presets = read_table("presets.yaml"), {}
    for name, row in table["presets"].items():
        settings: dict[str, Any] = {}
        for group in row["shared"]:
            settings |= table["shared"][group]
        settings |= row.get("settings", {})
        fields = {key: value for key, value in row.items() if key != "shared"}
        presets[name] = Preset(name, **fields | {"settings": settings})
    return presets


PRESETS = _read_presets()

MEASURED = ROOT / "data/models.json"
COLUMNS = {
    "title": "detector, preset",
    "ancestor": "in the old API",
    "input": "input",
    "parameters": "million weights",
    "ms_per_image": "ms an image",
    "ms_per_step": "ms a step",
    "step_memory_mb": "GB a step (images)",
    "weights": "pretrained on",
}


def preset_rows(measured: Path = MEASURED) -> list[dict[str, Any]]:
    """Return what is known of each preset, a dict a preset, in their order.

    Args:
        measured: the JSON file of measurements, which tests/benchmarks/models.py writes.

    Returns:
        Rows with name, family, the keys of COLUMNS, `batch` (images a training step) and
        `trained_on` (height and width of those images). Measured are the parameters that training
        changes, milliseconds by the clock, and megabytes (2^20 bytes) of the process at its
        largest; they are None where a preset was not measured.
    """
    stored = {row["name"]: row for row in json.loads(measured.read_text())["rows"]}
    known = ("name", "title", "family", "ancestor", "weights")
    numbers = ("input", "trained_on", "batch", "parameters", "ms_per_image", "ms_per_step")
    return [
        {key: getattr(preset, key) for key in known}
        | {key: stored.get(preset.name, {}).get(key) for key in (*numbers, "step_memory_mb")}
        for preset in PRESETS.values()
    ]


def preset_table(
    rows: list[dict[str, Any]] | None = None, *, columns: Iterable[str] = tuple(COLUMNS)
) -> str:
    """Return `rows`, by default those of `preset_rows`, as a Markdown table of some COLUMNS."""
    rows, names = preset_rows() if rows is None else rows, list(columns)
    lines = [[COLUMNS[name] for name in names], ["---"] * len(names)]
    lines += [[_cell(row, name) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if value is None:
        return "–"
    if name == "title":
        return f"{value}<br>`{row['name']}`"
    if name == "input":
        return "x".join(map(str, value))
    if name == "parameters":
        return f"{value / 1e6:.1f}"
    if name == "step_memory_mb":
        size = "x".join(map(str, row["trained_on"]))
        return f"{value / 1024:.1f} ({row['batch']} of {size})"
    return f"{value:.0f}" if name.startswith("ms") else value
