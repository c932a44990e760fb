"""A question with its choices."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """One evaluation question with its choices; `answer` is the index of the right one.

    system: the system text of the question, which the prompt format places; it may be empty.
    """

    id: str
    skill: str
    question: str
    choices: tuple[str, ...]
    answer: int
    system: str = ""
