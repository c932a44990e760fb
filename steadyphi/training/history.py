"""The progress of a training run, apart from its tensors, and the callbacks that receive it."""

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from steadyphi.training.parallel import Objective
from steadyphi.training.speed import Speed


@dataclass(frozen=True)
class LogRow:
    """One point of the curves; `valid_loss` is None and `valid_accuracy` empty where no validation was due.

    Losses are nats per supervised token; `step` counts optimizer steps from 1. `train_loss` is None
    if the step was skipped because the loss or its gradient was not finite. `valid_accuracy` has, for each
    validation format, the share of the examples whose every supervised token is the most likely one.
    """

    step: int
    epoch: float
    lr: float
    train_loss: float | None
    valid_loss: float | None
    valid_accuracy: list[float] = field(default_factory=list)


@dataclass
class History:
    """The progress of a run; together with the tensors of `state` it is all that resuming needs."""

    step: int = 0  # steps taken; the last step has no row until its validation is finished
    loss: float | None = None  # the loss of the last step
    skipped: int = 0  # steps whose loss or gradient was not finite
    skipped_in_row: int = 0
    best_step: int = 0
    best_loss: float | None = None
    best_accuracy: float = 0.0
    stale: int = 0  # the number of validations since the best one
    rows: list[LogRow] = field(default_factory=list)

    def validated(self, loss: float, accuracy: float, by_accuracy: bool) -> bool:
        """Record a validation after `step`; return whether it is the best so far.

        The best has the lowest loss, or with `by_accuracy` the highest mean accuracy over the formats. The
        lowest loss decides between equal accuracies.
        """
        better = self.best_loss is None or loss < self.best_loss
        if by_accuracy and accuracy != self.best_accuracy:
            better = accuracy > self.best_accuracy
        if better:
            self.best_step, self.best_loss, self.stale = self.step, loss, 0
            self.best_accuracy = accuracy
        else:
            self.stale += 1
        return better

    def record(self) -> dict[str, Any]:
        """Return the history as a dict of JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "History":
        """Rebuild a history from its record."""
        return cls(**{**record, "rows": [LogRow(**row) for row in record["rows"]]})


class Watcher(Protocol):
    """Callbacks of a training run."""

    def on_step(self, row: LogRow, speed: Speed | None) -> None:
        """Called after every step. A resumed run first reports its earlier steps, with `speed` None."""

    def on_validation(self, step: int, objective: Objective) -> None:
        """Called after every validation, in all processes, with the model in evaluation mode."""


class NoWatcher:
    """A watcher that does nothing."""

    def on_step(self, row: LogRow, speed: Speed | None) -> None:
        """Do nothing."""

    def on_validation(self, step: int, objective: Objective) -> None:
        """Do nothing."""
