"""Change the files of a small checkpoint, one at a time, and open the folder after each change.

    python -m tests.checkpoint.fuzz FOLDER SEED COUNT

Runs in its own process, with a limit on its memory and on the time for each change. Prints for each kind of
file how often it was accepted and how often it was refused in one line. Any other outcome ends the process.
"""

import contextlib
import io
import json
import random
import re
import resource
import signal
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import yaml

from steadyphi.checkpoint import configs, layouts, manifest, safetensors_file, torch_pickle
from steadyphi.checkpoint.convert import check_tokenizer
from steadyphi.checkpoint.indexes import BIN, INDEXES, SAFETENSORS
from steadyphi.checkpoint.source import open_folder
from steadyphi.checkpoint.tensors import elements
from steadyphi.errors import SteadyPhiError
from steadyphi.inspection import page
from steadyphi.inspection.inspect import inspect
from steadyphi.model_config import PhiConfig

ROOT = Path(__file__).parents[2]
MOST_MEMORY = 1 << 30  # bytes, besides what the imported modules take
MOST_SECONDS = 30.0  # for one change, on a busy machine; most take milliseconds
CONFIG = PhiConfig(1, 1, 4, 8, 1280, 16, 0.5, 10000.0, 1e-5)
TENSORS = {n: ("float16", t.shape) for n, t in layouts.tensors(layouts.HUB, CONFIG).items()}
WEIGHTS = bytes(2 * sum(elements(shape) for _, shape in TENSORS.values()))
INDEX, SHARD = INDEXES[SAFETENSORS], "model-00001-of-00001.safetensors"

# What takes the place of a value in a JSON or YAML file.
VALUES = [b"NaN", b"1e400", b"-1", b"0", b"1.5", b"true", b"null", b"[]", b"{}", b'""', b'"\\ud800"', b"'"]
VALUES += [b'"\\u001b[2J"', b"1" + b"0" * 400, b"9" * 5000, b"18446744073709551615", b'"\xff"', b"2147483647"]
VALUES += [b"[" * 3000 + b"]" * 3000, b'{"a":' * 100_000, b"[" + b"0," * 100_000 + b"0]", b'"../../etc"']
VALUES += [b'{"a":1,"a":2}', b"[" + b"{}," * 1_500_000 + b"0]", b'"a/b"', b'"%s"' % (b"x" * 50_000), b"[1]"]
YAML = [b"&a [x, x]\nb: [*a, *a]", b"!!set {a, b}", b"2001-01-01", b"1:1:1:1.0", b".inf", b"0x" + b"f" * 9000]
YAML += [b"[" * 5000, b"- " * 5000, b"? [a]\n: b", b"!!python/object:os.system x", b"1234567", b"1:" * 900]
SCALAR = re.compile(rb'(-?\d[\d.eE+-]*|"[^"\\]*"|true|false|null)(?!\s*:)')  # and no key
# What is put into a pickle: tuples that share their parts, nesting, many objects, long and huge values.
SHARED = b"K\x01" + b"q\x00h\x00\x86" * 60
PIECES = [SHARED, SHARED + b"K\x01s", SHARED * 2 + b"\x93", b")" + b"\x85" * 100_000 + b"K\x01s", b"(" * 1000]
PIECES += [b"}" * 1_500_000, b"X" + (10**6).to_bytes(4, "little") + b"x" * 10**6, b"\x8a\xff" + b"\x7f" * 255]
PIECES += [
    b"cos\nsystem\n)R",
    *(bytes([code]) for code in b"tsub0QR.})(]N\x94"),
    b"K\x01",
    b"J" + b"\xff" * 4,
]


def zipped(records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in records.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data, compression)
    return out.getvalue()


