"""A dialogue has the same token ids in training, in the chat and as a few-shot prompt of the evaluation."""

from pathlib import Path

import pytest

from steadyphi.cli.conversation import Conversation
from steadyphi.data.prepare import encode_examples
from steadyphi.data.row_formats import Dialogue
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.prompts.instructions import INSTRUCTIONS
from steadyphi.prompts.item import Item
from steadyphi.prompts.variants import Variant, render
from steadyphi.tokenizer import TextTokenizer

TURNS = (("Who has it?", "Ann has it."), ("Where is it?", "In the shed."), ("Why?", "It rains."))


@pytest.mark.parametrize("style", FORMATS.values(), ids=FORMATS)
def test_a_chat_is_read_as_a_dialogue_is_trained_on(phi_tiny: Path, style: Format) -> None:
    tokenizer = TextTokenizer(phi_tiny)
    (example,) = encode_examples(tokenizer, [(style, Dialogue("row-1", TURNS))])
    conversation = Conversation(tokenizer, style)
    for (question, answer), span in zip(TURNS, example.answers(), strict=True):
        prompt, _ = conversation.ask(question, 10_000, 1)
        assert prompt == example.tokens[: span.start]
        answered = [token for token in example.tokens[span.start : span.stop] if token != tokenizer.eos_id]
        assert answered == tokenizer.encode(style.answer(answer))
        conversation.add(question, tokenizer.decode(answered), answered)


@pytest.mark.parametrize("style", FORMATS.values(), ids=FORMATS)
def test_a_few_shot_prompt_is_read_as_a_dialogue_is_trained_on(phi_tiny: Path, style: Format) -> None:
    """The text, and the token ids where no token crosses a seam in running text."""
    tokenizer, instruction = TextTokenizer(phi_tiny), INSTRUCTIONS[0]
    (example,) = encode_examples(tokenizer, [(style, Dialogue("row-1", TURNS, instruction.text))])
    *shots, item = (Item(question, "", question, (answer, "no"), 0) for question, answer in TURNS)
    variant = Variant(style.name, "instruction", style, instruction=instruction, shots=2)
    prompt = render(variant, item, shots, 0).prompt
    read = example.tokens[: list(example.answers())[-1].start]
    assert tokenizer.decode(read) == prompt
    if style.lead == " ":
        assert read == tokenizer.encode(prompt)
