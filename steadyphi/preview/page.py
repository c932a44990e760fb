"""The training data as one HTML file that needs no network: `artifacts/data/preview.html`."""

import base64
import hashlib
import itertools
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from steadyphi.data import audit, prepared
from steadyphi.data.row_checks import MEANINGS
from steadyphi.data.token_view import stretches
from steadyphi.files import read_object, write_text
from steadyphi.preview import tokens
from steadyphi.preview.lengths import lengths
from steadyphi.report.figures import Section, table
from steadyphi.report.markup import Markup, join, tag
from steadyphi.tokenizer import TextTokenizer

NAME = "preview.html"
LISTED = 50  # rows of each kind on the page; audit.json has more
Findings = dict[str, Any]
KINDS = {
    "contaminated": "left out: text in common with a question of the evaluation",
    "exact_duplicates": "the same words as an earlier row",
    "near_duplicates": "nearly the words of an earlier row (estimated Jaccard similarity of at least 0.8)",
    **MEANINGS,
}


def write_page(
    folder: Path,
    tokenizer: TextTokenizer,
    counts: Mapping[str, float],
    source: str,
    mixed: Collection[str] = (),
) -> None:
    """Write the page into the folder that `prepare` wrote. The same data give the same bytes.

    counts: what `prepare` returned. source: the name of the data. mixed: the names of its sources, if any.
    """
    path = folder / "train.parquet"
    contents = prepared.read(path, tokenizer.eos_id, mixed)
    findings = read_object(folder / audit.FILE, "findings")
    sections = [
        Section("checks", "Checks", _checks(findings, counts)),
        Section("lengths", "Lengths", lengths(contents.lengths)),
        Section("samples", "Samples", _samples(path, contents, tokenizer, mixed)),
    ]
    if any(entry["rows"] for entry in findings.values()):
        sections.append(Section("rows", "Rows that were found", _rows(findings)))
    write_text(folder / NAME, _page(sections, counts, source))


def _page(sections: list[Section], counts: Mapping[str, float], source: str) -> str:
    style = Markup((Path(__file__).parent / "style.css").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", "What the model is trained on"),
        tag("style", style),
    )
    body = tag("body", _header(sections, counts, source), tag("main", *map(_section, sections)))
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _header(sections: list[Section], counts: Mapping[str, float], source: str) -> Markup:
    lines = list(audit.alarms(counts))
    warning = tag("section", tag("h2", "Look at this first"), tag("ul", *(tag("li", a) for a in lines)))
    links = [tag("li", tag("a", s.heading, href=f"#{s.anchor}")) for s in sections]
    return tag(
        "header",
        tag("h1", "What the model is trained on"),
        tag("p", " ".join(_sentences(counts, source)), class_="verdict"),
        tag("div", warning, class_="alarms") if lines else None,
        tag("nav", tag("ul", *links), aria_label="Contents"),
    )


def _sentences(counts: Mapping[str, float], source: str) -> Iterator[str]:
    rows, renderings = audit.trained(counts), counts["renderings"]
    formats = "1 prompt format" if renderings == 1 else f"{renderings:,} prompt formats"
    yield f"{rows:,} rows of {source}, each in {formats}: {counts['train_examples'] * renderings:,} examples."
    share = counts["supervised_share"]
    yield f"Of their {counts['train_tokens']:,} tokens, {share:.1%} have a loss."
    if counts["end_token_coverage"] == 1:
        yield "Every answer ends with the end token."


def _section(section: Section) -> Markup:
    heading = f"{section.anchor}-heading"
    return tag(
        "section",
        tag("h2", section.heading, id=heading),
        section.body,
        id=section.anchor,
        aria_labelledby=heading,
    )


def _checks(findings: Findings, counts: Mapping[str, float]) -> Markup:
    total = audit.examined(counts)
    shares = {KINDS[kind]: (findings[kind]["count"], total) for kind in KINDS}
    long = {
        "left out because they are longer than": "skipped",
        "cut to": "truncated",
        "split to fit": "split",
    }
    for what, key in long.items():
        if f"{key}_examples" in counts:
            shares[f"examples {what} the context"] = (counts[f"{key}_examples"], total)
    rows = [
        (what[0].upper() + what[1:], f"{count:,}", f"{count / of:.1%}")
        for what, (count, of) in shares.items()
    ]
    rows.append(("Answers that end with the end token", "", f"{counts['end_token_coverage']:.1%}"))
    return table("What the audit counted", ("", "rows", "share"), rows)


def _samples(
    path: Path, contents: prepared.Prepared, tokenizer: TextTokenizer, mixed: Collection[str]
) -> Markup:
    shown = prepared.samples(path, contents, mixed)
    end = tokenizer.decode([tokenizer.eos_id])
    parts = [tokens.legend()]
    for source, group in itertools.groupby(shown.items(), lambda entry: entry[0][0]):
        if len({key[0] for key in shown}) > 1:
            parts.append(tag("h3", source))
        styles = list(group)
        for (_, style), examples in styles:
            count = contents.styles[source, style]
            noun = "example" if count == 1 else "examples"
            parts.append(tag("h4", tag("code", style), tag("small", f"{count:,} {noun}")))
            for row, example in examples:
                drawn = list(stretches(example, tokenizer))
                sizes = f"{row}: {len(example.tokens):,} tokens, {example.supervised:,} with a loss"
                parts += [tag("p", sizes, class_="quiet"), tokens.example(drawn, end)]
        more = sum(key[0] == source for key in contents.styles) - len(styles)
        if more:
            parts.append(tag("p", f"And {more:,} other formats.", class_="quiet"))
    return join(parts)


def _rows(findings: Findings) -> Markup:
    """Return the rows that were found, for each kind a list that can be unfolded."""
    parts = []
    for kind, meaning in KINDS.items():
        rows, count = findings[kind]["rows"], findings[kind]["count"]
        if not rows:
            continue
        heads = tuple(rows[0])
        body = table(meaning[0].upper() + meaning[1:], heads, (tuple(r.values()) for r in rows[:LISTED]), 3)
        rest = tag("p", f"The first {LISTED} of {count:,}; {audit.FILE} beside this page has more.")
        name = f"{count:,} {'row' if count == 1 else 'rows'}: {meaning}"
        parts.append(tag("details", tag("summary", name), body, rest if count > LISTED else None))
    return join(parts)
