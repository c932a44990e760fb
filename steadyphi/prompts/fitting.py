"""Which items fit the context in every way of asking them."""

from collections.abc import Callable, Iterable, Sequence

from steadyphi.prompts.item import Item
from steadyphi.tokenizer import TextTokenizer

Way = Callable[[Item], tuple[str, Sequence[str]]]  # an item's prompt, and what answers each of its choices


def fitting(tokenizer: TextTokenizer, items: Sequence[Item], ways: Iterable[Way], context: int) -> list[Item]:
    """Return the items that fit the context, in tokens, in every way with every choice.

    An item that fits in some alone would be missing in the others, and these could no longer be compared over
    the same items.
    """
    longest = [0] * len(items)
    for way in ways:
        asked = [way(item) for item in items]
        prompts = tokenizer.encode_batch([prompt for prompt, _ in asked])
        answers = iter(tokenizer.encode_batch([text for _, texts in asked for text in texts]))
        for n, ((_, texts), prompt) in enumerate(zip(asked, prompts, strict=True)):
            answer = max(len(next(answers)) for _ in texts)
            longest[n] = max(longest[n], len(prompt) + answer)
    return [item for item, length in zip(items, longest, strict=True) if length <= context]
