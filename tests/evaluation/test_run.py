"""A whole evaluation of phi-tiny: answers equal to those of transformers, and the numbers from them."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import phi_tiny
from steadyphi.errors import SteadyPhiError
from steadyphi.evaluation.run import Outcome, run
from steadyphi.inference.language_model import Generated, LanguageModel
from steadyphi.inference.scoring import Request
from steadyphi.results import headline, stored
from steadyphi.results.result import VariantRow
from steadyphi.settings.groups import Families, Long, Open, Search
from steadyphi.stats.paired import holm, mcnemar
from steadyphi.tokenizer import TextTokenizer

FAMILIES = Families(8, 3, 2, 1, True, ("typos",), (0.3,), (1, 2), 2, 2, 2, 2)
SUITE: dict[str, Any] = {
    "formats": ("phi2", "phi2-newline", "qa", "bare"),
    "families": FAMILIES,
    "open": Open(6, 8),
    "long": Long((192, 9999), (0.0, 1.0), 2),
    "search": Search(12, 60, "thompson"),
    "draws": 200,
}


@pytest.fixture(scope="module")
def material() -> tuple[Any, ...]:
    model, theirs, tokenizer = phi_tiny.load()
    chosen = phi_tiny.settings(items=24)
    textbook = phi_tiny.material(chosen)
    ours = LanguageModel(model, tokenizer, chosen.evaluate.batch_tokens)
    return ours, theirs, tokenizer, textbook.items, textbook.shots, chosen.evaluate


@pytest.fixture(scope="module")
def outcome(material: tuple[Any, ...]) -> Outcome:
    model, _, _, items, shots, settings = material
    return run("base", model, items, shots, dataclasses.replace(settings, **SUITE))


def variants(outcome: Outcome) -> dict[str, VariantRow]:
    return {row.name: row for row in outcome.result.variants}


def test_every_family_is_asked_of_its_items(outcome: Outcome) -> None:
    counted: dict[str, set[int]] = {}
    for row in variants(outcome).values():
        counted.setdefault(row.family, set()).add(row.items)
        rows = [r for r in outcome.scores if r["variant"] == row.name]
        assert len(rows) == row.items
        assert row.accuracy == pytest.approx(np.mean([r["correct"] for r in rows]))
        assert row.low <= row.accuracy <= row.high
    others = {name: {8} for name in ("grammar", "instruction", "noise", "shots", "options", "distractor")}
    assert counted == {"format": {24}, "unseen": {24}} | others
    assert len({frozenset(row.atoms) for row in variants(outcome).values()}) == 1


@pytest.mark.parametrize("variant", ["bare", "shots-2-order-1", "options-A.-newline-label-order-1"])
def test_log_probabilities_are_those_of_transformers(
    material: tuple[Any, ...], outcome: Outcome, variant: str
) -> None:
    _, theirs, tokenizer, items, _, _ = material
    for row in [r for r in outcome.scores if r["variant"] == variant][:3]:
        item = next(i for i in items if i.id == row["item"])
        prompt = tokenizer.encode(row["prompt"])
        for n, choice in enumerate(item.choices):
            text = f" {choice}"
            if row["places"] is not None:  # the label under which the choice is shown
                text = f" {'ABCD'[row['places'][n]]}."
                assert f"{text.strip()} {choice}" in row["prompt"]
            answer = tokenizer.encode(text)
            with torch.no_grad():
                logits = theirs(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
            expected = sum(float(logits[len(prompt) + k - 1, token]) for k, token in enumerate(answer))
            assert row["logprobs"][n] == pytest.approx(expected, abs=1e-4)


def test_headlines_follow_from_the_rows(outcome: Outcome) -> None:
    names = SUITE["formats"]
    table = {(r["item"], r["variant"]): r for r in outcome.scores}
    items = list(dict.fromkeys(r["item"] for r in outcome.scores))
    right = np.array([[table[i, n]["correct"] for n in names] for i in items])
    flips = np.array([[table[i, n]["chosen"] for n in names] for i in items])
    pairs = [(a, b) for a in range(4) for b in range(a)]
    metrics = headline.flat(outcome.result)
    assert metrics["items"] == 24 and metrics["formats"] == 4
    assert metrics["spread"] == pytest.approx(np.ptp(right.mean(axis=0)), abs=1e-6)
    assert metrics["accuracy_worst"] == pytest.approx(right.mean(axis=0).min(), abs=1e-6)
    assert metrics["right_in_all_formats"] == pytest.approx(right.all(axis=1).mean(), abs=1e-6)
    expected = np.mean([(flips[:, a] != flips[:, b]).mean() for a, b in pairs])
    assert metrics["flip_rate"] == pytest.approx(expected, abs=1e-6)
    assert metrics["noise_flip_rate"] == 0.0  # in float32
    assert metrics["spread_heldout"] <= metrics["spread"]


def test_open_answers_are_what_transformers_writes(material: tuple[Any, ...], outcome: Outcome) -> None:
    _, theirs, tokenizer, *_ = material
    assert len(outcome.written) == 6 * 4
    prompts = {(r["item"], r["variant"]): r["prompt"] for r in outcome.scores}
    for row in outcome.written[::5]:
        prompt = torch.tensor([tokenizer.encode(prompts[row["item"], row["variant"]])])
        made = theirs.generate(prompt, max_new_tokens=8, do_sample=False, pad_token_id=tokenizer.eos_id)
        new = made[0, prompt.shape[1] :].tolist()
        new = new[: new.index(tokenizer.eos_id)] if tokenizer.eos_id in new else new
        assert row["text"] == tokenizer.decode(new) and row["tokens"] == len(new)
    shares = {
        n: np.mean([r["correct"] for r in outcome.written if r["variant"] == n]) for n in SUITE["formats"]
    }
    assert outcome.result.measures["open_accuracy_best"].value == max(shares.values())
    assert (opened := variants(outcome)["qa"].open) and opened.accuracy == shares["qa"]


def test_calibration_takes_off_what_is_likely_without_content(outcome: Outcome) -> None:
    rows = [r for r in outcome.scores if r["variant"] == "bare"]
    right = [int(np.argmax(np.subtract(r["logprobs"], r["free"]))) == r["answer"] for r in rows]
    assert variants(outcome)["bare"].calibrated == pytest.approx(np.mean(right))
    assert variants(outcome)["noise-typos-0.3"].calibrated is None
    assert variants(outcome)["options-A.-newline-label-order-0"].batch_calibrated is not None


def test_places_of_options_are_those_of_one_format_in_several_orders(outcome: Outcome) -> None:
    assert len(outcome.result.options) == 2
    for options in outcome.result.options:
        assert options.variants == [f"options-{options.style}-order-{n}" for n in range(options.orders)]
        chosen: dict[str, list[int]] = {}
        for row in outcome.scores:
            if row["variant"] in options.variants:
                chosen.setdefault(row["item"], []).append(row["chosen"])
        pairs = [(a, b) for answers in chosen.values() for n, a in enumerate(answers) for b in answers[:n]]
        assert options.flip_rate == pytest.approx(np.mean([a != b for a, b in pairs]))
        for measure in (options.position_bias, options.recall_deviation):
            assert 0 <= measure.value <= 1
            assert 0 <= measure.unbiased <= 1


def test_long_prompts_and_search_are_there(outcome: Outcome) -> None:
    assert {row["length"] for row in outcome.long} == {0, 192}
    assert outcome.result.notes == ["long prompts of 9999 tokens: more than the model's context of 512"]
    assert outcome.result.long and {row.depth for row in outcome.result.long.needle} == {0.0, 1.0}
    search = outcome.result.search
    assert search and search.cells <= 60 and search.grid == 12 * 24
    assert search.best.accuracy >= search.worst.accuracy


def test_without_the_rest_the_formats_alone_are_asked(material: tuple[Any, ...]) -> None:
    model, _, _, items, shots, settings = material
    few = dataclasses.replace(settings, formats=("qa", "bare"), families=None, long=None, draws=100)
    closed = dataclasses.replace(few, open_answers=False)
    outcome = run("base", model, items[:6], shots, closed)
    assert len(outcome.scores) == 6 * (2 + few.unseen) and not outcome.written and not outcome.long
    assert outcome.result.long is None and outcome.result.search is None
    assert "open_spread" not in headline.flat(outcome.result)


@pytest.mark.parametrize("count", [1, 2])
def test_a_single_question_is_enough(material: tuple[Any, ...], count: int) -> None:
    model, _, _, items, shots, settings = material
    few = dataclasses.replace(settings, **{**SUITE, "search": None, "long": None})
    result = run("base", model, items[:count], shots, few).result
    assert result.items == count and result.recommendation is None
    assert ("sigma_format" in result.measures) == (count > 1)


def test_read_back_and_compared_with_itself(
    material: tuple[Any, ...], outcome: Outcome, tmp_path: Path
) -> None:
    items = material[3]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        outcome.write(tmp_path / name, items)
    stored_run, other = (stored.read(tmp_path / name) for name in "ab")
    assert stored_run.result == outcome.result and stored_run.items == items
    order = np.random.default_rng(0).permutation(len(other.rows))
    shuffled = dataclasses.replace(other, rows=[other.rows[n] for n in order], items=other.items[::-1])
    comparison = stored.side_by_side(stored_run, shuffled)
    assert comparison == stored.side_by_side(stored_run, other) and comparison.items == 24
    assert all(row.change == row.low == row.high == 0 for row in comparison.measures)
    assert comparison.gate.passed and len(comparison.alarms) == 1
    changes = comparison.families
    families = {"unseen", "grammar", "instruction", "noise", "shots", "options", "distractor"}
    assert {e.name for e in changes if e.part == "family"} == families
    styles = {row.style for row in outcome.result.options}
    assert {e.name for e in changes if e.part == "options"} == styles
    asked = {(row["task"], row["kind"]) for row in outcome.long}
    assert len(asked) == sum(e.part == "long" for e in changes) and len(asked) > 4
    assert all(row.change == 0 for e in changes for row in e.measures)
    assert all(row.low == row.high == 0 for e in changes if e.part != "long" for row in e.measures)
    # Few questions are asked in long prompts, so no change in them leaves others possible.
    assert all(row.low < 0 < row.high for e in changes if e.part == "long" for row in e.measures)
    table = stored.experiment({"model": "phi-tiny"}, [stored_run, other]).answers
    unseen = [row.name for row in outcome.result.variants if row.family == "unseen"]
    assert table.variants == [*SUITE["formats"], *unseen] and unseen and len(table.items) == 24
    first = table.items[0]
    row = next(r for r in outcome.scores if r["item"] == first.id and r["variant"] == "qa")
    assert first.prompts[2] == row["prompt"] and first.runs[1].chosen[2] == row["chosen"]
    shares = np.exp(row["logprobs"]) / np.exp(row["logprobs"]).sum()
    assert first.runs[0].probabilities[2] == pytest.approx(shares, abs=1e-4)
    assert first.runs[0].probability[2] == first.runs[0].probabilities[2][first.answer]


def test_only_the_same_questions_are_compared(
    material: tuple[Any, ...], outcome: Outcome, tmp_path: Path
) -> None:
    outcome.write(tmp_path, material[3])
    whole = stored.read(tmp_path)
    changed = dataclasses.replace(whole.items[0], question="Another?")
    other = dataclasses.replace(whole, items=[changed, *whole.items[1:]])
    assert stored.side_by_side(whole, other).items == 23  # without the changed question
    with pytest.raises(SteadyPhiError, match="no format or no question in common"):
        stored.side_by_side(whole, dataclasses.replace(whole, items=[]))
    mean = dataclasses.replace(whole, result=dataclasses.replace(whole.result, scorer="mean"))
    with pytest.raises(SteadyPhiError, match="one evaluation ranks choices by scorer raw, the other by mean"):
        stored.side_by_side(whole, mean)
    with pytest.raises(SteadyPhiError, match=r"result\.json: No such file"):
        stored.read(tmp_path / "nowhere")


def test_a_family_that_does_not_fit_is_left_out_and_said(material: tuple[Any, ...]) -> None:
    model, _, _, items, shots, settings = material
    long = [dataclasses.replace(shot, question=f"{shot.question} {'word ' * 300}") for shot in shots]
    few = dataclasses.replace(settings, **{**SUITE, "search": None, "long": None, "open_answers": False})
    result = run("base", model, items, long, few).result
    assert result.notes == ["8 of 8 items of family shots: too long for the context"]
    assert "shots" not in {row.family for row in result.variants}


def test_classes_have_measures_of_their_own(material: tuple[Any, ...]) -> None:
    """If all items have the same choices, the most common answer is the accuracy of a blind choice."""
    model, _, _, items, shots, settings = material
    asked = [
        dataclasses.replace(item, choices=("yes", "no"), answer=int(n < 4))
        for n, item in enumerate(items[:16])
    ]
    few = dataclasses.replace(settings, formats=("qa", "bare"), families=None, long=None, open=None)
    result = run("base", model, asked, shots, few).result
    assert result.chance == 12 / 16
    assert 0 <= result.measures["errica_consistency"].value <= 1
    assert all(row.batch_calibrated is not None for row in result.variants)


def test_p_values_are_adjusted_for_all_variants_together(outcome: Outcome) -> None:
    table = {(r["item"], r["variant"]): r["correct"] for r in outcome.scores}
    raw = {}
    for row in outcome.result.variants[1:]:
        pairs = [(table[i, "phi2"], right) for (i, name), right in table.items() if name == row.name]
        raw[row.name] = mcnemar(*(np.array(side) for side in zip(*pairs, strict=True)))
    adjusted = dict(zip(raw, holm(list(raw.values())), strict=True))
    assert {r.name: r.p_holm for r in outcome.result.variants[1:]} == pytest.approx(adjusted)


def test_how_many_prompts_a_variant_changes_is_counted(outcome: Outcome) -> None:
    rows = variants(outcome)
    assert rows["phi2"].changed == 0 and rows["qa"].changed == 1
    assert 0 < rows["noise-typos-0.3"].changed <= 1
    prompts = {(r["item"], r["variant"]): r["prompt"] for r in outcome.scores}
    differs = [text != prompts[i, "phi2"] for (i, name), text in prompts.items() if name == "noise-typos-0.3"]
    assert rows["noise-typos-0.3"].changed == np.mean(differs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("schema"), "has schema 1, this version reads 4; run dvc repro"),
        (lambda values: values.update(schema=5), "has schema 5, this version reads 4; run dvc repro"),
        (lambda values: values.pop("chance"), "chance: Field required; run dvc repro"),
        (lambda values: values.update(items="many"), "items: Input should be a valid integer"),
    ],
)
def test_a_result_of_another_version_is_refused_in_one_line(
    material: tuple[Any, ...],
    outcome: Outcome,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], Any],
    message: str,
) -> None:
    outcome.write(tmp_path, material[3])
    values = json.loads((tmp_path / "result.json").read_text())
    change(values)
    (tmp_path / "result.json").write_text(json.dumps(values))
    with pytest.raises(SteadyPhiError) as refused:
        stored.read(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path}/result.json: {message}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ['{"schema":' * 3000 + "1" + "}" * 3000, "[]", '{"a": "\\ud800"}', "{"])
def test_what_is_no_result(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(SteadyPhiError, match=r"json: cannot be read as a result \(.*\); run dvc repro$"):
        stored.read(tmp_path)


class Parrot:
    """A back end without a model: scores are the parity of the last token, texts the end of the prompt."""

    context = 512

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.tokenizer = tokenizer

    def score(self, requests: Sequence[Request], label: str = "score") -> list[float]:
        return [-1.0 - request.continuation[-1] % 2 for request in requests]

    def score_in_small_batches(self, requests: Sequence[Request], label: str) -> list[float]:
        return self.score(requests)

    def generate(self, prompts: Sequence[str], max_new_tokens: int, label: str) -> list[Generated]:
        return [Generated(prompt[-5:], 1) for prompt in prompts]


def test_another_back_end_is_evaluated_through_the_same_interface(material: tuple[Any, ...]) -> None:
    _, _, tokenizer, items, shots, settings = material
    outcome = run("base", Parrot(tokenizer), items[:10], shots, dataclasses.replace(settings, **SUITE))
    assert outcome.result.measures["noise_flip_rate"].value == 0 and outcome.result.search is not None
    assert {row["text"] for row in outcome.written if row["variant"] == "phi2"} == {"tput:"}
    row = outcome.scores[0]
    item = next(item for item in items if item.id == row["item"])
    last = [tokenizer.encode(f" {choice}")[-1] for choice in item.choices]
    assert row["logprobs"] == [-1.0 - token % 2 for token in last]


def test_an_answer_with_any_beginning_is_transformers_sum(
    material: tuple[Any, ...], outcome: Outcome
) -> None:
    """The probabilities of an answer at once, after a space and after a newline, added up."""
    _, theirs, tokenizer, items, *_ = material
    choices = {item.id: item.choices for item in items}
    for row in [r for r in outcome.scores if r["variant"] in ("phi2", "bare", "phi2-newline")][::9]:
        prompt, expected = tokenizer.encode(row["prompt"]), []
        for choice in choices[row["item"]]:
            answers = [tokenizer.encode(lead + choice) for lead in ("", " ", "\n")]
            logits = [theirs(torch.tensor([prompt + answer])).logits[0] for answer in answers]
            logprobs = [
                torch.log_softmax(z[len(prompt) - 1 : -1].double(), -1)[range(len(a)), a].sum()
                for z, a in zip(logits, answers, strict=True)
            ]
            expected.append(torch.logsumexp(torch.stack(logprobs), 0).item())
        assert row["begun"] == pytest.approx(expected, abs=1e-3)
    rows = [r for r in outcome.scores if r["variant"] == "phi2-newline"]
    right = np.mean([np.argmax(r["begun"]) == r["answer"] for r in rows])
    assert variants(outcome)["phi2-newline"].any_beginning == pytest.approx(right)
    assert variants(outcome)["noise-typos-0.3"].any_beginning is None


def test_other_processes_take_part_in_the_work_of_the_model_alone(
    material: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _, _, items, shots, settings = material
    small = {"formats": ("phi2", "qa"), "families": None, "search": Search(4, 20, "thompson"), "draws": 100}
    chosen = dataclasses.replace(settings, **small)
    asked: list[list[tuple[Request, ...]]] = []
    score = LanguageModel.score
    monkeypatch.setattr(
        LanguageModel,
        "score",
        lambda self, requests, *rest: (asked[-1].append(tuple(requests)), score(self, requests, *rest))[1],
    )
    for first in (True, False):
        asked.append([])
        assert (run("base", model, items[:8], shots, chosen, analysed=first) is None) is not first
    assert asked[0] == asked[1] and len(asked[0]) > 1
