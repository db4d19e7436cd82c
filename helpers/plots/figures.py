"""All figures of the course.

Ground truth is drawn solid and blue, predictions dashed and orange: two colours of the
Okabe-Ito palette, which all kinds of colour vision can tell apart, and two line styles for
print. Every function prints the line that says what its figure shows, because a picture
alone says nothing to a screen reader; without anything to show, only that line is printed.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers.common.images import image_size, read_image
from helpers.common.palette import FOURTH, GREY, LIGHT, PREDICTION, SERIES, THIRD, TRUTH

FILM_CAPTION = (
    "Held-out frames at each evaluation, the first at the top; detections scored 0.2 or more."
)
MOST_ROWS = 6


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
        zoom: show the part around the boxes instead of the whole picture.
        labels: write the label over each box of the truth.
        caption: one line that says what is shown; printed.
    """
    if not len(pictures):
        return _nothing(caption)
    pictures = [p if isinstance(p, np.ndarray) else read_image(p) for p in pictures]
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    height, width = np.median([picture.shape[:2] for picture in pictures], axis=0)
    # One picture alone is not blown up to the whole width.
    total = 11 if columns > 1 else 8
    gap = 0.3 if titles else 0.06
    lines = any(map(len, truth or ())), any(map(len, detections or ()))
    tall = rows * (total / columns * height / width + gap) + (0.3 if any(lines) else 0)
    figure, axes = new_figure(rows, columns, (total, tall))
    for i, ax in enumerate(axes):
        ax.axis("off")
        if i >= len(pictures):
            continue
        ax.imshow(pictures[i])
        drawn = []
        for box in truth[i] if truth else ():
            drawn.append((box.xmin, box.ymin, box.xmax, box.ymax))
            draw_box(ax, drawn[-1], TRUTH, "-", box.label if labels else None)
        if detections:
            found = detections[i]
            for xyxy, score in zip(found.xyxy, found.confidence, strict=True):
                drawn.append(tuple(xyxy))
                draw_box(ax, xyxy, PREDICTION, "--", f"{score:.2f}")
        if zoom and drawn:
            _zoom(ax, drawn, pictures[i].shape)
        if titles:
            ax.set_title(titles[i], fontsize=9)
    _legend(figure, *lines)
    show(figure, caption, photo=True)


def live_history(
    metric: str = "AP50",
    *,
    film: Path | None = None,
    pictures: Sequence[np.ndarray] = (),
    truth: Sequence = (),
) -> Callable[[list[dict]], None]:
    """Return a function for `training.train(on_report=…)` that redraws loss and AP in place.

    Args:
        metric: which number of the history is drawn beside the loss.
        film: folder that is being trained, to show its film strip below the curves, too.
        pictures, truth: as for `film_strip`; `train` gets the pictures as `watch`.
    """
    from IPython.display import display

    from helpers.training import loop as training

    captions = (
        f"Left: the loss over the steps. Right: {metric} on held-out clips; the ring is the best.",
        FILM_CAPTION,
    )
    handles, shown = [None, None], None

    def put(place: int, picture) -> None:
        if handles[place] is None:
            print(captions[place])
            handles[place] = display(picture, display_id=True)
        else:
            handles[place].update(picture)

    def draw(rows: list[dict]) -> None:
        nonlocal shown
        put(0, _picture(_history_figure({"": rows}, metric), captions[0]))
        looks = training.read_film(film) if film else []
        if looks and [look["step"] for look in looks] != shown:
            shown = [look["step"] for look in looks]
            figure = _film_figure(looks, pictures, truth, rows, metric, MOST_ROWS)
            put(1, _picture(figure, captions[1], photo=True))

    return draw


def film_strip(
    film: Sequence[Mapping],
    pictures: Sequence[np.ndarray],
    truth: Sequence,
    *,
    history: Sequence[Mapping] = (),
    metric: str = "AP50",
    most: int = MOST_ROWS,
    caption: str = FILM_CAPTION,
) -> None:
    """Show how a detector learns: the same pictures in each row, one row for each evaluation.

    Each picture is cut around its largest object, the same in all rows. Detections are the three
    with the highest scores, of 0.2 or more; the number is the highest score.

    Args:
        film: `training.read_film(folder)`.
        pictures: those that `training.train` got as `watch`: RGB, uint8, [height, width, 3].
        truth: for each picture its `annotations.Box`es (solid).
        history: of the same training, for the score beside each row.
        metric: which number of the history that is.
        most: rows at most, spread evenly, the first and the last among them.
        caption: one line that says what is shown; printed.
    """
    if not len(film) or not len(pictures):
        return _nothing(caption)
    show(_film_figure(film, pictures, truth, history, metric, most), caption, photo=True)


