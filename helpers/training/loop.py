"""Train a Model Garden detector: a loop that one can read whole, and stop at any time."""

import contextlib
import csv
import hashlib
import io
import itertools
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from helpers.annotations.label_map import read_label_map
from helpers.common.artifacts import fingerprint_of, read_manifest, write_manifest
from helpers.common.devices import gpu_memory, gpus
from helpers.common.errors import CourseError
from helpers.common.files import write_text
from helpers.inference import detector as detectors
from helpers.models import config as configs
from helpers.models.config_check import first_rate
from helpers.models.networks import build_model
from helpers.training import cluster
from helpers.training.batches import read_in_order

CHECKPOINTS = "checkpoints"
EVENTS = "events"
HISTORY = "history.csv"
RESTORED = "restored.json"
BEST = "best"
FILM = "film.json"
WATCHED = 0.1  # score of the weakest detections that a film keeps
ROUND = 100  # steps, at least, after which the order of the images is drawn anew
RATE = ("trainer.optimizer_config.learning_rate.", "trainer.optimizer_config.warmup.")


def train(
    config,
    folder: Path,
    *,
    label_map: Path,
    evaluate: Callable | None = None,
    evaluate_every: int | None = None,
    patience: int | None = None,
    watch: Sequence[np.ndarray] = (),
    on_report: Callable[[list[dict]], None] | None = None,
    report_every: int = 10,
    checkpoint_every: int = 50,
):
    """Train `config`, and go on from the last checkpoint when there is one.

    Ctrl-C (the stop button in Jupyter) saves a checkpoint and returns what there is.

    On a processor, a training that was stopped or killed ends with the weights of one that never
    was: checkpoints hold weights and optimizer, and the images that come next, their augmentation
    and a Faster R-CNN's sampling follow from the seed and the step. (Losses of the report during
    which it stopped are means over fewer steps.) On a GPU they are only alike: there several
    threads draw the augmentation, and sums are made in any order.

    `runtime.distribution_strategy` of the config says where the steps are computed:
    "one_device", and "mirrored" with `runtime.num_gpus` up to 1, on this machine's processor or
    first GPU; "mirrored" on that many GPUs of it; "multi_worker_mirrored" on all workers of a
    cluster, whose addresses are in the environment's TF_CONFIG or in `runtime.worker_hosts` and
    `runtime.task_index`. All workers then make this call, at about the same time, with `folder`
    on a disk that they share; only the first of them writes into it. What a worker raises in
    `on_report` (KeyboardInterrupt, to stop) all must raise in the same step: saving needs all.

    Args:
        config: from `config.for_records`; from `staged` to fine-tune in two stages.
        folder: gets checkpoints/, events/ (TensorBoard), history.csv, and at the end the
            detector itself (weights.npz, config.yaml, label_map.pbtxt). With starting weights
            (`task.init_checkpoint`) restored.json holds the rows of `load_start`. A folder that
            was trained with another config is kept beside it as <folder>.previous; only where
            the loss was lost does a training with another learning rate go on in it.
        label_map: .pbtxt file with the class names.
        evaluate: called with a Detector every `evaluate_every` steps and at the end; returns
            a dict of numbers that the history keeps. The detector with the best AP (without
            one: the first number) is delivered, the later one of equals. best/ holds it.
        patience: stop after so many evaluations in a row that were not better; None never does.
            Those before anything is found (0) do not count.
        watch: RGB images; what is detected in them before the first step and at each evaluation
            is kept in film.json, for `plots.film_strip`.
        on_report: called with the history every `report_every` steps.

    Returns:
        (Detector, history): the history is a list of dicts with step, losses, learning rate,
        images_per_second, seconds, memory_gb (of this process), gpu_memory_gb (the most so far,
        where there is a GPU), what `evaluate` returned, and score, the number that decides.
        `delivered` finds the row of the detector that was delivered.

    Raises:
        CourseError: the loss is no longer a number, memory is exhausted, the label map is of
            other classes, the starting weights are missing or fit nowhere, `config.check` finds a
            fault, or the cluster does not fit the config, the images or the call.
    """
    import tensorflow as tf

    # A training that goes on needs no weights to start from.
    begun = tf.train.latest_checkpoint(str(Path(folder) / CHECKPOINTS))
    configs.check_config(configs.edit(config, {"task.init_checkpoint": None}) if begun else config)
    strategy = cluster.strategy(config)
    if (evaluate or len(watch)) and cluster.count(strategy) > 1:
        raise CourseError(
            "train: evaluate, watch: several workers train without evaluation; leave them out, "
            "and run `python -m helpers.scale evaluate` beside them"
        )
    reports = _Reports(
        on_report, report_every, evaluate, evaluate_every, patience, watch, checkpoint_every
    )
    try:
        with strategy.scope(), cluster.place_to_write(strategy, Path(folder)) as place:
            return _train(config, Path(folder), place, label_map, reports)
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise _out_of_memory(config, error) from None


