"""Dialogues in a format: turns as in few-shot prompts, and the same as a chat template for other tools."""

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


def chat_template(style: Format) -> str:
    """Return the Jinja template that renders messages in a format, as `apply_chat_template` reads it.

    A single question gives exactly `style.prompt(question)`, and a dialogue gives the few-shot prompt in
    which the earlier turns are the examples (`variants.render`). A system message is placed as `style.system`
    says. An answer's own white space is left out, because models write the space of the lead themselves.
    """
    before, _, after = style.template.partition("{question}")
    opening, _, closing = style.system.partition("{system}")
    texts = {"SEPARATOR": SEPARATOR, "BEFORE": before, "AFTER": after, "LEAD": style.lead}
    texts |= {"OPENING": opening, "CLOSING": closing}
    return re.sub("|".join(texts), lambda match: json.dumps(texts[match[0]]), _TEMPLATE)
