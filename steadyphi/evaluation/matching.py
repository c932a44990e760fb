"""Open answers: is what the model wrote the right answer?

A base model does not stop after its answer, so first what follows is cut off. Then a right answer
that is a number is compared as a number, and any other as a text, both after the normalizations that
the field uses.
"""

import re
import string

MARKER = "####"  # GSM8K's solutions end in `#### 72` (Cobbe et al. 2021, arXiv 2110.14168)
NUMBER = re.compile(
    r"(?:(?<![\w)])[-−](?=[$€£]?\.?[0-9]))?"  # the minus of `-3` and of `= -$3`, not that of `5-3`
    r"[$€£]?"
    r"(?P<digits>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
)
# Where a model goes on with an exercise of its own, headed as prompt formats head theirs.
NEXT = re.compile(
    r"<\|endoftext\|>|\n\s*(?:#+ *|\[)?"
    r"(?:instruct|instruction|question|q|input|user|alice|exercise|problem)(?: *[0-9]+)?"
    r"(?:\]|[ ]*[:|\t]|[ ]+-)",
    re.IGNORECASE,
)


def normalize(text: str) -> str:
    """Return `text` in lower case without ASCII punctuation, English articles and extra white space.

    `normalize_answer` of SQuAD's evaluate-v1.1.py (Rajpurkar et al. 2016, arXiv 1606.05250, section 6.1),
    in its order: lower case, punctuation, articles, white space.
    """
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def final_number(text: str) -> str | None:
    """Return the number that `text` comes to, None where there is none.

    It is the first one after the first `####`, else the last one of all: lm-evaluation-harness's
    `strict-match` and `flexible-extract` of GSM8K, one after the other. Commas between thousands,
    currency signs and zeros that change nothing are left away, so `$1,250.00` is `1250`. Exponents,
    fractions and numbers in words are not understood.
    """
    _, marked, after = text.partition(MARKER)
    if marked and (first := NUMBER.search(after)):
        return _plain(first)
    found = list(NUMBER.finditer(text))
    return _plain(found[-1]) if found else None


def number(text: str) -> str | None:
    """Return `text` as `final_number` writes it where it is one number and nothing else, else None.

    A full stop or a percent sign after it is taken for no part of it.
    """
    whole = NUMBER.fullmatch(text.strip().rstrip(".%"))
    return _plain(whole) if whole else None


def said(text: str) -> str:
    """Return what the model answers: the text before the next exercise that it makes up."""
    return re.split(NEXT, "\n" + text.strip(), maxsplit=1)[0].strip()


def exact_match(text: str, answer: str) -> bool:
    """Return whether `text`, what the model wrote after the prompt, gives `answer`.

    What the model makes up after its answer does not count (`said`). If `answer` is a number: the
    first line where that is just a number, else `final_number` of the first paragraph, or of all
    paragraphs where one holds `####`. If it is another text: as many lines as `answer` has,
    both sides normalized.
    """
    own = said(text)
    if right := number(answer):
        line = own.split("\n", 1)[0]
        paragraph = own if MARKER in own else re.split(r"\n\s*\n", own, maxsplit=1)[0]
        return (number(line) or final_number(paragraph)) == right
    lines = "\n".join(own.split("\n")[: answer.strip().count("\n") + 1])
    if not normalize(answer):  # `the`, or `!`: nothing is left to compare
        return lines.strip() == answer.strip()
    return normalize(lines) == normalize(answer)


def _plain(found: re.Match[str]) -> str:
    whole, _, part = found["digits"].replace(",", "").partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    plain = f"{whole}.{part}" if part else whole
    return f"-{plain}" if found[0][0] in "-−" and plain != "0" else plain
