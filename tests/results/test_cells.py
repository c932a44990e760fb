"""Rows as arrays: complete, in order, and padded where items have fewer choices."""

import numpy as np
import pytest

from steadyphi.results.cells import cells


def row(item: str, variant: str, logprobs: list[float], answer: int = 0, **more: object) -> dict[str, object]:
    chosen = int(np.argmax(logprobs))
    values = {"item": item, "skill": "s", "variant": variant, "answer": answer, "chosen": chosen}
    values |= {"correct": chosen == answer, "logprobs": logprobs, "tokens": [2] * len(logprobs)}
    return values | {"free": None, "begun": None, "places": None} | more


def test_values_are_where_their_item_and_variant_are() -> None:
    rows = [
        row("b", "x", [-1.0, -2.0]),
        row("a", "x", [-3.0, -1.0, -2.0], answer=1),
        row("a", "y", [-1.0, -2.0, -3.0], answer=1),
        row("b", "y", [-2.0, -1.0]),
    ]
    table = cells(rows, ["y", "x"])
    assert (table.items, table.variants) == (["b", "a"], ["y", "x"])
    assert table.correct.tolist() == [[False, True], [False, True]]
    assert table.chosen.tolist() == [[1, 0], [0, 1]]
    assert table.logprobs[0].tolist() == [[-2.0, -1.0, -np.inf], [-1.0, -2.0, -np.inf]]
    assert table.tokens[0, 0].tolist() == [2, 2, 0]
    assert table.choices.tolist() == [2, 3]
    # By hand: with log-probabilities -1 and -2, the first has the probability 1 / (1 + 1/e).
    assert table.arrays["probability"][0, 1] == pytest.approx(1 / (1 + np.exp(-1)))


def test_items_that_some_variant_lacks_are_left_out() -> None:
    rows = [row("a", "x", [-1.0, -2.0]), row("b", "x", [-1.0, -2.0]), row("b", "y", [-1.0, -2.0])]
    assert cells(rows, ["x", "y"]).items == ["b"]
    assert cells(rows, ["x"]).items == ["a", "b"]


def test_what_one_variant_lacks_is_none() -> None:
    rows = [row("a", "x", [-1.0, -2.0], free=[-1.0, -1.0], places=[1, 0]), row("a", "y", [-1.0, -2.0])]
    alone, both = cells(rows, ["x"]), cells(rows, ["x", "y"])
    assert alone.free is not None and alone.places is not None and alone.places.tolist() == [[[1, 0]]]
    assert both.free is None and both.places is None
