"""Pictures with boxes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.common.images import read_image
from helpers.plots import draw


def images(
    pictures: Sequence[np.ndarray | Path],
    *,
    truth: Sequence | None = None,
    detections: Sequence | None = None,
    titles: Sequence[str] | None = None,
    columns: int = 3,
    zoom: bool = False,
    labels: bool = False,
    caption: str,
) -> None:
    """Show pictures in a grid with their boxes.

    Args:
        pictures: RGB, uint8, [height, width, 3], or the paths of image files.
        truth: for each picture its `annotations.Box`es (solid).
        detections: for each picture a `supervision.Detections` (dashed, with scores).
        titles: one for each picture, above it.
        columns: at most so many side by side.
        zoom: show the part around the boxes instead of the whole picture.
        labels: write the class at each box; of the truth below it where there are detections, too.
    """
    if not len(pictures):
        return draw.nothing(caption)
    shown = [p if isinstance(p, np.ndarray) else read_image(p) for p in pictures]
    height, width = np.median([image.shape[:2] for image in shown], axis=0)
    has_truth, has_detections = (any(map(len, boxes or ())) for boxes in (truth, detections))
    figure, axes = draw.grid(
        len(pictures),
        columns,
        height / width,
        # One picture alone is not blown up to the whole width.
        width=11 if min(columns, len(pictures)) > 1 else 8,
        gap=0.3 if titles else 0.06,
        below=0.3 if has_truth or has_detections else 0,
    )
    for i, (ax, image) in enumerate(zip(axes, shown, strict=True)):
        ax.axis("off")
        ax.imshow(image)
        drawn = []
        if truth:
            draw.truth(ax, truth[i], labels=labels, below=detections is not None)
            drawn += [box.xyxy for box in truth[i]]
        if detections:
            draw.detections(ax, detections[i], labels=labels)
            drawn += list(detections[i].xyxy)
        if zoom and drawn:
            _zoom(ax, np.array(drawn), image.shape)
        if titles:
            ax.set_title(titles[i], fontsize=9)
    draw.box_legend(figure, truth=has_truth, detections=has_detections)
    draw.show(figure, caption, photo=True)


def _zoom(ax, xyxy: np.ndarray, shape: tuple[int, ...]) -> None:
    """Frame the boxes at the picture's aspect, at least a third of its width."""
    height, width = shape[:2]
    (x1, y1), (x2, y2) = xyxy[:, :2].min(0), xyxy[:, 2:].max(0)
    half = min(width, max(width / 3, 1.4 * (x2 - x1), 1.4 * (y2 - y1) * width / height)) / 2
    tall = half * height / width
    x = np.clip((x1 + x2) / 2, half, width - half)
    y = np.clip((y1 + y2) / 2, tall, height - tall)
    ax.set(xlim=(x - half, x + half), ylim=(y + tall, y - tall))
