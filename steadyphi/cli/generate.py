"""The commands `steadyphi generate` and `steadyphi chat`: their options and their output."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import own_formats
from steadyphi.prompts.dialogue import stops
from steadyphi.prompts.formats import DEFAULT, FORMATS, Format

if TYPE_CHECKING:  # these imports take a second, and the parser does not need them
    from steadyphi.inference.generate import OnText, Options, Result
    from steadyphi.model import Phi
    from steadyphi.tokenizer import TextTokenizer

MODEL = Path("artifacts/model")
NONE = "none"  # instead of a style: the prompt is continued as it is


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the two commands to the parser of `steadyphi`."""
    sub = commands.add_parser("generate", help="continue a prompt, or several prompts as one batch")
    sub.add_argument(
        "folder", type=Path, nargs="?", default=MODEL, help="a checkpoint, or an adapter (%(default)s)"
    )
    sub.add_argument("prompt", nargs="*", help="the text to continue")
    sub.add_argument(
        "--prompt-file", action="append", default=[], help="a prompt from a file; - is standard input"
    )
    sub.add_argument("--style", choices=(*FORMATS, NONE), metavar="NAME", help=_style_help(NONE))
    sub.add_argument(
        "--draft",
        type=Path,
        metavar="FOLDER",
        help="a small model for speculative decoding, such as Phi-1.5 for Phi-2",
    )
    sub.add_argument("--json", action="store_true", help="print one line of JSON per prompt")
    _add_shared(sub)
    sub.set_defaults(run=run_generate)

    sub = commands.add_parser("chat", help="talk to a model")
    sub.add_argument(
        "folder", type=Path, nargs="?", default=MODEL, help="a checkpoint, or an adapter (%(default)s)"
    )
    sub.add_argument("--style", choices=FORMATS, metavar="NAME", help=_style_help(DEFAULT))
    sub.add_argument("--system", default="", metavar="TEXT", help="a system text before the first message")
    _add_shared(sub)
    sub.set_defaults(run=run_chat)


def _style_help(default: str) -> str:
    """Return the help of `--style`, with all names."""
    names = f"{NONE}, which continues the prompt as it is, " if default == NONE else ""
    return (
        f"prompt style of the questions: {names}{', '.join(FORMATS)} "
        f"(the one that the folder records; else {default})"
    )


def _add_shared(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--tuned", type=Path, metavar="FOLDER", help="the output of finetune: artifacts/tuned")
    sub.add_argument(
        "--base", type=Path, default=MODEL, metavar="FOLDER", help="the base of an adapter (%(default)s)"
    )
    sub.add_argument("--max-new-tokens", type=int, default=256, metavar="N", help="(%(default)s)")
    sub.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="stop before this text; may be repeated"
    )
    greedy = "0 always takes the most likely token; default: 1 with any of the next three options, else 0"
    sub.add_argument("--temperature", type=float, metavar="T", help=greedy)
    sub.add_argument("--top-k", type=int, metavar="K", help="sample from the K most likely tokens")
    sub.add_argument(
        "--top-p", type=float, metavar="P", help="sample from the most likely tokens with total probability P"
    )
    sub.add_argument(
        "--min-p",
        type=float,
        metavar="P",
        help="lowest probability to sample, as a fraction P of the highest",
    )
    sub.add_argument(
        "--repetition-penalty",
        type=float,
        default=1.0,
        metavar="X",
        help="values above 1 reduce repetition (%(default)s)",
    )
    sub.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed gives the same text (%(default)s)"
    )
    sub.add_argument(
        "--dtype", choices=("auto", "bfloat16", "float32"), default="auto", help="compute dtype (%(default)s)"
    )
    sub.add_argument(
        "--compile", action="store_true", help="compile the model first; faster for long texts on a GPU"
    )
    mapped = "memory-map the weights: starts sooner and uses less memory, but is slower on a CPU"
    sub.add_argument("--mapped", action="store_true", help=mapped)


def run_generate(options: argparse.Namespace) -> None:
    """Print the text that a model generates after each prompt."""
    style = _style(options, NONE)
    texts = _prompts(options, style)
    if style and not options.style:
        print(
            f"[style {style.name}, which the folder records; --style {NONE} takes the prompt as it is]",
            file=sys.stderr,
        )
    from steadyphi.inference.generate import generate
    from steadyphi.inference.text import printable

    chosen = _options(options, style)
    model, tokenizer = _load(options)
    # Special tokens are encoded in a raw prompt, because it is the whole input, but not in a question.
    encode = tokenizer.encode if style else tokenizer.encode_template
    prompts = [encode(text) for text in texts]
    terminal = sys.stdout.isatty()  # a file gets the text as it is

    def on_text(_: int, text: str) -> None:
        print(printable(text) if terminal else text, end="", flush=True)

    streamed = on_text if len(texts) == 1 and not options.json else None
    start = time.perf_counter()
    if options.draft:
        results = _with_draft(options, model, tokenizer, prompts, chosen, streamed)
    else:
        results = generate(model, tokenizer, prompts, chosen, streamed)
    seconds = time.perf_counter() - start
    if options.json:
        for text, result in zip(texts, results, strict=True):
            print(json.dumps({"prompt": text, **result.__dict__}, ensure_ascii=False))
        return
    if streamed:
        print(flush=True)
    else:
        for number, result in enumerate(results, 1):
            print(f"--- {number}\n{printable(result.text) if terminal else result.text}", flush=True)
    _report(results, seconds, chosen.max_new_tokens, model.config.block_size)


