"""The spread of many formats, estimated from a part of the grid: our search and published methods.

    python -m benchmarks.search [--quick] [--first 0] [--seeds 8] [--savings 8 16] [--kinds atoms own]
                                [--items 400] [--formats 320] [--grid FILE.npz]

Each method gets the same number of cells, 1/8 or 1/16 of the grid, and estimates the spread of the full
grid. The error is in points of accuracy against the full grid. Grids are simulated (400 items, 320
formats: effects of atoms, of formats, of items, and of items on atoms and formats, so that no method's
model is exactly true) or, with --grid, a real one: arrays `correct` (N, T) bool and `atoms` (T, F) str.

    ours          `steadyphi.stats.search`: the median of the spread's posterior
    rasch         the same cells, by `stats.posterior` alone: without the classes of `stats.latent_classes`
    named         the same run: the difference between the two formats it names, by their full accuracies
    formatspread  Thompson sampling as in the published code (format_evaluation.py, Sclar et al. 2024):
                  independent Beta priors at the accuracy of the first format, which is scored in full, as
                  are the two formats found. There full scoring costs nothing, here it counts.
    beta11        the same with a Beta(1, 1) prior and without scoring the first format
    prompteval    PromptEval with atoms as covariates (Polo et al. 2024): largest minus smallest estimate
    random        cells drawn at random: largest minus smallest share of right answers

For ours and rasch, `holds` is the share of 95% intervals that contain the true spread, and `width` their mean
width in points. The last line is JSON.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from steadyphi.stats import irt, posterior
from steadyphi.stats.interval import Interval
from steadyphi.stats.search import DRAWS, search

Grid = tuple[NDArray[np.bool_], Sequence[Mapping[str, str]]]
LEVELS = (5, 4, 6, 3, 8, 4, 2)
# Standard deviations in logits: of a factor's effects (times a Gamma(1)), of a format's own effect, and of
# the interaction between an item and a level.
KINDS = {
    "atoms": {"atom": 0.15, "own": 0.12, "taste": 0.25},
    "strong": {"atom": 0.35, "own": 0.12, "taste": 0.25},
    "own": {"atom": 0.0, "own": 0.3, "taste": 0.25},
    "null": {"atom": 0.0, "own": 0.0, "taste": 0.0},
}


def simulate(seed: int, kind: Mapping[str, float], items: int = 400, formats: int = 320) -> Grid:
    rng = np.random.default_rng([seed, 7])
    drawn = np.array([rng.integers(0, LEVELS) for _ in range(formats)])
    difficulty, gap = rng.normal(0, 1.8, items)[:, None], rng.normal(0, 0.5, (items, formats))
    logits = 0.3 - difficulty + rng.normal(0, kind["own"], formats) + gap
    for factor, levels in enumerate(LEVELS):
        logits += rng.normal(0, kind["atom"] * rng.gamma(1), levels)[drawn[:, factor]]
        logits += rng.normal(0, kind["taste"], (items, levels))[:, drawn[:, factor]]
    correct = rng.random((items, formats)) < expit(logits)
    return correct, [{f"f{n}": str(level) for n, level in enumerate(row)} for row in drawn]


def load(path: str) -> Grid:
    with np.load(path) as file:
        rows = [{f"f{n}": str(level) for n, level in enumerate(row)} for row in file["atoms"]]
        return file["correct"].astype(bool), rows


def ours(grid: Grid, budget: int, seed: int) -> dict[str, float]:
    correct, atoms = grid

    def score(cells: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
        variant, item = np.array(cells).T
        return correct[item, variant]

    start = time.process_time()
    outcome = search(score, atoms, len(correct), budget, seed)
    seconds = time.process_time() - start
    assert outcome.cells <= budget, (outcome.cells, budget)
    accuracies = correct.mean(axis=0)
    before = rasch(atoms, outcome.correct, outcome.seen, seed)
    return {
        "ours": outcome.spread.value,
        "rasch": before.value,
        "named": accuracies[outcome.best] - accuracies[outcome.worst],
        **_quality("ours", outcome.spread, accuracies),
        **_quality("rasch", before, accuracies),
        "variants_hold": float(
            np.mean([a.low <= b <= a.high for a, b in zip(outcome.accuracies, accuracies, strict=True)])
        ),
        "seconds": seconds,
    }


def rasch(
    atoms: Sequence[Mapping[str, str]], correct: NDArray[np.bool_], seen: NDArray[np.bool_], seed: int
) -> Interval:
    """Return the spread as the search estimated it before it knew classes of formats."""
    fitted = posterior.fit_posterior(correct, seen, *posterior.additive_prior(atoms, len(correct)))
    spreads = np.ptp(fitted.draw(DRAWS, np.random.default_rng([seed, 1]))[0], axis=1)
    low, middle, high = np.percentile(spreads, [2.5, 50, 97.5])
    return Interval(float(middle), float(low), float(high))


def _quality(name: str, spread: Interval, accuracies: NDArray[np.float64]) -> dict[str, float]:
    holds = spread.low - 1e-9 <= np.ptp(accuracies) <= spread.high + 1e-9
    return {f"{name}_holds": float(holds), f"{name}_width": 100 * (spread.high - spread.low)}


def formatspread(grid: Grid, budget: int, seed: int, informed: bool, step: int = 20) -> float:
    correct = grid[0]
    items, formats = correct.shape
    rng = np.random.default_rng([seed, 6])
    order = rng.permutation(items)
    first = correct[:, 0].mean()
    prior = (max(1.1, 5 * first / (1 - first)), 5.0) if informed else (1.0, 1.0)
    right, asked = np.zeros(formats), np.zeros(formats, dtype=int)
    if informed:
        right[0], asked[0] = correct[:, 0].sum(), items
    half = (budget - (3 if informed else 2) * items) // 2
    ends = []
    for sign in (1, -1):
        for _ in range(half // step):
            draw = sign * rng.beta(prior[0] + right, prior[1] + asked - right)
            chosen = int(np.argmax(np.where(asked < items, draw, -np.inf)))
            batch = order[asked[chosen] : asked[chosen] + step]
            right[chosen] += correct[batch, chosen].sum()
            asked[chosen] += len(batch)
        shares = np.where(asked > 0, sign * right / np.maximum(asked, 1), -np.inf)
        ends.append(correct[:, np.argmax(shares)].mean())
    return float(ends[0] - ends[1])


def prompteval(grid: Grid, budget: int, seed: int) -> float:
    correct, atoms = grid
    seen = np.zeros_like(correct)
    variant, item = np.array(irt.balanced(len(correct), correct.shape[1], budget, seed)).T
    seen[item, variant] = True
    model = irt.fit(correct, seen, irt.flat(irt.one_hot(atoms)[0], len(correct)))
    return float(np.ptp(model.accuracies()))


def at_random(grid: Grid, budget: int, seed: int) -> float:
    correct = grid[0]
    rng = np.random.default_rng([seed, 8])
    seen = rng.permutation(correct.size).reshape(correct.shape) < budget
    shares = (correct & seen).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return float(np.ptp(shares[seen.any(axis=0)]))


OTHERS: dict[str, Callable[[Grid, int, int], float]] = {
    "formatspread": lambda grid, budget, seed: formatspread(grid, budget, seed, informed=True),
    "beta11": lambda grid, budget, seed: formatspread(grid, budget, seed, informed=False),
    "prompteval": prompteval,
    "random": at_random,
}


def measure(grids: Iterable[tuple[int, Grid]], saving: int) -> dict[str, Any]:
    """Run every method on every grid, which has a seed, and return its errors in points."""
    rows = []
    for seed, grid in grids:
        budget = grid[0].size // saving
        row = ours(grid, budget, seed)
        row |= {name: method(grid, budget, seed) for name, method in OTHERS.items()}
        rows.append(row | {"true": float(np.ptp(grid[0].mean(axis=0)))})
    true = np.array([row["true"] for row in rows])
    table: dict[str, Any] = {}
    for name in ("ours", "rasch", "named", *OTHERS):
        error = 100 * (np.array([row[name] for row in rows]) - true)
        median, tail = np.quantile(np.abs(error), [0.5, 0.9])
        table[name] = {
            "median": round(float(median), 2),
            "p90": round(float(tail), 2),
            "bias": round(float(error.mean()), 2),
        }
    for name in ("ours", "rasch"):
        for kind in ("holds", "width"):
            table[name][kind] = round(float(np.mean([row[f"{name}_{kind}"] for row in rows])), 3)
    for name in ("variants_hold", "seconds"):
        table[name] = round(float(np.mean([row[name] for row in rows])), 3)
    return table | {"grids": len(rows), "true": [round(100 * float(t), 2) for t in true]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one kind of grid, two seeds, one saving")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=8, help="the number of seeds")
    parser.add_argument("--savings", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--formats", type=int, default=320)
    parser.add_argument("--grid", help="a real full grid, .npz; searched once for each of the seeds")
    options = parser.parse_args()
    if options.quick:
        options.kinds, options.seeds, options.savings = ["atoms"], 2, options.savings[:1]
    seeds = range(options.first, options.first + options.seeds)
    results: dict[str, Any] = {}
    for saving in options.savings:
        for kind in ["grid"] if options.grid else options.kinds:
            grids = ((seed, _grid(kind, seed, options)) for seed in seeds)
            results[f"{kind}/{saving}"] = measure(grids, saving)
            print(kind, saving, results[f"{kind}/{saving}"], flush=True)
    print(json.dumps({"benchmark": "search", "error": "points of accuracy", "results": results}))


def _grid(kind: str, seed: int, options: argparse.Namespace) -> Grid:
    if kind == "grid":
        return load(options.grid)
    return simulate(seed, KINDS[kind], options.items, options.formats)


if __name__ == "__main__":
    main()
