"""The part of Go's text/template that our Modelfile uses, and the rules by which Ollama reads a Modelfile."""

import json
import re
from typing import Any

# https://pkg.go.dev/text/template: actions, string literals, fields, variables, `eq`, `ne`, `printf "%.Ns"`.
_ACTION = re.compile(r'\{\{ ((?:"(?:[^"\\]|\\.)*"|[^"}])*) \}\}')
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\(|\)|[^\s()]+')


def render(template: str, messages: list[dict[str, str]]) -> str:
    """Return what Ollama renders: messages of the same role are merged first, as its `collate` does."""
    parts = _ACTION.split(template)  # text, action, text, action, …
    collated: list[dict[str, str]] = []
    for message in messages:
        if collated and collated[-1]["role"] == message["role"]:
            collated[-1]["content"] += "\n\n" + message["content"]
        else:
            collated.append(dict(message))
    root = {"Messages": [{"Role": m["role"], "Content": m["content"]} for m in collated]}
    text, end = _block(parts, 0, root, {})
    assert end == len(parts), "an `end` too many"
    return text


def _block(
    parts: list[str], at: int, dot: Any, variables: dict[str, Any], run: bool = True
) -> tuple[str, int]:
    """Render from `at` to the matching `else` or `end`; return the text and where that is."""
    text = ""
    while True:
        text += parts[at] if run else ""
        at += 1
        if at == len(parts):
            return text, at
        action = parts[at]
        if action in ("else", "end"):
            return text, at
        if action.startswith("range "):
            names, _, field = action.removeprefix("range ").partition(" := ")
            index = names.split(",")[0]
            for number, item in enumerate(_value(field, dot, variables) if run else []):
                text += _block(parts, at + 1, item, {**variables, index: number})[0]
            _, at = _block(parts, at + 1, dot, variables, run=False)
        elif action.startswith("if "):
            true = run and bool(_value(action.removeprefix("if "), dot, variables))
            block, at = _block(parts, at + 1, dot, variables, true)
            other = ""
            if parts[at] == "else":
                other, at = _block(parts, at + 1, dot, variables, run and not true)
            text += block + other
        elif run:
            text += str(_value(action, dot, variables))
        at += 1


def _value(expression: str, dot: Any, variables: dict[str, Any]) -> Any:
    values: list[list[Any]] = [[]]
    for word in _WORD.findall(expression):
        if word == "(":
            values.append([])
        elif word == ")":
            inner = _call(values.pop())
            values[-1].append(inner)
        elif word.startswith('"'):
            values[-1].append(json.loads(word))
        elif word.startswith("$"):
            values[-1].append(variables[word])
        elif word.startswith("."):
            values[-1].append(dot[word[1:]])
        else:
            values[-1].append({"eq": str.__eq__, "ne": str.__ne__, "printf": _printf}[word])
    return _call(values[0])


def _call(words: list[Any]) -> Any:
    return words[0](*words[1:]) if callable(words[0]) else words[0]


def _printf(form: str, value: str) -> str:
    digits = re.fullmatch(r"%\.(\d+)s", form)
    assert digits, form
    return value[: int(digits[1])]


def parse_modelfile(text: str) -> list[tuple[str, str]]:
    """Return the commands of a Modelfile with their values, by the rules of ollama/ollama parser/parser.go.

    A value that begins with three quotation marks, or with one, goes on until the same comes again.
    """
    commands = []
    while text.strip():
        name, _, text = text.lstrip().partition(" ")
        if name == "PARAMETER":
            key, _, text = text.partition(" ")
            name = key
        quotes = next((q for q in ('"""', '"') if text.startswith(q)), "")
        value, _, text = text[len(quotes) :].partition(quotes or "\n")
        commands.append((name, value))
    return commands
