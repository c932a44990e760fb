"""A result as large and as varied as a real one, made up by seed."""

import random
from typing import Any

from steadyphi.prompts.formats import FORMATS

ITEMS = 60
FAMILIES = ("instruction", "noise", "shots", "options", "distractor")
SKILLS = ("adding", "capitals", "comparing", "opposites", "plurals", "spelling backwards")
COLOURS = ("red", "green", "blue", "yellow")
# What a data set might hold to break a page that trusts it.
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


def result(runs: int = 2) -> dict[str, Any]:
    """Return the whole result with one run or two."""
    chance = random.Random("example")
    names = [(name, "format") for name in FORMATS] + OTHERS
    items = [_item(n, names, runs, chance) for n in range(ITEMS)]
    found = [_run(label, n, names, items, chance) for n, label in enumerate(("base", "tuned")[:runs])]
    found[0]["search"] = _search()
    found[0]["notes"] = ["long prompts of 9999 tokens: more than the model's context of 512"]
    return {
        "experiment": {
            "model": "phi-tiny",
            "data": "textbook",
            "method": "lora",
            "suite": "standard",
            "seed": 0,
            "digest": "3f6c1a",
        },
        "runs": found,
        "comparison": _comparison(*found) if runs == 2 else None,
        "cells": {"variants": [name for name, _ in names], "items": items},
    }


def _item(number: int, names: list[tuple[str, str]], runs: int, chance: random.Random) -> dict[str, Any]:
    question = HOSTILE[number] if number < len(HOSTILE) else f"Which colour has thing number {number}?"
    answer = number % 4
    answers: list[dict[str, Any]] = []
    for run in range(runs):
        chosen = [
            answer if chance.random() < _ability(name, run) else chance.randrange(4) for name, _ in names
        ]
        answers.append({"chosen": chosen, "probability": [round(chance.random(), 3) for _ in names]})
    if number == len(HOSTILE):  # one that all get right, so it does not differ
        answers = [{**a, "chosen": [answer] * len(names)} for a in answers]
    if number == len(HOSTILE) + 1:  # one that differs in the last run alone, in one variant
        answers = [{**a, "chosen": [answer] * len(names)} for a in answers]
        answers[-1]["chosen"][-1] = (answer + 1) % 4
    return {
        "id": f"item-{number}",
        "skill": SKILLS[number % len(SKILLS)],
        "question": question,
        "choices": list(COLOURS),
        "answer": answer,
        "prompts": [_prompt(name, family, question) for name, family in names],
        "runs": answers,
    }


def _prompt(name: str, family: str, question: str) -> str:
    if family == "format":
        return FORMATS[name].prompt(question)
    if family == "noise":  # the question itself is changed, so no usual shape holds it
        question = question.upper() + name
    return f"{name}.\n\nInstruct: {question}\nOutput:"


def _ability(name: str, run: int) -> float:
    own = random.Random(f"ability {name}").random()
    return 0.05 + 0.8 * own if run == 0 else 0.55 + 0.35 * own


def _run(
    label: str, number: int, names: list[tuple[str, str]], items: list[Any], chance: random.Random
) -> dict[str, Any]:
    default = 0
    variants = [_variant(n, name, family, number, items) for n, (name, family) in enumerate(names)]
    for variant in variants:
        change = variant["accuracy"] - variants[default]["accuracy"]
        variant |= {
            "change": change,
            "change_low": change - 0.08,
            "change_high": change + 0.09,
            "p_holm": 0.001 if abs(change) > 0.2 else 0.7,
        }
    accuracies = sorted(v["accuracy"] for v in variants if v["family"] == "format")
    measures = {
        "accuracy_mean": _around(sum(accuracies) / len(accuracies)),
        "accuracy_best": _around(accuracies[-1]),
        "accuracy_worst": _around(accuracies[0]),
        "spread": _around(accuracies[-1] - accuracies[0]),
        "flip_rate": _around(0.44 - 0.2 * number),
        "posix": {"value": 1.234 - number, "low": None, "high": None},
        "a_measure_of_tomorrow": {"value": 0.123456, "low": 0.1, "high": 0.2},
    }
    return {
        "label": label,
        "confidence": 0.95,
        "formats": 24,
        "explained": 0.831,
        "aliased": ["end", "case"],
        "options": [
            {"style": "A.-newline", "items": 60, "orders": 3, "accuracy": 0.6, "flip_rate": 0.3}
            | {"position_bias": 0.12, "position_bias_low": 0.08, "position_bias_high": 0.16}
            | {"position_bias_unbiased": 0.031, "recall_deviation_unbiased": 0.044}
            | {"recall_deviation": 0.07, "recall_deviation_low": 0.05, "recall_deviation_high": 0.09}
        ],
        "items": len(items),
        "chance": 0.25,
        "noise_flip_rate": 0.007,
        "default": names[default][0],
        "measures": measures,
        "variants": variants,
        "quantiles": {
            q: accuracies[int(int(q) / 100 * (len(accuracies) - 1))] for q in ("5", "25", "50", "75", "95")
        },
        "effects": _effects(number),
        "skills": _skills(number, names, items),
        "long": _long(number, chance),
        "recommendation": {
            "variant": "phi2-newline",
            "gain": 0.083,
            "low": 0.021,
            "high": 0.145,
            "regret": 0.032,
            "chosen_on": 30,
            "tested_on": 60,
        },
        "alarms": [] if number else ["The worst format is no better than choosing blindly."],
    }


