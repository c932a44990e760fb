"""The command `steadyphi preview`: the first rows of a file as the model will be trained on them."""

import argparse
import os
import sys
import textwrap
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steadyphi.errors import SteadyPhiError, printable
from steadyphi.files import read_object
from steadyphi.prompts.formats import DEFAULT, FORMATS
from steadyphi.settings.values import DEFAULT_TEMPLATES, RowFormatName, template

if TYPE_CHECKING:  # these imports take seconds, and the parser does not need them
    from steadyphi.data.row_formats import Dialogue, RowFormat
    from steadyphi.data.rows import Row
    from steadyphi.tokenizer import TextTokenizer

ROOT = Path(__file__).parents[2]
MODELS = Path("conf/model")
NAMED = 3  # rows that a note names
LONGEST = 1000  # tokens of a prompt or an answer that are shown
COLOURS, RESET = {"loss": "\x1b[1;32m", "mark": "\x1b[2m"}, "\x1b[0m"


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `steadyphi`."""
    sub = commands.add_parser("preview", help="show the first rows of a data file as they will be trained on")
    sub.add_argument("file", type=Path, help="the rows: .jsonl, .json, .csv or .parquet, or a folder")
    formats = typing.get_args(RowFormatName)
    sub.add_argument(
        "--format", choices=formats, default="auto", metavar="NAME", help="of the rows (recognized)"
    )
    sub.add_argument("--style", choices=FORMATS, default=DEFAULT, metavar="NAME", help="(%(default)s)")
    named = "phi-tiny, phi-1.5, phi-2, or a folder with tokenizer.json (%(default)s)"
    sub.add_argument("--model", default="phi-tiny", metavar="MODEL", help=f"whose tokenizer is used: {named}")
    sub.add_argument("--rows", type=int, default=3, metavar="N", help="how many rows to show (%(default)s)")
    for name, usual in zip(("instruction", "response"), DEFAULT_TEMPLATES, strict=True):
        sub.add_argument(
            f"--{name}",
            type=_template,
            default=usual,
            metavar="TEMPLATE",
            help="of other columns (%(default)s)",
        )
    sub.set_defaults(run=run)


def _template(text: str) -> str:
    try:
        return template(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(options: argparse.Namespace) -> None:
    """Print the format that was recognized, what is wrong with rows, and the first rows token by token."""
    from steadyphi.data.encoding import encode_examples
    from steadyphi.data.rendering import PLAIN
    from steadyphi.data.row_files import stream_rows
    from steadyphi.data.row_formats import SettingNames, recognize
    from steadyphi.data.row_store import Rows
    from steadyphi.data.token_view import drawn, shortened, stretches
    from steadyphi.tokenizer import TextTokenizer

    if options.rows < 1:
        raise SteadyPhiError(f"--rows: should be 1 or more, not {options.rows}")
    tokenizer = TextTokenizer(folder_of(options.model))
    rows = Rows(stream_rows(options.file))
    keys = SettingNames("--format", "--instruction", "--response")
    format_ = recognize(rows, options.format, options.instruction, options.response, keys)
    dialogues, bad = _read(rows, format_)
    if not dialogues:
        raise SteadyPhiError(f"{options.file}: no row can be used as {format_}; {bad[0]}")
    print(f"{printable(str(options.file))}: {_rows(rows)}, read as {printable(str(format_))}")
    for line in _notes(dialogues, bad, tokenizer):
        print(line)
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for dialogue in dialogues[: options.rows]:
        style = PLAIN if dialogue.plain else FORMATS[options.style]
        (example,) = encode_examples(tokenizer, [(style, dialogue)])
        print(f"\n{_heading(dialogue.id, style.name, len(example.tokens), example.supervised)}")
        parts = [shortened(part, LONGEST) for part in stretches(example, tokenizer)]
        text = drawn(parts, _painted) if colour else drawn(parts)
        print(textwrap.indent(text, "  "))


def folder_of(model: str) -> Path:
    """Return the folder with the tokenizer of a model: a folder, or the name of a file in conf/model.

    Of a model on the Hub the tokenizer alone is fetched, unless huggingface_hub's cache has it.
    """
    if Path(model).is_dir():
        return Path(model)
    names = sorted(path.stem for path in (ROOT / MODELS).glob("*.yaml"))
    if model not in names:
        raise SteadyPhiError(f"--model: {model} is neither a folder nor one of {', '.join(names) or 'none'}")
    settings = read_object(ROOT / MODELS / f"{model}.yaml")
    if (ROOT / settings["source"]).is_dir():
        return ROOT / str(settings["source"])
    from huggingface_hub import hf_hub_download

    try:
        file = hf_hub_download(settings["source"], "tokenizer.json", revision=settings["revision"])
        return Path(file).parent
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SteadyPhiError(
            f"--model: the tokenizer of {settings['source']} is not in the cache and cannot be fetched "
            f"({reason}); name a folder that has it, such as artifacts/model"
        ) from None


def _read(rows: "Sequence[Row]", format_: "RowFormat") -> "tuple[list[Dialogue], list[str]]":
    """Return the rows that can be used, and for each other row what is wrong with it."""
    dialogues, bad = [], []
    for row in rows:
        try:
            dialogues.append(format_.read(row))
        except SteadyPhiError as error:
            bad.append(
                f"{f'{row.part} row {row.number}'.strip()}: {str(error).removeprefix(f'{row.where}: ')}"
            )
    return dialogues, bad


def _notes(dialogues: "Sequence[Dialogue]", bad: Sequence[str], tokenizer: "TextTokenizer") -> Iterator[str]:
    """Yield a line for each kind of row that should be looked at."""
    from steadyphi.data.row_checks import MEANINGS, RowChecks

    if bad:
        more = "; …" if len(bad) > NAMED else ""
        yield f"! {_rows(bad)} that cannot be used: {'; '.join(bad[:NAMED])}{more}"
    checks = RowChecks(tokenizer.special_texts)
    suspicions: dict[str, list[str]] = {}
    for dialogue in dialogues:
        for kind, text in checks.suspicions(dialogue).items():
            suspicions.setdefault(kind, []).append(f"{dialogue.id} ({text})")
    for kind, named in suspicions.items():
        more = ", …" if len(named) > NAMED else ""
        yield f"! {_rows(named)} with {MEANINGS[kind]}: {printable(', '.join(named[:NAMED]))}{more}"


def _rows(rows: Sequence[object]) -> str:
    return "1 row" if len(rows) == 1 else f"{len(rows):,} rows"


def _heading(row: str, style: str, tokens: int, supervised: int) -> str:
    count = "1 token" if tokens == 1 else f"{tokens:,} tokens"
    return f"{row}, format {style}: {count}; {supervised:,} targets, between ▸ and ◂"


def _painted(text: str, kind: str) -> str:
    """Return a token in bold green if it has a loss, and a mark in grey."""
    return f"{COLOURS[kind]}{text}{RESET}" if kind in COLOURS else text
