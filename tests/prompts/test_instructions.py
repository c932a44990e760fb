"""The wordings: of every tone, and none with a word that would be an answer or a hint."""

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
    # The first few have each tone once.
    assert len({i.tone for i in INSTRUCTIONS[:5]}) == len({i.tone for i in INSTRUCTIONS}) == 5


def test_what_they_say_and_do_not() -> None:
    for one in INSTRUCTIONS:
        said = set(re.findall(r"\w+", one.text.lower()))
        # `question` and `answer` are a pair of the textbook's; no instruction to answer does without.
        assert said & ANSWERS <= {"question", "answer"}, one
        assert "answer" in said and said & {"correct", "correctly"}, one
        # They hold for any place of the question, with and without options, for any kind of answer.
        assert not said & {
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
