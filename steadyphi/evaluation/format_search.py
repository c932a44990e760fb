"""The search for the best and the worst of many formats of the grammar, scored with a language model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steadyphi.evaluation import choices
from steadyphi.evaluation.suite import fitting
from steadyphi.inference.language_model import Backend
from steadyphi.prompts import families
from steadyphi.prompts.item import Item
from steadyphi.prompts.variants import Variant, render
from steadyphi.results.result import SearchedFormat, SearchResult
from steadyphi.settings.schema import Evaluate
from steadyphi.stats.search import Cells, SearchOutcome, search


def search_formats(model: Backend, items: Sequence[Item], settings: Evaluate) -> SearchResult | None:
    """Return the result of the search that `settings.search` describes, or None if it is None.

    Only items that fit the context in all drawn formats are used.
    """
    if settings.search is None:
        return None
    formats = families.grammar(settings.search.formats, settings.seed)
    fitting_items = fitting(model.tokenizer, formats, items, [], model.context, settings.seed)

    def score(cells: Cells) -> NDArray[np.bool_]:
        pairs = [(formats[variant], fitting_items[item]) for variant, item in cells]
        return choices.correct(model, pairs, settings, "search")

    outcome = search(
        score,
        [v.atoms for v in formats],
        len(fitting_items),
        settings.search.cells,
        settings.seed,
        settings.search.method,
        confidence=settings.confidence,
    )
    return _result(outcome, formats, fitting_items[0], settings)


def _result(
    outcome: SearchOutcome, formats: Sequence[Variant], item: Item, settings: Evaluate
) -> SearchResult:
    def shown(index: int) -> SearchedFormat:
        prompt = render(formats[index], item, [], settings.seed).prompt
        share = outcome.accuracies[index]
        return SearchedFormat(formats[index].name, prompt, share.value, share.low, share.high)

    return SearchResult(
        formats=len(formats),
        cells=outcome.cells,
        grid=outcome.grid,
        best=shown(outcome.best),
        worst=shown(outcome.worst),
        spread=outcome.spread,
        expected=outcome.expected,
        quantiles=outcome.quantiles,
        trajectory=outcome.trajectory,
    )
