"""Which detector, from which weights and for how many steps, fits the pictures at hand."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.common.errors import CourseError
from helpers.common.files import read_json
from helpers.models.presets import PRESETS

# Rules of thumb, each with what was measured (two cores; README, "What it scores").
#
# An object narrower than two cells of the finest grid, which are 8 pixels, rarely fits an anchor.
SIDE, SMALL = 320, 16
# Roadside, 860 frames: AP50 0.91 from scratch. Dashcam, 300 frames: 0.96 from ImageNet after 800
# steps, 0.89 from scratch after 1400. So few gain from weights that have seen other pictures.
FEW = 500
STEPS_ON_TILES = {"ssd_cpu": 1500, "ssd_mobilenet_v2_fpn_tiles": 800}
# Raccoons, one class, 160 photos: AP50 0.95 from ImageNet after 400 steps. Six playing cards: 0.45
# after 500 steps, 0.98 after 1500.
STEPS, STEPS_A_CLASS = 400, 250
PASSES = 4  # over the images: as many as the default course makes over its tiles
BATCH = 8


@dataclass(frozen=True)
class Recommendation:
    """A preset, the weights to start from and training steps of 8 images; and why, in a line."""

    preset: str
    weights: str
    steps: int
    reason: str


def recommend(records: Path, *, tiles: bool) -> Recommendation:
    """Return what to train on the records of lesson 04: facts of the data, and rules of thumb.

    Of the SSDs, those that two CPU cores train in minutes. Where 19 of 20 objects are large enough
    in images of 320 pixels, whole images at that size; else tiles at a higher one. Steps
    grow with the number of classes.

    Args:
        records: folder written by lesson 04, whose train.json is read.
        tiles: what `records.tiles_help` says of the presets that train on tiles.

    Raises:
        CourseError: the training images show no object that counts.
    """
    data = read_json(records / "train.json")
    counted = [a for a in data["annotations"] if not a.get("iscrowd")]
    if not counted:
        raise CourseError(f"{records / 'train.json'}: no object that counts; see lesson 03")
    images, classes = len(data["images"]), len({a["category_id"] for a in counted})
    small = _smallest(data, counted)
    if small < SMALL and tiles:
        preset = "ssd_mobilenet_v2_fpn_tiles" if images < FEW else "ssd_cpu"
        steps = STEPS_ON_TILES[preset]
        size = f"the smallest objects would have {small:.0f} pixels at {SIDE}x{SIDE}, so tiles"
    else:
        preset, steps = "ssd_mobilenet_v2_fpn", max(STEPS, math.ceil(PASSES * images / BATCH))
        size = f"the smallest objects have {small:.0f} pixels at {SIDE}x{SIDE}, so whole images"
        if small < SMALL:
            size += f" (under {SMALL} pixels many will be missed; the largest do not fit a tile)"
    weights = PRESETS[preset].weights or "scratch"
    parts = [f"{images} {_kind(data)}", size]
    if classes > 1:
        parts.append(
            f"{classes} classes, {STEPS_A_CLASS} steps for each as a rule of thumb (six playing "
            "cards: AP50 0.45 after 500 steps, 0.98 after 1500)"
        )
    steps = 100 * math.ceil(max(steps, STEPS_A_CLASS * classes) / 100)
    return Recommendation(preset, weights, steps, "; ".join(parts))


def _smallest(data: dict[str, Any], counted: list[dict]) -> float:
    """Side (root of the area) that 19 of 20 objects have in images that fit SIDE, pixels."""
    scale = {image["id"]: SIDE / max(image["height"], image["width"]) for image in data["images"]}
    sides = sorted(math.sqrt(a["area"]) * scale[a["image_id"]] for a in counted)
    return sides[len(sides) // 20]


def _kind(data: dict[str, Any]) -> str:
    """Whether these are frames of clips or single photos, as far as their clips tell."""
    clips = {image.get("clip") or image["file_name"] for image in data["images"]}
    return "frames of footage" if len(data["images"]) >= 3 * len(clips) else "photos"
