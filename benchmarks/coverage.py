"""How often the intervals of a report contain the truth, and how often its tests are wrong, by simulation.

    python -m benchmarks.coverage [--quick] [--replicates 100] [--write]

Populations of questions with known accuracies are sampled again and again, analysed as a report does, and
compared with the truth. --write puts the tables into docs/statistics.md. The last line is JSON.

`benchmarks.populations` describes the populations.
"""

import argparse
import json
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks.populations import Correct, Population, populations, stored
from steadyphi.files import write_text
from steadyphi.stats.attribution import attribute
from steadyphi.stats.bootstrap import Arrays, Resampling
from steadyphi.stats.catalogue import CATALOGUE
from steadyphi.stats.comparison import measure_changes
from steadyphi.stats.estimate import estimate
from steadyphi.stats.gate import decide
from steadyphi.stats.interval import Interval, accuracy
from steadyphi.stats.paired import changes
from steadyphi.stats.permutation import variants_differ
from steadyphi.stats.recommendation import recommend

PAGE = Path("docs/statistics.md")
FORMATS, ITEMS = (6, 14, 24), (50, 200, 400)
EXTREMES = (
    *("accuracy_mean", "accuracy_best", "accuracy_worst", "accuracy_worst_quarter"),
    *("spread", "saturation"),
)
MEANS = ("flip_rate", "fleiss_kappa", "pss", "right_in_all_formats", "right_in_any_format")
SELDOM = 3  # what is slow is done in every third replicate: what each format alone gives
ALPHA = 0.05
MEASURES = [CATALOGUE[key] for key in (*EXTREMES, *MEANS)]
LARGE = 40_000  # questions for the true values of MEANS

Cell = dict[tuple[str, str], float]
KINDS = (
    ("interval", "How often the interval of one run contains the truth, in percent:", min),
    ("change", "How often the interval of a change contains the true change, in percent:", min),
    # "gain" has no table: where no prompt is better, few evaluations recommend one.
    ("test", "How often a test is significant at 5% although nothing got worse, in percent:", max),
)


def truth(population: Population, rng: np.random.Generator) -> tuple[dict[str, float], dict[str, float]]:
    """Return the true measures before and after: of the accuracies, and for MEANS of many questions."""
    if population.questions is not None:
        count = len(population.before)
        large = population.questions[:, :count], population.questions[:, count:]
    else:
        large = population.draw(LARGE, rng)
    sides = []
    for shares, correct in zip((population.before, population.after), large, strict=True):
        arrays = {"correct": correct, "chosen": (~correct).astype(int)}
        values = {m.key: m.value(arrays) for m in MEASURES if m.key in MEANS}
        sides.append(
            values | {m.key: m.value({"correct": shares[None]}) for m in MEASURES if m.key in EXTREMES}
        )
    equal = np.array_equal(population.before, population.after)
    return sides[0], sides[0] if equal else sides[1]  # equal, although sampled questions differ a little


def holds(interval: Interval, true: float) -> bool:
    return bool(interval.low - 1e-9 <= true <= interval.high + 1e-9)


def replicate(
    population: Population,
    true: tuple[Mapping[str, float], Mapping[str, float]],
    items: int,
    seed: int,
    draws: int,
    rng: np.random.Generator,
) -> Iterator[tuple[str, str, float]]:
    """Yield a kind, a name and a share for each interval (whether it holds) and test (whether it rejects)."""
    resampling = Resampling(0.95, draws, seed)
    before, after = population.draw(items, rng)
    runs = [{"correct": run, "chosen": (~run).astype(int)} for run in (before, after)]
    for key, interval in estimate([*MEASURES, CATALOGUE["sigma_format"]], runs[0], resampling).items():
        expected = population.before.std(ddof=1) if key == "sigma_format" else true[0][key]
        yield "interval", CATALOGUE[key].name, holds(interval, expected)
    for row in measure_changes(runs[0], runs[1], MEASURES, resampling):
        assert row.low is not None and row.high is not None
        expected = true[1][row.key] - true[0][row.key]
        yield "change", CATALOGUE[row.key].name, holds(Interval(row.change, row.low, row.high), expected)
    yield from of_perturbations(population, runs, resampling)
    if seed % SELDOM == 0:
        yield from of_formats(population, before, after)
    yield from of_advice(population, before, resampling)
    if np.ptp(population.before) == 0:
        yield "test", "Formats differ (permutation)", variants_differ(before, resampling) < ALPHA
    if not_worse(population, true):
        yield "test", "Gate", not decide(before, after, resampling).passed


