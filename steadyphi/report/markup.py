"""HTML and SVG by function calls; text that is not markup is escaped."""

import html
from collections.abc import Iterable
from typing import Any

VOID = {"br", "input", "meta"}


class Markup(str):
    """Text that is HTML already, which `tag` does not escape."""


def escape(text: str) -> Markup:
    """Return `text` escaped for content and for quoted attributes."""
    # A parser turns a CR into LF, but not a character reference to it.
    return Markup(html.escape(text).replace("\r", "&#13;"))


def join(parts: Iterable[Any]) -> Markup:
    """Return the parts joined: markup unchanged, None left out, everything else escaped."""
    return Markup("".join(p if isinstance(p, Markup) else escape(str(p)) for p in parts if p is not None))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """Return one element.

    children: as for `join`. attributes: `class_` for class, `aria_label` for aria-label; True gives an
    attribute without a value, None and False give no attribute. Only `join`, `escape` and `tag` create
    markup, so the text of a question or a prompt can never become markup.
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
