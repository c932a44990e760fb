"""The cache against the model without a cache: the same hidden states, however the tokens are read."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from steadyphi.inference import contexts
from steadyphi.inference.cache import Cache
from steadyphi.inference.compiled import FixedStep, can_compile, fixed_cache
from steadyphi.model import Phi
from tests.test_model import make_pair, tokens_of

LENGTHS = [23, 9, 17, 40, 1]


@pytest.fixture(scope="module", params=["phi-1.5", "phi-2"])
def model(request: pytest.FixtureRequest) -> Phi:
    return make_pair(request.param)[0].requires_grad_(False)


def documents(extra: int = 0) -> list[list[int]]:
    return [t.tolist() for t in tokens_of([n + extra for n in LENGTHS]).split([n + extra for n in LENGTHS])]


def last(model: Phi, document: list[int]) -> Tensor:
    return model.hidden(torch.tensor(document), [len(document)])[-1]


def close(logits: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(logits, expected, atol=2e-5, rtol=0)


def filled(model: Phi, extra: int) -> tuple[Cache, list[list[int]]]:
    """A cache that has read all but the last `extra` tokens of each document."""
    cache, texts = Cache(model, len(LENGTHS), 64), documents(extra)
    start = [text[:-extra] for text in texts]
    close(cache.read(start[:2]), torch.stack([last(model, t) for t in start[:2]]))
    close(cache.read(start[2:], first=2), torch.stack([last(model, t) for t in start[2:]]))
    return cache, texts


@pytest.mark.parametrize("waste", [0, contexts.WASTE])
def test_steps_equal_the_whole_at_once(model: Phi, waste: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "WASTE", waste)
    cache, texts = filled(model, 6)
    for back in range(6, 0, -1):
        stepped = cache.step([text[-back] for text in texts])
        close(stepped, torch.stack([last(model, text[: len(text) - back + 1]) for text in texts]))
    assert cache.lengths == [n + 6 for n in LENGTHS]


def test_rows_that_are_dropped_leave_the_others_as_they_were(model: Phi) -> None:
    cache, texts = filled(model, 6)
    for back, gone in ((6, [1]), (5, [0, 3]), (4, []), (3, [1]), (2, [])):
        order = cache.drop(gone)
        texts = [texts[row] for row in order]
        stepped = cache.step([text[-back] for text in texts])
        close(stepped, torch.stack([last(model, text[: len(text) - back + 1]) for text in texts]))
    assert len(texts) == 1
    assert cache.drop([0]) == []


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_who_remains_is_who_was_not_dropped(case: tuple[int, set[int]]) -> None:
    rows, gone = case
    cache = Cache.__new__(Cache)
    cache.keys = torch.arange(rows).float()[None, :, None, None, None].expand(1, rows, 1, 4, 1).clone()
    cache.values, cache.lengths = cache.keys.clone(), [3] * rows
    order = cache.drop(list(gone))
    assert sorted(order) == sorted(set(range(rows)) - gone)
    assert cache.keys[0, : len(order), 0, 0, 0].tolist() == order


def test_one_row_goes_on_by_several_tokens_and_back(model: Phi) -> None:
    """As in a chat and in speculative decoding: a prefix stays, and the tokens after it are replaced."""
    first, second = documents()[3], documents()[0]
    cache = Cache(model, 1, 64)
    states = torch.cat([cache.extend(first[:10]), cache.extend(first[10:11]), cache.extend(first[11:])])
    close(states, model.hidden(torch.tensor(first), [len(first)]))
    cache.truncate(15)
    cache.truncate(20)  # more than the row has: nothing to remove
    assert cache.lengths == [15]
    close(cache.extend(second)[-1], last(model, first[:15] + second))


def test_a_row_sees_nothing_of_the_others(model: Phi) -> None:
    """Another text in a neighbouring row does not change a bit."""
    outcomes = []
    for other in (3, 4):
        cache = Cache(model, 2, 40)
        cache.read([[1, 2, 3, 4, 5], [other] * 12])
        outcomes.append(cache.step([7, other])[0])
    assert torch.equal(*outcomes)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(1, 5000))
def test_groups_are_all_rows_and_waste_little(lengths: list[int], width: int) -> None:
    groups = list(contexts.groups(lengths, width))
    assert [row for group in groups for row in range(len(lengths))[group]] == list(range(len(lengths)))
    for group in groups:
        group_lengths = lengths[group]
        assert (len(group_lengths) * max(group_lengths) - sum(group_lengths)) * width <= contexts.WASTE


def test_the_cache_is_allocated_once(model: Phi) -> None:
    cache, texts = filled(model, 6)
    places = cache.keys.data_ptr(), cache.values.data_ptr()
    for back in range(6, 0, -1):
        cache.step([text[-back] for text in texts])
    assert (cache.keys.data_ptr(), cache.values.data_ptr()) == places
    with pytest.raises(ValueError, match="capacity 129 is more than the model's context of 128"):
        Cache(model, 1, 129)


def test_the_step_of_fixed_shapes_gives_the_same(model: Phi) -> None:
    """One graph without breaks, which is traced here and compiled on a GPU. Dropped rows are computed too."""
    cache, texts = filled(model, 6)
    step = FixedStep(cache, backend="eager")
    for back, gone in ((6, []), (5, [2]), (4, [0, 1]), (3, [])):
        texts = [texts[row] for row in cache.drop(gone)]
        stepped = step([text[-back] for text in texts])
        close(stepped, torch.stack([last(model, text[: len(text) - back + 1]) for text in texts]))


@pytest.mark.parametrize("shapes", [1, 12])
def test_caches_of_one_shape_share_a_compiled_step(model: Phi, shapes: int) -> None:
    """And more shapes than torch compiles by default do not fail."""
    compiled = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        compiled.append(graph)
        return graph.forward

    tokens = [5, 6, 7]
    for n in range(12):
        cache = Cache(model, 4, 40 + n % shapes)
        cache.lengths = cache.lengths[:3]
        cache.read([[n, 1], [2, n, 3], [n]])
        stepped = FixedStep(cache, backend=backend)(tokens)
        close(stepped[0], last(model, [n, 1, 5]))
    assert len(compiled) == shapes


def test_shapes_are_rounded_to_powers_of_two(model: Phi) -> None:
    cache = fixed_cache(model, 5, 33)
    assert cache.keys.shape[1:4:2] == (8, 64) and cache.lengths == [0] * 5
    assert fixed_cache(model, 4, 64).keys.shape[1:4:2] == (4, 64)
    assert fixed_cache(model, 1, 128).keys.shape[1:4:2] == (1, 128)  # the context


def test_without_a_gpu_compiling_is_said_not_to_happen(capsys: pytest.CaptureFixture[str]) -> None:
    assert not can_compile(torch.device("cpu"))
    assert capsys.readouterr().err.startswith("note: ")
    assert can_compile(torch.device("cuda")) and not capsys.readouterr().err
