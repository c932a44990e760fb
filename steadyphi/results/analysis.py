"""Analysis of the answers of an evaluation: measures, variants, effects, recommendation and alarms."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from steadyphi.prompts.grammar import NONE, OPTION_FACTORS
from steadyphi.prompts.variants import Variant
from steadyphi.results.answers import EvaluationAnswers
from steadyphi.results.cells import Cells
from steadyphi.results.decomposition import decompositions
from steadyphi.results.headline import measure
from steadyphi.results.result import Estimate, OptionRow, PositionMeasure, Result, SkillRow
from steadyphi.results.variant_rows import variant_rows
from steadyphi.stats.alarms import chance_alarm, noise_alarm, options_alarm
from steadyphi.stats.attribution import Attribution, Effect, attribute
from steadyphi.stats.bootstrap import Resampling
from steadyphi.stats.catalogue import of_scope
from steadyphi.stats.measures import flip_rate, quantiles
from steadyphi.stats.permutation import without_preference
from steadyphi.stats.recommendation import FOLDS, Recommendation, recommend


def analyse(label: str, answers: EvaluationAnswers) -> Result:
    """Return the result of an evaluation, except for rounding, long prompts, the search and the notes."""
    settings, resampling = answers.settings, answers.resampling
    core = answers.cells(answers.families()["format"])
    chance = _chance(answers, core)
    measures = measure(answers, resampling)
    effects = _effects(answers)
    return Result(
        label=label,
        confidence=settings.confidence,
        draws=settings.draws,
        seed=settings.seed,
        scorer=settings.scorer,
        items=len(core.items),
        formats=len(core.variants),
        chance=chance,
        default=answers.default.name,
        measures=measures,
        variants=variant_rows(answers),
        quantiles=quantiles(core.correct.mean(axis=0)),
        effects=effects.effects,
        aliased=effects.aliased,
        explained=effects.explained,
        skills=_skills(core),
        options=_options(answers),
        recommendation=_recommendation(answers, core),
        alarms=_alarms(answers, measures),
        decompositions=decompositions(answers),
    )


def _alarms(answers: EvaluationAnswers, measures: Mapping[str, Estimate]) -> list[str]:
    """Return the alarms of the formats; if these are no guesses, of the other families and option styles."""
    families, confidence = answers.families(), answers.settings.confidence
    if alarm := _chance_alarm(answers, families.pop("format")):
        return [alarm]
    styles: dict[str, list[Variant]] = {}
    for variant in families.pop("options", []):
        assert variant.options
        styles.setdefault(variant.options.name, []).append(variant)
    alarms = [noise_alarm(measures["p_value"].value, confidence)] if "p_value" in measures else []
    alarms += [_chance_alarm(answers, variants, name) for name, variants in families.items()]
    guessed = [name for name, variants in styles.items() if _chance_alarm(answers, variants)]
    alarms += [options_alarm(guessed, len(styles))] if guessed else []
    return [alarm for alarm in alarms if alarm]


def _chance_alarm(answers: EvaluationAnswers, variants: Sequence[Variant], family: str = "") -> str | None:
    asked = answers.cells(variants)
    return chance_alarm(asked.correct, _chance(answers, asked), answers.settings.confidence, family)


def _chance(answers: EvaluationAnswers, core: Cells) -> float:
    """Return the accuracy of random guessing, or of the most frequent answer if that is higher.

    The most frequent answer counts only if all items have the same choices.
    """
    uniform = float(np.mean(1 / core.choices))
    if not answers.same_choices:
        return uniform
    return max(uniform, max(Counter(core.answer.tolist()).values()) / len(core.items))


def _effects(answers: EvaluationAnswers) -> Attribution:
    """Return the effects of the atoms on accuracy, over the items that are scored in all formats concerned.

    The effects of the fields come from the named and the drawn formats that have a descriptor. A format
    without a descriptor has no casing, separator or gap either, so none of these effects would be determined.
    The effects of the options come from all variants that list options.
    """
    families = answers.families()
    formats = families["format"] + families.get("grammar", [])
    fields = _attributed(answers, [v for v in formats if v.atoms["descriptor"] != NONE])
    options = _attributed(answers, families.get("options", []))
    effects: list[Effect] = [effect for effect in options.effects if effect.factor in OPTION_FACTORS]
    aliased = [factor for factor in options.aliased if factor in OPTION_FACTORS]
    return Attribution(fields.effects + effects, fields.aliased + aliased, fields.explained)


def _attributed(answers: EvaluationAnswers, variants: list) -> Attribution:
    if len(variants) < 2:
        return Attribution([], [], 0.0)
    correct = answers.cells(variants).correct
    return attribute(correct, [variant.atoms for variant in variants], answers.resampling)


def _skills(core: Cells) -> list[SkillRow]:
    skills = np.array(core.skills)
    return [
        SkillRow(skill, name, int((skills == skill).sum()), float(core.correct[skills == skill, n].mean()))
        for skill in sorted(set(core.skills))
        for n, name in enumerate(core.variants)
    ]


def _options(answers: EvaluationAnswers) -> list[OptionRow]:
    """Return the measures of option positions, for each style that is scored in several orders."""
    listed = answers.families().get("options", [])
    rows: list[OptionRow] = []
    for style, format_ in dict.fromkeys((v.options, v.format) for v in listed):
        orders = answers.cells([v for v in listed if (v.options, v.format) == (style, format_)])
        if len(orders.variants) < 2:
            continue
        assert style
        rows.append(
            OptionRow(
                style=style.name,
                variants=orders.variants,
                items=len(orders.items),
                orders=len(orders.variants),
                accuracy=float(orders.correct.mean()),
                flip_rate=flip_rate(orders.chosen),
                **_positions(orders, answers.resampling),
            )
        )
    return rows


def _positions(orders: Cells, resampling: Resampling) -> dict[str, PositionMeasure]:
    """Return the measures of positions, each with its value for a model that prefers no position."""
    assert orders.places is not None
    at, statistics = orders.positions, {m.key: m.value for m in of_scope("option orders")}
    unbiased = without_preference(statistics, orders.chosen, orders.places, at["right_at"], resampling)
    return {key: PositionMeasure(value(at), unbiased[key]) for key, value in statistics.items()}


def _recommendation(answers: EvaluationAnswers, core: Cells) -> Recommendation | None:
    """Return the recommended format: the shortest of equally good ones. None if there are too few items."""
    if len(core.items) < FOLDS:
        return None
    question = answers.items[0].question
    formats = answers.families()["format"]
    costs = [len(answers.tokenizer.encode(v.format.prompt(question))) for v in formats]
    return recommend(core.correct, core.variants, answers.default.name, answers.resampling, costs)
