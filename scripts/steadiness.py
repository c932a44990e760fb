"""Does fine-tuning on more styles make a model steadier in styles that it was not trained on?

    python scripts/steadiness.py      # after the queue of docs/results.md; writes the page's table and plot

Reads the DVC experiments that set both `prepare.styles` and `finetune.max_steps`, and measures all of them on
the same formats: those that no experiment was trained on.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from steadyphi.files import write_text
from steadyphi.results import stored
from steadyphi.results.cells import cells
from steadyphi.stats import measures

PAGE, PLOT = Path("docs/results.md"), Path("docs/steadiness.png")
START, END = "<!-- table -->\n", "<!-- end -->\n"
MEASURES = {
    "spread": "spread",
    "worst": "worst format",
    "mean": "mean accuracy",
    "flips": "flip rate",
}


@dataclass(frozen=True)
class Experiment:
    """One experiment of the study, with its evaluations before and after fine-tuning."""

    seed: int
    styles: tuple[str, ...]
    base: stored.Evaluation
    tuned: stored.Evaluation


def run(*command: str) -> str:
    """Return the standard output of a command."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def experiments(folder: Path) -> list[Experiment]:
    """Return the experiments of the study, after fetching their scores from DVC's cache into `folder`."""
    studied = []
    for line in run("git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps").splitlines():
        name, commit = line.split()
        params = yaml.safe_load(run("git", "show", f"{commit}:params.yaml"))
        styles, steps = params.get("prepare", {}).get("styles"), params["finetune"].get("max_steps")
        if not styles or not steps or "/celery/" in name:
            continue
        both = []
        for which in ("base", "tuned"):
            into = folder / f"{commit}-{which}"
            source = f"artifacts/scores/{which}"
            run(sys.executable, "-m", "dvc", "get", ".", source, "--rev", commit, "-o", str(into))
            both.append(stored.read(into))
        studied.append(Experiment(params["seed"], tuple(styles), *both))
    return sorted(studied, key=lambda e: (len(e.styles), e.seed))


def numbers(evaluation: stored.Evaluation, formats: Sequence[str]) -> dict[str, float]:
    """Return the values of `MEASURES` over these formats."""
    asked = cells(evaluation.rows, formats)
    shares = asked.correct.mean(axis=0)
    return {
        "spread": measures.spread(asked.correct),
        "worst": float(shares.min()),
        "mean": float(shares.mean()),
        "flips": measures.flip_rate(asked.chosen),
    }


def table(groups: dict[int, list[dict[str, float]]]) -> str:
    """Return the Markdown table: the mean over seeds, with the minimum and maximum in brackets."""
    lines = [
        "| fine-tuned on | " + " | ".join(MEASURES.values()) + " |",
        "|---|" + "---|" * len(MEASURES),
    ]
    for count, rows in groups.items():
        parts = []
        for key in MEASURES:
            values = [row[key] for row in rows]
            parts.append(f"{np.mean(values):.1%} ({min(values):.1%} to {max(values):.1%})")
        name = f"{count} style{'s' if count > 1 else ''}" if count else "nothing (base)"
        lines.append(f"| {name} | " + " | ".join(parts) + " |")
    return "\n".join(lines) + "\n"


def draw(groups: dict[int, list[dict[str, float]]]) -> None:
    """Plot the spread and the worst format against the number of styles, one dot per seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, key in zip(figure.subplots(1, 2), ("spread", "worst"), strict=True):
        places = range(len(groups))
        for place, rows in zip(places, groups.values(), strict=True):
            axes.plot([place] * len(rows), [100 * row[key] for row in rows], "o", color="#9a6a00", alpha=0.6)
        means = [100 * np.mean([row[key] for row in rows]) for rows in groups.values()]
        axes.plot(places, means, "s-", color="#0a5fb4")
        axes.set_xticks(places, [str(count) if count else "base" for count in groups])
        axes.set_xlabel("styles fine-tuned on")
        axes.set_ylabel({"spread": "spread, points", "worst": "accuracy in the worst format, %"}[key])
        axes.set_ylim(0, None)
        axes.grid(alpha=0.3)
    figure.suptitle("In formats that were never trained on (dots: seeds; squares: their mean)", fontsize=10)
    figure.savefig(PLOT, dpi=120, metadata={"Software": None})


def main() -> None:
    """Measure the study's experiments and write the page."""
    with tempfile.TemporaryDirectory() as temporary:
        studied = experiments(Path(temporary))
    if not studied:
        sys.exit("error: DVC has no experiment of the study; run the queue described in docs/results.md")
    seen = {style for e in studied for style in e.styles}
    formats = [name for name in studied[0].tuned.formats if name not in seen]
    groups = {0: [numbers(e.base, formats) for e in {e.seed: e for e in studied}.values()]}
    for count in sorted({len(e.styles) for e in studied}):
        groups[count] = [numbers(e.tuned, formats) for e in studied if len(e.styles) == count]
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    write_text(PAGE, before + START + table(groups) + END + after)
    draw(groups)
    print(table(groups))


if __name__ == "__main__":
    main()
