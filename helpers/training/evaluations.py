"""Evaluations during a training: scores, prediction snapshots, and the best checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass

from helpers.inference.detector import Detector
from helpers.training.checkpoints import Checkpoints
from helpers.training.history import best_scored, with_score
from helpers.training.reports import Reports
from helpers.training.snapshots import Snapshots
from helpers.training.state import TrainState


@dataclass(frozen=True)
class Evaluations:
    """What is done with the detector every so many steps, and at the end.

    Attributes:
        evaluate: called with the detector, returns numbers for the history; None for no scores.
        every: steps.
    """

    state: TrainState
    checkpoints: Checkpoints
    detector: Detector
    snapshots: Snapshots
    evaluate: Callable[[Detector], dict] | None
    every: int

    def are_due(self, step: int) -> bool:
        """Whether there is something to do after `step` steps."""
        if not (self.evaluate or self.snapshots.images):
            return False
        return step == self.state.config.trainer.train_steps or step % self.every == 0

    def run(self, history: list[dict]) -> None:
        """Score the detector, in the history's last row; keep its weights if it is the best."""
        row = history[-1]
        self.state.share_weights()
        self.snapshots.take(self.detector, row["step"])
        if self.evaluate:
            row |= with_score(self.evaluate(self.detector))
            if best_scored(history) is row:
                self.checkpoints.save_best(row["step"])

    def catch_up(self, history: list[dict], reports: Reports) -> None:
        """Do what comes before the next step: the first snapshot, or what a stop cut short."""
        step = self.state.step
        if not step and not self.snapshots.taken:
            self.state.share_weights()
            self.snapshots.take(self.detector, 0)
        if history and self.evaluate and self.are_due(step):
            if history[-1]["step"] < step:
                history.append(reports.repeat(step))
            if "score" not in history[-1]:
                self.run(history)
                self.checkpoints.save_history(history)
