"""The command `steadyphi`: look at checkpoints, convert, export, run, compare. The stages are `dvc repro`."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steadyphi.checkpoint.layouts import LAYOUTS
from steadyphi.cli import compare, generate
from steadyphi.errors import SteadyPhiError
from steadyphi.files import atomic_dir

DTYPES = ("keep", "float16", "bfloat16", "float32")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; bad input ends it with one line and the status 1."""
    options = _parser().parse_args(arguments)
    # As on Ctrl-C, so that what is half-written is removed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        options.run(options)
    except SteadyPhiError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or options.command}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def inspect(options: argparse.Namespace) -> None:
    """Print what a checkpoint is; status 1 when something about it is wrong."""
    from steadyphi.inspection import inspect as inspecting
    from steadyphi.inspection import page

    facts = inspecting.inspect(options.where, options.revision)
    print(json.dumps(facts, indent=2) if options.json else page.render(facts))
    if facts["problems"]:
        sys.exit(1)


def convert(options: argparse.Namespace) -> None:
    """Convert a checkpoint folder into a new folder of another layout."""
    from steadyphi.checkpoint.convert import convert as convert_folder

    _check_new(options.target)
    with atomic_dir(options.target) as folder:
        made = convert_folder(
            options.source,
            folder,
            options.dtype,
            LAYOUTS[options.to],
            from_safetensors=options.from_safetensors,
            check_finite=not options.allow_nan,
        )
    _say(options.target, made)


def export(options: argparse.Namespace) -> None:
    """Write what was fine-tuned for other tools."""
    from steadyphi.checkpoint.export import export as export_folder

    _check_new(options.target)
    with atomic_dir(options.target) as folder:
        made = export_folder(options.tuned, options.base, folder, options.adapter)
    _say(options.target, made)


def _check_new(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SteadyPhiError(f"{target}: exists already; name a new folder, or remove it")


def _say(target: Path, made: dict[str, Any]) -> None:
    facts = [f"{key} {made[key]}" for key in ("layout", "dtype", "digest") if made.get(key)]
    print(f"{target}: {', '.join(facts)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("steadyphi", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    sub = commands.add_parser("inspect", help="say what a checkpoint is, and whether it is whole")
    sub.add_argument("where", help="a folder, or a repository on the Hub such as microsoft/phi-2")
    sub.add_argument("--revision", help="the repository's commit, tag or branch (its default branch)")
    sub.add_argument("--json", action="store_true", help="for machines")
    sub.set_defaults(run=inspect)

    sub = commands.add_parser("convert", help="turn a checkpoint of any layout into one of any other")
    sub.add_argument("source", type=Path, help="its folder")
    sub.add_argument("target", type=Path, help="a new folder")
    sub.add_argument("--to", choices=LAYOUTS, default="lit", help="the layout to write (%(default)s)")
    sub.add_argument("--dtype", choices=DTYPES, default="keep", help="the type of its numbers (%(default)s)")
    sub.add_argument(
        "--from-safetensors",
        action=argparse.BooleanOptionalAction,
        help="which weights to read where there are both (safetensors)",
    )
    sub.add_argument("--allow-nan", action="store_true", help="take NaN and infinite numbers along")
    sub.set_defaults(run=convert)

    sub = commands.add_parser("export", help="write what was fine-tuned as a folder for the Hub")
    sub.add_argument("tuned", type=Path, help="what the stage finetune made: artifacts/tuned")
    sub.add_argument("target", type=Path, help="a new folder")
    base = Path("artifacts/model")
    sub.add_argument("--base", type=Path, default=base, help="the checkpoint it was made from (%(default)s)")
    sub.add_argument("--adapter", action="store_true", help="an adapter for peft and transformers, unmerged")
    sub.set_defaults(run=export)

    generate.add_parsers(commands)
    compare.add_parser(commands)
    return parser


if __name__ == "__main__":
    main()
