"""All figures of the course.

Ground truth is drawn solid and blue, predictions dashed and orange: two colours of the
Okabe-Ito palette, which all kinds of colour vision can tell apart, and two line styles for
print. Every function prints the line that says what its figure shows, because a picture
alone says nothing to a screen reader; without anything to show, only that line is printed.
"""

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np

TRUTH, PREDICTION, THIRD, FOURTH = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
GREY = "#999999"
LIGHT = {TRUTH: "#7CC4F0"}  # the same hue, for text on a dark rim
SERIES = (TRUTH, PREDICTION, THIRD, FOURTH)


def images(
    pictures: Sequence[np.ndarray],
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
        pictures: RGB, uint8, [height, width, 3].
        truth: for each picture its `annotations.Box`es (solid).
        detections: for each picture a `supervision.Detections` (dashed, with scores).
        zoom: show the part around the boxes instead of the whole picture.
        labels: write the label over each box of the truth.
        caption: one line that says what is shown; printed.
    """
    if not len(pictures):
        return _nothing(caption)
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    height, width = np.median([picture.shape[:2] for picture in pictures], axis=0)
    # One picture alone is not blown up to the whole width.
    total = 11 if columns > 1 else 8
    gap = 0.3 if titles else 0.06
    lines = any(map(len, truth or ())), any(map(len, detections or ()))
    tall = rows * (total / columns * height / width + gap) + (0.3 if any(lines) else 0)
    figure, axes = _figure(rows, columns, (total, tall))
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
    _show(figure, caption, photo=True)


def live_history(metric: str = "AP50") -> Callable[[list[dict]], None]:
    """Return a function for `training.train(on_report=…)` that redraws loss and AP in place."""
    from IPython.display import display

    caption = f"Left: the loss over the steps. Right: {metric} on held-out clips."
    handle = None

    def draw(rows: list[dict]) -> None:
        nonlocal handle
        picture = _picture(_history_figure({"": rows}, metric), caption)
        if handle is None:
            print(caption)
            handle = display(picture, display_id=True)
        else:
            handle.update(picture)

    return draw


def history(histories: Mapping[str, list[dict]], *, metric: str = "AP50", caption: str):
    """Show the training curves of several detectors: {title: rows of the history}."""
    return _show(_history_figure(histories, metric), caption)


def precision_recall(curves: Mapping[str, Mapping[str, np.ndarray]], *, caption: str):
    """Show precision over recall, and both over the score: {title: precision_recall(…)}."""
    figure, axes = _figure(1, 2, (11, 3.8))
    for (title, curve), colour in zip(curves.items(), SERIES, strict=False):
        axes[0].plot(curve["recall"], curve["precision"], color=colour, label=title)
        axes[1].plot(curve["score"], curve["precision"], color=colour, label=f"{title}: precision")
        axes[1].plot(curve["score"], curve["recall"], color=colour, ls=":", label="… recall")
    axes[0].set(xlabel="recall: part of the objects that is found", ylabel="precision")
    axes[1].set(xlabel="score threshold", ylabel="precision, recall")
    for ax in axes:
        ax.set(xlim=(0, 1.01), ylim=(0, 1.03))
        _tidy(ax)
        ax.legend(frameon=False, fontsize=8, loc="lower left")
    return _show(figure, caption)


def scores(table: Mapping[str, Mapping], *, caption: str):
    """Show AP50 with its interval, and AP, as bars: {title: metrics of the detector}."""
    figure, (ax,) = _figure(1, 1, (8, 0.75 * len(table) + 1.3))
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
    _tidy(ax)
    figure.legend(frameon=False, fontsize=8, loc="outside lower right", ncols=2)
    return _show(figure, caption)


def error_bars(table: Mapping[str, Mapping[str, int]], *, caption: str):
    """Show what went wrong, by kind, for several detectors: {title: evaluation.errors(…)}."""
    figure, (ax,) = _figure(1, 1, (8, 3))
    kinds = list(next(iter(table.values())))
    width = 0.8 / len(table)
    for i, ((title, counts), colour) in enumerate(zip(table.items(), SERIES, strict=False)):
        x = np.arange(len(kinds)) + (i - (len(table) - 1) / 2) * width
        bars = ax.bar(x, [counts[kind] for kind in kinds], width * 0.92, color=colour, label=title)
        ax.bar_label(bars, fontsize=8)
    ax.set_xticks(range(len(kinds)), kinds)
    ax.set_ylabel("how many")
    _tidy(ax)
    ax.legend(frameon=False, fontsize=8)
    return _show(figure, caption)


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
    figure, (ax,) = _figure(1, 1, (8, 2.8))
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
    _tidy(ax)
    if marks or "" not in series:
        ax.legend(frameon=False, fontsize=8)
    _show(figure, caption)


def class_bars(counts: Mapping[str, Mapping[str, int]], *, caption: str) -> None:
    """Show the objects of each class: {label: {"counted": n, "difficult": m}}."""
    if not counts:
        return _nothing(caption)
    figure, (ax,) = _figure(1, 1, (8, 0.42 * len(counts) + 1.1))
    for y, row in enumerate(counts.values()):
        ax.barh(y, row["counted"], 0.7, color=TRUTH)
        ax.barh(y, row["difficult"], 0.7, left=row["counted"], color=GREY)
        text = f" {row['counted']}" + (f" + {row['difficult']}" if row["difficult"] else "")
        ax.text(row["counted"] + row["difficult"], y, text, va="center", fontsize=9)
    ax.set_yticks(range(len(counts)), list(counts))
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.set_xlabel("objects")
    _tidy(ax)
    handles = [_patch(TRUTH, "counted")]
    if any(row["difficult"] for row in counts.values()):
        handles.append(_patch(GREY, "marked difficult"))
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside upper right", ncols=2)
    _show(figure, caption)


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
    figure, (ax,) = _figure(1, 1, (8, 3.2))
    ax.plot(distance, height, "o", ms=3, alpha=0.35, mew=0, color=TRUTH)
    named = zip((lines or {}).items(), (PREDICTION, THIRD, FOURTH), strict=False)
    for (name, value), colour in named:
        ax.axhline(value, color=colour, lw=2, ls="--", label=name)
    ax.set(xlabel="distance, metres", ylabel="height in the picture, pixels", yscale="log")
    ax.yaxis.set_major_formatter("{x:.0f}")
    _tidy(ax)
    if lines:
        ax.legend(frameon=False, fontsize=8)
    _show(figure, caption)


def detections_over_time(rows: Mapping[str, Sequence], *, caption: str) -> None:
    """Show the detections of a video: time, height of the box, and score as colour.

    `rows` has the columns of detections.csv: time (s), score (0..1), ymin, ymax (pixels).
    """
    time = np.asarray(rows["time"], float)
    if not len(time):
        return _nothing(caption)
    height = np.asarray(rows["ymax"], float) - np.asarray(rows["ymin"], float)
    figure, (ax,) = _figure(1, 1, (9, 3.2))
    dots = ax.scatter(time, height, c=rows["score"], s=16, cmap="cividis_r", vmin=0, vmax=1)
    figure.colorbar(dots, ax=ax, label="score")
    ax.set(xlabel="time in the video, s", ylabel="height of the box, pixels", xlim=(0, None))
    ax.set_ylim(0, None)
    _tidy(ax)
    _show(figure, caption)


def learning_rate(config, *, caption: str):
    """Show the learning rate over the steps of a config."""
    from official.modeling import optimization

    options = config.trainer.optimizer_config
    rate = optimization.OptimizerFactory(options).build_learning_rate()
    steps = np.linspace(0, config.trainer.train_steps, 200)
    figure, (ax,) = _figure(1, 1, (8, 2.4))
    ax.plot(steps, [float(rate(step)) for step in steps], color=TRUTH, lw=2)
    ax.set(xlabel="training step", ylabel="learning rate", xlim=(0, None), ylim=(0, None))
    _tidy(ax)
    return _show(figure, caption)


def split_strip(clips: Mapping[str, Mapping[str, int]], *, caption: str):
    """Show which clips train and which are held out: {clip: {"train": n, "val": n}} images."""
    if not clips:
        return _nothing(caption)
    figure, (ax,) = _figure(1, 1, (8, 0.2 * len(clips) + 0.9))
    for y, (_clip, counts) in enumerate(clips.items()):
        left = 0
        for name, colour in (("train", TRUTH), ("val", PREDICTION)):
            ax.barh(y, counts.get(name, 0), left=left, color=colour, height=0.75)
            left += counts.get(name, 0)
    ax.set_yticks(range(len(clips)), list(clips), fontsize=7)
    ax.set_ylim(len(clips) - 0.4, -0.6)
    ax.set_xlabel("images")
    _tidy(ax)
    handles = [
        _patch(TRUTH, "trains the detector"),
        _patch(PREDICTION, "held out: only ever scored"),
    ]
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside upper right", ncols=2)
    return _show(figure, caption)


def _history_figure(histories: Mapping[str, list[dict]], metric: str):
    figure, axes = _figure(1, 2, (11, 3))
    for (title, rows), colour in zip(histories.items(), SERIES, strict=False):
        axes[0].plot(
            [row["step"] for row in rows],
            [row["total_loss"] for row in rows],
            color=colour,
            label=title,
        )
        scored = [row for row in rows if row.get(metric) is not None]
        axes[1].plot(
            [row["step"] for row in scored],
            [row[metric] for row in scored],
            "o-",
            color=colour,
            label=title,
        )
    axes[0].set(xlabel="training step", ylabel="loss (log)", yscale="log")
    axes[1].set(xlabel="training step", ylabel=f"{metric} on held-out clips", ylim=(0, 1.03))
    last = max((row["step"] for rows in histories.values() for row in rows), default=1)
    for ax in axes:
        ax.set_xlim(0, last * 1.02)
        _tidy(ax)
    if any(histories):
        axes[0].legend(frameon=False, fontsize=8)
    return figure


def _figure(rows: int, columns: int, size: tuple[float, float]):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        rows, columns, figsize=size, dpi=80, squeeze=False, layout="constrained"
    )
    return figure, list(axes.flat)


def _show(figure, caption: str, *, photo: bool = False) -> None:
    """Print the caption and display the figure, with the caption as alt text."""
    from IPython.display import display

    print(caption)
    display(_picture(figure, caption, photo=photo))


def _picture(figure, caption: str, *, photo: bool = False):
    """Draw a figure once, and close it.

    Photographs become JPEG: as PNG a page of them would take megabytes. Drawn here, and not by
    Jupyter's matplotlib backend, because Model Garden switches that off when it is imported.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Image

    file = io.BytesIO()
    if photo:
        figure.savefig(file, format="jpeg", dpi=100, pil_kwargs={"quality": 80})
    else:
        figure.savefig(file, format="png")
    plt.close(figure)
    return Image(file.getvalue(), format="jpeg" if photo else "png", alt=caption)


def _nothing(caption: str) -> None:
    print(f"{caption} (There is nothing to show.)")


def draw_box(ax, xyxy, colour: str, style: str, text: str | None) -> None:
    """Draw one box (xyxy, pixels) with an optional text on axes that show a picture."""
    from matplotlib import patheffects
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = (float(v) for v in xyxy)
    # The rim keeps the line visible on any ground: blue on a dark road, orange on a bright sky.
    rim = [patheffects.withStroke(linewidth=2.8, foreground="w" if colour == TRUTH else "#111")]
    patch = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour, lw=1.6, ls=style)
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


def _tidy(ax) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    ax.set_axisbelow(True)
