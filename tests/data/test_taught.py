"""What the base answers is trained on instead of the rows' answers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from steadyphi.data.prepare import left_out, prepare
from steadyphi.data.row_formats import Dialogue
from steadyphi.data.tables import read_examples
from steadyphi.data.taught import taught
from steadyphi.errors import SteadyPhiError
from steadyphi.inference.language_model import LanguageModel
from steadyphi.inference.load import load_tuned
from steadyphi.settings.compose import compose
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT

ROWS = [Dialogue(f"row-{n}", ((question, "label"),)) for n, question in enumerate(["a", "b", "c"])]


def test_the_most_frequent_answer_is_taken() -> None:
    """phi2 says Instruct:, qa says Q:, and phi15 has no descriptor before the question."""

    def answer(prompts: Sequence[str], stop: Sequence[str]) -> list[str | None]:
        texts: dict[str, str | None] = {
            "Instruct: a\nOutput:": " cat",
            "Q: a\nA:": " dog",
            "a\n\nAnswer:": " cat",
            "Instruct: b\nOutput:": " one",  # all differ: that of the first format
            "Q: b\nA:": " two",
            "b\n\nAnswer:": " three",
            "Instruct: c\nOutput:": None,  # did not end
            "Q: c\nA:": " ",
            "c\n\nAnswer:": None,
        }
        assert stop == {"I": ("\nInstruct:",), "Q": ("\nQ:",), "a": ("\nAnswer:",)}[prompts[0][0]]
        return [texts[prompt] for prompt in prompts]

    rows = taught(ROWS, ["phi2", "qa", "phi15"], answer)
    assert [(row.id, row.response) for row in rows] == [("row-0", "cat"), ("row-1", "one")]
    assert rows[1:] == [rows[1]] and len(rows) == 2


def test_no_answer_at_all_is_named() -> None:
    with pytest.raises(SteadyPhiError, match=r"prepare.answers: the base answers none of 3 questions in qa"):
        taught(ROWS, ["qa"], lambda prompts, stop: [None, " ", ""])


@pytest.mark.parametrize(
    ("turns", "kind"), [((("q", "a"), ("q", "a")), "several turns"), ((("", "text"),), "plain text")]
)
def test_only_one_question_is_answered(turns: tuple[tuple[str, str], ...], kind: str) -> None:
    with pytest.raises(SteadyPhiError, match=f"row-7: .*{kind}.*prepare.answers"):
        taught([Dialogue("row-7", turns)], ["phi2"], lambda prompts, stop: [None] * len(prompts))


def test_training_rows_have_the_answers_of_the_model(lit_tiny: Path, tmp_path: Path) -> None:
    file = "steadyphi/data/textbook.py"
    params = {"prepare": {"examples": 40, "items": 9, "valid": 4, "answers": ["phi2"]}}
    settings = compose(params, ROOT / "conf").prepare
    tokenizer = TextTokenizer(lit_tiny)
    model = LanguageModel(load_tuned(lit_tiny, None, torch.float32), tokenizer, 4096)
    asked: list[str] = []

    def answer(prompts: Sequence[str], stop: Sequence[str]) -> list[str | None]:
        asked.extend(prompts)
        return [generated.text for generated in model.generate(prompts, 32, "answers", stop)]

    counted = prepare(settings, Path(file), tokenizer, tmp_path, answer)
    given = {prompt: text.text for prompt, text in zip(asked, model.generate(asked, 32, ""), strict=True)}
    assert len(asked) == 44 and counted["unanswered_rows"] == 0
    trained = {
        tokenizer.decode(example.tokens[: example.prompt]): tokenizer.decode(
            example.tokens[example.prompt : -1]
        )
        for example in read_examples(tmp_path / "train.parquet")
    }
    shared = trained.keys() & given.keys()  # rendered in the teacher's format
    assert len(shared) > 8 and all(trained[prompt] == given[prompt].rstrip() for prompt in shared)
    labels = prepare(replace(settings, answers=None), Path(file), tokenizer, tmp_path)
    assert "unanswered_rows" not in labels
    assert not any("no answer" in line for line in left_out(labels, 256))
    assert any("3 rows" in line for line in left_out(labels | {"unanswered_rows": 3}, 256))
