"""The facts of `inspect.inspect` as a page of plain text, at most 100 columns wide."""

import json
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from steadyphi.errors import printable

WIDTH = 100
MOST_PROBLEMS = 20  # on the page; the JSON lists all of them
LONGEST_VALUE = 48
Facts = dict[str, Any]


def render(facts: Facts) -> str:
    """Return the page. Text from files is escaped, so that it cannot control the terminal."""
    facts = _printable(facts)
    sections = [
        ("", _title(facts)),
        ("Files", _files(facts)),
        *((f"Settings: {name}", _settings(values)) for name, values in facts["settings"].items()),
        ("Adapter", _adapter(facts)),
        ("Parameters", _parameters(facts)),
        ("Memory to load (weights alone)", _load(facts)),
        ("Memory to fine-tune (weights, gradients, optimizer)", _finetune(facts)),
        ("Weights", _weights(facts)),
        ("Notes", _list(facts["notes"])),
        ("Problems", _problems(facts["problems"])),
    ]
    lines: list[str] = []
    for title, content in sections:
        body = [line.rstrip() for line in content]
        if body:
            lines += ["", title, "-" * len(title)] if title else []
            lines += body
    return "\n".join(lines)


def _title(facts: Facts) -> Iterator[str]:
    yield from _wrapped(facts["where"] + (f" at {facts['commit']}" if facts["commit"] else ""))
    if facts["kind"] == "adapter":
        low_rank = "DoRA" if facts["adapter"]["dora"] else "LoRA"
        kind = low_rank if facts["adapter"]["type"] == "LORA" else _cut(facts["adapter"]["type"])
        what = f"An adapter ({kind}) in peft's format, which needs its base to run"
    else:
        layout, parameters = facts["layout"], facts["parameters"]
        what = "A Phi checkpoint" if layout or facts["shape"] else "A checkpoint of an unknown kind"
        if not facts["weights"]:
            what = "The settings, without the weights, of a " + what[2:]
        if parameters:
            dtypes = " and ".join(facts["weights"]["dtypes"]) if facts["weights"] else ""
            what += f" of {parameters['total']:,} parameters" + (f" in {dtypes}" if dtypes else "")
        if layout:
            what += f", in the layout {layout['name']} ({layout['what']})"
    yield from _wrapped(what + ".")
    if shape := facts["shape"]:
        yield from _wrapped(
            f"{shape['n_layer']} layers of width {shape['n_embd']:,}, {shape['n_head']} heads of "
            f"{shape['head_size']} dimensions ({shape['rope_n_elem']} rotated), "
            f"{shape['intermediate_size']:,} inside the MLP, {shape['padded_vocab_size']:,} rows of "
            f"vocabulary, a context of {shape['block_size']:,} tokens."
        )
    count = len(facts["problems"])
    yield f"{count} problem{'s' * (count > 1)}; see the end." if count else "No problems found."


def _files(facts: Facts) -> Iterator[str]:
    rows = [(f["name"], f"{f['size']:,}", f["what"] or "unknown here") for f in facts["files"]]
    rows += [(f"{name}/", "", "a folder; not read") for name in facts["folders"]]
    rows.append(("", f"{sum(f['size'] for f in facts['files']):,}", "bytes in total"))
    yield from _table(rows, (36, 15), right={1})
    listed = [(f["digest"]["value"], f["name"]) for f in facts["files"] if f["digest"]]
    if listed:
        yield from ("", "  Digests from the Hub's listing: SHA-256 (64 digits) or git's blob id (40):")
        yield from _table(listed, (64,))


def _settings(values: Sequence[Facts]) -> Iterator[str]:
    rows = [(v["key"], _cut(v["value"]), v["meaning"] or "unknown here") for v in values]
    yield from _table(rows, (26, 22))


def _adapter(facts: Facts) -> Iterator[str]:
    adapter = facts["adapter"]
    if not adapter:
        return
    rows = [("parameters", f"{adapter['parameters']:,}")]
    if adapter["scale"] is not None:
        rows.append(("scale", f"{adapter['scale']:g}, which multiplies the product of the two matrices"))
    base = _cut(adapter["base"]) if adapter["base"] else "not stated; the checkpoint in artifacts/model"
    yield from _table([*rows, ("base", base)], (12,))


def _parameters(facts: Facts) -> Iterator[str]:
    counts = facts["parameters"]
    if not counts:
        return
    origin = {"config": "computed from the configuration", "tensors": "counted in the files"}[counts["from"]]
    rows = []
    in_layers = [part for part in counts["parts"] if part["in_layer"]] if counts["layers"] else []
    for part in counts["parts"]:
        if in_layers and part is in_layers[0]:
            inside = sum(p["total"] for p in in_layers)
            each = f"{counts['per_layer']:,} in each"
            rows.append((f"{counts['layers']} layers", f"{inside:,}", _share(inside, counts), each))
        each = f"{part['each']:,} in each" if part["each"] is not None else ""
        name = f"  {part['part']}" if part in in_layers else part["part"]
        rows.append((name, f"{part['total']:,}", _share(part["total"], counts), each))
    rows.append(("total", f"{counts['total']:,}", "100.0%", origin))
    yield from _table(rows, (20, 20, 8), right={1, 2})


