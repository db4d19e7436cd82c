"""Figures of lesson 05: what a config makes of pictures, steps and memory."""

from collections.abc import Mapping, Sequence

import numpy as np

from helpers.common.palette import FOURTH, GREY, PREDICTION, THIRD, TRUTH
from helpers.plots import draw

# What fills the memory: the columns of a probe that add up to each part.
MEMORY = (
    ("libraries, before the first step", ("libraries_mb",), GREY),
    ("weights, gradients, optimizer", ("weights_mb", "gradients_mb", "optimizer_mb"), FOURTH),
    ("activations and the batch", ("activations_mb", "batch_mb"), THIRD),
)


def augmentations(
    pictures: Sequence[np.ndarray], truth: Sequence, *, labels: bool = False, caption: str
):
    """Return a grid of one picture and what augmentation makes of it, for `slider`.

    Args:
        pictures, truth: of `training.preview_augmentation`: the first as it is, the others drawn.
        labels: write the class over each box.
    """
    print(caption)
    height, width = pictures[-1].shape[:2]
    figure, axes = draw.grid(len(pictures), 4, height / width, gap=0.25)
    for i, (ax, picture) in enumerate(zip(axes, pictures, strict=True)):
        ax.imshow(picture)
        draw.truth(ax, truth[i], labels=labels)
        ax.set_title(f"draw {i}" if i else "as it is", fontsize=9, weight=None if i else "bold")
        for spine in ax.spines.values():
            spine.set(edgecolor="#222", linewidth=2, visible=i == 0)
    return draw.as_image(figure, caption, photo=True)


def learning_rate(config, *, caption: str) -> None:
    """Show the learning rate over the steps of a config."""
    from official.modeling import optimization

    options = config.trainer.optimizer_config
    rate = optimization.OptimizerFactory(options).build_learning_rate()
    steps = np.linspace(0, config.trainer.train_steps, 200)
    figure, (ax,) = draw.chart(1, 1, (8, 2.4))
    ax.plot(steps, [float(rate(step)) for step in steps], color=TRUTH, lw=2)
    ax.set(xlabel="training step", ylabel="learning rate", xlim=(0, None), ylim=(0, None))
    draw.show(figure, caption)


def batch_probe(rows: Sequence[Mapping], *, caption: str) -> None:
    """Show speed and memory over the batch size: rows of `training.probe_batch_sizes`.

    On the right the dots are measured; the bars are arithmetic. What lies between is not explained.
    """
    tried = [row for row in rows if "images_per_second" in row]
    if not tried:
        return draw.nothing(caption)
    figure, (speed, memory) = draw.chart(1, 2, (11, 3.4))
    rates = [row["images_per_second"] for row in tried]
    speed.plot(range(len(tried)), rates, "o-", color=TRUTH, lw=2)
    for i, rate in enumerate(rates):
        speed.annotate(f"{rate:.0f}", (i, rate), (0, 6), textcoords="offset points", ha="center")
    speed.set(ylabel="images a second", ylim=(0, 1.2 * max(rates)))
    top = np.zeros(len(tried))
    for label, columns, colour in MEMORY:
        part = np.array([sum(row[column] for column in columns) for row in tried]) / 1000
        memory.bar(range(len(tried)), part, 0.6, bottom=top, color=colour, label=label)
        top += part
    measured = [row["memory_mb"] / 1000 for row in tried]
    look = {"color": PREDICTION, "mec": "#222", "lw": 2}
    memory.plot(range(len(tried)), measured, "D--", label="measured, at most", **look)
    memory.set(ylabel="memory, GB", ylim=(0, 1.15 * max(*measured, *top)))
    for ax in (speed, memory):
        ax.set_xticks(range(len(tried)), [row["batch"] for row in tried])
        ax.set(xlabel="batch: images in a step", xlim=(-0.6, len(tried) - 0.4))
    draw.legend(figure, loc="outside upper right", ncols=4)
    draw.show(figure, caption)
