"""Which atom costs how many points: effects of the levels of each factor on accuracy.

The accuracy of a variant is taken for a sum: the average, and for each factor the effect of its level. The
effects of a factor's levels add up to 0, so an effect is a difference from the factor's average. They are
found by least squares over the variants' accuracies: an analysis of variance of main effects, unbalanced,
with sum-to-zero coding.

Where the variants do not tell two factors apart (all formats with a tab also lack a colon), least squares has
many answers. The shortest is taken, which shares the effect out evenly, and such factors are named.

The estimate is linear, so each item has its own effects, and theirs are the mean over items: drawing items
again gives the intervals. They say what other items would have given with these very variants; how far a
sum of effects describes the variants is said by `explained`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag, helmert

from steadyphi.errors import SteadyPhiError
from steadyphi.stats.bootstrap import Resampling, basic_interval, item_means

EXACT = 1e-8  # what rounding leaves of a zero


@dataclass(frozen=True)
class Effect:
    """The effect of a level on accuracy.

    points: against the average of the factor's levels, in shares (0.1 is 10 points), with its interval
        `low` to `high`. variants: how many variants have this level.
    """

    factor: str
    level: str
    points: float
    low: float
    high: float
    variants: int


@dataclass(frozen=True)
class Attribution:
    """The effects of atoms.

    effects: one per factor and level.
    aliased: the factors whose effects these variants cannot tell from others'.
    explained: the share of the variance between the variants' accuracies that the sum of effects explains.
    """

    effects: list[Effect]
    aliased: list[str]
    explained: float


def attribute(
    correct: NDArray[np.bool_],
    atoms: Sequence[Mapping[str, str]],
    resampling: Resampling,
) -> Attribution:
    """Return the effects of the atoms of `correct` (items, variants); atoms[t] is variant t's, by factor.

    Factors with a single level are left out. SteadyPhiError where the variants do not have the same factors.
    """
    factors = _factors(atoms, correct.shape[1])
    if not factors:
        return Attribution([], [], 0.0)
    design, levels = _design(factors)
    inverse = np.asarray(np.linalg.pinv(design, rcond=EXACT), dtype=float)
    per_item = correct @ (levels @ inverse).T
    points = per_item.mean(axis=0)
    drawn = item_means(per_item, resampling)
    # An effect is clear if no other effects give the same accuracies: if it lies in the design's rows.
    unclear = np.abs(levels - levels @ inverse @ design).max(axis=1) > EXACT**0.5
    effects, aliased = [], []
    for n, (factor, level, used) in enumerate(_rows(factors)):
        low, high = basic_interval(points[n], drawn[:, n], resampling.confidence)
        effects.append(Effect(factor, level, float(points[n]), low, high, int(used.sum())))
        if unclear[n] and factor not in aliased:
            aliased.append(factor)
    return Attribution(effects, aliased, _explained(design @ inverse, correct.mean(axis=0)))


def _factors(atoms: Sequence[Mapping[str, str]], variants: int) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Return for each factor that varies its levels, sorted, and which variants have each."""
    if len(atoms) != variants or any(set(atom) != set(atoms[0]) for atom in atoms):
        raise SteadyPhiError(
            f"{variants} variants with atoms for {len(atoms)}: each variant needs a level of every factor, "
            "and the same factors; say `none` where a factor does not apply"
        )
    found = {}
    for factor in atoms[0]:
        column = np.array([atom[factor] for atom in atoms])
        if len(known := sorted(set(column.tolist()))) > 1:
            found[factor] = {level: column == level for level in known}
    return found


def _rows(
    factors: Mapping[str, Mapping[str, NDArray[np.bool_]]],
) -> list[tuple[str, str, NDArray[np.bool_]]]:
    return [(factor, level, used) for factor, known in factors.items() for level, used in known.items()]


def _design(
    factors: Mapping[str, Mapping[str, NDArray[np.bool_]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the design (variants, parameters) and the map (effects, parameters) to the effects of levels.

    A factor of L levels has L - 1 parameters, along an orthonormal basis of the effects that add up to 0; so
    the shortest parameters are the shortest effects, whatever the order of the levels. The columns are
    centred, which leaves the average free: were it a column, shortening would draw it to 0, and the effects
    away from it.
    """
    levels = block_diag(*(helmert(len(known)).T for known in factors.values()))
    used = np.column_stack([used for _, _, used in _rows(factors)])
    design = used @ levels
    return design - design.mean(axis=0), levels


def _explained(hat: NDArray[np.float64], accuracies: NDArray[np.float64]) -> float:
    deviations = accuracies - accuracies.mean()
    total = (deviations**2).sum()
    return float(1 - ((deviations - hat @ deviations) ** 2).sum() / total) if total > EXACT**2 else 0.0
