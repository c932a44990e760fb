"""Training against references: transformers' and peft's gradients, torch's schedule, and itself twice."""

import itertools
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from steadyphi.data.packing import Example, collate
from steadyphi.errors import SteadyPhiError
from steadyphi.model import Phi
from steadyphi.settings.schema import Finetune
from steadyphi.training import parallel
from steadyphi.training.history import History, LogRow, Watcher
from steadyphi.training.loop import fit
from steadyphi.training.loss import loss_sum
from steadyphi.training.optimizer import lr_factor, make_optimizer
from steadyphi.training.parallel import Objective
from steadyphi.training.rounding import RoundedWeights
from steadyphi.training.run_store import Store
from steadyphi.training.speed import Speed
from tests.test_model import from_reference, make_pair
from tests.training.made import examples, settings, small_phi


def test_loss_equals_transformers_with_the_prompt_masked() -> None:
    model, reference = make_pair("phi-2")
    group = examples(6)
    with torch.no_grad():
        total = loss_sum(model, collate(group)).item()
        expected = 0.0
        for example in group:
            labels = torch.tensor([[-100] * example.prompt + example.tokens[example.prompt :]])
            loss = reference(torch.tensor([example.tokens]), labels=labels).loss.item()
            expected += loss * (len(example.tokens) - example.prompt)
    assert total == pytest.approx(expected, rel=1e-5)


class Rows(Watcher):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.rows: list[LogRow] = []
        self.speeds: list[Speed | None] = []
        self.validated: list[int] = []

    def on_step(self, row: LogRow, speed: Speed | None) -> None:
        self.rows.append(row)
        self.speeds.append(speed)

    def on_validation(self, step: int, objective: Objective) -> None:
        assert not objective.model.training
        self.validated.append(step)


def fitted(
    chosen: Finetune, train: list[Example] | None = None, valid: int = 0, seed: int = 0
) -> tuple[Phi, History]:
    torch.manual_seed(seed)
    model, _ = make_pair("phi-2", dropout=0.1)
    history = fit(model, train or examples(), examples(valid), chosen, torch.float32)
    return model, history


def test_the_result_does_not_depend_on_how_a_step_is_split() -> None:
    (whole, rows), (other, others) = (
        fitted(settings(batch_tokens=200, micro_tokens=m, dropout=False, epochs=1), valid=4)
        for m in (20, 1000)
    )
    for a, b in zip(rows.rows, others.rows, strict=True):
        assert (a.train_loss, a.valid_loss) == pytest.approx((b.train_loss, b.valid_loss), abs=1e-6)
    # AdamW divides by the gradient's size, so where that is next to nothing rounding can turn the step about.
    far = [
        ((p - q).abs() > 1e-5).float().mean()
        for p, q in zip(whole.parameters(), other.parameters(), strict=True)
    ]
    assert max(far) < 0.01


def test_a_step_is_that_of_transformers_and_torch() -> None:
    """One step of AdamW on the mean loss of all supervised tokens, the gradient clipped, by hand."""
    model, reference = make_pair("phi-2")
    group = examples(6)
    chosen = settings(lr=1e-3, max_steps=1, batch_tokens=10_000, warmup_ratio=0.0, clip=0.5, dropout=False)
    history = fit(model, group, [], chosen, torch.float32)
    total = torch.zeros(())
    for e in group:
        labels = torch.tensor([[-100] * e.prompt + e.tokens[e.prompt :]])
        total = total + reference(torch.tensor([e.tokens]), labels=labels).loss * (len(e.tokens) - e.prompt)
    loss = total / sum(len(e.tokens) - e.prompt for e in group)
    assert history.rows[0].train_loss == pytest.approx(loss.item(), rel=1e-6)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
    make_optimizer(reference, 1e-3, 0.01).step()
    weights, expected = model.state_dict(), from_reference(reference)
    for name, tensor in expected.items():
        # Of a gradient next to nothing AdamW's first step is 0.001 in a direction that rounding decides.
        assert ((weights[name] - tensor).abs() > 2e-5).float().mean() < 1e-3, name


def test_training_learns_and_reports() -> None:
    model, _ = make_pair("phi-1.5")
    watcher = Rows()
    history = fit(model, examples(), examples(5), settings(epochs=6), torch.float32, watcher)
    rows = history.rows
    assert rows == watcher.rows and [r.step for r in rows] == list(range(1, history.step + 1))
    assert rows[-1].epoch == 6 and rows[-1].valid_loss is not None
    assert watcher.validated == [r.step for r in rows if r.valid_loss is not None]
    assert len(watcher.validated) in range(12, 15)
    assert all(
        s and s.tokens_per_second > s.supervised_per_second > 0 and s.memory > 1e6 for s in watcher.speeds
    )
    assert rows[-1].train_loss < 0.7 * rows[0].train_loss
    assert not model.training


