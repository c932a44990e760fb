"""The study of docs/results.md: which training makes a model steady in formats that it never saw?

    python scripts/steadiness.py [SEEDS]      # default 3; about 7 minutes per row and seed on one core

Runs one DVC experiment per row and seed, except those that exist already, so it continues where it was
interrupted. Then it writes the table and the plot of docs/results.md from all experiments that exist; with
SEEDS 0 it only does that. All rows are measured on formats of held-out atoms, which no row was trained on.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steadyphi.files import write_text
from steadyphi.report.effects import FAMILIES
from steadyphi.results import stored
from steadyphi.results.cells import Cells, cells
from steadyphi.stats import measures
from steadyphi.stats.catalogue import CATALOGUE
from steadyphi.stats.seeds import change_over_seeds

PAGE, PLOT = Path("docs/results.md"), Path("docs/steadiness.png")
COMPARISON = Path("artifacts/report/comparison.json")
LONG = "long prompt: "
WITHOUT, WITH = "full-grammar", "full-rehearsal"  # the rows without and with rehearsal
DEFAULT = "full-phi2"  # the row whose change the second table shows, and whose skills the third
EIGHT = "[phi2,phi2-newline,chat,bare,question-upper,question,question-lower,phi2-lower]"  # no held-out atom
EVEN = "+prepare.styles=[phi2,bare]"  # bare questions as often as phi2
ALONE = "+prepare.rehearsal=false"  # only questions of the fine-tuning split
FULL, LORA = ["method=full", ALONE, EVEN], ["method=lora", ALONE, EVEN]
FIXED = [ALONE, "+prepare.grammar=0.0", f"+prepare.styles={EIGHT}"]
WIDE = ["+finetune.method.r=64", "+finetune.method.alpha=64"]
WIDE += ["+finetune.method.targets=[attn.qkv,attn.proj,mlp.fc,mlp.proj,lm_head,wte]", "finetune.lr=0.002"]
ONE_THREAD = ["+finetune.threads=1", "+evaluate.threads=1"]  # so that two experiments can run at once
PAIRS = ["+finetune.consistency=1.0", "+prepare.examples=10800", "+prepare.renderings=4", "finetune.epochs=2"]
TAUGHT = "+prepare.answers=[phi2]"
Rows = dict[str, tuple[str, list[str]]]
ROWS: Rows = {
    "lora-fixed": ("LoRA, 8 fixed formats", ["method=lora", *FIXED]),
    "full-fixed": ("every weight, 8 fixed formats", ["method=full", *FIXED]),
    "lora-grammar": ("LoRA, formats drawn anew", LORA),
    "wide-grammar": ("LoRA of rank 64 with head and embedding, drawn anew", [*LORA, *WIDE]),
    "full-grammar": ("every weight, formats drawn anew", FULL),
    "full-taught": ("the same, without labels: the base's answers in phi2", [*FULL, TAUGHT]),
    "full-average": ("the same, a fifth of the base", [*FULL, "+finetune.method.base_share=0.2"]),
    "full-pairs": ("the same, two renderings of 10,800 rows compared", [*FULL, *PAIRS]),
    "full-fast": ("the same at a rate of 2e-3", [*FULL, "finetune.lr=0.002"]),
    "full-slow": ("the same at a rate of 5e-4", [*FULL, "finetune.lr=0.0005"]),
    "full-rehearsal": ("every weight, formats drawn anew, with rehearsal", ["method=full", EVEN]),
    "full-phi2": ("the same, phi2 three times as often as bare questions (default)", ["method=full"]),
    "phi2-taught": ("the default without labels: the base's answers in phi2", ["method=full", TAUGHT]),
}
COUNTED = (1, 2, 4, 8, 64)  # formats of the grammar, chosen at random, beside phi2 and bare questions
THIRD = [*FULL, "+prepare.examples=4800"]  # a third of the default's questions
COUNTS: Rows = {
    f"count-{n}": (f"{n} format{'s' * (n > 1)} of the grammar", [*THIRD, f"+prepare.grammar_formats={n}"])
    for n in COUNTED
}
COUNTS["count-all"] = ("all formats that training may use", THIRD)
COLUMNS = {
    "spread": "spread",
    "worst": "worst",
    "mean": "mean",
    "all": "right in all",
    "named": "named formats, mean",
    "phi2": "`phi2`",
}


@dataclass(frozen=True)
class Experiment:
    """The evaluations of one experiment before and after fine-tuning, or of two models to compare."""

    base: stored.Evaluation
    tuned: stored.Evaluation


def run(*command: str) -> str:
    """Return the standard output of a command."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def existing(row: str) -> list[str]:
    """Return the names of the row's experiments, by seed."""
    refs = run("git", "for-each-ref", "--format=%(refname)", "refs/exps").splitlines()
    return sorted({name for ref in refs if (name := ref.rpartition("/")[2]).startswith(f"steady-{row}-")})


