"""From the answers of an evaluation to its result: measures, variants, effects, a recommendation, alarms."""

from collections import Counter
from typing import Any

import numpy as np

from steadyphi.prompts.grammar import NONE, OPTION_FACTORS
from steadyphi.results import headline
from steadyphi.results.answers import Asked
from steadyphi.results.cells import Cells
from steadyphi.results.variant_rows import describe
from steadyphi.settings.schema import Evaluate
from steadyphi.stats import agreement
from steadyphi.stats.alarms import chance_alarm
from steadyphi.stats.attribution import attribute
from steadyphi.stats.bootstrap import intervals
from steadyphi.stats.measures import flip_rate, length_ratio, performance_drop_rate, quantiles
from steadyphi.stats.permutation import without_preference
from steadyphi.stats.recommendation import FOLDS, recommend

NEWLINE = ("phi2-newline", "phi2")  # the same prompt with and without a newline at its end
Found = dict[str, dict[str, float | None]]


def analyse(label: str, asked: Asked) -> dict[str, Any]:
    """Return the result of one evaluation as plain JSON, without the parts that other modules add.

    Shares lie between 0 and 1; docs/metrics.md says what each number is.
    """
    settings, families = asked.settings, asked.families()
    core = asked.cells(families["format"])
    shares = core.correct.mean(axis=0)
    seen = [name in settings.styles for name in core.variants]
    chance = _chance(asked, core)
    alarm = chance_alarm(core.correct, chance, settings.confidence)
    return {
        "label": label,
        "confidence": settings.confidence,
        "draws": settings.draws,
        "seed": settings.seed,
        "scorer": settings.scorer,
        "items": len(core.items),
        "formats": len(core.variants),
        "chance": chance,
        "default": asked.default.name,
        "measures": headline.measure(core, seen, settings) | _beyond(asked, core) | _of_texts(asked),
        "variants": describe(asked),
        "quantiles": quantiles(shares),
        **_effects(asked),
        "skills": _skills(core),
        "options": _options(asked),
        "recommendation": _recommendation(asked, core),
        "alarms": [alarm] if alarm else [],
    }


def _chance(asked: Asked, core: Cells) -> float:
    """Return the accuracy of choosing blindly: of classes, the commonest one always."""
    blind = float(np.mean(1 / core.choices))
    if not asked.same_choices:
        return blind
    return max(blind, max(Counter(core.answer.tolist()).values()) / len(core.items))


def _beyond(asked: Asked, core: Cells) -> Found:
    """Return the measures of what some suites and tasks have: drawn formats, noise, classes."""
    settings, families = asked.settings, asked.families()
    found: Found = {}
    if drawn := families.get("grammar"):
        # These formats are a sample of the grammar, so they are drawn again too.
        arrays, wanted = asked.cells(drawn).arrays, {"grammar_accuracy": headline.BOUNDED["accuracy_mean"]}
        both = intervals(
            wanted, arrays, settings.confidence, settings.draws, settings.seed, redraw_variants=True
        )
        found |= {key: headline.plain(value) for key, value in both.items()}
    if noisy := families.get("noise"):
        shares = asked.cells([asked.default, *noisy]).correct.mean(axis=0)
        drop = performance_drop_rate(float(shares[0]), float(shares[1:].mean()))
        found |= {} if drop is None else {"pdr": headline.bare(drop)}
    if asked.same_choices:
        alike = agreement.class_consistency(core.probabilities, core.answer)
        found |= {} if alike is None else {"errica_consistency": headline.bare(alike)}
    return found


def _of_texts(asked: Asked) -> Found:
    """Return the measures of open answers, none if there are none."""
    names, right = asked.open_cells()
    if not names:
        return {}
    wanted = {
        f"open_{key}": headline.BOUNDED[key]
        for key in ("accuracy_mean", "accuracy_best", "accuracy_worst", "spread")
    }
    settings = asked.settings
    drawn = intervals(wanted, {"correct": right}, settings.confidence, settings.draws, settings.seed)
    found = {key: headline.plain(value) for key, value in drawn.items()}
    assert settings.open
    full = [row["tokens"] >= settings.open.max_new_tokens for row in asked.written]
    found["open_cut_short"] = headline.bare(float(np.mean(full)))
    if set(NEWLINE) <= set(names):
        lengths = (np.array([r["tokens"] for r in asked.written if r["variant"] == name]) for name in NEWLINE)
        ratio = length_ratio(*lengths)
        found |= {} if ratio is None else {"output_length_ratio": headline.bare(ratio)}
    return found


