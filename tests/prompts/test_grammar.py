"""The grammar of formats: texts and counts worked out by hand, uniform draws, atoms of the named formats."""

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import grammar
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.prompts.grammar import GrammarFormat, OptionStyle


@pytest.mark.parametrize(
    ("atoms", "prompt", "lead"),
    [
        (("question", "title", "colon", "newline", "nothing"), "Question: Q?\nAnswer:", " "),
        (("question", "title", "colon", "newline", "space"), "Question: Q?\nAnswer: ", ""),
        (("question", "title", "colon", "newline", "newline"), "Question: Q?\nAnswer:\n", ""),
        (("q", "lower", "dash", "pipes", "nothing"), "q - Q? || a -", " "),
        (("input", "upper", "newline_tab", "semicolon", "nothing"), "INPUT\n\tQ?; \nOUTPUT", "\n\t"),
        (("input", "upper", "newline_tab", "semicolon", "space"), "INPUT\n\tQ?; \nOUTPUT\n\t", ""),
        (("instruct", "title", "colon_tight", "sep", "nothing"), "Instruct:Q? <sep> Output:", ""),
        (("answer", "title", "colon", "empty_line", "nothing"), "Q?\n\nAnswer:", " "),
        (("none", "none", "none", "none", "nothing"), "Q?", " "),
        (("none", "none", "none", "none", "newline"), "Q?\n", ""),
    ],
)
def test_composed_by_hand(atoms: tuple[str, str, str, str, grammar.Ending], prompt: str, lead: str) -> None:
    format_ = GrammarFormat(*atoms).format
    assert (format_.prompt("Q?"), format_.lead) == (prompt, lead)


def test_the_atoms_are_those_published() -> None:
    """The lists in grammar_definition.py of msclar/formatspread, commit 5b48ba2.

    Without '' as a separator or gap, which their checks reject between fields that contain text.
    """
    separators = [
        "::: ",
        ":: ",
        ": ",
        " \n\t",
        "\n    ",
        " : ",
        " - ",
        " ",
        "\n ",
        "\n\t",
        ":",
        "::",
        "- ",
        "\t",
    ]
    spaces = [
        " ",
        "\n",
        " \n",
        " -- ",
        "  ",
        "; \n",
        " || ",
        " <sep> ",
        ", ",
        " \n ",
        " , ",
        "\n ",
        ". ",
        " ,  ",
    ]
    assert sorted(grammar.SEPARATORS.values()) == sorted(separators)
    assert sorted(grammar.GAPS.values()) == sorted(spaces)
    assert {wrapper.format("x") for wrapper in grammar.WRAPPERS} == {"(x)", "x.", "x)", "x )", "[x]", "<x>"}
    thirds = {symbols[2] for symbols in grammar.ENUMERATIONS.values()}
    assert thirds == {"3", "C", "c", "iii", "III", chr(0x2162)}


def test_a_newline_in_the_separator_asks_for_one_between_fields() -> None:
    def valid(separator: str, gap: str, ending: grammar.Ending = "nothing") -> bool:
        return GrammarFormat("q", "title", separator, gap, ending).valid

    assert valid("newline_tab", "newline") and valid("newline_tab", "semicolon")
    assert not valid("newline_tab", "space") and not valid("space_newline_tab", "pipes")
    assert valid("colon", "space") and not valid("colon", "space", "newline")


def test_counted_by_hand() -> None:
    """4 of the 14 separators and 6 of the 15 gaps contain a newline.

    So 10 * 15 + 4 * 6 = 174 pairs are valid, and 14 * 6 = 84 if the prompt ends with a newline. `:` and `::`
    have no white space, so the endings "space" and "nothing" give the same 2 * 15 = 30 texts. One casing of
    one pair of descriptors gives 174 + (174 - 30) + 84 = 402 formats. There are 3 + 2 + 3 + 3 such casings,
    because Q is the same in title case and in capitals.
    Without a descriptor of the question, only the separator after the answer's descriptor shows, and before
    a final newline only its part that is not white space: `:`, ` :`, `::`, `:::`, ` -`, `-` and nothing. So
    there are 174 + 144 + 7 * 6 = 360 formats in 3 casings. Without any descriptor there are the 3 endings.
    """
    assert grammar.count_formats(False) == 11 * 402 + 3 * 360 + 3 == 5505
    # 6 wrappers, 6 enumerations, 14 gaps, answers as text or label
    assert grammar.count_formats(True) == 5505 * 6 * 6 * 14 * 2


