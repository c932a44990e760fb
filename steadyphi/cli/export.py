"""The command `steadyphi export`: a fine-tuned model as a folder that other tools read, with its prompt."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steadyphi.checkpoint import llama_quantize
from steadyphi.cli import lock
from steadyphi.errors import SteadyPhiError
from steadyphi.files import atomic_dir
from steadyphi.prompts.formats import FORMATS

if TYPE_CHECKING:  # these imports take a second, and the parser does not need them
    from steadyphi.checkpoint.chat_files import Chat
    from steadyphi.results.stored import Evaluation

GGUF = ("f16", "bf16", "q8_0", "q4_0", *llama_quantize.TYPES)


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
    names = ", ".join(FORMATS)
    style = f"prompt style of the chat template: {names} (the one that the evaluation recommends)"
    sub.add_argument("--style", choices=FORMATS, metavar="NAME", help=style)
    sub.add_argument(
        "--gguf",
        choices=GGUF,
        metavar="TYPE",
        help=f"write model-TYPE.gguf too, for llama.cpp; needs the package gguf ({', '.join(GGUF)})",
    )
    sub.add_argument("--push", metavar="REPO", help="upload the folder to a new repository: owner/name")
    sub.add_argument("--private", action="store_true", help="make the repository private")
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Export a fine-tuned model for other tools."""
    from steadyphi.checkpoint.export import export
    from steadyphi.cli import model_card
    from steadyphi.export_prompt import chat_of, measured_style

    check_new(options.target)
    if options.gguf:
        from steadyphi.checkpoint import gguf_file

        if options.adapter:
            raise SteadyPhiError("--gguf: has a merged model, so it does not go with --adapter")
        gguf_file.load_package()
        if options.gguf in llama_quantize.TYPES:
            llama_quantize.find_program(options.gguf)
    if options.private and not options.push:
        raise SteadyPhiError("--private: there is no repository; name it with --push owner/name")
    if options.push:
        from steadyphi.hub import push

        push.check(options.push, options.private)
    runs = evaluations(options.tuned)
    style = FORMATS[options.style or measured_style(runs[1])]
    chat = chat_of(style)
    with atomic_dir(options.target) as folder:
        manifest = export(options.tuned, options.base, folder, options.adapter, chat)
        if options.gguf:
            name = Path(str(manifest["source"])).name
            write_gguf(folder, options.gguf, name, chat)
        model_card.write(folder, model_card.of_pipeline(manifest, style, options.tuned, runs))
    print_facts(options.target, {**manifest, "style": style.name})
    if options.push:
        try:
            print(push.push(options.target, options.push, options.private))
        except SteadyPhiError as error:
            again = f"{options.target} is complete; hf upload {options.push} {options.target} uploads it"
            raise SteadyPhiError(f"{error}; {again}") from None


def write_gguf(folder: Path, kind: str, name: str, chat: "Chat") -> None:
    """Write the model in a folder as a GGUF file beside it, and the Modelfile for that file."""
    from steadyphi.checkpoint import chat_files, gguf_file

    weights = folder / f"model-{kind}.gguf"
    if kind in llama_quantize.TYPES:
        whole = folder / "model.tmp.gguf"
        gguf_file.write(folder, whole, "f16", name, chat)
        llama_quantize.quantize(whole, weights, kind)
        whole.unlink()
    else:
        gguf_file.write(folder, weights, kind, name, chat)
    chat_files.write_modelfile(folder, weights.name, chat)


def evaluations(tuned: Path) -> "tuple[Evaluation | None, Evaluation | None]":
    """Return the evaluations, base and tuned, that the pipeline wrote beside `artifacts/tuned`, if any.

    Those of other weights, because `finetune` ran again, are left out with a line that says so.
    """
    from steadyphi.results import stored

    scores = tuned.absolute().parent / "scores"
    if tuned.name != "tuned" or not scores.is_dir():
        return None, None
    if lock.outdated(scores.parents[1], ("evaluate@base", "evaluate@tuned"), lock.WEIGHTS):
        print(
            f"{scores}: evaluations of other weights than those in {tuned}, as dvc.lock says, so the prompt "
            "and the model card do not use them; dvc repro makes new ones",
            file=sys.stderr,
        )
        return None, None
    folders = scores / "base", scores / "tuned"
    base, after = (stored.read(f) if (f / "result.json").exists() else None for f in folders)
    return base, after


def check_new(target: Path) -> None:
    """Raise SteadyPhiError if a folder to be written exists and is not empty."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SteadyPhiError(f"{target}: exists already; name a new folder, or remove it")


def print_facts(target: Path, manifest: dict[str, Any]) -> None:
    """Print the main facts about a folder that was written, in one line."""
    facts = [f"{key} {manifest[key]}" for key in ("layout", "dtype", "style", "digest") if manifest.get(key)]
    print(f"{target}: {', '.join(facts)}")
