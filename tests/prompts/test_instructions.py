"""The wordings: every tone occurs, and no word is an answer or a hint."""

import re

from steadyphi.data import textbook_words
from steadyphi.prompts.instructions import INSTRUCTIONS

ANSWERS = {
    *(w for group in textbook_words.CATEGORIES.values() for w in group),
    *(w for pair in textbook_words.OPPOSITES for w in pair),
    *textbook_words.NOUNS,
    *textbook_words.THINGS,
    *textbook_words.PLACES,
    *(w.lower() for w in textbook_words.NAMES),
}


def test_names_and_tones() -> None:
    assert len(INSTRUCTIONS) >= 12
    assert [i.name for i in INSTRUCTIONS[:6]] == [
        *("plain-1", "polite-1", "persona-1", "urgent-1", "terse-1", "plain-2")
    ]
    assert len({i.name for i in INSTRUCTIONS}) == len({i.text for i in INSTRUCTIONS}) == len(INSTRUCTIONS)
    # The first five have each tone once.
    assert len({i.tone for i in INSTRUCTIONS[:5]}) == len({i.tone for i in INSTRUCTIONS}) == 5


def test_what_they_say_and_do_not() -> None:
    for instruction in INSTRUCTIONS:
        words = set(re.findall(r"\w+", instruction.text.lower()))
        # `question` and `answer` are opposites in the textbook; every instruction to answer needs them.
        assert words & ANSWERS <= {"question", "answer"}, instruction
        assert "answer" in words and words & {"correct", "correctly"}, instruction
        # They fit any position of the question, with and without options, and any kind of answer.
        assert not words & {
            "following",
            "below",
            "above",
            "options",
            "choose",
            "choice",
            "letter",
            "word",
            "number",
        }
