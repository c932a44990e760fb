"""Every example is learnt from once an epoch, by exactly one process, in equally many micro-batches."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from steadyphi.data.packing import Example
from steadyphi.training.plan import efficiency, plan_steps, share_out
from tests.training.made import settings


def documents(lengths: list[int], renderings: int = 1) -> list[Example]:
    """Documents of these lengths, once per rendering."""
    return [Example([0] * length, 0, n) for n in range(renderings) for length in lengths]


LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=50)


@given(LENGTHS, st.integers(1, 3), st.integers(1, 200))
def test_epochs(lengths: list[int], epochs: int, batch_tokens: int) -> None:
    steps = plan_steps(documents(lengths), settings(epochs=epochs, batch_tokens=batch_tokens))
    order = list(itertools.chain(*steps))
    assert len(order) == epochs * len(lengths)
    for n in range(epochs):
        assert sorted(order[n * len(lengths) : (n + 1) * len(lengths)]) == list(range(len(lengths)))
    for step in steps:
        assert len(step) == 1 or sum(lengths[i] for i in step) <= batch_tokens


@given(LENGTHS, st.integers(1, 120))
def test_so_many_steps_begin_as_epochs_do(lengths: list[int], wanted: int) -> None:
    steps = plan_steps(documents(lengths), settings(max_steps=wanted))
    assert len(steps) == wanted
    whole = plan_steps(documents(lengths), settings(epochs=2))
    assert all(a == b for a, b in zip(steps, whole, strict=False))


def test_the_seed_decides_the_order() -> None:
    examples = documents([10] * 30)
    plan, same, other = (plan_steps(examples, settings(seed=seed)) for seed in (0, 0, 1))
    assert plan == same != other
    first, second = plan[: len(plan) // 2], plan[len(plan) // 2 :]
    assert first != second  # and each epoch has its own


@given(LENGTHS, st.integers(1, 3), st.integers(1, 5))
def test_epochs_take_the_renderings_in_turn(lengths: list[int], renderings: int, epochs: int) -> None:
    examples = documents(lengths, renderings)
    order = list(itertools.chain(*plan_steps(examples, settings(epochs=epochs))))
    for n in range(epochs):
        epoch = order[n * len(lengths) : (n + 1) * len(lengths)]
        assert {examples[i].rendering for i in epoch} == {n % renderings}
        assert len(set(epoch)) == len(lengths)


@given(LENGTHS, st.integers(2, 5), st.integers(1, 4), st.integers(1, 150), st.integers(1, 3))
def test_two_renderings_of_a_row_stay_together(
    lengths: list[int], renderings: int, epochs: int, micro_tokens: int, world: int
) -> None:
    examples, size = documents(lengths, renderings), len(lengths)
    steps = plan_steps(examples, settings(epochs=epochs, consistency=1.0))
    order = list(itertools.chain(*steps))
    assert len(order) == 2 * epochs * size
    for n in range(epochs):
        epoch = order[2 * n * size : 2 * (n + 1) * size]
        for at, start in ((0, 2 * n), (1, 2 * n + 1)):  # the next two renderings, the first one first
            assert {examples[i].rendering for i in epoch[at::2]} == {start % renderings}
    whole = [len(example.tokens) for example in examples]
    for step in steps:
        assert [i % size for i in step[::2]] == [i % size for i in step[1::2]]  # of one row
        shares = [share_out(whole, step, micro_tokens, rank, world, 2) for rank in range(world)]
        groups = [group for share in shares for group in share if group]
        pairs = [pair for group in groups for pair in zip(group[::2], group[1::2], strict=True)]
        assert sorted(pairs) == sorted(zip(step[::2], step[1::2], strict=True))


@given(LENGTHS, st.integers(1, 150), st.integers(1, 5))
def test_a_step_is_shared_out_whole(lengths: list[int], micro_tokens: int, world: int) -> None:
    step = list(range(len(lengths)))[::-1]
    shares = [share_out(lengths, step, micro_tokens, rank, world) for rank in range(world)]
    assert sorted(i for share in shares for group in share for i in group) == sorted(step)
    assert len({len(share) for share in shares}) == 1
    for group in itertools.chain(*shares):
        assert len(group) <= 1 or sum(lengths[i] for i in group) <= micro_tokens
    loads = [sum(lengths[i] for group in share for i in group) for share in shares]
    assert max(loads) - min(loads) <= max(lengths)


def test_efficiency_by_hand() -> None:
    chosen = settings(epochs=1, batch_tokens=10)
    assert efficiency(documents([5, 5, 5, 5]), chosen) == 1.0
    assert efficiency(documents([6, 6, 6]), chosen) == 0.6  # no two fit, and none is split
