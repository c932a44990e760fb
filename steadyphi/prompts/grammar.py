"""The grammar of formats: every format is composed of atoms, so that an effect can be attributed to one.

The grammar follows FormatSpread (Sclar et al. 2024, arXiv 2310.11324, section 3.1 and appendix A;
grammar_definition.py of msclar/formatspread). A field consists of a descriptor in some casing, a separator
and a text. Fields are joined by a gap. Options are listed: each follows a label, which is a symbol of an
enumeration in a wrapper, and they are joined by a gap. The separators, gaps, wrappers, enumerations and
casings are FormatSpread's, and so is the rule that a newline in the separator requires one in the gap.

Three parts are our own: the descriptors; the empty line as a gap (Phi-1.5's own, which FormatSpread uses only
between examples); and the ending. The ending says to which side of the seam, the place where the prompt ends
and the answer begins, the white space after the answer's descriptor belongs, because `Output:` and
`Output:\\n` are different prompts to Phi.
"""

import dataclasses
import functools
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.formats import Format, visible

Ending = Literal["nothing", "space", "newline"]
ENDINGS: tuple[Ending, ...] = ("nothing", "space", "newline")
DESCRIPTORS = {
    "question": ("Question", "Answer"),
    "q": ("Q", "A"),
    "input": ("Input", "Output"),
    "instruct": ("Instruct", "Output"),
    "answer": ("", "Answer"),  # Phi-1.5's: no descriptor before the question
}
# FormatSpread also leaves the word unchanged; here that is title case.
CASINGS = {"title": str.title, "upper": str.upper, "lower": str.lower}
SEPARATORS = {
    "colon": ": ",
    "colon_spaced": " : ",
    "colon_tight": ":",
    "colons2": ":: ",
    "colons2_tight": "::",
    "colons3": "::: ",
    "dash": " - ",
    "dash_left": "- ",
    "space": " ",
    "tab": "\t",
    "newline_space": "\n ",
    "newline_indent": "\n    ",
    "newline_tab": "\n\t",
    "space_newline_tab": " \n\t",
}
GAPS = {
    "newline": "\n",
    "newline_left": " \n",
    "newline_right": "\n ",
    "newline_spaced": " \n ",
    "semicolon": "; \n",
    "space": " ",
    "spaces2": "  ",
    "comma": ", ",
    "comma_spaced": " , ",
    "comma_wide": " ,  ",
    "stop": ". ",
    "dashes": " -- ",
    "pipes": " || ",
    "sep": " <sep> ",
}
FIELD_GAPS = {**GAPS, "empty_line": "\n\n"}
WRAPPERS = ("{}.", "({})", "{})", "{} )", "[{}]", "<{}>")
_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")
ENUMERATIONS = {
    "A": tuple(map(chr, range(ord("A"), ord("Z") + 1))),
    "a": tuple(map(chr, range(ord("a"), ord("z") + 1))),
    "1": tuple(map(str, range(1, 27))),
    "i": _ROMAN,
    "I": tuple(numeral.upper() for numeral in _ROMAN),
    "Ⅰ": tuple(map(chr, range(0x2160, 0x216C))),  # one character each, and several tokens
}
NONE = "none"
OTHER = "other"
FIELD_FACTORS = ("descriptor", "casing", "separator", "gap", "ending")
OPTION_FACTORS = ("wrapper", "enumeration", "option gap", "answers")


@dataclass(frozen=True)
class OptionStyle:
    """How the options of a question are listed, and whether the model answers with the text or the label.

    wrapper: around a label's symbol. enumeration, gap: keys of `ENUMERATIONS` and `GAPS`.
    """

    wrapper: str = "{}."
    enumeration: str = "A"
    gap: str = "newline"
    answers: Literal["text", "label"] = "text"

    @property
    def name(self) -> str:
        """The name of the style, such as `(A)-newline-label`."""
        return f"{self.wrapper.format(self.enumeration)}-{self.gap}-{self.answers}"

    @property
    def atoms(self) -> dict[str, str]:
        """The level of each of `OPTION_FACTORS`."""
        levels = (self.wrapper.format("x"), self.enumeration, visible(GAPS[self.gap]), self.answers)
        return dict(zip(OPTION_FACTORS, levels, strict=True))

    def labels(self, count: int) -> list[str]:
        """Return the first `count` labels in their wrapper.

        Because of the wrapper, no label is a prefix of another, as `i` is of `ii`.
        Raises SteadyPhiError if the enumeration has fewer labels.
        """
        symbols = ENUMERATIONS[self.enumeration]
        if count > len(symbols):
            raise SteadyPhiError(
                f"options {self.name}: {count} choices, but the enumeration ends at {symbols[-1]}; "
                "remove this style or these items"
            )
        return [self.wrapper.format(symbol) for symbol in symbols[:count]]

    def listed(self, question: str, options: Sequence[str]) -> str:
        """Return the question followed by the options, in the given order."""
        gap = GAPS[self.gap]
        labels = self.labels(len(options))
        block = gap.join(f"{label} {option}" for label, option in zip(labels, options, strict=True))
        return question + ("\n" if "\n" in gap else " ") + block


