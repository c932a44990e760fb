"""The pages of `make docs` that are generated: settings from the schema and conf/, commands from `--help`.

MkDocs calls `on_files` and `on_page_markdown`. Links to files outside of docs/ become their names, because
the pages are read without the repository.
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)\s]+)\)")
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    pages = {target: (ROOT / name).read_text(encoding="utf-8") for name, target in PAGES.items()}
    pages |= {"reference-settings.md": settings_page(), "reference-commands.md": commands_page()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Return a page whose links lead to pages of the documentation."""
    folder = ROOT if page.file.src_uri in PAGES.values() else ROOT / "docs"
    return OUTSIDE.sub(lambda match: _link(match, folder), markdown)


def _link(match: re.Match[str], folder: Path) -> str:
    text, target = match.groups()
    path, mark, anchor = target.partition("#")
    place = Path(os.path.normpath(folder / path)).relative_to(ROOT) if path else None
    if place is None or place.parent == Path("docs"):
        return f"[{text}]({place.name if place else ''}{mark}{anchor})"
    if name := PAGES.get(str(place)):
        return f"[{text}]({name}{mark}{anchor})"
    return text


def settings_page() -> str:
    """Return the table of all settings: key, value of a run with the defaults, and the comment in conf/."""
    from steadyphi.settings.compose import compose
    from steadyphi.settings.keys import KEYS, SECTIONS
    from steadyphi.settings.schema import GROUPS

    tree = dataclasses.asdict(compose({}, ROOT / "conf"))
    comments = dict(_comments(ROOT / "conf" / "config.yaml", ""))
    for group in GROUPS:
        for file in sorted((ROOT / "conf" / group).glob("*.yaml")):
            comments = {**dict(_comments(file, f"{group}.")), **comments}
    lines = [
        "# All settings",
        "",
        "Each key, its value in a run with the defaults, and what conf/ says about it. A key is set in",
        "`params.yaml`, or for one experiment with `dvc exp run -S +KEY=VALUE`. The keys of a group are",
        "set by its option (`model: phi-2`), or in the section of the stage that uses them.",
    ]
    for section in dict.fromkeys(key[0] for key in sorted(KEYS)):
        lines += ["", f"## {section}", "", "| key | value | |", "|---|---|---|"]
        for key in sorted(key for key in KEYS if key[0] == section and key not in SECTIONS):
            name = ".".join(key)
            value = json.dumps(_value(tree, key), ensure_ascii=False).replace("|", "\\|")
            shown = value if len(value) <= 60 else value[:57] + "..."
            lines.append(f"| `{name}` | `{shown}` | {comments.get(name, '')} |")
    return "\n".join(lines) + "\n"


def _value(tree: Any, key: tuple[str, ...]) -> Any:
    for part in key:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _comments(file: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the keys of a YAML file with the comments on their lines."""
    above: list[tuple[int, str]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not (match := re.match(r"( *)([\w-]+):(?:.*?\s#\s*(.*))?", line)):
            continue
        depth = len(match[1])
        above = [*(entry for entry in above if entry[0] < depth), (depth, match[2])]
        if match[3]:
            yield prefix + ".".join(name for _, name in above), match[3]


def commands_page() -> str:
    """Return the `--help` of every command."""
    from steadyphi.cli.examples import START
    from steadyphi.cli.main import make_parser

    os.environ["COLUMNS"] = "100"
    parser = make_parser()
    commands = parser._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    lines = ["# Commands", "", "```text", START.rstrip(), "```"]
    for name, sub in dict(commands or {}).items():
        lines += ["", f"## steadyphi {name}", "", "```text", sub.format_help().rstrip(), "```"]
    return "\n".join(lines) + "\n"
