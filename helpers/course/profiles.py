"""How much work a run does: one budget per profile, from profiles.yaml.

A lesson's parameter that is `None` takes its value from here.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Budget:
    """The amounts of one profile; profiles.yaml says what each is for."""

    clips: int
    clip_seconds: float
    frame_every: int
    val_ratio: float
    shards: int
    fault_steps: int
    probe_seconds: float
    ssd_preset: str
    ssd_weights: str
    ssd_steps: int
    ssd_batch: int
    frcnn_preset: str
    frcnn_weights: str
    frcnn_steps: int
    frcnn_batch: int
    eval_every: int
    video_seconds: float | None
    worker_steps: int


def _read(path: Path) -> dict[str, Budget]:
    rows = yaml.safe_load(path.read_text())
    names = rows.pop("profile")
    columns = zip(*rows.values(), strict=True)
    budgets = (Budget(**dict(zip(rows, column, strict=True))) for column in columns)
    return dict(zip(names, budgets, strict=True))


PROFILES = _read(Path(__file__).with_name("profiles.yaml"))
