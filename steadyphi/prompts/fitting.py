"""The items that fit the context in every prompt."""

from collections.abc import Callable, Iterable, Sequence

from steadyphi.prompts.item import Item
from steadyphi.tokenizer import TextTokenizer

Way = Callable[[Item], tuple[str, Sequence[str]]]  # from an item to its prompt and the text of each answer


def fitting(tokenizer: TextTokenizer, items: Sequence[Item], ways: Iterable[Way], context: int) -> list[Item]:
    """Return the items whose prompt and longest answer fit the context in every way of asking.

    ways: functions that return an item's prompt and the text of the answer for each of its choices.
    context: the context length in tokens.
    An item must fit in all ways, because the ways are compared over the same items.
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
