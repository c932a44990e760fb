"""The short report of both evaluations side by side: a plot, and a page of text in Markdown."""

from pathlib import Path
from typing import TYPE_CHECKING

from steadyphi.files import write_text
from steadyphi.report import prompts, reading
from steadyphi.results.result import Result, VariantRow
from steadyphi.stats.catalogue import used_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes


COLOURS, MARKS = ("#8a5a00", "#0a5fb4"), ("o", "s")  # as on the page


def draw(base: Result, tuned: Result, path: Path) -> None:
    """Draw accuracy per format before and after, one chart per set of formats, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sets = reading.format_sets([base, tuned])
    widths = [len(of_set.rows[0]) + 4 for of_set in sets]
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display
    charts = figure.subplots(1, len(sets), sharey=True, squeeze=False, width_ratios=widths)[0]
    for axes, of_set in zip(charts, sets, strict=True):
        _draw_set(axes, of_set, base.chance)
    charts[0].set_ylabel("right answers, %")
    handles, _ = charts[0].get_legend_handles_labels()
    names = ["base", "fine-tuned", "choosing blindly"]
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _draw_set(axes: "Axes", of_set: reading.FormatSet, chance: float) -> None:
    """Draw one set of formats: a column for each, with a line from before to after."""
    before, after = ([100 * row.accuracy for row in rows] for rows in of_set.rows)
    columns = range(len(before))
    axes.vlines(columns, before, after, color="#8a857a", linewidth=1, zorder=1)
    for values, colour, mark in zip((before, after), COLOURS, MARKS, strict=True):
        fill = "white" if mark == "o" else colour
        axes.plot(columns, values, mark, color=colour, markerfacecolor=fill, markersize=5, label=mark)
    axes.axhline(100 * chance, color="#8a857a", linestyle=":", label="chance")
    spreads = " to ".join(f"{max(values) - min(values):.1f}" for values in (before, after))
    axes.set_title(f"{of_set.title}: {len(before)} formats\nspread {spreads} points", fontsize=9)
    axes.set_ylim(0, 100)
    axes.set_xlim(-1, len(before))
    axes.set_xticks([])
    axes.grid(axis="y", alpha=0.3)


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
    for of_set in reading.format_sets([base, tuned]):
        lines += ["", f"{of_set.title}: {of_set.meaning}", "", "| format | base | tuned |", "|---|---|---|"]
        for before, after in zip(*of_set.rows, strict=True):
            name = prompts.label(before).replace("|", r"\|")
            lines.append(f"| `{name}` | {_share(before)} | {_share(after)} |")
    write_text(path, "\n".join(lines) + "\n")


def _share(row: VariantRow) -> str:
    return f"{row.accuracy:.1%} ({row.low:.1%} to {row.high:.1%})"
