"""Train a Model Garden detector: a loop that one can read whole, and stop at any time."""

import csv
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from helpers import config as configs
from helpers import detector as detectors
from helpers import workers
from helpers.annotations import read_label_map
from helpers.artifacts import fingerprint_of, read_manifest, write_manifest
from helpers.errors import CourseError

CHECKPOINTS = "checkpoints"
EVENTS = "events"
HISTORY = "history.csv"
RESTORED = "restored.json"


def train(
    config,
    folder: Path,
    *,
    label_map: Path,
    evaluate: Callable | None = None,
    evaluate_every: int | None = None,
    on_report: Callable[[list[dict]], None] | None = None,
    report_every: int = 10,
    checkpoint_every: int = 50,
):
    """Train `config`, and go on from the last checkpoint when there is one.

    Ctrl-C (the stop button in Jupyter) saves a checkpoint and returns what there is.

    `runtime.distribution_strategy` of the config says where the steps are computed:
    "one_device", and "mirrored" with `runtime.num_gpus` up to 1, on this machine's processor or
    first GPU; "mirrored" on that many GPUs of it; "multi_worker_mirrored" on all workers of a
    cluster, whose addresses are in the environment's TF_CONFIG or in `runtime.worker_hosts` and
    `runtime.task_index`. All workers then make this call, at about the same time, with `folder`
    on a disk that they share; only the first of them writes into it. What a worker raises in
    `on_report` (KeyboardInterrupt, to stop) all must raise in the same step: saving needs all.

    Args:
        config: from `config.for_records`.
        folder: gets checkpoints/, events/ (TensorBoard), history.csv, and at the end the
            detector itself (weights.npz, config.yaml, label_map.pbtxt). With starting weights
            (`task.init_checkpoint`) restored.json holds the rows of `load_start`. A folder that
            was trained with another config is kept beside it as <folder>.previous.
        label_map: .pbtxt file with the class names.
        evaluate: called with a Detector every `evaluate_every` steps and at the end; returns
            a dict of numbers that the history keeps.
        on_report: called with the history every `report_every` steps.

    Returns:
        (Detector, history): the history is a list of dicts with step, losses, learning rate,
        images_per_second and seconds, and what `evaluate` returned.

    Raises:
        CourseError: the loss is no longer a number, the label map is of other classes, the
            starting weights are missing or fit nowhere, `config.check` finds a fault, or the
            cluster does not fit the config, the images or the call.
    """
    configs.check(config)
    strategy = workers.strategy(config)
    if evaluate and workers.count(strategy) > 1:
        raise CourseError(
            "train: evaluate: several workers train without evaluation; leave it out, and run "
            "`python -m helpers.scale evaluate` beside them"
        )
    reports = (on_report, report_every, evaluate, evaluate_every, checkpoint_every)
    with strategy.scope(), workers.place_to_write(strategy, Path(folder)) as place:
        return _train(config, Path(folder), place, label_map, *reports)


