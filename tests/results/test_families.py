"""Changes beyond the formats: by hand, and only over the prompts that are the same in both runs."""

import dataclasses
from typing import Any

import pytest
from scipy.stats import t

from steadyphi.cli import compare
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.item import Item
from steadyphi.results import families, stored
from steadyphi.results.cells import Cells, cells
from steadyphi.results.experiment import FamilyChange
from steadyphi.results.result import OptionRow, PositionMeasure, Result, VariantRow
from steadyphi.results.stored import Evaluation
from steadyphi.stats.bootstrap import Resampling
from steadyphi.stats.comparison import MeasureChange
from tests.results.test_cells import row

RESAMPLING = Resampling(0.95, 400)
ORDERS = ["order-0", "order-1"]
FAMILIES = {"phi2": "format", "qa": "format", "noise-1": "noise", "noise-2": "noise"}
FAMILIES |= dict.fromkeys(ORDERS, "options")
# By variant, whether items 0 to 3 are right.
BEFORE = {"phi2": "1110", "qa": "1100", "noise-1": "1000", "noise-2": "1100"}
AFTER = {"phi2": "1110", "qa": "1110", "noise-1": "1110", "noise-2": "1100"}


def answered(right: dict[str, str]) -> list[dict[str, Any]]:
    """Return a row for each item and variant; a 1 means that the item is right."""
    return [
        row(f"i{n}", name, [-1.0, -2.0] if sign == "1" else [-2.0, -1.0], prompt=f"{name} {n}")
        for name, signs in right.items()
        for n, sign in enumerate(signs)
    ]


def result_of(families: dict[str, str]) -> Result:
    """Return a result with these variants and one style of options; only its settings are read."""
    position = PositionMeasure(0.0, 0.0)
    row = VariantRow(
        "", "", False, {}, 4, 0, "", "", 0, 0, 0, 1, None, None, None, None, None, None, 0, 0, 0, 1
    )
    return Result(
        label="base",
        confidence=0.95,
        draws=400,
        seed=0,
        scorer="raw",
        items=4,
        formats=2,
        chance=0.5,
        default="phi2",
        measures={},
        variants=[dataclasses.replace(row, name=name, family=family) for name, family in families.items()],
        quantiles={},
        options=[OptionRow("x", ORDERS, 4, 2, 0.5, 0.0, position, position)],
    )


def evaluation(right: dict[str, str], chosen: tuple[str, str]) -> Evaluation:
    """Four items of two choices. The first is right; it is shown at place 0 in one order, at 1 in the other.

    chosen: the index of the chosen choice of each item, in both orders.
    """
    rows = answered(right)
    for order, (name, signs) in enumerate(zip(ORDERS, chosen, strict=True)):
        for n, sign in enumerate(signs):
            logprobs = [-2.0, -2.0]
            logprobs[int(sign)] = -1.0
            rows.append(row(f"i{n}", name, logprobs, prompt=f"{name} {n}", places=[order, 1 - order]))
    return Evaluation(
        result_of(FAMILIES), rows, [Item(f"i{n}", "s", f"{n}?", ("a", "b"), 0) for n in range(4)], []
    )


Asked = dict[tuple[str, str], tuple[FamilyChange, MeasureChange]]


def changes(before: Evaluation, after: Evaluation) -> Asked:
    """Return the rows of the comparison by name and key, each with its family."""
    return {
        (family.name, row.key): (family, row)
        for family in stored.side_by_side(before, after).families
        for row in family.measures
    }


@pytest.fixture
def before() -> Evaluation:
    return evaluation(BEFORE, ("0000", "1111"))


@pytest.fixture
def after() -> Evaluation:
    return evaluation(AFTER, ("0000", "1000"))


def test_a_family_by_hand(before: Evaluation, after: Evaluation) -> None:
    changed = changes(before, after)
    family, mean = changed["noise", "accuracy_mean"]
    assert (family.part, family.items, family.variants) == ("family", 4, 2)
    assert (mean.before, mean.after) == (3 / 8, 5 / 8)  # the default is not included
    _, cost = changed["noise", "against_default"]  # in the default 6/8 are right, before and after
    assert (cost.before, cost.after, cost.change) == (-3 / 8, -1 / 8, 1 / 4)
    _, apart = changed["noise", "spread"]
    assert (apart.before, apart.after) == (1 / 4, 1 / 4)  # 1 and 2 right, then 3 and 2
    _, drop = changed["noise", "pdr"]  # noise takes 3/6 of the default's right answers, then 1/6
    assert (drop.before, drop.after, drop.change) == pytest.approx((1 / 2, 1 / 6, -1 / 3))
    # The items gain 0, 1/2, 1/2 and 0: the standard error of the mean is 1/4/sqrt(3).
    half = t.isf(0.025, 3) / 4 / 3**0.5
    assert (mean.low, mean.high) == pytest.approx((1 / 4 - half, 1 / 4 + half))


def test_the_interval_is_that_of_pairs() -> None:
    """The interval of each accuracy is 6 points to either side, that of the change 4."""

    def columns(right: str) -> Cells:
        return cells(answered({"phi2": "1" * 240, "n": right * 30}), ["phi2", "n"])

    mean, *_ = families.family("noise", columns("11110000"), columns("11111000"), RESAMPLING).measures
    # An eighth of 240 items gain: the standard error is sqrt(1/8 * 7/8 / 240); for independent runs 0.045.
    assert mean.high is not None and mean.low is not None
    assert (mean.high - mean.low) / 2 == pytest.approx(1.96 * 0.0213, rel=0.2)


