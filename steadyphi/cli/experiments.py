"""steadyphi experiments: the experiments of this project in one table, with the few columns that matter.

`dvc exp show` has a column for every setting and every metric, and it shows the metrics that are committed on
the branch for an experiment that failed or has not finished. Here such an experiment has blanks.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from steadyphi.cli.compare import dvc
from steadyphi.errors import SteadyPhiError
from steadyphi.files import parse_object, read_bytes

RESOLVED = "artifacts/config/publish.yaml"  # the settings of an experiment, as `compose` resolved them
SUMMARY = "metrics/summary.json"
PARAMS = "params.yaml"
CHOICES = {"model": "model", "data": "data", "method": "method"}
TRAINING = {"lr": "lr", "epochs": "epochs"}
MEASURES = {
    "spread unseen": "spread_unseen_tuned",
    "worst unseen": "accuracy_worst_unseen_tuned",
    "mean unseen": "accuracy_unseen_tuned",
    "best format": "accuracy_best_tuned",
    "gate": "gate_passed",
}
DONE = "done"
Row = dict[str, Any]


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `steadyphi`."""
    sub = commands.add_parser("experiments", help="list the experiments of this project with their results")
    sub.add_argument("--all", action="store_true", help="those of all commits, not only of the present one")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.set_defaults(run=experiments)


def experiments(options: argparse.Namespace) -> None:
    """Print the table of experiments."""
    done = dvc("exp", "show", "--json", *(["--all-commits"] if options.all else []))
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SteadyPhiError(f"dvc exp show failed: {reason.removeprefix('ERROR: ')}; run it in the project")
    cache = Path(dvc("cache", "dir").stdout.strip())
    rows = table(json.loads(done.stdout), cache / "files" / "md5")
    print(json.dumps(rows, indent=2) if options.json else render(rows))


def table(shown: Sequence[Mapping[str, Any]], cache: Path) -> list[Row]:
    """Return the rows of the table from the output of `dvc exp show --json`.

    cache: the folder of DVC's files, by their MD5. The values of an experiment that is not done are None.
    """
    rows = [row(state, name, revision, cache) for state, name, revision in _revisions(shown)]
    here = [r for r in rows if r["state"] == "workspace"]
    others = [r for r in rows if r["state"] != "workspace"]
    return [r for r in here if not _repeats(r, others)] + others


def _revisions(shown: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the state, the name and the data of the workspace, of each commit and of its experiments."""
    for commit in shown:
        workspace = commit["rev"] == "workspace"
        name = commit["name"] or ("" if workspace else commit["rev"][:7])
        yield "workspace" if workspace else DONE, name, commit
        for experiment in commit["experiments"] or ():
            state = (experiment["executor"] or {}).get("state") or DONE
            revision = experiment["revs"][0]
            yield DONE if state == "success" else state, experiment["name"] or revision["rev"][:7], revision


def row(state: str, name: str, revision: Mapping[str, Any], cache: Path) -> Row:
    """Return the row of a revision. Its measures are shares of 1, None if it is not done or lacks them."""
    data = revision.get("data") or {}
    params = _file(data.get("params"), PARAMS)
    known = state in (DONE, "workspace")
    chosen = {**params, **(_resolved(data, cache) if known else {})}
    training = {**(params.get("finetune") or {}), **(chosen.get("finetune") or {})}
    summary = _file(data.get("metrics"), SUMMARY) if known else {}
    return {
        "experiment": name,
        "state": state,
        **{label: chosen.get(key) for label, key in CHOICES.items()},
        **{label: training.get(key) for label, key in TRAINING.items()},
        **{label: summary.get(key) for label, key in MEASURES.items()},
    }


def _file(files: Any, name: str) -> dict[str, Any]:
    """Return the values that DVC read from a file; {} if it could not."""
    values = ((files or {}).get(name) or {}).get("data")
    return values if isinstance(values, dict) else {}


def _resolved(data: Mapping[str, Any], cache: Path) -> dict[str, Any]:
    """Return the settings that `compose` resolved for a revision; {} if DVC's cache does not have them."""
    digest = ((data.get("outs") or {}).get(RESOLVED) or {}).get("hash")
    path = cache / str(digest)[:2] / str(digest)[2:]
    if not digest or not path.is_file():
        return {}
    settings = parse_object(read_bytes(path), Path(RESOLVED)).get("settings")
    return settings if isinstance(settings, dict) else {}


def _repeats(workspace: Row, others: Sequence[Row]) -> bool:
    """Return whether the workspace has no result of its own: its results are those of another row."""
    measured = [workspace[label] for label in MEASURES]
    return any(measured == [other[label] for label in MEASURES] for other in others)


def render(rows: Sequence[Row]) -> str:
    """Return the table as text."""
    if not rows:
        return "no experiments; dvc exp run makes one"
    labels = list(rows[0])
    texts = [labels, *([_text(label, row[label]) for label in labels] for row in rows)]
    widths = [max(len(line[n]) for line in texts) for n in range(len(labels))]
    numbers = {*TRAINING, *MEASURES} - {"gate"}
    lines = []
    for line in texts:
        cells = (
            text.rjust(width) if label in numbers else text.ljust(width)
            for label, text, width in zip(labels, line, widths, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _text(label: str, value: Any) -> str:
    if value is None:
        return ""
    if label == "gate":
        return "passed" if value else "failed"
    return f"{value:.1%}" if label in MEASURES else f"{value:g}" if label in TRAINING else str(value)
