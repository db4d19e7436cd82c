"""Score the checkpoints of a training that runs elsewhere."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from helpers import evaluation, models
from helpers.common.errors import CourseError
from helpers.inference.detector import Detector, build_detector
from helpers.training.checkpoints import CHECKPOINTS, CONFIG
from helpers.training.history import read_rows, write_rows

EVALUATION = "evaluation.csv"
_Found = TypeVar("_Found")


def continuous_eval(
    folder: Path,
    images: Path,
    *,
    annotation_file: Path | None = None,
    timeout: float = 1800.0,
    poll: float = 1.0,
) -> list[dict]:
    """Score each checkpoint of a training that runs elsewhere, until its last step is scored.

    Steps that <folder>/evaluation.csv has already are not scored again. A checkpoint that the
    training deletes before it is read is left out.

    Args:
        folder: of `training.train`.
        images: folder of the image files.
        annotation_file: COCO json; None takes `task.annotation_file` of the config.
        timeout: seconds without a new checkpoint after which to end.
        poll: seconds between two looks for one.

    Returns:
        The rows of evaluation.csv: step, the COCO metrics (nan where there is nothing to find)
        and the seconds that scoring took.

    Raises:
        CourseError: a file is missing, or a checkpoint is not of the folder's config.
    """
    folder, images = Path(folder), Path(images)
    if not images.is_dir():
        raise CourseError(f"{images}: missing; give the folder of the validation images")

    def wait_for(find: Callable[[], _Found]) -> _Found:
        end = time.monotonic() + timeout
        while not (found := find()):
            if time.monotonic() > end:
                print(f"{folder.name}: no new checkpoint for {timeout:g} seconds, scoring ends.")
                break
            time.sleep(poll)
        return found

    rows = read_rows(folder / EVALUATION)
    if not wait_for((folder / CONFIG).is_file):
        return rows
    config = models.load_config(folder / CONFIG)
    truth = Path(annotation_file or config.task.annotation_file)
    if not truth.is_file():
        raise CourseError(f"{truth}: missing; run lesson 04, which writes it")
    detector = _untrained(config, truth)
    last, done = config.trainer.train_steps, {row["step"] for row in rows}
    while last not in done:
        new = wait_for(lambda: sorted(set(finished_checkpoints(folder)) - done))
        if not new:
            break
        step, began = new[0], time.monotonic()
        done.add(step)
        if not _load_weights(detector, folder, step):
            print(f"{folder.name}: the checkpoint of step {step} is gone already, left out.")
            continue
        results, _ = evaluation.predict(detector, images, truth)
        scores = evaluation.coco_metrics(truth, results)
        row = {name: math.nan if value is None else value for name, value in scores.items()}
        row = {"step": step} | row | {"seconds": round(time.monotonic() - began, 1)}
        rows = sorted([*rows, row], key=lambda row: row["step"])
        write_rows(folder / EVALUATION, rows)
        print(f"step {step} of {last}: AP {row['AP']:.3f}, AP50 {row['AP50']:.3f}")
    return rows


def finished_checkpoints(folder: Path) -> dict[int, str]:
    """Return step -> path of the checkpoints that the training has finished writing."""
    import tensorflow as tf

    state = tf.train.get_checkpoint_state(str(Path(folder) / CHECKPOINTS))
    paths = state.all_model_checkpoint_paths if state else []
    return {int(path.rsplit("-", 1)[1]): path for path in paths}


def _untrained(config, truth: Path) -> Detector:
    """The detector for whole images; a model that is trained on tiles has the same weights."""
    _, model = models.build_model(config)
    categories = json.loads(truth.read_text())["categories"]
    return build_detector(model, config, {entry["id"]: entry["name"] for entry in categories})


def _load_weights(detector: Detector, folder: Path, step: int) -> bool:
    """Read the checkpoint of a step; False when the training has deleted it."""
    import tensorflow as tf

    try:
        status = tf.train.Checkpoint(model=detector.model).read(finished_checkpoints(folder)[step])
        status.assert_existing_objects_matched().expect_partial()
    except (KeyError, tf.errors.NotFoundError):
        return False
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        line = " ".join(str(error).split())[:200]
        raise CourseError(
            f"{folder}: the checkpoint of step {step} is unreadable, or not of {CONFIG} "
            f"({line}); train again"
        ) from None
    return True
