"""The files beside the weights that say how to ask the model: chat template, prompt style, end tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object, write_json, write_text
from steadyphi.tokenizer import TextTokenizer

TOKENIZER_SETTINGS = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
# The keys in tokenizer_config.json; transformers keeps them when it saves the tokenizer.
STYLE = "prompt_style"
FORMAT = "prompt_format"  # the texts of a format that is not built in


@dataclass(frozen=True)
class Chat:
    """A prompt format by name, and the templates that render messages in it.

    template: in Jinja. ollama: in Go's template language. stops: the texts that end an answer.
    texts: the name, template and lead of a format that is not built in.
    """

    style: str
    template: str
    ollama: str = ""
    stops: tuple[str, ...] = ()
    texts: dict[str, str] | None = None


def write(folder: Path, chat: Chat | None, source: Path) -> None:
    """Record a prompt format beside the weights in `folder`, for transformers, vLLM and `steadyphi chat`.

    source: the checkpoint whose tokenizer files are in `folder`. Its files declare the end tokens.
    transformers reads the template from `chat_template.jinja`, older versions and other tools from
    `tokenizer_config.json`. `generation_config.json` gets every end token of the tokenizer, because Phi-1.5's
    own names none and generation would never end. Does nothing without a format or without a tokenizer.
    """
    if chat is None or not (folder / "tokenizer.json").exists():
        return
    tokenizer = TextTokenizer(source)
    ends = list(tokenizer.eos_ids)
    end = tokenizer.decode(ends[:1])
    settings = _read(folder / TOKENIZER_SETTINGS) or {"tokenizer_class": "PreTrainedTokenizerFast"}
    named = {"eos_token": settings.get("eos_token") or end}
    settings = {**settings, **named, STYLE: chat.style, "chat_template": chat.template}
    settings.pop(FORMAT, None)
    if chat.texts:
        settings[FORMAT] = chat.texts
    write_json(folder / TOKENIZER_SETTINGS, settings)
    write_text(folder / TEMPLATE, chat.template)
    path = folder / "generation_config.json"
    eos = {"eos_token_id": ends[0] if len(ends) == 1 else ends}
    write_json(path, {"bos_token_id": ends[0], **_read(path), **eos})


def write_modelfile(folder: Path, weights: str, chat: Chat) -> None:
    """Write `Modelfile`, from which `ollama create` makes a model of the GGUF file `weights` in `folder`.

    The values are between three quotation marks, where Ollama's parser reads any text as it is.
    """
    lines = [f"FROM ./{weights}", f'TEMPLATE """{chat.ollama}"""', "PARAMETER temperature 0"]
    lines += [f'PARAMETER stop """{stop}"""' for stop in chat.stops]
    write_text(folder / "Modelfile", "\n".join(lines) + "\n")


def recorded_style(folder: Path) -> str | None:
    """Return the name of the prompt format that is recorded in a folder, or None.

    Raises SteadyPhiError if the entry is not a name.
    """
    style = _read(folder / TOKENIZER_SETTINGS).get(STYLE)
    if style is not None and not isinstance(style, str):
        raise SteadyPhiError(f"{folder / TOKENIZER_SETTINGS}: {STYLE}: {style!r} is not the name of a style")
    return style


def recorded_format(folder: Path) -> dict[str, Any] | None:
    """Return the texts of the prompt format that is recorded in a folder, if it is not a built-in one."""
    texts = _read(folder / TOKENIZER_SETTINGS).get(FORMAT)
    return texts if isinstance(texts, dict) else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
