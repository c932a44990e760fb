"""The short report of both evaluations side by side: a plot, and a page of text in Markdown."""

from pathlib import Path

from steadyphi.files import write_text
from steadyphi.results.result import Result, VariantRow
from steadyphi.stats.catalogue import used_in


def draw(base: Result, tuned: Result, path: Path) -> None:
    """Draw accuracy per format before and after with intervals, the best base format on top, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    before = sorted(_formats(base).values(), key=lambda row: row.accuracy)
    after = _formats(tuned)
    figure = Figure(figsize=(8, 1.2 + 0.36 * len(before)), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display
    axes = figure.subplots()
    labels = [row.name + ("" if row.seen else " *") for row in before]
    for name, colour, rows, shift in (
        ("base", "#9a6a00", before, -0.13),
        ("fine-tuned", "#0a5fb4", [after[row.name] for row in before], 0.13),
    ):
        accuracies = [100 * row.accuracy for row in rows]
        below = [100 * (row.accuracy - row.low) for row in rows]
        above = [100 * (row.high - row.accuracy) for row in rows]
        heights = [n + shift for n in range(len(rows))]
        axes.errorbar(accuracies, heights, xerr=[below, above], fmt="o", color=colour, capsize=2, label=name)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy, % (with confidence interval)")
    axes.set_title("Accuracy per prompt format (* not trained on)")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def write_page(base: Result, tuned: Result, path: Path) -> None:
    """Write the comparison as a Markdown page."""
    rounding = [run.measures["noise_flip_rate"].value for run in (base, tuned)]
    lines = [
        "# Prompt sensitivity before and after fine-tuning",
        "",
        f"{base.items} items, each in {base.formats} prompt formats; choosing blindly gives "
        f"{base.chance:.1%}. Rounding alone (the same prompts in other batches) changes "
        f"{rounding[0]:.1%} of the answers (tuned: {rounding[1]:.1%}).",
        "",
        "| | base | tuned | change |",
        "|---|---|---|---|",
    ]
    for measure in used_in("summary"):
        if measure.key in base.measures and measure.key in tuned.measures:
            before, after = (run.measures[measure.key].value for run in (base, tuned))
            change = 100 * (after - before)
            lines.append(f"| {measure.label} | {before:.1%} | {after:.1%} | {change:+.1f} points |")
    lines += ["", "| format | trained on | base | tuned |", "|---|---|---|---|"]
    tuned_rows = _formats(tuned)
    for name, row in _formats(base).items():
        seen = "yes" if row.seen else "no"
        lines.append(f"| `{name}` | {seen} | {_share(row)} | {_share(tuned_rows[name])} |")
    write_text(path, "\n".join(lines) + "\n")


def _formats(run: Result) -> dict[str, VariantRow]:
    """Return the named formats by name."""
    return {row.name: row for row in run.variants if row.family == "format"}


def _share(row: VariantRow) -> str:
    return f"{row.accuracy:.1%} ({row.low:.1%} to {row.high:.1%})"