def bytes_changed(data: bytes, rng: random.Random) -> bytes:
    """Change a few bytes; sometimes also delete, repeat or insert some, or cut the end."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice([1, 1, 2, 8, 100]))
        new = rng.randbytes(end - at)
        if rng.random() < 0.3:
            new = rng.choice([b"", data[at:end] * 2, data[at:end] + new])
        data = data[:at] if rng.random() < 0.05 else data[:at] + new + data[end:]
    return data


def values_changed(data: bytes, rng: random.Random, values: list[bytes] = VALUES) -> bytes:
    """Put another value in the place of one or two values, or of the whole text."""
    for _ in range(rng.randint(1, 2)):
        places = [match.span() for match in SCALAR.finditer(data)]
        start, end = rng.choice(places) if places and rng.random() < 0.95 else (0, len(data))
        data = data[:start] + rng.choice(values) + data[end:]
    return data


def text_changed(data: bytes, rng: random.Random) -> bytes:
    return rng.choice([bytes_changed, values_changed, values_changed])(data, rng)


def yaml_changed(data: bytes, rng: random.Random) -> bytes:
    return bytes_changed(data, rng) if rng.random() < 0.3 else values_changed(data, rng, VALUES[:20] + YAML)


def header_changed(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return bytes_changed(data, rng)
    text = text_changed(safetensors_file.header(TENSORS)[8:], rng)
    return len(text).to_bytes(8, "little") + text + WEIGHTS


def pickle_changed(data: bytes, rng: random.Random) -> bytes:
    pickle = RECORDS["data.pkl"]
    if rng.random() < 0.5:
        return zipped({**RECORDS, "data.pkl": bytes_changed(pickle, rng)})
    at = rng.randrange(len(pickle)) if rng.random() < 0.5 else rng.choice([3, 4, len(pickle) - 2])
    return zipped({**RECORDS, "data.pkl": pickle[:at] + rng.choice(PIECES) + pickle[at:]})


def zip_changed(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.8:
        return bytes_changed(data, rng)
    name = rng.choice(["data.pkl", "byteorder", "data/0", "version"])
    content = rng.choice([RECORDS[name], bytes(1_500_000), b"}" * 1_500_000, b"\x80\x02" + b"]" * 1_000_000])
    return zipped({**RECORDS, name: content}, rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


RECORDS = {"data.pkl": torch_pickle.write(TENSORS), "byteorder": b"little", "version": b"3\n"}
RECORDS |= {f"data/{n}": bytes(2 * elements(shape)) for n, (_, shape) in enumerate(TENSORS.values())}
FILES: dict[str, bytes] = {
    configs.HUB_FILE: json.dumps(configs.to_hub(CONFIG, 0)).encode(),
    configs.LIT_FILE: yaml.safe_dump(configs.to_litgpt(CONFIG, "a", "b")).encode(),
    "tokenizer.json": (ROOT / "assets" / "phi-tiny" / "tokenizer.json").read_bytes(),
    manifest.NAME: json.dumps({"source": "a/b", "revision": None, "files": {SHARD: {"size": 1}}}).encode(),
    INDEX: json.dumps(
        {"metadata": {"total_size": len(WEIGHTS)}, "weight_map": dict.fromkeys(TENSORS, SHARD)}
    ).encode(),
    SHARD: safetensors_file.header(TENSORS) + WEIGHTS,
    BIN: zipped(RECORDS),
}
SLOW = (configs.LIT_FILE, "tokenizer.json")  # only there while they are changed
Change = Callable[[bytes, random.Random], bytes]
KINDS: dict[str, tuple[str, Change]] = {
    "config": (configs.HUB_FILE, text_changed),
    "yaml": (configs.LIT_FILE, yaml_changed),
    "tokenizer": ("tokenizer.json", text_changed),
    "manifest": (manifest.NAME, text_changed),
    "index": (INDEX, text_changed),
    "header": (SHARD, header_changed),
    "pickle": (BIN, pickle_changed),
    "zip": (BIN, zip_changed),
}


def refusals(folder: Path, kind: str) -> list[str]:
    """Open a folder as `convert` and `inspect` do, and return the messages of what they refuse."""
    messages = []
    try:
        opened = open_folder(folder, from_safetensors=kind not in ("pickle", "zip"))
        check_tokenizer(folder, opened.config.padded_vocab_size)
        manifest.origin(folder, folder.name)
    except SteadyPhiError as error:
        messages.append(str(error))
    if kind not in ("pickle", "zip"):
        try:
            facts = inspect(str(folder))
            json.dumps(facts)
            page.render(facts).encode()
        except SteadyPhiError as error:
            messages.append(str(error))
    return messages


def main(folder: Path, seed: int, count: int) -> None:
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    outcomes = {kind: [0, 0] for kind in KINDS}
    assert not any(refusals(folder, kind) for kind in ("config", "zip"))
    for name in SLOW:
        (folder / name).unlink()
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MOST_MEMORY,) * 2)
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        kind = rng.choice(list(KINDS))
        name, change = KINDS[kind]
        (folder / name).write_bytes(change(FILES[name], rng))
        print(f"{number}: {kind}", file=sys.stderr, flush=True)  # the last line names the change that failed
        signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)  # the signal ends the process, even inside C code
        with contextlib.redirect_stderr(io.StringIO()):
            messages = refusals(folder, kind)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for message in messages:
            assert message.isprintable() and len(message) < 5000 and "MemoryError" not in message, message
        outcomes[kind][bool(messages)] += 1
        (folder / name).unlink()
        if name not in SLOW:
            (folder / name).write_bytes(FILES[name])
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
