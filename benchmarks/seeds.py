"""How often the interval of a change over seeds of a training contains the truth, by simulation.

    python -m benchmarks.seeds [--replicates 200] [--write]

A base model has accuracies from 45% to 75%, evenly. Training with a seed adds 10 points to all formats, plus
a normal number with the deviation SEED that all formats share, plus one for each format. The true change is
the mean over many seeds. --write puts the table into docs/statistics.md. The last line is JSON.
"""

import argparse
import json
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from benchmarks.coverage import write_part
from steadyphi.stats.bootstrap import Resampling
from steadyphi.stats.catalogue import CATALOGUE
from steadyphi.stats.seeds import change_over_seeds

KEYS = ("accuracy_mean", "accuracy_best", "accuracy_worst", "accuracy_worst_quarter", "spread")
SEEDS, ITEMS, DEVIATIONS = (2, 3, 5), (50, 200), (0.0, 0.01, 0.04)
FORMATS, MANY = 14, 4000
Shares = NDArray[np.float64]
BASE = 0.6 + 0.15 * np.linspace(-1, 1, FORMATS)


def trained(seeds: int, deviation: float, rng: np.random.Generator) -> Shares:
    """Return the accuracies of models trained with different seeds, (seeds, formats)."""
    shared = deviation * rng.normal(size=(seeds, 1))
    return np.clip(BASE + 0.1 + shared + deviation * rng.normal(size=(seeds, FORMATS)), 0.01, 0.99)


def answers(shares: Shares, items: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the answers of models (models, formats) to the same items: (models, items, formats)."""
    difficulty = 2 * rng.normal(size=(items, 1))
    noise = (difficulty + rng.normal(size=(len(shares), items, FORMATS))) / 5**0.5
    right: NDArray[np.bool_] = noise < norm.ppf(shares)[:, None]
    return right


def coverage(
    seeds: int, items: int, deviation: float, replicates: int, draws: int, own_items: bool = False
) -> dict[str, float]:
    """Return how often the interval of each measure's change contains the truth."""
    rng = np.random.default_rng([seeds, items, round(1000 * deviation), own_items])
    measures = [CATALOGUE[key] for key in KEYS]
    many = trained(MANY, deviation, rng)
    true = {
        m.key: np.mean([m.value({"correct": shares[None]}) for shares in many])
        - m.value({"correct": BASE[None]})
        for m in measures
    }
    held: dict[str, list[bool]] = {key: [] for key in KEYS}
    for seed in range(replicates):
        models = trained(seeds, deviation, rng)
        if own_items:
            pairs = [answers(np.stack([BASE, shares]), items, rng) for shares in models]
            base, tuned = (np.stack(runs) for runs in zip(*pairs, strict=True))
        else:
            base, *rest = answers(np.vstack([BASE, models]), items, rng)
            tuned = np.stack(rest)
        for measure in measures:
            found = change_over_seeds(measure, base, tuned, Resampling(0.95, draws, seed))
            held[measure.key].append(bool(found.low - 1e-9 <= true[measure.key] <= found.high + 1e-9))
    return {key: float(np.mean(values)) for key, values in held.items()}


def table(found: dict[tuple[int, bool], list[dict[str, float]]], replicates: int, draws: int) -> str:
    """Return the table of docs/statistics.md: the mean and the worst over items and deviations."""
    names = [CATALOGUE[key].name for key in KEYS]
    count, sizes = len(ITEMS) * len(DEVIATIONS), ", ".join(map(str, ITEMS))
    deviations = ", ".join(f"{100 * d:.0f}" for d in DEVIATIONS)
    text = (
        f"\n{replicates} replicates of each cell, {draws} draws, nominal 95%, {FORMATS} formats. The first "
        f"number is the mean over {count} cells ({sizes} questions; deviations between "
        f"seeds of {deviations} points), the second the worst cell:\n\n"
        f"| seeds | questions | {' | '.join(names)} |\n|---|---|{'---|' * len(KEYS)}\n"
    )
    for (seeds, own_items), cells in found.items():
        values = [[cell[key] for cell in cells] for key in KEYS]
        shown = " | ".join(f"{100 * np.mean(v):.0f} · {100 * min(v):.0f}" for v in values)
        text += f"| {seeds} | {'of each seed' if own_items else 'the same'} | {shown} |\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--write", action="store_true", help="write the table into docs/statistics.md")
    chosen = parser.parse_args()
    found = {}
    for seeds, own_items in product(SEEDS, (False, True)):
        cells = list(product(ITEMS, DEVIATIONS))
        found[seeds, own_items] = [
            coverage(seeds, n, d, chosen.replicates, chosen.draws, own_items) for n, d in cells
        ]
        print(seeds, own_items, found[seeds, own_items], flush=True)
    text = table(found, chosen.replicates, chosen.draws)
    print(text)
    if chosen.write:
        write_part("seeds", text)
    print(json.dumps({f"{seeds} {own}": cells for (seeds, own), cells in found.items()}))


if __name__ == "__main__":
    main()