class _Reports(NamedTuple):
    """When a training looks up, and what it does then: the arguments of `train`."""

    on_report: Callable | None
    report_every: int
    evaluate: Callable | None
    evaluate_every: int | None
    patience: int | None
    watch: Sequence[np.ndarray]
    checkpoint_every: int


def _train(config, folder: Path, place: Path, label_map: Path, reports: _Reports):
    """The loop of `train`, the same on each worker: what it writes goes to `place`.

    All workers read weights, metrics and checkpoints together, since a value that is spread over
    the workers is only known when all of them ask for it.
    """
    import tensorflow as tf
    import tf_keras
    from tqdm.auto import tqdm

    strategy = tf.distribute.get_strategy()
    chief = cluster.is_chief(strategy)
    labels = {number: name for name, number in read_label_map(label_map).items()}
    if max(labels) + 1 != config.task.model.num_classes:
        raise CourseError(
            f"{label_map}: ids up to {max(labels)}, but task.model.num_classes is "
            f"{config.task.model.num_classes}; run lesson 05 again, which sets it to one more"
        )
    if chief:
        _take_over(folder, config)
    seed = config.task.train_data.seed or 0
    tf_keras.utils.set_random_seed(seed)

    at_training_size = configs.at_training_size(config)
    task, model = build_model(at_training_size)
    # Trained on tiles, run on whole frames: two models with the same weights.
    whole = model if at_training_size is config else build_model(config)[1]
    optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
    metrics = task.build_metrics(training=True)
    batch_size = config.task.train_data.global_batch_size
    total, frozen, rounds = config.trainer.train_steps, frozen_steps(config), _round(config)

    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    manager = tf.train.CheckpointManager(checkpoint, str(place / CHECKPOINTS), max_to_keep=2)
    latest = tf.train.latest_checkpoint(str(folder / CHECKPOINTS))
    if latest:
        # Partial: a training that is over never asks for the optimizer's part.
        checkpoint.restore(latest).expect_partial()
    first = int(optimizer.iterations.numpy())
    if cluster.total(first) != first * cluster.count(strategy):
        raise CourseError(
            f"{folder}: the workers find different checkpoints in it, this one that of step "
            f"{first}; give all of them the same folder, on a disk that they share"
        )
    if not latest and config.task.init_checkpoint:
        rows = load_pretrained(task, model)
        write_text(place / RESTORED, json.dumps(rows, indent=1) + "\n")
        if chief:
            print(f"{folder.name}: starts from {config.task.init_checkpoint}")
            print(restored_table(rows))

    def set_frozen(flag: bool) -> None:
        # In both models: what can be trained comes first in the order of a model's weights.
        for backbone in (model.backbone, whole.backbone):
            _set_frozen(backbone, flag, config)

    def as_built() -> None:
        # Weights are stored in the order that `detector.load` finds in a model of this config.
        if frozen:
            set_frozen(True)

    def compiled_step():
        """Return a step over what is trainable now: tracing looks that up once."""

        def replica_step(batch):
            with _repeatable_shuffles(seed, optimizer.iterations):
                task.train_step(batch, model, optimizer, metrics)

        @tf.function
        def train_step(batches):
            strategy.run(replica_step, args=(next(batches),))

        return train_step

    def share_weights() -> None:
        if whole is not model:
            whole.set_weights(model.get_weights())

    history = [row for row in read_history(folder) if row["step"] <= first]
    film = [look for look in read_film(folder) if look["step"] <= first]
    detector = detectors.build_detector(whole, config, labels)
    events = tf.summary.create_file_writer(str(place / EVENTS))
    best = tf.train.Checkpoint(model=model)
    over = first == total or _stalled(history, reports.patience)
    if over:
        print(f"{folder.name}: trained already, {first} steps.")
    elif first:
        print(f"{folder.name}: going on after step {first} of {total}.")

    def save(step: int) -> None:
        # A step can spoil the weights after its loss was taken.
        if not all(np.isfinite(weight.numpy()).all() for weight in model.trainable_weights):
            raise lost(step, "the weights are no longer numbers")
        # In this order: rows beyond the checkpoint are dropped on resume, missing ones are lost.
        write_rows(place / HISTORY, history)
        manager.save(step)
        # Not before: until now, a resume may start before the best step.
        row = _best(history)
        for path in (place / BEST).glob("ckpt-*"):
            if row and not path.name.startswith(f"ckpt-{row['step']}."):
                path.unlink()

    def lost(step: int, what: str) -> CourseError:
        row = {"step": step, "total_loss": math.nan, "learning_rate": float(_rate(optimizer, step))}
        write_rows(place / HISTORY, [*(r for r in history if r["step"] < step), row])
        peak = first_rate(config.trainer.optimizer_config.learning_rate.get())
        good = (manager.latest_checkpoint or "ckpt-0").rsplit("-", 1)[1]
        return CourseError(
            f"{folder.name}: step {step}: {what}; lower the learning rate (it is "
            f"{peak:g}; give a tenth) and run again, it goes on from step {good}; if it "
            "happens again, look for bad boxes with lesson 03"
        )

    def look(step: int) -> None:
        found = [detector(picture, threshold=WATCHED)[:10] for picture in reports.watch]
        boxes = [np.column_stack([f.xyxy, f.confidence]).round(3).tolist() for f in found]
        film.append({"step": step, "found": boxes})
        write_text(place / FILM, json.dumps(film))

    def score(row: dict) -> None:
        share_weights()
        if len(reports.watch):
            look(row["step"])
        if not reports.evaluate:
            return
        found = reports.evaluate(detector)
        row |= {name: math.nan if value is None else value for name, value in found.items()}
        row["score"] = row["AP" if "AP" in found else next(iter(found))] if found else math.nan
        if _best(history) is row:
            best.write(str(place / BEST / f"ckpt-{row['step']}"))

    def due(step: int) -> bool:
        every = reports.evaluate_every or total
        wanted = reports.evaluate or len(reports.watch)
        return bool(wanted) and (step == total or step % every == 0)

    def result(step: int):
        """Put the best weights in place, where there are some."""
        row = _best(history)
        path = row and str(folder / BEST / f"ckpt-{row['step']}")
        if row and row["step"] != step and tf.io.gfile.exists(f"{path}.index"):
            best.read(path).expect_partial()
            print(
                f"{folder.name}: step {row['step']} was the best (score {row['score']:.3f}) and is "
                f"delivered, not the last, step {step}."
            )
            return row["step"]
        return step

    began, reported, spent = time.monotonic(), first, history[-1]["seconds"] if history else 0.0
    bar = tqdm(
        total=total,
        initial=first,
        desc=folder.name,
        unit="step",
        mininterval=0.5,
        disable=not chief or bool(os.environ.get("TQDM_DISABLE")),
    )
    step, batches = first, None
    own = [metric.name for metric in metrics] + [
        "learning_rate",
        "images_per_second",
        "seconds",
        "memory_gb",
    ]
    try:
        if len(reports.watch) and not film and not first:
            share_weights()
            look(0)
        if history and due(first) and reports.evaluate:
            if history[-1]["step"] < first:  # stopped just before the report
                last = {name: history[-1][name] for name in own if name in history[-1]}
                history.append({"step": first} | last)
            if "score" not in history[-1]:  # stopped while the evaluation ran
                film[:] = [row for row in film if row["step"] < first]
                score(history[-1])
                write_rows(place / HISTORY, history)
                over = over or _stalled(history, reports.patience)
        began = time.monotonic()
        while step < total and not over:
            if batches is None or step % rounds == 0:
                batches = None  # the old images go before the new ones come
                batches = _batches(task, config, step)
            if step in (first, frozen):
                if 0 < frozen < total:
                    set_frozen(step < frozen)
                train_step = compiled_step()
            train_step(batches)
            step += 1
            bar.update()
            if step % reports.report_every == 0 or step == total or due(step):
                now = time.monotonic()
                row = {"step": step} | {m.name: float(m.result()) for m in metrics}
                row["learning_rate"] = float(_rate(optimizer, step))
                row["images_per_second"] = (step - reported) * batch_size / (now - began)
                spent += now - began
                row["seconds"] = round(spent, 1)
                row |= _memory()
                if not np.isfinite(row["total_loss"]):
                    raise lost(step, f"the loss is {row['total_loss']}")
                for metric in metrics:
                    metric.reset_states()
                history.append(row)
                if due(step):
                    score(row)
                over = _stalled(history, reports.patience)
                began, reported = time.monotonic(), step
                bar.set_postfix_str(_postfix(row, history))
                with events.as_default():
                    for name, value in row.items():
                        tf.summary.scalar(name, value, step=step)
                if reports.on_report:
                    reports.on_report(history)
            if step % reports.checkpoint_every == 0 or step == total or due(step) or over:
                save(step)
    except KeyboardInterrupt:
        save(int(optimizer.iterations.numpy()))
        as_built()
        share_weights()
        print(f"Stopped after step {int(optimizer.iterations.numpy())}; run again to go on.")
        return detector, history
    finally:
        bar.close()
        events.close()
    if reports.on_report and first == step:
        reports.on_report(history)
    if step < total:
        print(f"{folder.name}: no better score in {reports.patience} evaluations: stopped early.")
    as_built()
    chosen = result(step)
    share_weights()
    detectors.save_detector(detector, place)
    # Of the numbers, not of the file: layers of a second model in one session get other names.
    weights = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in model.weights))
    parts = {"config": fingerprint_of(config.as_dict()), "weights": weights.hexdigest()[:16]}
    counts = {"steps": step, "images": step * batch_size}
    if _best(history):
        counts["delivered"] = chosen
    write_manifest(place, "train", parts, {}, counts)
    return detector, history


