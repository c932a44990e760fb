"""Open answers: SQuAD's normalization, numbers in the form of GSM8K, and the end of an answer."""

import json
import re
import string
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.data import textbook
from steadyphi.evaluation.matching import exact_match, final_number, first_answer, normalize, number
from steadyphi.prompts.formats import FORMATS

SMALL = settings(max_examples=60, deadline=None)


def squad(s: str) -> str:
    """`normalize_answer` of SQuAD's evaluate-v1.1.py, with its nested functions."""

    def remove_articles(text: str) -> str:
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return " ".join(remove_articles(remove_punc(s.lower())).split())


@SMALL
@given(st.text(st.sampled_from("aAnNtThHeE .,'-\n\t3é“İΣ"), max_size=30))
def test_normalize_is_squads_and_is_done_once(text: str) -> None:
    assert normalize(text) == squad(text)
    assert normalize(normalize(text)) == normalize(text)
    assert exact_match(text.replace("\n", " "), text.replace("\n", " "))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Eiffel Tower.", "eiffel tower"),
        ("a kite", "kite"),
        ("An apple, a pear", "apple pear"),
        ("theatre", "theatre"),
        ("it's", "its"),
        ("7, 3, 5", "7 3 5"),
    ],
)
def test_normalize(text: str, plain: str) -> None:
    assert normalize(text) == plain


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ("She has 3 and 4, so 7.", "7"),
        ("9 * 2 = $<<9*2=18>>18 every day.\n#### 18", "18"),
        ("#### 1,250 dollars, not 3", "1250"),
        ("#### 5\nThen 9 more.", "5"),
        ("#### 5\nAnother sum.\n#### 6", "5"),
        ("#### none, but 4 before it", "4"),
        ("It costs $1,250.00.", "1250"),
        ("7, 3, 5", "5"),
        ("12,34", "34"),  # not a thousands separator
        ("1,2345", "2345"),
        ("1,234,567.50 in all", "1234567.5"),
        ("so -3", "-3"),
        ("= -$3", "-3"),
        ("it is −4", "-4"),
        ("5-3", "3"),  # a difference, not minus three
        ("007", "7"),
        ("-0.0", "0"),
        (".5", "0.5"),
        ("1000000000000000000000000000001", "1000000000000000000000000000001"),
        ("3.14.", "3.14"),
        ("none at all", None),
        ("", None),
        ("٣", None),  # a digit to \d
    ],
)
def test_final_number(text: str, final: str | None) -> None:
    assert final_number(text) == final


NUMBERS = st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=2)


@SMALL
@given(NUMBERS, st.sampled_from(["{}", "{} ", "The answer is {}.", "12 + 7 gives {}", "#### {}"]))
def test_a_number_is_found_however_it_is_written(value: Decimal, sentence: str) -> None:
    spellings = (f"{value}", f"{value:,}", f"{value}0", f"${value:,}" if value >= 0 else f"-${-value:,}")
    read = {final_number(sentence.format(spelling)) for spelling in spellings}
    assert len(read) == 1
    assert Decimal(str(read.pop())) == value
    assert all(number(spelling) == number(str(value)) is not None for spelling in spellings)
    assert all(exact_match(sentence.format(spelling), str(value)) for spelling in spellings)
    assert not exact_match(sentence.format(value + 1), str(value))


@pytest.mark.parametrize("text", ["72 apples", "7, 3, 5", "1/2", "x3", "", "5-3", "1,23", "12:30"])
def test_what_is_not_just_a_number(text: str) -> None:
    assert number(text) is None


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        (" carrot", "carrot", True),
        ("\n\nThe carrot.\nIt is a vegetable.", "carrot", True),
        ("It is the carrot.", "carrot", False),
        ("carrot<|endoftext|>horse", "carrot", True),
        ("carrot\n\nQuestion: Which is a metal?\nAnswer: tin", "carrot", True),
        ("", "carrot", False),
        ("68", "68", True),
        (" 68.\n\nWhat is 2 plus 2? 4", "68", True),
        ("68\nWhat is 2 plus 2? 4", "68", True),  # a first line that is just a number is the answer
        ("The sum is 68.\nExercise 2: What is 2 plus 2?\nAnswer: 4", "68", True),
        ("First 60.\nThen 8 more.\nSo 68", "68", True),
        ("First 60.\n\nThen 8 more.\n#### 68", "68", True),  # with a marker, all paragraphs count
        ("First 60.\n\nThen 68 more.", "68", False),
        ("68.0", "68", True),
        ("$68", "68", True),
        ("68%", "68", True),
        ("168", "68", False),
        ("sixty-eight", "68", False),
        ("7 3 5", "7, 3, 5", True),
        ("7, 5, 3", "7, 3, 5", False),
        ("the", "the", True),  # all of it is an article
        ("", "the", False),
        ("kite", "the", False),
        ("one\ntwo\nthree", "one\ntwo", True),
        ("one", "one\ntwo", False),
    ],
)
def test_exact_match(text: str, answer: str, right: bool) -> None:
    assert exact_match(text, answer) is right


@pytest.mark.parametrize("name", FORMATS)
def test_the_next_exercise_is_cut_off(name: str) -> None:
    """Each format has its own heading of a question. `bare` and the first sentence of alpaca have none."""
    prompt = FORMATS[name].prompt("How many?")
    text = first_answer(f" carrot\n\n{prompt}{FORMATS[name].answer('1')}")
    has_heading = not name.startswith(("bare", "phi15", "alpaca"))
    assert (text == "carrot") is has_heading, text
    assert text.split("\n")[0] == "carrot"


def test_a_sentence_that_begins_like_a_head_stays() -> None:
    assert first_answer("It is so.\nInput matters; question it.") == "It is so.\nInput matters; question it."


def test_textbook_answers_match_themselves_alone() -> None:
    """No wrong choice counts as right: the choices are still different after normalization."""
    for question in textbook.questions("evaluate", 3, 300):
        for choice in question.choices:
            for text in (f" {choice}", f"{choice.capitalize()}.\n\nQuestion: What is 1 plus 1?\nAnswer: 2"):
                assert exact_match(text, question.answer) is (choice == question.answer), (choice, question)


def test_gsm8k_solutions_give_their_answers(shared: Path) -> None:
    """Compared with another method: the text after the marker, parsed by Python's Decimal."""
    lines = (shared / "data/gsm8k/test.jsonl").read_text().splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    for solution, other in zip(answers, answers[1:] + answers[:1], strict=True):
        right, wrong = (a.split("#### ")[1] for a in (solution, other))
        assert Decimal(str(final_number(solution))) == Decimal(right.replace(",", ""))
        assert exact_match(solution, right)
        same = Decimal(right.replace(",", "")) == Decimal(wrong.replace(",", ""))
        assert exact_match(other, right) is same
