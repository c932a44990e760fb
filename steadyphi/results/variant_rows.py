"""One row per variant: its accuracy by every scorer, and its difference from the default."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from steadyphi.prompts import held_out
from steadyphi.prompts.seam import audit
from steadyphi.prompts.variants import Variant, render
from steadyphi.results.answers import EvaluationAnswers
from steadyphi.results.by_scorer import correct_by_scorer, is_label
from steadyphi.results.cells import Cells
from steadyphi.results.panel import panel_correct
from steadyphi.results.result import OpenAccuracy, VariantRow
from steadyphi.settings.schema import Evaluate
from steadyphi.stats.interval import accuracy
from steadyphi.stats.paired import holm, mcnemar, paired_difference

SCORERS = ("panel", "normalized", "calibrated", "batch_calibrated", "any_beginning")
AUDITED = 20  # items per variant whose seam between prompt and answer is audited
Prompts = Mapping[tuple[str, str], str]  # from (item, variant) to the prompt


def variant_rows(answers: EvaluationAnswers) -> list[VariantRow]:
    """Return one row per variant, by family. The p-values are adjusted for all variants together."""
    prompts = {(row["item"], row["variant"]): row["prompt"] for row in answers.scores}
    opened = _open_accuracies(answers)
    rows = [
        row
        for family in answers.families().values()
        for row in _family_rows(answers, family, prompts, opened)
    ]
    others = [row for row in rows if row.name != answers.default.name]
    adjusted = dict(zip((row.name for row in others), holm([row.p_holm for row in others]), strict=True))
    return [replace(row, p_holm=adjusted.get(row.name, row.p_holm)) for row in rows]


def _family_rows(
    answers: EvaluationAnswers,
    family: Sequence[Variant],
    prompts: Prompts,
    opened: Mapping[str, OpenAccuracy],
) -> list[VariantRow]:
    """Return the rows of a family, over the items shared with the default. p_holm is not adjusted yet."""
    settings, default = answers.settings, answers.default
    both = answers.cells([default, *(v for v in family if v != default)])
    shares = accuracy(both.correct, settings.confidence)
    ranked = _other_scorers(answers, answers.cells(family), family)
    rows = []
    for n, variant in enumerate(family):
        column = both.variants.index(variant.name)
        correct = both.correct[:, column]
        change = paired_difference(both.correct[:, 0], correct, settings.confidence)
        changed = [prompts[i, variant.name] != prompts[i, default.name] for i in both.items]
        prompt, boundary, merges = _boundary(answers, variant, both)
        rows.append(
            VariantRow(
                name=variant.name,
                family=variant.family,
                seen=_trained_on(variant, settings),
                atoms=variant.atoms,
                items=len(both.items),
                changed=float(np.mean(changed)),
                prompt=prompt,
                boundary=boundary,
                merges=merges,
                accuracy=shares[column].value,
                low=shares[column].low,
                high=shares[column].high,
                **{name: None if values is None else values[n] for name, values in ranked.items()},
                open=opened.get(variant.name),
                change=change.value,
                change_low=change.low,
                change_high=change.high,
                p_holm=mcnemar(both.correct[:, 0], correct),
            )
        )
    return rows


def _trained_on(variant: Variant, settings: Evaluate) -> bool:
    """Return whether training could have used the format of this variant."""
    untrained, count = settings.held_out.untrained, settings.grammar_formats
    drawn = settings.grammar > 0 and held_out.is_trainable(variant.format, untrained, count, settings.seed)
    named = settings.grammar < 1 and variant.name in settings.styles
    return drawn or named


def _boundary(answers: EvaluationAnswers, variant: Variant, both: Cells) -> tuple[str, str, float]:
    """Return the prompt of one item, its boundary, and the share of prompts whose last token merges."""
    audited = set(both.items[:AUDITED])
    prompts, boundaries = [], []
    for item in (item for item in answers.items if item.id in audited):
        rendered = render(variant, item, answers.shots, answers.settings.seed)
        prompts.append(rendered.prompt)
        boundaries.append(audit(answers.tokenizer, rendered.prompt, rendered.answers[item.answer]))
    merges = float(np.mean([boundary.merges for boundary in boundaries]))
    return prompts[0], boundaries[0].summary, merges


def _other_scorers(
    answers: EvaluationAnswers, family_cells: Cells, family: Sequence[Variant]
) -> dict[str, list[float | None] | None]:
    """Return the accuracies by other scorers, None where a scorer is not defined."""
    correct = correct_by_scorer(answers, family_cells)
    averaged = panel_correct(answers, family[0].family)
    if averaged is not None:
        correct["panel"] = averaged
    shares: dict[str, list[float | None] | None] = {name: None for name in SCORERS}
    shares |= {name: [float(share) for share in right.mean(axis=0)] for name, right in correct.items()}
    normalized = zip(family, correct["normalized"].mean(axis=0), strict=True)
    shares["normalized"] = [None if is_label(variant) else float(share) for variant, share in normalized]
    return shares


def _open_accuracies(answers: EvaluationAnswers) -> dict[str, OpenAccuracy]:
    """Return the accuracy of generated answers per format, and that by log-probability on the same items."""
    names, correct = answers.open_cells()
    if not names:
        return {}
    items = {row["item"] for row in answers.written}
    ranked = {
        name: [r["correct"] for r in answers.scores if r["variant"] == name and r["item"] in items]
        for name in names
    }
    shares = accuracy(correct, answers.settings.confidence)
    return {
        name: OpenAccuracy(share.value, share.low, share.high, len(correct), float(np.mean(ranked[name])))
        for name, share in zip(names, shares, strict=True)
    }
