"""Accuracy before and after: a dot for each format, above the diagonal if it became better."""

from collections.abc import Sequence
from dataclasses import dataclass

from steadyphi.report.markup import Markup, tag
from steadyphi.report.row_chart import Scale

SIDE, LEFT, TOP, BOTTOM, RIGHT = 300, 62, 8, 44, 22  # pixels


@dataclass(frozen=True)
class Dot:
    """A format's accuracy in both runs."""

    name: str
    before: float
    after: float
    title: str


def scatter(title: str, description: str, axes: tuple[str, str], scale: Scale, dots: Sequence[Dot]) -> Markup:
    """Return the plot; both axes have the same scale. axes: their labels, x and y."""
    parts = [
        *_frame(scale),
        tag(
            "line",
            x1=_x(scale, scale.ticks[0]),
            y1=_y(scale, scale.ticks[0]),
            x2=_x(scale, scale.ticks[-1]),
            y2=_y(scale, scale.ticks[-1]),
            class_="diagonal",
        ),
    ]
    parts.append(tag("text", axes[0], x=LEFT + SIDE / 2, y=TOP + SIDE + 38, class_="middle label"))
    parts.append(
        tag("text", axes[1], class_="middle label", transform=f"translate(11 {TOP + SIDE / 2:g}) rotate(-90)")
    )
    for dot in dots:
        parts.append(
            tag(
                "circle",
                tag("title", dot.title),
                cx=_x(scale, dot.before),
                cy=_y(scale, dot.after),
                r=5,
                class_="dot filled",
            )
        )
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        *parts,
        role="img",
        class_="scatter",
        viewBox=f"0 0 {LEFT + SIDE + RIGHT} {TOP + SIDE + BOTTOM}",
    )


def _frame(scale: Scale) -> list[Markup]:
    parts = []
    for value in scale.ticks:
        x, y = _x(scale, value), _y(scale, value)
        parts.append(tag("line", x1=x, x2=x, y1=TOP, y2=TOP + SIDE, class_="grid"))
        parts.append(tag("line", x1=LEFT, x2=LEFT + SIDE, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", scale.text(value), x=x, y=TOP + SIDE + 17, class_="middle tick"))
        parts.append(tag("text", scale.text(value), x=LEFT - 6, y=f"{float(y) + 4:g}", class_="end tick"))
    return parts


def _share(scale: Scale, value: float) -> float:
    return (value - scale.ticks[0]) / (scale.ticks[-1] - scale.ticks[0])


def _x(scale: Scale, value: float) -> str:
    return f"{LEFT + SIDE * _share(scale, value):.2f}"


def _y(scale: Scale, value: float) -> str:
    return f"{TOP + SIDE * (1 - _share(scale, value)):.2f}"