def _share(count: int, counts: Facts) -> str:
    share = count / max(1, counts["total"])
    return f"{share:.1%}" if share >= 0.0005 or not count else f"{share:.4%}"


def _load(facts: Facts) -> Iterator[str]:
    if facts["memory"]:
        yield from _table(((dtype, _bytes(size)) for dtype, size in facts["memory"]["load"].items()), (12,))


def _finetune(facts: Facts) -> Iterator[str]:
    if not facts["memory"]:
        return
    activations = facts["memory"]["activations"]
    rows = []
    for method, needs in facts["memory"]["finetune"].items():
        size = f"{_bytes(needs['bytes'])} = {needs['formula']}" if needs["bytes"] is not None else "unknown"
        trained = f"; {needs['trained']:,} parameters are trained" if needs["trained"] is not None else ""
        rows += [(method, f"{size}{trained}"), ("", needs["why"])]
    token, loss = activations["bytes_per_token"], activations["loss_bytes"]
    most = _bytes(4096 * token + loss)
    text = f"{token:,} more bytes for each token of a micro-batch = {activations['formula']}, and up "
    text += f"to {loss:,} for the loss: {most} with finetune.micro_tokens 4096. "
    rows.append(("activations", f"{text}This is {activations['why']}"))
    yield from _table(rows, (12,))


def _weights(facts: Facts) -> Iterator[str]:
    rows = []
    weights, index, digest = facts["weights"], facts["index"], facts["digest"]
    if layout := facts["layout"]:
        rows.append(("layout", f"{layout['name']}: {layout['what']}"))
    if weights:
        dtypes = ", ".join(f"{count} in {dtype}" for dtype, count in weights["dtypes"].items()) or "none"
        buffers = (
            f", {weights['buffers']} buffers that the model computes itself" if weights["buffers"] else ""
        )
        files = ", ".join(weights["files"]) or "none could be read"
        rows.append(("files", f"{weights['kind']}: {files}"))
        rows.append(("tensors", f"{weights['tensors']} of {_bytes(weights['bytes'])}: {dtypes}{buffers}"))
    if index:
        total = f"{index['total_size']:,}" if index["total_size"] is not None else "not stated"
        agrees = "agrees with the files" if index["agrees"] else "does not agree with the files"
        text = f"{index['file']} {agrees}: {index['tensors']} tensors, total_size {total}"
        rows.append(("index", f"{text}; found {index['bytes']:,} bytes"))
    if digest and digest["kind"] == "content":
        same = "" if facts["adapter"] else ", the same in every layout"
        rows.append(("digest", f"{digest['value']} of the weights{same}"))
        if digest["manifest"]:
            agrees = "states the same digest" if digest["agrees"] else "states another digest"
            rows.append(("", f"manifest.json {agrees}"))
    elif digest:
        rows.append(("digest", f"{digest['value']} of the Hub's listing above; the weights were not read"))
        if digest["manifest"]:
            rows.append(("", f"manifest.json states the digest of the weights: {digest['manifest']}"))
    elif weights:
        rows.append(("digest", "none, because the weights are incomplete or of several dtypes"))
    yield from _table(rows, (12,))


def _problems(problems: Sequence[str]) -> Iterator[str]:
    yield from _list(problems[:MOST_PROBLEMS])
    if len(problems) > MOST_PROBLEMS:
        yield f"  … and {len(problems) - MOST_PROBLEMS} more; --json lists all of them"


def _list(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from _wrapped(text, "  - ", "    ")


def _table(rows: Iterable[Sequence[str]], most: Sequence[int], right: Collection[int] = ()) -> Iterator[str]:
    """Yield rows as columns, each as wide as its longest cell, up to `most`. The last column is wrapped.

    right: columns that are right-aligned.
    """
    rows = list(rows)
    widths = [min(limit, max((len(row[i]) for row in rows), default=0)) for i, limit in enumerate(most)]
    start = 2 + sum(width + 2 for width in widths)
    for row in rows:
        line = "  "
        for i, width in enumerate(widths):
            line += (f"{row[i]:>{width}}" if i in right else f"{row[i]:<{width}}") + "  "
        if len(line) > start:  # a cell is too long, so the last cell goes below it
            yield from _wrapped(line.strip(), "  ", " " * 6)
            line = " " * start
        yield from _wrapped(row[-1], line, " " * start)


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest) or [first]


def _bytes(count: int) -> str:
    for size, decimal, binary in ((30, "GB", "GiB"), (20, "MB", "MiB"), (10, "kB", "KiB")):
        if count >= 2**size:
            return f"{count / 10 ** (size // 10 * 3):,.2f} {decimal} ({count / 2**size:,.2f} {binary})"
    return f"{count:,} bytes"


def _cut(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _printable(value: Any) -> Any:
    """Return the value with every character that could control a terminal escaped, such as \\x1b."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_printable(k): _printable(v) for k, v in value.items()}
    return [_printable(v) for v in value] if isinstance(value, list | tuple) else value
