"""Generation beside transformers and LitGPT: a single prompt, and 32 of different lengths.

    make peers && python -m benchmarks.generate [--quick] [--device cuda]

The same weights (phi-tiny, and without --quick a random Phi of 8 layers, 1024 wide), greedy, float32, no end
of text; in turn. The tokens of all must be equal. LitGPT, a process of its own, takes one prompt after the
other, for its batches want prompts of one length; transformers pads on the left. The last line is JSON.

    python -m benchmarks.generate --full [--work FOLDER]

A random Phi-2 of full size in bfloat16, memory-mapped, beside transformers: seconds to load, to the first
token after 32, tokens/s, and peak memory; each in a process of its own.

    make llama-cpp && taskset -c 0 python -m benchmarks.generate --llama [--quick]

Beside llama.cpp instead, on one core: see benchmarks/generate_llama.py.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

from benchmarks.convert import PEERS, PHI_2, make_phi
from benchmarks.timing import alternate
from steadyphi.model_config import PhiConfig

TINY = Path("assets/phi-tiny")
MIDDLE = PhiConfig(8, 16, 1024, 4096, 8192, 2048, 0.5, 10000.0, 1e-5)
SINGLE, RAGGED = 128, 64  # new tokens

# Answers each line {"prompts": [[id, …], …], "new": n} by a line with the new tokens of each prompt.
LITGPT = """
import json, sys, torch
from pathlib import Path
from litgpt.config import Config
from litgpt.generate.base import generate
from litgpt.model import GPT
folder, device = Path(sys.argv[1]), sys.argv[2]
torch.set_num_threads(2)
model = GPT(Config.from_file(folder / "model_config.yaml"))
state = torch.load(folder / "lit_model.pth", weights_only=True)
model.load_state_dict({k: v.float() for k, v in state.items()}, assign=True)
model = model.to(device).eval()
model.max_seq_length = 512
model.cos, model.sin = model.rope_cache(device=device)
model.set_kv_cache(batch_size=1, device=device)
print("ready", flush=True)
for line in sys.stdin:
    task = json.loads(line)
    found = []
    for prompt in task["prompts"]:
        ids = torch.tensor(prompt, device=device)
        out = generate(model, ids, len(prompt) + task["new"], temperature=0.0, include_prompt=False)
        found.append(out.tolist())
    print(json.dumps(found), flush=True)
"""
# Both print the time to load, to the first token, the rate after it, and their memory, as JSON.
MEMORY = """
def memory():
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return {key: int(lines[key].split()[0]) // 1000 for key in ("VmHWM", "RssAnon", "RssFile")}
"""
OURS_FULL = (
    MEMORY
    + """
import json, sys, time, torch
from pathlib import Path
from steadyphi.inference.generate import Options, generate
from steadyphi.inference.load import load_model
from steadyphi.inference.packed import pack
class Ids:
    size, eos_ids = 50295, ()
    def decode(self, ids): return ""
torch.set_num_threads(2)
start = time.perf_counter()
model = load_model(Path(sys.argv[1]), None, torch.bfloat16)
model = model if sys.argv[3] == "mapped" else pack(model)
loaded = time.perf_counter() - start
for _ in range(2):  # the first time reads the mapped file
    (result,) = generate(model, Ids(), [list(range(100, 132))], Options(max_new_tokens=int(sys.argv[2])))
    rate = (len(result.tokens) - 1) / (result.seconds - result.first_seconds)
    figures = {"load_s": loaded, "first_token_s": result.first_seconds, "tokens_per_s": rate}
    print(json.dumps({**figures, **memory()}))
"""
)
THEIRS_FULL = (
    MEMORY
    + """
import json, sys, time, torch, transformers
torch.set_num_threads(2)
start = time.perf_counter()
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16).eval()
model.generation_config.eos_token_id = None
loaded = time.perf_counter() - start
ids, new = torch.arange(100, 132)[None], int(sys.argv[2])
class Times(transformers.generation.streamers.BaseStreamer):
    def __init__(self): self.times = []
    def put(self, value): self.times.append(time.perf_counter())
    def end(self): pass
for _ in range(2):
    streamer, start = Times(), time.perf_counter()
    model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, streamer=streamer
    )
    _, first, *rest = streamer.times  # the prompt comes first
    rate = len(rest) / (rest[-1] - first)
    figures = {"load_s": loaded, "first_token_s": first - start, "tokens_per_s": rate}
    print(json.dumps({**figures, **memory()}))
"""
)


class LitGPT:
    """LitGPT in its own environment, with its model loaded, waiting for prompts."""

    def __init__(self, python: Path, folder: Path, device: str) -> None:
        self.process = subprocess.Popen(
            [str(python), "-c", LITGPT, str(folder), device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin and self.process.stdout
        self.ask: IO[str] = self.process.stdin
        self.answer: IO[str] = self.process.stdout
        if self.answer.readline() != "ready\n":
            sys.exit(f"error: {python}: LitGPT did not start")

    def run(self, prompts: list[list[int]], new: int) -> list[list[int]]:
        print(json.dumps({"prompts": prompts, "new": new}), file=self.ask, flush=True)
        return json.loads(self.answer.readline())

    def close(self) -> None:
        self.ask.close()
        self.process.wait()


class Ids:
    """A vocabulary for token ids alone."""

    eos_ids = ()

    def __init__(self, size: int) -> None:
        self.size = size

    def decode(self, ids: list[int]) -> str:
        return ""


def transformers_way(folder: Path, device: str) -> Callable[[list[list[int]], int], list[list[int]]]:
    """Return transformers' generate over prompts padded on the left."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0

    def run(prompts: list[list[int]], new: int) -> list[list[int]]:
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
        out = model.generate(ids, attention_mask=mask, max_new_tokens=new, do_sample=False)
        return out[:, width:].tolist()

    return run


