"""A remedy without training: the average of each format's answers and those of a small panel of formats.

The panel of a format consists of the two named formats, other than itself, that are best on other questions:
the items are divided into two halves, and each half uses the panel that was chosen on the other. It takes
three prompts per question instead of one.
"""

import numpy as np
from numpy.typing import NDArray

from steadyphi.results.answers import EvaluationAnswers
from steadyphi.stats import scorers

MEMBERS = 2  # formats besides a variant itself
FAMILIES = ("format", "unseen", "grammar")  # variants that differ from the default in their format only


def panel_correct(answers: EvaluationAnswers, family: str) -> NDArray[np.bool_] | None:
    """Return whether each item is right in each variant of a family with its panel, (items, variants).

    None if the family is not one of formats, or if there are fewer than two items or three named formats.
    """
    families = answers.families()
    variants, formats = families.get(family, []), families["format"]
    if family not in FAMILIES or not variants or len(formats) <= MEMBERS:
        return None
    others = [v for v in formats if v not in variants]
    both = answers.cells([*variants, *others])
    if len(both.items) < 2:
        return None
    named = [both.variants.index(v.name) for v in formats]
    chosen = np.zeros((len(both.items), len(variants)), dtype=int)
    half = np.arange(len(both.items)) % 2
    for side in (0, 1):
        accuracy = both.correct[half != side].mean(axis=0)
        best = sorted(named, key=lambda n: -accuracy[n])
        panels = [[n for n in best if n != variant][:MEMBERS] for variant in range(len(variants))]
        scores = both.scores[half == side]
        averaged = scorers.averaged(scores[:, : len(variants)], scores[:, np.array(panels)])
        chosen[half == side] = scorers.choose(averaged)
    return chosen == both.answer[:, None]
