"""The training loop: trains a model on packed batches and records its loss curve."""

import itertools
import math
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence

import torch

from steadyphi.data.packing import Example, collate, in_batch_order
from steadyphi.errors import SteadyPhiError
from steadyphi.model import Phi
from steadyphi.progress import Progress
from steadyphi.runtime import ranks
from steadyphi.settings.schema import Finetune
from steadyphi.training import parallel
from steadyphi.training.history import History, LogRow, NoWatcher, Watcher
from steadyphi.training.interrupts import Stopped, StopRequest
from steadyphi.training.optimizer import lr_factor, make_optimizer
from steadyphi.training.plan import plan_steps, rendering_count, share_out, together
from steadyphi.training.rounding import RoundedWeights
from steadyphi.training.run_store import Store, trained_weights, training_tensors
from steadyphi.training.speed import Speed, Speedometer

TOLERATED = 3  # the number of consecutive steps without a finite loss and gradient that ends a run

MOST_SAVING = 0.05  # the largest fraction of a run's time that is spent on saving its state


def fit(
    model: Phi,
    train: Sequence[Example],
    valid: Sequence[Example],
    settings: Finetune,
    dtype: torch.dtype,
    watcher: Watcher | None = None,
    store: Store | None = None,
    save_seconds: float = 600.0,
) -> History:
    """Train the parameters of `model` that require gradients, in place; return the run's history.

    A step takes up to `settings.batch_tokens` tokens of whole documents, in micro-batches of up to
    `settings.micro_tokens` tokens. Its loss is the mean over the step's supervised tokens, however the step
    is split over micro-batches and processes. A step whose loss or gradient is not finite is skipped.
    With a `store`, the state is saved every `save_seconds`, or less often, so that saving takes at most the
    fraction `MOST_SAVING` of the time; with 0 it is saved after every step. A run resumes from a saved state.
    If `settings.keep` is not "last", the final weights are those of the best validation.
    Raises SteadyPhiError after `TOLERATED` skipped steps in a row, and `Stopped` on SIGTERM or Ctrl-C.
    """
    longest = max(len(e.tokens) for e in itertools.chain(train, valid))
    if longest > model.config.block_size:
        raise SteadyPhiError(
            f"finetune: an example has {longest} tokens, the model's config.json allows "
            f"{model.config.block_size}; lower prepare.context"
        )
    run = _Run(model, train, valid, settings, dtype, watcher, store)
    run.resume()
    with StopRequest() as request:
        run.go(request, save_seconds)
    run.finish()
    return run.history


