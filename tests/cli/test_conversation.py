"""The turns as the model reads them, dropped turns in a full context, and tokens that are not read twice."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from steadyphi.cli.conversation import Conversation, Session
from steadyphi.errors import SteadyPhiError
from steadyphi.inference import cache
from steadyphi.inference.generate import Options, generate
from steadyphi.inference.load import load_model
from steadyphi.prompts.dialogue import stops
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.prompts.item import Item
from steadyphi.prompts.variants import Variant, render
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT

TINY = ROOT / "assets" / "phi-tiny"
TOKENIZER = TextTokenizer(TINY)


def talk(style: str = "phi2") -> Conversation:
    conversation = Conversation(TOKENIZER, FORMATS[style])
    conversation.add("Who?", " Ann\n", TOKENIZER.encode(" Ann\n"))
    conversation.add("What?", " a ship", TOKENIZER.encode(" a ship"))
    return conversation


@pytest.mark.parametrize(
    ("style", "whole"),
    [
        ("phi2", "Instruct: Who?\nOutput: Ann\n\nInstruct: What?\nOutput: a ship\n\nInstruct: Why?\nOutput:"),
        ("chat", "Alice: Who?\nBob: Ann\n\nAlice: What?\nBob: a ship\n\nAlice: Why?\nBob:"),
        ("phi15", "Who?\n\nAnswer: Ann\n\nWhat?\n\nAnswer: a ship\n\nWhy?\n\nAnswer:"),
        (
            "phi2-newline",
            "Instruct: Who?\nOutput:\n Ann\n\nInstruct: What?\nOutput:\n a ship\n\nInstruct: Why?\nOutput:\n",
        ),
    ],
)
def test_turns_in_a_style(style: str, whole: str) -> None:
    conversation = talk(style)
    tokens, dropped = conversation.ask("Why?", 512, 100)
    assert TOKENIZER.decode(tokens) == whole and dropped == 0
    assert whole.startswith(conversation.text())


@pytest.mark.parametrize("style", FORMATS.values(), ids=FORMATS)
def test_the_text_is_that_of_a_few_shot_prompt_and_of_the_chat_template(style: Format) -> None:
    """And the tokens, where none of them crosses a seam in running text."""
    conversation = Conversation(TOKENIZER, style)
    shots = [Item("1", "", "Who?", ("Ann", "Tom"), 0), Item("2", "", "What?", ("ship", "box"), 1)]
    for shot in shots:
        answer = style.answer(shot.choices[shot.answer])
        conversation.add(shot.question, answer, TOKENIZER.encode(answer))
    tokens, _ = conversation.ask("Why?", 512, 10)
    variant = Variant(style.name, "format", style, shots=2)
    prompt = render(variant, Item("3", "", "Why?", ("a", "b"), 0), shots, 0).prompt
    assert TOKENIZER.decode(tokens) == prompt
    if style.lead == " ":
        assert tokens == TOKENIZER.encode(prompt)


def test_another_style_rewrites_the_history() -> None:
    conversation = talk("phi2")
    conversation.change_style(FORMATS["question-newline"])
    tokens, _ = conversation.ask("Why?", 512, 100)
    written = (
        "Question:\nWho?\nAnswer:\nAnn\n\nQuestion:\nWhat?\nAnswer:\na ship\n\nQuestion:\nWhy?\nAnswer:\n"
    )
    assert TOKENIZER.decode(tokens) == written
    conversation.change_style(FORMATS["phi2"])
    assert conversation.text() == "Instruct: Who?\nOutput: Ann\n\nInstruct: What?\nOutput: a ship\n\n"


def test_old_turns_are_dropped_whole_and_no_more_than_needed() -> None:
    whole, _ = talk().ask("Why?", 512, 100)
    assert talk().ask("Why?", len(whole) + 100, 100) == (whole, 0)
    conversation = talk()
    tokens, dropped = conversation.ask("Why?", len(whole) + 99, 100)
    assert dropped == 1 and [turn.question for turn in conversation.turns] == ["What?"]
    assert TOKENIZER.decode(tokens) == "Instruct: What?\nOutput: a ship\n\nInstruct: Why?\nOutput:"
    alone = TOKENIZER.encode("Instruct: Why?\nOutput:")
    assert talk().ask("Why?", len(alone) + 1, 100) == (alone, 2)  # the answer will be cut
    conversation = talk()
    with pytest.raises(SteadyPhiError, match=rf"the message is {len(alone)} tokens"):
        conversation.ask("Why?", len(alone), 100)
    assert len(conversation.turns) == 2


def test_an_answer_s_tokens_are_kept_as_they_came() -> None:
    odd = [t for letter in " ship" for t in TOKENIZER.encode(letter)]
    assert odd != TOKENIZER.encode(" ship")
    conversation = Conversation(TOKENIZER)
    conversation.add("Who?", " ship", odd)
    tokens, _ = conversation.ask("Why?", 512, 10)
    start = len(TOKENIZER.encode("Instruct: Who?\nOutput:"))
    assert tokens[start : start + len(odd)] == odd
    conversation.add("Who?", " shi", odd)  # cut within a token, as at a stop string
    assert conversation.turns[-1].tokens is None


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("phi2", ("\nInstruct:",)),
        ("chat", ("\nAlice:",)),
        ("qa", ("\nQ:",)),
        ("alpaca", ("\n### Instruction:",)),
        ("phi15", ("\nAnswer:",)),
        ("question-tab", ("\nQuestion",)),
        ("bare", ()),
        ("bare-newline", ()),
        ("bare-arrow", ()),
    ],
)
def test_where_the_model_would_ask_itself(style: str, expected: tuple[str, ...]) -> None:
    assert stops(FORMATS[style]) == expected


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(load_model(TINY, None, torch.float32), TOKENIZER)


def ignore(index: int, text: str) -> None:
    pass


def count_reads(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of tokens of each forward pass."""
    reads: list[int] = []
    run: Callable[..., torch.Tensor] = cache.Cache._run

    def counted(self: cache.Cache, tokens: torch.Tensor, *rest: object) -> torch.Tensor:
        reads.append(len(tokens))
        return run(self, tokens, *rest)

    monkeypatch.setattr(cache.Cache, "_run", counted)
    return reads


