"""An experiment as large and as varied as a real one, made up by seed."""

import random
from dataclasses import replace
from typing import Literal

from steadyphi.prompts.formats import FORMATS
from steadyphi.prompts.grammar import GrammarFormat
from steadyphi.results.experiment import (
    Answers,
    AnswerTable,
    Experiment,
    FamilyChange,
    MixedModel,
    QuestionAnswers,
    RunComparison,
)
from steadyphi.results.result import (
    Decomposition,
    Estimate,
    LongShare,
    LongSummary,
    OpenAccuracy,
    OptionRow,
    PositionMeasure,
    QuantizedChange,
    Result,
    SearchedFormat,
    SearchResult,
    SkillRow,
    VariantRow,
)
from steadyphi.stats.attribution import Effect
from steadyphi.stats.comparison import MeasureChange, VariantChange
from steadyphi.stats.crossed import Component
from steadyphi.stats.gate import Gate
from steadyphi.stats.interval import Interval
from steadyphi.stats.recommendation import Recommendation
from steadyphi.stats.search import Step

ITEMS = 60
FAMILIES = ("instruction", "noise", "shots", "options", "distractor")
SKILLS = ("adding", "capitals", "comparing", "opposites", "plurals", "spelling backwards")
COLOURS = ("red", "green", "blue", "yellow")
LENGTHS = (64, 128, 256, 512)
# What a data set might contain to break a page that trusts it.
HOSTILE = [
    "What is </script><script>window.owned = 1</script>?",
    'What is <img src=x onerror="window.owned = 1">?',
    "Is <!--<script> & \"quoted\" 'text' &lt;b&gt; \u2028 the same?",
    "Which {question} has\ttabs,  two spaces\nand a line?",
]
OTHERS = [
    *((f"instruction-{n}", "instruction") for n in range(1, 9)),
    *(
        (f"noise-{kind}-{level}", "noise")
        for kind in ("typos", "case", "spaces", "filler")
        for level in ("0.1", "0.3")
    ),
    *((f"shots-{k}-order-{n}", "shots") for k in (1, 3) for n in (1, 2)),
    *((f"options-A.-newline-order-{n}", "options") for n in (1, 2, 3)),
    *((f"distractor-{n}", "distractor") for n in (1, 2)),
]
UNSEEN = {
    drawn.name: drawn
    for drawn in (
        GrammarFormat("q", "title", "colon_spaced", "comma", "nothing"),
        GrammarFormat("input", "upper", "newline_indent", "newline_spaced", "space"),
        GrammarFormat("input", "lower", "dash", "pipes", "space"),
        GrammarFormat("q", "lower", "tab", "empty_line", "newline"),
    )
}
VARIANTS = [(name, "format") for name in FORMATS] + [(name, "unseen") for name in UNSEEN] + OTHERS


def experiment(runs: int = 2) -> Experiment:
    """Return a whole experiment with one run or two."""
    chance = random.Random("example")
    items = [_item(n, runs, chance) for n in range(ITEMS)]
    results = [_result(label, n, items, chance) for n, label in enumerate(("base", "tuned")[:runs])]
    return Experiment(
        settings={
            "model": "phi-tiny",
            "data": "textbook",
            "method": "lora",
            "suite": "standard",
            "seed": 0,
            "digest": "3f6c1a",
        },
        runs=results,
        comparison=_comparison(*results) if runs == 2 else None,
        answers=AnswerTable([name for name, _ in VARIANTS], items),
        mixed=MixedModel(ITEMS, len(FORMATS), 1.27, {"question": 1.7, "fine-tuning × format": 0.94})
        if runs == 2
        else None,
    )


def _item(number: int, runs: int, chance: random.Random) -> QuestionAnswers:
    question = HOSTILE[number] if number < len(HOSTILE) else f"Which colour has thing number {number}?"
    answer = number % 4
    answers = []
    for run in range(runs):
        chosen = [
            answer if chance.random() < _ability(name, run) else chance.randrange(4) for name, _ in VARIANTS
        ]
        answers.append(_answers(chosen, answer, chance))
    if number in (len(HOSTILE), len(HOSTILE) + 1):  # one that all get right, so it does not differ
        answers = [replace(run, chosen=[answer] * len(VARIANTS)) for run in answers]
    if number == len(HOSTILE) + 1:  # one that differs in the last run alone, in one variant
        answers[-1].chosen[-1] = (answer + 1) % 4
    return QuestionAnswers(
        id=f"item-{number}",
        skill=SKILLS[number % len(SKILLS)],
        question=question,
        choices=list(COLOURS),
        answer=answer,
        prompts=[_prompt(name, family, question) for name, family in VARIANTS],
        runs=answers,
    )


def _answers(chosen: list[int], answer: int, chance: random.Random) -> Answers:
    """Return answers whose chosen one is the most probable."""
    rows = []
    for choice in chosen:
        weights = [chance.random() + 2 * (n == choice) for n in range(len(COLOURS))]
        rows.append([round(weight / sum(weights), 4) for weight in weights])
    return Answers(chosen, [row[answer] for row in rows], rows)


