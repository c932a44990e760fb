"""Where the charts put things, against places worked out by hand."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.report import formats, row_chart
from steadyphi.report.heatmap import Cell, heatmap, shade
from steadyphi.report.row_chart import Mark, Row, RowChart, Scale, Strip
from steadyphi.report.scatter import Dot, scatter

PERCENT = Scale((0.0, 0.5, 1.0), lambda v: f"{100 * v:.0f}%")


def test_a_place_on_the_scale() -> None:
    # 3% of the lane are free on each side: a half is in the middle, a quarter at 3 + 94/4.
    assert [PERCENT.at(v) for v in (0, 0.25, 0.5, 1, 7, -1)] == [
        "3.00%",
        "26.50%",
        "50.00%",
        "97.00%",
        "97.00%",
        "3.00%",
    ]


def test_a_lane_by_hand() -> None:
    row = Row("phi2", "base 25.0%", marks=(Mark(0, 0.25, 0.0, 0.5),))
    drawn = RowChart([row], PERCENT, [(0.5, "chance")]).draw()
    assert '<line x1="3.00%" x2="50.00%" y1="11" y2="11" class="whisker">' in drawn
    assert '<circle cx="26.50%" cy="11" r="4">' in drawn
    assert '<line x1="50.00%" x2="50.00%" y1="0" y2="22" class="chance">' in drawn


def test_long_names_get_more_room() -> None:
    assert 'class="row-chart figures0"' in RowChart([Row("n" * 26)], PERCENT).draw()
    assert 'class="row-chart figures0 wide"' in RowChart([Row("n" * 27)], PERCENT).draw()


def test_two_runs_stand_one_below_the_other_in_two_shapes() -> None:
    drawn = RowChart([Row("x", marks=(Mark(0, 0.5), Mark(1, 0.5)))], PERCENT).draw()
    assert '<g class="run0"><circle cx="50.00%" cy="9"' in drawn
    assert '<g class="run1"><rect x="50.00%" y="17"' in drawn
    assert "whisker" not in drawn  # there is no interval to draw


def test_a_strip_by_hand() -> None:
    strip = Strip(1, (0.5, 0.25, 0.5), (0.0, 0.25, 0.5, 0.75, 1.0))
    drawn = RowChart([Row("x", strips=(strip,))], PERCENT).draw()
    assert '<line x1="3.00%" x2="97.00%" y1="30" y2="30" class="whisker">' in drawn
    assert '<line x1="26.50%" x2="73.50%" y1="30" y2="30" class="box">' in drawn
    # Two formats at the same place are stacked, three pixels apart.
    assert re.findall(r'<rect x="([\d.]+)%" y="(\d+)"', drawn) == [
        ("26.50", "18"),
        ("50.00", "18"),
        ("50.00", "15"),
    ]


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_scales_enclose_what_they_show(values: list[float]) -> None:
    ticks = row_chart.shares(values).ticks
    assert ticks[0] - 1e-6 <= min(values) and max(values) <= ticks[-1] + 1e-6
    assert 2 <= len(ticks) <= 7 and -1e-9 <= ticks[0] and ticks[-1] <= 1 + 1e-9
    changes = row_chart.differences([v - 0.5 for v in values]).ticks
    assert changes[0] == -changes[-1] and 0.0 in changes and len(changes) <= 7
    assert changes[-1] + 1e-6 >= max(abs(v - 0.5) for v in values)


def test_ticks_by_hand() -> None:
    # 0.317 to 0.85: steps of 0.1 make six (0.3 to 0.9), steps of 0.05 eleven.
    assert row_chart.shares([0.317, 0.85]).ticks == (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    assert [row_chart.shares([0.3]).text(t) for t in (0.07, 0.5)] == ["7%", "50%"]
    assert [row_chart.differences([0.1]).text(t) for t in (-0.1, 0.0, 0.025)] == ["−10", "0", "+2.5"]


def test_of_many_formats_the_ends_and_the_default_are_drawn() -> None:
    names = [f"f{n:03}" for n in range(300)]
    kept = formats._ends(names, "f150", 60)
    assert kept == [*names[:30], "f150", *names[-30:]]
    assert formats._ends(names[:60], "f1", 60) == names[:60]


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (0.0999, 0), (0.1, 1), (0.7, 7), (0.99, 9), (1, 9)])
def test_shades(value: float, expected: int) -> None:
    assert shade(value) == expected


def test_a_heatmap_has_a_cell_for_each_value_and_none_for_nothing() -> None:
    drawn = heatmap(
        "Recall", "why", ["a", "b" * 40], ["x", "y"], [[Cell(0.42, "forty-two"), None], [None, Cell(1, "")]]
    )
    assert drawn.count("<td title=") == 2
    assert '<td title="forty-two" class="s4">42</td><td></td>' in drawn
    assert f'<th scope="row">{"b" * 40}</th><td></td><td title="" class="s9">100</td>' in drawn


def test_a_scatter_by_hand() -> None:
    # 300 pixels a side, the plot's corner at (62, 8): (0.25, 1) is a quarter to the right and at the top.
    drawn = scatter("t", "d", ("base", "tuned"), PERCENT, [Dot("q", 0.25, 1.0, "q: up")])
    assert '<circle cx="137.00" cy="8.00" r="5" class="dot filled"><title>q: up</title>' in drawn
    assert '<line x1="62.00" y1="308.00" x2="362.00" y2="8.00" class="diagonal">' in drawn