def test_every_format_once() -> None:
    """Drawing as many formats as there are returns all of them, with distinct names and texts."""
    drawn = grammar.draw(5505, 1)
    assert len({f.format.template + "│" + f.format.lead for f in drawn}) == 5505
    assert len({f.name for f in drawn} | set(FORMATS)) == 5505 + len(FORMATS)
    assert all(f.valid for f in drawn)
    for f in drawn:
        assert grammar.field_atoms(f.format) == {k: f.atoms[k] for k in grammar.FIELD_FACTORS}
    with pytest.raises(SteadyPhiError, match=r"5506 formats .* has 5505"):
        grammar.draw(5506, 1)


def test_draws_are_seeded_and_even() -> None:
    assert grammar.draw(40, 3) == grammar.draw(40, 3) != grammar.draw(40, 4)
    # Half of the formats: a level of 402 * 3 of the 5505 is drawn about 603 times, standard deviation 15.
    drawn = Counter(f.descriptor for f in grammar.draw(2752, 0))
    assert abs(drawn["question"] - 603) < 75 and abs(drawn["answer"] - 540) < 75


def test_with_options() -> None:
    drawn = grammar.draw(2000, 0, with_options=True)
    assert len({f.name for f in drawn}) == 2000
    texts = {
        f.options.listed("Q?", ["x", "y", "z"]).join([f.format.template, f.format.lead, f.options.answers])
        for f in drawn
        if f.options
    }
    assert len(texts) == 2000
    for factor, levels in (("wrapper", 6), ("enumeration", 6), ("option gap", 14), ("answers", 2)):
        assert len({f.atoms[factor] for f in drawn}) == levels


@pytest.mark.parametrize(
    ("style", "listed"),
    [
        (OptionStyle(), "Q?\nA. red\nB. blue"),
        (OptionStyle("({})", "a", "space"), "Q? (a) red (b) blue"),
        (OptionStyle("{} )", "I", "semicolon"), "Q?\nI ) red; \nII ) blue"),
        (OptionStyle("<{}>", "1", "pipes"), "Q? <1> red || <2> blue"),
    ],
)
def test_options_by_hand(style: OptionStyle, listed: str) -> None:
    assert style.listed("Q?", ["red", "blue"]) == listed


def test_no_label_is_the_beginning_of_another() -> None:
    for wrapper, enumeration in itertools.product(grammar.WRAPPERS, grammar.ENUMERATIONS):
        labels = OptionStyle(wrapper, enumeration).labels(12)
        assert len(set(labels)) == 12
        assert not [pair for pair in itertools.permutations(labels, 2) if pair[0].startswith(pair[1])]


def test_more_choices_than_labels() -> None:
    with pytest.raises(SteadyPhiError, match=r"13 choices, but the enumeration ends at xii"):
        OptionStyle(enumeration="i").labels(13)


def test_atoms_of_the_named_formats() -> None:
    atoms = {name: tuple(grammar.field_atoms(f).values()) for name, f in FORMATS.items()}
    assert atoms["phi2"] == ("Instruct/Output", "title", ":␣", "⏎", "nothing")
    assert atoms["phi2-space"] == ("Instruct/Output", "title", ":␣", "⏎", "space")
    assert atoms["phi2-newline"] == ("Instruct/Output", "title", ":␣", "⏎", "newline")
    assert atoms["phi2-tight"] == ("Instruct/Output", "title", ":", "⏎", "nothing")
    assert atoms["phi15"] == ("/Answer", "title", ":␣", "⏎⏎", "nothing")
    assert atoms["question-tab"] == ("Question/Answer", "title", "⇥", "⏎", "space")
    assert atoms["bare-newline"] == ("none", "none", "none", "none", "newline")
    assert atoms["question-pipe"] == ("Question/Answer", "title", ":␣", "other", "nothing")
    assert atoms["alpaca"] == ("other", "title", "other", "⏎⏎", "newline")
    beside = {name for name, levels in atoms.items() if "other" in levels}
    assert beside == {
        *(
            "question-newline",
            "question-pipe",
            "question-bracket",
            "chat",
            "chat-user",
            "alpaca",
            "bare-arrow",
        )
    }


@given(st.text(min_size=1), st.sampled_from(["", " ", "\n"]))
@settings(max_examples=50, deadline=None)
def test_any_format_has_a_level_of_each_factor(text: str, end: str) -> None:
    atoms = grammar.field_atoms(Format("mine", "{question}" + text + "!" + end, ""))
    assert set(atoms) == set(grammar.FIELD_FACTORS)
    assert atoms["ending"] == {"": "nothing", " ": "space", "\n": "newline"}[end]
