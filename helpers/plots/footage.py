"""Figures of lessons 01 and 02: footage and the frames taken out of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.common.images import decode_file, fit
from helpers.common.palette import FOURTH, GREY, PREDICTION, THIRD, TRUTH
from helpers.common.sampling import evenly
from helpers.plots import draw

# How the rim of a frame is drawn, by the reason for which it was dropped.
RIMS = {
    "": (TRUTH, "-"),
    "blurred": (PREDICTION, "--"),
    "near-copy": (FOURTH, ":"),
    "damaged": (GREY, "-."),
}


def heights_over_distance(
    rows: Mapping[str, Sequence], *, lines: Mapping[str, float] | None = None, caption: str
) -> None:
    """Show how tall objects are in the picture, over how far away they are.

    Args:
        rows: columns `distance_m` (metres) and `ymin`, `ymax` (pixels), such as a table of
            `<clip>.boxes.csv`.
        lines: named heights in pixels, drawn across.
    """
    distance = np.asarray(rows["distance_m"], float)
    if not len(distance):
        return draw.nothing(caption)
    height = np.asarray(rows["ymax"], float) - np.asarray(rows["ymin"], float)
    figure, (ax,) = draw.chart(1, 1, (8, 3.2))
    ax.plot(distance, height, "o", ms=3, alpha=0.35, mew=0, color=TRUTH)
    draw.marks(ax.axhline, lines)
    ax.set(xlabel="distance, metres", ylabel="height in the picture, pixels", yscale="log")
    ax.yaxis.set_major_formatter("{x:.0f}")
    if lines:
        draw.legend(ax)
    draw.show(figure, caption)


def histogram(
    values: Sequence[float] | Mapping[str, Sequence[float]],
    *,
    label: str,
    marks: Mapping[str, float] | None = None,
    bins: int | Sequence[float] = 40,
    caption: str,
) -> None:
    """Show how values are spread, with named vertical lines (`marks`).

    A mapping {name: values} is stacked, one colour each.
    """
    series = values if isinstance(values, Mapping) else {"": values}
    series = {name: list(part) for name, part in series.items() if len(part)}
    if not series:
        return draw.nothing(caption)
    figure, (ax,) = draw.chart(1, 1, (8, 2.8))
    ax.hist(
        list(series.values()),
        bins=bins,
        stacked=True,
        color=(TRUTH, GREY, THIRD, FOURTH)[: len(series)],
        label=list(series),
        edgecolor="w",
        linewidth=0.4,
    )
    draw.marks(ax.axvline, marks)
    ax.set(xlabel=label, ylabel="how many")
    ax.yaxis.get_major_locator().set_params(integer=True)
    if marks or "" not in series:
        draw.legend(ax)
    draw.show(figure, caption)


def contact_sheet(
    folder: Path | str, *, clip: str | None = None, most: int = 40, columns: int = 8
) -> None:
    """Show what `footage.extract_frames` kept and dropped, and why, in the order of the clips.

    Kept frames have a solid blue rim. Dropped ones are paler, with their reason: blurred (dashed,
    with the sharpness that was too low), near-copy (dotted, with the bits that differ) or damaged
    (no picture).

    Args:
        folder: a `02_frames`.
        clip: only this clip; None for all.
        most: show at most so many frames, up to half of them dropped ones, spread evenly.
        columns: at most so many side by side.

    Raises:
        CourseError: `folder` is no `02_frames`, or has no such clip.
    """
    folder = Path(folder)
    kept = read_csv(folder / "frames.csv", ("image", "clip", "frame", "time"))
    dropped = read_csv(folder / "dropped.csv", ("thumbnail", "clip", "frame", "reason", "detail"))
    if clip is not None:
        names = sorted({row["clip"] for row in kept + dropped})
        if clip not in names:
            raise CourseError(f"{folder}: clip {clip!r}: not in it; its clips: {', '.join(names)}")
        kept, dropped = ([r for r in rows if r["clip"] == clip] for rows in (kept, dropped))
    reasons = [row["reason"] for row in dropped]
    counts = ", ".join(f"{reasons.count(name)} {name}" for name in dict.fromkeys(reasons))
    caption = f"{len(kept)} frames kept, {len(dropped)} dropped{counts and f': {counts}'}."
    rows = evenly(kept, max(most - len(dropped), most // 2))
    rows += evenly(dropped, most - len(rows))
    if not rows:
        return draw.nothing(caption)
    if len(rows) < len(kept) + len(dropped):
        caption += f" {len(rows)} of them, spread evenly."
    # In the order in which the clips come in the tables; photos have no frame number.
    clips = list(dict.fromkeys(row["clip"] for row in kept + dropped))
    rows.sort(key=lambda row: (clips.index(row["clip"]), int(row["frame"] or 0)))

    pictures = [_thumbnail(folder, row) for row in rows]
    shapes = [picture.shape for picture in pictures if picture is not None] or [(9, 16)]
    aspect = float(np.median([shape[0] / shape[1] for shape in shapes]))
    figure, axes = draw.grid(len(rows), columns, min(aspect, 1.4), gap=0.36, below=0.4)
    for ax, row, picture in zip(axes, rows, pictures, strict=True):
        reason = row.get("reason") or ""
        colour, style = RIMS[reason]
        if picture is None:
            picture = np.full((90, max(1, round(90 / aspect)), 3), 238, np.uint8)
        ax.imshow(picture, alpha=0.55 if reason else 1)
        ax.set_title(_title(row, with_clip=len(clips) > 1), fontsize=7, color="#222")
        for spine in ax.spines.values():
            spine.set(edgecolor=colour, linestyle=style, linewidth=2.5)
    present = {row.get("reason") or "" for row in rows}
    lines = [(name or "kept", *rim, 2.5) for name, rim in RIMS.items() if name in present]
    draw.line_legend(figure, lines, loc="outside lower right", ncols=4)
    draw.show(figure, caption, photo=True)


def _title(row: Mapping[str, str], *, with_clip: bool) -> str:
    """When a frame was, and what became of it."""
    when = f"{float(row['time']):.2f} s" if row["time"] else ""
    if with_clip:
        clip = row["clip"]
        when = f"{clip if len(clip) <= 15 else f'…{clip[-14:]}'} {when}"
    reason, detail = row.get("reason") or "", row.get("detail") or ""
    if reason == "blurred":
        reason += f" ({detail.partition(',')[0].removeprefix('sharpness ')})"
    elif reason == "near-copy":
        reason += f" ({detail.partition(' ')[0]} bits)"
    return f"{when}\n{reason or 'kept'}".strip()


def _thumbnail(folder: Path, row: Mapping[str, str]) -> np.ndarray | None:
    """The picture of a row of frames.csv or dropped.csv, RGB, 240 pixels wide; None without one."""
    path = folder / "images" / row["image"] if "image" in row else None
    if path is None and row["thumbnail"]:
        path = folder / "dropped" / row["thumbnail"]
    image = decode_file(path) if path else None
    if image is None:
        return None
    if max(image.shape) > 240:
        image = fit(image, 240, 240)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
