"""Comparison of open answers with the right answer.

A base model does not stop after its answer, so the text after the answer is cut off first. If the right
answer is a number, it is then compared as a number, otherwise as text, with the field's usual normalization.
"""

import re
import string

MARKER = "####"  # GSM8K's solutions end in `#### 72` (Cobbe et al. 2021, arXiv 2110.14168)
NUMBER = re.compile(
    r"(?:(?<![\w)])[-−](?=[$€£]?\.?[0-9]))?"  # the minus of `-3` and of `= -$3`, not that of `5-3`
    r"[$€£]?"
    r"(?P<digits>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
)
# The start of another exercise that the model makes up, with a heading as in the prompt formats.
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
    """Return the final number of `text`, None if it has no number.

    The final number is the first one after the first `####`, or else the last one in the text. These are the
    `strict-match` and `flexible-extract` of lm-evaluation-harness for GSM8K, one after the other. Thousands
    separators, currency signs and redundant zeros are removed, so `$1,250.00` becomes `1250`. Exponents,
    fractions and numbers in words are not recognized.
    """
    _, marked, after = text.partition(MARKER)
    if marked and (first := NUMBER.search(after)):
        return _plain(first)
    numbers = list(NUMBER.finditer(text))
    return _plain(numbers[-1]) if numbers else None


def number(text: str) -> str | None:
    """Return `text` in the notation of `final_number` if it is one number and nothing else, else None.

    Full stops and percent signs at the end are ignored.
    """
    whole = NUMBER.fullmatch(text.strip().rstrip(".%"))
    return _plain(whole) if whole else None


def first_answer(text: str) -> str:
    """Return the answer of the model: the text before the next exercise that it makes up."""
    return re.split(NEXT, "\n" + text.strip(), maxsplit=1)[0].strip()


def exact_match(text: str, answer: str) -> bool:
    """Return whether `text`, which the model generated after the prompt, gives `answer`.

    Text that the model makes up after its answer does not count (`first_answer`). If `answer` is a
    number, it is compared with the first line if that is just a number, otherwise with `final_number` of
    the first paragraph, or of all paragraphs if the text contains `####`. Any other `answer` is compared
    with as many lines as it has, both normalized.
    """
    reply = first_answer(text)
    if expected := number(answer):
        line = reply.split("\n", 1)[0]
        paragraph = reply if MARKER in reply else re.split(r"\n\s*\n", reply, maxsplit=1)[0]
        return (number(line) or final_number(paragraph)) == expected
    lines = "\n".join(reply.split("\n")[: answer.strip().count("\n") + 1])
    if not normalize(answer):  # such as `the` or `!`: normalization leaves nothing to compare
        return lines.strip() == answer.strip()
    return normalize(lines) == normalize(answer)


def _plain(match: re.Match[str]) -> str:
    whole, _, part = match["digits"].replace(",", "").partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    plain = f"{whole}.{part}" if part else whole
    return f"-{plain}" if match[0][0] in "-−" and plain != "0" else plain
