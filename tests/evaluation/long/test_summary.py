"""The summary of long prompts, worked by hand."""

import pytest

from steadyphi.evaluation.long.probe import Candidate, Probe, ProbeResult, Task
from steadyphi.evaluation.long.summary import effective_length, mid_dip, summarize

CANDIDATES = (Candidate("river", "right"), Candidate("table", "slot"), Candidate("bread", "absent"))


def result(
    right: bool,
    length: int = 256,
    depth: float | None = None,
    task: Task = "needle",
    kind: str = "",
    text: str | None = None,
) -> ProbeResult:
    """Return a result in which the right value ranks first, or otherwise the wrong slot."""
    probe = Probe(task, kind, "1", length, depth, "Find it.", CANDIDATES, 0)
    return ProbeResult(probe, (-1.0, -2.0, -3.0) if right else (-2.0, -1.0, -3.0), text)


def ruled(position: str, text: str) -> ProbeResult:
    probe = Probe("rules", position, "1", 256, None, "Find it.", CANDIDATES[:1], 8, "capitals")
    return ProbeResult(probe, None, text)


def curve(recall: dict[int, int], depth: float = 0.5) -> list[ProbeResult]:
    """Return a hundred results per length; `recall` is how many of them are right."""
    return [result(n < right, length, depth) for length, right in recall.items() for n in range(100)]


def test_summary_by_hand() -> None:
    summary = summarize(
        [
            result(True, 256, 0.0, text="River."),
            result(False, 256, 0.0, text="table"),
            result(True, 256, 0.5, text="the table"),
            result(True, 512, 0.0),
            *(result(n < 15, 512, None, "multi-key") for n in range(148)),
            result(True, 256, None, "variable tracking"),
            result(False, 0, None, "padding", "none"),
            result(True, 256, None, "padding", "related"),
            ruled("none", "river"),
            ruled("before", "river"),
            ruled("before", "RIVER"),
            ruled("after", "no"),
        ]
    )
    needle = [(r.length, r.depth, r.items, r.share, r.exact) for r in summary.needle]
    assert needle == [(256, 0.0, 2, 0.5, 0.5), (256, 0.5, 1, 1.0, 0.0), (512, 0.0, 1, 1.0, None)]
    # Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<857, table I, method 3: 15 of 148.
    multi, variables = summary.tracking
    assert (multi.kind, multi.length, multi.items) == ("multi-key", 512, 148)
    assert (multi.share, multi.low, multi.high) == pytest.approx((15 / 148, 0.0624, 0.1605), abs=5e-5)
    assert (variables.kind, variables.share) == ("variable tracking", 1)
    assert [(r.kind, r.length, r.share) for r in summary.padding] == [
        ("none", 0, 0),
        ("related", 256, 1),
    ]
    assert [(r.kind, r.items, r.share) for r in summary.rules] == [
        ("none", 1, 0),
        ("before", 2, 0.5),
        ("after", 1, 0),
    ]
    # Misread: the needle at depth 0 and 133 of the multi-key task; ignored: `before`, once; forgot: `after`,
    # which contains neither the value nor words of the prompt. Padding and position none are not counted.
    assert summary.failures == {"forgot": 1, "ignored": 1, "misread": 134, "echoed": 0, "other": 0}
    # Recall at 256 is 2 of 3.
    assert summary.effective_length is None and summary.mid_dip is None


def test_confidence_is_used() -> None:
    results = curve({256: 50})
    wide, narrow = (summarize(results, confidence).needle[0] for confidence in (0.99, 0.8))
    assert wide.low < narrow.low < 0.5 < narrow.high < wide.high


def test_nothing_to_summarize() -> None:
    summary = summarize([])
    assert summary.needle == summary.rules == summary.padding == summary.tracking == []
    assert set(summary.failures.values()) == {0}
    assert summary.effective_length is None and summary.mid_dip is None


@pytest.mark.parametrize(
    ("recall", "expected"),
    [
        ({256: 100, 512: 90, 1024: 84}, 512),
        ({256: 85, 512: 85}, 512),  # the threshold itself is enough
        ({1024: 99, 512: 80, 256: 99}, 256),  # a length counts only if all shorter ones do, in any order
        ({256: 84, 512: 99}, None),
    ],
)
def test_effective_length_by_hand(recall: dict[int, int], expected: int | None) -> None:
    assert effective_length(curve(recall)) == expected


def test_effective_length_is_over_all_depths() -> None:
    assert effective_length(curve({256: 100}, 0.0) + curve({256: 72}, 0.5)) == 256  # 86%
    assert effective_length(curve({256: 100}, 0.0) + curve({256: 68}, 0.5)) is None  # 84%


def test_mid_dip_by_hand() -> None:
    # ends 90% and 70%, middle 50%: (0.9 + 0.7) / 2 - 0.5
    depths = {0.0: 90, 0.25: 10, 0.5: 50, 0.75: 20, 1.0: 70}
    results = [r for depth, right in depths.items() for r in curve({256: right}, depth)]
    assert mid_dip(results) == pytest.approx(0.3)
    assert mid_dip(results[::-1]) == pytest.approx(0.3)
    # without 0.5, 0.25 and 0.75 are equally near to halfway: the smaller
    assert mid_dip([r for r in results if r.probe.depth != 0.5]) == pytest.approx(0.7)
    assert mid_dip(results[:200]) is None