def of_perturbations(
    population: Population, runs: Sequence[Arrays], resampling: Resampling
) -> Iterator[tuple[str, str, float]]:
    """Yield the performance drop rate: the middle format is the default, the others its perturbations."""
    measure = CATALOGUE["pdr"]
    drops = [measure.value(against_default(a[None])) for a in (population.before, population.after)]
    was, now = (against_default(run["correct"]) for run in runs)
    found = estimate([measure], was, resampling)[measure.key]
    yield "interval", measure.name, holds(found, drops[0])
    (row,) = measure_changes(was, now, [measure], resampling)
    yield "change", measure.name, holds(Interval(row.change, row.low, row.high), drops[1] - drops[0])


def against_default(correct: NDArray[Any]) -> Arrays:
    """Return what the measures of a family read from answers, or shares, (items, formats)."""
    middle = correct.shape[1] // 2
    return {"correct": np.delete(correct, middle, axis=1), "default": correct[:, middle : middle + 1]}


def of_formats(population: Population, before: Correct, after: Correct) -> Iterator[tuple[str, str, float]]:
    """Yield what is computed for each format alone."""
    of_variants = zip(accuracy(before, 1 - ALPHA), population.before, strict=True)
    yield "interval", "Accuracy of a format", float(np.mean([holds(i, t) for i, t in of_variants]))
    changed = population.after - population.before
    rows = list(zip(changes(before, after, 1 - ALPHA), changed, strict=True))
    held = [holds(Interval(row.change, row.low, row.high), true) for row, true in rows]
    yield "change", "Accuracy of a format", float(np.mean(held))
    if not changed.any():
        yield "test", "Any format changed (McNemar, Holm)", any(row.p_holm < ALPHA for row, _ in rows)


