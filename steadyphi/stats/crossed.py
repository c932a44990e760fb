"""The variance of single values, divided among crossed factors: which of them makes the answers differ.

Each value belongs to one level of every factor, and each combination of levels has one value, such as the
answer to a question by a scorer in a format with an order of the options. In the model

    x = mean + question + scorer + format + question x scorer + ... + question x scorer x format

all terms are random and independent. Their variances are estimated without bias, whatever the distribution,
from the mean squares of the analysis of variance (Cornfield & Tukey 1956, doi 10.1214/aoms/1177728067;
Brennan 2001, Generalizability Theory, section 3.4). The last term, of all factors, contains what is left,
such as chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from math import prod

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Component:
    """The variance of a term: of a factor, or of the interaction of several factors.

    share: of the sum of all terms; 0 if all values are equal.
    """

    factors: list[str]
    variance: float
    share: float


def components(values: NDArray, factors: Sequence[str]) -> list[Component]:
    """Return the variance of each term, the single factors first; a negative estimate is 0.

    values: numbers or truth values, an axis for each factor. An axis with one level has no terms.
    """
    names = [name for name, levels in zip(factors, values.shape, strict=True) if levels > 1]
    cells = np.asarray(values, dtype=np.float64).reshape([n for n in values.shape if n > 1])
    terms = _subsets(range(cells.ndim))
    squares = {term: _mean_square(cells, term) for term in terms}
    variances = {term: max(0.0, _variance(cells.shape, squares, term)) for term in terms}
    total = sum(variances.values())
    return [
        Component([names[axis] for axis in term], variance, variance / total if total else 0.0)
        for term, variance in variances.items()
    ]


def _subsets(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return all subsets of the axes but the empty one, the smallest first."""
    return list(chain.from_iterable(combinations(axes, size) for size in range(1, len(axes) + 1)))


def _mean_square(cells: NDArray[np.float64], term: tuple[int, ...]) -> float:
    """Return the sum of squares of the term's effects, over all cells, divided by its degrees of freedom."""
    effects = cells
    for axis, levels in enumerate(cells.shape):
        mean = effects.mean(axis=axis, keepdims=True)
        effects = effects - mean if axis in term else np.repeat(mean, levels, axis=axis)
    return float((effects**2).sum()) / prod(cells.shape[axis] - 1 for axis in term)


def _variance(shape: Sequence[int], squares: dict[tuple[int, ...], float], term: tuple[int, ...]) -> float:
    """Return the sum over larger terms of their mean squares with alternating signs, per cell of a level."""
    larger = {other: square for other, square in squares.items() if set(term) <= set(other)}
    signed = sum((-1) ** (len(other) - len(term)) * square for other, square in larger.items())
    return signed / prod(levels for axis, levels in enumerate(shape) if axis not in term)
