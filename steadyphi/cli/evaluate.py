"""The command `steadyphi evaluate`: the pipeline's questions, asked of a model behind an HTTP endpoint."""

import argparse
import dataclasses
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steadyphi.errors import SteadyPhiError
from steadyphi.files import atomic_dir

if TYPE_CHECKING:  # these imports take a second, and the parser does not need them
    from steadyphi.inference.endpoint import Endpoint
    from steadyphi.prompts.item import Item
    from steadyphi.settings.schema import Evaluate

KEY = "OPENAI_API_KEY"
ARTIFACTS = Path("artifacts")


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `steadyphi`."""
    sub = commands.add_parser("evaluate", help="evaluate a model that a server runs, such as vLLM's")
    sub.add_argument("target", type=Path, help="a new folder for the answers and the result")
    sub.add_argument(
        "--endpoint",
        required=True,
        metavar="URL",
        help=f"an OpenAI-compatible API, such as http://127.0.0.1:8000/v1; its key is read from {KEY}",
    )
    sub.add_argument("--model", metavar="NAME", help="the name of the model on the server")
    sub.add_argument(
        "--tokenizer",
        type=Path,
        default=ARTIFACTS / "model",
        metavar="FOLDER",
        help="a checkpoint with the model's tokenizer (%(default)s)",
    )
    sub.add_argument(
        "--artifacts",
        type=Path,
        default=ARTIFACTS,
        metavar="FOLDER",
        help="the pipeline's outputs, with settings and questions (%(default)s)",
    )
    sub.add_argument("--items", type=int, metavar="N", help="ask the first N questions only")
    sub.add_argument(
        "--all", action="store_true", help="ask the whole suite, not only the formats and open answers"
    )
    sub.add_argument(
        "--context", type=int, default=2048, metavar="N", help="the server's context, in tokens (%(default)s)"
    )
    sub.add_argument(
        "--concurrency", type=int, default=4, metavar="N", help="requests at a time (%(default)s)"
    )
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Evaluate a model behind an endpoint, and print its accuracy in each format."""
    from steadyphi.cli.export import check_new
    from steadyphi.data.tables import read_items
    from steadyphi.prompts import own_formats
    from steadyphi.settings.files import load_settings
    from steadyphi.settings.schema import Evaluate

    check_new(options.target)
    for name in ("items", "context", "concurrency"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise SteadyPhiError(f"--{name}: should be 1 or more, not {getattr(options, name)}")
    settings = load_settings(options.artifacts / "config" / "evaluate.yaml", Evaluate)
    own_formats.define(settings.prompts)
    if not options.all:
        settings = dataclasses.replace(settings, families=None, long=None, search=None)
    items, shots = (read_items(options.artifacts / "data" / f"{name}.parquet") for name in ("items", "shots"))
    endpoint, kept = _connect(options)
    try:
        with atomic_dir(options.target) as folder:
            asked = _fitting(endpoint, items[: options.items], settings)
            _evaluate(endpoint, asked, shots, settings, folder)
    finally:
        print(endpoint.client.usage)
        if endpoint.cache:
            endpoint.cache.close()
    kept.unlink(missing_ok=True)


def _connect(options: argparse.Namespace) -> "tuple[Endpoint, Path]":
    """Return the endpoint, and the file that keeps its answers until the evaluation is complete.

    The answers of an interrupted run count only if the model still says the same to a fixed prompt, since a
    server does not say which weights it has.
    """
    import torch

    from steadyphi.inference.endpoint import Endpoint
    from steadyphi.inference.http_client import Client
    from steadyphi.inference.score_cache import ScoreCache
    from steadyphi.tokenizer import TextTokenizer

    client = Client(options.endpoint, os.environ.get(KEY), options.concurrency)
    endpoint = Endpoint(client, TextTokenizer(options.tokenizer), options.context, options.model)
    answered = endpoint.connect()
    facts = "\n".join([client.url, options.model or "", answered])
    digest = hashlib.sha256(facts.encode()).hexdigest()
    kept = options.target.with_name(f".{options.target.name}.answers.sqlite")
    # The numbers do not depend on this machine, so dtype and device are the same for all endpoints.
    endpoint.cache = ScoreCache(kept, digest, torch.float32, torch.device("cpu"))
    return endpoint, kept


def _fitting(endpoint: "Endpoint", items: "list[Item]", settings: "Evaluate") -> "list[Item]":
    """Return the questions that fit the server's context in all formats; say how many are left out."""
    from steadyphi.evaluation.choices import ON_ALL_ITEMS
    from steadyphi.evaluation.suite import fitting, variants_of

    formats = [variant for variant in variants_of(settings) if variant.family in ON_ALL_ITEMS]
    chosen = fitting(endpoint.tokenizer, formats, items, [], endpoint.context, settings.seed)
    if not chosen:
        raise SteadyPhiError(f"--context: no question fits {endpoint.context} tokens; give the server's")
    if len(chosen) < len(items):
        print(f"left out: {len(items) - len(chosen)} of {len(items)} questions, longer than --context")
    return chosen


def _evaluate(
    endpoint: "Endpoint", items: "list[Item]", shots: "list[Item]", settings: "Evaluate", folder: Path
) -> None:
    """Write the answers of the endpoint, and the result if it can score, to a folder."""
    from steadyphi.data.tables import write_items, write_table
    from steadyphi.evaluation import open_answers
    from steadyphi.evaluation.run import run as evaluate
    from steadyphi.evaluation.suite import variants_of

    if endpoint.way != "none":
        outcome = evaluate("endpoint", endpoint, items, shots, settings)
        assert outcome is not None  # one process analyses
        outcome.write(folder, items)
        rows = [row for row in outcome.result.variants if row.family == "format"]
        print_table({row.name: row.accuracy for row in rows}, "right by log-probability")
        if written := {row.name: row.open.accuracy for row in rows if row.open}:
            print_table(written, "right in its own words")
        return
    if not (settings.open_answers and settings.open and settings.open.items):
        raise SteadyPhiError(
            f"{endpoint.client.url}: returns no log-probabilities, and this suite has no answers in the "
            "model's own words; choose a suite with `open`"
        )
    print(
        f"{endpoint.client.url} returns no log-probabilities, so only answers in its own words are compared"
    )
    formats = [v for v in variants_of(settings) if v.family == "format"]
    asked = items[: settings.open.items]
    texts = open_answers.answer(endpoint, asked, formats, settings.open.max_new_tokens, settings.seed)
    write_table(folder / "written.parquet", texts, open_answers.TEXTS)
    write_items(folder / "items.parquet", items)
    right = {v.name: [text["correct"] for text in texts if text["variant"] == v.name] for v in formats}
    print_table({name: sum(each) / len(each) for name, each in right.items()}, "right in its own words")


def print_table(accuracies: dict[str, float], heading: str) -> None:
    """Print the accuracy in each format, the best first, and below it their mean and spread."""
    print(f"{'format':20}{heading}")
    for name, accuracy in sorted(accuracies.items(), key=lambda pair: -pair[1]):
        print(f"{name:20}{accuracy:6.1%}")
    values = accuracies.values()
    worst, best, mean = min(values), max(values), sum(values) / len(values)
    print(f"mean {mean:.1%}, worst {worst:.1%}, best {best:.1%}, spread {100 * (best - worst):.1f} points\n")
