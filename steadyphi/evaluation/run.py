"""A whole evaluation of one model: everything that a suite asks, and the folder of what came out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from steadyphi.data.tables import write_items, write_table
from steadyphi.evaluation import choices, open_answers
from steadyphi.evaluation.format_search import explore
from steadyphi.evaluation.long import summary as long_measures
from steadyphi.evaluation.long.asking import ask
from steadyphi.evaluation.long.failures import cause, failed
from steadyphi.evaluation.long.probe import Result
from steadyphi.evaluation.long.probes import probes
from steadyphi.evaluation.suite import variants_of
from steadyphi.files import write_json
from steadyphi.inference.score_cache import ScoreCache
from steadyphi.model import Phi
from steadyphi.prompts.formats import Format
from steadyphi.prompts.item import Item
from steadyphi.results import analysis
from steadyphi.results.answers import Asked
from steadyphi.results.cells import SCORES
from steadyphi.settings.schema import Evaluate
from steadyphi.tokenizer import TextTokenizer

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
        ("failure", pa.string()),  # null where it did not fail
    ]
)


@dataclass(frozen=True)
class Outcome:
    """The rows of the three tables, and the result: plain JSON (docs/metrics.md)."""

    scores: list[dict[str, Any]]
    written: list[dict[str, Any]]
    long: list[dict[str, Any]]
    result: dict[str, Any]

    def write(self, folder: Path, items: Sequence[Item]) -> None:
        """Write scores.parquet, written.parquet, long.parquet, items.parquet and result.json."""
        write_table(folder / "scores.parquet", self.scores, SCORES)
        write_table(folder / "written.parquet", self.written, open_answers.TEXTS)
        write_table(folder / "long.parquet", self.long, LONG)
        write_items(folder / "items.parquet", items)
        write_json(folder / "result.json", self.result)


def run(
    label: str,
    model: Phi,
    tokenizer: TextTokenizer,
    items: Sequence[Item],
    shots: Sequence[Item],
    settings: Evaluate,
    cache: ScoreCache | None = None,
) -> Outcome:
    """Ask everything that the suite asks.

    items: asked in all formats, so they must fit the context in each. shots: few-shot examples.
    """
    variants = variants_of(settings)
    formats = [v for v in variants if v.family == "format"]
    poor = [v for v in variants if v.shots > len(shots)]
    variants = [v for v in variants if v not in poor]
    scores = choices.evaluate(model, tokenizer, items, shots, variants, settings, cache)
    noise = choices.noise(model, tokenizer, items, variants, settings, scores)
    written = []
    if settings.open_answers and settings.open and settings.open.items:
        few, most = items[: settings.open.items], settings.open.max_new_tokens
        written = open_answers.answer(model, tokenizer, few, formats, most, settings.seed, cache)
    found, left_out = _long(model, tokenizer, items, variants[0].format, settings, cache)
    asked = Asked(scores, written, variants, items, shots, tokenizer, settings)
    result = analysis.analyse(label, asked)
    result["noise_flip_rate"] = noise
    result["long"] = long_measures.summarize(found, settings.confidence) if found else None
    result["search"] = explore(model, tokenizer, items, settings, cache)
    too_few = [f"variant {v.name}: there are {len(shots)} examples" for v in poor]
    result["notes"] = [*too_few, *_thinned(asked), *left_out]
    return Outcome(scores, written, [_row(one) for one in found], result)


def _thinned(asked: Asked) -> list[str]:
    """Return a line for each family of which some items, or all, do not fit the context."""
    chosen = asked.settings.families
    found, lines = asked.families(), []
    for family in dict.fromkeys(v.family for v in asked.variants):
        wanted = len(asked.items) if family == "format" or not chosen else min(chosen.items, len(asked.items))
        there = len(asked.cells(found[family]).items) if family in found else 0
        if there < wanted:
            lines.append(f"{wanted - there} of {wanted} items of family {family}: too long for the context")
    return lines


def _long(
    model: Phi,
    tokenizer: TextTokenizer,
    items: Sequence[Item],
    format_: Format,
    settings: Evaluate,
    cache: ScoreCache | None,
) -> tuple[list[Result], list[str]]:
    """Return the results of the long prompts, and which lengths were left out and why."""
    if settings.long is None:
        return [], []
    made = probes(
        tokenizer,
        items,
        format_,
        settings.long.lengths,
        settings.long.depths,
        settings.long.count,
        model.config.block_size,
        settings.seed,
    )
    found = ask(model, tokenizer, made.probes, format_, settings.batch_tokens, cache)
    return found, [f"long prompts of {line}" for line in made.left_out]


def _row(result: Result) -> dict[str, Any]:
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
