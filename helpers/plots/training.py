"""Figures of lessons 06 and 07, and of the planted faults of 04: how a detector learns."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from helpers.common.palette import GREY, LIGHT, PREDICTION, SERIES, SKY, TRUTH, VERMILION
from helpers.common.sampling import evenly
from helpers.plots import draw
from helpers.training.snapshots import read_snapshots

SNAPSHOTS_CAPTION = (
    "Held-out frames at each evaluation, the first at the top; detections scored 0.2 or more."
)
MOST_ROWS = 6


def history(histories: Mapping[str, list[dict]], *, metric: str = "AP50", caption: str) -> None:
    """Show the training curves of several detectors: {title: rows of the history}.

    Where no row has the metric, the loss is shown alone.
    """
    draw.show(_curves(histories, metric), caption)


def live_history(
    metric: str = "AP50",
    *,
    snapshots: Path | None = None,
    pictures: Sequence[np.ndarray] = (),
    truth: Sequence = (),
) -> Callable[[list[dict]], None]:
    """Return a function for `training.train(on_report=…)` that redraws loss and AP in place.

    Args:
        metric: which number of the history is drawn next to the loss.
        snapshots: folder that is being trained, to show its prediction snapshots below the
            curves, too.
        pictures, truth: as for `snapshots`; `train` gets the pictures as `watch`.
    """
    curves = draw.Redrawn(
        f"Left: the loss over the steps. Right: {metric} on held-out clips; the ring is the best."
    )
    strip = draw.Redrawn(SNAPSHOTS_CAPTION, photo=True)
    shown: list[int] = []

    def redraw(rows: list[dict]) -> None:
        curves(_curves({"": rows}, metric))
        taken = read_snapshots(snapshots) if snapshots else []
        steps = [snapshot["step"] for snapshot in taken]
        if taken and steps != shown:
            shown[:] = steps
            strip(_strip(taken, pictures, truth, rows, metric, MOST_ROWS))

    return redraw


def _curves(histories: Mapping[str, list[dict]], metric: str):
    scored = {t: [r for r in rows if r.get(metric) is not None] for t, rows in histories.items()}
    # While one training runs its scores are still to come: their place is kept.
    alone = len(histories) > 1 and not any(scored.values())
    figure, axes = draw.chart(1, 1, (8, 3)) if alone else draw.chart(1, 2, (11, 3))
    for (title, rows), colour in zip(histories.items(), SERIES, strict=False):
        steps, losses = ([row[name] for row in rows] for name in ("step", "total_loss"))
        axes[0].plot(steps, losses, color=colour, label=title)
        steps, values = ([row[name] for row in scored[title]] for name in ("step", metric))
        axes[-1].plot(steps, values, "o-", color=colour)
        if scored[title]:
            best = max(reversed(scored[title]), key=lambda row: row.get("score", row[metric]))
            ring = {"ms": 11, "mfc": "none", "mec": colour}
            axes[-1].plot(best["step"], best[metric], "o", **ring)
    every = [row for rows in histories.values() for row in rows]
    losses = [row["total_loss"] for row in every if np.isfinite(row["total_loss"])]
    if losses and max(losses) > 4 * min(losses) > 0:
        axes[0].set(ylabel="loss (log)", yscale="log")
    else:
        axes[0].set(ylabel="loss")
    if not alone:
        axes[1].set(ylabel=f"{metric} on held-out clips", ylim=(0, 1.03))
    last = max((row["step"] for row in every), default=1)
    for ax in axes:
        ax.set_xlabel("training step")
        ax.set_xlim(0, last * 1.02)
    if any(histories):
        draw.legend(axes[0])
    return figure


def snapshots(
    taken: Sequence[Mapping],
    pictures: Sequence[np.ndarray],
    truth: Sequence,
    *,
    history: Sequence[Mapping] = (),
    metric: str = "AP50",
    most: int = MOST_ROWS,
    caption: str = SNAPSHOTS_CAPTION,
) -> None:
    """Show how a detector learns: the same pictures in each row, one row for each evaluation.

    Each picture is cut around its largest object, the same in all rows. Detections are the three
    with the highest scores, of 0.2 or more; the number is the highest score.

    Args:
        taken: `training.read_snapshots(folder)`.
        pictures: those that `training.train` got as `watch`: RGB, uint8, [height, width, 3].
        truth: for each picture its `annotations.Box`es (solid).
        history: of the same training, for the score next to each row.
        metric: which number of the history that is.
        most: rows at most, spread evenly, the first and the last among them.
    """
    if not len(taken) or not len(pictures):
        return draw.nothing(caption)
    draw.show(_strip(taken, pictures, truth, history, metric, most), caption, photo=True)


def _strip(taken, pictures, truth, history, metric: str, most: int):
    """One drawing of all tiles, in pixels: dozens of axes would take seconds to draw."""
    taken = evenly(taken, most)
    classes = {box.label for boxes in truth for box in boxes}
    classes |= {name for one in taken for names in one.get("names", ()) for name in names}
    scores = {row["step"]: row.get(metric) for row in history}
    margin, gap = 78, 4
    wide = min((1100 - margin) // len(pictures) - gap, 300)
    tall = wide * 3 // 4
    width, height = margin + len(pictures) * (wide + gap), len(taken) * (tall + gap)
    windows = [_window(p.shape, boxes) for p, boxes in zip(pictures, truth, strict=True)]
    # Twice as fine as it is drawn, for screens that are.
    canvas = np.full((2 * height, 2 * width, 3), 255, np.uint8)
    tiles = [
        cv2.resize(picture[y1:y2, x1:x2], (2 * wide, 2 * tall), interpolation=cv2.INTER_CUBIC)
        for picture, (x1, y1, x2, y2) in zip(pictures, windows, strict=True)
    ]
    figure, (ax,) = draw.new_figure(1, 1, (width / 100, height / 100 + 0.32))
    ax.axis("off")
    for row, snapshot in enumerate(taken):
        step, top = snapshot["step"], row * (tall + gap)
        at, score = {"x": margin - 8, "ha": "right"}, scores.get(step)
        title = f"step {step}" if step else "start"
        ax.text(**at, y=top + tall / 2 - 2, s=title, va="bottom", fontsize=9)
        if score is not None and np.isfinite(score):
            text = f"{metric} {score:.2f}"
            ax.text(**at, y=top + tall / 2 + 2, s=text, va="top", fontsize=8, color="#555")
        for column, tile in enumerate(tiles):
            left = margin + column * (wide + gap)
            canvas[2 * top : 2 * (top + tall), 2 * left : 2 * (left + wide)] = tile
            frame = left, top, left + wide, top + tall
            found = snapshot["found"][column]
            names = snapshot["names"][column] if len(classes) > 1 and "names" in snapshot else None
            _draw_tile(ax, frame, windows[column], truth[column], found, names)
    ax.imshow(canvas, extent=(0, width, height, 0), interpolation="antialiased")
    draw.box_legend(figure)
    return figure


def _draw_tile(ax, frame, window, truth, found, names) -> None:
    """Draw what is true and what is found in the part `window` of a picture, shown in `frame`.

    `names` are the classes of what is found; None where classes are not to be written.
    """
    from matplotlib import patheffects
    from matplotlib.patches import Rectangle

    left, top, right, bottom = frame
    clip = Rectangle((left, top), right - left, bottom - top, transform=ax.transData)
    scale = (right - left) / (window[2] - window[0])
    rim = patheffects.withStroke(linewidth=2, foreground="#111")

    def outline(xyxy, colour, style) -> np.ndarray:
        box = ((np.reshape(xyxy, (2, 2)) - window[:2]) * scale + (left, top)).ravel()
        draw.box(ax, box, colour, style)
        ax.patches[-1].set_clip_path(clip)
        return box

    for box in truth:
        x1, _, _, y2 = outline(box.xyxy, TRUTH, "-")
        if names is not None and left <= x1 <= right and top <= y2 <= bottom:
            look = {"fontsize": 7, "color": LIGHT[TRUTH], "path_effects": [rim]}
            ax.text(x1 + 2, y2 - 2, box.label, va="bottom", clip_path=clip, clip_on=True, **look)
    written = False
    for i, (*xyxy, score) in enumerate([item for item in found if item[4] >= 0.2][:3]):
        x1, y1, x2, y2 = outline(xyxy, PREDICTION, "--")
        # One number in a picture: those of neighbours would cover one another.
        if written or x2 < left or y2 < top or x1 > right or y1 > bottom:
            continue
        written, above = True, y1 - top > 16
        text = f"{names[i]} {score:.2f}" if names else f"{score:.2f}"
        ax.text(
            max(min(max(x1, left + 3), right - 6 - 5 * len(text)), left + 3),
            y1 - 3 if above else min(y2 + 3, bottom - 16),
            text,
            va="bottom" if above else "top",
            fontsize=9,
            color=PREDICTION,
            path_effects=[rim],
        )


def _window(shape: tuple[int, ...], boxes: Sequence) -> tuple[int, int, int, int]:
    """Return the part of a picture to look at, x1, y1, x2, y2, 4 to 3: its largest object."""
    height, width = shape[:2]

    def order(box):  # one that the border cuts shows less than a smaller one that is whole
        whole = min(box.xmin, box.ymin, width - box.xmax, height - box.ymax) > 2
        return whole, box.area

    largest = max(boxes, key=order, default=None)
    if largest is None:
        side, (x, y) = width / 2, (width / 2, height / 2)
    else:
        x, y = (largest.xmin + largest.xmax) / 2, (largest.ymin + largest.ymax) / 2
        side = 2.4 * max(largest.xmax - largest.xmin, 4 / 3 * (largest.ymax - largest.ymin))
    # Not so near that single pixels show.
    wide = round(min(max(side, 96), width, height * 4 / 3))
    tall = wide * 3 // 4
    x1 = int(np.clip(x - wide / 2, 0, width - wide))
    y1 = int(np.clip(y - tall / 2, 0, height - tall))
    return x1, y1, x1 + wide, y1 + tall


def consequences(results: Mapping[str, Mapping], *, caption: str) -> None:
    """Show the loss of several trainings, and what each detector finds in the end.

    Args:
        results: what `training.train_on_faults` returns: name -> {"loss", "found", "objects"}.
    """
    figure, (losses, bars) = draw.chart(1, 2, (11, 3.6))
    colours = (*SERIES, VERMILION, SKY, GREY)
    for y, ((name, result), colour) in enumerate(zip(results.items(), colours, strict=False)):
        loss, found = result["loss"], result["found"]
        # Every second one dashed: curves that lie upon each other stay visible.
        style = {"color": colour, "lw": 2, "ls": ("-", (0, (3, 2)))[y % 2], "zorder": 2 + y % 2}
        losses.plot(range(1, len(loss) + 1), loss, label=name, **style)
        bars.barh(y, found, 0.7, color=colour)
        bars.text(found, y, f" {found}", va="center", fontsize=9)
    most = max(result["objects"] for result in results.values())
    losses.set(xlabel="training step", ylabel="loss (log)", yscale="log")
    bars.set(xlabel=f"objects found, of {most}", xlim=(0, most * 1.05))
    bars.set_yticks(range(len(results)), list(results))
    bars.invert_yaxis()
    bars.xaxis.get_major_locator().set_params(integer=True)
    draw.legend(figure, loc="outside upper left", ncols=3, handlelength=3)
    draw.show(figure, caption)
