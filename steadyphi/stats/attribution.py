"""Effects of the levels of each factor on accuracy: how many points each atom gains or costs.

The accuracy of a variant is modelled as a sum: the average, plus the effect of the variant's level for each
factor. The effects of a factor's levels add up to 0, so an effect is the difference from the factor's
average. They are estimated by least squares over the variants' accuracies: an unbalanced analysis of variance
of main effects with sum-to-zero coding.

If the variants cannot tell two factors apart (for example if all formats with a tab also lack a colon), least
squares has many solutions. The one of minimum norm is taken, which divides the effect evenly, and these
factors are listed as aliased.

The estimate is linear, so each item has its own effects and the estimates are their means over items. The
intervals therefore come from resampling items. They cover other items with these same variants;
`Attribution.explained` says how well a sum of effects describes the variants.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag, helmert

from steadyphi.errors import SteadyPhiError
from steadyphi.stats.bootstrap import Resampling, basic_interval, expanded, item_means

EXACT = 1e-8  # numbers smaller than this are rounding errors


@dataclass(frozen=True)
class Effect:
    """The effect of a level on accuracy.

    points: the difference from the average of the factor's levels, as a share (0.1 is 10 points), with its
        interval `low` to `high`. variants: the number of variants with this level.
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
    aliased: the factors whose effects these variants cannot separate from those of other factors.
    explained: the share of the variance between the variants' accuracies that the sum of effects explains.
    """

    effects: list[Effect]
    aliased: list[str]
    explained: float


def attribute(
    correct: NDArray[np.bool_] | NDArray[np.float64],
    atoms: Sequence[Mapping[str, str]],
    resampling: Resampling,
) -> Attribution:
    """Return the effects of the atoms on accuracy.

    correct: (items, variants), or shares of right answers. atoms: for each variant, the level of every
    factor. Factors with a single level are left out. Raises SteadyPhiError if the variants do not have the
    same factors.
    """
    factors = _factors(atoms, correct.shape[1])
    if not factors:
        return Attribution([], [], 0.0)
    design, levels = _design(factors)
    inverse = np.asarray(np.linalg.pinv(design, rcond=EXACT), dtype=float)
    per_item = correct @ (levels @ inverse).T
    points = per_item.mean(axis=0)
    drawn = item_means(per_item, resampling)
    # An effect is identified if no other effects give the same accuracies, that is, if it lies in the row
    # space of the design.
    unidentified = np.abs(levels - levels @ inverse @ design).max(axis=1) > EXACT**0.5
    wider = expanded(resampling.confidence, len(correct))
    effects, aliased = [], []
    for n, (factor, level, used) in enumerate(_rows(factors)):
        low, high = basic_interval(points[n], drawn[:, n], wider)
        effects.append(Effect(factor, level, float(points[n]), low, high, int(used.sum())))
        if unidentified[n] and factor not in aliased:
            aliased.append(factor)
    return Attribution(effects, aliased, _explained(design @ inverse, correct.mean(axis=0)))


def _factors(atoms: Sequence[Mapping[str, str]], variants: int) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Return, for each factor that varies, its sorted levels and which variants have each level."""
    if len(atoms) != variants or any(set(atom) != set(atoms[0]) for atom in atoms):
        raise SteadyPhiError(
            f"atoms are given for {len(atoms)} of {variants} variants, or their factors differ; give each "
            "variant a level of every factor, `none` where a factor does not apply"
        )
    factors = {}
    for factor in atoms[0]:
        column = np.array([atom[factor] for atom in atoms])
        if len(levels := sorted(set(column.tolist()))) > 1:
            factors[factor] = {level: column == level for level in levels}
    return factors


def _rows(
    factors: Mapping[str, Mapping[str, NDArray[np.bool_]]],
) -> list[tuple[str, str, NDArray[np.bool_]]]:
    return [(factor, level, used) for factor, levels in factors.items() for level, used in levels.items()]


def _design(
    factors: Mapping[str, Mapping[str, NDArray[np.bool_]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the design (variants, parameters) and the map (effects, parameters) to the effects of levels.

    A factor of L levels has L - 1 parameters along an orthonormal basis of the effects that add up to 0. So
    parameters of minimum norm are effects of minimum norm, whatever the order of the levels. The columns are
    centred, so that the average is not a parameter; otherwise minimizing the norm would shrink the average
    towards 0 and distort the effects.
    """
    levels = block_diag(*(helmert(len(known)).T for known in factors.values()))
    used = np.column_stack([used for _, _, used in _rows(factors)])
    design = used @ levels
    return design - design.mean(axis=0), levels


def _explained(hat: NDArray[np.float64], accuracies: NDArray[np.float64]) -> float:
    deviations = accuracies - accuracies.mean()
    total = (deviations**2).sum()
    return float(1 - ((deviations - hat @ deviations) ** 2).sum() / total) if total > EXACT**2 else 0.0
