"""The short report of both evaluations side by side: a plot, and a page of text in Markdown."""

from pathlib import Path
from typing import TYPE_CHECKING

from steadyphi.files import write_text
from steadyphi.prompts.grammar import CASINGS
from steadyphi.results.result import Result, VariantRow
from steadyphi.stats.catalogue import used_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes


SETS = {
    "format": "Named formats (* not among the training formats)",
    "unseen": "Formats of held-out atoms: training saw no descriptor, separator or gap of these",
}


def draw(base: Result, tuned: Result, path: Path) -> None:
    """Draw accuracy per format before and after with intervals, one chart per set of formats, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sets = {family: _sorted(base, family) for family in SETS if _formats(base, family)}
    heights = [len(rows) + 1 for rows in sets.values()]
    figure = Figure(figsize=(8, 1.4 + 0.3 * sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display
    charts = figure.subplots(len(sets), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (family, before) in zip(charts, sets.items(), strict=True):
        after = _formats(tuned, family)
        _draw_set(axes, SETS[family], before, [after[row.name] for row in before])
    charts[-1].set_xlabel("accuracy, % (with confidence interval)")
    figure.legend(*charts[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _draw_set(axes: "Axes", title: str, before: list[VariantRow], after: list[VariantRow]) -> None:
    """Draw one set of formats, the last row on top."""
    for name, colour, rows, shift in (
        ("base", "#9a6a00", before, -0.13),
        ("fine-tuned", "#0a5fb4", after, 0.13),
    ):
        accuracies = [100 * row.accuracy for row in rows]
        below = [100 * (row.accuracy - row.low) for row in rows]
        above = [100 * (row.high - row.accuracy) for row in rows]
        heights = [n + shift for n in range(len(rows))]
        axes.errorbar(accuracies, heights, xerr=[below, above], fmt="o", color=colour, capsize=2, label=name)
    axes.set_yticks(range(len(before)), [_label(row) for row in before], fontsize=8)
    axes.set_xlim(0, 100)
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x", alpha=0.3)


def _label(row: VariantRow) -> str:
    """Return a named format's name, and the text of an unseen format with visible white space."""
    if row.family == "format":
        return row.name + ("" if row.seen else " *")
    asked, _, answered = row.atoms["descriptor"].partition("/")
    case = CASINGS[row.atoms["casing"]]
    separator, ending = row.atoms["separator"], {"nothing": "", "space": "␣", "newline": "⏎"}
    side = separator.rstrip("␣⏎⇥") + ending[row.atoms["ending"]]
    return f"{case(asked)}{separator}…{row.atoms['gap']}{case(answered)}{side}"


def _sorted(run: Result, family: str) -> list[VariantRow]:
    return sorted(_formats(run, family).values(), key=lambda row: row.accuracy)


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
    for family in SETS:
        rows, tuned_rows = _formats(base, family), _formats(tuned, family)
        lines += ["", "| format | trained on | base | tuned |", "|---|---|---|---|"] if rows else []
        for name, row in rows.items():
            seen = "yes" if row.seen else "no"
            lines.append(f"| `{name}` | {seen} | {_share(row)} | {_share(tuned_rows[name])} |")
    write_text(path, "\n".join(lines) + "\n")


def _formats(run: Result, family: str = "format") -> dict[str, VariantRow]:
    """Return the formats of a set by name."""
    return {row.name: row for row in run.variants if row.family == family}


def _share(row: VariantRow) -> str:
    return f"{row.accuracy:.1%} ({row.low:.1%} to {row.high:.1%})"