def test_one_variant_has_no_spread(before: Evaluation, after: Evaluation) -> None:
    fewer = {name: family for name, family in FAMILIES.items() if name != "noise-2"}
    run = dataclasses.replace(before, result=result_of(fewer))
    keys = {key for name, key in changes(run, after) if name == "noise"}
    assert keys == {"accuracy_mean", "against_default", "pdr"}


def test_a_drop_needs_right_answers_before_it() -> None:
    none, mixed = (
        cells(answered({"phi2": clean, "n": "1010", "m": "1110"}), ["phi2", "n", "m"])
        for clean in ("0000", "1100")
    )
    keys = [
        [row.key for row in families.family("noise", *runs, RESAMPLING).measures]
        for runs in ((mixed, mixed), (none, mixed))
    ]
    assert keys == [
        ["accuracy_mean", "against_default", "spread", "pdr"],
        ["accuracy_mean", "against_default", "spread"],
    ]
    assert "pdr" not in {row.key for row in families.family("shots", mixed, mixed, RESAMPLING).measures}


def test_the_order_of_options_by_hand(before: Evaluation, after: Evaluation) -> None:
    (family, flips), (_, bias) = (changes(before, after)["x", key] for key in ("flip_rate", "position_bias"))
    assert family.part == "options" and (family.items, family.variants) == (4, 2)
    assert (flips.before, flips.after) == (1, 1 / 4)
    # The right answer is at place 0 in 4 of 8 cases. Place 0 is chosen in all 8 before, and in 5 after.
    assert (bias.before, bias.after) == (1 / 2, 1 / 8)


def test_what_is_not_asked_in_the_same_words_is_left_out(before: Evaluation, after: Evaluation) -> None:
    other = [r | {"prompt": "?"} if (r["item"], r["variant"]) == ("i3", "noise-1") else r for r in after.rows]
    worded = dataclasses.replace(after, rows=other)
    assert changes(before, worded)["noise", "accuracy_mean"][0].variants == 1
    changed = [*after.items[:3], dataclasses.replace(after.items[3], question="Another?")]
    changed_families = changes(before, dataclasses.replace(worded, items=changed))
    assert (
        changed_families["noise", "accuracy_mean"][0].variants == 2
    )  # because that question is left out altogether
    assert {family.items for family, _ in changed_families.values()} == {3}


def test_another_default_leaves_the_orders_alone(before: Evaluation, after: Evaluation) -> None:
    def reworded(*names: str) -> Evaluation:
        rows = [r | {"prompt": "?"} if r["variant"] in names else r for r in after.rows]
        return dataclasses.replace(after, rows=rows)

    assert {name for name, _ in changes(before, reworded("phi2"))} == {"x"}
    with pytest.raises(SteadyPhiError, match="no format or no question in common"):
        changes(before, reworded("phi2", "qa"))


def probe(task: str, kind: str, item: str, length: int, right: bool) -> dict[str, Any]:
    place = {"task": task, "kind": kind, "item": item, "length": length, "depth": None}
    return place | {"prompt": f"{place}", "failure": None if right else "forgot"}


def test_long_prompts_by_hand() -> None:
    was = [probe("needle", "", item, n, n == 192) for item in "ab" for n in (192, 320)]
    was += [probe("rules", kind, "a", 192, False) for kind in ("none", "before")]
    now = [probe("needle", "", item, n, item == "a" or n == 192) for item in "ab" for n in (192, 320, 480)]
    now += [probe("rules", kind, "a", 192, kind == "before") for kind in ("none", "before")]
    rows = families.long(was, now, RESAMPLING)
    assert [entry.name for entry in rows] == ["needle", "rules, none", "rules, before"]
    assert [(entry.items, entry.variants) for entry in rows] == [(2, 2), (1, 1), (1, 1)]
    needle, _, rules = (entry.measures[0] for entry in rows)
    # At the common lengths, 192 and 320 tokens: 2 of 4 right before; after, a at both lengths and b at one.
    assert (needle.before, needle.after, needle.change) == (1 / 2, 3 / 4, 1 / 4)
    # The questions gain 1/2 and 0. With a sum of 1/2 over 2 + 2 and a sum of squares of 1/4 + 1, the mean is
    # 1/8, with a variance of (5/4 - 4/64)/3/4.
    half = t.isf(0.025, 1) * ((5 / 4 - 1 / 16) / 12) ** 0.5
    assert (needle.low, needle.high) == pytest.approx((max(-1, 1 / 8 - half), min(1, 1 / 8 + half)))
    assert (rules.before, rules.after) == (0, 1)


def test_items_asked_at_more_lengths_weigh_more() -> None:
    was = [probe("needle", "", "a", n, True) for n in (192, 320, 480)] + [
        probe("needle", "", "b", 192, False)
    ]
    (entry,) = families.long(was, was, RESAMPLING)
    assert entry.measures[0].before == 3 / 4


def test_the_command_prints_every_row_under_its_heading(before: Evaluation, after: Evaluation) -> None:
    was, now = ([probe("needle", "", item, 192, item in right) for item in "ab"] for right in ("", "a"))
    long = dataclasses.replace(before, long=was), dataclasses.replace(after, long=now)
    lines = compare.render(stored.side_by_side(*long)).splitlines()
    start = lines.index("Noise in the question: 4 questions, 2 variants")
    assert lines[start + 1].split()[:4] == ["Mean", "accuracy", "37.5%", "62.5%"]
    start = lines.index("Order of the options x: 4 questions, 2 variants")
    assert lines[start + 2].split()[:5] == ["Position", "bias", "50.0%", "12.5%", "−37.5"]
    start = lines.index("Long prompts: 2 questions at each length and depth")
    assert lines[start + 1].split()[:4] == ["needle", "0.0%", "50.0%", "+50.0"]
