"""Rows longer than the context, with `prepare.too_long: split`: nothing lost, nothing trained on twice."""

import json
from pathlib import Path

import pytest

from steadyphi.data import audit
from steadyphi.data.encoding import encode_examples
from steadyphi.data.packing import Example, collate
from steadyphi.data.prepare import left_out, prepare
from steadyphi.data.rendering import PLAIN
from steadyphi.data.row_formats import Dialogue
from steadyphi.data.splitting import pieces
from steadyphi.data.tables import read_examples, read_table
from steadyphi.data.tokenizing import tokenize
from steadyphi.prompts import held_out
from steadyphi.prompts.formats import FORMATS
from steadyphi.settings.compose import compose
from steadyphi.settings.schema import Prepare
from steadyphi.tokenizer import TextTokenizer
from steadyphi.training.plan import plan_steps
from tests.conftest import ROOT

CONTEXT = 48
TURNS = tuple((f"What is {n} and {n}?", f"That is {2 * n}, which is even.") for n in range(9))
LONG = "one two three four five " * 20


def settings(**changes: object) -> Prepare:
    section = {"too_long": "split", "context": CONTEXT, "grammar": 0.5, **changes}
    return compose({"prepare": section}, ROOT / "conf").prepare


def targets(examples: list[Example]) -> list[int]:
    """The targets that training reads, in order; one batch each, because a batch sorts its examples."""
    return [token for example in examples for token in collate([example]).targets.tolist()]


