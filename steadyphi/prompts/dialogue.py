"""Dialogues in a format: turns as in few-shot prompts, and the same as templates for other tools."""

import json
import re

from steadyphi.prompts.formats import Format

SEPARATOR = "\n\n"  # between each turn and the next question

_TEMPLATE = """\
{%- for message in messages -%}
    {%- if message['role'] == 'assistant' -%}
        {%- if loop.first or messages[loop.index0 - 1]['role'] != 'user' -%}
            {{ raise_exception('an assistant message should follow a user message') }}
        {%- endif -%}
        {{ AFTER + LEAD }}{{ message['content'] | trim }}
    {%- else -%}
        {%- if not loop.first and messages[loop.index0 - 1]['role'] != 'system' -%}
            {{ SEPARATOR }}
        {%- endif -%}
        {%- if message['role'] == 'user' -%}
            {{ BEFORE }}{{ message['content'] }}
        {%- elif message['role'] == 'system' -%}
            {%- if message['content'] -%}
                {{ OPENING }}{{ message['content'] }}{{ CLOSING }}
            {%- endif -%}
        {%- else -%}
            {{ raise_exception('the roles are system, user and assistant') }}
        {%- endif -%}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and messages[messages | length - 1]['role'] == 'user' -%}
    {{ AFTER }}
{%- endif -%}"""

# All text is within string literals, so that the template has no white space of its own.
_OLLAMA = (
    "{{ range $i, $_ := .Messages }}"
    '{{ if eq .Role "assistant" }}ANSWER{{ .Content }}{{ SEPARATOR }}'
    '{{ else }}{{ if eq .Role "user" }}{{ BEFORE }}{{ .Content }}{{ AFTER }}'
    "{{ else }}{{ OPENING }}{{ .Content }}{{ CLOSING }}{{ end }}{{ end }}{{ end }}"
)
_OLLAMA_LEAD = '{{ if ne (printf "%.LENGTHs" .Content) LEAD }}{{ LEAD }}{{ end }}'


def chat_template(style: Format) -> str:
    """Return the Jinja template that renders messages in a format, as `apply_chat_template` reads it.

    A single question gives exactly `style.prompt(question)`, and a dialogue gives the few-shot prompt in
    which the earlier turns are the examples (`variants.render`). A system message is placed as `style.system`
    says. An answer's own white space is left out, because models write the space of the lead themselves.
    """
    return _filled(_TEMPLATE, style)


def ollama_template(style: Format) -> str:
    """Return the same as a template in Go's language, for Ollama (docs/template.md in ollama/ollama).

    Ollama's templates cannot trim. So an answer keeps its white space, and gets the lead only if it does not
    begin with it.
    """
    lead = _OLLAMA_LEAD.replace("LENGTH", str(len(style.lead))) if style.lead else ""
    return _filled(_OLLAMA.replace("ANSWER", lead), style)


def stops(style: Format) -> tuple[str, ...]:
    """Return the stop strings, with which the model would begin the next question itself."""
    before, _, after = style.template.partition("{question}")
    lead_in = before.rstrip().splitlines() or after.strip().splitlines()
    return (f"\n{lead_in[-1].strip()}",) if lead_in and re.search(r"\w{2}|\w:", lead_in[-1]) else ()


def _filled(template: str, style: Format) -> str:
    """Return a template with the texts of a format as string literals, which Jinja and Go write alike."""
    before, _, after = style.template.partition("{question}")
    opening, _, closing = style.system.partition("{system}")
    texts = {"SEPARATOR": SEPARATOR, "BEFORE": before, "AFTER": after, "LEAD": style.lead}
    texts |= {"OPENING": opening, "CLOSING": closing}
    # Letters beyond ASCII as they are, because JSON writes an emoji as two escapes, two letters there.
    literals = {name: json.dumps(text, ensure_ascii=False) for name, text in texts.items()}
    return re.sub("|".join(texts), lambda match: literals[match[0]], template)
