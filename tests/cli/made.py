"""The folder `artifacts` as the pipeline writes it, with a random adapter and evaluations without a model."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks import phi_tiny
from steadyphi.evaluation.run import run
from steadyphi.inference.language_model import Generated
from steadyphi.inference.scoring import Request
from steadyphi.settings.files import stage_files
from steadyphi.tokenizer import TextTokenizer
from tests.checkpoint.adapters_by_hand import write_adapter

RECOMMENDED = "phi2-newline"


class Guesser:
    """A back end whose scores are the parity of the sum of the last tokens and a number."""

    context = 512

    def __init__(self, tokenizer: TextTokenizer, number: int) -> None:
        self.tokenizer, self.number = tokenizer, number

    def score(self, requests: Sequence[Request], label: str = "score") -> list[float]:
        return [-1.0 - (r.continuation[-1] + self.number * r.context[-1]) % 2 for r in requests]

    def score_in_small_batches(self, requests: Sequence[Request], label: str) -> list[float]:
        return self.score(requests)

    def generate(self, prompts: Sequence[str], max_new_tokens: int, label: str) -> list[Generated]:
        raise AssertionError("no open answers are asked for")


def make_artifacts(folder: Path, base: Path) -> Path:
    """Write `folder`/artifacts without the model and return it; the evaluation recommends `RECOMMENDED`."""
    artifacts = folder / "artifacts"
    artifacts.mkdir(parents=True)
    write_adapter(artifacts / "tuned", base)
    chosen = phi_tiny.settings(items=12)
    material = phi_tiny.material(chosen)
    settings = dataclasses.replace(
        chosen.evaluate,
        formats=("phi2", RECOMMENDED, "question-pipe"),
        families=None,
        long=None,
        search=None,
        draws=100,
        open_answers=False,
        open=None,
    )
    for number, label in enumerate(("base", "tuned")):
        model = Guesser(TextTokenizer(base), number)
        outcome = run(label, model, material.items, material.shots, settings)
        scores = artifacts / "scores" / label
        scores.mkdir(parents=True)
        outcome.write(scores, material.items)
    change_result(artifacts, variant=RECOMMENDED, gain=0.125, low=0.05, high=0.2)
    (artifacts / "config").mkdir()
    (artifacts / "config" / "publish.yaml").write_text(stage_files(chosen)["publish"])
    return artifacts


def change_result(artifacts: Path, **recommendation: object) -> None:
    """Change the recommendation of the tuned model's evaluation; without changes, take it out."""
    path = artifacts / "scores" / "tuned" / "result.json"
    result = json.loads(path.read_text())
    if recommendation:
        result["recommendation"].update(recommendation)
    else:
        result["recommendation"] = None
    path.write_text(json.dumps(result))
