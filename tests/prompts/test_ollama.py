"""Ollama's template in Go's language gives the prompts of the evaluation in every format."""

import pytest

from steadyphi.prompts.dialogue import ollama_template
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.prompts.instructions import INSTRUCTIONS
from steadyphi.prompts.variants import Variant, render
from tests.prompts import go_template
from tests.prompts.test_dialogue import ITEM, SHOTS

STYLES = [*FORMATS.values(), Format("quoted", '"{question}" {{ end }} \\ Größe\t:', "  ")]


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
@pytest.mark.parametrize("space", [True, False])
def test_prompts_of_evaluation(style: Format, space: bool) -> None:
    """An answer may come back with the lead with which the model wrote it, or without."""
    template = ollama_template(style)
    for count in range(len(SHOTS) + 1):
        turns = [
            message
            for shot in SHOTS[:count]
            for message in (
                {"role": "user", "content": shot.question},
                {"role": "assistant", "content": style.lead * space + shot.choices[shot.answer]},
            )
        ]
        messages = [*turns, {"role": "user", "content": ITEM.question}]
        plain = Variant(style.name, "format", style, shots=count)
        assert go_template.render(template, messages) == render(plain, ITEM, SHOTS, 0).prompt
        told = Variant(style.name, "instruction", style, instruction=INSTRUCTIONS[0], shots=count)
        system = {"role": "system", "content": INSTRUCTIONS[0].text}
        assert go_template.render(template, [system, *messages]) == render(told, ITEM, SHOTS, 0).prompt


def test_the_interpreter() -> None:
    """It renders the example of ollama/ollama docs/template.md that has no `-`, and merges as Ollama does."""
    example = (
        '{{ range $i, $_ := .Messages }}{{ if eq .Role "user" }}<|im_start|>{{ else }}[{{ $i }}]{{ end }}'
        "{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant"
    )
    messages = [{"role": role, "content": role[0]} for role in ("system", "user", "user", "assistant")]
    expected = "[0]s<|im_end|>\n<|im_start|>u\n\nu<|im_end|>\n[2]a<|im_end|>\n<|im_start|>assistant"
    assert go_template.render(example, messages) == expected
