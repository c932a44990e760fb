"""The formats: the exact text of prompt and answer."""

import pytest

from steadyphi.prompts.formats import FORMATS, visible


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("phi2", "Instruct: Q?\nOutput: A"),
        ("phi2-space", "Instruct: Q?\nOutput: A"),
        ("phi2-newline", "Instruct: Q?\nOutput:\nA"),
        ("phi2-tight", "Instruct:Q?\nOutput:A"),
        ("phi15", "Q?\n\nAnswer: A"),
        ("qa", "Q: Q?\nA: A"),
        ("chat", "Alice: Q?\nBob: A"),
        ("bare", "Q? A"),
        ("question-tab", "Question\tQ?\nAnswer\tA"),
    ],
)
def test_prompt_and_answer_together(name: str, whole: str) -> None:
    assert FORMATS[name].prompt("Q?") + FORMATS[name].answer("A") == whole


def test_formats_are_distinct() -> None:
    assert len(FORMATS) >= 24
    assert len({(f.template, f.lead) for f in FORMATS.values()}) == len(FORMATS)
    for name, format_ in FORMATS.items():
        assert format_.name == name and format_.template.count("{question}") == 1
        # White space belongs either to the prompt or to the answer, not to both.
        assert not (format_.template[-1].isspace() and format_.lead)


def test_a_question_with_braces_is_left_alone() -> None:
    assert FORMATS["bare"].prompt("What is {x} in {question}?") == "What is {x} in {question}?"


def test_white_space_made_visible() -> None:
    assert visible("Output:\n\t x") == "Output:⏎⇥␣x"
