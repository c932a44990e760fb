"""The prompt format that is exported with a fine-tuned model, and its templates for other tools."""

from steadyphi.checkpoint.chat_files import Chat
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import own_formats
from steadyphi.prompts.dialogue import chat_template, ollama_template, stops
from steadyphi.prompts.formats import DEFAULT, FORMATS, Format
from steadyphi.results.stored import Evaluation


def measured_style(tuned: Evaluation | None) -> str:
    """Return the format that an evaluation recommends, else its default; without evaluation, Phi-2's."""
    if tuned is None:
        return DEFAULT
    result = tuned.result
    style = result.recommendation.variant if result.recommendation else result.default
    if style not in FORMATS:
        raise SteadyPhiError(f"the evaluation recommends the unknown format {style!r}; give --style")
    return style


def chat_of(style: Format) -> Chat:
    """Return a prompt format with the templates that other tools use."""
    templates = chat_template(style), ollama_template(style)
    return Chat(style.name, *templates, stops(style), own_formats.written(style))