def _prompt(name: str, family: str, question: str) -> str:
    if family == "format":
        return FORMATS[name].prompt(question)
    if family == "unseen":
        return UNSEEN[name].format.prompt(question)
    if family == "noise":  # the question itself is changed, so no usual shape holds it
        question = question.upper() + name
    return f"{name}.\n\nInstruct: {question}\nOutput:"


def _ability(name: str, run: int) -> float:
    ability = random.Random(f"ability {name}").random()
    return 0.05 + 0.8 * ability if run == 0 else 0.55 + 0.35 * ability


def _result(label: str, number: int, items: list[QuestionAnswers], chance: random.Random) -> Result:
    shares = [
        sum(item.runs[number].chosen[n] == item.answer for item in items) / len(items)
        for n in range(len(VARIANTS))
    ]
    accuracies = sorted(
        share for share, (_, family) in zip(shares, VARIANTS, strict=True) if family == "format"
    )
    measures = {
        "noise_flip_rate": Estimate(0.007),
        "accuracy_mean": _around(sum(accuracies) / len(accuracies)),
        "accuracy_best": _around(accuracies[-1]),
        "accuracy_worst": _around(accuracies[0]),
        "spread": _around(accuracies[-1] - accuracies[0]),
        **_unseen_measures(shares),
        "flip_rate": _around(0.44 - 0.2 * number),
        "posix": Estimate(1.234 - number),
        "jsd": Estimate(0.123456, 0.1, 0.2),
    }
    return Result(
        label=label,
        confidence=0.95,
        draws=400,
        seed=0,
        scorer="raw",
        items=len(items),
        formats=len(FORMATS),
        chance=0.25,
        default=VARIANTS[0][0],
        measures=measures,
        variants=[_variant(n, share, shares[0], items) for n, share in enumerate(shares)],
        quantiles={
            q: accuracies[int(int(q) / 100 * (len(accuracies) - 1))] for q in ("5", "25", "50", "75", "95")
        },
        effects=_effects(number),
        aliased=["end", "case"],
        explained=0.831,
        skills=_skills(number, items),
        options=[
            OptionRow(
                style="A.-newline",
                variants=[f"options-A.-newline-order-{n}" for n in (1, 2, 3)],
                items=60,
                orders=3,
                accuracy=0.6,
                flip_rate=0.3,
                position_bias=PositionMeasure(0.12, 0.031),
                recall_deviation=PositionMeasure(0.07, 0.044),
            )
        ],
        recommendation=Recommendation("phi2-newline", 0.083, 0.021, 0.145, 0.032, 30, 60),
        quantized=[
            QuantizedChange(
                bits,
                0.01 * (9 - bits),
                [MeasureChange("spread", 0.12, 0.12 + 0.01 * bits, 0.01 * bits, -0.02, 0.1)],
            )
            for bits in (8, 4)
        ],
        alarms=[] if number else ["The worst format is no better than choosing blindly."],
        long=_long(number, chance),
        search=None if number else _search(),
        decompositions=_decompositions(number),
        notes=[] if number else ["long prompts of 9999 tokens: more than the model's context of 512"],
    )


def _variant(n: int, accuracy: float, default: float, items: list[QuestionAnswers]) -> VariantRow:
    name, family = VARIANTS[n]
    change = accuracy - default
    spoken = 0.8 * accuracy
    return VariantRow(
        name=name,
        family=family,
        seen=name in ("phi2", "qa"),
        atoms=UNSEEN[name].atoms if family == "unseen" else {"end": "space", "case": "title"},
        items=len(items),
        changed=0.85 if name == "noise-typos-0.1" else 1.0,
        prompt=items[5].prompts[n],
        boundary='"…Output" ":" │ "␣Paris"',
        merges=0.0,
        accuracy=accuracy,
        low=max(0.0, accuracy - 0.09),
        high=min(1.0, accuracy + 0.09),
        normalized=max(0.0, accuracy - 0.05),
        calibrated=None,
        batch_calibrated=None,
        any_beginning=None,
        panel=None,
        open=OpenAccuracy(spoken, spoken - 0.1, spoken + 0.1, 40, accuracy) if family == "format" else None,
        change=change,
        change_low=change - 0.08,
        change_high=change + 0.09,
        p_holm=0.001 if abs(change) > 0.2 else 0.7,
    )


def _unseen_measures(shares: list[float]) -> dict[str, Estimate]:
    unseen = [share for share, (_, family) in zip(shares, VARIANTS, strict=True) if family == "unseen"]
    return {
        "spread_unseen": _around(max(unseen) - min(unseen)),
        "accuracy_worst_unseen": _around(min(unseen)),
    }


def _around(value: float) -> Estimate:
    return Estimate(value, value - 0.05, value + 0.05)


