"""Figures of lesson 08: scores, curves and errors."""

from collections.abc import Mapping, Sequence

import numpy as np

from helpers.common.palette import PREDICTION, SERIES, TRUTH
from helpers.plots import draw


def precision_recall(curves: Mapping[str, Mapping[str, np.ndarray]], *, caption: str) -> None:
    """Show precision over recall, and both over the score: {title: precision_recall(…)}."""
    figure, axes = draw.chart(1, 2, (11, 3.8))
    for (title, curve), colour in zip(curves.items(), SERIES, strict=False):
        axes[0].plot(curve["recall"], curve["precision"], color=colour, label=title)
        axes[1].plot(curve["score"], curve["precision"], color=colour, label=f"{title}: precision")
        axes[1].plot(curve["score"], curve["recall"], color=colour, ls=":", label="… recall")
    axes[0].set(xlabel="recall: part of the objects that is found", ylabel="precision")
    axes[1].set(xlabel="score threshold", ylabel="precision, recall")
    # Where curves seldom pass: each falls, or rises and falls, towards the corners.
    for ax, free in zip(axes, ("lower left", "lower center"), strict=True):
        ax.set(xlim=(0, 1.01), ylim=(0, 1.03))
        draw.legend(ax, loc=free)
    draw.show(figure, caption)


def scores(table: Mapping[str, Mapping], *, caption: str) -> None:
    """Show AP50 with its interval, and AP, as bars: {title: metrics of the detector}."""
    figure, (ax,) = draw.chart(1, 1, (8, 0.75 * len(table) + 1.3))
    for i, (title, row) in enumerate(table.items()):
        ax.text(-0.01, i, title, va="center", ha="right", fontsize=9)
        if row["AP50"] is None:
            ax.text(0.01, i, "nothing to find", va="center", fontsize=9)
            continue
        low, high = row["AP50"] - row["AP50_low"], row["AP50_high"] - row["AP50"]
        ax.barh(i - 0.19, row["AP50"], 0.34, color=TRUTH, label="AP50" if i == 0 else None)
        ax.errorbar(
            row["AP50"], i - 0.19, xerr=[[max(0, low)], [max(0, high)]], color="#222", capsize=4
        )
        ax.barh(i + 0.19, row["AP"], 0.34, color=PREDICTION, label="AP" if i == 0 else None)
        ax.text(0.01, i - 0.19, f"{row['AP50']:.3f}", va="center", color="w", fontsize=9)
        ax.text(0.01, i + 0.19, f"{row['AP']:.3f}", va="center", color="k", fontsize=9)
    ax.set(xlim=(0, 1), ylim=(len(table) - 0.5, -0.5), yticks=[])
    if ax.patches:
        draw.legend(figure, loc="outside lower right", ncols=2)
    draw.show(figure, caption)


def error_bars(table: Mapping[str, Mapping[str, int]], *, caption: str) -> None:
    """Show what went wrong, by kind, for several detectors: {title: errors_by_kind(…)}."""
    figure, (ax,) = draw.chart(1, 1, (8, 3))
    kinds = list(next(iter(table.values())))
    width = 0.8 / len(table)
    for i, ((title, counts), colour) in enumerate(zip(table.items(), SERIES, strict=False)):
        x = np.arange(len(kinds)) + (i - (len(table) - 1) / 2) * width
        bars = ax.bar(x, [counts[kind] for kind in kinds], width * 0.92, color=colour, label=title)
        ax.bar_label(bars, fontsize=8)
    ax.set_xticks(range(len(kinds)), kinds)
    ax.set_ylabel("how many")
    draw.legend(ax)
    draw.show(figure, caption)


def confusion(names: Sequence[str], counts: np.ndarray, *, caption: str) -> None:
    """Show what `evaluation.confusion` counted: a row for each true class, with its shares."""
    rows, columns = [*names, "nothing there"], [*names, "missed"]
    side = min(10.0, 2.2 + 0.62 * len(columns))
    figure, (ax,) = draw.new_figure(1, 1, (side + 1, side))
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 9 if len(columns) <= 12 else 6
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "w" if shares[row, column] > 0.5 else "#222"
            ax.text(column, row, count, ha="center", va="center", fontsize=size, color=colour)
    ax.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=size)
    ax.set_yticks(range(len(rows)), rows, fontsize=size)
    # What is no class stands apart.
    for line in (ax.axhline, ax.axvline):
        line(len(names) - 0.5, color="#222", lw=1)
    ax.set(xlabel="detected as", ylabel="true class")
    draw.show(figure, caption)
