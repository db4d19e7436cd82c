"""Figures of lessons 06, 07 and 11: what a detector sees, inside and in the end."""

from collections.abc import Mapping, Sequence

import numpy as np

from helpers import inference
from helpers.common.errors import CourseError
from helpers.common.palette import FOURTH, PREDICTION, SKY, THIRD, VERMILION, YELLOW
from helpers.plots import draw

LEVELS = (YELLOW, THIRD, FOURTH, SKY, VERMILION)
MOST_BOXES = 30


def detections_over_time(rows: Mapping[str, Sequence], *, caption: str) -> None:
    """Show the detections of a video: time, height of the box, and score as colour.

    Args:
        rows: columns of detections.csv: time (s), score (0..1), ymin, ymax (pixels).
    """
    time = np.asarray(rows["time"], float)
    if not len(time):
        return draw.nothing(caption)
    height = np.asarray(rows["ymax"], float) - np.asarray(rows["ymin"], float)
    figure, (ax,) = draw.chart(1, 1, (9, 3.2))
    dots = ax.scatter(time, height, c=rows["score"], s=16, cmap="cividis_r", vmin=0, vmax=1)
    figure.colorbar(dots, ax=ax, label="score")
    ax.set(xlabel="time in the video, s", ylabel="height of the box, pixels")
    ax.set(xlim=(0, None), ylim=(0, None))
    draw.show(figure, caption)


def proposals(detector, image: np.ndarray, *, count: int = 20, caption: str) -> None:
    """Show the best proposals of a Faster R-CNN's first stage; opacity shows the score.

    Args:
        detector: an `inference.Detector`.
        image: RGB, uint8, [height, width, 3].
        count: how many, best first.

    Raises:
        CourseError: the detector is an SSD, which has none.
    """
    found = inference.proposals(detector, image, count)
    height, width = image.shape[:2]
    figure, (ax,) = draw.grid(1, 1, height / width, width=8, gap=0.06, below=0.3)
    ax.imshow(image)
    ax.axis("off")
    for xyxy, score in _weakest_first(found):
        draw.box(ax, xyxy, PREDICTION, "--", alpha=0.3 + 0.7 * float(score))
    line = ("proposal: opacity shows the score", PREDICTION, "--", 2)
    draw.line_legend(figure, [line], loc="outside lower right")
    draw.show(figure, caption, photo=True)


def inside(
    detector,
    image: np.ndarray,
    truth: Sequence,
    *,
    number: int | None = None,
    threshold: float = 0.4,
    labels: bool = False,
    caption: str,
) -> None:
    """Show one object three times: its anchors, the boxes before NMS or proposals, detections.

    Args:
        detector: an `inference.Detector`.
        image: RGB, uint8, [height, width, 3].
        truth: the image's `annotations.Box`es.
        number: which of them is shown close up, from 0; None takes the largest that counts (no
            anchor has to find one that is difficult).
        threshold: score of the weakest detection that is shown, 0..1.
        labels: write the class at the true boxes and the detections.

    Raises:
        CourseError: the image has no object, or none of this `number`.
    """
    if number is None:
        counted = [i for i, box in enumerate(truth) if not box.difficult] or range(len(truth))
        number = max(counted, key=lambda i: truth[i].area, default=0)
    if not 0 <= number < len(truth):
        raise CourseError(f"number: {number}; the image has {len(truth)} objects, from 0")
    matched = inference.matched_anchors(detector, image, truth)
    matched = matched[matched.class_id == number]
    anchors, left_out = matched[matched.data["used"]], matched[~matched.data["used"]][:12]
    left, top, side = window = _close_up(image, truth[number].xyxy, anchors.xyxy)
    candidates = _in_window(inference.candidate_boxes(detector, image), window)
    found = _in_window(detector(image, threshold=threshold), window)

    figure, axes = draw.new_figure(1, 3, (11, 4.3))
    for ax in axes:
        ax.imshow(image, interpolation="bicubic")
        ax.set(xlim=(left, left + side), ylim=(top + side, top), xticks=[], yticks=[])
    # Below the other boxes, which mostly lie upon it.
    draw.truth(axes[0], truth[number : number + 1], labels=labels, below=True)
    draw.truth(axes[1], truth)
    draw.truth(axes[2], truth, labels=labels, below=True)
    for xyxy in left_out.xyxy:
        draw.box(axes[0], xyxy, "#DDDDDD", ":", thin=True)
    for xyxy, level in zip(anchors.xyxy, anchors.data["level"], strict=True):
        draw.box(axes[0], xyxy, _shade(level), "--", thin=True)
    strongest = max([*candidates.confidence, 1e-6])
    for xyxy, score in _weakest_first(candidates):
        alpha = 0.25 + 0.75 * float(score) / strongest
        draw.box(axes[1], xyxy, PREDICTION, "--", alpha=alpha, thin=True)
    draw.detections(axes[2], found, labels=labels)

    one = "anchor has" if len(anchors) == 1 else "anchors have"
    best = f", IoU {anchors.confidence.max():.2f} at best" if len(anchors) else ""
    axes[0].set_title(f"{len(anchors)} {one} to find it{best}", fontsize=9)
    if detector.is_two_stage:
        before, after, name = "proposals of the first stage", "the second stage", "proposal"
    else:
        before, after, name = "boxes before NMS", "NMS", "box before NMS"
    axes[1].set_title(f"the {len(candidates)} best {before}", fontsize=9)
    axes[2].set_title(f"{len(found)} left after {after}, scored {threshold:g} or more", fontsize=9)
    lines: list[tuple[str, str, str, float]] = [draw.TRUTH_LINE]
    for level in sorted(set(anchors.data["level"].tolist())):
        lines.append(
            (f"anchor of level {level} (every {2**level} pixels)", _shade(level), "--", 1.5)
        )
    if len(left_out):
        lines.append(("anchor left out", "#AAA", ":", 1.5))
    lines.append((f"{name}: opacity shows the score", PREDICTION, "--", 1.1))
    lines.append(draw.DETECTION_LINE)
    draw.line_legend(figure, lines, loc="outside lower center", ncols=3)
    draw.show(figure, caption, photo=True)


def _close_up(image, xyxy, anchors: np.ndarray) -> tuple[float, float, float]:
    """A square around an object and its anchors, with room to spare: left, top, side."""
    x1, y1, x2, y2 = xyxy
    edges = np.vstack([anchors, [xyxy]])
    spread = max(np.ptp(edges[:, [0, 2]]), np.ptp(edges[:, [1, 3]]))
    height, width = image.shape[:2]
    side = min(max(2.6 * max(x2 - x1, y2 - y1), 1.15 * spread, 48), height, width)
    left = float(np.clip((x1 + x2 - side) / 2, 0, width - side))
    top = float(np.clip((y1 + y2 - side) / 2, 0, height - side))
    return left, top, side


def _in_window(boxes, window: tuple[float, float, float]):
    """The best of those `supervision.Detections` whose centre lies in a square."""
    left, top, side = window
    centre = (boxes.xyxy[:, :2] + boxes.xyxy[:, 2:]) / 2 - (left, top)
    return boxes[((centre > 0) & (centre < side)).all(axis=1)][:MOST_BOXES]


def _weakest_first(boxes) -> list[tuple[np.ndarray, float]]:
    """Boxes and scores of `supervision.Detections` in the order of drawing: the best on top."""
    return list(zip(boxes.xyxy, boxes.confidence, strict=True))[::-1]


def _shade(level: int) -> str:
    """The colour of a level's anchors, the same in each figure."""
    return LEVELS[level % len(LEVELS)]
