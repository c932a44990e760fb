"""The search for the best and the worst of many drawn formats, put to a model."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadyphi.evaluation import choices
from steadyphi.evaluation.suite import fitting
from steadyphi.inference.score_cache import ScoreCache
from steadyphi.model import Phi
from steadyphi.prompts import families
from steadyphi.prompts.item import Item
from steadyphi.prompts.variants import Variant, render
from steadyphi.settings.schema import Evaluate
from steadyphi.stats.search import Cells, Found, search
from steadyphi.tokenizer import TextTokenizer


def explore(
    model: Phi,
    tokenizer: TextTokenizer,
    items: Sequence[Item],
    settings: Evaluate,
    cache: ScoreCache | None = None,
) -> dict[str, Any] | None:
    """Return what `settings.search` finds, as plain JSON; None where nothing is to be searched.

    Asked are the items that fit the context in all formats that are drawn.
    """
    if settings.search is None:
        return None
    formats = families.grammar(settings.search.formats, settings.seed)
    asked = fitting(tokenizer, formats, items, [], model.config.block_size, settings.seed)

    def score(cells: Cells) -> NDArray[np.bool_]:
        pairs = [(formats[variant], asked[item]) for variant, item in cells]
        return choices.correct(model, tokenizer, pairs, settings, "search", cache)

    found = search(
        score,
        [v.atoms for v in formats],
        len(asked),
        settings.search.cells,
        settings.seed,
        settings.search.method,
        confidence=settings.confidence,
    )
    return _plain(found, formats, asked[0], settings)


def _plain(found: Found, formats: Sequence[Variant], example: Item, settings: Evaluate) -> dict[str, Any]:
    def shown(index: int) -> dict[str, Any]:
        prompt = render(formats[index], example, [], settings.seed).prompt
        share = found.accuracies[index]
        ends = {"accuracy": share.value, "low": share.low, "high": share.high}
        return {"name": formats[index].name, "prompt": prompt, **ends}

    return {
        "formats": len(formats),
        "cells": found.cells,
        "grid": found.grid,
        "best": shown(found.best),
        "worst": shown(found.worst),
        "spread": asdict(found.spread),
        "expected": asdict(found.expected),
        "quantiles": found.quantiles,
        "trajectory": [asdict(step) for step in found.trajectory],
    }
