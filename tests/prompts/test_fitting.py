"""The items that fit the context: in every way of asking, with the longest choice, exact to the token."""

from pathlib import Path

from steadyphi.prompts.fitting import fitting
from steadyphi.prompts.item import Item
from steadyphi.tokenizer import TextTokenizer


def test_to_the_token_in_every_way(lit_tiny: Path) -> None:
    tokenizer = TextTokenizer(lit_tiny)
    short = Item("a", "s", "What is it?", ("red", "a long and winding answer"), 0)
    long = Item("b", "s", "What is it, if one may ask?", ("red",), 0)

    def plain(item: Item) -> tuple[str, list[str]]:
        return item.question, [f" {choice}" for choice in item.choices]

    def wordy(item: Item) -> tuple[str, list[str]]:
        return f"{item.question} {item.question}", [" no"]

    def tokens(*texts: str) -> int:
        return sum(len(tokenizer.encode(text)) for text in texts)

    need = tokens("What is it?", " a long and winding answer")
    assert fitting(tokenizer, [short], [plain], need) == [short]
    assert fitting(tokenizer, [short], [plain], need - 1) == []
    need = tokens(f"{long.question} {long.question}", " no")
    assert fitting(tokenizer, [long, short], [plain, wordy], need) == [long, short]
    assert fitting(tokenizer, [long, short], [plain, wordy], need - 1) == [short]
    assert fitting(tokenizer, [], [plain], 10) == []
