"""Where a run stands, apart from its tensors, and who is told of it."""

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from steadyphi.training.parallel import Objective
from steadyphi.training.speed import Speed


@dataclass(frozen=True)
class LogRow:
    """One point of the curves; `valid_loss` is None where no validation was due.

    Losses are nats per supervised token; `step` counts optimizer steps from 1. `train_loss` is None
    where the step was skipped, for it or its gradient was no finite number.
    """

    step: int
    epoch: float
    lr: float
    train_loss: float | None
    valid_loss: float | None


@dataclass
class Course:
    """How far a run has come; with the tensors of `state` all that it needs to go on."""

    step: int = 0  # steps taken; the last has no row yet while it is validated
    loss: float | None = None  # of the last
    skipped: int = 0  # steps whose loss or gradient was not finite
    skipped_in_row: int = 0
    best_step: int = 0
    best_loss: float | None = None
    stale: int = 0  # validations since the best
    rows: list[LogRow] = field(default_factory=list)

    def validated(self, loss: float) -> bool:
        """Take note of a validation after `step`; return whether it is the best so far."""
        better = self.best_loss is None or loss < self.best_loss
        if better:
            self.best_step, self.best_loss, self.stale = self.step, loss, 0
        else:
            self.stale += 1
        return better

    def record(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Course":
        """Rebuild a course from its record."""
        return cls(**{**record, "rows": [LogRow(**row) for row in record["rows"]]})


class Watcher(Protocol):
    """Who is told of a run while it goes on."""

    def on_step(self, row: LogRow, speed: Speed | None) -> None:
        """After every step; and of the steps before a run was taken up again, without a speed."""

    def on_validation(self, step: int, objective: Objective) -> None:
        """After every validation, in all processes at once, the model in evaluation mode."""


class Nobody:
    """A watcher that takes no notice."""

    def on_step(self, row: LogRow, speed: Speed | None) -> None:
        """Nothing."""

    def on_validation(self, step: int, objective: Objective) -> None:
        """Nothing."""
