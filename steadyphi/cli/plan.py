"""steadyphi plan: how many questions show a change, and which change a number of questions shows."""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steadyphi.errors import SteadyPhiError
from steadyphi.progress import Progress

if TYPE_CHECKING:
    from steadyphi.stats.planning import Design, Test

FORMATS = 1000  # at most


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `steadyphi`."""
    sub = commands.add_parser("plan", help="how many questions an evaluation needs to show a change")
    sub.add_argument("--detect", type=_percent, metavar="POINTS", help="the change to show, such as 5")
    sub.add_argument("--questions", type=int, metavar="N", help="tell which changes N questions show")
    sub.add_argument("--formats", type=int, metavar="T", help="the number of formats (the pilot's, or 14)")
    sub.add_argument(
        "--pilot",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="scores to plan with, of one run or two, such as artifacts/scores/base artifacts/scores/tuned",
    )
    sub.add_argument("--power", type=_percent, default=0.8, help="how often it is shown, in percent (80)")
    sub.add_argument("--alpha", type=_percent, default=0.05, help="the level of each test, in percent (5)")
    sub.set_defaults(run=plan)


def _percent(text: str) -> float:
    try:
        share = float(text) / 100
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0.001 <= share <= 0.999:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.1 and 99.9")
    return share


def plan(options: argparse.Namespace) -> None:
    """Print the numbers of questions, the changes, or both, and what they rest on."""
    from steadyphi.stats.planning import ASSUMED  # imported here, because the import takes a second
    from steadyphi.stats.simulated_power import REPLICATES, OfExtreme

    _check(options)
    design, basis = ASSUMED, "Assumed, as in the default run of phi-tiny"
    if options.pilot:
        design, basis = _measured(options.pilot)
    design = design.resized(options.formats or design.formats)
    heads = _heads(options)
    what = f"{design.formats} formats, power {100 * options.power:g}%, level {100 * options.alpha:g}%"
    print(_line(what, heads))
    for name, test in _tests(design, options.alpha, options.power).items():
        progress = Progress(name, 2 * REPLICATES * len(heads), "comparisons")
        if isinstance(test, OfExtreme):
            test = replace(test, compared=partial(progress.add, 1))
        cells = []
        if options.detect:
            needed = test.needed(options.detect)
            cells.append(f"{needed:,} questions" if needed else "not possible")
        if options.questions:
            change = test.detectable(options.questions)
            cells.append(f"{100 * change:.1f} points" if change else "none")
        if progress.last > progress.start:  # slow enough to have been shown
            progress.close()
        print(_line(name, cells), flush=True)
    print(f"\n{basis}:\n{_description(design)}")
    if not options.pilot:
        print("To plan with your own scores: --pilot artifacts/scores/base artifacts/scores/tuned")


def _check(options: argparse.Namespace) -> None:
    if options.detect is None and options.questions is None:
        raise SteadyPhiError("steadyphi plan: give --detect POINTS, --questions N, or both")
    if options.questions is not None and not 2 <= options.questions <= 10**6:
        raise SteadyPhiError(f"--questions {options.questions}: must be between 2 and 1,000,000")
    if options.formats is not None and not 2 <= options.formats <= FORMATS:
        raise SteadyPhiError(f"--formats {options.formats}: must be between 2 and {FORMATS:,}")
    if options.power <= options.alpha:
        raise SteadyPhiError(f"--power {100 * options.power:g}: must be greater than --alpha")


def _heads(options: argparse.Namespace) -> list[str]:
    heads = []
    if options.detect:
        heads.append(f"for {100 * options.detect:g} points")
    if options.questions:
        heads.append(f"with {options.questions:,} questions")
    return heads


def _line(name: str, cells: list[str]) -> str:
    return f"{name:44}" + "".join(f"  {cell:>18}" for cell in cells)


def _tests(design: "Design", alpha: float, power: float) -> dict[str, "Test"]:
    from steadyphi.stats.catalogue import CATALOGUE
    from steadyphi.stats.planning import OfFormat, OfMean
    from steadyphi.stats.simulated_power import OfExtreme

    return {
        "mean accuracy over the formats": OfMean(design, alpha, power),
        "one format, named beforehand": OfFormat(design, alpha, power),
        f"any of the {design.formats} formats": OfFormat(design, alpha / design.formats, power),
        **{
            f"{CATALOGUE[key].name.lower()} (simulated)": OfExtreme(design, alpha, power, CATALOGUE[key])
            for key in ("accuracy_worst_quarter", "spread")
        },
    }


def _measured(folders: list[Path]) -> tuple["Design", str]:
    """Return the design of a pilot of one or two runs, over the formats and questions that all have."""
    from steadyphi.results import stored
    from steadyphi.stats.planning import measured

    if len(folders) > 2:
        raise SteadyPhiError(f"--pilot: takes one or two folders of scores, got {len(folders)}")
    tables = stored.formats_of([stored.read(folder) for folder in folders])
    items, formats = tables[0].correct.shape
    where = " and ".join(map(str, folders))
    if min(items, formats) < 2:
        raise SteadyPhiError(f"{where}: a pilot needs two formats and two questions that all runs have")
    design = measured(*(table.correct for table in tables))
    source = f"Measured in {where} ({items:,} questions, {formats} formats)"
    if len(folders) == 1:
        source += "; two formats stand for two runs, and the correlation is assumed"
    return design, source


def _description(design: "Design") -> str:
    low, high = design.accuracies[0], design.accuracies[-1]
    return (
        f"accuracies from {low:.1%} to {high:.1%} before; {design.changed:.1%} of the answers in a format "
        f"change although no accuracy does,\nwith a correlation of {design.shared:.2f} between two formats; "
        f"two formats differ on {design.differing:.1%} of the questions"
    )