def run_missing(row: str, seed: int) -> None:
    """Run the experiment of a row and a seed, if it does not exist."""
    name = f"steady-{row}-{seed}"
    if name not in existing(row):
        settings = (ROWS | COUNTS)[row][1]
        changes = ["suite=formats", "+prepare.items=200", f"seed={seed}", *ONE_THREAD, *settings]
        sets = [part for change in changes for part in ("-S", change)]
        run(sys.executable, "-m", "dvc", "exp", "run", "--temp", "-n", name, *sets)


def read(name: str, folder: Path) -> Experiment:
    """Return the evaluations of an experiment, after copying them from DVC's cache into `folder`."""
    both = []
    for which in ("base", "tuned"):
        into, source = folder / f"{name}-{which}", f"artifacts/scores/{which}"
        run(sys.executable, "-m", "dvc", "get", ".", source, "--rev", name, "-o", str(into))
        both.append(stored.read(into))
    return Experiment(*both)


def answers(evaluation: stored.Evaluation) -> tuple[Cells, Cells]:
    """Return the answers in the unseen formats, and in the named ones."""
    unseen = [row.name for row in evaluation.result.variants if row.family == "unseen"]
    return cells(evaluation.rows, unseen), cells(evaluation.rows, evaluation.formats)


def numbers(evaluation: stored.Evaluation) -> dict[str, float]:
    """Return the values of `COLUMNS`: over the unseen formats, and over the named formats."""
    asked, named = answers(evaluation)
    shares = asked.correct.mean(axis=0)
    return {
        "spread": measures.spread(asked.correct),
        "worst": float(shares.min()),
        "mean": float(shares.mean()),
        "all": float(asked.correct.all(axis=1).mean()),
        "named": float(named.correct.mean()),
        "phi2": float(named.correct[:, named.variants.index("phi2")].mean()),
    }


def table(groups: dict[str, list[dict[str, float]]]) -> str:
    """Return the Markdown table: the mean over seeds, with the minimum and maximum in brackets."""
    heads = ["trained", "seeds", *COLUMNS.values()]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, rows in groups.items():
        parts = []
        for key in COLUMNS:
            values = [100 * row[key] for row in rows]
            seeds = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
            parts.append(f"{np.mean(values):.1f}{seeds}")
        lines.append(f"| {name} | {len(rows)} | " + " | ".join(parts) + " |")
    return "\n".join(lines) + "\n"


def changes(experiments: list[Experiment]) -> str:
    """Return the Markdown table of the changes, with intervals over other seeds and questions."""
    unseen, named = (
        [
            np.stack([answers(getattr(e, which))[part].correct for e in experiments])
            for which in ("base", "tuned")
        ]
        for part in (0, 1)
    )
    phi2 = answers(experiments[0].base)[1].variants.index("phi2")
    rows = {
        "unseen formats: spread": ("spread", unseen),
        "unseen formats: worst": ("accuracy_worst", unseen),
        "unseen formats: mean": ("accuracy_mean", unseen),
        "unseen formats: right in all": ("right_in_all_formats", unseen),
        "named formats: mean": ("accuracy_mean", named),
        "`phi2`": ("accuracy_mean", [correct[..., [phi2]] for correct in named]),
    }
    lines = ["| | change, points | 95% interval |", "|---|---|---|"]
    for name, (key, (base, tuned)) in rows.items():
        change = change_over_seeds(CATALOGUE[key], base, tuned)
        value, low, high = (100 * number for number in (change.value, change.low, change.high))
        lines.append(f"| {name} | {value:+.1f} | {low:+.1f} to {high:+.1f} |")
    return "\n".join(lines).replace("-", "−").replace("−−−", "---") + "\n"


