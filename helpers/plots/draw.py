"""Parts that all figures share.

Ground truth is drawn solid and blue, detections dashed and orange: two colours of the Okabe-Ito
palette, which all kinds of colour vision can tell apart, and two line styles for print. Every
figure prints the line that says what it shows, because a picture alone says nothing to a screen
reader; without anything to show, only that line is printed.
"""

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from helpers.common.palette import LIGHT, PREDICTION, SERIES, TRUTH

# Lines of a legend: label, colour, style, width.
TRUTH_LINE = ("ground truth", TRUTH, "-", 2)
DETECTION_LINE = ("detected, with score", PREDICTION, "--", 2)


def new_figure(rows: int, columns: int, size: tuple[float, float]):
    """Return a figure and the list of its axes, row by row; `size` is in inches.

    Without pyplot, which would keep each figure in memory until it is closed, and which depends
    on a display and on Jupyter's backend (Model Garden switches that off when it is imported).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=80, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def chart(rows: int, columns: int, size: tuple[float, float]):
    """Return a figure and its axes as `new_figure` does, without what a chart does not need."""
    figure, axes = new_figure(rows, columns, size)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
        ax.set_axisbelow(True)
    return figure, axes


def grid(
    count: int, columns: int, aspect: float, *, width: float = 11, gap: float, below: float = 0
):
    """Return a figure and axes without ticks, one for each of `count` pictures.

    Args:
        columns: at most so many side by side.
        aspect: height / width of the pictures.
        width: of the figure, inches.
        gap: what each row needs for titles, inches.
        below: what the figure needs below the pictures, inches.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    tall = rows * (width / columns * aspect + gap) + below
    figure, axes = new_figure(rows, columns, (width, tall))
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    for ax in axes[count:]:
        ax.axis("off")
    return figure, axes[:count]


def show(figure, caption: str, *, photo: bool = False) -> None:
    """Print the caption and display the figure, with the caption as alt text."""
    from IPython.display import display

    print(caption)
    display(as_image(figure, caption, photo=photo))


def nothing(caption: str) -> None:
    """Say that there is nothing to show."""
    print(f"{caption} (There is nothing to show.)")


def as_image(figure, caption: str, *, photo: bool = False):
    """Draw a figure: photographs as JPEG, since as PNG a page of them would take megabytes.

    The caption is its alt text where a front end has one, and what is read out where it is text.
    """
    from IPython.display import Image

    class Figure(Image):
        def __repr__(self) -> str:
            return caption

    file = io.BytesIO()
    if photo:
        figure.savefig(file, format="jpeg", dpi=100, pil_kwargs={"quality": 80})
    else:
        figure.savefig(file, format="png")
    return Figure(file.getvalue(), format="jpeg" if photo else "png", alt=caption)


class Redrawn:
    """A place on the page whose figure is replaced at each call; its caption is printed once."""

    def __init__(self, caption: str, *, photo: bool = False) -> None:
        self.caption, self.photo, self.handle = caption, photo, None

    def __call__(self, figure) -> None:
        from IPython.display import display

        image = as_image(figure, self.caption, photo=self.photo)
        if self.handle:
            self.handle.update(image)
        else:
            print(self.caption)
            self.handle = display(image, display_id=True)


def box(
    ax,
    xyxy,
    colour: str,
    style: str,
    text: str | None = None,
    *,
    alpha: float = 1,
    thin: bool = False,
    below: bool = False,
) -> None:
    """Draw one box (xyxy, pixels) with an optional text on axes that show a picture.

    `thin` is for many boxes that lie upon each other; `below` puts the text under the box.
    """
    from matplotlib import patheffects
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = (float(v) for v in xyxy)
    # The rim keeps the line visible on any ground: blue on a dark road, orange on a bright sky.
    if thin:
        rim = patheffects.withStroke(linewidth=2, foreground="#111", alpha=0.5)
    else:
        rim = patheffects.withStroke(linewidth=2.8, foreground="w" if colour == TRUTH else "#111")
    outline = Rectangle(
        (x1, y1),
        x2 - x1,
        y2 - y1,
        fill=False,
        ec=colour,
        lw=1.1 if thin else 1.6,
        ls=style,
        alpha=alpha,
        path_effects=[rim],
    )
    ax.add_patch(outline)
    if text:
        # Towards the middle, so that the picture's border does not cut the text.
        right = (x1 + x2) / 2 > sum(ax.get_xlim()) / 2
        written = ax.annotate(
            text,
            (x2 if right else x1, y2 if below else y1),
            xytext=(0, -2 if below else 2),
            textcoords="offset points",
            ha="right" if right else "left",
            va="top" if below else "baseline",
            fontsize=8,
            color=LIGHT.get(colour, colour),
            path_effects=[patheffects.withStroke(linewidth=2, foreground="#111")],
            annotation_clip=True,
            clip_on=True,
        )
        written.set_in_layout(False)


def truth(ax, boxes: Sequence, *, labels: bool = False, below: bool = False) -> None:
    """Draw `annotations.Box`es, solid; with `labels` their classes, above them or below."""
    for one in boxes:
        box(ax, one.xyxy, TRUTH, "-", one.label if labels else None, below=below)


def detections(ax, found, *, labels: bool = False) -> None:
    """Draw `supervision.Detections`, dashed, with their scores; with `labels` their classes."""
    names = found.data["class_name"] if labels and len(found) else [""] * len(found)
    for xyxy, score, name in zip(found.xyxy, found.confidence, names, strict=True):
        box(ax, xyxy, PREDICTION, "--", f"{name} {score:.2f}".strip())


def box_legend(figure, *, truth: bool = True, detections: bool = True) -> None:
    """Say below a figure what its boxes are."""
    lines = [TRUTH_LINE] * truth + [DETECTION_LINE] * detections
    if lines:
        line_legend(figure, lines, loc="outside lower right", ncols=2)


def line_legend(figure, lines: Sequence[tuple[str, str, str, float]], **options) -> None:
    """Add a legend of lines: label, colour, style, width."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=t, color=c, ls=style, lw=width) for t, c, style, width in lines]
    legend(figure, handles=handles, **options)


def patch(label: str, colour: str):
    """Return a coloured area for a legend."""
    from matplotlib.patches import Patch

    return Patch(color=colour, label=label)


def legend(of, *, fontsize: float = 8, **options) -> None:
    """Add a legend without a frame to axes or a figure."""
    of.legend(frameon=False, fontsize=fontsize, **options)


def stacked_bars(
    ax,
    names: Sequence[str],
    parts: Sequence[tuple[str, Sequence[float] | np.ndarray, str]],
    fontsize=10,
) -> None:
    """Draw a bar for each name, made of parts: label, length in each bar, colour."""
    left = np.zeros(len(names))
    for label, lengths, colour in parts:
        ax.barh(range(len(names)), lengths, 0.7, left=left, color=colour, label=label)
        left += lengths
    ax.set_yticks(range(len(names)), names, fontsize=fontsize)
    ax.invert_yaxis()


def marks(across: Callable, named: Mapping[str, float] | None) -> None:
    """Draw named lines across axes, by their `axvline` or `axhline`."""
    for (name, value), colour in zip((named or {}).items(), SERIES[1:], strict=False):
        across(value, color=colour, lw=2, ls="--", label=name)
