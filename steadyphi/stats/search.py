"""The best and the worst of hundreds of variants, on a given number of scored cells.

FormatSpread (Sclar et al. 2024, arXiv 2310.11324, section 3.2) finds them by Thompson sampling: draw
each variant's accuracy from what is believed of it, score a few more items with the variant that drew
the highest (half of the budget) or the lowest (the other half), and believe anew. Theirs believes a
Beta distribution of each variant by itself. Here one model of all cells is believed (`belief`): variants
share their atoms' effects, and items are known to be hard or easy, so nothing has to be learnt 300
times. The items come in one order for all, so that variants are compared on the same ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steadyphi.errors import SteadyPhiError
from steadyphi.stats import irt, posterior
from steadyphi.stats.measures import Interval, quantiles

Cells = Sequence[tuple[int, int]]  # (variant, item)
Score = Callable[[Cells], NDArray[np.bool_]]  # right or wrong, in the order of the cells
Method = Literal["thompson", "balanced"]
EXPLORE = 0.25  # share of the budget for the balanced design that comes first
FINISH = 0.1  # share for scoring the finalists in full
DRAWS = 400  # for intervals


@dataclass(frozen=True)
class Step:
    """Where the search stood after some cells: the leaders and the difference of their accuracies."""

    cells: int
    best: int
    worst: int
    difference: float


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found; accuracies lie between 0 and 1, intervals are credible ones.

    accuracies: each variant's accuracy over all the items, that is what the full grid would say; of
    a variant scored in full it is exact. spread: the full grid's, over all variants, as a median
    with its interval. Both contain the luck of these items, as the full grid does. `expected`
    does not: it is by how much `best` would beat `worst` on other items like these, shrunk by what is
    known of all variants, so being the winner of many draws does not inflate it (no winner's curse).
    quantiles: of accuracy over the variants, by percent. cells: scored; grid: all there are.
    correct, seen: (items, variants), what was scored and what came of it (False where not seen).
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
) -> Found:
    """Find the best and the worst of the variants on at most `budget` cells, each scored once.

    score: scores a batch of cells (variant, item); `batch` cells lie between two looks at the model.
    atoms: of each variant, factor to level. step: items that a chosen variant is scored on at once.
    method: "thompson", or "balanced" for PromptEval's design alone, which knows all variants
    equally well and is the better one for the quantiles. Raises SteadyPhiError when the budget is less
    than a cell a variant, or there are fewer than two variants or no item.
    """
    variants = len(atoms)
    if variants < 2 or items < 1:
        raise SteadyPhiError(
            f"A search compares variants on items: got {variants} and {items}; give at least two variants "
            "and one item."
        )
    if budget < variants:
        raise SteadyPhiError(
            f"A budget of {budget} cells is too small for {variants} variants: "
            f"give at least {variants}, a cell for each."
        )
    state = _Search(score, atoms, items, min(budget, items * variants), seed)
    state.explore(1.0 if method == "balanced" else EXPLORE)
    reserve = int(FINISH * state.budget)
    while method == "thompson" and state.left > reserve:
        # Small budgets look at the model as often as great ones.
        state.sample(step, min(batch, max(2 * step, state.budget // 12), state.left - reserve))
    while state.left:
        state.finish()
    return state.found(confidence)


class _Search:
    """The cells scored so far, the model of them, and the ways to choose the next."""

    def __init__(
        self, score: Score, atoms: Sequence[Mapping[str, str]], items: int, budget: int, seed: int
    ) -> None:
        self.score, self.budget, self.seed = score, budget, seed
        self.rng = np.random.default_rng([seed, items, len(atoms)])
        self.order = self.rng.permutation(items)
        self.correct = np.zeros((items, len(atoms)), dtype=bool)
        self.seen = np.zeros_like(self.correct)
        self.taken = np.zeros_like(self.correct)  # scored or about to be
        self.prior, self.groups = posterior.additive(atoms, items)
        self.trajectory: list[Step] = []

    @property
    def left(self) -> int:
        return self.budget - int(self.taken.sum())

    def explore(self, share: float) -> None:
        """Score the balanced design, at least a cell a variant, and learn the model from scratch."""
        items, variants = self.seen.shape
        cells = max(variants, int(share * self.budget))
        planned = irt.balanced(items, variants, cells, self.seed)
        for variant, item in planned:
            self.taken[item, variant] = True
        self._ask(planned)
        self.belief = posterior.learn(self.correct, self.seen, self.prior, self.groups)
        self._note()

    def sample(self, step: int, batch: int) -> None:
        """Score `batch` cells; each step is for the best or, in turn, the worst of one draw of accuracies."""
        draws, _ = self.belief.draw(-(-batch // step), self.rng)
        planned: list[tuple[int, int]] = []
        for number, draw in enumerate(draws):
            self._plan(planned, -draw if number % 2 else draw, min(step, batch - len(planned)))
        self._ask(planned)
        self._believe()

    def finish(self) -> None:
        """Score the two leaders in full; where they are, the most promising of the others."""
        accuracies, planned = self.belief.accuracies(), list[tuple[int, int]]()
        sides, done = (accuracies, -accuracies), np.all(self.taken, axis=0)
        for value in [side for side in sides if not done[np.argmax(side)]] or sides:
            self._plan(planned, value, self.left)
        self._ask(planned)
        self._believe()

    def found(self, confidence: float) -> Found:
        """Return the result, with intervals from draws of the model."""
        accuracies = self.belief.accuracies()
        best, worst = int(np.argmax(accuracies)), int(np.argmin(accuracies))
        full, expected = self.belief.draw(DRAWS, np.random.default_rng([self.seed, 1]))
        spreads, gaps = np.ptp(full, axis=1), expected[:, best] - expected[:, worst]
        tails = 50 * (1 - confidence), 50 * (1 + confidence)
        lows, highs = np.percentile(full, tails, axis=0)
        return Found(
            best=best,
            worst=worst,
            accuracies=[
                Interval(float(a), float(low), float(high))
                for a, low, high in zip(accuracies, lows, highs, strict=True)
            ],
            spread=Interval(float(np.median(spreads)), *map(float, np.percentile(spreads, tails))),
            expected=Interval(float(np.mean(gaps)), *map(float, np.percentile(gaps, tails))),
            # Of each drawn grid, because the estimates are shrunk towards each other.
            quantiles=quantiles(full),
            cells=int(self.seen.sum()),
            grid=self.seen.size,
            trajectory=self.trajectory,
            correct=self.correct,
            seen=self.seen,
        )

    def _plan(self, planned: list[tuple[int, int]], value: NDArray[np.float64], most: int) -> None:
        """Plan the next items, in the shared order, of the variant of the greatest value with items left."""
        variant = int(np.argmax(np.where(self.taken.all(axis=0), -np.inf, value)))
        rest = self.order[~self.taken[self.order, variant]][:most]
        self.taken[rest, variant] = True
        planned.extend((variant, int(item)) for item in rest)

    def _ask(self, cells: Cells) -> None:
        variant, item = np.array(cells).T
        self.correct[item, variant] = self.score(cells)
        self.seen[item, variant] = True

    def _believe(self) -> None:
        self.belief = self.belief.update(self.correct, self.seen, self.groups)
        self._note()

    def _note(self) -> None:
        accuracies = self.belief.accuracies()
        best, worst = int(np.argmax(accuracies)), int(np.argmin(accuracies))
        difference = float(accuracies[best] - accuracies[worst])
        self.trajectory.append(Step(int(self.seen.sum()), best, worst, difference))
