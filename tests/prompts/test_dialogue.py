"""The chat template: rendered by transformers, it gives the token ids of evaluation's prompts."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest

from steadyphi.prompts.dialogue import chat_template, ollama_template
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.prompts.instructions import INSTRUCTIONS
from steadyphi.prompts.item import Item
from steadyphi.prompts.own_formats import parsed
from steadyphi.prompts.variants import Variant, render
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT

ITEM = Item("one", "facts", "  Wer hat 'x' < 3 {question}?\n\nSay: \"AFTER\\n\" \t", ("red", "blue"), 1)
SHOTS = [
    Item("s1", "facts", "Which colour has grass?", ("green", "pink"), 0),
    Item("s2", "facts", "Is {{ 7 * 7 }} {% if %} a number?\n", ("Größe 3", "no\n\nbut"), 0),
    Item("s3", "facts", "Which\ncolour has coal?", ("black", "white"), 1),
]


@pytest.fixture(scope="module", params=["phi-tiny", "phi-2", "phi-1_5"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer of a Phi and nothing else."""
    if request.param == "phi-tiny":
        source = ROOT / "assets" / "phi-tiny"
    else:
        source = request.getfixturevalue("shared") / "hub" / request.param
        if not (source / "tokenizer.json").is_file():
            pytest.skip(f"needs {source}, which this clone does not have")
    path = tmp_path_factory.mktemp(request.param)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, path / name)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(folder)


def theirs(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    ids = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    return list(ids)


def dialogue(shots: list[Item], item: Item) -> list[dict[str, str]]:
    turns = [
        message
        for shot in shots
        for message in (
            {"role": "user", "content": shot.question},
            # A model writes the space of the lead itself, and clients send its answer back as it is.
            {"role": "assistant", "content": f" {shot.choices[shot.answer]}\n"},
        )
    ]
    return [*turns, {"role": "user", "content": item.question}]


@pytest.mark.parametrize("style", FORMATS.values(), ids=FORMATS)
def test_token_ids_of_evaluation(folder: Path, tokenizer: Any, style: Format) -> None:
    ours = TextTokenizer(folder)
    tokenizer.chat_template = chat_template(style)
    for count in range(len(SHOTS) + 1):
        variant = Variant(style.name, "format", style, shots=count)
        prompt = render(variant, ITEM, SHOTS, 0).prompt
        messages = dialogue(SHOTS[:count], ITEM)
        assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == prompt
        assert theirs(tokenizer, messages) == ours.encode_batch([prompt])[0]
        told = Variant(style.name, "instruction", style, instruction=INSTRUCTIONS[0], shots=count)
        system = {"role": "system", "content": INSTRUCTIONS[0].text}
        assert theirs(tokenizer, [system, *messages]) == ours.encode(render(told, ITEM, SHOTS, 0).prompt)


TUTOR = parsed({"name": "tutor", "template": "Lesson: {system}\nPupil: {question}\nTutor:", "lead": " "})


@pytest.mark.parametrize("style", [*FORMATS.values(), TUTOR], ids=[*FORMATS, "tutor"])
def test_token_ids_with_a_system_text(folder: Path, tokenizer: Any, style: Format) -> None:
    """The format places the system text, in evaluation as in the template."""
    tokenizer.chat_template = chat_template(style)
    told = replace(ITEM, system='Be {brief}.\nNo "jokes".')
    for count in range(len(SHOTS)):
        variant = Variant(style.name, "format", style, shots=count)
        prompt = render(variant, told, SHOTS, 0).prompt
        assert prompt.count(told.system) == 1
        messages = [{"role": "system", "content": told.system}, *dialogue(SHOTS[:count], ITEM)]
        assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == prompt
        assert theirs(tokenizer, messages) == TextTokenizer(folder).encode(prompt)


def rendered(style: str, *roles: str, prompt: bool = True) -> str:
    def refuse(message: str) -> None:
        raise ValueError(message)

    messages = [{"role": role, "content": f"<{role}>"} for role in roles]
    template = jinja2.Template(chat_template(FORMATS[style]))
    return template.render(messages=messages, add_generation_prompt=prompt, raise_exception=refuse)


def test_without_a_generation_prompt() -> None:
    assert rendered("phi2", "user", prompt=False) == "Instruct: <user>"
    assert rendered("phi2", "user", "assistant", prompt=False) == "Instruct: <user>\nOutput: <assistant>"
    assert rendered("phi2-space", "user", "assistant") == "Instruct: <user>\nOutput: <assistant>"
    assert rendered("bare", "system", "user", "user") == "<system>\n\n<user>\n\n<user>"


@pytest.mark.parametrize("roles", [("assistant",), ("user", "assistant", "assistant"), ("user", "tool")])
def test_roles_that_the_format_cannot_show(roles: tuple[str, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"should follow a user message|roles are system, user and assistant"
    ):
        rendered("phi2", *roles)


def test_letters_that_json_writes_as_two_escapes() -> None:
    """Jinja would make two letters of them, which no tokenizer reads, and Go refuses such a literal."""
    style = Format("smile", "\U0001f600 Größe: {question}\nA:", " ")
    template = jinja2.Template(chat_template(style))
    messages = [{"role": "user", "content": "why?"}]
    assert template.render(messages=messages, add_generation_prompt=True) == style.prompt("why?")
    assert "\\ud" not in ollama_template(style)