def _effects(run: int) -> list[Effect]:
    levels = {
        "end": ["nothing", "space", "newline"],
        "case": ["title", "lower", "upper"],
        "separator": [": ", " - ", "\n"],
    }
    return [
        Effect(factor, level, points, points - 0.03, points + 0.03, 8)
        for factor, names in levels.items()
        for points, level in zip((0.12 / (run + 1), -0.02, -0.1 / (run + 1)), names, strict=True)
    ]


def _skills(run: int, items: list[QuestionAnswers]) -> list[SkillRow]:
    rows = []
    for n, (name, family) in enumerate(VARIANTS):
        for skill in SKILLS if family == "format" else ():
            asked = [item for item in items if item.skill == skill]
            right = sum(item.runs[run].chosen[n] == item.answer for item in asked)
            rows.append(SkillRow(skill, name, len(asked), right / len(asked)))
    return rows


def _decompositions(run: int) -> list[Decomposition]:
    shares = {
        "question": 0.3,
        "scorer": 0.01,
        "format": 0.12 - 0.1 * run,
        "question × scorer × format": 0.57 + 0.1 * run,
    }
    parts = [Component(term.split(" × "), share / 4, share) for term, share in shares.items()]
    levels = {"question": ITEMS, "scorer": 3, "format": len(FORMATS)}
    orders = [Component(["question"], 0.1, 0.4), Component(["question", "order"], 0.15, 0.6)]
    return [
        Decomposition("format", levels, parts),
        Decomposition("options", {"question": ITEMS, "order": 3}, orders),
    ]


def _long(run: int, chance: random.Random) -> LongSummary:
    def share(kind: str, length: int, value: float, depth: float | None = None) -> LongShare:
        value += 0.1 * (chance.random() - 0.5)
        value = min(1.0, max(0.0, value + 0.1 * run))
        low, high = max(0.0, value - 0.15), min(1.0, value + 0.12)
        return LongShare(kind, length, depth, 20, value, low, high, None if depth is None else 0.5)

    return LongSummary(
        needle=[
            share("", n, 1 - n / 900 - d * (1 - d), d) for n in LENGTHS for d in (0.0, 0.25, 0.5, 0.75, 1.0)
        ],
        rules=[share(p, n, 0.8 - n / 1000) for p in ("before", "after", "around") for n in LENGTHS],
        padding=[share(k, n, 0.7 - n / 1500) for k in ("related", "unrelated") for n in LENGTHS],
        tracking=[share(t, n, 0.6 - n / 1200) for t in ("multi-key", "variables") for n in LENGTHS],
        failures={"forgot": 12 - 4 * run, "ignored": 7, "misread": 21 - 9 * run, "echoed": 2, "other": 3},
        effective_length=256 if run else None,
        mid_dip=0.22,
    )


def _comparison(base: Result, tuned: Result) -> RunComparison:
    measures = [
        _measure_change(key, estimate.value, tuned.measures[key].value)
        for key, estimate in base.measures.items()
        if key != "noise_flip_rate"  # a comparison has none
    ]
    variants = []
    for b, t in zip(base.variants, tuned.variants, strict=True):
        change = t.accuracy - b.accuracy
        variants.append(
            VariantChange(b.name, b.accuracy, t.accuracy, change, change - 0.1, change + 0.1, 0.04)
        )
    families = [
        *(_family("family", name, 60, ("accuracy_mean", "against_default", "spread")) for name in FAMILIES),
        _family("options", "A.-newline", 60, ("flip_rate", "position_bias")),
        *(_family("long", name, 20, ("right",)) for name in ("needle", "rules, before", "padding, related")),
    ]
    return RunComparison(measures, variants, [], Gate(True, []), base.items, families)


def _measure_change(key: str, before: float, after: float) -> MeasureChange:
    change = after - before
    p_value = 0.001 if abs(change) > 0.06 else 0.3
    return MeasureChange(key, before, after, change, change - 0.06, change + 0.06, p_value, 2 * p_value)


def _family(
    part: Literal["family", "options", "long"], name: str, items: int, keys: tuple[str, ...]
) -> FamilyChange:
    rng = random.Random(f"family {name}")
    rows = []
    for key in keys:
        before, change = rng.random(), rng.random() / 5 - 0.1
        rows.append(_measure_change(key, before, before + change))
    return FamilyChange(part, name, items, 4, rows)


def _search() -> SearchResult:
    prompt = "Q: Which?\nA:"
    return SearchResult(
        formats=320,
        cells=16000,
        grid=128000,
        best=SearchedFormat("drawn-best", prompt, 0.81, 0.76, 0.86),
        worst=SearchedFormat("drawn-worst", prompt, 0.4, 0.35, 0.45),
        spread=Interval(0.412, 0.38, 0.44),
        expected=Interval(0.39, 0.38, 0.44),
        quantiles={"5": 0.45, "25": 0.52, "50": 0.6, "75": 0.68, "95": 0.77},
        trajectory=[Step(16000, 1, 2, 0.41)],
    )
