"""Packing: nothing lost, nothing padded, the loss exactly where it belongs."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from steadyphi.data.packing import Example, collate, pack
from steadyphi.data.prepare import encode_examples

examples = st.lists(
    st.integers(2, 12).flatmap(
        lambda n: st.builds(
            Example, st.lists(st.integers(0, 50), min_size=n, max_size=n), st.integers(0, n - 1)
        )
    ),
    min_size=1,
    max_size=8,
)


@given(examples)
def test_supervised_are_the_tokens_from_the_prompts_end(group: list[Example]) -> None:
    batch = collate(group)
    assert sum(batch.lengths) == len(batch.tokens) == sum(len(e.tokens) for e in group)
    expected = sorted(t for e in group for t in e.tokens[max(e.prompt, 1) :])
    assert sorted(batch.targets.tolist()) == expected
    assert torch.equal(batch.tokens[batch.at + 1], batch.targets)
    starts = {sum(batch.lengths[:n]) for n in range(len(batch.lengths))}
    assert not starts & set((batch.at + 1).tolist())  # no document's first token is predicted from another


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 60), st.randoms())
def test_pack_keeps_order_and_limit(lengths: list[int], most: int, rng: object) -> None:
    order = list(range(len(lengths)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    groups = list(pack(lengths, most, order))
    assert [i for g in groups for i in g] == order
    for group, following in itertools.zip_longest(groups, groups[1:]):
        total = sum(lengths[i] for i in group)
        assert total <= most or len(group) == 1
        if following:  # full: the next one would not have fitted
            assert total + lengths[following[0]] > most


def test_prompt_and_response_are_tokenized_apart_and_eos_is_supervised(lit_tiny: object) -> None:
    from steadyphi.tokenizer import TextTokenizer

    tokenizer = TextTokenizer(lit_tiny)  # type: ignore[arg-type]
    pairs = [("Q: hi\nA:", " yes"), ("Output: ", "apple apple")]
    for (prompt, response), example in zip(pairs, encode_examples(tokenizer, pairs), strict=True):
        assert example.tokens[: example.prompt] == tokenizer.encode(prompt)
        assert tokenizer.decode(example.tokens) == prompt + response + "<|endoftext|>"
        assert collate([example]).targets[-1] == tokenizer.eos_id
