"""The command `steadyphi export`: a fine-tuned model as a folder that other tools read, with its prompt."""

import argparse
from pathlib import Path
from typing import Any

from steadyphi.errors import SteadyPhiError
from steadyphi.files import atomic_dir
from steadyphi.prompts.dialogue import chat_template
from steadyphi.prompts.formats import DEFAULT, FORMATS


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `steadyphi`."""
    sub = commands.add_parser("export", help="export a fine-tuned model as a folder for the Hub")
    sub.add_argument("tuned", type=Path, help="the output of the stage finetune: artifacts/tuned")
    sub.add_argument("target", type=Path, help="a new folder")
    base = Path("artifacts/model")
    sub.add_argument("--base", type=Path, default=base, help="the base checkpoint (%(default)s)")
    sub.add_argument(
        "--adapter", action="store_true", help="export an unmerged adapter for peft and transformers"
    )
    recommended = "prompt style of the chat template (the one that the evaluation recommends)"
    sub.add_argument("--style", choices=FORMATS, metavar="NAME", help=recommended)
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Export a fine-tuned model for other tools."""
    from steadyphi.checkpoint.chat_files import Chat
    from steadyphi.checkpoint.export import export

    check_new(options.target)
    style = options.style or measured_style(options.tuned)
    chat = Chat(style, chat_template(FORMATS[style]))
    with atomic_dir(options.target) as folder:
        manifest = export(options.tuned, options.base, folder, options.adapter, chat)
    print_facts(options.target, {**manifest, "style": style})


def measured_style(tuned: Path) -> str:
    """Return the format that the evaluation of a model recommends, else the default format of that run.

    tuned: the output of the stage finetune. The evaluation is `scores/tuned` beside it, as the pipeline
        writes them. Without an evaluation, the format is that of Phi-2.
    """
    folder = scores(tuned)
    if not (folder / "result.json").exists():
        return DEFAULT
    from steadyphi.results import stored

    result = stored.read(folder).result
    style = result.recommendation.variant if result.recommendation else result.default
    if style not in FORMATS:
        raise SteadyPhiError(
            f"{folder / 'result.json'}: recommends the unknown format {style!r}; give --style"
        )
    return style


def scores(tuned: Path, which: str | None = None) -> Path:
    """Return the folder of the evaluation of the model in `tuned`, or of `which`, beside it."""
    tuned = tuned.absolute()
    return tuned.parent / "scores" / (which or tuned.name)


def check_new(target: Path) -> None:
    """Raise SteadyPhiError if a folder to be written exists and is not empty."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SteadyPhiError(f"{target}: exists already; name a new folder, or remove it")


def print_facts(target: Path, manifest: dict[str, Any]) -> None:
    """Print the main facts about a folder that was written, in one line."""
    facts = [f"{key} {manifest[key]}" for key in ("layout", "dtype", "style", "digest") if manifest.get(key)]
    print(f"{target}: {', '.join(facts)}")
