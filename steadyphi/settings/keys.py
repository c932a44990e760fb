"""The keys of the settings, such as finetune.lr, and the message for one that does not exist."""

import dataclasses
import typing
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from steadyphi.settings.checks import did_you_mean
from steadyphi.settings.schema import Settings

Parts = tuple[str, ...]
# Settings that a stage takes from another section. They are set there, not in the section of the stage.
SHARED = {
    "prepare": {
        "data_file": "data_file",
        "task_file": "task_file",
        "held_out": "held_out",
        "prompts": "conf/prompts",
    },
    "evaluate": {
        "prompts": "conf/prompts",
        "formats": "prepare.formats",
        "styles": "prepare.styles",
        "grammar": "prepare.grammar",
        "held_out": "held_out",
    },
}


def _keys(kind: Any) -> Iterator[Parts]:
    """Yield the key of every setting in a dataclass, or in a union of dataclasses.

    A list of dataclasses is one setting, because its members have no names.
    """
    if typing.get_origin(kind) is tuple:
        return
    for member in typing.get_args(kind):
        yield from _keys(member)
    if dataclasses.is_dataclass(kind):
        for name, hint in typing.get_type_hints(kind).items():
            yield (name,)
            yield from ((name, *parts) for parts in _keys(hint))


KEYS = frozenset(key for key in _keys(Settings) if not set(key[1:2]) & set(SHARED.get(key[0], ())))
SECTIONS = frozenset(parts[:-1] for parts in KEYS)


def nodes(tree: Any, above: Parts = ()) -> Iterator[tuple[Parts, Any]]:
    """Yield the key and value of every mapping and leaf in `tree`, outer ones before inner ones."""
    for name, value in tree.items() if isinstance(tree, dict) else ():
        parts = (*above, str(name))
        yield parts, value
        yield from nodes(value, parts)


def unknown(parts: Parts, known: typing.Collection[Parts]) -> str:
    """Return the message for an unknown key, with the nearest key of the same mapping, else of any."""
    last = parts[-1]
    if len(parts) == 2 and last in SHARED.get(parts[0], {}):
        return f"cannot be set here; set {SHARED[parts[0]][last]}"
    if "." in last and tuple(last.split(".")) in known:
        return f"unknown key; write it as {last.replace('.', ': {')}: ..." + "}" * last.count(".")
    beside = {k[-1]: k for k in sorted(known) if k[:-1] == parts[:-1]}
    if not beside:
        return f"unknown key; {'.'.join(parts[:-1])} is one value, not a mapping"
    anywhere = {k[-1]: k for k in sorted(known)}
    for pool in (beside, anywhere):
        if near := get_close_matches(last, pool, 1):
            return f"unknown key; did you mean {'.'.join(pool[near[0]])}?"
    return f"unknown key; {did_you_mean(last, beside)}"