def of_advice(
    population: Population, before: Correct, resampling: Resampling
) -> Iterator[tuple[str, str, float]]:
    """Yield the effects of atoms and what the recommendation says; the default is the middle format."""
    true, count = population.before, len(population.before)
    atoms = [{"a": str(t % 2), "b": str(t // 2 % 3)} for t in range(count)]
    pairs = zip(
        attribute(before, atoms, resampling).effects,
        attribute(true[None], atoms, Resampling(draws=2)).effects,
        strict=True,
    )
    held = [holds(Interval(e.points, e.low, e.high), real.points) for e, real in pairs]
    yield "interval", "Effect of an atom", float(np.mean(held))
    default = count // 2
    advice = recommend(before, list(map(str, range(count))), str(default), resampling)
    picked = int(advice.variant)
    yield "interval", "Regret (upper bound)", true.max() - true[picked] <= advice.regret + 1e-9
    if true[default] == true.max():
        yield "test", "A default as good as the best is replaced", picked != default
    if picked != default:
        gain = Interval(advice.gain, advice.low, advice.high)
        yield "gain", "Gain, where one is recommended", holds(gain, true[picked] - true[default])


def not_worse(population: Population, true: tuple[Mapping[str, float], Mapping[str, float]]) -> bool:
    """Return whether no measure of the gate gets worse."""
    watched = ("accuracy_mean", "accuracy_best", "accuracy_worst_quarter")
    fell = any(true[1][key] < true[0][key] - 1e-9 for key in watched)
    return not fell and population.after.std() <= population.before.std() + 1e-9


def cell(population: Population, items: int, replicates: Sequence[int], draws: int) -> Cell:
    """Return the mean share by kind and name. replicates: their numbers, each with its own random numbers."""
    accuracies = np.r_[population.before, population.after]
    place = [len(accuracies), items, zlib.crc32(accuracies.tobytes())]
    true = truth(population, np.random.default_rng(place))
    shares: dict[tuple[str, str], list[float]] = defaultdict(list)
    for seed in replicates:
        rng = np.random.default_rng([*place, seed])
        for kind, name, share in replicate(population, true, items, seed, draws, rng):
            shares[kind, name].append(float(share))
    return {key: float(np.mean(values)) for key, values in shares.items()}


def power(items: int, replicates: int, draws: int, formats: int = 14) -> dict[str, float]:
    """Return how often the gate fails models that get worse, by how they do."""
    base = populations(formats)["spread out"].before
    line, worst = np.linspace(-1, 1, formats), np.arange(formats) < -(-formats // 4)
    found = {
        "nothing changes": base,
        "all formats lose 5 points": base - 0.05,
        "all formats lose 10 points": base - 0.1,
        "the worst quarter loses 10 points": base - 0.1 * worst,
        "the worst quarter loses 20 points": base - 0.2 * worst,
        "the range grows from 30 to 40 points": base + 0.05 * line,
        "the range grows from 30 to 50 points": base + 0.1 * line,
    }
    rates = {}
    for name, after in found.items():
        population = Population(base, after)
        pairs = (population.draw(items, np.random.default_rng([items, n])) for n in range(replicates))
        failed = [not decide(*pair, Resampling(0.95, draws, n)).passed for n, pair in enumerate(pairs)]
        rates[name] = float(np.mean(failed))
    return rates


def tables(found: Mapping[str, Sequence[Cell]], powers: Mapping[int, Mapping[str, float]]) -> str:
    """Return the tables of docs/statistics.md: the worst cell of each population, and the gate's power."""
    rows = list(dict.fromkeys(key for cells_ in found.values() for one in cells_ for key in one))
    text = ""
    for kind, title, worst in KINDS:
        text += f"\n{title}\n\n| | {' | '.join(found)} |\n|---|{'---|' * len(found)}\n"
        for key in rows:
            if key[0] == kind:
                of_cells = [[one[key] for one in cells_ if key in one] for cells_ in found.values()]
                shown = (
                    f"{100 * np.mean(values):.0f} · {100 * worst(values):.0f}" if values else ""
                    for values in of_cells
                )
                text += f"| {key[1]} | {' | '.join(shown)} |\n"
    text += "\nHow often the gate fails a model, 14 formats, in percent, by the number of items:\n\n"
    text += f"| | {' | '.join(map(str, powers))} |\n|---|{'---|' * len(powers)}\n"
    for name in next(iter(powers.values())):
        text += f"| {name} | {' | '.join(f'{100 * p[name]:.0f}' for p in powers.values())} |\n"
    return text


def page_text(
    found: Mapping[str, Sequence[Cell]],
    powers: Mapping[int, Mapping[str, float]],
    sizes: Sequence[tuple[int, int]],
    replicates: int,
    draws: int,
) -> str:
    """Return what stands between the two markers of docs/statistics.md."""
    return (
        f"\n{replicates} replicates of each cell ({-(-replicates // SELDOM)} of what is "
        f"computed for each format alone), {draws} draws, nominal 95%. The first number is the mean over the "
        f"{len(sizes)} cells (formats × questions: {', '.join(f'{t} × {n}' for t, n in sizes)}), the second "
        f"the worst cell. With a coverage of 95% and {replicates} replicates, the worst of {len(sizes)} "
        f"cells is expected at about {100 * expected_worst(replicates, len(sizes)):.0f}; with "
        f"{-(-replicates // SELDOM)} at {100 * expected_worst(-(-replicates // SELDOM), len(sizes)):.0f}.\n"
    ) + tables(found, powers)


def expected_worst(replicates: int, cells_: int) -> float:
    """Return the mean of the least share, over cells, of intervals that hold if each holds in 95%."""
    held = np.arange(replicates)
    return float((binom.sf(held, replicates, 0.95) ** cells_).sum() / replicates)


def write_part(name: str, text: str) -> None:
    """Write `text` between the two markers of the name in docs/statistics.md."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, rest = PAGE.read_text(encoding="utf-8").split(start)
    write_text(PAGE, before + start + text + "\n" + end + rest.split(end)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two sizes, few replicates")
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--scores", type=Path, default="artifacts/scores", help="of the stored run")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE}")
    chosen = parser.parse_args()
    sizes = [(6, 50), (14, 200)] if chosen.quick else [(t, n) for t in FORMATS for n in ITEMS]
    replicates = 12 if chosen.quick else chosen.replicates
    real = stored(chosen.scores)
    if real is None:
        print(f"{chosen.scores}: has no evaluations of base and tuned, so the stored run is left out")
    start = time.process_time()
    found: dict[str, list[Cell]] = defaultdict(list)
    for formats, items in sizes:
        for name, population in populations(formats, real).items():
            found[name].append(cell(population, items, range(replicates), chosen.draws))
            seconds = time.process_time() - start
            low = [key[1] for key, share in found[name][-1].items() if key[0] != "test" and share < 0.9]
            print(f"{formats} × {items}, {name}: {seconds:.0f} s; below 90%: {low}", flush=True)
    powers = {n: power(n, replicates, chosen.draws) for n in ([200] if chosen.quick else ITEMS)}
    text = page_text(found, powers, sizes, replicates, chosen.draws)
    print(text)
    if chosen.write:
        write_part("coverage", text)
    flat = {name: [{"; ".join(k): v for k, v in one.items()} for one in of] for name, of in found.items()}
    print(json.dumps({"cells": flat, "power": powers}))


if __name__ == "__main__":
    main()
