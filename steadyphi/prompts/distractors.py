"""Sentences that are irrelevant to any question (Shi et al. 2023, arXiv 2302.00093, GSM-IC).

They are of the paper's off-topic kind. They contain no numbers and no names, so they fit any question and
cannot be mistaken for a part of it. The sentences are our own; they share no word with the answers of the
generated textbook.
"""

import re
from collections.abc import Sequence

from steadyphi.errors import SteadyPhiError

SENTENCES = (
    "The weather was mild for most of the week.",
    "People like to talk about music after dinner.",
    "The meeting was moved to another room.",
    "Walking is good for the health.",
    "The carpet came in a heavy parcel.",
    "Many visitors enjoy the view from the balcony.",
    "The neighbours painted their fence in spring.",
    "Some plays are better than others.",
    "The newspaper arrives before breakfast.",
    "It rained a little while everybody was at work.",
)


def sentence(index: int, choices: Sequence[str]) -> str:
    """Return the sentence at `index`, or the next one that contains none of the choices as words.

    The sentence therefore never names an answer. Raises SteadyPhiError if every sentence contains a choice.
    """
    patterns = [re.compile(rf"(?<!\w){re.escape(choice)}(?!\w)", re.IGNORECASE) for choice in choices]
    for candidate in SENTENCES[index:] + SENTENCES[:index]:
        if not any(pattern.search(candidate) for pattern in patterns):
            return candidate
    raise SteadyPhiError(
        f"choices {', '.join(map(repr, choices))}: every irrelevant sentence contains one of them; "
        "leave the family `distractor` out for these items"
    )
