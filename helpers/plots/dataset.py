"""Figures of lesson 03: what a dataset holds, what is wrong with it, and how it is split."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from textwrap import fill

import numpy as np

from helpers.annotations import Annotation, images_in, pair
from helpers.common.images import UNREADABLE, ImageSize
from helpers.common.palette import GREY, LIGHT, PREDICTION, SERIES, THIRD, TRUTH
from helpers.dataset.orientation import drawn_upright
from helpers.dataset.sizes import fitted
from helpers.plots import draw

# Sides of an object at the network's input, pixels, and the shade of each range.
SIDES = (
    ("under 8 px", 0, 8, "#222222"),
    ("8 to 16", 8, 16, "#777777"),
    ("16 to 32", 16, 32, "#BBBBBB"),
    ("32 and more", 32, np.inf, LIGHT[TRUTH]),
)


def class_bars(counts: Mapping[str, Mapping[str, int]], *, caption: str) -> None:
    """Show the objects of each class: {label: {"counted": n, "difficult": m}}."""
    if not counts:
        return draw.nothing(caption)
    # Eighty classes still fit a screen or two.
    row, fontsize = (0.42, 10) if len(counts) <= 12 else (0.21, 8)
    figure, (ax,) = draw.chart(1, 1, (8, row * len(counts) + 1.1))
    counted, difficult = (
        np.array([row[name] for row in counts.values()]) for name in ("counted", "difficult")
    )
    parts = [("counted", counted, TRUTH)]
    if difficult.any():
        parts.append(("marked difficult", difficult, GREY))
    draw.stacked_bars(ax, list(counts), parts, fontsize=fontsize)
    ax.set_ylim(len(counts) - 0.4, -0.6)
    for y, (n, m) in enumerate(zip(counted, difficult, strict=True)):
        ax.text(
            n + m, y, f" {n}" + (f" + {m}" if m else ""), va="center", fontsize=min(9, fontsize)
        )
    ax.margins(x=0.12)
    ax.set_xlabel("objects")
    draw.legend(figure, loc="outside upper right", ncols=2)
    draw.show(figure, caption)


def split_strip(clips: Mapping[str, Mapping[str, int]], *, caption: str) -> None:
    """Show which clips train and which are held out: {clip: {"train": n, "val": n}} images.

    A side "test" is shown where a clip has images in it.
    """
    if not clips:
        return draw.nothing(caption)
    figure, (ax,) = draw.chart(1, 1, (8, 0.2 * len(clips) + 0.9))
    sides = (
        ("train", "trains the detector", TRUTH),
        ("val", "held out: only ever scored", PREDICTION),
        ("test", "kept for the last score", THIRD),
    )
    counts = {side: [images.get(side, 0) for images in clips.values()] for side, _, _ in sides}
    parts = [
        (text, counts[s], colour) for s, text, colour in sides if s != "test" or any(counts[s])
    ]
    draw.stacked_bars(ax, list(clips), parts, fontsize=7)
    ax.set_ylim(len(clips) - 0.4, -0.6)
    ax.set_xlabel("images")
    draw.legend(figure, loc="outside upper right", ncols=3)
    draw.show(figure, caption)


def statistics(
    rows: Sequence[Mapping], *, images: int, input_size: tuple[int, int], caption: str
) -> None:
    """Show how many objects there are, how large, of what shape, and where.

    Args:
        rows: `dataset.box_statistics(annotations, input_size)`, one row for each box.
        images: how many images there are, with and without objects.
        input_size: width and height of the network's input, pixels.
    """
    if not rows:
        return draw.nothing(caption)
    labels = [label for label, _ in Counter(row["label"] for row in rows).most_common()]
    parts = {label: [row for row in rows if row["label"] == label] for label in labels}
    groups = {label: parts[label] for label in labels[:3]}
    if rest := [row for label in labels[3:] for row in parts[label]]:
        groups[f"{len(labels) - 3} more"] = rest
    figure, (per_image, sides, side, size, aspect, places) = draw.chart(2, 3, (11, 6.2))

    counts = np.bincount(np.unique([row["image"] for row in rows], return_counts=True)[1])
    counts[0] = max(0, images - counts.sum())
    per_image.bar(range(len(counts)), counts, color=TRUTH)
    per_image.set(xlabel="objects in an image", ylabel="images")
    per_image.xaxis.get_major_locator().set_params(integer=True)

    _draw_sides(sides, {label: parts[label] for label in labels[:8]})
    _draw_spread(side, groups, "side", (8, 16, 32))
    side.set(xlabel="side (root of the area), pixels of the input")
    _draw_spread(aspect, groups, "aspect", (1,))
    aspect.set(xlabel="aspect: width / height")
    for part, colour in zip(groups.values(), SERIES, strict=False):
        x, y = ([row[column] for row in part] for column in ("width", "height"))
        size.plot(x, y, "o", ms=3, alpha=0.35, mew=0, color=colour)
    size.set(xscale="log", yscale="log", xlabel="width, pixels of the input", ylabel="height")
    for axis in (side.xaxis, size.xaxis, size.yaxis, aspect.xaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    y, x = ([row[column] for row in rows] for column in ("y", "x"))
    grid, _, _ = np.histogram2d(y, x, bins=(18, 32), range=((0, 1), (0, 1)))
    places.grid(visible=False)
    heat = places.imshow(grid, cmap="cividis", extent=(0, 1, 1, 0), aspect="auto")
    figure.colorbar(heat, ax=places, label="centres")
    places.set(xlabel="part of the width", ylabel="part of the height")
    handles = [draw.patch(name, colour) for name, colour in zip(groups, SERIES, strict=False)]
    draw.legend(figure, handles=handles, loc="outside lower center", ncols=4)
    width, height = input_size
    title = f"{len(rows)} objects in {images} images, at an input of {width}x{height}"
    figure.suptitle(title, fontsize=10)
    draw.show(figure, caption)


def _draw_sides(ax, groups: Mapping[str, Sequence[Mapping]]) -> None:
    """A bar for each label: the part of its objects in each range of `SIDES`."""
    sides = [np.array([row["side"] for row in rows]) for rows in groups.values()]
    parts = [
        (name, [((of_label >= low) & (of_label < high)).mean() for of_label in sides], shade)
        for name, low, high, shade in SIDES
    ]
    names = [f"{label} ({len(rows)})" for label, rows in groups.items()]
    draw.stacked_bars(ax, names, parts, fontsize=8)
    ax.set(xlim=(0, 1), xlabel="part of the objects, by side at the input")
    place = {"loc": "lower left", "bbox_to_anchor": (-0.05, 1.0)}
    draw.legend(ax, fontsize=7, ncols=2, **place)


def _draw_spread(ax, groups: Mapping[str, Sequence[Mapping]], column: str, marks) -> None:
    """A histogram of a column over a logarithmic axis, stacked by group."""
    series = [[row[column] for row in part] for part in groups.values()]
    values = np.concatenate(series)
    bins = np.geomspace(values.min() * 0.95, values.max() * 1.05, 32)
    ax.hist(series, bins, stacked=True, color=SERIES[: len(series)])
    for mark in marks:
        ax.axvline(mark, color="#222222", ls=":", lw=1)
    ax.set(xscale="log", ylabel="objects")


def findings(
    images_folder: Path, annotations: Sequence, found: Sequence, *, most: int = 12, caption: str
) -> None:
    """Show up to `most` of the audit's findings: the box in question, and the line under it.

    Args:
        images_folder: where the images are.
        annotations: the `annotations.Annotation`s that were checked.
        found: `audit.Finding`s. All kinds come up in turn. Findings about the whole set, which
            no picture shows, are left out.
    """
    paths = {path.name: path for path in images_in(images_folder)}
    places = {name: (path, None) for name, path in paths.items()}
    for name, annotation in pair(list(paths), annotations).items():
        place = paths[name], annotation
        places[name] = places[annotation.source or annotation.image] = place
    kinds: dict[str, list] = {}
    for finding in found:
        if finding.file in places:
            kinds.setdefault(finding.kind, []).append(finding)
    turns = chain.from_iterable(zip_longest(*kinds.values()))
    shown = [finding for finding in turns if finding is not None][:most]
    if not shown:
        return draw.nothing(caption)
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    # Room for four lines of text below each picture.
    figure, axes = draw.new_figure(rows, columns, (11, 3.4 * rows))
    figure.get_layout_engine().set(h_pad=0.35)
    for ax in axes:
        ax.axis("off")
    for ax, finding in zip(axes, shown, strict=False):
        _draw_finding(ax, *places[finding.file], finding)
        what = f" object {finding.object}" if finding.object else ""
        text = f"{finding.file}{what}: {finding.kind}: {finding.value}"
        under = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top"}
        ax.annotate(fill(text, 44), (0, 0), (0, -4), fontsize=7, **under)
    draw.show(figure, caption, photo=True)


def _draw_finding(ax, path: Path, annotation, finding) -> None:
    """One image, or the part of it around the finding's box, as the annotator saw it."""
    picture, annotation = _as_annotated(path, annotation)
    if picture is None:
        ax.text(0.5, 0.5, "cannot be shown", ha="center", va="center", transform=ax.transAxes)
        return
    ax.imshow(picture)
    height, width = picture.shape[:2]
    boxes = annotation.boxes if annotation else ()
    number = finding.object
    chosen = boxes[number - 1] if 0 < number <= len(boxes) else None
    if chosen is None or not np.isfinite(chosen.xyxy).all():
        draw.truth(ax, boxes)
        return
    (x1, x2), (y1, y2) = sorted((chosen.xmin, chosen.xmax)), sorted((chosen.ymin, chosen.ymax))
    # The surroundings say whether a box is wrong; what lies beyond the image stays white.
    half = min(max(1.2 * (x2 - x1), 1.2 * (y2 - y1), 0.1 * width), max(width, height))
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    ax.set(xlim=(x - half, x + half), ylim=(y + half, y - half))
    for box in boxes:
        if box is not chosen and np.isfinite(box.xyxy).all():
            draw.box(ax, box.xyxy, GREY, ":")
    draw.box(ax, chosen.xyxy, TRUTH, "-", chosen.label)
    if chosen.area == 0:  # a line or a point can hardly be seen
        ax.plot(x, y, "+", ms=14, mew=2, color=TRUTH)


def _as_annotated(path: Path, annotation) -> tuple[np.ndarray | None, Annotation | None]:
    """The image the way round that its boxes refer to, RGB, and these, scaled as it was.

    The image is None when it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            size = ImageSize.of(image)
            upright = drawn_upright(size, annotation)
            shown = (ImageOps.exif_transpose(image) if upright else image).convert("RGB")
    except UNREADABLE:
        return None, annotation
    return np.asarray(shown), annotation and fitted(annotation, size)
