"""What a training says while it runs: rows of its history, a progress bar, TensorBoard's curves."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from helpers.common.devices import gpu_memory, gpus
from helpers.training.history import best_scored

EVENTS = "events"


class Reports:
    """The reports of a training, and the clock that they need.

    Args:
        state: the `TrainState` that is trained.
        history: the rows so far, to which the training adds.
        folder: gets the events for TensorBoard.
        name: of the progress bar; None shows none.
        on_report: called with the history at each report.
    """

    def __init__(
        self,
        state,
        history: list[dict],
        folder: Path,
        name: str | None,
        on_report: Callable[[list[dict]], None] | None,
    ):
        import tensorflow as tf

        from helpers.common.progress import tqdm

        self.state, self.history, self.on_report = state, history, on_report
        self._seconds = history[-1]["seconds"] if history else 0.0
        self._events = tf.summary.create_file_writer(str(folder / EVENTS))
        self.bar = tqdm(
            total=state.config.trainer.train_steps,
            initial=state.step,
            desc=name,
            unit="step",
            mininterval=0.5,
            disable=name is None or bool(os.environ.get("TQDM_DISABLE")),
        )
        self._began, self._since = time.monotonic(), state.step

    def __enter__(self) -> "Reports":
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()
        self._events.close()

    def start_clock(self) -> None:
        """Measure the speed from here on: what took time since the last report does not count."""
        self._began, self._since = time.monotonic(), self.state.step

    def measure(self, step: int) -> dict:
        """Return a row for the history: losses, rate, speed and memory since the last one."""
        took = time.monotonic() - self._began
        self._seconds += took
        row = {"step": step} | {m.name: float(m.result()) for m in self.state.metrics}
        for metric in self.state.metrics:
            metric.reset_states()
        images = (step - self._since) * self.state.config.task.train_data.global_batch_size
        row["learning_rate"] = self.state.learning_rate(step)
        row["images_per_second"] = images / took
        row["seconds"] = round(self._seconds, 1)
        return row | _memory()

    def repeat(self, step: int) -> dict:
        """Return a row for a step after which training was stopped before it could measure it."""
        last = self.history[-1]
        names = [metric.name for metric in self.state.metrics]
        names += ["learning_rate", "images_per_second", "seconds", "memory_gb"]
        return {"step": step} | {name: last[name] for name in names if name in last}

    def show(self) -> None:
        """Show the last row: next to the bar, in TensorBoard, and to whoever asked for it."""
        import tensorflow as tf

        self.start_clock()
        row = self.history[-1]
        self.bar.set_postfix_str(self._summary(row))
        with self._events.as_default():
            for name, value in row.items():
                tf.summary.scalar(name, value, step=row["step"])
        if self.on_report:
            self.on_report(self.history)

    def _summary(self, row: dict) -> str:
        memory, best = row.get("gpu_memory_gb", row["memory_gb"]), best_scored(self.history)
        text = f"loss {row['total_loss']:.2f}, {row['images_per_second']:.0f} images/s"
        return f"{text}, {memory:.1f} GB" + (f", best score {best['score']:.2f}" if best else "")


def _memory() -> dict:
    """The memory in use, in gigabytes: of this process, and at most of the first GPU."""
    import psutil

    row = {"memory_gb": round(psutil.Process().memory_info().rss / 1e9, 2)}
    if gpus():
        row["gpu_memory_gb"] = round(gpu_memory() / 1e9, 2)
    return row