@pytest.mark.parametrize("most", [2, 3, 7, 48, 100, 101, 102])
def test_every_token_of_a_text_is_a_target_once(most: int) -> None:
    text = Example(list(range(101)), 0)
    cut = pieces(text, most)
    assert max(len(piece.tokens) for piece in cut) <= most
    assert targets(cut) == text.tokens[1:]
    assert len(cut) == -(-100 // (most - 1))


def test_the_end_token_follows_the_last_piece_only(phi_tiny: Path) -> None:
    tokenizer = TextTokenizer(phi_tiny)
    text = Dialogue("row-1", (("", LONG),))
    part = tokenize([text], settings(), tokenizer, 2)
    (whole,) = encode_examples(tokenizer, [(PLAIN, text)])
    for rendering in (0, 1):
        cut = [example for example in part.examples if example.rendering == rendering]
        assert targets(cut) == whole.tokens[1:]
        ends = [tokenizer.eos_id in example.tokens for example in cut]
        assert ends == [False] * (len(cut) - 1) + [True] and len(cut) > 2
    assert (part.dropped, part.added, part.continued) == (0, len(cut) - 1, 2 * (len(cut) - 1))
    assert part.long == [("row-1", len(whole.tokens))]


@pytest.mark.parametrize("system", ["", "Be brief."])
def test_a_dialogue_becomes_dialogues_that_fit(phi_tiny: Path, system: str) -> None:
    tokenizer = TextTokenizer(phi_tiny)
    dialogue = Dialogue("row-1", TURNS, system)
    part = tokenize([dialogue], settings(), tokenizer, 3)
    assert len(set(part.styles)) > 1  # the formats of the renderings differ
    split = [[e for e in part.examples if e.rendering == n] for n in range(3)]
    counts = [[len(list(example.answers())) for example in examples] for examples in split]
    assert counts[0] == counts[1] == counts[2] and sum(counts[0]) == len(TURNS) and len(counts[0]) > 2
    assert all(len(example.tokens) <= CONTEXT for example in part.examples)
    answers = [answer for _, answer in TURNS]
    for examples in split:
        read = tokenizer.decode(targets(examples)).split("<|endoftext|>")
        assert [text.strip() for text in read] == [*answers, ""]  # each answer once, then the end token
        for example in examples:
            assert system in tokenizer.decode(example.tokens[: example.prompt])
            assert example.tokens.index(tokenizer.eos_id) == len(example.tokens) - 1
    # As many turns as fit: with the next one, a part would be too long in a rendering.
    trainable = [drawn.format for drawn in held_out.trainable(settings().held_out.untrained)]
    used = [style for style in (*FORMATS.values(), *trainable) if style.name in part.styles]
    begin = 0
    for count in counts[0][:-1]:
        longer = Dialogue("row-1", TURNS[begin : begin + count + 1], system)
        encoded = encode_examples(tokenizer, [(style, longer) for style in used])
        assert max(len(example.tokens) for example in encoded) > CONTEXT
        begin += count


def test_a_turn_that_is_too_long_leaves_the_row_out(phi_tiny: Path) -> None:
    tokenizer = TextTokenizer(phi_tiny)
    rows = [
        Dialogue("row-1", (*TURNS[:4], ("And now?", LONG), *TURNS[4:])),
        Dialogue("row-2", ((LONG, "What?"),)),
        Dialogue("row-3", TURNS[:1]),
    ]
    part = tokenize(rows, settings(), tokenizer, 2)
    assert part.ids == ["row-3", "row-3"] and (part.dropped, part.added) == (2, 0)
    assert [row for row, _ in part.long] == ["row-1", "row-2"]


def test_a_long_answer_is_cut_at_the_same_places_in_every_format(phi_tiny: Path) -> None:
    tokenizer = TextTokenizer(phi_tiny)
    part = tokenize([Dialogue("row-1", (("What?", LONG),), "Be brief.")], settings(grammar=1.0), tokenizer, 4)
    assert len(set(part.styles)) > 2 and max(len(example.tokens) for example in part.examples) <= CONTEXT
    split = [[e for e in part.examples if e.rendering == n] for n in range(4)]
    for examples in split:
        assert len(examples) == part.added + 1 > 2
        assert tokenizer.decode(targets(examples)).strip() == f"{LONG}<|endoftext|>"
        begin = tokenizer.decode(examples[0].tokens[: examples[0].prompt])
        assert begin.startswith("Be brief.") and "What?" in begin
        assert [e.tokens[-1] == tokenizer.eos_id for e in examples] == [False] * part.added + [True]
        assert [e.tokens for e in examples[1:]] == [e.tokens for e in split[0][1:]]
    assert (part.dropped, part.continued) == (0, 4 * part.added)


def test_only_the_last_answer_of_each_part(phi_tiny: Path) -> None:
    tokenizer = TextTokenizer(phi_tiny)
    part = tokenize([Dialogue("row-1", TURNS)], settings(supervise="last"), tokenizer, 1)
    assert all(len(list(example.answers())) == 1 for example in part.examples)
    assert tokenizer.decode(targets(part.examples[-1:])).strip() == f"{TURNS[-1][1]}<|endoftext|>"


def prepared(file: Path, into: Path, phi_tiny: Path, too_long: str) -> dict[str, float]:
    section = {
        "valid": 2,
        "too_long": too_long,
        "context": 64,
        "renderings": 2,
        "formats": ["phi2"],
        "items": 8,
    }
    params = {"data": "jsonl", "data_file": str(file), "task": "textbook", "prepare": section}
    return prepare(compose(params, ROOT / "conf").prepare, file, TextTokenizer(phi_tiny), into)


@pytest.mark.parametrize("kind", ["text", "answer"])
def test_split_rows_are_counted_and_listed(
    phi_tiny: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "texts.jsonl"
    texts = [f"{n} {LONG if n % 3 else 'is short.'}" for n in range(30)]
    rows = [{"text": t} if kind == "text" else {"question": f"{t[:2]}?", "answer": t} for t in texts]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dropped = prepared(file, tmp_path / "dropped", phi_tiny, "drop")
    printed = capsys.readouterr().err
    counts = prepared(file, tmp_path / "split", phi_tiny, "split")
    assert capsys.readouterr().err.splitlines()[:2] == printed.splitlines()[:2]  # the same rows are listed
    assert f"{file}: longer than prepare.context of 64 tokens: row-" in printed and " more\n" in printed
    assert "split_examples" not in dropped and dropped["skipped_examples"] == 20
    assert counts["split_examples"] == 20 and counts["skipped_examples"] == 0
    assert counts["truncated_examples"] == 0 and counts["longest_example"] == 64
    assert audit.trained(counts) == audit.examined(counts) == 28
    assert counts["end_token_coverage"] == 1 and not list(audit.alarms(counts))
    assert "split: 20 examples are longer than prepare.context of 64 tokens" in left_out(counts, 64)
    examples = read_examples(tmp_path / "split" / "train.parquet")
    assert len(examples) == 2 * counts["train_examples"] == 2 * (28 + counts["split_added"])
    ends = [row["tokens"][-1] == 0 for row in read_table(tmp_path / "split" / "train.parquet")]
    assert ends.count(True) == 2 * 28
    paired = compose({"finetune": {"consistency": 1.0}}, ROOT / "conf").finetune
    for step in plan_steps(examples, paired):
        for first_place, other in zip(step[::2], step[1::2], strict=True):
            both = targets([examples[first_place]]), targets([examples[other]])
            first = 0 if kind == "text" else 2  # two formats differ in the first tokens of an answer
            same = min(map(len, both)) - first
            assert both[0][-same:] == both[1][-same:] and max(map(len, both)) <= same + 2 * first
