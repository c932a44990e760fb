"""Perturbations of the question, as in HELM's robustness tests (Liang et al. 2022, arXiv 2211.09110).

The kinds are HELM's (`benchmark/augmentations` of stanford-crfm/helm): common misspellings, typing
errors of a neighbouring key, extra spaces, changed case, contractions and filler words. One rule, our own,
holds for all kinds. A kind determines the places in the question that it can change: words, spaces or pairs
of words. Each place is changed with the probability `level`: no place at level 0, every place at level 1. The
random number of a place does not depend on the level or on other places, so a higher level changes every
place that a lower level changes. Unlike in HELM, words on which the answer may depend are never changed.
"""

import itertools
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.item import Item

Kind = Literal["typos", "misspellings", "spaces", "case", "contractions", "filler"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# Pairs of a misspelling and its word: common misspellings, and typing errors in the usual words of questions.
_PAIRS = """
    acheive achieve, accross across, adress address, agian again, allways always, amoung among, anual
    annual, arguement argument, arround around, becuase because, befor before, begining beginning,
    beleive believe, betwen between, buisness business, calender calendar, cemetary cemetery, childern
    children, comming coming, completly completely, definately definitely, deos does, diffrent
    different, dissapear disappear, embarass embarrass, enviroment environment, excercise exercise,
    existance existence, familar familiar, finaly finally, foriegn foreign, foward forward, freind
    friend, goverment government, grammer grammar, happend happened, hieght height, immediatly
    immediately, independant independent, intresting interesting, knowlege knowledge, langauge language,
    largset largest, lenght length, leter letter, litle little, maintainance maintenance, mispell
    misspell, neccessary necessary, nieghbour neighbour, nubmer number, occured occurred, oder order,
    oposite opposite, orignal original, peice piece, poeple people, posible possible, prefered
    preferred, probaly probably, realy really, recieve receive, remeber remember, seperate separate,
    sentance sentence, similiar similar, smalest smallest, speach speech, startign starting, stoped
    stopped, suprise surprise, theese these, thier their, togehter together, tommorow tomorrow, truely
    truly, untill until, usualy usually, waht what, wether whether, whre where, wich which, wierd weird,
    wiht with, wrod word, writting writing, yeild yield
"""
MISSPELLINGS = {word: wrong for wrong, word in (pair.split() for pair in _PAIRS.split(","))}


def _words(text: str) -> list[str]:
    return text.split()


# Contractions with a single meaning.
CONTRACTIONS = {
    **{f"{w} not": f"{w}n't" for w in _words("is are was were does do did has have had could would")},
    **{f"{w} is": f"{w}'s" for w in _words("what where who how when that there it he she")},
    **{f"{w} are": f"{w}'re" for w in _words("they we you")},
    **{f"{w} will": f"{w}'ll" for w in _words("he she it they we you")},
    **{f"{w} have": f"{w}'ve" for w in _words("they we you")},
    **{"cannot": "can't", "will not": "won't"},
}
# Fillers without a meaning of their own: `probably` before an option would be a hint.
FILLERS = ("um", "uh", "er", "you know", "I mean", "well", "so to speak", "let me see")

# A capitalised word counts as a name, unless it begins a sentence and is one of these.
_OPENERS = frozenset(
    _words(
        "a add an and are at by can could did do does each every find for from give how if in is it name of "
        "on put select she he sort that the then there these they this to was were what when where which who "
        "whose why will with would write you"
    )
)
_NUMBERS = frozenset(
    _words(
        "zero one two three four five six seven eight nine ten eleven twelve hundred thousand million dozen "
        "half quarter twice double triple first second third last"
    )
)


@dataclass(frozen=True)
class Perturbation:
    """A perturbation of questions.

    level: the probability with which each place is changed, 0 to 1.
    """

    kind: Kind
    level: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not 0 <= self.level <= 1:
            raise SteadyPhiError(
                f"noise {self.kind!r} at level {self.level}: choose from {', '.join(KINDS)}, at a level "
                "from 0 to 1"
            )

    def apply(self, item: Item, seed: int) -> str:
        """Return the item's question, perturbed; the same seed and item give the same text."""
        pattern, change = _KINDS[self.kind]
        # More space beside a word does not change the word.
        kept = [] if self.kind == "spaces" else kept_words(item)
        numbers = itertools.count()

        def changed(place: re.Match[str]) -> str:
            # One generator per place, because a change must depend neither on the level nor on other places.
            rng = random.Random(f"{seed} {item.id} {self.kind} {next(numbers)}")
            touches = any(start <= place.end() and place.start() <= end for start, end in kept)
            return place[0] if touches or rng.random() >= self.level else change(place[0], rng)

        return pattern.sub(changed, item.question)


def kept_words(item: Item) -> list[tuple[int, int]]:
    """Return the positions, as (start, end), of the question's words that are never changed.

    They are numbers in figures or words, single letters (`begins with g`), names, and every word that occurs
    in a choice.
    """
    protected = _NUMBERS | {word for choice in item.choices for word in re.findall(r"\w+", choice.casefold())}

    def kept(word: re.Match[str]) -> bool:
        text, before = word[0], item.question[: word.start()].rstrip()
        if len(text) == 1 or any(map(str.isdigit, text)) or text.casefold() in protected:
            return True
        opens = not before or before[-1] in ".?!:"
        return text[0].isupper() and not (opens and text.casefold() in _OPENERS)

    return [word.span() for word in re.finditer(r"\w+", item.question) if kept(word)]


# Each row of a keyboard is shifted a little to the right of the row above.
_KEYS = {
    key: (column + shift, row)
    for row, (keys, shift) in enumerate((("qwertyuiop", 0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75)))
    for column, key in enumerate(keys)
}


def neighbours(letter: str) -> list[str]:
    """Return the letters whose keys touch the key of `letter`, in lower case, on a QWERTY keyboard."""
    x, y = _KEYS[letter]
    return [key for key, (a, b) in _KEYS.items() if key != letter and abs(a - x) <= 1 and abs(b - y) <= 1]


def _mistyped(word: str, rng: random.Random) -> str:
    """Replace one letter by a neighbour on the keyboard; not the first, by which readers recognize words."""
    at = rng.randrange(1, len(word))
    wrong = rng.choice(neighbours(word[at].lower()))
    return word[:at] + (wrong.upper() if word[at].isupper() else wrong) + word[at + 1 :]


def _like(model: str, text: str) -> str:
    """Return `text`, capitalised if `model` is."""
    return text[0].upper() + text[1:] if model[0].isupper() else text


def _any_of(phrases: dict[str, str]) -> str:
    return rf"(?<![\w'])(?:{'|'.join(sorted(phrases, key=len, reverse=True))})(?![\w'])"


_KINDS: dict[Kind, tuple[re.Pattern[str], Callable[[str, random.Random], str]]] = {
    # A typing error in a short word often gives another word, such as `form` for `firm`.
    "typos": (re.compile(r"(?<![\w'])[A-Za-z]{5,}(?![\w'])"), _mistyped),
    "misspellings": (
        re.compile(_any_of(MISSPELLINGS), re.IGNORECASE),
        lambda word, _: _like(word, MISSPELLINGS[word.lower()]),
    ),
    "spaces": (re.compile(r"(?<=\S) (?=\S)"), lambda _, rng: " " * rng.randint(2, 3)),
    "case": (
        re.compile(r"(?<![\w'])[A-Za-z]{2,}(?![\w'])"),
        lambda word, _: word.upper() if word.islower() else word.lower(),
    ),
    # A word must follow: `it is` at the end of `I know what it is` cannot be contracted.
    "contractions": (
        re.compile(_any_of(CONTRACTIONS) + r"(?= \w)", re.IGNORECASE),
        lambda words, _: _like(words, CONTRACTIONS[words.lower()]),
    ),
    "filler": (re.compile(r"(?<=\w) (?=\w)"), lambda _, rng: f" {rng.choice(FILLERS)} "),
}
