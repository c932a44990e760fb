"""The search for the best and the worst of hundreds of variants with a given number of scored cells.

FormatSpread (Sclar et al. 2024, arXiv 2310.11324, section 3.2) finds them by Thompson sampling: draw the
accuracy of each variant from its posterior, score a few more items with the variant of the highest draw (half
of the budget) or of the lowest draw (the other half), and update the posterior. FormatSpread has a separate
Beta distribution for each variant. Here one model describes all cells (see `posterior`): variants share the
effects of their atoms, and the model knows which items are hard or easy, so nothing has to be learnt 300
times. The items have one order for all variants, so that variants are compared on the same items. The result
is estimated by this model stacked with classes of variants (see `latent_classes`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steadyphi.errors import SteadyPhiError
from steadyphi.stats import irt, posterior
from steadyphi.stats.interval import Interval
from steadyphi.stats.latent_classes import stack
from steadyphi.stats.measures import quantiles

Cells = Sequence[tuple[int, int]]  # (variant, item)
Score = Callable[[Cells], NDArray[np.bool_]]  # whether each cell is correct, in the order of the cells
Method = Literal["thompson", "balanced"]
EXPLORE = 0.25  # share of the budget for the initial balanced design
FINISH = 0.1  # share of the budget for scoring the finalists on all items
DRAWS = 400  # number of draws for the intervals


@dataclass(frozen=True)
class Step:
    """The state of the search after a number of cells: the leaders and the difference of their accuracies."""

    cells: int
    best: int
    worst: int
    difference: float


@dataclass(frozen=True, eq=False)
class SearchOutcome:
    """The result of a search. Accuracies lie between 0 and 1; intervals are credible intervals.

    accuracies: the accuracy of each variant over all items, as in the full grid. It is exact for a variant
    that was scored on all items.
    spread: the spread of the full grid over all variants, as a median with its interval. Like the full grid,
    `accuracies` and `spread` contain the sampling error of these items.
    expected: the difference between `best` and `worst` on other items like these, without that error. It is
    shrunk by what is known about all variants, so the selection does not inflate it (no winner's curse).
    quantiles: of the accuracy over the variants, by percent.
    cells: the number of scored cells. grid: the number of all cells.
    correct, seen: (items, variants), whether a cell is correct (False if not seen) and whether it was scored.
    """

    best: int
    worst: int
    accuracies: list[Interval]
    spread: Interval
    expected: Interval
    quantiles: dict[str, float]
    cells: int
    grid: int
    trajectory: list[Step]
    correct: NDArray[np.bool_]
    seen: NDArray[np.bool_]


def search(
    score: Score,
    atoms: Sequence[Mapping[str, str]],
    items: int,
    budget: int,
    seed: int,
    method: Method = "thompson",
    step: int = 20,
    batch: int = 640,
    confidence: float = 0.95,
) -> SearchOutcome:
    """Find the best and the worst variant with at most `budget` cells, each scored once.

    score: scores a batch of cells (variant, item).
    atoms: a mapping from factor to level for each variant.
    step: the number of items that a chosen variant is scored on at once.
    batch: the number of cells between two updates of the model.
    method: "thompson", or "balanced" for PromptEval's design alone, which estimates all variants equally
    well and is better for the quantiles.
    Raises SteadyPhiError if the budget is less than one cell per variant, if there are fewer than two
    variants, or if there is no item.
    """
    variants = len(atoms)
    if variants < 2 or items < 1:
        raise SteadyPhiError(
            f"A search needs at least two variants and one item: got {variants} variants and {items} items."
        )
    if budget < variants:
        raise SteadyPhiError(
            f"A budget of {budget} cells is too small for {variants} variants: "
            f"give at least {variants}, one cell for each variant."
        )
    state = _Search(score, atoms, items, min(budget, items * variants), seed)
    state.explore(1.0 if method == "balanced" else EXPLORE)
    reserve = int(FINISH * state.budget)
    while method == "thompson" and state.left > reserve:
        # The model is updated as often with a small budget as with a large one.
        state.sample(step, min(batch, max(2 * step, state.budget // 12), state.left - reserve))
    while state.left:
        state.finish()
    return state.outcome(confidence)


class _Search:
    """The cells scored so far, their model, and the methods that choose the next cells."""

    def __init__(
        self, score: Score, atoms: Sequence[Mapping[str, str]], items: int, budget: int, seed: int
    ) -> None:
        self.score, self.budget, self.seed = score, budget, seed
        self.rng = np.random.default_rng([seed, items, len(atoms)])
        self.order = self.rng.permutation(items)
        self.correct = np.zeros((items, len(atoms)), dtype=bool)
        self.seen = np.zeros_like(self.correct)
        self.taken = np.zeros_like(self.correct)  # scored or about to be
        self.prior, self.groups = posterior.additive_prior(atoms, items)
        self.trajectory: list[Step] = []

    @property
    def left(self) -> int:
        return self.budget - int(self.taken.sum())

    def explore(self, share: float) -> None:
        """Score the balanced design, at least one cell per variant, and fit the model from scratch."""
        items, variants = self.seen.shape
        cells = max(variants, int(share * self.budget))
        planned = irt.balanced(items, variants, cells, self.seed)
        for variant, item in planned:
            self.taken[item, variant] = True
        self._score_cells(planned)
        self.posterior = posterior.fit_posterior(self.correct, self.seen, self.prior, self.groups)
        self._note()

    def sample(self, step: int, batch: int) -> None:
        """Score `batch` cells; each step is for the best or, in turn, the worst variant of one draw."""
        draws, _ = self.posterior.draw(-(-batch // step), self.rng)
        planned: list[tuple[int, int]] = []
        for number, draw in enumerate(draws):
            self._plan(planned, -draw if number % 2 else draw, min(step, batch - len(planned)))
        self._score_cells(planned)
        self._update()

    def finish(self) -> None:
        """Score the two leaders on all items, or the most promising other variants if they already are."""
        accuracies, planned = self.posterior.accuracies(), list[tuple[int, int]]()
        sides, done = (accuracies, -accuracies), np.all(self.taken, axis=0)
        for value in [side for side in sides if not done[np.argmax(side)]] or sides:
            self._plan(planned, value, self.left)
        self._score_cells(planned)
        self._update()

    def outcome(self, confidence: float) -> SearchOutcome:
        """Return the result, with intervals from draws of the model."""
        best, worst = self.trajectory[-1].best, self.trajectory[-1].worst
        rng = np.random.default_rng([self.seed, 1])
        model = stack(self.posterior, self.correct, self.seen, self.groups, rng)
        full, expected = model.draw(DRAWS, rng)
        spreads, gaps = np.ptp(full, axis=1), expected[:, best] - expected[:, worst]
        tails = 50 * (1 - confidence), 50 * (1 + confidence)
        lows, highs = np.percentile(full, tails, axis=0)
        return SearchOutcome(
            best=best,
            worst=worst,
            accuracies=[
                Interval(float(a), float(low), float(high))
                for a, low, high in zip(model.accuracies(), lows, highs, strict=True)
            ],
            spread=Interval(float(np.median(spreads)), *map(float, np.percentile(spreads, tails))),
            expected=Interval(float(np.mean(gaps)), *map(float, np.percentile(gaps, tails))),
            # Computed from each drawn grid, because the estimates are shrunk towards each other.
            quantiles=quantiles(full),
            cells=int(self.seen.sum()),
            grid=self.seen.size,
            trajectory=self.trajectory,
            correct=self.correct,
            seen=self.seen,
        )

    def _plan(self, planned: list[tuple[int, int]], value: NDArray[np.float64], most: int) -> None:
        """Plan the next items, in the shared order, of the variant of greatest value that has items left."""
        variant = int(np.argmax(np.where(self.taken.all(axis=0), -np.inf, value)))
        rest = self.order[~self.taken[self.order, variant]][:most]
        self.taken[rest, variant] = True
        planned.extend((variant, int(item)) for item in rest)

    def _score_cells(self, cells: Cells) -> None:
        variant, item = np.array(cells).T
        self.correct[item, variant] = self.score(cells)
        self.seen[item, variant] = True

    def _update(self) -> None:
        self.posterior = self.posterior.update(self.correct, self.seen, self.groups)
        self._note()

    def _note(self) -> None:
        accuracies = self.posterior.accuracies()
        best, worst = int(np.argmax(accuracies)), int(np.argmin(accuracies))
        difference = float(accuracies[best] - accuracies[worst])
        self.trajectory.append(Step(int(self.seen.sum()), best, worst, difference))
