"""Packing: nothing lost, nothing padded, the loss exactly where it belongs."""

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.data.encoding import encode_examples
from steadyphi.data.packing import Example, collate, pack
from steadyphi.data.row_formats import Dialogue
from steadyphi.data.tables import read_examples, write_examples
from steadyphi.prompts.formats import FORMATS


@st.composite
def dialogues(draw: st.DrawFn) -> Example:
    """Draw an example of one answer or several, each stretch of tokens without a loss between two answers."""
    n = draw(st.integers(2, 12))
    tokens = draw(st.lists(st.integers(0, 50), min_size=n, max_size=n))
    inner = sorted(draw(st.sets(st.integers(1, n - 1))))
    bounds = inner if len(inner) % 2 else [0, *inner]
    return Example(tokens, bounds[0], later=bounds[1:])


examples = st.lists(dialogues(), min_size=1, max_size=8)


def has_loss(example: Example) -> list[bool]:
    """Return for each token whether it has a loss, by hand: from the prompt on, except the later prompts."""
    marks = [at > 0 and at >= example.prompt for at in range(len(example.tokens))]
    for begin, end in zip(example.later[::2], example.later[1::2], strict=True):
        marks[begin:end] = [False] * (end - begin)
    return marks


@given(examples)
def test_supervised_are_the_answers(group: list[Example]) -> None:
    batch = collate(group)
    assert sum(batch.lengths) == len(batch.tokens) == sum(len(e.tokens) for e in group)
    in_order = sorted(group, key=lambda e: len(e.tokens))
    marks = [mark for example in in_order for mark in has_loss(example)]
    targets = dict(zip((batch.at + 1).tolist(), batch.targets.tolist(), strict=True))
    starts = list(itertools.accumulate((len(e.tokens) for e in in_order), initial=0))
    ends = {
        start + at: e.tokens[-1] for start, e in zip(starts, in_order, strict=False) for at in e.later[::2]
    }
    tokens = {n: batch.tokens[n].item() for n, mark in enumerate(marks) if mark}
    assert targets == tokens | ends and not tokens.keys() & ends.keys()
    assert sum(example.supervised for example in group) == len(batch.targets) == len(targets)
    assert not set(starts) & set(targets)  # no document's first token is predicted from another


@given(dialogues(), st.integers(1, 12))
def test_shortened_keeps_whole_turns_or_cuts_the_first_answer(example: Example, most: int) -> None:
    short = example.shortened(most)
    ends = [*example.later[::2], len(example.tokens) - 1]  # where the answers end
    fitting = [end for end in ends if end + 1 <= most]
    assert len(short.tokens) <= most and (short.prompt, short.rendering) == (example.prompt, 0)
    if fitting:
        assert short.tokens == [*example.tokens[: fitting[-1]], example.tokens[-1]]
        assert short.later == example.later[: 2 * (len(fitting) - 1)]
    else:
        assert (short.tokens, short.later) == (example.tokens[:most], [])
        assert bool(short.supervised) == (most > max(example.prompt, 1))


@settings(deadline=None)
@given(examples)
def test_examples_come_back_from_a_file(group: list[Example]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.parquet"
        write_examples(path, [str(n) for n in range(len(group))], ["phi2"] * len(group), group)
        assert list(read_examples(path)) == group


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
    asked = [
        (FORMATS["qa"], Dialogue("row-1", (("hi", "yes"),))),
        (FORMATS["phi2-space"], Dialogue("row-2", (("Who?", "apple apple"),))),
    ]
    texts = [("Q: hi\nA:", " yes"), ("Instruct: Who?\nOutput: ", "apple apple")]
    for (prompt, response), example in zip(texts, encode_examples(tokenizer, asked), strict=True):
        assert example.tokens[: example.prompt] == tokenizer.encode(prompt)
        assert tokenizer.decode(example.tokens) == prompt + response + "<|endoftext|>"
        assert collate([example]).targets[-1] == tokenizer.eos_id


def test_renderings_are_aligned_from_the_end_of_each_answer() -> None:
    """By hand: answers 5 6 7 and 9 6 7 share 6 7 and the end 0; in a batch the shorter example is first."""
    first, second = Example([1, 2, 3, 5, 6, 7, 0], 3), Example([4, 9, 6, 7, 0], 1, rendering=1)
    batch = collate([first, second], pairs=True)
    assert batch.targets.tolist() == [9, 6, 7, 0, 5, 6, 7, 0]
    assert sorted(batch.aligned.T.tolist()) == [[5, 1], [6, 2], [7, 3]]
    assert collate([first, second]).aligned.shape == (2, 0)


@given(st.lists(dialogues(), min_size=1, max_size=4))
def test_aligned_places_predict_the_same_token(group: list[Example]) -> None:
    pairs = [e for example in group for e in (example, replace(example, rendering=1))]
    batch = collate(pairs, pairs=True)
    targets = batch.targets[batch.aligned]
    assert targets[0].equal(targets[1])
    assert batch.aligned.shape[1] == len(batch.targets) / 2  # of equal answers all places
    assert len(set(batch.aligned.flatten().tolist())) == len(batch.targets)