def our_way(folder: Path, device: str) -> Callable[[list[list[int]], int], list[list[int]]]:
    """Return our own generate."""
    import torch

    from steadyphi.inference.generate import Options, generate
    from steadyphi.inference.load import load_model
    from steadyphi.inference.packed import pack

    model = pack(load_model(folder, None, torch.float32, device))
    words = Ids(model.config.padded_vocab_size)

    def run(prompts: list[list[int]], new: int) -> list[list[int]]:
        options = Options(max_new_tokens=new, ignore_eos=True, compiled=device == "cuda")
        return [result.tokens for result in generate(model, words, prompts, options)]

    return run


def tasks_of(vocab: int) -> dict[str, tuple[list[list[int]], int]]:
    """Return the prompts, and the number of new tokens of each, by the name of the task."""
    rng = random.Random(0)
    single = [[rng.randrange(1, vocab) for _ in range(32)]]
    ragged = [[rng.randrange(1, vocab) for _ in range(rng.randint(8, 200))] for _ in range(32)]
    return {"single": (single, SINGLE), "ragged": (ragged, RAGGED)}


def compare(hub: Path, vocab: int, options: argparse.Namespace, repeats: int) -> dict[str, Any]:
    """Time both tasks on one model; return tokens/s of each way and how many times ours is as fast."""
    from steadyphi.checkpoint.convert import convert

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        convert(hub, Path(folder))
        peer = LitGPT(options.peers, Path(folder), options.device)
        ways = {
            "steadyphi": our_way(hub, options.device),
            "transformers": transformers_way(hub, options.device),
            "litgpt": peer.run,
        }
        for name, (prompts, new) in tasks_of(vocab).items():
            tasks: dict[str, Callable[[], Any]] = {w: partial(r, prompts, new) for w, r in ways.items()}
            seconds, tokens = alternate(tasks, repeats)
            for way in ("transformers", "litgpt"):
                assert tokens["steadyphi"] == tokens[way], f"{name}: other tokens than {way}'s"
            rates = {way: round(len(prompts) * new / s, 1) for way, s in seconds.items()}
            times = {f"vs_{way}": round(rates["steadyphi"] / rates[way], 2) for way in list(rates)[1:]}
            found[name] = {"tokens_per_s": rates, **times}
            print(name, found[name], file=sys.stderr)
        peer.close()
    return found


def full(options: argparse.Namespace) -> dict[str, Any]:
    """Run a random Phi-2 of full size, ours and transformers', in turn."""
    from steadyphi.checkpoint.convert import convert
    from steadyphi.checkpoint.layouts import HUB

    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        half, hub = Path(folder, "float16"), Path(folder, "bfloat16")
        make_phi(half, PHI_2)
        hub.mkdir()
        convert(half, hub, "bfloat16", HUB)
        result: dict[str, Any] = {}
        for name, program, source, how in (
            ("steadyphi mapped", OURS_FULL, hub, "mapped"),
            ("steadyphi packed", OURS_FULL, hub, "packed"),
            ("transformers", THEIRS_FULL, hub, ""),
            ("steadyphi packed, from float16", OURS_FULL, half, "packed"),
        ):
            command = [sys.executable, "-c", program, str(source), str(options.new), how]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            runs = [json.loads(line) for line in out.splitlines()]
            result[name] = [{key: round(value, 2) for key, value in run.items()} for run in runs]
            print(name, result[name], file=sys.stderr)
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="phi-tiny alone")
    parser.add_argument("--full", action="store_true", help="a random Phi-2 of full size, instead")
    parser.add_argument("--llama", action="store_true", help="beside llama.cpp instead, with one thread")
    parser.add_argument("--repeats", type=int, default=3, help="with --llama (%(default)s)")
    parser.add_argument("--new", type=int, default=32, help="new tokens with --full (%(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--peers", type=Path, default=PEERS, help="the Python that has LitGPT (%(default)s)")
    parser.add_argument("--work", type=Path, help="a folder with room (a temporary one by default)")
    options = parser.parse_args()
    if options.full:
        print(json.dumps(full(options)))
        return
    if options.llama:
        from benchmarks.generate_llama import beside_llama

        print(json.dumps(beside_llama(options.quick, options.repeats, options.work)))
        return
    if not options.peers.exists():
        sys.exit(f"error: {options.peers}: not found; make peers installs LitGPT into it")
    import torch

    torch.set_num_threads(2)
    result = {"phi-tiny": compare(TINY, 1280, options, 5)}
    if not options.quick:
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            middle = Path(folder, "hub")
            make_phi(middle, MIDDLE)
            result["8 x 1024"] = compare(middle, MIDDLE.padded_vocab_size, options, 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
