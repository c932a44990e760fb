"""The tree: each shared token is computed once, and attention equals that of each sequence alone."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.inference.tree import Tree, Walk, _Ragged
from tests.test_model import make_pair

SEQUENCES = st.sets(
    st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple), min_size=1, max_size=20
).map(sorted)


def walk_of(sequences: list[tuple[int, ...]]) -> tuple[Walk, list[list[int]]]:
    walk = Walk()
    places = [list(walk.add(sequence)) for sequence in sequences]
    walk.finish()
    return walk, places


@given(SEQUENCES)
@settings(max_examples=300, deadline=None)
def test_every_sequence_is_in_the_walk_and_every_beginning_once(sequences: list[tuple[int, ...]]) -> None:
    walk, places = walk_of(sequences)
    for sequence, where in zip(sequences, places, strict=True):
        assert tuple(walk.tokens[i] for i in where) == sequence
        assert [walk.depths[i] for i in where] == list(range(len(sequence)))
    assert len(walk.tokens) == len({s[:n] for s in sequences for n in range(1, len(s) + 1)})
    assert [i for b in walk.branches for i in range(b.start, b.end)] == list(range(len(walk.tokens)))
    for branch in walk.branches:
        above = [a for a in walk.branches if a.end <= branch.start and branch.last <= a.last]
        assert branch.level == len(above)
        assert branch.depth == sum(a.end - a.start for a in above)


@given(SEQUENCES)
@settings(max_examples=100, deadline=None)
def test_new_tokens_are_what_add_appends(sequences: list[tuple[int, ...]]) -> None:
    walk = Walk()
    for sequence in sequences:
        expected = len(walk.tokens) + walk.new_tokens(sequence)
        walk.add(sequence)
        assert len(walk.tokens) == expected


@pytest.fixture(scope="module", params=["phi-1.5", "phi-2"])
def pair(request: pytest.FixtureRequest) -> tuple[object, object]:
    return make_pair(request.param)


@given(SEQUENCES)
@settings(max_examples=40, deadline=None)
def test_hidden_states_equal_those_of_each_sequence_alone(
    pair: tuple, sequences: list[tuple[int, ...]]
) -> None:
    model, reference = pair
    walk, places = walk_of(sequences)
    tree = Tree(model.config, walk, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        logits = model.lm_head(model.run(torch.tensor(walk.tokens), itertools.repeat(tree)))
        for sequence, where in zip(sequences[:4], places, strict=False):
            alone = reference(torch.tensor([sequence])).logits[0]
            torch.testing.assert_close(logits[where], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("flash", [False, True])
def test_in_bfloat16_it_is_no_further_from_the_truth(
    pair: tuple, flash: bool, request: pytest.FixtureRequest
) -> None:
    """Combining softmaxes must not add to the usual rounding error; with a GPU's kernel neither."""
    model, reference = pair
    if flash:
        request.getfixturevalue("flash_on_cpu")
    torch.manual_seed(0)
    stem = tuple(torch.randint(0, 211, (60,)).tolist())
    sequences = sorted({(*stem[: 20 + n], n, *stem[:n]) for n in range(40)})
    walk, places = walk_of(sequences)
    tree = Tree(model.config, walk, torch.device("cpu"), torch.bfloat16)
    assert all(isinstance(blocks, _Ragged) is flash for blocks in (*tree.within, *tree.above))
    worst, plain = [], []
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.lm_head(model.run(torch.tensor(walk.tokens), itertools.repeat(tree))).float()
        for sequence, where in zip(sequences, places, strict=True):
            truth = reference(torch.tensor([sequence])).logits[0]
            with torch.autocast("cpu", torch.bfloat16):
                alone = model(torch.tensor(sequence), [len(sequence)]).float()
            worst.append((logits[where] - truth).square().mean())
            plain.append((alone - truth).square().mean())
    assert torch.stack(worst).mean().sqrt() < 1.1 * torch.stack(plain).mean().sqrt()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_as_on_a_cpu(pair: tuple, dtype: torch.dtype) -> None:
    model, _ = pair
    walk, _ = walk_of(sorted({(1, 2, 3, n % 5, n) for n in range(60)} | {(1, 2), (7,)}))
    with torch.no_grad():
        expected = model.run(
            torch.tensor(walk.tokens),
            itertools.repeat(Tree(model.config, walk, torch.device("cpu"), torch.float32)),
        )
        model.cuda()
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            tree = Tree(model.config, walk, torch.device("cuda"), dtype)
            on_gpu = model.run(torch.tensor(walk.tokens, device="cuda"), itertools.repeat(tree)).cpu()
        model.cpu()
    torch.testing.assert_close(on_gpu.float(), expected, atol=1e-3 if dtype == torch.float32 else 0.1, rtol=0)
