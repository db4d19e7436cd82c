"""The folder of a training: what a later call resumes from, and the best checkpoint."""

import contextlib
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

from helpers import models
from helpers.common.errors import CourseError
from helpers.models.config_check import first_rate
from helpers.training import cluster
from helpers.training.history import HISTORY, best_scored, read_history, write_rows

CHECKPOINTS = "checkpoints"
BEST = "best"
CONFIG = "training.yaml"
_RATE = ("trainer.optimizer_config.learning_rate.", "trainer.optimizer_config.warmup.")


def claim_folder(folder: Path, config) -> None:
    """Make `folder` that of a training of `config`; set aside one that another config trained."""
    path = folder / CONFIG
    rows = models.difference(models.load_config(path), config) if path.is_file() else []
    changed = [key for key, _, _ in rows if key not in cluster.KEYS]
    history = read_history(folder)
    diverged = bool(history) and not math.isfinite(history[-1]["total_loss"])
    if changed and diverged and all(key.startswith(_RATE) for key in changed):
        print(f"{folder.name}: was trained until the loss became NaN; resumes with another rate.")
        path.unlink()
    elif changed:
        previous = folder.with_name(f"{folder.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
        print(
            f"{folder.name}: was trained with another config ({', '.join(changed[:3])}); "
            f"kept as {previous.name}, trained again."
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        models.save_config(config, path)


@contextlib.contextmanager
def _damage_explained(folder: Path, then: str) -> Iterator[None]:
    """Turn what TensorFlow raises about the checkpoints in `folder` into a CourseError."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.OpError, ValueError, LookupError, RuntimeError) as error:
        line = " ".join(str(error).split())[:120]
        raise CourseError(
            f"{folder}: the checkpoint is damaged ({line}); delete this folder, and run again: "
            f"training then {then}"
        ) from None


def latest_checkpoint(folder: Path) -> str | None:
    """Return the path of the last checkpoint of a training's folder; None without any."""
    import tensorflow as tf

    return tf.train.latest_checkpoint(str(Path(folder) / CHECKPOINTS))


class Checkpoints:
    """Saves a training, so that a later call resumes it, and keeps the best checkpoint.

    Args:
        folder: where an earlier call saved it.
        place: where this worker writes: the folder, or one that is gone afterwards.
        state: the `TrainState` that is saved.
    """

    def __init__(self, folder: Path, place: Path, state):
        import tensorflow as tf

        self.folder, self.place, self.state = folder, place, state
        self._all = tf.train.Checkpoint(model=state.model, optimizer=state.optimizer)
        self._manager = tf.train.CheckpointManager(
            self._all, str(place / CHECKPOINTS), max_to_keep=2
        )
        self._weights = tf.train.Checkpoint(model=state.model)

    def restore(self) -> bool:
        """Put the last checkpoint into the state; False where there is none.

        Raises CourseError when it is damaged, or another worker finds another one.
        """
        import tensorflow as tf

        latest = latest_checkpoint(self.folder)
        if latest:
            with _damage_explained(self.folder / CHECKPOINTS, "trains from the start"):
                # Partial: a training that is over never asks for the optimizer's part.
                self._all.restore(latest).expect_partial()
        step = self.state.step
        if cluster.total(step) != step * cluster.count(tf.distribute.get_strategy()):
            raise CourseError(
                f"{self.folder}: the workers find different checkpoints in it, this one that of "
                f"step {step}; give all of them the same folder, on a disk that they share"
            )
        return bool(latest)

    def save(self, history: list[dict]) -> None:
        """Save the state and its history; of the best checkpoints, the best one stays.

        Raises CourseError when weights are no longer numbers, which a step can do after its loss
        was taken.
        """
        if not self.state.is_finite():
            raise self.diverged(history, "the weights are no longer numbers")
        # In this order: rows beyond the checkpoint are dropped on resume, missing ones are lost.
        self.save_history(history)
        self._manager.save(self.state.step)
        # Not before: until now, a resume may start before the best step.
        best = best_scored(history)
        for path in (self.place / BEST).glob("ckpt-*"):
            if best and not path.name.startswith(f"ckpt-{best['step']}."):
                path.unlink()

    def save_history(self, history: list[dict]) -> None:
        """Write the history's rows."""
        write_rows(self.place / HISTORY, history)

    def save_best(self, step: int) -> None:
        """Keep the weights, which are the best so far."""
        self._weights.write(str(self.place / BEST / f"ckpt-{step}"))

    def restore_best(self, history: list[dict]) -> int | None:
        """Put the best weights into the state and return their step; None without scores."""
        best, last = best_scored(history), self.state.step
        if best is None:
            return None
        path = self.folder / BEST / f"ckpt-{best['step']}"
        if best["step"] == last or not path.with_suffix(".index").is_file():
            return last
        with _damage_explained(self.folder / BEST, "ends with the weights of the last step"):
            self._weights.read(str(path)).expect_partial()
        print(
            f"{self.folder.name}: step {best['step']} was the best (score {best['score']:.3f}); "
            f"its weights are kept, not those of step {last}, the last."
        )
        return best["step"]

    def diverged(self, history: list[dict], what: str) -> CourseError:
        """Return the error that says `what`; the history notes it, for a resume at a lower rate."""
        step, rate = self.state.step, self.state.learning_rate(self.state.step)
        row = {"step": step, "total_loss": math.nan, "learning_rate": rate}
        self.save_history([*(r for r in history if r["step"] < step), row])
        peak = first_rate(self.state.config.trainer.optimizer_config.learning_rate.get())
        last = (self._manager.latest_checkpoint or "ckpt-0").rsplit("-", 1)[1]
        return CourseError(
            f"{self.folder.name}: step {step}: {what}; lower the learning rate (it is {peak:g}; "
            f"give a tenth) and run again, it resumes from step {last}; if it happens again, look "
            "for bad boxes with lesson 03"
        )
