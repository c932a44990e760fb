"""The answers of an evaluation with its questions and variants: the input of the analysis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadyphi.prompts.item import Item
from steadyphi.prompts.variants import Variant
from steadyphi.results.cells import Cells, cells
from steadyphi.settings.schema import Evaluate
from steadyphi.stats.bootstrap import Resampling
from steadyphi.tokenizer import TextTokenizer

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class EvaluationAnswers:
    """The answers of a model.

    scores: rows of the table `cells.SCORES`.
    written: rows of the table `evaluation.open_answers.TEXTS`; may be empty.
    variants: the default comes first.
    items: the questions. shots: the examples for few-shot prompts.
    """

    scores: Rows
    written: Rows
    variants: Sequence[Variant]
    items: Sequence[Item]
    shots: Sequence[Item]
    tokenizer: TextTokenizer
    settings: Evaluate

    @property
    def default(self) -> Variant:
        """The format that the other variants are compared with."""
        return self.variants[0]

    @property
    def resampling(self) -> Resampling:
        """The resampling settings for the intervals."""
        return Resampling(self.settings.confidence, self.settings.draws, self.settings.seed)

    @property
    def same_choices(self) -> bool:
        """Whether all items have the same choices, such as yes and no: a classification."""
        return len({item.choices for item in self.items}) == 1

    def families(self) -> dict[str, list[Variant]]:
        """Return the variants by family, without variants that fit no item."""
        answered = {row["variant"] for row in self.scores}
        families: dict[str, list[Variant]] = {}
        for variant in self.variants:
            if variant.name in answered:
                families.setdefault(variant.family, []).append(variant)
        return families

    def cells(self, variants: Sequence[Variant]) -> Cells:
        """Return the cells of these variants over the items that were scored in all of them."""
        return cells(self.scores, [v.name for v in variants], scorer=self.settings.scorer)

    def open_cells(self) -> tuple[list[str], NDArray[np.bool_]]:
        """Return the variants with generated answers, and their correctness, (items, variants)."""
        names = list(dict.fromkeys(row["variant"] for row in self.written))
        columns = [[row["correct"] for row in self.written if row["variant"] == name] for name in names]
        return names, np.array(columns, dtype=bool).T
