"""Inspect, convert, export, run, evaluate and compare models, preview data, and plan evaluations.

`dvc repro` runs the stages of the pipeline.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from steadyphi.checkpoint.layouts import LAYOUTS
from steadyphi.cli import compare, evaluate, examples, experiments, export, generate, plan, preview
from steadyphi.cli.export import check_new, print_facts
from steadyphi.errors import SteadyPhiError, printable, replace_unencodable
from steadyphi.files import atomic_dir
from steadyphi.prompts import own_formats

DTYPES = ("keep", "float16", "bfloat16", "float32")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. Invalid input ends it with a one-line message and exit status 1."""
    replace_unencodable()
    if not (sys.argv[1:] if arguments is None else arguments):
        print(examples.START, end="")
        return
    try:
        own_formats.define(own_formats.read(own_formats.FOLDER).values())
    except SteadyPhiError as error:
        sys.exit(f"error: {error}")
    options = _options(arguments)
    # As on Ctrl-C, so that incomplete output is removed at exit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        options.run(options)
        sys.stdout.flush()  # here, where an error is caught
    except SteadyPhiError as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:  # the reader has what it wants: steadyphi … | head
        os._exit(
            128 + signal.SIGPIPE
        )  # at a normal exit Python writes the rest of the output and fails again
    except OSError as error:
        sys.exit(f"error: {printable(str(error.filename or options.command))}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; prompts may also follow an option, which argparse alone does not accept."""
    parser = make_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(options, "prompt") or any(part.startswith("-") for part in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.prompt += rest
    return options


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

    check_new(options.target)
    with atomic_dir(options.target) as folder:
        manifest = convert_folder(
            options.source,
            folder,
            options.dtype,
            LAYOUTS[options.to],
            from_safetensors=options.from_safetensors,
            check_finite=not options.allow_nan,
        )
    print_facts(options.target, manifest)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `steadyphi`. The documentation of the commands is made from it."""
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

    export.add_parser(commands)
    generate.add_parsers(commands)
    compare.add_parser(commands)
    preview.add_parser(commands)
    evaluate.add_parser(commands)
    experiments.add_parser(commands)
    plan.add_parser(commands)
    examples.add_to(commands)
    return parser


if __name__ == "__main__":
    main()