def test_dropout_is_the_configs_or_off() -> None:
    losses = {}
    for dropout in (0.0, 0.1):
        for wanted in (True, False):
            model, _ = make_pair("phi-2", dropout)
            rows = fit(model, examples(), [], settings(dropout=wanted, max_steps=2), torch.float32).rows
            losses[dropout, wanted] = [row.train_loss for row in rows]
    assert losses[0.0, True] == losses[0.0, False] == losses[0.1, False] != losses[0.1, True]


def test_checkpointing_changes_nothing_but_memory() -> None:
    (plain, rows), (other, others) = (fitted(settings(checkpointing=c)) for c in (False, True))
    assert rows == others
    for a, b in zip(plain.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_layers_are_compiled_once_whatever_the_documents(
    checkpointing: bool, flash_on_cpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: one graph for all layers and packings, in bfloat16, with the loss of plain attention."""
    compiled = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        compiled.append(graph)
        return graph.forward

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, dynamic: real(f, dynamic=dynamic, backend=backend))
    chosen = settings(compile=True, checkpointing=checkpointing)
    model, plain = small_phi(), small_phi()
    parallel._arrange(model, chosen, on_gpu=True)
    objectives = [parallel.Objective(each, torch.bfloat16) for each in (model, plain)]
    for count in range(2, 14):
        batch, losses = collate(examples(count)), []
        for objective, devices in zip(objectives, ({"cpu"}, set()), strict=True):
            monkeypatch.setattr("steadyphi.model.FLASH_DEVICES", devices)
            with RoundedWeights(objective, 2).used():
                loss = objective(batch)
                loss.backward()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(losses[1], rel=2e-3)
    assert len(compiled) in (1, 2)
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        assert torch.dist(a.grad, b.grad) <= 0.05 * b.grad.norm()


def test_weights_are_rounded_once_a_step_and_gradients_still_add_up_in_float32() -> None:
    """The same gradients, to the bit, as with autocast, which rounds in each micro-batch."""
    dtypes, casts = [], []
    for once in (False, True):
        model = small_phi()
        objective = parallel.Objective(model, torch.bfloat16)
        with CountCasts(model.blocks()[0].mlp.fc.weight) as counted:
            rounded = RoundedWeights(objective, 3 if once else 1)
            for batch in (collate(examples(n)) for n in (3, 5, 7)):
                with rounded.used():
                    objective(batch).backward()
        casts.append(counted.number)
        dtypes.append({name: p.grad for name, p in model.named_parameters()})
    assert casts == [3, 1]
    for name, gradient in dtypes[0].items():
        assert gradient is not None and gradient.dtype == torch.float32
        assert torch.equal(gradient, dtypes[1][name]), name


class CountCasts(TorchDispatchMode):
    """Counts the conversions of a weight to another dtype."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.place, self.number = weight.data_ptr(), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default and args[0].data_ptr() == self.place:
            self.number += 1
        return func(*args, **(kwargs or {}))


def test_a_loss_that_is_not_finite_stops_the_run_after_a_few_steps() -> None:
    model, _ = make_pair("phi-1.5")
    torch.nn.init.constant_(model.lm_head.weight, math.nan)
    with pytest.raises(SteadyPhiError, match=r"the loss is nan at step 3, .* try a smaller finetune\.lr"):
        fit(model, examples(), [], settings(), torch.float32)


def test_a_single_bad_step_is_skipped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient that overflows leaves weights and moments as they are."""
    model, _ = make_pair("phi-1.5")
    before: list[dict[str, torch.Tensor]] = []
    steps = iter(range(100))

    def clip(parameters: list[torch.Tensor], _: float) -> torch.Tensor:
        before.append({n: p.clone() for n, p in model.state_dict().items()})
        return torch.tensor(math.inf if next(steps) == 1 else 1.0)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clip)
    history = fit(model, examples(), [], settings(max_steps=3), torch.float32)
    assert history.skipped == 1 and history.skipped_in_row == 0 and history.step == 3
    assert [row.train_loss is None for row in history.rows] == [False, True, False]
    changed = [any(not torch.equal(a[n], b[n]) for n in a) for a, b in itertools.pairwise(before)]
    assert changed == [True, False]


def test_the_best_weights_are_kept_and_a_run_that_gets_worse_ends(tmp_path: Path) -> None:
    """With a rate that wrecks the model the first validations are the best."""
    chosen = settings(lr=0.05, epochs=8, keep="best", patience=2, schedule="constant")
    model, _ = make_pair("phi-1.5")
    history = fit(model, examples(), examples(6)[::-1], chosen, torch.float32, store=Store(tmp_path))
    losses = {row.step: row.valid_loss for row in history.rows if row.valid_loss is not None}
    assert history.best_loss == min(losses.values()) == losses[history.best_step]
    assert [step for step in losses if step > history.best_step] == sorted(losses)[-2:]  # two, then the end
    again = mean(model, examples(6))
    assert again == pytest.approx(history.best_loss, rel=1e-5)


def test_the_accuracy_of_a_format_is_that_of_greedy_answers() -> None:
    """An example is right if the model writes its answer and its end token by itself."""
    model, _ = make_pair("phi-1.5")
    chosen = settings(lr=3e-3, epochs=12)
    train = examples(6)
    valid = [replace(e, rendering=n % 2) for n, e in enumerate([*train, *examples(12)[6:]])]
    history = fit(model, train, valid, chosen, torch.float32)
    right: list[list[bool]] = [[], []]
    for example in valid:
        text = list(example.tokens[: example.prompt])
        while len(text) < len(example.tokens):
            with torch.no_grad():
                last = model.hidden(torch.tensor(text), [len(text)])[-1]
                text.append(int(model.lm_head(last).argmax()))
        right[example.rendering].append(text == example.tokens)
    assert history.rows[-1].valid_accuracy == [sum(r) / len(r) for r in right]
    assert 0 < sum(map(sum, right)) < len(valid)


def test_the_most_right_answers_decide_and_then_the_loss() -> None:
    history = History()
    kept = []
    for step, (loss, accuracy) in enumerate([(3.0, 0.0), (2.0, 0.0), (2.5, 0.5), (1.0, 0.25), (2.4, 0.5)]):
        history.step = step
        kept.append(history.validated(loss, accuracy, by_accuracy=True))
    assert kept == [True, True, True, False, True] and history.best_step == 4
    assert History(best_loss=2.0).validated(1.9, 0.0, by_accuracy=False)
    assert not History(best_loss=2.0).validated(2.1, 1.0, by_accuracy=False)


def mean(model: Phi, valid: list[Example]) -> float:
    with torch.no_grad():
        total = loss_sum(model, collate(valid)).item()
    return total / sum(len(e.tokens) - e.prompt for e in valid)


def test_examples_longer_than_the_model_can_read_are_refused() -> None:
    model, _ = make_pair("phi-1.5")
    with pytest.raises(SteadyPhiError, match=r"129 tokens, the model's config\.json allows 128"):
        fit(model, [Example([1] * 129, 3)], [], settings(), torch.float32)


def test_schedule() -> None:
    factors = [lr_factor(n, 100, 0.1, 0.1) for n in range(100)]
    assert factors[:10] == pytest.approx([(n + 1) / 11 for n in range(10)])
    assert factors[10] == 1.0 and factors[-1] == pytest.approx(0.1)
    # the cosine half-way between the end of the warm-up and the last step
    assert lr_factor(5, 11, 0.0, 0.0) == pytest.approx(0.5)
    assert all(a > b for a, b in itertools.pairwise(factors[10:]))
    assert lr_factor(0, 1, 0.0, 0.1) == 1.0  # a run of one step is no division by zero
    assert [lr_factor(n, 5, 0.0, 0.0, "linear") for n in range(5)] == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert [lr_factor(n, 5, 0.2, 0.0, "constant") for n in range(5)] == [0.5, 1, 1, 1, 1]


def test_only_matrices_decay() -> None:
    model, _ = make_pair("phi-1.5")
    decaying, fixed = make_optimizer(model, 1e-3, 0.5).param_groups
    assert decaying["weight_decay"] == 0.5 and {p.ndim for p in decaying["params"]} == {2}
    assert fixed["weight_decay"] == 0 and {p.ndim for p in fixed["params"]} == {1}


def test_so_many_steps_instead_of_epochs() -> None:
    model, _ = make_pair("phi-1.5")
    one_epoch = fit(model, examples(), [], settings(epochs=1), torch.float32).step
    for wanted in (1, one_epoch + 2):
        rows = fit(model, examples(), [], settings(epochs=1, max_steps=wanted), torch.float32).rows
        assert len(rows) == wanted
    assert rows[one_epoch - 1].epoch == 1 and rows[-1].epoch > 1


@pytest.mark.parametrize(("seconds", "saves"), [(0.0, 4), (1e-6, 1)])
def test_a_slow_disk_is_written_to_less_often(
    seconds: float, saves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state that takes 0.3 s is due again after 6 s; with 0 each step is saved, as tests need it."""
    written = []
    monkeypatch.setattr(Store, "save", lambda _, step, *rest: (written.append(step), time.sleep(0.3)))
    model, _ = make_pair("phi-1.5")
    fit(
        model,
        examples(),
        [],
        settings(max_steps=4),
        torch.float32,
        store=Store(tmp_path),
        save_seconds=seconds,
    )
    assert written == [1, 2, 3, 4][:saves]
