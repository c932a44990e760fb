"""The rule for rendering a dialogue in a prompt format, the same in training and in the chat.

The tokens of a turn are those of its prompt, those of its answer, the end token, and those of the separator
before the next turn. Each text is tokenized alone, because a model reads the prompt and writes the answer.
"""

from steadyphi.prompts.formats import Format


def separator(style: Format) -> str:
    """Return the text between the end of an answer and the next question."""
    return "\n\n" if "\n\n" in style.template else "\n"


def opening(system: str, question: str) -> str:
    """Return the first question with the system text before it. The system text may be empty."""
    return f"{system}\n\n{question}" if system else question
