"""HTML and SVG by function calls: text is escaped wherever it is not markup already."""

import html
from collections.abc import Iterable
from typing import Any

VOID = {"br", "input", "meta"}


class Markup(str):
    """Text that is HTML already, so `tag` leaves it as it stands."""


def escape(text: str) -> Markup:
    """Return `text` as HTML that shows exactly it, in content and in quoted attributes."""
    # A parser turns a bare CR into LF, but not one that is written as a reference.
    return Markup(html.escape(text).replace("\r", "&#13;"))


def join(parts: Iterable[Any]) -> Markup:
    """Return the parts one after the other: markup as it stands, None left out, all else escaped."""
    return Markup("".join(p if isinstance(p, Markup) else escape(str(p)) for p in parts if p is not None))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """Return one element.

    children: as for `join`. attributes: `class_` for class, `aria_label` for aria-label; True gives a
    bare attribute, None and False none. Only `join`, `escape` and `tag` make markup, so what a
    question or a prompt holds can never be more than text.
    """
    written = ""
    for key, value in attributes.items():
        if value is True:
            written += f" {_attribute(key)}"
        elif value is not None and value is not False:
            written += f' {_attribute(key)}="{escape(str(value))}"'
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
