"""Before and after fine-tuning side by side: headline numbers, a plot, a page of text."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from steadyphi.files import write_text

HEADLINES = {
    "accuracy_mean": "mean accuracy over formats",
    "accuracy_best": "accuracy in the best format",
    "accuracy_worst": "accuracy in the worst format",
    "spread": "spread (best less worst)",
    "spread_unseen": "spread over formats not trained on",
    "flip_rate": "flip rate between two formats",
    "right_in_all_formats": "right in every format",
}
Table = Sequence[Mapping[str, str]]


def summarize(base: Mapping[str, float], tuned: Mapping[str, float]) -> dict[str, float]:
    """Return the headlines of both evaluations and their differences (tuned less base), flat."""
    summary: dict[str, float] = {}
    for key in (k for k in HEADLINES if k in base and k in tuned):
        summary[f"{key}_base"], summary[f"{key}_tuned"] = base[key], tuned[key]
        summary[f"{key}_change"] = round(tuned[key] - base[key], 6)
    return summary


def draw(base: Table, tuned: Table, path: Path) -> None:
    """Draw accuracy per format before and after with intervals, best base format on top, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    after = {row["format"]: row for row in tuned}
    order = sorted(base, key=lambda row: float(row["accuracy"]))
    figure = Figure(figsize=(8, 1.2 + 0.36 * len(order)), layout="constrained")
    FigureCanvasAgg(figure)  # draws without any display
    axes = figure.subplots()
    labels = [row["format"] + ("" if row["seen"] == "True" else " *") for row in order]
    for name, colour, rows, shift in (
        ("base", "#9a6a00", order, -0.13),
        ("fine-tuned", "#0a5fb4", [after[row["format"]] for row in order], 0.13),
    ):
        middle = [100 * float(row["accuracy"]) for row in rows]
        below = [m - 100 * float(row["low"]) for m, row in zip(middle, rows, strict=True)]
        above = [100 * float(row["high"]) - m for m, row in zip(middle, rows, strict=True)]
        places = [n + shift for n in range(len(rows))]
        axes.errorbar(middle, places, xerr=[below, above], fmt="o", color=colour, capsize=2, label=name)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy, % (with confidence interval)")
    axes.set_title("Accuracy per prompt format (* not trained on)")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def write_page(values: Mapping[str, Mapping[str, float]], base: Table, tuned: Table, path: Path) -> None:
    """Write the comparison as a Markdown page."""
    before, after = values["evaluate-base"], values["evaluate-tuned"]
    lines = [
        "# Prompt sensitivity before and after fine-tuning",
        "",
        f"{before['items']:.0f} items, each in {before['formats']:.0f} prompt formats; "
        f"choosing blindly gives {before['chance']:.1%}. Rounding alone, the same prompts batched otherwise, "
        f"changes {before['noise_flip_rate']:.1%} of the answers (tuned: {after['noise_flip_rate']:.1%}).",
        "",
        "| | base | tuned | change |",
        "|---|---|---|---|",
    ]
    for key, label in HEADLINES.items():
        if key in before and key in after:
            change = 100 * (after[key] - before[key])
            lines.append(f"| {label} | {before[key]:.1%} | {after[key]:.1%} | {change:+.1f} points |")
    lines += ["", "| format | trained on | base | tuned |", "|---|---|---|---|"]
    tuned_rows = {row["format"]: row for row in tuned}
    for row in base:
        seen = "yes" if row["seen"] == "True" else "no"
        lines.append(f"| `{row['format']}` | {seen} | {_share(row)} | {_share(tuned_rows[row['format']])} |")
    write_text(path, "\n".join(lines) + "\n")


def _share(row: Mapping[str, str]) -> str:
    return f"{float(row['accuracy']):.1%} ({float(row['low']):.1%} to {float(row['high']):.1%})"
