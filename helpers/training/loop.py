"""Train a Model Garden detector: a loop that one can read whole, and stop at any time."""

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from helpers import models
from helpers.annotations.label_map import read_label_map
from helpers.common.artifacts import fingerprint_of, write_manifest
from helpers.common.errors import CourseError
from helpers.common.files import write_json
from helpers.inference.detector import Detector, save_detector
from helpers.training import cluster
from helpers.training.batches import batches_after
from helpers.training.checkpoints import Checkpoints, claim_folder, latest_checkpoint
from helpers.training.evaluations import Evaluations
from helpers.training.finetuning import RESTORED, load_pretrained, restored_table
from helpers.training.history import has_stalled, read_history
from helpers.training.reports import Reports
from helpers.training.snapshots import Snapshots
from helpers.training.state import TrainState


def train(
    config,
    folder: Path,
    *,
    label_map: Path,
    evaluate: Callable[[Detector], dict] | None = None,
    evaluate_every: int | None = None,
    patience: int | None = None,
    watch: Sequence[np.ndarray] = (),
    on_report: Callable[[list[dict]], None] | None = None,
    report_every: int = 10,
    checkpoint_every: int = 50,
) -> tuple[Detector, list[dict]]:
    """Train `config`, from the last checkpoint on when there is one.

    Ctrl-C (the stop button in Jupyter) saves a checkpoint, so that a later call goes on, and ends
    with the detector that there is: the best so far, or before any score the one of this step. Its
    manifest says `stopped_at`, the step.

    On a CPU, a training that was stopped or killed ends with the weights of one that never was:
    checkpoints hold weights and optimizer, and the images that come next, their augmentation and a
    Faster R-CNN's sampling follow from the seed and the step. (Losses of the report during which
    it stopped are means over fewer steps.) On a GPU they are only alike: there several threads
    draw the augmentation, and sums are made in any order.

    `runtime.distribution_strategy` of the config says where the steps are computed:
    "one_device", and "mirrored" with `runtime.num_gpus` up to 1, on this machine's CPU or first
    GPU; "mirrored" on that many GPUs of it; "multi_worker_mirrored" on all workers of a cluster,
    whose addresses are in the environment's TF_CONFIG or in `runtime.worker_hosts` and
    `runtime.task_index`. All workers then make this call, at about the same time, with `folder`
    on a disk that they share; only the first of them writes into it. What a worker raises in
    `on_report` (KeyboardInterrupt, to stop) all must raise in the same step: saving needs all.

    Args:
        config: from `models.for_records`; from `two_stage` for two-stage fine-tuning.
        folder: gets checkpoints/, events/ (TensorBoard), history.csv, and at the end the
            detector itself (weights.npz, config.yaml, label_map.pbtxt). With pretrained weights
            (`task.init_checkpoint`) restored.json holds the rows of `load_pretrained`. A folder
            that was trained with another config is kept next to it as <folder>.previous; only
            where the loss became NaN does a training with another learning rate resume in it.
        label_map: .pbtxt file with the class names.
        evaluate: called with a Detector every `evaluate_every` steps and at the end; returns
            a dict of numbers that the history keeps. The weights with the best AP (without one:
            the first number) are kept in best/ and returned, the later ones of equals.
        patience: stop after so many evaluations in a row that were not better; None never does.
            Those before anything is found (0) do not count.
        watch: RGB images, uint8, [height, width, 3]; what is detected in them before the first
            step and at each evaluation is kept in snapshots.json, for `plots.snapshots`.
        on_report: called with the history every `report_every` steps.
        report_every, checkpoint_every: steps.

    Returns:
        (Detector, history): the history is a list of dicts with step, losses, learning rate,
        images_per_second, seconds, memory_gb (of this process), gpu_memory_gb (the most so far,
        where there is a GPU), what `evaluate` returned, and score, the number that decides.
        `best_row` finds the row of the detector.

    Raises:
        CourseError: the loss is no longer a number, memory is exhausted, the label map is of
            other classes, the pretrained weights are missing or fit nowhere, `models.check_config`
            finds a fault, or the cluster does not fit the config, the images or the call.
    """
    folder = Path(folder)
    # A training that resumes needs no pretrained weights.
    resumes = latest_checkpoint(folder)
    models.check_config(models.edit(config, {"task.init_checkpoint": None}) if resumes else config)
    strategy = cluster.strategy(config)
    if (evaluate or len(watch)) and cluster.count(strategy) > 1:
        raise CourseError(
            "train: evaluate, watch: several workers train without evaluation; leave them out, "
            "and run `python -m helpers.scale evaluate` next to them"
        )
    # All workers do the same: a value that is spread over them is only known when all ask for it.
    with (
        _memory_explained(config),
        strategy.scope(),
        cluster.place_to_write(strategy, folder) as place,
    ):
        labels = _read_labels(label_map, config)
        chief = cluster.is_chief(strategy)
        if chief:
            claim_folder(folder, config)
        state = TrainState(config)
        checkpoints = Checkpoints(folder, place, state)
        if not checkpoints.restore() and config.task.init_checkpoint:
            restored = load_pretrained(state.task, state.model)
            write_json(place / RESTORED, restored)
            if chief:
                print(f"{folder.name}: pretrained weights from {config.task.init_checkpoint}")
                print(restored_table(restored))
        first, total = state.step, config.trainer.train_steps
        history = [row for row in read_history(folder) if row["step"] <= first]
        if first == total or has_stalled(history, patience):
            print(f"{folder.name}: trained already, {first} steps.")
        elif first:
            print(f"{folder.name}: resumes after step {first} of {total}.")

        detector, snapshots = state.detector(labels), Snapshots(place, watch, first)
        evaluations = Evaluations(
            state, checkpoints, detector, snapshots, evaluate, evaluate_every or total
        )
        reports = Reports(state, history, place, folder.name if chief else None, on_report)
        stopped = False
        try:
            with reports:
                evaluations.catch_up(history, reports)
                _loop(
                    state,
                    history,
                    checkpoints,
                    evaluations,
                    reports,
                    patience=patience,
                    report_every=report_every,
                    checkpoint_every=checkpoint_every,
                )
        except KeyboardInterrupt:
            stopped = True
            if state.step > max([first, *(row["step"] for row in history)]):
                history.append(reports.measure(state.step))
            checkpoints.save(history)
            print(f"{folder.name}: stopped at step {state.step} of {total}; run again to go on.")
        if on_report and state.step == first and not stopped:
            on_report(history)
        if state.step < total and not stopped:
            print(f"{folder.name}: no better score in {patience} evaluations: stopped early.")
        best = checkpoints.restore_best(history)
        state.finish()
        _save(detector, place, state, best, stopped)
    return detector, history


