"""Prompt formats of one's own: a YAML file each, beside the built-in ones.

    name: tutor
    template: "Tutor, {system}\\nPupil: {question}\\nTutor:"
    lead: " "

`{system}` may be left out; an empty line then follows a system text. Without a system text, the lines of the
template down to that of `{system}` are left out.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object
from steadyphi.prompts.formats import FORMATS, Format

FOLDER = Path("conf/prompts")  # below the root of the project
KEYS = {"name", "template", "lead"}
BUILT_IN = frozenset(FORMATS)
MOST = 10_000  # characters of a template


def read(folder: Path) -> dict[str, Format]:
    """Return the formats of the .yaml and .yml files in a folder by their names; none if there is no folder.

    Raises SteadyPhiError that names the file and the mistake.
    """
    formats: dict[str, Format] = {}
    for path in sorted(folder.glob("*.y*ml")):
        where = f"{folder.parent.name}/{folder.name}/{path.name}"
        try:
            format_ = parsed(read_object(path))
        except ValueError as error:
            raise SteadyPhiError(f"{where}: {error}") from None
        if format_.name in formats:
            raise SteadyPhiError(f"{where}: name: another file has the format {format_.name!r}; rename one")
        formats[format_.name] = format_
    return formats


def parsed(values: dict[str, Any]) -> Format:
    """Return the format that is written as `name`, `template` and `lead`.

    Raises ValueError, in one line, that names the key and the mistake.
    """
    for key in sorted(KEYS ^ values.keys()):
        known = key in KEYS
        raise ValueError(f"{key}: {'missing' if known else 'unknown key'}; the keys are name, template, lead")
    for key in sorted(KEYS):
        if not isinstance(values[key], str) or len(values[key]) > MOST:
            raise ValueError(f"{key}: should be a text of at most {MOST:,} characters, in quotes")
    name, template, lead = values["name"], values["template"], values["lead"]
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) or name in ("none", "plain"):
        raise ValueError(
            f"name: {name!r} should be lower-case letters, digits and hyphens, and not none or plain"
        )
    if name in BUILT_IN:
        raise ValueError(f"name: {name!r} is a built-in format; take another name")
    _check(template)
    if template[-1].isspace() and lead[:1].isspace():
        raise ValueError("lead: the template ends in white space already; move it to one of them")
    head, system, rest = template.rpartition("{system}")
    if not system:
        return Format(name, template, lead)
    after = re.match(r"[^\n]*\n+", rest)
    if not after or "{question}" in after[0]:
        raise ValueError("template: {system} should be on a line before that of {question}")
    return Format(name, rest[after.end() :], lead, head + system + after[0])


def _check(template: str) -> None:
    """Raise ValueError if the fields of a template are wrong."""
    fields = re.findall(r"\{(\w*)\}", template)
    for field in fields:
        if field not in ("question", "system"):
            raise ValueError(
                f"template: unknown field {{{field}}}; the fields are {{question}} and {{system}}"
            )
    for field, fewest in (("question", 1), ("system", 0)):
        if not fewest <= fields.count(field) <= 1:
            often = "exactly once" if fewest else "at most once"
            raise ValueError(f"template: should contain {{{field}}} {often}, not {fields.count(field)} times")
    if "system" in fields and fields[0] != "system":
        raise ValueError("template: {system} should be on a line before that of {question}")


def written(format_: Format) -> dict[str, str] | None:
    """Return a format as `parsed` reads it; None for a built-in one."""
    if format_.name in BUILT_IN:
        return None
    opening = "" if format_.system == Format.system else format_.system
    return {"name": format_.name, "template": opening + format_.template, "lead": format_.lead}


def define(formats: Iterable[Format]) -> None:
    """Add formats to `FORMATS`, so that they can be used by name as the built-in ones are."""
    FORMATS.update((format_.name, format_) for format_ in formats if format_.name not in BUILT_IN)


def named(formats: dict[str, Format], names: Collection[str]) -> tuple[Format, ...]:
    """Return those of the formats that are among the names."""
    return tuple(format_ for name, format_ in formats.items() if name in names)
