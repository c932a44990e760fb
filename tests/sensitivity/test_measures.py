"""Each measure against a case worked by hand or a published value."""

import numpy as np
import pytest

from steadyphi.sensitivity import measures
from steadyphi.sensitivity.evaluation import by_format, summarize

# 4 items (rows), 3 formats (columns); the chosen answer, and the right one beside it.
CHOSEN = np.array([[0, 0, 0], [1, 1, 2], [0, 1, 2], [3, 3, 3]])
ANSWER = np.array([0, 1, 2, 0])
CORRECT = CHOSEN == ANSWER[:, None]


def test_by_hand() -> None:
    # right per format: 2, 2, 2 of 4 ... format 1: items 0, 1; format 2: items 0, 1; format 3: items 0, 2
    assert measures.spread(CORRECT) == 0
    assert measures.spread(CORRECT[[0, 1, 3]]) == pytest.approx(2 / 3 - 1 / 3)
    # pairs (1,2): item 2 differs, 1/4; (1,3): items 1, 2, 2/4; (2,3): items 1, 2, 2/4
    assert measures.flip_rate(CHOSEN) == pytest.approx((1 / 4 + 2 / 4 + 2 / 4) / 3)
    assert measures.flip_rate(CHOSEN[:, :1]) == 0
    assert measures.worst_case(CORRECT) == 1 / 4


def test_wilson_interval_as_published() -> None:
    """Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<857, table I, method 3 (score)."""
    for right, of, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        correct = np.arange(of)[:, None] < right
        (found,) = measures.accuracy(correct, 0.95)
        assert found.value == right / of
        assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def rows() -> list[dict[str, object]]:
    return [
        {
            "item": f"i{i}",
            "format": f"f{f}",
            "seen": f == 0,
            "chosen": int(CHOSEN[i, f]),
            "correct": bool(CORRECT[i, f]),
            "logprobs": [0.0] * 4,
        }
        for f in range(3)
        for i in range(4)
    ]


def test_summary_and_table() -> None:
    found = summarize(rows())
    assert found["items"] == 4 and found["formats"] == 3 and found["chance"] == 0.25
    assert found["accuracy_best"] == found["accuracy_worst"] == found["accuracy_mean"] == 0.5
    assert found["spread_unseen"] == 0 and found["right_in_all_formats"] == 0.25
    table = by_format(rows(), 0.95)
    assert [row["format"] for row in table] == ["f0", "f1", "f2"]
    assert [row["seen"] for row in table] == [True, False, False]
    assert table[0]["low"] < 0.5 < table[0]["high"]


def test_the_order_of_rows_does_not_matter() -> None:
    shuffled = [rows()[n] for n in np.random.default_rng(0).permutation(12)]
    assert summarize(shuffled) == summarize(rows())
