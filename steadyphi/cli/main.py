"""The command `steadyphi`: inspect, convert, export, run and compare models. `dvc repro` runs the stages."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steadyphi.checkpoint.layouts import LAYOUTS
from steadyphi.cli import compare, generate
from steadyphi.errors import SteadyPhiError, printable, replace_unencodable
from steadyphi.files import atomic_dir

DTYPES = ("keep", "float16", "bfloat16", "float32")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. Invalid input ends it with a one-line message and exit status 1."""
    replace_unencodable()
    options = _parser().parse_args(arguments)
    # As on Ctrl-C, so that incomplete output is removed at exit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        options.run(options)
    except SteadyPhiError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {printable(str(error.filename or options.command))}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def inspect(options: argparse.Namespace) -> None:
    """Print the facts about a checkpoint. The exit status is 1 if there are problems."""
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
        manifest = convert_folder(
            options.source,
            folder,
            options.dtype,
            LAYOUTS[options.to],
            from_safetensors=options.from_safetensors,
            check_finite=not options.allow_nan,
        )
    _print_facts(options.target, manifest)


def export(options: argparse.Namespace) -> None:
    """Export a fine-tuned model for other tools."""
    from steadyphi.checkpoint.export import export as export_folder

    _check_new(options.target)
    with atomic_dir(options.target) as folder:
        manifest = export_folder(options.tuned, options.base, folder, options.adapter)
    _print_facts(options.target, manifest)


def _check_new(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SteadyPhiError(f"{target}: exists already; name a new folder, or remove it")


def _print_facts(target: Path, manifest: dict[str, Any]) -> None:
    facts = [f"{key} {manifest[key]}" for key in ("layout", "dtype", "digest") if manifest.get(key)]
    print(f"{target}: {', '.join(facts)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("steadyphi", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    sub = commands.add_parser("inspect", help="describe a checkpoint and check that it is complete")
    sub.add_argument("where", help="a folder, or a repository on the Hub such as microsoft/phi-2")
    sub.add_argument("--revision", help="the repository's commit, tag or branch (its default branch)")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.set_defaults(run=inspect)

    sub = commands.add_parser("convert", help="convert a checkpoint from any layout to any other")
    sub.add_argument("source", type=Path, help="the checkpoint folder")
    sub.add_argument("target", type=Path, help="a new folder")
    sub.add_argument("--to", choices=LAYOUTS, default="lit", help="the layout to write (%(default)s)")
    sub.add_argument("--dtype", choices=DTYPES, default="keep", help="the dtype of the weights (%(default)s)")
    sub.add_argument(
        "--from-safetensors",
        action=argparse.BooleanOptionalAction,
        help="which weights to read if there are both kinds (safetensors)",
    )
    sub.add_argument("--allow-nan", action="store_true", help="allow NaN and infinite numbers")
    sub.set_defaults(run=convert)

    sub = commands.add_parser("export", help="export a fine-tuned model as a folder for the Hub")
    sub.add_argument("tuned", type=Path, help="the output of the stage finetune: artifacts/tuned")
    sub.add_argument("target", type=Path, help="a new folder")
    base = Path("artifacts/model")
    sub.add_argument("--base", type=Path, default=base, help="the base checkpoint (%(default)s)")
    sub.add_argument(
        "--adapter", action="store_true", help="export an unmerged adapter for peft and transformers"
    )
    sub.set_defaults(run=export)

    generate.add_parsers(commands)
    compare.add_parser(commands)
    return parser


if __name__ == "__main__":
    main()
