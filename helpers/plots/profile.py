"""The figure of one training step."""

import numpy as np

from helpers.common.palette import SERIES
from helpers.plots import draw
from helpers.training.profile import PARTS, Step


def step_time(step: Step, *, caption: str) -> None:
    """Show where the time of a training step goes: part after part, coloured by phase."""
    figure, (ax,) = draw.chart(1, 1, (9, 2.6))
    colours = dict(zip(step.phases, SERIES, strict=False))
    times = 1000 * np.array(list(step.parts.values()))
    starts = np.cumsum(times) - times
    places = np.arange(len(times))
    ax.barh(places, times, 0.7, left=starts, color=[colours[PARTS[part]] for part in step.parts])
    for place, end, time in zip(places, starts + times, times, strict=True):
        ax.text(end, place, f" {time:.0f} ms, {time / sum(times):.0%}", va="center", fontsize=9)
    ax.set_yticks(places, list(step.parts))
    ax.invert_yaxis()
    ax.set_xlim(0, 1.15 * sum(times))
    ax.set_xlabel(f"milliseconds since the start of a step of {step.batch} images")
    shares = {phase: seconds / step.seconds for phase, seconds in step.phases.items()}
    handles = [draw.patch(f"{phase} ({shares[phase]:.0%})", colours[phase]) for phase in shares]
    draw.legend(ax, handles=handles, loc="upper right", fontsize=9)
    draw.show(figure, caption)