def _film_figure(film, pictures, truth, history, metric: str, most: int):
    """One drawing of all tiles, in pixels: dozens of axes would take seconds to draw."""
    import cv2

    film = _evenly(film, most)
    scores = {row["step"]: row.get(metric) for row in history}
    margin, gap = 78, 4
    wide = min((1100 - margin) // len(pictures) - gap, 300)
    tall = wide * 3 // 4
    width, height = margin + len(pictures) * (wide + gap), len(film) * (tall + gap)
    windows = [_window(p.shape, boxes) for p, boxes in zip(pictures, truth, strict=True)]
    # Twice as fine as it is drawn, for screens that are.
    canvas = np.full((2 * height, 2 * width, 3), 255, np.uint8)
    tiles = [
        cv2.resize(picture[y1:y2, x1:x2], (2 * wide, 2 * tall), interpolation=cv2.INTER_CUBIC)
        for picture, (x1, y1, x2, y2) in zip(pictures, windows, strict=True)
    ]
    figure, (ax,) = new_figure(1, 1, (width / 100, height / 100 + 0.32))
    ax.axis("off")
    for row, look in enumerate(film):
        top = row * (tall + gap)
        at, score = {"x": margin - 8, "ha": "right"}, scores.get(look["step"])
        title = f"step {look['step']}" if look["step"] else "start"
        ax.text(**at, y=top + tall / 2 - 2, s=title, va="bottom", fontsize=9)
        if score is not None and np.isfinite(score):
            text = f"{metric} {score:.2f}"
            ax.text(**at, y=top + tall / 2 + 2, s=text, va="top", fontsize=8, color="#555")
        for column, tile in enumerate(tiles):
            left = margin + column * (wide + gap)
            canvas[2 * top : 2 * (top + tall), 2 * left : 2 * (left + wide)] = tile
            frame = left, top, left + wide, top + tall
            _draw_look(ax, frame, windows[column], truth[column], look["found"][column])
    ax.imshow(canvas, extent=(0, width, height, 0), interpolation="antialiased")
    _legend(figure, True, True)
    return figure


def _draw_look(ax, frame, window, truth, found) -> None:
    """Draw what is true and what is found in the part `window` of a picture, shown in `frame`."""
    from matplotlib import patheffects
    from matplotlib.patches import Rectangle

    left, top, right, bottom = frame
    clip = Rectangle((left, top), right - left, bottom - top, transform=ax.transData)
    scale = (right - left) / (window[2] - window[0])

    def draw(xyxy, colour, style) -> np.ndarray:
        box = (np.reshape(xyxy, (2, 2)) - window[:2]) * scale + (left, top)
        draw_box(ax, box.ravel(), colour, style, None)
        ax.patches[-1].set_clip_path(clip)
        return box.ravel()

    for box in truth:
        draw(box.xyxy, TRUTH, "-")
    written = False
    for *xyxy, score in [item for item in found if item[4] >= 0.2][:3]:
        x1, y1, x2, y2 = draw(xyxy, PREDICTION, "--")
        # One number in a picture: those of neighbours would cover one another.
        if written or x2 < left or y2 < top or x1 > right or y1 > bottom:
            continue
        written, above = True, y1 - top > 16
        ax.text(
            min(max(x1, left + 3), right - 26),
            y1 - 3 if above else min(y2 + 3, bottom - 16),
            f"{score:.2f}",
            va="bottom" if above else "top",
            fontsize=9,
            color=PREDICTION,
            path_effects=[patheffects.withStroke(linewidth=2, foreground="#111")],
        )


def _window(shape, boxes) -> tuple[int, int, int, int]:
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


def history(histories: Mapping[str, list[dict]], *, metric: str = "AP50", caption: str):
    """Show the training curves of several detectors: {title: rows of the history}.

    Where no row has the metric, the loss is shown alone.
    """
    return show(_history_figure(histories, metric), caption)


def precision_recall(curves: Mapping[str, Mapping[str, np.ndarray]], *, caption: str):
    """Show precision over recall, and both over the score: {title: precision_recall(…)}."""
    figure, axes = new_figure(1, 2, (11, 3.8))
    for (title, curve), colour in zip(curves.items(), SERIES, strict=False):
        axes[0].plot(curve["recall"], curve["precision"], color=colour, label=title)
        axes[1].plot(curve["score"], curve["precision"], color=colour, label=f"{title}: precision")
        axes[1].plot(curve["score"], curve["recall"], color=colour, ls=":", label="… recall")
    axes[0].set(xlabel="recall: part of the objects that is found", ylabel="precision")
    axes[1].set(xlabel="score threshold", ylabel="precision, recall")
    # Where curves seldom pass: each falls, or rises and falls, towards the corners.
    for ax, free in zip(axes, ("lower left", "lower center"), strict=True):
        ax.set(xlim=(0, 1.01), ylim=(0, 1.03))
        tidy(ax)
        ax.legend(frameon=False, fontsize=8, loc=free)
    return show(figure, caption)


def scores(table: Mapping[str, Mapping], *, caption: str):
    """Show AP50 with its interval, and AP, as bars: {title: metrics of the detector}."""
    figure, (ax,) = new_figure(1, 1, (8, 0.75 * len(table) + 1.3))
    for i, (title, row) in enumerate(table.items()):
        low, high = row["AP50"] - row["AP50_low"], row["AP50_high"] - row["AP50"]
        ax.barh(i - 0.19, row["AP50"], 0.34, color=TRUTH, label="AP50" if i == 0 else None)
        ax.errorbar(
            row["AP50"], i - 0.19, xerr=[[max(0, low)], [max(0, high)]], color="#222", capsize=4
        )
        ax.barh(i + 0.19, row["AP"], 0.34, color=PREDICTION, label="AP" if i == 0 else None)
        ax.text(0.01, i - 0.19, f"{row['AP50']:.3f}", va="center", color="w", fontsize=9)
        ax.text(0.01, i + 0.19, f"{row['AP']:.3f}", va="center", color="k", fontsize=9)
        ax.text(-0.01, i, title, va="center", ha="right", fontsize=9)
    ax.set(xlim=(0, 1), ylim=(len(table) - 0.5, -0.5), yticks=[])
    tidy(ax)
    figure.legend(frameon=False, fontsize=8, loc="outside lower right", ncols=2)
    return show(figure, caption)


def error_bars(table: Mapping[str, Mapping[str, int]], *, caption: str):
    """Show what went wrong, by kind, for several detectors: {title: evaluation.errors(…)}."""
    figure, (ax,) = new_figure(1, 1, (8, 3))
    kinds = list(next(iter(table.values())))
    width = 0.8 / len(table)
    for i, ((title, counts), colour) in enumerate(zip(table.items(), SERIES, strict=False)):
        x = np.arange(len(kinds)) + (i - (len(table) - 1) / 2) * width
        bars = ax.bar(x, [counts[kind] for kind in kinds], width * 0.92, color=colour, label=title)
        ax.bar_label(bars, fontsize=8)
    ax.set_xticks(range(len(kinds)), kinds)
    ax.set_ylabel("how many")
    tidy(ax)
    ax.legend(frameon=False, fontsize=8)
    return show(figure, caption)


def consequences(results: Mapping[str, Mapping], *, caption: str):
    """Show the loss of several trainings, and what each detector finds in the end.

    `results` is what `faults.consequences` returns: name -> {"loss", "found", "objects"}.
    """
    figure, (losses, bars) = new_figure(1, 2, (11, 3.6))
    colours = (*SERIES, "#D55E00", "#56B4E9", GREY)
    for y, ((name, result), colour) in enumerate(zip(results.items(), colours, strict=False)):
        loss = result["loss"]
        # Every second one dashed: curves that lie upon each other stay visible.
        style = {"color": colour, "lw": 2, "ls": ("-", (0, (3, 2)))[y % 2], "zorder": 2 + y % 2}
        losses.plot(range(1, len(loss) + 1), loss, label=name, **style)
        bars.barh(y, result["found"], 0.7, color=colour)
        bars.text(result["found"], y, f" {result['found']}", va="center", fontsize=9)
    most = max(result["objects"] for result in results.values())
    losses.set(xlabel="training step", ylabel="loss (log)", yscale="log")
    bars.set(xlabel=f"objects found, of {most}", xlim=(0, most * 1.05))
    bars.set_yticks(range(len(results)), list(results))
    bars.invert_yaxis()
    tidy(losses)
    tidy(bars)
    figure.legend(frameon=False, fontsize=8, loc="outside upper left", ncols=3, handlelength=3)
    return show(figure, caption)


def histogram(
    values: Sequence[float] | Mapping[str, Sequence[float]],
    *,
    label: str,
    marks: Mapping[str, float] | None = None,
    bins: int = 40,
    caption: str,
) -> None:
    """Show how values are spread, with named vertical lines (`marks`).

    A mapping {name: values} is stacked, one colour each.
    """
    series = values if isinstance(values, Mapping) else {"": values}
    series = {name: list(part) for name, part in series.items() if len(part)}
    if not series:
        return _nothing(caption)
    figure, (ax,) = new_figure(1, 1, (8, 2.8))
    ax.hist(
        list(series.values()),
        bins=bins,
        stacked=True,
        color=(TRUTH, GREY, THIRD, FOURTH)[: len(series)],
        label=list(series),
        edgecolor="w",
        linewidth=0.4,
    )
    lines = zip((marks or {}).items(), (PREDICTION, THIRD, FOURTH), strict=False)
    for (name, value), colour in lines:
        ax.axvline(value, color=colour, lw=2, ls="--", label=name)
    ax.set(xlabel=label, ylabel="how many")
    ax.yaxis.get_major_locator().set_params(integer=True)
    tidy(ax)
    if marks or "" not in series:
        ax.legend(frameon=False, fontsize=8)
    show(figure, caption)


def class_bars(counts: Mapping[str, Mapping[str, int]], *, caption: str) -> None:
    """Show the objects of each class: {label: {"counted": n, "difficult": m}}."""
    if not counts:
        return _nothing(caption)
    figure, (ax,) = new_figure(1, 1, (8, 0.42 * len(counts) + 1.1))
    for y, row in enumerate(counts.values()):
        ax.barh(y, row["counted"], 0.7, color=TRUTH)
        ax.barh(y, row["difficult"], 0.7, left=row["counted"], color=GREY)
        text = f" {row['counted']}" + (f" + {row['difficult']}" if row["difficult"] else "")
        ax.text(row["counted"] + row["difficult"], y, text, va="center", fontsize=9)
    ax.set_yticks(range(len(counts)), list(counts))
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.set_xlabel("objects")
    tidy(ax)
    handles = [_patch(TRUTH, "counted")]
    if any(row["difficult"] for row in counts.values()):
        handles.append(_patch(GREY, "marked difficult"))
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside upper right", ncols=2)
    show(figure, caption)


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
        return _nothing(caption)
    height = np.asarray(rows["ymax"], float) - np.asarray(rows["ymin"], float)
    figure, (ax,) = new_figure(1, 1, (8, 3.2))
    ax.plot(distance, height, "o", ms=3, alpha=0.35, mew=0, color=TRUTH)
    named = zip((lines or {}).items(), (PREDICTION, THIRD, FOURTH), strict=False)
    for (name, value), colour in named:
        ax.axhline(value, color=colour, lw=2, ls="--", label=name)
    ax.set(xlabel="distance, metres", ylabel="height in the picture, pixels", yscale="log")
    ax.yaxis.set_major_formatter("{x:.0f}")
    tidy(ax)
    if lines:
        ax.legend(frameon=False, fontsize=8)
    show(figure, caption)


def detections_over_time(rows: Mapping[str, Sequence], *, caption: str) -> None:
    """Show the detections of a video: time, height of the box, and score as colour.

    `rows` has the columns of detections.csv: time (s), score (0..1), ymin, ymax (pixels).
    """
    time = np.asarray(rows["time"], float)
    if not len(time):
        return _nothing(caption)
    height = np.asarray(rows["ymax"], float) - np.asarray(rows["ymin"], float)
    figure, (ax,) = new_figure(1, 1, (9, 3.2))
    dots = ax.scatter(time, height, c=rows["score"], s=16, cmap="cividis_r", vmin=0, vmax=1)
    figure.colorbar(dots, ax=ax, label="score")
    ax.set(xlabel="time in the video, s", ylabel="height of the box, pixels", xlim=(0, None))
    ax.set_ylim(0, None)
    tidy(ax)
    show(figure, caption)


def learning_rate(config, *, caption: str):
    """Show the learning rate over the steps of a config."""
    from official.modeling import optimization

    options = config.trainer.optimizer_config
    rate = optimization.OptimizerFactory(options).build_learning_rate()
    steps = np.linspace(0, config.trainer.train_steps, 200)
    figure, (ax,) = new_figure(1, 1, (8, 2.4))
    ax.plot(steps, [float(rate(step)) for step in steps], color=TRUTH, lw=2)
    ax.set(xlabel="training step", ylabel="learning rate", xlim=(0, None), ylim=(0, None))
    tidy(ax)
    return show(figure, caption)


def split_strip(clips: Mapping[str, Mapping[str, int]], *, caption: str):
    """Show which clips train and which are held out: {clip: {"train": n, "val": n}} images."""
    if not clips:
        return _nothing(caption)
    figure, (ax,) = new_figure(1, 1, (8, 0.2 * len(clips) + 0.9))
    for y, (_clip, counts) in enumerate(clips.items()):
        left = 0
        for name, colour in (("train", TRUTH), ("val", PREDICTION)):
            ax.barh(y, counts.get(name, 0), left=left, color=colour, height=0.75)
            left += counts.get(name, 0)
    ax.set_yticks(range(len(clips)), list(clips), fontsize=7)
    ax.set_ylim(len(clips) - 0.4, -0.6)
    ax.set_xlabel("images")
    tidy(ax)
    handles = [
        _patch(TRUTH, "trains the detector"),
        _patch(PREDICTION, "held out: only ever scored"),
    ]
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside upper right", ncols=2)
    return show(figure, caption)


def _history_figure(histories: Mapping[str, list[dict]], metric: str):
    scored = {t: [r for r in rows if r.get(metric) is not None] for t, rows in histories.items()}
    # While one training runs its scores are still to come: their place is kept.
    alone = len(histories) > 1 and not any(scored.values())
    figure, axes = new_figure(1, 1, (8, 3)) if alone else new_figure(1, 2, (11, 3))
    for (title, rows), colour in zip(histories.items(), SERIES, strict=False):
        axes[0].plot(
            [row["step"] for row in rows],
            [row["total_loss"] for row in rows],
            color=colour,
            label=title,
        )
        axes[-1].plot(
            [row["step"] for row in scored[title]],
            [row[metric] for row in scored[title]],
            "o-",
            color=colour,
        )
        if scored[title]:
            best = max(reversed(scored[title]), key=lambda row: row.get("score", row[metric]))
            ring = {"ms": 11, "mfc": "none", "mec": colour}
            axes[-1].plot(best["step"], best[metric], "o", **ring)
    losses = [row["total_loss"] for rows in histories.values() for row in rows]
    losses = [loss for loss in losses if np.isfinite(loss)]
    if losses and max(losses) > 4 * min(losses) > 0:
        axes[0].set(ylabel="loss (log)", yscale="log")
    else:
        axes[0].set(ylabel="loss")
    if not alone:
        axes[1].set(ylabel=f"{metric} on held-out clips", ylim=(0, 1.03))
    last = max((row["step"] for rows in histories.values() for row in rows), default=1)
    for ax in axes:
        ax.set_xlabel("training step")
        ax.set_xlim(0, last * 1.02)
        tidy(ax)
    if any(histories):
        axes[0].legend(frameon=False, fontsize=8)
    return figure


def new_figure(rows: int, columns: int, size: tuple[float, float]):
    """Return a figure and the list of its axes, row by row; `size` is in inches.

    Without pyplot, which would keep each figure in memory until it is closed, and which depends
    on a display and on Jupyter's backend (Model Garden switches that off when it is imported).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=80, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def show(figure, caption: str, *, photo: bool = False) -> None:
    """Print the caption and display the figure, with the caption as alt text."""
    from IPython.display import display

    print(caption)
    display(_picture(figure, caption, photo=photo))


def _picture(figure, caption: str, *, photo: bool = False):
    """Draw a figure: photographs as JPEG, since as PNG a page of them would take megabytes."""
    from IPython.display import Image

    file = io.BytesIO()
    if photo:
        figure.savefig(file, format="jpeg", dpi=100, pil_kwargs={"quality": 80})
    else:
        figure.savefig(file, format="png")
    return Image(file.getvalue(), format="jpeg" if photo else "png", alt=caption)


def _nothing(caption: str) -> None:
    print(f"{caption} (There is nothing to show.)")


def draw_box(ax, xyxy, colour: str, style: str, text: str | None, alpha: float = 1) -> None:
    """Draw one box (xyxy, pixels) with an optional text on axes that show a picture."""
    from matplotlib import patheffects
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = (float(v) for v in xyxy)
    # The rim keeps the line visible on any ground: blue on a dark road, orange on a bright sky.
    rim = [patheffects.withStroke(linewidth=2.8, foreground="w" if colour == TRUTH else "#111")]
    patch = Rectangle(
        (x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour, lw=1.6, ls=style, alpha=alpha
    )
    patch.set_path_effects(rim)
    ax.add_patch(patch)
    if text:
        # Towards the middle, so that the picture's border does not cut the text.
        right = (x1 + x2) / 2 > sum(ax.get_xlim()) / 2
        written = ax.annotate(
            text,
            (x2 if right else x1, y1),
            xytext=(0, 2),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=8,
            color=LIGHT.get(colour, colour),
            path_effects=[patheffects.withStroke(linewidth=2, foreground="#111")],
            annotation_clip=True,
            clip_on=True,
        )
        written.set_in_layout(False)


def _zoom(ax, boxes, shape) -> None:
    """Frame the boxes at the picture's aspect, at least a third of its width."""
    height, width = shape[:2]
    edges = np.array(boxes)
    (x1, y1), (x2, y2) = edges[:, :2].min(0), edges[:, 2:].max(0)
    half = min(width, max(width / 3, 1.4 * (x2 - x1), 1.4 * (y2 - y1) * width / height)) / 2
    x = np.clip((x1 + x2) / 2, half, width - half)
    y = np.clip((y1 + y2) / 2, half * height / width, height - half * height / width)
    ax.set_xlim(x - half, x + half)
    ax.set_ylim(y + half * height / width, y - half * height / width)


def _legend(figure, truth: bool, detections: bool) -> None:
    from matplotlib.lines import Line2D

    lines = []
    if truth:
        lines.append(Line2D([], [], color=TRUTH, lw=2, label="ground truth"))
    if detections:
        lines.append(Line2D([], [], color=PREDICTION, lw=2, ls="--", label="detected, with score"))
    if lines:
        figure.legend(handles=lines, loc="outside lower right", ncols=2, frameon=False, fontsize=8)


def _patch(colour: str, label: str):
    from matplotlib.patches import Patch

    return Patch(color=colour, label=label)


def tidy(ax) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    ax.set_axisbelow(True)


def statistics(
    rows: Sequence[Mapping], *, images: int, input_size: tuple[int, int], caption: str
) -> None:
    """Show how many objects there are, how large, of what shape, and where.

    Args:
        rows: `audit.statistics(annotations, input_size)`, one row for each box.
        images: how many images there are, with and without objects.
        input_size: width and height of the network's input, pixels.
    """
    if not rows:
        return _nothing(caption)
    labels = sorted({row["label"] for row in rows}, key=[row["label"] for row in rows].count)[::-1]
    parts = {label: [row for row in rows if row["label"] == label] for label in labels}
    groups = dict(list(parts.items())[:3])
    if rest := [row for label in labels[3:] for row in parts[label]]:
        groups[f"{len(labels) - 3} more"] = rest
    colours = dict(zip(groups, SERIES, strict=False))
    figure, axes = new_figure(2, 3, (11, 6.2))

    per_image = np.unique([row["image"] for row in rows], return_counts=True)[1]
    counts = np.bincount(per_image)
    counts[0] = max(0, images - len(per_image))
    axes[0].bar(range(len(counts)), counts, color=TRUTH)
    axes[0].set(xlabel="objects in an image", ylabel="images")
    axes[0].xaxis.get_major_locator().set_params(integer=True)

    shades = ("#222222", "#777777", "#BBBBBB", LIGHT[TRUTH])
    names = ("under 8 px", "8 to 16", "16 to 32", "32 and more")
    shown = labels[:8]
    for y, label in enumerate(shown):
        sides, left = np.array([row["side"] for row in parts[label]]), 0
        for low, high, shade in zip((0, 8, 16, 32), (8, 16, 32, np.inf), shades, strict=True):
            share = float(((sides >= low) & (sides < high)).mean())
            axes[1].barh(y, share, 0.7, left=left, color=shade)
            left += share
    written = [f"{label} ({len(parts[label])})" for label in shown]
    axes[1].set_yticks(range(len(shown)), written, fontsize=8)
    axes[1].set(xlim=(0, 1), xlabel="part of the objects, by side at the input")
    axes[1].invert_yaxis()
    handles = [_patch(shade, name) for shade, name in zip(shades, names, strict=True)]
    axes[1].legend(
        handles=handles,
        frameon=False,
        fontsize=7,
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(-0.05, 1.0),
    )

    def spread(ax, column: str, marks: Sequence[float], label: str) -> None:
        values = np.array([row[column] for row in rows])
        bins = np.geomspace(values.min() * 0.95, values.max() * 1.05, 32)
        series = [[row[column] for row in part] for part in groups.values()]
        ax.hist(series, bins, stacked=True, color=[colours[name] for name in groups])
        for mark in marks:
            ax.axvline(mark, color="#222222", ls=":", lw=1)
        ax.set(xscale="log", xlabel=label, ylabel="objects")

    spread(axes[2], "side", (8, 16, 32), "side (root of the area), pixels of the input")
    spread(axes[4], "aspect", (1,), "aspect: width / height")
    for name, part in groups.items():
        x, y = ([row[column] for row in part] for column in ("width", "height"))
        axes[3].plot(x, y, "o", ms=3, alpha=0.35, mew=0, color=colours[name], label=name)
    axes[3].set(xscale="log", yscale="log", xlabel="width, pixels of the input", ylabel="height")
    for axis in (axes[2].xaxis, axes[3].xaxis, axes[3].yaxis, axes[4].xaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    for ax in axes[:5]:
        tidy(ax)

    places = [[row[column] for row in rows] for column in ("y", "x")]
    grid, _, _ = np.histogram2d(*places, bins=(18, 32), range=((0, 1), (0, 1)))
    heat = axes[5].imshow(grid, cmap="cividis", extent=(0, 1, 1, 0), aspect="auto")
    figure.colorbar(heat, ax=axes[5], label="centres")
    axes[5].set(xlabel="part of the width", ylabel="part of the height")
    figure.legend(
        *axes[3].get_legend_handles_labels(),
        frameon=False,
        fontsize=8,
        loc="outside lower center",
        ncols=4,
    )
    title = (
        f"{len(rows)} objects in {images} images, at an input of {input_size[0]}x{input_size[1]}"
    )
    figure.suptitle(title, fontsize=10)
    return show(figure, caption)


def findings(
    images_folder, annotations: Sequence, found: Sequence, *, most: int = 12, caption: str
):
    """Show up to `most` of the audit's findings: the box in question, and the line under it.

    Args:
        images_folder: where the images are.
        annotations: the `annotations.Annotation`s that were checked.
        found: `audit.Finding`s. All kinds come up in turn. Findings about the whole set, which
            no picture shows, are left out.
    """
    from pathlib import Path
    from textwrap import fill

    from helpers.annotations.folders import images_in, pair

    paths = {path.name: path for path in images_in(images_folder)}
    paired = pair(list(paths), annotations)
    places = {name: (name, None) for name in paths}
    for name, annotation in paired.items():
        places[name] = places[annotation.source or annotation.image] = (name, annotation)
    turns: dict[str, list] = {}
    for finding in found:
        if finding.file in places:
            turns.setdefault(finding.kind, []).append(finding)
    order = [
        part[i]
        for i in range(max(map(len, turns.values()), default=0))
        for part in turns.values()
        if i < len(part)
    ][:most]
    if not order:
        return _nothing(caption)
    columns = min(4, len(order))
    rows = -(-len(order) // columns)
    # Room for four lines of text below each picture.
    figure, axes = new_figure(rows, columns, (11, 3.4 * rows))
    figure.get_layout_engine().set(h_pad=0.35)
    for ax, finding in zip(axes, order, strict=False):
        name, annotation = places[finding.file]
        _draw_finding(ax, Path(paths[name]), annotation, finding)
        what = f" object {finding.object}" if finding.object else ""
        text = f"{finding.file}{what}: {finding.kind}: {finding.value}"
        under = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top"}
        ax.annotate(fill(text, 44), (0, 0), (0, -4), fontsize=7, **under)
    for ax in axes:
        ax.axis("off")
    return show(figure, caption, photo=True)


def _draw_finding(ax, path, annotation, finding) -> None:
    """One image, or the part of it around the finding's box, as the annotator saw it."""
    from PIL import Image, ImageOps

    from helpers.dataset import audit

    try:
        with Image.open(path) as image:
            turned = audit.turning(image_size(path), annotation) == audit.UPRIGHT
            picture = np.asarray(
                (ImageOps.exif_transpose(image) if turned else image).convert("RGB")
            )
    except (OSError, SyntaxError, ValueError, AttributeError):
        ax.text(0.5, 0.5, "cannot be shown", ha="center", va="center", transform=ax.transAxes)
        return
    height, width = picture.shape[:2]
    ax.imshow(picture)
    boxes = annotation.boxes if annotation else ()
    number = finding.object
    chosen = boxes[number - 1] if 0 < number <= len(boxes) else None
    if chosen is None or not np.isfinite(chosen.xyxy).all():
        for box in boxes:
            draw_box(ax, box.xyxy, TRUTH, "-", None)
        return
    (x1, x2), (y1, y2) = sorted((chosen.xmin, chosen.xmax)), sorted((chosen.ymin, chosen.ymax))
    # The surroundings say whether a box is wrong; what lies beyond the image stays white.
    half = min(max(1.2 * (x2 - x1), 1.2 * (y2 - y1), 0.1 * width), max(width, height))
    ax.set_xlim((x1 + x2) / 2 - half, (x1 + x2) / 2 + half)
    ax.set_ylim((y1 + y2) / 2 + half, (y1 + y2) / 2 - half)
    for box in boxes:
        if box is not chosen and np.isfinite(box.xyxy).all():
            draw_box(ax, box.xyxy, GREY, ":", None)
    draw_box(ax, chosen.xyxy, TRUTH, "-", chosen.label)
    if chosen.area == 0:  # a line or a point can hardly be seen
        ax.plot((x1 + x2) / 2, (y1 + y2) / 2, "+", ms=14, mew=2, color=TRUTH)


def contact_sheet(folder, *, clip: str | None = None, most: int = 40, columns: int = 8) -> None:
    """Show what `frames.extract` kept and dropped, and why, in the order of the clips.

    Args:
        folder: a `02_frames`.
        clip: only this clip; None for all.
        most: show at most so many frames, up to half of them dropped ones, spread evenly.

    Kept frames have a solid blue rim. Dropped ones are paler, with their reason: blurred (dashed,
    with the sharpness that was too low), near-copy (dotted, with the bits that differ) or damaged
    (no picture). Raises CourseError when `folder` is no `02_frames`, or has no such clip.
    """
    from pathlib import Path

    import cv2

    from helpers.common.errors import CourseError
    from helpers.common.files import read_csv

    folder = Path(folder)
    kept = read_csv(folder / "frames.csv", ("image", "clip", "frame", "time"))
    dropped = read_csv(folder / "dropped.csv", ("thumbnail", "clip", "frame", "reason", "detail"))
    if clip is not None:
        names = sorted({row["clip"] for row in kept + dropped})
        if clip not in names:
            raise CourseError(f"{folder}: clip {clip!r}: not in it; its clips: {', '.join(names)}")
        kept = [row for row in kept if row["clip"] == clip]
        dropped = [row for row in dropped if row["clip"] == clip]
    reasons = [row["reason"] for row in dropped]
    counts = ", ".join(f"{reasons.count(name)} {name}" for name in dict.fromkeys(reasons))
    caption = f"{len(kept)} frames kept, {len(dropped)} dropped" + (
        f": {counts}." if counts else "."
    )
    fewest = max(most - len(dropped), most // 2)
    rows = _evenly(kept, fewest)
    rows += _evenly(dropped, most - len(rows))
    if not rows:
        return _nothing(caption)
    if len(rows) < len(kept) + len(dropped):
        caption += f" {len(rows)} of them, spread evenly."
    # In the order in which the clips come in the tables; photos have no frame number.
    clips = {name: i for i, name in enumerate(dict.fromkeys(r["clip"] for r in kept + dropped))}
    rows.sort(key=lambda row: (clips[row["clip"]], int(row["frame"] or 0)))

    looks = {
        "": (TRUTH, "-"),
        "blurred": (PREDICTION, "--"),
        "near-copy": (FOURTH, ":"),
        "damaged": (GREY, "-."),
    }
    columns = min(columns, len(rows))
    lines = -(-len(rows) // columns)
    pictures = [_small(cv2, folder, row) for row in rows]
    shapes = [picture.shape for picture in pictures if picture is not None] or [(9, 16)]
    aspect = float(np.median([shape[0] / shape[1] for shape in shapes]))
    side = 11 / columns
    figure, axes = new_figure(lines, columns, (11, lines * (side * min(aspect, 1.4) + 0.36) + 0.4))
    for ax, row, picture in zip(axes, rows, pictures, strict=False):
        reason = row.get("reason") or ""
        colour, style = looks[reason]
        if picture is None:
            picture = np.full((90, max(1, round(90 / aspect)), 3), 238, np.uint8)
        ax.imshow(picture, alpha=0.55 if reason else 1)
        when = f"{float(row['time']):.2f} s" if row["time"] else ""
        if len(clips) > 1:
            when = (
                f"…{row['clip'][-14:]} {when}" if len(row["clip"]) > 15 else f"{row['clip']} {when}"
            )
        detail = row.get("detail") or ""
        short = {
            "": "kept",
            "blurred": f"blurred ({detail.partition(',')[0].removeprefix('sharpness ')})",
            "near-copy": f"near-copy ({detail.partition(' ')[0]} bits)",
        }.get(reason, reason)
        ax.set_title(f"{when}\n{short}".strip(), fontsize=7, color="#222")
        for spine in ax.spines.values():
            spine.set(edgecolor=colour, linestyle=style, linewidth=2.5)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    for ax in axes[len(rows) :]:
        ax.axis("off")
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, ls=style, lw=2.5, label=name or "kept")
        for name, (colour, style) in looks.items()
        if name in {row.get("reason") or "" for row in rows}
    ]
    figure.legend(handles=handles, loc="outside lower right", ncols=4, frameon=False, fontsize=8)
    show(figure, caption, photo=True)


def _evenly(rows: list, most: int) -> list:
    if len(rows) <= most:
        return list(rows)
    return [rows[round(i)] for i in np.linspace(0, len(rows) - 1, most)]


def _small(cv2, folder, row) -> np.ndarray | None:
    """The picture of a row of frames.csv or dropped.csv, RGB, 240 pixels wide; None without one."""
    from helpers.common.images import decode_file

    path = folder / "images" / row["image"] if "image" in row else None
    if path is None and row["thumbnail"]:
        path = folder / "dropped" / row["thumbnail"]
    image = decode_file(path, cv2.IMREAD_COLOR) if path else None
    if image is None:
        return None
    scale = min(1, 240 / max(image.shape))
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def augmentations(pictures: Sequence[np.ndarray], truth: Sequence, *, caption: str):
    """Return a grid of one picture and what augmentation makes of it, for `widgets.slider`.

    Args:
        pictures, truth: of `augmentation.preview`: the first as it is, the others drawn.
        caption: one line that says what is shown; printed.
    """
    print(caption)
    columns = min(4, len(pictures))
    rows = -(-len(pictures) // columns)
    height, width = pictures[-1].shape[:2]
    side = 11 / columns
    figure, axes = new_figure(rows, columns, (11, rows * (side * height / width + 0.25)))
    for i, ax in enumerate(axes):
        ax.set(xticks=[], yticks=[])
        if i >= len(pictures):
            ax.axis("off")
            continue
        ax.imshow(pictures[i])
        for box in truth[i]:
            draw_box(ax, box.xyxy, TRUTH, "-", None)
        ax.set_title(
            "as it is" if i == 0 else f"draw {i}", fontsize=9, weight=("bold", None)[i > 0]
        )
        for spine in ax.spines.values():
            spine.set(edgecolor="#222", linewidth=2, visible=i == 0)
    return _picture(figure, caption, photo=True)


def batch_probe(rows: Sequence[Mapping], *, caption: str):
    """Show speed and memory over the batch size: rows of `memory.probe`.

    On the right the dots are measured; the bars are arithmetic. What lies between is not explained.
    """
    tried = [row for row in rows if "images_per_second" in row]
    if not tried:
        return _nothing(caption)
    figure, (speed, fill) = new_figure(1, 2, (11, 3.4))
    x, names = range(len(tried)), [row["batch"] for row in tried]
    rates = [row["images_per_second"] for row in tried]
    speed.plot(x, rates, "o-", color=TRUTH, lw=2)
    for i, rate in enumerate(rates):
        speed.annotate(f"{rate:.0f}", (i, rate), (0, 6), textcoords="offset points", ha="center")
    speed.set(ylabel="images a second", ylim=(0, 1.2 * max(rates)))
    parts = {
        "libraries, before the first step": (["libraries_mb"], GREY),
        "weights, gradients, optimizer": (["weights_mb", "gradients_mb", "optimizer_mb"], FOURTH),
        "activations and the batch": (["activations_mb", "batch_mb"], THIRD),
    }
    left = np.zeros(len(tried))
    for label, (columns, colour) in parts.items():
        part = np.array([sum(row[column] for column in columns) for row in tried]) / 1000
        fill.bar(x, part, 0.6, bottom=left, color=colour, label=label)
        left += part
    measured = [row["memory_mb"] / 1000 for row in tried]
    fill.plot(x, measured, "D--", color=PREDICTION, mec="#222", lw=2, label="measured, at most")
    fill.set(ylabel="memory, GB", ylim=(0, 1.15 * max(*measured, *left)))
    for ax in (speed, fill):
        ax.set_xticks(x, names)
        ax.set(xlabel="batch: images in a step", xlim=(-0.6, len(tried) - 0.4))
        tidy(ax)
    figure.legend(frameon=False, fontsize=8, loc="outside upper right", ncols=4)
    return show(figure, caption)


def proposals(detector, image: np.ndarray, *, count: int = 20, caption: str) -> None:
    """Show the best proposals of a Faster R-CNN's first stage: the surer, the stronger the line.

    Args:
        detector: an `inference.Detector`.
        image: RGB, uint8, [height, width, 3].
        count: how many, best first.

    Raises CourseError for an SSD, which has none.
    """
    from helpers import inference

    found = inference.proposals(detector, image, count)
    figure, (ax,) = new_figure(1, 1, (8, 8 * image.shape[0] / image.shape[1]))
    ax.imshow(image)
    ax.axis("off")
    for xyxy, sure in reversed(list(zip(found.xyxy, found.confidence, strict=True))):
        draw_box(ax, xyxy, PREDICTION, "--", None, alpha=0.3 + 0.7 * float(sure))
    show(figure, caption, photo=True)


def inside(
    detector,
    image: np.ndarray,
    truth: Sequence,
    *,
    number: int | None = None,
    threshold: float = 0.4,
    caption: str,
) -> None:
    """Show one object three times: its anchors, the boxes before the last choice, what is left.

    Args:
        image: RGB, uint8, [height, width, 3].
        detector: an `inference.Detector`.
        truth: the image's `annotations.Box`es.
        number: which of them is shown close up, from 0; None takes the largest that counts (no
            anchor has to find one that is difficult).
        threshold: score of the weakest detection that is shown.

    Raises CourseError for a `number` that the image has not, and for an image without an object.
    """
    from matplotlib import patheffects
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    from helpers import inference
    from helpers.common.errors import CourseError

    if number is None:
        counted = [i for i, box in enumerate(truth) if not box.difficult] or range(len(truth))
        number = max(counted, key=lambda i: truth[i].area, default=0)
    if not 0 <= number < len(truth):
        raise CourseError(f"number: {number}; the image has {len(truth)} objects, from 0")
    matched = inference.matched_anchors(detector, image, truth)
    candidates = inference.candidate_boxes(detector, image)
    found = detector(image, threshold=threshold)
    two_stages = hasattr(detector.model, "roi_generator")
    x1, y1, x2, y2 = truth[number].xyxy
    mine = matched[matched.class_id == number]
    used = mine[mine.data["used"]]
    left_out = mine[~mine.data["used"]][:12]
    # Room for the object three times, and for all of its anchors.
    edges = np.vstack([used.xyxy, [(x1, y1, x2, y2)]])
    side = max(2.6 * max(x2 - x1, y2 - y1), 1.15 * np.ptp(edges[:, [0, 2]]), 48)
    side = min(max(side, 1.15 * np.ptp(edges[:, [1, 3]])), *image.shape[:2])
    left = float(np.clip((x1 + x2 - side) / 2, 0, image.shape[1] - side))
    top = float(np.clip((y1 + y2 - side) / 2, 0, image.shape[0] - side))

    def near(boxes, most: int):
        middle = (boxes.xyxy[:, :2] + boxes.xyxy[:, 2:]) / 2 - (left, top)
        return boxes[((middle > 0) & (middle < side)).all(1)][:most]

    figure, axes = new_figure(1, 3, (11, 4.3))
    rim = [patheffects.withStroke(linewidth=2, foreground="#111", alpha=0.5)]

    def thin(ax, xyxy, colour, style, alpha=1.0):
        size = (xyxy[2] - xyxy[0], xyxy[3] - xyxy[1])
        options = {"fill": False, "ec": colour, "lw": 1.1, "ls": style, "alpha": alpha}
        ax.add_patch(Rectangle(xyxy[:2], *size, path_effects=rim, **options))

    for ax in axes:
        ax.imshow(image, interpolation="bicubic")
        ax.set(xlim=(left, left + side), ylim=(top + side, top), xticks=[], yticks=[])

    levels = sorted(set(used.data["level"].tolist()))
    colours = ("#F0E442", THIRD, FOURTH, "#56B4E9", "#D55E00")
    shades = {level: colours[level % len(colours)] for level in levels}  # the same in each figure
    # Below the boxes, which mostly lie upon it.
    for ax, shown in zip(axes, ((number,), *[range(len(truth))] * 2), strict=True):
        for i in shown:
            draw_box(ax, truth[i].xyxy, TRUTH, "-", None)
    for xyxy in left_out.xyxy:
        thin(axes[0], xyxy, "#DDDDDD", ":")
    for xyxy, level in zip(used.xyxy, used.data["level"], strict=True):
        thin(axes[0], xyxy, shades[level], "--")
    close = near(candidates, 30)
    strongest = max([*close.confidence, 1e-6])
    for xyxy, score in reversed(list(zip(close.xyxy, close.confidence, strict=True))):
        thin(axes[1], xyxy, PREDICTION, "--", 0.25 + 0.75 * float(score) / strongest)
    last = near(found, 30)
    for xyxy, score in zip(last.xyxy, last.confidence, strict=True):
        draw_box(axes[2], xyxy, PREDICTION, "--", f"{score:.2f}")

    one = "anchor has" if len(used) == 1 else "anchors have"
    best = f", overlap {used.confidence.max():.2f} at best" if len(used) else ""
    what = "proposals of the first look" if two_stages else "boxes before any is dropped"
    titles = (
        f"{len(used)} {one} to find it{best}",
        f"{len(close)} {what}",
        f"{len(last)} left" + (" after the second look" if two_stages else " of them"),
    )
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=9)
    lines = [Line2D([], [], color=TRUTH, lw=2, label="ground truth")]
    for level in levels:
        label = f"anchor of level {level} (every {2**level} pixels)"
        lines.append(Line2D([], [], color=shades[level], ls="--", lw=1.5, label=label))
    if len(left_out):
        lines.append(Line2D([], [], color="#AAA", ls=":", lw=1.5, label="anchor left out"))
    lines.append(Line2D([], [], color=PREDICTION, ls="--", lw=2, label="predicted, with score"))
    figure.legend(handles=lines, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    show(figure, caption, photo=True)
