"""steadyphi compare: two evaluations side by side, on the questions and variants that they share."""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steadyphi.errors import SteadyPhiError

if TYPE_CHECKING:
    from steadyphi.results.experiment import RunComparison

SCORES = "artifacts/scores"


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `steadyphi`."""
    sub = commands.add_parser(
        "compare", help="compare two evaluations, measure by measure and format by format"
    )
    for name in ("before", "after"):
        sub.add_argument(
            name, help=f"a folder such as {SCORES}/base, or a commit, a branch or a DVC experiment"
        )
    sub.add_argument(
        "--which",
        choices=("base", "tuned"),
        default="tuned",
        help="the model of a commit or experiment (%(default)s)",
    )
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.set_defaults(run=compare)


def compare(options: argparse.Namespace) -> None:
    """Print the comparison of two evaluations."""
    from steadyphi.results import stored  # imported here, because the import takes seconds

    with tempfile.TemporaryDirectory() as temporary:
        folders = [
            _folder(where, options.which, Path(temporary) / str(n))
            for n, where in enumerate((options.before, options.after))
        ]
        before, after = map(stored.read, folders)
        comparison = stored.side_by_side(before, after)
    print(json.dumps(stored.to_json(comparison), indent=2) if options.json else render(comparison))


def _folder(where: str, which: str, into: Path) -> Path:
    """Return a folder of scores. The scores of a revision are fetched from the DVC cache into `into`.

    If the cache lacks them, the workspace's scores are taken, provided that they are of the same revision.
    They have other digests than the committed ones if this machine's CPU rounds differently.
    """
    if Path(where).is_dir():
        return Path(where)
    scores = f"{SCORES}/{which}"
    # `dvc get` does not find the outputs of a project in a subfolder of its git repository from there.
    top, below = git("rev-parse", "--show-toplevel") or ".", git("rev-parse", "--show-prefix") or ""
    done = dvc("get", top, below + scores, "--rev", where, "-o", str(into))
    if not done.returncode:
        return into
    commit = git("rev-parse", "--verify", "--end-of-options", f"{where}^{{commit}}")
    if not commit and "unknown Git revision" in done.stderr:
        raise SteadyPhiError(
            f"{where}: is neither a folder nor a revision; `dvc exp list` and `git log` show names"
        )
    missing = f"{where}: DVC's cache does not have its {scores}"
    if not commit or commit != git("rev-parse", "HEAD"):
        remedy = f"check {where} out, run dvc repro and commit dvc.lock"
        raise SteadyPhiError(f"{missing}; run dvc pull if the project has a remote, or {remedy}")
    if not _is_up_to_date(which):
        raise SteadyPhiError(f"{missing}, and the workspace is not up to date with it; run dvc repro")
    print(f"{missing}; comparing the workspace's, which dvc repro made from the same files", file=sys.stderr)
    return Path(scores)


def _is_up_to_date(which: str) -> bool:
    """Return whether the workspace's scores were made from the files of the current revision."""
    results = (":(exclude)dvc.lock", ":(exclude)metrics")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *results)
    status = dvc("status", "--json", "--with-deps", f"evaluate@{which}")
    return changed == "" and status.returncode == 0 and json.loads(status.stdout) == {}


def git(*arguments: str, folder: Path = Path()) -> str | None:
    """Return the output of git in a folder, or None if it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()


def dvc(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run dvc with this interpreter; neither its output is shown nor its exit status checked."""
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def render(comparison: "RunComparison") -> str:
    """Return the tables of a comparison, its alarms and the result of the gate."""
    from steadyphi.report import families
    from steadyphi.report.wording import Q_MEANING, count, percent, points, probability

    rows = comparison.variants
    lines = [f"On {count(comparison.items, 'question')} in {count(len(rows), 'format')} that both have.", ""]
    lines.append(_line("", "before", "after", "change", "interval", "q"))
    lines += [_line(*families.texts(change), probability(change.q_value)) for change in comparison.measures]
    lines += ["", _line("format", "before", "after", "change", "p (Holm)")]
    for row in rows:
        change = f"{points(row.change)} points"
        lines.append(
            _line(row.name, percent(row.before), percent(row.after), change, probability(row.p_holm))
        )
    for heading, members in itertools.groupby(comparison.families, families.heading):
        lines += ["", heading]
        for family in members:
            for measure in family.measures:
                texts = families.texts(measure)[1:]
                lines.append(
                    _line(f"  {families.name(family, measure)}", *texts, probability(measure.q_value))
                )
    lines += ["", Q_MEANING, *comparison.alarms]
    gate = comparison.gate
    lines += ["gate: passed"] if gate.passed else [f"gate: not passed: {reason}" for reason in gate.reasons]
    return "\n".join(lines)


def _line(name: str, before: str, after: str, change: str, certainty: str, q: str = "") -> str:
    return f"{name:34}{before:>14}{after:>14}{change:>16}   {certainty:30}{q}".rstrip()