def _loop(
    state: TrainState,
    history: list[dict],
    checkpoints: Checkpoints,
    evaluations: Evaluations,
    reports: Reports,
    *,
    patience: int | None,
    report_every: int,
    checkpoint_every: int,
) -> None:
    """Read a batch and take a step; every so often report, evaluate and save."""
    step, total = state.step, state.config.trainer.train_steps
    batches = batches_after(state.task, state.config, step)
    train_step = None
    reports.start_clock()
    while step < total and not has_stalled(history, patience):
        if train_step is None or step == state.frozen_steps:
            train_step = state.compiled_step(step)

        train_step(next(batches))  # forward pass, loss, gradient, update
        step += 1
        reports.bar.update()

        evaluates = evaluations.are_due(step)
        if evaluates or step % report_every == 0 or step == total:
            row = reports.measure(step)
            if not math.isfinite(row["total_loss"]):
                raise checkpoints.diverged(history, f"the loss is {row['total_loss']}")
            history.append(row)
            if evaluates:
                evaluations.run(history)
            reports.show()
        if evaluates or step % checkpoint_every == 0 or step == total:
            checkpoints.save(history)


def _read_labels(label_map: Path, config) -> dict[int, str]:
    """Class id -> name; CourseError where the config has another number of classes."""
    labels = {number: name for name, number in read_label_map(label_map).items()}
    if max(labels) + 1 != config.task.model.num_classes:
        raise CourseError(
            f"{label_map}: ids up to {max(labels)}, but task.model.num_classes is "
            f"{config.task.model.num_classes}; run lesson 05 again, which sets it to one more"
        )
    return labels


def _save(
    detector: Detector, place: Path, state: TrainState, best: int | None, stopped: bool
) -> None:
    """Write the detector, and the manifest that declares its folder whole."""
    save_detector(detector, place)
    # Of the numbers, not of the file: layers of a second model in one session get other names.
    weights = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in state.model.weights))
    config, steps = state.config, state.step
    parts = {"config": fingerprint_of(config.as_dict()), "weights": weights.hexdigest()[:16]}
    counts = {"steps": steps, "images": steps * config.task.train_data.global_batch_size}
    if best:
        counts["best_step"] = best
    if stopped and steps < config.trainer.train_steps:
        counts |= {"steps": config.trainer.train_steps, "stopped_at": steps}
    write_manifest(place, "train", parts, {}, counts)


@contextlib.contextmanager
def _memory_explained(config) -> Iterator[None]:
    """Turn what TensorFlow and Python raise when memory is exhausted into a CourseError."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        data = config.task.train_data
        height, width, _ = models.at_training_size(config).task.model.input_size
        line = (str(error).splitlines() or [""])[0]
        raise CourseError(
            f"train: memory is exhausted with batches of {data.global_batch_size} images of "
            f"{width}x{height}; halve task.train_data.global_batch_size (and lower the rate), or "
            f"take a smaller task.model.input_size or preset ({line[:120]})"
        ) from None
