"""A dialogue has the same token ids in training, in the chat and as a few-shot prompt of the evaluation."""

from pathlib import Path

import pytest

from steadyphi.cli.conversation import Conversation
from steadyphi.data.encoding import encode_examples
from steadyphi.data.packing import collate
from steadyphi.data.row_formats import Dialogue
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.prompts.instructions import INSTRUCTIONS
from steadyphi.prompts.item import Item
from steadyphi.prompts.own_formats import parsed
from steadyphi.prompts.variants import Variant, render
from steadyphi.tokenizer import TextTokenizer

TURNS = (("Who has it?", "Ann has it."), ("Where is it?", "In the shed."), ("Why?", "It rains."))


TUTOR = parsed({"name": "tutor", "template": "Lesson: {system}\nPupil: {question}\nTutor:", "lead": " "})


@pytest.mark.parametrize("system", ["", "Be brief."])
@pytest.mark.parametrize("style", [*FORMATS.values(), TUTOR], ids=[*FORMATS, "tutor"])
def test_a_chat_is_read_as_a_dialogue_is_trained_on(phi_tiny: Path, style: Format, system: str) -> None:
    tokenizer = TextTokenizer(phi_tiny)
    (example,) = encode_examples(tokenizer, [(style, Dialogue("row-1", TURNS, system))])
    conversation = Conversation(tokenizer, style, system=system)
    for (question, answer), span in zip(TURNS, example.answers(), strict=True):
        prompt, _ = conversation.ask(question, 10_000, 1)
        assert prompt == example.tokens[: span.start]
        answered = [token for token in example.tokens[span.start : span.stop] if token != tokenizer.eos_id]
        assert answered == tokenizer.encode(style.answer(answer))
        conversation.add(question, tokenizer.decode(answered), answered)
    told = conversation.text().removesuffix("\n\n")
    assert told == tokenizer.decode(example.tokens[:-1])


@pytest.mark.parametrize("style", [FORMATS["phi2"], TUTOR], ids=["phi2", "tutor"])
def test_the_system_text_stays_when_the_oldest_turns_are_dropped(phi_tiny: Path, style: Format) -> None:
    tokenizer = TextTokenizer(phi_tiny)
    conversation = Conversation(tokenizer, style, system="Be brief.")
    for question, answer in TURNS:
        conversation.add(question, answer, None)
    whole, dropped = conversation.ask("And now?", 10_000, 4)
    assert dropped == 0
    tokens, dropped = conversation.ask("And now?", len(whole) + 3, 4)
    assert dropped == 1 and tokenizer.decode(tokens).startswith(style.prompt(TURNS[1][0], "Be brief."))


@pytest.mark.parametrize("style", [FORMATS["qa"], TUTOR], ids=["qa", "tutor"])
def test_a_loss_on_the_last_answer_alone(phi_tiny: Path, style: Format) -> None:
    tokenizer = TextTokenizer(phi_tiny)
    (example,) = encode_examples(tokenizer, [(style, Dialogue("row-1", TURNS, "Be brief."))])
    batch, whole = collate([example.last_answer()]), collate([example])
    assert batch.tokens.tolist() == whole.tokens.tolist()
    assert tokenizer.decode(batch.targets.tolist()) == " It rains.<|endoftext|>"
    assert batch.at.tolist() == whole.at.tolist()[-len(batch.at) :]
    (once,) = encode_examples(tokenizer, [(style, Dialogue("row-1", TURNS[:1]))])
    assert once.last_answer() == once
    shorter = example.shortened(len(example.tokens) - 1).last_answer()  # the last turn is left out whole
    assert tokenizer.decode(collate([shorter]).targets.tolist()) == " In the shed.<|endoftext|>"


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
