"""The rows of an evaluation as arrays: items by variants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from steadyphi.errors import SteadyPhiError
from steadyphi.stats.scorers import of_choice, probabilities, ranking

SCORES = pa.schema(
    [
        ("item", pa.string()),
        ("skill", pa.string()),
        ("variant", pa.string()),
        ("prompt", pa.string()),
        ("answer", pa.int32()),
        ("chosen", pa.int32()),
        ("correct", pa.bool_()),
        ("logprobs", pa.list_(pa.float32())),  # of each choice, in nats, summed over its tokens
        ("tokens", pa.list_(pa.int32())),  # the number of tokens of each choice
        (
            "free",
            pa.list_(pa.float32()),
        ),  # log-probabilities after the content-free prompt; null if not computed
        ("begun", pa.list_(pa.float32())),  # see `scorers.any_beginning`; null if not computed
        ("places", pa.list_(pa.int32())),  # the position of each choice, counted from 0; null if not shown
    ]
)


@dataclass(frozen=True)
class Cells:
    """N items by T variants, with up to K choices. Every item is scored in every variant.

    answer: (N,). correct, chosen: (N, T).
    logprobs, tokens: (N, T, K), -inf and 0 where an item has no such choice.
    free: like logprobs, after the content-free prompt; None if a variant has none.
    begun: like logprobs, summed over the beginnings of an answer; None if a variant has none.
    places: (N, T, K), the position of each choice; None if the choices are not shown.
    """

    items: list[str]
    skills: list[str]
    variants: list[str]
    answer: NDArray[np.int_]
    correct: NDArray[np.bool_]
    chosen: NDArray[np.int_]
    logprobs: NDArray[np.float64]
    tokens: NDArray[np.int_]
    free: NDArray[np.float64] | None
    begun: NDArray[np.float64] | None
    places: NDArray[np.int_] | None
    scorer: str = "raw"

    @property
    def scores(self) -> NDArray[np.float64]:
        """The scores that rank the choices, (N, T, K); see the setting `evaluate.scorer`."""
        return ranking(self.logprobs, self.tokens, self.scorer)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """The scores as probabilities of the choices, (N, T, K)."""
        return probabilities(self.scores)

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays that the measures of the catalogue read: (items,) or (items, variants, ...)."""
        return {
            "correct": self.correct,
            "chosen": self.chosen,
            "logprobs": self.logprobs,
            "tokens": self.tokens,
            "probabilities": self.probabilities,
            "probability": of_choice(self.probabilities, self.answer),  # of the right choice
            "confidence": of_choice(self.probabilities, self.chosen),
            "answer": self.answer,
            "choices": self.choices,
        }

    @property
    def against_default(self) -> dict[str, NDArray[Any]]:
        """The arrays of the measures of a family. The first variant is the default format."""
        return {"correct": self.correct[:, 1:], "default": self.correct[:, :1]}

    @property
    def positions(self) -> dict[str, NDArray[np.int_]]:
        """The positions of the chosen and of the right choice, (N, T) each. The choices must be shown."""
        assert self.places is not None
        at = {"chosen_at": self.chosen, "right_at": self.answer}
        return {key: of_choice(self.places, choice) for key, choice in at.items()}

    @property
    def choices(self) -> NDArray[np.int_]:
        """The number of choices of each item, (N,)."""
        return np.asarray((self.tokens[:, 0] > 0).sum(axis=-1))


def asked_in_all(rows: Sequence[Mapping[str, Any]], variants: Sequence[str]) -> list[str]:
    """Return the items that are scored in all of the variants, in the order of the rows."""
    pairs = {(row["item"], row["variant"]) for row in rows}
    return [i for i in dict.fromkeys(row["item"] for row in rows) if all((i, v) in pairs for v in variants)]


def cells(
    rows: Sequence[Mapping[str, Any]],
    variants: Sequence[str],
    items: Sequence[str] | None = None,
    scorer: str = "raw",
) -> Cells:
    """Return the cells of the variants.

    items: the ids of the items, in this order; by default those of `asked_in_all`.
    Raises SteadyPhiError if there are no items.
    """
    table = {(row["item"], row["variant"]): row for row in rows}
    items = asked_in_all(rows, variants) if items is None else items
    if not items:
        raise SteadyPhiError(f"no item is asked in all of {', '.join(variants)}; leave some of them out")
    grid = [[table[item, variant] for variant in variants] for item in items]
    width = max(len(row["logprobs"]) for line in grid for row in line)
    first = [line[0] for line in grid]
    return Cells(
        list(items),
        [row["skill"] for row in first],
        list(variants),
        np.array([row["answer"] for row in first]),
        np.array([[row["correct"] for row in line] for line in grid], dtype=bool),
        np.array([[row["chosen"] for row in line] for line in grid]),
        _stack(grid, "logprobs", width, -np.inf),
        _stack(grid, "tokens", width, 0),
        _stack(grid, "free", width, -np.inf) if _all_have(grid, "free") else None,
        _stack(grid, "begun", width, -np.inf) if _all_have(grid, "begun") else None,
        _stack(grid, "places", width, 0) if _all_have(grid, "places") else None,
        scorer,
    )


def _all_have(grid: Sequence[Sequence[Mapping[str, Any]]], key: str) -> bool:
    return all(row[key] is not None for line in grid for row in line)


def _stack(grid: Sequence[Sequence[Mapping[str, Any]]], key: str, width: int, filler: float) -> NDArray[Any]:
    return np.array([[[*row[key], *[filler] * (width - len(row[key]))] for row in line] for line in grid])
