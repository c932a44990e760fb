"""Noise in the question, of the kinds of HELM's robustness tests (Liang et al. 2022, arXiv 2211.09110).

The kinds are HELM's (`benchmark/augmentations` of stanford-crfm/helm): common misspellings, typing
errors of a neighbouring key, extra spaces, changed case, contractions and filler words. The rule is
ours and one for all. A kind finds its places in the question (words, spaces, pairs of words), and each
place is changed with a probability of `level`, decided by the place alone: so the share of places
changed is `level` on average, none at 0 and all at 1, and what a level changes a higher level changes
too. Words on which the answer may hang are left alone, unlike in HELM.
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

# Misspelling and word: common ones, and slips in the words that questions are made of.
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


# The forms of which there is no doubt what they stand for.
CONTRACTIONS = {
    **{f"{w} not": f"{w}n't" for w in _words("is are was were does do did has have had could would")},
    **{f"{w} is": f"{w}'s" for w in _words("what where who how when that there it he she")},
    **{f"{w} are": f"{w}'re" for w in _words("they we you")},
    **{f"{w} will": f"{w}'ll" for w in _words("he she it they we you")},
    **{f"{w} have": f"{w}'ve" for w in _words("they we you")},
    **{"cannot": "can't", "will not": "won't"},
}
# Of fillers those that claim nothing: `probably` before an option would be a hint.
FILLERS = ("um", "uh", "er", "you know", "I mean", "well", "so to speak", "let me see")

# A capitalised word is taken for a name, unless it opens a sentence and is one of these.
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
class Noise:
    """A kind of noise and the share of its places that it changes, 0 to 1."""

    kind: Kind
    level: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not 0 <= self.level <= 1:
            raise SteadyPhiError(
                f"noise {self.kind!r} at {self.level}: take one of {', '.join(KINDS)} at a level of 0 to 1"
            )

    def apply(self, item: Item, seed: int) -> str:
        """Return the item's question with this noise; the same for the same seed and item."""
        pattern, change = _KINDS[self.kind]
        # A space may grow beside any word: the word is still the same.
        kept = [] if self.kind == "spaces" else kept_words(item)
        numbers = itertools.count()

        def changed(place: re.Match[str]) -> str:
            # A generator a place: what happens here must depend neither on the level nor on other places.
            rng = random.Random(f"{seed} {item.id} {self.kind} {next(numbers)}")
            touches = any(start <= place.end() and place.start() <= end for start, end in kept)
            return place[0] if touches or rng.random() >= self.level else change(place[0], rng)

        return pattern.sub(changed, item.question)


def kept_words(item: Item) -> list[tuple[int, int]]:
    """Return where in the question the words stand that noise leaves alone, as (start, end).

    They are numbers, in figures or words, single letters (`begins with g`), names, and each word that
    occurs in a choice.
    """
    answering = _NUMBERS | {word for choice in item.choices for word in re.findall(r"\w+", choice.casefold())}

    def kept(word: re.Match[str]) -> bool:
        text, before = word[0], item.question[: word.start()].rstrip()
        if len(text) == 1 or any(map(str.isdigit, text)) or text.casefold() in answering:
            return True
        opens = not before or before[-1] in ".?!:"
        return text[0].isupper() and not (opens and text.casefold() in _OPENERS)

    return [word.span() for word in re.finditer(r"\w+", item.question) if kept(word)]


# Each row of a keyboard stands a little to the right of the one above.
_KEYS = {
    key: (column + shift, row)
    for row, (keys, shift) in enumerate((("qwertyuiop", 0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75)))
    for column, key in enumerate(keys)
}


def neighbours(letter: str) -> list[str]:
    """Return the letters whose keys touch that of `letter`, a small one, on a QWERTY keyboard."""
    x, y = _KEYS[letter]
    return [key for key, (a, b) in _KEYS.items() if key != letter and abs(a - x) <= 1 and abs(b - y) <= 1]


def _mistyped(word: str, rng: random.Random) -> str:
    """Hit a neighbour of one key, never of the first, by which words are recognized."""
    at = rng.randrange(1, len(word))
    wrong = rng.choice(neighbours(word[at].lower()))
    return word[:at] + (wrong.upper() if word[at].isupper() else wrong) + word[at + 1 :]


def _like(model: str, text: str) -> str:
    """Return `text` with a capital where `model` begins with one."""
    return text[0].upper() + text[1:] if model[0].isupper() else text


def _any_of(phrases: dict[str, str]) -> str:
    return rf"(?<![\w'])(?:{'|'.join(sorted(phrases, key=len, reverse=True))})(?![\w'])"


_KINDS: dict[Kind, tuple[re.Pattern[str], Callable[[str, random.Random], str]]] = {
    # A slip in a short word easily makes another word: `firm` and `form`.
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
    # Something must follow: `I know what it is` has no shorter form.
    "contractions": (
        re.compile(_any_of(CONTRACTIONS) + r"(?= \w)", re.IGNORECASE),
        lambda words, _: _like(words, CONTRACTIONS[words.lower()]),
    ),
    "filler": (re.compile(r"(?<=\w) (?=\w)"), lambda _, rng: f" {rng.choice(FILLERS)} "),
}
