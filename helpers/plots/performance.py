"""Figures of one training step."""

import math

import numpy as np

from helpers.common.palette import GREY, SERIES
from helpers.plots import figures as plots
from helpers.training.profile import PHASES, Machine, Step


def show_time(step: Step, *, caption: str) -> None:
    """Show where a step's time goes: by kind of operation, and in each by phase."""
    figure, (ax,) = plots.new_figure(1, 1, (9, 0.36 * len(step.kinds) + 1.2))
    left = np.zeros(len(step.kinds))
    places = np.arange(len(step.kinds))
    for phase, colour in zip(PHASES, SERIES, strict=False):
        wide = [1000 * work.phases[phase] for work in step.kinds.values()]
        share = step.phases[phase] / step.seconds
        ax.barh(places, wide, 0.7, left=left, color=colour, label=f"{phase} ({share:.0%})")
        left += wide
    for place, work, end in zip(places, step.kinds.values(), left, strict=True):
        ax.text(end, place, f"  {work.seconds / step.seconds:.0%}", va="center", fontsize=9)
    ax.set_yticks(places, list(step.kinds))
    ax.invert_yaxis()
    ax.margins(x=0.08)
    ax.set_xlabel(f"milliseconds of a step of {step.batch} images")
    plots.tidy(ax)
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    plots.show(figure, caption)


def show_roofline(step: Step, machine: Machine, *, caption: str) -> None:
    """Show how fast each kind of operation computes, below the two roofs of the machine.

    On the slope the memory is the roof: few calculations for each byte. On the flat the processor
    is. The area of a dot is the kind's share of the step's time.
    """
    from matplotlib import patheffects
    from matplotlib.transforms import Bbox

    figure, (ax,) = plots.new_figure(1, 1, (9, 5.2))
    dark = "#222222"
    works = {kind: work for kind, work in step.kinds.items() if work.intensity and work.speed}
    works["the whole step"] = step.total
    roofs = {"32-bit": machine.float32}
    if machine.bfloat16 > 1.1 * machine.float32:
        roofs["16-bit"] = machine.bfloat16
    top = max(roofs.values())
    low = min(0.05, *(work.intensity / 2 for work in works.values())), 2000.0
    floor = min(0.5 * work.speed for work in works.values())
    ax.set(xscale="log", yscale="log", xlim=low, ylim=(floor, 2 * top))
    ax.set_xlabel("intensity: calculations for each byte read or written")
    ax.set_ylabel("speed, GFLOP/s (billion calculations a second)")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
    ax.fill_between(
        [low[0], top / machine.bandwidth, low[1]],
        [low[0] * machine.bandwidth, top, top],
        2 * top,
        color="#F0F0F0",
        lw=0,
    )
    ridge = top / machine.bandwidth
    ax.plot([low[0], ridge], [low[0] * machine.bandwidth, top], color=dark, lw=1.8)
    plots.tidy(ax)
    figure.canvas.draw()  # places are known from here on
    taken = []
    for (name, peak), style in zip(roofs.items(), ("-", "--"), strict=False):
        ax.plot([peak / machine.bandwidth, low[1]], [peak, peak], color=dark, ls=style, lw=1.8)
        text = f"processor, {name} numbers: {peak:.0f} GFLOP/s"
        spot = {"xytext": (-4, 3), "textcoords": "offset points", "ha": "right", "va": "bottom"}
        written = ax.annotate(text, (low[1], peak), fontsize=8.5, color=dark, **spot)
        taken.append(written.get_window_extent())
    # Where the slope has few neighbours: most kinds lie far below the ridge, or at it.
    start = ridge / 8 * np.array([1, machine.bandwidth])
    run, rise = ax.transData.transform(start * 2) - ax.transData.transform(start)
    text = f"memory: {machine.bandwidth:.0f} GB/s"
    spot = {"xytext": (-3, 5), "textcoords": "offset points", "rotation_mode": "anchor"}
    slope = math.degrees(math.atan2(rise, run))
    ax.annotate(text, start, fontsize=8.5, color=dark, rotation=slope, **spot)

    colours = (*SERIES, "#D55E00", "#56B4E9", GREY, "#7F6000")
    dots = []
    for i, (kind, work) in enumerate(works.items()):
        whole = kind == "the whole step"
        share = work.seconds / step.seconds
        size = 10 if whole else math.sqrt(30 + 1500 * share)  # points
        colour = dark if whole else colours[i % len(colours)]
        look = {"marker": "D" if whole else "o", "color": colour, "zorder": 3 + whole}
        ax.scatter(work.intensity, work.speed, s=size**2, edgecolors="w", **look)
        text = f"{kind}: {work.speed:.0f} GFLOP/s" if whole else f"{kind}, {share:.0%} of the time"
        dots.append((work, size, text, "bold" if whole else None))
        x, y = ax.transData.transform((work.intensity, work.speed))
        half = size / 2 * figure.dpi / 72
        taken.append(Bbox([(x - half, y - half), (x + half, y + half)]))
    for work, size, text, weight in sorted(dots, key=lambda dot: -dot[0].speed):
        spot = {"xytext": (0, 0), "textcoords": "offset points", "va": "center", "zorder": 6}
        place = work.intensity, work.speed
        label = ax.annotate(text, place, fontsize=9, color=dark, weight=weight, **spot)
        label.set_in_layout(False)
        label.set_path_effects([patheffects.withStroke(linewidth=2.5, foreground="w")])
        _set_beside(label, size / 2 + 4, ax, taken)
    plots.show(figure, caption)


def _set_beside(label, gap: float, ax, taken: list) -> None:
    """Move a text to the right or left of its point, as near as what is `taken` lets it."""
    for lower in range(0, 120, 4):
        for side, align in ((gap, "left"), (-gap, "right")):
            for y in (-lower, lower):
                label.xyann = side, y
                label.set_ha(align)
                box = label.get_window_extent()
                inside = ax.bbox.x0 < box.x0 and box.x1 < ax.bbox.x1 and ax.bbox.y0 < box.y0
                if inside and not any(box.overlaps(other) for other in taken):
                    taken.append(box)
                    return