def skills(experiments: list[Experiment]) -> str:
    """Return the Markdown table of right answers by skill, in `phi2` and over the unseen formats."""
    lines = ["| skill | `phi2`: base | tuned | unseen formats: base | tuned |", "|---|---|---|---|---|"]
    shares: dict[str, list[list[float]]] = {}
    for experiment in experiments:
        for side, evaluation in enumerate((experiment.base, experiment.tuned)):
            for part, of_part in enumerate(reversed(answers(evaluation))):
                columns = [of_part.variants.index("phi2")] if part == 0 else slice(None)
                for skill, right in zip(of_part.skills, of_part.correct[:, columns], strict=True):
                    shares.setdefault(skill, [[] for _ in range(4)])[2 * part + side].append(right.mean())
    for skill, groups in sorted(shares.items()):
        lines.append(f"| {skill} | " + " | ".join(f"{100 * np.mean(group):.0f}" for group in groups) + " |")
    return "\n".join(lines) + "\n"


def carried() -> str:
    """Return the Markdown table of the changes in what was not trained, in the workspace's last run."""
    shown = {"accuracy_mean": "mean accuracy", "spread": "spread", "right": "right answers"}
    lines = ["| asked | questions × variants | measure | base | tuned | change, points | 95% interval |"]
    lines.append("|" + "---|" * len(lines[0].strip("|").split("|")))
    for family in json.loads(COMPARISON.read_text(encoding="utf-8"))["families"]:
        asked = FAMILIES.get(family["name"], "") if family["part"] == "family" else LONG + family["name"]
        if family["part"] == "options" or family["name"] in ("unseen", "grammar"):
            continue
        for change in (c for c in family["measures"] if c["key"] in shown):
            before, after = (f"{100 * change[key]:.1f}" for key in ("before", "after"))
            value, low, high = (
                f"{100 * change[key]:+.1f}".replace("-", "−") for key in ("change", "low", "high")
            )
            cells = (asked, f"{family['items']} × {family['variants']}", shown[change["key"]], before, after)
            lines.append(f"| {' | '.join(cells)} | {value} | {low} to {high} |")
    return "\n".join(lines) + "\n"


def replaced(text: str, name: str, table_: str) -> str:
    """Return a page with another table between the marks of this name."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, (_, after) = text.split(start)[0], text.split(start)[1].split(end)
    return before + start + table_ + end + after


def draw(groups: dict[str, list[dict[str, float]]]) -> None:
    """Plot the unseen formats' mean, worst and spread for each row, one dot per seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    titles = {"worst": "worst format, %", "mean": "mean accuracy, %", "spread": "spread, points"}
    for axes, (key, title) in zip(figure.subplots(1, 3, sharey=True), titles.items(), strict=True):
        for place, rows in enumerate(groups.values()):
            values = [100 * row[key] for row in rows]
            axes.plot(values, [place] * len(rows), "o", color="#9a6a00", alpha=0.6)
            axes.plot([np.mean(values)], [place], "s", color="#0a5fb4")
        axes.set_yticks(range(len(groups)), [name.replace("`", "") for name in groups], fontsize=8)
        axes.set_xlim(0, None)
        axes.set_xlabel(title)
        axes.grid(alpha=0.3)
        axes.invert_yaxis()
    figure.suptitle("In 24 formats of held-out atoms (dots: seeds; squares: their mean)", fontsize=10)
    figure.savefig(PLOT, dpi=120, metadata={"Software": None})


def tuned(rows: Rows, done: dict[str, list[Experiment]]) -> dict[str, list[dict[str, float]]]:
    """Return the numbers of the tuned models of those rows that have experiments, by the rows' names."""
    return {name: [numbers(e.tuned) for e in done[row]] for row, (name, _) in rows.items() if done[row]}


def main() -> None:
    """Run the missing experiments, and write the table and the plot."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
    for seed in seeds:
        for row in ROWS | COUNTS:
            run_missing(row, seed)
    with tempfile.TemporaryDirectory() as temporary:
        done = {row: [read(n, Path(temporary)) for n in existing(row)] for row in ROWS | COUNTS}
    groups = {"nothing (base)": [numbers(e.base) for e in max(done.values(), key=len)]}
    groups |= tuned(ROWS, done)
    text = replaced(PAGE.read_text(encoding="utf-8"), "table", table(groups))
    text = replaced(text, "counts", table(tuned(COUNTS, done)))
    if COMPARISON.exists():
        text = replaced(text, "carried", carried())
    if len(done[DEFAULT]) > 1:
        text = replaced(text, "changes", changes(done[DEFAULT]))
        pairs = zip(done[WITHOUT], done[WITH], strict=True)  # of the same seeds
        text = replaced(text, "rehearsal", changes([Experiment(a.tuned, b.tuned) for a, b in pairs]))
    write_text(PAGE, replaced(text, "skills", skills(done[DEFAULT])))
    draw(groups)
    print(table(groups))


if __name__ == "__main__":
    main()