def run_chat(options: argparse.Namespace) -> None:
    """Run a chat until the end of the input."""
    from steadyphi.cli.chat import Chat
    from steadyphi.cli.conversation import Conversation, Session

    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    chosen, style = _options(options, None), _style(options, DEFAULT)
    assert style
    model, tokenizer = _load(options)
    conversation = Conversation(tokenizer, style, system=options.system)
    Chat(Session(model, tokenizer), conversation, chosen).run()


def _style(options: argparse.Namespace, default: str) -> Format | None:
    """Return the prompt style: the option's, else the one that the model's folder records, else `default`."""
    from steadyphi.checkpoint.chat_files import recorded_format, recorded_style

    name = options.style
    for folder in (options.tuned, options.folder):
        if name is None and folder and (texts := recorded_format(folder)):
            try:
                own_formats.define([own_formats.parsed(texts)])
            except ValueError as error:
                raise SteadyPhiError(f"{folder}: records a wrong prompt format: {error}") from None
        if name is None and folder and (name := recorded_style(folder)) and name not in FORMATS:
            raise SteadyPhiError(f"{folder}: records the unknown prompt style {name!r}; give --style")
    name = name or default
    return None if name == NONE else FORMATS[name]


def _prompts(options: argparse.Namespace, style: Format | None) -> list[str]:
    """Return the prompts of the command line and of files, in the chosen style."""
    texts = list(options.prompt)
    for name in options.prompt_file:
        try:
            data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
            texts.append(data.decode("utf-8"))
        except UnicodeDecodeError:
            raise SteadyPhiError(f"{name}: is not UTF-8 text") from None
    if not texts:
        raise SteadyPhiError("no prompt; steadyphi generate FOLDER PROMPT, or --prompt-file")
    for text in texts:
        if any("\ud800" <= c <= "\udfff" for c in text):  # Python's surrogates for undecodable bytes
            raise SteadyPhiError("the prompt is not UTF-8 text")
    return [style.prompt(text) for text in texts] if style else texts


def _options(options: argparse.Namespace, style: Format | None) -> "Options":
    from steadyphi.inference.generate import Options
    from steadyphi.inference.sampling import Sampling

    cuts = {"top_k": options.top_k, "top_p": options.top_p, "min_p": options.min_p}
    given = {name: value for name, value in cuts.items() if value is not None}
    temperature = options.temperature if options.temperature is not None else float(bool(given))
    sampling = Sampling(
        temperature, **given, repetition_penalty=options.repetition_penalty, seed=options.seed
    )
    stop = (*options.stop, *(stops(style) if style else ()))
    return Options(options.max_new_tokens, sampling, stop, compiled=options.compile)


def _load(options: argparse.Namespace) -> "tuple[Phi, TextTokenizer]":
    """Return the model and its tokenizer. An adapter is merged into its base."""
    # Torch reads it at its first allocation. With large pages, reading all weights for each token is faster.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from steadyphi.inference.load import is_adapter, load_model
    from steadyphi.inference.packed import pack
    from steadyphi.runtime.device import pick_device, pick_dtype
    from steadyphi.tokenizer import TextTokenizer

    folder, adapter = options.folder, options.tuned
    if not folder.is_dir():
        raise SteadyPhiError(f"{folder}: is not a folder; the checkpoint folder comes first, then the prompt")
    if is_adapter(folder):
        folder, adapter = options.base, folder
    elif adapter and not is_adapter(adapter):
        folder, adapter = adapter, None  # a full model, all weights of which were trained
    device = pick_device()
    model = load_model(folder, adapter, pick_dtype(options.dtype, device), device)
    return model if options.mapped else pack(model), TextTokenizer(folder)


def _with_draft(
    options: argparse.Namespace,
    model: "Phi",
    tokenizer: "TextTokenizer",
    prompts: Sequence[list[int]],
    chosen: "Options",
    on_text: "OnText | None",
) -> "list[Result]":
    from steadyphi.inference.load import load_model, same_tokenizer
    from steadyphi.inference.packed import pack
    from steadyphi.inference.speculative import speculate

    folder = options.base if (options.folder / "adapter_config.json").exists() else options.folder
    if not same_tokenizer(folder, options.draft):
        raise SteadyPhiError(
            f"{options.draft}: has another tokenizer than {folder}, so it cannot draft for it"
        )
    weight = model.get_parameter("transformer.wte.weight")
    draft = load_model(options.draft, None, weight.dtype, weight.device)
    draft = draft if options.mapped else pack(draft)
    results = []
    for prompt in prompts:
        result, counts = speculate(model, draft, tokenizer, prompt, chosen, on_text)
        print(f"drafted {counts.drafted} tokens, kept {counts.kept}", file=sys.stderr)
        results.append(result)
    return results


def _report(results: "Sequence[Result]", seconds: float, most: int, context: int) -> None:
    """Print the speed and the texts that were cut to standard error."""
    from steadyphi.cli.chat import ending, speed

    if len(results) == 1:
        print(speed(results[0]) + ending(results[0], most, context), file=sys.stderr)
        return
    count = sum(len(result.tokens) for result in results)
    print(f"[{count} tokens, {count / seconds:.1f} tokens/s]", file=sys.stderr)
    for number, result in enumerate(results, 1):
        if note := ending(result, most, context):
            print(f"{number}:{note}", file=sys.stderr)