def untrained_detector(config):
    """Return a detector with the random weights that training starts from, without names."""
    _, model = build_model(config)
    return detectors.build_detector(model, config, labels={})


def best_row(history: list[dict]) -> dict:
    """Return the row of the step whose detector `train` delivered: the best, or the last."""
    return _best(history) or history[-1]


def _best(history: list[dict]) -> dict | None:
    """Return the row with the highest score, the last one of equals; None without scores."""
    scored = [row for row in history if np.isfinite(row.get("score", math.nan))]
    return max(reversed(scored), key=lambda row: row["score"], default=None)


def _stalled(history: list[dict], patience: int | None) -> bool:
    """Whether `patience` evaluations in a row were no better than one before them."""
    scores = [row["score"] for row in history if np.isfinite(row.get("score", math.nan))]
    if patience is None or len(scores) <= patience:
        return False
    before = max(scores[:-patience])
    return before > 0 and max(scores[-patience:]) <= before


def two_stage(config, steps: int, *, rate_after: float = 0.1):
    """Return `config` for fine-tuning in two stages: first the heads, then everything.

    In the first `steps` steps the backbone stays as its starting weights have it, with the
    running means of its batch normalisation: heads that still guess would spoil it. Then all
    weights are trained, at a lower rate. The rate falls as a cosine in each of the stages.

    The config says it in Model Garden's own words: `task.freeze_backbone`, and the rate's
    "step_cosine_with_offset", whose second boundary ends the first stage. (Model Garden's own
    trainer would keep the backbone frozen after it.)

    Args:
        config: with starting weights (`task.init_checkpoint`) and, from `config.with_budget`, a
            cosine rate.
        steps: length of the first stage, above 0 and less than `trainer.train_steps`.
        rate_after: where the second stage starts, as a part of the first one's rate.

    Raises CourseError for a config without starting weights or of another rate, and for a first
    stage that leaves no second one.
    """
    learning = config.trainer.optimizer_config.learning_rate
    warmup = config.trainer.optimizer_config.warmup.linear
    total = config.trainer.train_steps
    if not config.task.init_checkpoint:
        raise CourseError(
            "config: task.init_checkpoint: not set; a frozen backbone of random weights learns "
            "nothing: give starting weights, or train in one stage"
        )
    if learning.type != "cosine":
        raise CourseError(
            f"config: trainer.optimizer_config.learning_rate.type: {learning.type!r}; set a budget "
            "with config.with_budget first, which makes it a cosine"
        )
    if not 0 < steps < total:
        raise CourseError(
            f"staged: steps: {steps} of {total}; give a number above 0 and below that"
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
    return configs.edit(config, changes)


def frozen_steps(config) -> int:
    """Return in how many of the first steps the backbone is frozen: 0, all, or `staged`'s."""
    if not config.task.freeze_backbone:
        return 0
    learning = config.trainer.optimizer_config.learning_rate
    if learning.type == "step_cosine_with_offset":
        return learning.step_cosine_with_offset.boundaries[1]
    return config.trainer.train_steps


def _set_frozen(backbone, flag: bool, config) -> None:
    backbone.trainable = not flag
    if not getattr(config.task.model.backbone.get(), "bn_trainable", True):
        for layer in backbone.submodules:  # which the line above has set as well
            if "BatchNormalization" in type(layer).__name__:
                layer.trainable = False


def _batches(task, config, step: int):
    """Return an iterator over the batches that follow after `step` steps.

    Their order is drawn anew in each round of steps. So a resume finds its place in it by passing
    over the batches since the round began, which costs less than it cost to train on them.
    """
    import tensorflow as tf

    gpu = gpus() > 0
    start = step if gpu else step - step % _round(config)

    def read(context):
        # The seed is the same on all workers: each orders the files alike and takes its share.
        seed = (config.task.train_data.seed or 0) + start
        data = config.task.train_data.replace(seed=seed)
        if gpu:
            return task.build_inputs(data, context)
        return read_in_order(task, data, context)

    batches = iter(tf.distribute.get_strategy().distribute_datasets_from_function(read))
    for _ in range(step - start):
        next(batches)
    return batches


def _round(config) -> int:
    """Return after how many steps the order is drawn anew: whole passes, ROUND steps or more."""
    records = Path(config.task.train_data.input_path).parent
    images = read_manifest(records)["counts"]["train"]["images"]
    one_pass = math.ceil(images / config.task.train_data.global_batch_size)
    return one_pass * math.ceil(ROUND / one_pass)


@contextlib.contextmanager
def _repeatable_shuffles(seed: int, step):
    """Within, what `tf.random.shuffle` draws depends on the seed, the step and the values' place.

    A Faster R-CNN shuffles proposals in each step. TensorFlow's own generator for that starts
    anew with each process, and has no state that a checkpoint could hold.
    """
    import tensorflow as tf

    original, calls = tf.random.shuffle, itertools.count()

    def shuffle(value, **_):
        number = (1000 * seed + next(calls)) % 2**31
        draw = tf.stack([tf.cast(step, tf.int32), tf.constant(number, tf.int32)])
        return tf.random.experimental.stateless_shuffle(value, draw)

    tf.random.shuffle = shuffle
    try:
        yield
    finally:
        tf.random.shuffle = original


def _memory() -> dict:
    """Return the memory in use, in gigabytes: of this process, and at most of the first GPU."""
    import psutil

    row = {"memory_gb": round(psutil.Process().memory_info().rss / 1e9, 2)}
    if gpus():
        row["gpu_memory_gb"] = round(gpu_memory() / 1e9, 2)
    return row


def _postfix(row: dict, history: list[dict]) -> str:
    """What stands behind the progress bar."""
    memory = row.get("gpu_memory_gb", row["memory_gb"])
    parts = [f"loss {row['total_loss']:.2f}", f"{row['images_per_second']:.0f} images/s"]
    parts.append(f"{memory:.1f} GB")
    if best := _best(history):
        parts.append(f"best score {best['score']:.2f}")
    return ", ".join(parts)


def _out_of_memory(config, error) -> CourseError:
    data = config.task.train_data
    height, width, _ = configs.at_training_size(config).task.model.input_size
    line = (str(error).splitlines() or [""])[0]
    return CourseError(
        f"train: memory is exhausted with batches of {data.global_batch_size} images of "
        f"{width}x{height}; halve task.train_data.global_batch_size (and lower the rate), or take "
        f"a smaller task.model.input_size or preset ({line[:120]})"
    )


def load_pretrained(task, model) -> list[dict]:
    """Load the weights of `task.init_checkpoint` into `model`, and count what was loaded.

    Model Garden says nothing when it loads nothing: for a misspelt module, or one that is none
    of its two, "backbone" and "decoder". So each weight is made NaN before. What is NaN
    afterwards was not in the checkpoint; it gets back the value it started with.

    Args:
        task, model: of `detector.build_model`, whose config sets `task.init_checkpoint` (the path
            of a checkpoint without its ".index", or a folder of some) and
            `task.init_checkpoint_modules` ("all" or a list of modules).

    Returns:
        One row for each part of the model, in the order in which an image passes them: part,
        variables and weights (their numbers), restored_variables and restored_weights.

    Raises CourseError when there is no checkpoint, when it does not fit, and when nothing in it
    was loaded.
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
    rows = []
    parts = model.checkpoint_items
    for name in sorted(parts, key=lambda part: ("head" in part, part == "detection_head", part)):
        # A Faster R-CNN has a list of detection heads, with one of them.
        layers = parts[name] if isinstance(parts[name], list) else [parts[name]]
        weights = [weight for layer in layers for weight in layer.weights]
        restored = [weight for weight in weights if id(weight) not in fresh]
        rows.append(
            {
                "part": name,
                "variables": len(weights),
                "restored_variables": len(restored),
                "weights": sum(int(np.prod(weight.shape)) for weight in weights),
                "restored_weights": sum(int(np.prod(weight.shape)) for weight in restored),
            }
        )
    if not any(row["restored_variables"] for row in rows):
        raise CourseError(
            f"config: task.init_checkpoint_modules: {modules!r}: nothing of {found} was loaded; "
            f"give 'all', or a list of 'backbone' and 'decoder'"
        )
    return rows


def restored_table(rows: list[dict]) -> str:
    """Return the rows of `load_start` as text: what was restored, and what starts fresh."""
    lines = [f"{'part':16}{'restored':>22}{'fresh':>22}   (variables, weights)"]
    for row in rows:
        counts = [row["restored_variables"], row["restored_weights"]]
        counts += [row["variables"] - counts[0], row["weights"] - counts[1]]
        cells = [
            f"{n:>6} {w:>15,}" if n else f"{'-':>6} {'-':>15}" for n, w in (counts[:2], counts[2:])
        ]
        lines.append(f"{row['part']:16}{cells[0]}{cells[1]}")
    return "\n".join(lines)


def read_film(folder: Path) -> list[dict]:
    """Return what `train` kept of the images in `watch`, oldest first (empty without any).

    Each item has step, and found: for each image a list of [xmin, ymin, xmax, ymax, score], in
    pixels of the image, best first, with scores of WATCHED or more.
    """
    path = Path(folder) / FILM
    return json.loads(path.read_text()) if path.is_file() else []


def read_history(folder: Path) -> list[dict]:
    """Return the rows of <folder>/history.csv (empty when there is none)."""
    return read_rows(Path(folder) / HISTORY)


def read_rows(path: Path) -> list[dict]:
    """Return the rows that `write_rows` wrote: numbers by name, none where the field is empty."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {name: (int if name == "step" else float)(value) for name, value in row.items() if value}
        for row in rows
    ]


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write dicts of numbers as a CSV file that is there whole or not at all."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, names)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, file.getvalue())


def _take_over(folder: Path, config) -> None:
    """Start or continue `folder`; set aside one that another config trained."""
    path = folder / "training.yaml"
    rows = configs.difference(configs.load_config(path), config) if path.is_file() else []
    changed = [key for key, _, _ in rows if key not in cluster.KEYS]
    history = read_history(folder)
    lost = bool(history) and not np.isfinite(history[-1]["total_loss"])
    if changed and lost and all(key.startswith(RATE) for key in changed):
        print(f"{folder.name}: the loss was lost; going on with another learning rate.")
        path.unlink()
    elif changed:
        previous = folder.with_name(f"{folder.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
        print(
            f"{folder.name}: was trained with another config ({', '.join(changed[:3])}); "
            f"kept as {previous.name}, training anew."
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        configs.save_config(config, path)


def _rate(optimizer, step: int):
    rate = optimizer.learning_rate
    return rate(step) if callable(rate) else rate
