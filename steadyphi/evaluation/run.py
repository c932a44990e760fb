"""The whole evaluation of a model: all parts of a suite, and the folder with the results."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from steadyphi.data.tables import write_items, write_table
from steadyphi.evaluation import choices, open_answers
from steadyphi.evaluation.format_search import search_formats
from steadyphi.evaluation.long.ask import ask
from steadyphi.evaluation.long.failures import cause, failed
from steadyphi.evaluation.long.probe import ProbeResult
from steadyphi.evaluation.long.probes import probes
from steadyphi.evaluation.long.summary import summarize
from steadyphi.evaluation.suite import variants_of
from steadyphi.files import write_json
from steadyphi.inference.language_model import Backend
from steadyphi.prompts.formats import Format
from steadyphi.prompts.item import Item
from steadyphi.prompts.variants import Variant
from steadyphi.results.analysis import analyse
from steadyphi.results.answers import EvaluationAnswers
from steadyphi.results.cells import SCORES
from steadyphi.results.quantized import compare_quantized
from steadyphi.results.result import Estimate, Result
from steadyphi.results.stored import to_json
from steadyphi.settings.schema import Evaluate
from steadyphi.stats.alarms import rounding_alarm

LONG = pa.schema(
    [
        ("task", pa.string()),
        ("kind", pa.string()),
        ("item", pa.string()),
        ("length", pa.int32()),
        ("depth", pa.float32()),
        ("prompt", pa.string()),
        ("right", pa.string()),
        ("ranked_first", pa.string()),
        ("text", pa.string()),
        ("failure", pa.string()),  # null if it did not fail
    ]
)


@dataclass(frozen=True)
class Outcome:
    """The rows of the three tables, and the result."""

    scores: list[dict[str, Any]]
    written: list[dict[str, Any]]
    long: list[dict[str, Any]]
    result: Result

    def write(self, folder: Path, items: Sequence[Item]) -> None:
        """Write scores.parquet, written.parquet, long.parquet, items.parquet and result.json."""
        write_table(folder / "scores.parquet", self.scores, SCORES)
        write_table(folder / "written.parquet", self.written, open_answers.TEXTS)
        write_table(folder / "long.parquet", self.long, LONG)
        write_items(folder / "items.parquet", items)
        write_json(folder / "result.json", to_json(self.result))


def run(
    label: str,
    model: Backend,
    items: Sequence[Item],
    shots: Sequence[Item],
    settings: Evaluate,
    quantized: Callable[[int], Backend] | None = None,
    analysed: bool = True,
) -> Outcome | None:
    """Evaluate a model on all parts of the suite.

    label: names the model in the result. shots: few-shot examples.
    items: evaluated in all formats, so they must fit the context in each.
    quantized: returns the model with its weights in this number of bits, for `settings.quantized`.
    analysed: whether to analyse the answers; if not, return None. Of several processes, only the first
    analyses; the others only ask the model.
    """
    all_variants = variants_of(settings)
    variants = [v for v in all_variants if v.shots <= len(shots)]
    scores = choices.evaluate(model, items, shots, variants, settings)
    noise = choices.noise(model, items, variants, settings, scores)
    written = _open_answers(model, items, [v for v in variants if v.family == "format"], settings)
    long, left_out = _long(model, items, variants[0].format, settings)
    search = search_formats(model, items, settings)
    again = _quantized(quantized, items, variants, settings) if quantized else {}
    if not analysed:
        return None
    answers = EvaluationAnswers(scores, written, variants, items, shots, model.tokenizer, settings)
    too_few = [
        f"variant {v.name}: needs {v.shots} examples, there are {len(shots)}"
        for v in all_variants
        if v not in variants
    ]
    analysed_result = analyse(label, answers)
    rounding = rounding_alarm(analysed_result.measures["flip_rate"].value, noise)
    result = dataclasses.replace(
        analysed_result,
        alarms=[*analysed_result.alarms, *([rounding] if rounding else [])],
        measures={"noise_flip_rate": Estimate(noise), **analysed_result.measures},
        long=summarize(long, settings.confidence) if long else None,
        search=search,
        quantized=[
            compare_quantized(bits, scores, rows, _on_all_items(variants), settings)
            for bits, rows in again.items()
        ],
        notes=[*too_few, *_too_long(answers), *left_out],
    )
    return Outcome(scores, written, [_row(probe_result) for probe_result in long], result)


def _open_answers(
    model: Backend, items: Sequence[Item], formats: Sequence[Any], settings: Evaluate
) -> list[dict[str, Any]]:
    if not (settings.open_answers and settings.open and settings.open.items):
        return []
    open_items = items[: settings.open.items]
    return open_answers.answer(model, open_items, formats, settings.open.max_new_tokens, settings.seed)


def _quantized(
    model: Callable[[int], Backend], items: Sequence[Item], variants: Sequence[Variant], settings: Evaluate
) -> dict[int, list[dict[str, Any]]]:
    """Ask all items again in the formats and the unseen formats, with quantized weights."""
    asked = _on_all_items(variants)
    return {bits: choices.evaluate(model(bits), items, [], asked, settings) for bits in settings.quantized}


def _on_all_items(variants: Sequence[Variant]) -> list[Variant]:
    return [v for v in variants if v.family in choices.ON_ALL_ITEMS]


def _too_long(answers: EvaluationAnswers) -> list[str]:
    """Return a line for each family with items that are too long for the context."""
    chosen = answers.settings.families
    present, lines = answers.families(), []
    for family in dict.fromkeys(v.family for v in answers.variants):
        count = len(answers.items)
        total = count if family in choices.ON_ALL_ITEMS or not chosen else min(chosen.items, count)
        evaluated = len(answers.cells(present[family]).items) if family in present else 0
        if evaluated < total:
            lines.append(f"{total - evaluated} of {total} items of family {family}: too long for the context")
    return lines


def _long(
    model: Backend, items: Sequence[Item], format_: Format, settings: Evaluate
) -> tuple[list[ProbeResult], list[str]]:
    """Return the results of the long prompts, and a line for each length that was left out."""
    if settings.long is None:
        return [], []
    long = probes(
        model.tokenizer,
        items,
        format_,
        settings.long.lengths,
        settings.long.depths,
        settings.long.count,
        model.context,
        settings.seed,
    )
    return ask(model, long.probes, format_), [f"long prompts of {line}" for line in long.left_out]


def _row(result: ProbeResult) -> dict[str, Any]:
    probe = result.probe
    return {
        "task": probe.task,
        "kind": probe.kind,
        "item": probe.item,
        "length": probe.length,
        "depth": probe.depth,
        "prompt": probe.prompt,
        "right": probe.candidates[probe.answer].text,
        "ranked_first": result.top.text if result.top else None,
        "text": result.text,
        "failure": cause(result) if failed(result) else None,
    }
