"""Fine-tuning: load pretrained weights, say which were loaded, and train in two stages."""

import numpy as np

from helpers import models
from helpers.common.errors import CourseError

RESTORED = "restored.json"


def load_pretrained(task, model) -> list[dict]:
    """Load the weights of `task.init_checkpoint` into `model`, and count what was loaded.

    Model Garden says nothing when it loads nothing: for a misspelt module, or one that is none
    of its two, "backbone" and "decoder". So each weight is made NaN before. What is NaN
    afterwards was not in the checkpoint; it gets back the value it had.

    Args:
        task, model: of `models.build_model`, whose config sets `task.init_checkpoint` (the path
            of a checkpoint without its ".index", or a folder of some) and
            `task.init_checkpoint_modules` ("all" or a list of modules).

    Returns:
        One row for each part of the model, in the order in which an image passes them: part,
        variables and weights (their numbers), restored_variables and restored_weights.

    Raises:
        CourseError: there is no checkpoint, it does not fit, or nothing in it was loaded.
    """
    import tensorflow as tf

    path, modules = task.task_config.init_checkpoint, task.task_config.init_checkpoint_modules
    found = tf.train.latest_checkpoint(path) if tf.io.gfile.isdir(path) else path
    if not found or not tf.io.gfile.exists(f"{found}.index"):
        raise CourseError(
            f"config: task.init_checkpoint: {path}: no checkpoint there; give its path without "
            "'.index', or a folder that training wrote checkpoints into"
        )
    before = [(weight, weight.numpy()) for weight in model.weights]
    for weight, value in before:
        weight.assign(np.full_like(value, np.nan))
    try:
        task.initialize(model)
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        line = " ".join(str(error).split())
        raise CourseError(
            f"config: task.init_checkpoint: {found}: does not fit this model's {modules} "
            f"({line[:200]}); load fewer parts (task.init_checkpoint_modules: ['backbone']), or "
            "build the model as the checkpoint's was"
        ) from None
    fresh = set()
    for weight, value in before:
        if np.isnan(weight.numpy()).any():
            weight.assign(value)
            fresh.add(id(weight))
    if len(fresh) == len(before):
        raise CourseError(
            f"config: task.init_checkpoint_modules: {modules!r}: nothing of {found} was loaded; "
            f"give 'all', or a list of 'backbone' and 'decoder'"
        )
    parts = model.checkpoint_items
    order = sorted(parts, key=lambda part: ("head" in part, part == "detection_head", part))
    return [_count(name, parts[name], fresh) for name in order]


def _count(name: str, part, fresh: set[int]) -> dict:
    """A row of `load_pretrained`; `fresh` holds the ids of the weights that were not restored."""
    # A Faster R-CNN has a list of detection heads, with one of them.
    layers = part if isinstance(part, list) else [part]
    weights = [weight for layer in layers for weight in layer.weights]
    restored = [weight for weight in weights if id(weight) not in fresh]
    return {
        "part": name,
        "variables": len(weights),
        "restored_variables": len(restored),
        "weights": sum(int(np.prod(weight.shape)) for weight in weights),
        "restored_weights": sum(int(np.prod(weight.shape)) for weight in restored),
    }


def restored_table(rows: list[dict]) -> str:
    """Return the rows of `load_pretrained` as text: what was restored, and what is fresh."""
    lines = [f"{'part':16}{'restored':>22}{'fresh':>22}   (variables, weights)"]
    for row in rows:
        variables, weights = row["restored_variables"], row["restored_weights"]
        restored = _cell(variables, weights)
        fresh = _cell(row["variables"] - variables, row["weights"] - weights)
        lines.append(f"{row['part']:16}{restored}{fresh}")
    return "\n".join(lines)


def _cell(variables: int, weights: int) -> str:
    return f"{variables:>6} {weights:>15,}" if variables else f"{'-':>6} {'-':>15}"


def two_stage(config, steps: int, *, rate_after: float = 0.1):
    """Return `config` for two-stage fine-tuning: first the heads, then everything.

    In the first `steps` steps the pretrained backbone is frozen, and so are the running means of
    its batch normalization: heads that still guess would spoil it. Then all weights are trained,
    at a lower rate. The rate falls as a cosine in each of the stages.

    The config says it in Model Garden's own words: `task.freeze_backbone`, and the rate's
    "step_cosine_with_offset", whose second boundary ends the first stage. (Model Garden's own
    trainer would keep the backbone frozen after it.)

    Args:
        config: with pretrained weights (`task.init_checkpoint`) and, from `models.with_budget`, a
            cosine rate.
        steps: length of the first stage, above 0 and less than `trainer.train_steps`.
        rate_after: where the second stage starts, as a part of the first one's rate.

    Raises:
        CourseError: no pretrained weights, another rate, or no step left for the second stage.
    """
    learning = config.trainer.optimizer_config.learning_rate
    warmup = config.trainer.optimizer_config.warmup.linear
    total = config.trainer.train_steps
    if not config.task.init_checkpoint:
        raise CourseError(
            "config: task.init_checkpoint: not set; a frozen backbone of random weights learns "
            "nothing: give pretrained weights, or train in one stage"
        )
    if learning.type != "cosine":
        raise CourseError(
            f"config: trainer.optimizer_config.learning_rate.type: {learning.type!r}; set a budget "
            "with models.with_budget first, which makes it a cosine"
        )
    if not 0 < steps < total:
        raise CourseError(
            f"two_stage: steps: {steps} of {total}; give a number above 0 and below that"
        )
    rate, key = learning.cosine.initial_learning_rate, "trainer.optimizer_config"
    changes = {
        "task.freeze_backbone": True,
        f"{key}.learning_rate.type": "step_cosine_with_offset",
        # Model Garden divides by the length of what follows the last boundary: by zero.
        f"{key}.learning_rate.step_cosine_with_offset.boundaries": [0, steps, total + 1],
        f"{key}.learning_rate.step_cosine_with_offset.values": [rate, rate * rate_after, 0.0],
    }
    if warmup is not None:
        shorter = min(warmup.warmup_steps, max(1, steps // 2))
        changes[f"{key}.warmup.linear.warmup_steps"] = shorter
    return models.edit(config, changes)


def frozen_steps(config) -> int:
    """Return in how many of the first steps the backbone is frozen: 0, all, or `two_stage`'s."""
    if not config.task.freeze_backbone:
        return 0
    learning = config.trainer.optimizer_config.learning_rate
    if learning.type == "step_cosine_with_offset":
        return learning.step_cosine_with_offset.boundaries[1]
    return config.trainer.train_steps


def set_frozen(backbone, frozen: bool, config) -> None:
    """Freeze a backbone or let it learn; its batch normalization as the config says."""
    backbone.trainable = not frozen
    if not getattr(config.task.model.backbone.get(), "bn_trainable", True):
        for layer in backbone.submodules:  # which the line above has set as well
            if "BatchNormalization" in type(layer).__name__:
                layer.trainable = False
