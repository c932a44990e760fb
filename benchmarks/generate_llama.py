"""Generation beside llama.cpp on a CPU, by `python -m benchmarks.generate --llama`.

The same checkpoint as GGUF in bf16, f16 and q8_0, run by llama.cpp's server (the package xllamacpp) in this
process; ours in bfloat16, in bfloat16 with the weights rounded as in q8_0, and in float32. One thread each,
in turn, greedy, the same token ids. Pin the command to a core with `taskset -c 0`.

Times are CPU seconds of the process, because a busy machine changes them less than elapsed time. Reading is a
run that writes one token, and writing is a whole run less that. llama.cpp's times contain its HTTP request.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.convert import make_phi
from benchmarks.generate import MIDDLE, TINY, Ids, tasks_of

TYPES = ("bf16", "f16", "q8_0")
CONTEXT = 512  # the most tokens of a prompt and its continuation
END = 0  # phi-tiny's end token
BESIDE = {  # whose tokens are compared
    "steadyphi bf16": "llama.cpp bf16",
    "steadyphi bf16, rounded to 8 bits": "llama.cpp q8_0",
    "steadyphi float32": "llama.cpp f16",
}


Way = Callable[[list[list[int]], int], list[list[int]]]  # from prompts and the number of new tokens


class Llama:
    """llama.cpp's server in this process, with one thread."""

    def __init__(self, path: Path, prompts: int) -> None:
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path, parameters.n_parallel = str(path), prompts
        parameters.n_ctx = CONTEXT * prompts
        parameters.n_batch = parameters.n_ctx  # by default smaller than the prompts together
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
        parameters.cache_ram_mib, parameters.verbosity = 0, 0
        self.server = xllamacpp.Server(parameters)

    def run(self, prompts: list[list[int]], new: int) -> list[list[int]]:
        """Return `new` tokens after each prompt."""
        settings = {"n_predict": new, "top_k": 1, "samplers": ["top_k"], "ignore_eos": True}
        settings |= {"cache_prompt": False, "return_tokens": True, "prompt": prompts}
        request = urllib.request.Request(
            self.server.listening_address + "/completion",
            json.dumps(settings).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            answer = json.loads(response.read())
        answers = sorted(answer if isinstance(answer, list) else [answer], key=lambda one: one["index"])
        return [one["tokens"] for one in answers]


def our_way(folder: Path, dtype: str, bits: int | None = None) -> Way:
    """Return our own generate in a dtype, with the weights rounded to a number of bits or unchanged."""
    import torch

    from steadyphi.inference.generate import Options, generate
    from steadyphi.inference.load import load_model
    from steadyphi.inference.packed import pack
    from steadyphi.inference.quantized import quantize

    model = load_model(folder, None, getattr(torch, dtype))
    model = pack(quantize(model, bits) if bits else model)
    words = Ids(model.config.padded_vocab_size)

    def run(prompts: list[list[int]], new: int) -> list[list[int]]:
        options = Options(max_new_tokens=new, ignore_eos=True)
        return [result.tokens for result in generate(model, words, prompts, options)]

    return run


def alternate(ways: dict[str, Way], prompts: list[list[int]], new: int, repeats: int) -> dict[str, Any]:
    """Return the tokens/s of each way as [median, least, most], reading and writing, and the equal texts.

    share_of_the_core: CPU seconds by elapsed seconds; below 1, other processes used the core.
    """
    for way in ways.values():
        way(prompts[:1], 2)  # to warm up
    tokens: dict[str, list[list[int]]] = {}
    read: dict[str, list[float]] = {name: [] for name in ways}
    written: dict[str, list[float]] = {name: [] for name in ways}
    busy, started = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        for name, way in ways.items():
            first, _ = cpu_seconds(way, prompts, 1)
            whole, tokens[name] = cpu_seconds(way, prompts, new)
            read[name].append(sum(map(len, prompts)) / first)
            written[name].append(len(prompts) * (new - 1) / (whole - first))
            print(f"{name}: {read[name][-1]:.1f}, {written[name][-1]:.1f} tokens/s", file=sys.stderr)
    share = (time.process_time() - busy) / (time.perf_counter() - started)
    return {
        "share_of_the_core": round(share, 2),
        "read": {name: spread(rates) for name, rates in read.items()},
        "written": {name: spread(rates) for name, rates in written.items()},
        "equal": {ours: agreement(tokens[ours], tokens[its]) for ours, its in BESIDE.items()},
    }


def cpu_seconds(way: Way, prompts: list[list[int]], new: int) -> tuple[float, list[list[int]]]:
    """Return the CPU seconds of this process for one run, and the tokens."""
    before = time.process_time()
    tokens = way(prompts, new)
    return time.process_time() - before, tokens


def spread(rates: list[float]) -> list[float]:
    """Return the median, the least and the most."""
    return [round(f(rates), 1) for f in (statistics.median, min, max)]


def agreement(ours: list[list[int]], theirs: list[list[int]]) -> dict[str, float]:
    """Return how many texts and first tokens are equal, and the median number of equal tokens.

    llama.cpp never chooses the end token where it has to ignore it, so texts are compared up to our first.
    """
    ends = [a.index(END) if END in a else len(a) for a in ours]
    pairs = [list(zip(a[:end], b, strict=False)) for a, b, end in zip(ours, theirs, ends, strict=True)]
    same = [next((at for at, (x, y) in enumerate(text) if x != y), len(text)) for text in pairs]
    whole = sum(at == end for at, end in zip(same, ends, strict=True))
    first = sum(at > 0 for at in same)
    return {"texts": len(ours), "equal": whole, "first_token": first, "same": statistics.median(same)}


def beside_llama(quick: bool, repeats: int, work: Path | None) -> dict[str, Any]:
    """Run phi-tiny, and unless `quick` the random Phi, in all ways; return the figures by model and task."""
    import torch

    torch.set_num_threads(1)
    result = {"phi-tiny": compare(TINY, 1280, repeats, work)}
    if not quick:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            make_phi(middle := Path(folder, "hub"), MIDDLE)
            result["8 x 1024"] = compare(middle, MIDDLE.padded_vocab_size, repeats, work)
    return result


def compare(hub: Path, vocab: int, repeats: int, work: Path | None) -> dict[str, Any]:
    """Time all tasks on a checkpoint, which is exported with phi-tiny's tokenizer."""
    from steadyphi.checkpoint import gguf_file

    result = {}
    with tempfile.TemporaryDirectory(dir=work) as folder:
        for path in TINY.glob("*token*.json"):
            shutil.copyfile(path, Path(folder, path.name))
        for path in hub.iterdir():
            if not Path(folder, path.name).exists():
                Path(folder, path.name).symlink_to(path.resolve())
        files = {kind: Path(folder, f"{kind}.gguf") for kind in TYPES}
        for kind, path in files.items():
            gguf_file.write(Path(folder), path, kind, "phi")
        ours = {
            "steadyphi bf16": our_way(hub, "bfloat16"),
            "steadyphi bf16, rounded to 8 bits": our_way(hub, "bfloat16", 8),
            "steadyphi float32": our_way(hub, "float32"),
        }
        for name, (prompts, new) in tasks_of(vocab).items():
            theirs = {f"llama.cpp {kind}": Llama(path, len(prompts)).run for kind, path in files.items()}
            result[name] = alternate({**ours, **theirs}, prompts, new, repeats)
            print(name, result[name], file=sys.stderr, flush=True)
    return result