def _effects(asked: Asked) -> dict[str, Any]:
    """Return the atoms' effects on accuracy, over the items asked in all formats concerned.

    Those of the fields come from the named and the drawn formats that have a descriptor: one without has no
    casing, separator or gap either, and would leave all of these unclear. Those of the options come from
    all variants that list them.
    """
    families, settings = asked.families(), asked.settings
    fields = [v for v in families["format"] + families.get("grammar", []) if v.atoms["descriptor"] != NONE]
    listed = families.get("options", [])
    found: dict[str, Any] = {"effects": [], "aliased": [], "explained": 0.0}
    for some, kept in ((fields, None), (listed, OPTION_FACTORS)):
        if len(some) < 2:
            continue
        correct, atoms = asked.cells(some).correct, [v.atoms for v in some]
        effects = attribute(correct, atoms, settings.confidence, settings.draws, settings.seed)
        found["effects"] += [row for row in effects.effects if kept is None or row["factor"] in kept]
        found["aliased"] += [factor for factor in effects.aliased if kept is None or factor in kept]
        found["explained"] = found["explained"] if kept else effects.explained
    return found


def _skills(core: Cells) -> list[dict[str, Any]]:
    skills = np.array(core.skills)
    return [
        {"skill": skill, "variant": name, "items": int((skills == skill).sum())}
        | {"accuracy": float(core.correct[skills == skill, n].mean())}
        for skill in sorted(set(core.skills))
        for n, name in enumerate(core.variants)
    ]


def _options(asked: Asked) -> list[dict[str, Any]]:
    """Return, for each style that is asked in several orders, how much the places of options matter."""
    listed = asked.families().get("options", [])
    found: list[dict[str, Any]] = []
    for style, format_ in dict.fromkeys((v.options, v.format) for v in listed):
        some = asked.cells([v for v in listed if (v.options, v.format) == (style, format_)])
        if len(some.variants) < 2:
            continue
        assert style
        found.append(
            {
                "style": style.name,
                "variants": some.variants,
                "items": len(some.items),
                "orders": len(some.variants),
                "accuracy": float(some.correct.mean()),
                "flip_rate": flip_rate(some.chosen),
                **_places(some, asked.settings),
            }
        )
    return found


def _places(some: Cells, settings: Evaluate) -> dict[str, float | None]:
    """Return how much the model prefers places, with intervals, and what that is without a preference."""
    assert some.places is not None
    at, draws, seed = some.positions, settings.draws, settings.seed
    drawn = intervals(headline.PLACES, at, settings.confidence, draws, seed)
    chance = without_preference(headline.PLACES, some.chosen, some.places, at["right_at"], draws, seed)
    found: dict[str, float | None] = {}
    for key, value in drawn.items():
        ends = headline.plain(value)
        found |= {key: value.value, f"{key}_low": ends["low"], f"{key}_high": ends["high"]}
        found[f"{key}_unbiased"] = chance[key]
    return found


def _recommendation(asked: Asked, core: Cells) -> dict[str, Any] | None:
    """Return the format to use; of equally good ones that of the fewest tokens. None for too few items."""
    if len(core.items) < FOLDS:
        return None
    settings, question = asked.settings, asked.items[0].question
    formats = asked.families()["format"]
    costs = [len(asked.tokenizer.encode(v.format.prompt(question))) for v in formats]
    found = recommend(
        core.correct,
        core.variants,
        asked.default.name,
        settings.confidence,
        settings.draws,
        settings.seed,
        costs,
    )
    return {key: getattr(found, key) for key in found.__dataclass_fields__}