def _variant(n: int, name: str, family: str, run: int, items: list[Any]) -> dict[str, Any]:
    accuracy = sum(item["runs"][run]["chosen"][n] == item["answer"] for item in items) / len(items)
    return {
        "name": name,
        "family": family,
        "seen": name in ("phi2", "qa"),
        "atoms": {"end": "space", "case": "title"},
        "prompt": items[5]["prompts"][n],
        "boundary": '"…Output" ":" │ "␣Paris"',
        "items": len(items),
        "accuracy": accuracy,
        "low": max(0.0, accuracy - 0.09),
        "high": min(1.0, accuracy + 0.09),
        "normalized": max(0.0, accuracy - 0.05),
        "calibrated": None,
        "batch_calibrated": None,
        "open": 0.8 * accuracy if family == "format" else None,
    }


def _around(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def _effects(run: int) -> list[dict[str, Any]]:
    levels = {
        "end": ["nothing", "space", "newline"],
        "case": ["title", "lower", "upper"],
        "separator": [": ", " - ", "\n"],
    }
    return [
        {"factor": f, "level": level, "points": p, "low": p - 0.03, "high": p + 0.03, "variants": 8}
        for f, names in levels.items()
        for p, level in zip((0.12 / (run + 1), -0.02, -0.1 / (run + 1)), names, strict=True)
    ]


def _skills(run: int, names: list[tuple[str, str]], items: list[Any]) -> list[dict[str, Any]]:
    rows = []
    for n, (name, family) in enumerate(names):
        for skill in SKILLS if family == "format" else ():
            asked = [item for item in items if item["skill"] == skill]
            right = sum(item["runs"][run]["chosen"][n] == item["answer"] for item in asked)
            rows.append(
                {"skill": skill, "variant": name, "accuracy": right / len(asked), "items": len(asked)}
            )
    return rows


def _long(run: int, chance: random.Random) -> dict[str, Any]:
    def share(value: float) -> dict[str, float]:
        value = min(1.0, max(0.0, value + 0.1 * run))
        return {"low": max(0.0, value - 0.15), "high": min(1.0, value + 0.12), "_": value}

    def entry(name: str, value: float, **apart: Any) -> dict[str, Any]:
        found = share(value + 0.1 * (chance.random() - 0.5))
        return {**apart, "items": 20, name: found.pop("_"), **found}

    lengths = (64, 128, 256, 512)
    needle = [
        {**entry("recall", 1 - n / 900 - d * (1 - d), length=n, depth=d), "exact": 0.5}
        for n in lengths
        for d in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    return {
        "needle": needle,
        "rules": [
            entry("followed", 0.8 - n / 1000, position=p, length=n)
            for p in ("before", "after", "around")
            for n in lengths
        ],
        "padding": [
            entry("accuracy", 0.7 - n / 1500, kind=k, length=n)
            for k in ("related", "unrelated")
            for n in lengths
        ],
        "tracking": [
            entry("accuracy", 0.6 - n / 1200, task=t, length=n)
            for t in ("multi-key", "variables")
            for n in lengths
        ],
        "failures": {"forgot": 12 - 4 * run, "ignored": 7, "misread": 21 - 9 * run, "echoed": 2, "other": 3},
        "effective_length": 256 if run else None,
        "mid_dip": 0.22,
    }


def _comparison(base: dict[str, Any], tuned: dict[str, Any]) -> dict[str, Any]:
    measures = [
        {
            "key": key,
            "label": key,
            "before": e["value"],
            "after": tuned["measures"][key]["value"],
            "change": tuned["measures"][key]["value"] - e["value"],
            "low": tuned["measures"][key]["value"] - e["value"] - 0.06,
            "high": tuned["measures"][key]["value"] - e["value"] + 0.06,
        }
        for key, e in base["measures"].items()
    ]
    variants = [
        {
            "name": b["name"],
            "before": b["accuracy"],
            "after": t["accuracy"],
            "change": t["accuracy"] - b["accuracy"],
            "low": t["accuracy"] - b["accuracy"] - 0.1,
            "high": t["accuracy"] - b["accuracy"] + 0.1,
            "p_holm": 0.04,
        }
        for b, t in zip(base["variants"], tuned["variants"], strict=True)
    ]
    gate = {"passed": True, "reasons": []}
    beyond = [
        *(_beyond("family", name, 60, ("accuracy_mean", "against_default", "spread")) for name in FAMILIES),
        _beyond("options", "A.-newline", 60, ("flip_rate", "position_bias")),
        *(_beyond("long", name, 20, ("right",)) for name in ("needle", "rules, before", "padding, related")),
    ]
    return {"measures": measures, "variants": variants, "alarms": [], "gate": gate, "beyond": beyond}


def _beyond(part: str, name: str, items: int, keys: tuple[str, ...]) -> dict[str, Any]:
    own = random.Random(f"beyond {name}")
    rows = []
    for key in keys:
        before, change = own.random(), own.random() / 5 - 0.1
        row = {"key": key, "before": before, "after": before + change, "change": change}
        rows.append(row | {"low": change - 0.06, "high": change + 0.06})
    return {"part": part, "name": name, "items": items, "variants": 4, "measures": rows}


def _search() -> dict[str, Any]:
    ends = {
        which: {"name": f"drawn-{which}", "prompt": "Q: Which?\nA:", "accuracy": share, **_around(share)}
        for which, share in (("best", 0.81), ("worst", 0.4))
    }
    spread = {"value": 0.412, "low": 0.38, "high": 0.44}
    counts = {"formats": 320, "cells": 16000, "grid": 128000}
    return counts | ends | {"spread": spread, "expected": spread | {"value": 0.39}}