class _Run:
    """The state of one run and the steps of its loop."""

    def __init__(
        self,
        model: Phi,
        train: Sequence[Example],
        valid: Sequence[Example],
        settings: Finetune,
        dtype: torch.dtype,
        watcher: Watcher | None,
        store: Store | None,
    ) -> None:
        self.model, self.settings, self.store = model, settings, store
        self.watcher = watcher or NoWatcher()
        self.train, self.valid = train, [e for e in valid if _supervised([e])]
        self.lengths = [len(e.tokens) for e in train]
        self.together = together(settings)
        self.steps = plan_steps(train, settings)
        self.seen = list(itertools.accumulate(sum(self.lengths[i] for i in step) for step in self.steps))
        self.epoch = self.together * sum(self.lengths) / rendering_count(train)  # tokens of an epoch
        per_epoch = len(self.steps) * self.epoch / self.seen[-1]
        self.every = max(1, int(per_epoch / settings.evals_per_epoch))
        self.device = model.device
        self.objective = parallel.distribute(model, dtype, settings)
        self.optimizer = make_optimizer(model, settings.lr, settings.weight_decay)
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.meter = Speedometer(model, settings, dtype)
        self.history = History()

    def resume(self) -> None:
        """Resume from the saved state, if there is one."""
        record = self.store.record() if self.store else None
        if self.store and record:
            self.store.load(training_tensors(self.model, self.optimizer))
            self.history = History.from_record(record)
            for row in self.history.rows:
                self.watcher.on_step(row, None)

    def go(self, request: StopRequest, save_seconds: float) -> None:
        """Take the remaining steps."""
        work = [_supervised([self.train[i] for i in step]) for step in self.steps]
        progress = Progress("finetune", sum(work), "supervised tokens")
        progress.skip(sum(work[: len(self.history.rows)]))
        saved, interval = time.monotonic(), save_seconds
        self.objective.train()
        while len(self.history.rows) < len(self.steps) and not self._exhausted():
            number, speed = len(self.history.rows), None
            if self.history.step == number:  # false if only its validation was interrupted
                self.meter.start()
                self.history.loss = self._learn(number, request)
                self.history.step += 1
                speed = self.meter.stop([self.lengths[i] for i in self.steps[number]], work[number])
            row = self._close(number, request)
            self.watcher.on_step(row, speed)
            if ranks.rank() == 0:
                progress.add(work[number], self._note(row, speed))
            due = time.monotonic() - saved >= interval
            stop, due = (n > 0 for n in parallel.total([request.number, due], self.device))
            if stop:
                self._stop(request.number)
            if due:
                began = time.monotonic()
                self._save()
                saved = time.monotonic()
                interval = save_seconds and max(save_seconds, (saved - began) / MOST_SAVING)
        if ranks.rank() == 0:
            progress.close()
        if self.history.skipped == self.history.step:
            raise SteadyPhiError(
                "finetune: no step had a finite loss and gradient; try a smaller finetune.lr"
            )

    def finish(self) -> None:
        """Load the best weights if those are kept, and switch to evaluation mode."""
        if self.store:
            self.store.wait()
        best = self.history.best_step
        if self.store and self.settings.keep != "last" and best not in (0, self.history.step):
            self.store.load_best(best, trained_weights(self.model))
        self.objective.eval()

    def _learn(self, number: int, request: StopRequest) -> float | None:
        """Take a step; return its loss, or None if it was not finite and the step was skipped."""
        settings, world = self.settings, ranks.world_size()
        examples = [self.train[i] for i in self.steps[number]]
        share = _supervised(examples) / world  # because the processes' gradients are averaged
        # Dropout is seeded by the position in the run, so no generator state has to be saved.
        torch.manual_seed(random.Random(f"{settings.seed} {number} {ranks.rank()}").getrandbits(63))
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = self._rate(number)
        groups = share_out(
            self.lengths, self.steps[number], settings.micro_tokens, ranks.rank(), world, self.together
        )
        summed = torch.zeros((), device=self.device)
        rounded = RoundedWeights(self.objective, len(groups))
        for n, group in enumerate(groups):
            self._stop_here(request)
            with rounded.used(), parallel.gradient_sync(self.objective, n == len(groups) - 1):
                loss = self._loss([self.train[i] for i in group], examples[: self.together]) / share
                loss.backward()
            summed += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.trained, settings.clip)
        (mean,) = parallel.total([summed.item() / world], self.device)
        usable = math.isfinite(mean) and math.isfinite(parallel.whole(norm).item())
        if usable:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._count(usable, mean)
        return mean if usable else None

    def _loss(self, examples: list[Example], stand_in: list[Example]) -> torch.Tensor:
        """Return the summed loss, with the divergence between renderings if they are compared.

        A process without examples computes the loss of `stand_in` times zero, because all processes
        must take part in each pass.
        """
        batch = collate(examples or stand_in, pairs=self.together > 1)
        loss: torch.Tensor = self.objective(batch.to(self.device))
        return loss if examples else 0 * loss

    def _count(self, usable: bool, loss: float) -> None:
        self.history.skipped_in_row = 0 if usable else self.history.skipped_in_row + 1
        self.history.skipped += not usable
        if self.history.skipped_in_row >= TOLERATED:
            what = "the gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
            raise SteadyPhiError(
                f"finetune: {what} at step {self.history.step + 1}, as it was in the {TOLERATED - 1} steps "
                "before, which were skipped; try a smaller finetune.lr"
            )

    def _rate(self, number: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        s = self.settings
        return s.lr * lr_factor(number, len(self.steps), s.warmup_ratio, s.min_lr_ratio, s.schedule)

    def _close(self, number: int, request: StopRequest) -> LogRow:
        """Validate if it is due, and return the log row of the step."""
        due = self.valid and (self.history.step % self.every == 0 or self.history.step == len(self.steps))
        valid_loss, accuracies = self._validate(request) if due else (None, [])
        epoch = self.seen[number] / self.epoch
        row = LogRow(self.history.step, epoch, self._rate(number), self.history.loss, valid_loss, accuracies)
        self.history.rows.append(row)
        return row

    def _validate(self, request: StopRequest) -> tuple[float, list[float]]:
        """Return the mean loss and the accuracy per format; save the weights if they are the best so far."""
        self.objective.eval()
        loss, right = self._validation_sums(request)
        loss /= _supervised(self.valid)
        if not math.isfinite(loss):
            where = f"the validation loss at step {self.history.step}"
            raise SteadyPhiError(f"finetune: {where} is {loss}; try a smaller finetune.lr")
        counts = Counter(example.rendering for example in self.valid)
        accuracies = [count / counts[n] for n, count in enumerate(right)]
        self.watcher.on_validation(self.history.step, parallel.unwrapped(self.objective))
        parallel.free_gathered(self.objective)
        keep = self.settings.keep
        better = self.history.validated(loss, sum(accuracies) / len(accuracies), keep == "accuracy")
        if better and self.store and keep != "last" and self.history.step < len(self.steps):
            self.store.save_best(self.history.step, trained_weights(self.model))
        self.objective.train()
        return loss, accuracies

    def _validation_sums(self, request: StopRequest) -> tuple[float, list[float]]:
        """Return the summed loss of all processes, and the number of right examples per rendering."""
        lengths = [len(e.tokens) for e in self.valid]
        loss, right = 0.0, [0.0] * rendering_count(self.valid)
        for group in share_out(
            lengths, range(len(lengths)), self.settings.micro_tokens, ranks.rank(), ranks.world_size()
        ):
            self._stop_here(request)
            examples = in_batch_order([self.valid[i] for i in group])
            summed, hits = parallel.unwrapped(self.objective).validate(
                collate(examples or self.valid[:1]).to(self.device)
            )
            if examples:
                loss += summed.item()
                for example, tokens in zip(
                    examples, hits.split([e.supervised for e in examples]), strict=True
                ):
                    right[example.rendering] += tokens.all().item()
        loss, *right = parallel.total([loss, *right], self.device)
        return loss, right

    def _exhausted(self) -> bool:
        return self.settings.patience is not None and self.history.stale >= self.settings.patience

    def _save(self) -> None:
        if self.store:
            tensors = training_tensors(self.model, self.optimizer)
            self.store.save(self.history.step, tensors, self.history.record(), self.history.best_step)

    def _stop_here(self, request: StopRequest) -> None:
        """Stop now if requested, if the run is one process; several processes stop after the step."""
        if request.number and ranks.world_size() == 1:
            self._stop(request.number)

    def _stop(self, number: int) -> None:
        self._save()
        if self.store:
            self.store.wait()
        raise Stopped(number or signal.SIGTERM, self.history.step)

    def _note(self, row: LogRow, speed: Speed | None) -> str:
        loss = "skipped" if row.train_loss is None else f"loss {row.train_loss:.3f}"
        parts = [f"step {row.step}/{len(self.steps)}", loss]
        last = next((r.valid_loss for r in reversed(self.history.rows) if r.valid_loss is not None), None)
        parts += [f"valid {last:.3f}"] if last is not None else []
        if speed:
            parts += [f"MFU {speed.mfu:.0%}"] if speed.mfu is not None else []
            parts.append(f"{speed.memory / 1e9:.1f} GB")
        return ", ".join(parts)


def _supervised(examples: Sequence[Example]) -> int:
    """Return the number of tokens with a loss."""
    return sum(example.supervised for example in examples)
