"""steadyphi compare: two evaluations side by side, on the items and formats that both have."""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from steadyphi.errors import SteadyPhiError

SCORES = "artifacts/scores"


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `steadyphi`."""
    sub = commands.add_parser(
        "compare", help="compare two evaluations, measure by measure and format by format"
    )
    for name in ("before", "after"):
        sub.add_argument(
            name, help=f"a folder such as {SCORES}/base, or a commit, branch or experiment of DVC's"
        )
    sub.add_argument(
        "--which", choices=("base", "tuned"), default="tuned", help="of a commit or experiment (%(default)s)"
    )
    sub.add_argument("--json", action="store_true", help="for machines")
    sub.set_defaults(run=compare)


def compare(options: argparse.Namespace) -> None:
    """Print the comparison of two evaluations."""
    from steadyphi.results import stored  # here, for it takes seconds to import

    with tempfile.TemporaryDirectory() as temporary:
        folders = [
            _folder(where, options.which, Path(temporary) / str(n))
            for n, where in enumerate((options.before, options.after))
        ]
        before, after = map(stored.read, folders)
        found = stored.side_by_side(before, after)
    print(json.dumps(found, indent=2) if options.json else render(found))


def _folder(where: str, which: str, into: Path) -> Path:
    """Return a folder of scores; those of a revision are fetched from DVC's cache into `into`."""
    folder = Path(where)
    if folder.is_dir():
        return folder
    command = [
        sys.executable,
        "-m",
        "dvc",
        "get",
        ".",
        f"{SCORES}/{which}",
        "--rev",
        where,
        "-o",
        str(into),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[0].removeprefix("ERROR: ")
        raise SteadyPhiError(
            f"{where}: is neither a folder nor a revision whose {SCORES}/{which} DVC has ({reason}); "
            "`dvc exp list` and `git log` show names"
        )
    return into


def render(found: dict[str, Any]) -> str:
    """Return a comparison as tables, what stands out in it and the gate's verdict."""
    from steadyphi.report import beyond
    from steadyphi.report.wording import points

    lines = [f"On {found['items']:,} questions in {len(found['variants'])} formats that both have.", ""]
    lines.append(_line("", "before", "after", "change", "interval"))
    lines += [_line(*beyond.texts(row)) for row in found["measures"]]
    lines += ["", _line("format", "before", "after", "change", "p (Holm)")]
    for row in found["variants"]:
        before, after = (f"{row[key]:.1%}" for key in ("before", "after"))
        change = f"{points(row['change'])} points"
        lines.append(_line(row["name"], before, after, change, f"{row['p_holm']:.3f}"))
    for heading, entries in itertools.groupby(found["beyond"], beyond.heading):
        lines += ["", heading]
        rows = ((entry, row) for entry in entries for row in entry["measures"])
        lines += [_line(f"  {beyond.name(entry, row)}", *beyond.texts(row)[1:]) for entry, row in rows]
    lines += ["", *found["alarms"]]
    gate = found["gate"]
    lines += (
        ["gate: passed"] if gate["passed"] else [f"gate: not passed: {reason}" for reason in gate["reasons"]]
    )
    return "\n".join(lines)


def _line(name: str, before: str, after: str, change: str, certainty: str) -> str:
    return f"{name:34}{before:>14}{after:>14}{change:>16}   {certainty}"
