"""What an evaluation asked, and what was answered: all that the analysis works on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadyphi.prompts.item import Item
from steadyphi.prompts.variants import Variant
from steadyphi.results.cells import Cells, cells
from steadyphi.settings.schema import Evaluate
from steadyphi.tokenizer import TextTokenizer

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Asked:
    """scores: `cells.SCORES`; written: `open_answers.TEXTS`, maybe none; variants: the default first."""

    scores: Rows
    written: Rows
    variants: Sequence[Variant]
    items: Sequence[Item]
    shots: Sequence[Item]
    tokenizer: TextTokenizer
    settings: Evaluate

    @property
    def default(self) -> Variant:
        """The format that the others are compared with."""
        return self.variants[0]

    @property
    def same_choices(self) -> bool:
        """Whether all items have the same choices, such as yes and no: classes, that is."""
        return len({item.choices for item in self.items}) == 1

    def families(self) -> dict[str, list[Variant]]:
        """Return the variants by family; a family that no item fits is not among them."""
        answered = {row["variant"] for row in self.scores}
        found: dict[str, list[Variant]] = {}
        for variant in self.variants:
            if variant.name in answered:
                found.setdefault(variant.family, []).append(variant)
        return found

    def cells(self, variants: Sequence[Variant]) -> Cells:
        """Return the cells of some variants over the items that are asked in all of them."""
        return cells(self.scores, [v.name for v in variants], scorer=self.settings.scorer)

    def open_cells(self) -> tuple[list[str], NDArray[np.bool_]]:
        """Return the variants answered in the model's own words, and whether items are right, (items, T)."""
        names = list(dict.fromkeys(row["variant"] for row in self.written))
        columns = [[row["correct"] for row in self.written if row["variant"] == name] for name in names]
        return names, np.array(columns, dtype=bool).T
