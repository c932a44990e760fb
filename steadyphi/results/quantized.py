"""What quantized weights change: the answers of the same model, on the same prompts, before and after."""

from collections.abc import Sequence

from steadyphi.prompts.variants import Variant
from steadyphi.results.answers import Rows
from steadyphi.results.cells import asked_in_all, cells
from steadyphi.results.result import QuantizedChange
from steadyphi.settings.schema import Evaluate
from steadyphi.stats.bootstrap import Resampling
from steadyphi.stats.catalogue import of_scope, used_in
from steadyphi.stats.comparison import MeasureChange, measure_changes
from steadyphi.stats.estimate import Scope
from steadyphi.stats.measures import changed_share

SCOPES: dict[str, Scope] = {"format": "formats", "unseen": "unseen formats"}


def compare_quantized(
    bits: int, before: Rows, after: Rows, variants: Sequence[Variant], settings: Evaluate
) -> QuantizedChange:
    """Return the changes of the answers, and of the summary's measures over formats and unseen formats.

    before, after: rows of the table `cells.SCORES`, of the whole and of the quantized model.
    variants: those that both answered.
    """
    summary = {measure.key for measure in used_in("summary")}
    resampling = Resampling(settings.confidence, settings.draws, settings.seed)
    changes: list[MeasureChange] = []
    changed = 0.0
    for family, scope in SCOPES.items():
        names = [v.name for v in variants if v.family == family]
        items = asked_in_all(after, names)
        if not items or (family == "unseen" and len(names) < 2):
            continue
        was, now = (cells(rows, names, items, settings.scorer) for rows in (before, after))
        measures = [m for m in of_scope(scope) if m.key in summary and set(m.arrays) <= was.arrays.keys()]
        changes += measure_changes(was.arrays, now.arrays, measures, resampling)
        if family == "format":
            changed = changed_share(was.chosen.ravel(), now.chosen.ravel())
    return QuantizedChange(bits, changed, changes)
