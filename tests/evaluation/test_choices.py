"""Multiple choice: the effect of rounding."""

import pytest

from benchmarks import phi_tiny
from steadyphi.evaluation import choices
from steadyphi.inference.language_model import LanguageModel
from steadyphi.prompts import families


@pytest.fixture(scope="module")
def material() -> tuple:
    model, _, tokenizer = phi_tiny.load()
    chosen = phi_tiny.settings(items=40)
    variants = families.named(chosen.evaluate.formats)
    language_model = LanguageModel(model, tokenizer, chosen.evaluate.batch_tokens)
    return language_model, phi_tiny.material(chosen).items, variants, chosen.evaluate


def test_in_float32_rounding_changes_no_answer(material: tuple) -> None:
    model, items, variants, settings = material
    rows = choices.evaluate(model, items, [], variants, settings)
    assert len(rows) == 40 * len(settings.formats)
    assert choices.noise(model, items, variants, settings, rows) == 0.0


def test_noise_is_the_share_of_changed_answers(material: tuple) -> None:
    model, items, variants, settings = material
    rows = choices.evaluate(model, items, [], variants, settings)
    again = [row for row in rows if row["item"] in {item.id for item in items[::10]}]
    for row in again[::4]:  # as if rounding had changed these
        row["chosen"] = (row["chosen"] + 1) % len(row["logprobs"])
    expected = len(again[::4]) / len(again)
    assert choices.noise(model, items, variants, settings, rows) == expected