@dataclass(frozen=True)
class GrammarFormat:
    """A format given by its atoms.

    Each atom is a key of the table of its factor, such as `SEPARATORS`. Without a descriptor, all but the
    ending are `none`.
    """

    descriptor: str
    casing: str
    separator: str
    gap: str
    ending: Ending
    options: OptionStyle | None = None

    @property
    def name(self) -> str:
        """The name, such as `question-upper-colon-newline-nothing`, followed by that of the option style."""
        parts = [self.descriptor, self.casing, self.separator, self.gap, self.ending]
        if self.descriptor == NONE:
            parts = [NONE, self.ending]
        return "-".join([*parts, self.options.name] if self.options else parts)

    @property
    def atoms(self) -> dict[str, str]:
        """The level of each of `FIELD_FACTORS` and `OPTION_FACTORS`, with visible white space."""
        if self.descriptor == NONE:
            levels = (NONE, NONE, NONE, NONE, self.ending)
        else:
            levels = (
                "/".join(DESCRIPTORS[self.descriptor]),
                self.casing,
                visible(SEPARATORS[self.separator]),
                visible(FIELD_GAPS[self.gap]),
                self.ending,
            )
        return dict(zip(FIELD_FACTORS, levels, strict=True)) | option_atoms(self.options)

    @property
    def format(self) -> Format:
        """The format without its option style."""
        if self.descriptor == NONE:
            return self._ended("{question}", " ")
        asked, answered = (CASINGS[self.casing](word) for word in DESCRIPTORS[self.descriptor])
        separator = SEPARATORS[self.separator]
        mark = separator.rstrip()
        opening = asked + separator if asked else ""
        return self._ended(
            f"{opening}{{question}}{FIELD_GAPS[self.gap]}{answered}{mark}", separator[len(mark) :]
        )

    def _ended(self, template: str, blank: str) -> Format:
        """Return the format; its ending decides on which side of the seam the white space `blank` belongs."""
        prompt_side = {"nothing": "", "space": blank, "newline": "\n"}[self.ending]
        return Format(self.name, template + prompt_side, blank if self.ending == "nothing" else "")

    @property
    def valid(self) -> bool:
        """Whether a newline after a descriptor comes with one between the fields (FormatSpread's rule).

        Otherwise a text would be nearer to the next field's descriptor than to its own. The newline of the
        ending counts too, because it follows the answer's descriptor.
        """
        if self.descriptor == NONE:
            return True
        broken = "\n" in SEPARATORS[self.separator] or self.ending == "newline"
        return not broken or "\n" in FIELD_GAPS[self.gap]


def option_atoms(options: OptionStyle | None) -> dict[str, str]:
    """Return the level of each of `OPTION_FACTORS`; without options, the answers are texts."""
    return options.atoms if options else dict.fromkeys(OPTION_FACTORS, NONE) | {"answers": "text"}


@functools.cache
def _formats() -> dict[tuple[str, str], GrammarFormat]:
    """Return every valid format without options, by its text; the first of those with the same text."""
    formats: dict[tuple[str, str], GrammarFormat] = {}
    combinations = itertools.product(DESCRIPTORS, CASINGS, SEPARATORS, FIELD_GAPS, ENDINGS)
    plain = ((NONE, NONE, NONE, NONE, ending) for ending in ENDINGS)
    for atoms in itertools.chain(combinations, plain):
        format_ = GrammarFormat(*atoms)
        if format_.valid:
            formats.setdefault((format_.format.template, format_.format.lead), format_)
    return formats


@functools.cache
def _option_styles() -> tuple[OptionStyle, ...]:
    answers: tuple[Literal["text", "label"], ...] = ("text", "label")
    return tuple(OptionStyle(*atoms) for atoms in itertools.product(WRAPPERS, ENUMERATIONS, GAPS, answers))


def formats() -> tuple[GrammarFormat, ...]:
    """Return every valid format without options; of formats with the same text, the first."""
    return tuple(_formats().values())


def count_formats(with_options: bool) -> int:
    """Return the number of formats with different texts."""
    return len(_formats()) * (len(_option_styles()) if with_options else 1)


def draw(count: int, seed: int, with_options: bool = False) -> list[GrammarFormat]:
    """Return `count` distinct formats, drawn uniformly without replacement.

    Raises SteadyPhiError if the grammar has fewer.
    """
    total = count_formats(with_options)
    if count > total:
        raise SteadyPhiError(f"{count} formats requested, but the grammar has {total}; request fewer")
    known, styles = formats(), _option_styles()
    drawn = random.Random(f"grammar {seed}").sample(range(total), count)
    if not with_options:
        return [known[n] for n in drawn]
    return [dataclasses.replace(known[n // len(styles)], options=styles[n % len(styles)]) for n in drawn]


# The named formats that the grammar cannot produce: descriptor, casing, separator, gap.
_BESIDE = {
    "question-newline": ("Question/Answer", "title", OTHER, "⏎"),
    "question-pipe": ("Question/Answer", "title", ":␣", OTHER),
    "question-bracket": ("Question/Answer", "title", OTHER, "⏎"),
    "chat": (OTHER, "title", ":␣", "⏎"),
    "chat-user": (OTHER, "title", ":␣", "⏎"),
    "alpaca": (OTHER, "title", OTHER, "⏎⏎"),
    "bare-arrow": (NONE, NONE, OTHER, NONE),
}


def field_atoms(format_: Format) -> dict[str, str]:
    """Return the level of each of `FIELD_FACTORS` for any format; `other` if the grammar lacks the level."""
    known = _formats().get((format_.template, format_.lead))
    if known:
        return {factor: known.atoms[factor] for factor in FIELD_FACTORS}
    last = format_.template[-1]
    ending = "newline" if last == "\n" else "space" if last.isspace() else "nothing"
    levels = (*_BESIDE.get(format_.name, (OTHER,) * 4), ending)
    return dict(zip(FIELD_FACTORS, levels, strict=True))