def _train(
    config,
    folder: Path,
    place: Path,
    label_map: Path,
    on_report: Callable | None,
    report_every: int,
    evaluate: Callable | None,
    evaluate_every: int | None,
    checkpoint_every: int,
):
    """The loop of `train`, the same on each worker: what it writes goes to `place`.

    All workers read weights, metrics and checkpoints together, since a value that is spread over
    the workers is only known when all of them ask for it.
    """
    import tensorflow as tf
    import tf_keras
    from tqdm.auto import tqdm

    strategy = tf.distribute.get_strategy()
    chief = workers.is_chief(strategy)
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

    tile = _tile(config)
    if tile is None:
        task, model = detectors.build_model(config)
        whole = model
    else:
        # Trained on tiles, run on whole frames: two models with the same weights.
        tiled = configs.edit(config, {"task.model.input_size": [tile, tile, 3]})
        task, model = detectors.build_model(tiled)
        _, whole = detectors.build_model(config)
    optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
    metrics = task.build_metrics(training=True)
    batch_size = config.task.train_data.global_batch_size
    total = config.trainer.train_steps

    def replica_step(batch):
        task.train_step(batch, model, optimizer, metrics)

    @tf.function
    def train_step(batches):
        strategy.run(replica_step, args=(next(batches),))

    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    manager = tf.train.CheckpointManager(checkpoint, str(place / CHECKPOINTS), max_to_keep=2)
    latest = tf.train.latest_checkpoint(str(folder / CHECKPOINTS))
    if latest:
        # Partial: a training that is over never asks for the optimizer's part.
        checkpoint.restore(latest).expect_partial()
    first = int(optimizer.iterations.numpy())
    if workers.total(first) != first * workers.count(strategy):
        raise CourseError(
            f"{folder}: the workers find different checkpoints in it, this one that of step "
            f"{first}; give all of them the same folder, on a disk that they share"
        )
    if not latest and config.task.init_checkpoint:
        rows = load_start(task, model)
        (place / RESTORED).write_text(json.dumps(rows, indent=1) + "\n")
        if chief:
            print(f"{folder.name}: starts from {config.task.init_checkpoint}")
            print(restored_table(rows))
    # After a resume other batches than those of the first steps.
    tf.random.set_seed(seed + first)

    def read(context):
        # The seed is the same on all workers: each orders the files alike and takes its share.
        data = task.build_inputs(config.task.train_data.replace(seed=seed + first), context)
        if tf.config.list_physical_devices("GPU"):
            return data
        # One thread draws the augmentation in one order: the same seed, the same run. It is
        # faster than a processor trains, but would starve a GPU.
        options = tf.data.Options()
        options.threading.private_threadpool_size = 1
        return data.with_options(options)

    batches = iter(strategy.distribute_datasets_from_function(read))
    history = [row for row in read_history(folder) if row["step"] <= first]
    if first == total:
        print(f"{folder.name}: trained already, {total} steps.")
    elif first:
        print(f"{folder.name}: going on after step {first} of {total}.")
    detector = detectors.build(whole, config, labels)
    events = tf.summary.create_file_writer(str(place / EVENTS))

    def save(step: int) -> None:
        # In this order: rows beyond the checkpoint are dropped on resume, missing ones are lost.
        write_rows(place / HISTORY, history)
        manager.save(step)

    def share_weights() -> None:
        if whole is not model:
            whole.set_weights(model.get_weights())

    def score(row: dict) -> None:
        share_weights()
        found = evaluate(detector)
        row |= {name: math.nan if value is None else value for name, value in found.items()}

    began, reported, spent = time.monotonic(), first, history[-1]["seconds"] if history else 0.0
    bar = tqdm(
        total=total,
        initial=first,
        desc=folder.name,
        unit="step",
        mininterval=0.5,
        disable=not chief or bool(os.environ.get("TQDM_DISABLE")),
    )
    try:
        for step in range(first + 1, total + 1):
            train_step(batches)
            bar.update()
            if step % report_every == 0 or step == total:
                now = time.monotonic()
                row = {"step": step} | {m.name: float(m.result()) for m in metrics}
                row["learning_rate"] = float(_rate(optimizer, step))
                row["images_per_second"] = (step - reported) * batch_size / (now - began)
                spent += now - began
                row["seconds"] = round(spent, 1)
                began, reported = now, step
                _check_loss(row, folder)
                for metric in metrics:
                    metric.reset_states()
                history.append(row)
                if evaluate and (step == total or step % (evaluate_every or total) == 0):
                    score(row)
                    began = time.monotonic()
                bar.set_postfix_str(f"loss {row['total_loss']:.2f}")
                with events.as_default():
                    for name, value in row.items():
                        tf.summary.scalar(name, value, step=step)
                if on_report:
                    on_report(history)
            if step % checkpoint_every == 0 or step == total:
                save(step)
    except KeyboardInterrupt:
        save(int(optimizer.iterations.numpy()))
        share_weights()
        print(f"Stopped after step {int(optimizer.iterations.numpy())}; run again to go on.")
        return detector, history
    finally:
        bar.close()
        events.close()
    if evaluate and first == total and history and not (folder / detectors.WEIGHTS).is_file():
        # Stopped while the last evaluation ran.
        score(history[-1])
        write_rows(place / HISTORY, history)
    if on_report and first == total:
        on_report(history)
    share_weights()
    detectors.save(detector, place)
    # Of the numbers, not of the file: layers of a second model in one session get other names.
    weights = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in model.weights))
    inputs = {"config": fingerprint_of(config.as_dict()), "weights": weights.hexdigest()[:16]}
    counts = {"steps": total, "images": total * batch_size}
    write_manifest(place, "helpers.training.train", inputs, {}, counts)
    return detector, history


def load_start(task, model) -> list[dict]:
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


def _tile(config) -> int | None:
    """Return the side of the tiles that the config's records hold; None for whole images."""
    folder = Path(config.task.train_data.input_path).parent
    return read_manifest(folder)["counts"].get("tile")


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
    part = path.with_name(f".{path.name}")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def _take_over(folder: Path, config) -> None:
    """Start or continue `folder`; set aside one that another config trained."""
    path = folder / "training.yaml"
    rows = configs.difference(configs.load(path), config) if path.is_file() else []
    changed = [key for key, _, _ in rows if key not in workers.KEYS]
    if changed:
        previous = folder.with_name(f"{folder.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
        print(
            f"{folder.name}: was trained with another config ({', '.join(changed[:3])}); "
            f"kept as {previous.name}, training anew."
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        part = folder / f".training-{os.getpid()}.yaml"
        configs.save(config, part)
        part.replace(path)


def _check_loss(row: dict, folder: Path) -> None:
    if not np.isfinite(row["total_loss"]):
        raise CourseError(
            f"{folder.name}: step {row['step']}: the loss is {row['total_loss']}; lower the "
            "learning rate (a tenth), and look for bad boxes with lesson 03"
        )


def _rate(optimizer, step: int):
    rate = optimizer.learning_rate
    return rate(step) if callable(rate) else rate