def test_a_session_answers_as_generate_and_reads_only_what_is_new(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation, options = Conversation(TOKENIZER), Options(max_new_tokens=30, stop=("\nInstruct:",))
    reads = count_reads(session, monkeypatch)
    known = 0
    for question in ("What is a lighthouse?", "Who has the red box?", "Why?"):
        prompt, _ = conversation.ask(question, 512, 30)
        expected = generate(session.model, TOKENIZER, [prompt], options)[0]
        reads.clear()
        result = session.answer(prompt, options, ignore)
        assert (result.tokens, result.text, result.reason) == (
            expected.tokens,
            expected.text,
            expected.reason,
        )
        assert reads[0] <= len(prompt) - known and set(reads[1:]) <= {1}
        known = len(prompt)
        conversation.add(question, result.text, result.tokens)


def test_after_an_interrupt_and_with_another_beginning_all_is_read_anew(session: Session) -> None:
    first, second = (TOKENIZER.encode(text) for text in ("The old ship is", "The old house is in"))
    options = Options(max_new_tokens=10)

    def stop(index: int, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.answer(first, options, stop)
    for prompt in (first, second, first, first):
        expected = generate(session.model, TOKENIZER, [prompt], options)[0]
        assert session.answer(prompt, options, ignore).tokens == expected.tokens


def test_a_session_fills_the_context(session: Session, phi_tiny: Path) -> None:
    prompt = (TOKENIZER.encode("The old ship is ") * 200)[:508]
    result = session.answer(prompt, Options(max_new_tokens=30, ignore_eos=True), ignore)
    assert (result.reason, len(result.tokens)) == ("context", 4)
    assert session.answer(prompt[:300], Options(max_new_tokens=3, ignore_eos=True), ignore).reason == "length"
