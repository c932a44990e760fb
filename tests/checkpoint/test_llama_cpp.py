"""GGUF, run by llama.cpp (the package xllamacpp, which has it built) beside our own engine."""

import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import phi_tiny as textbook
from steadyphi.checkpoint import gguf_file, llama_quantize
from steadyphi.checkpoint.chat_files import Chat
from steadyphi.cli.main import main
from steadyphi.evaluation import choices
from steadyphi.evaluation.suite import variants_of
from steadyphi.inference.endpoint import Endpoint
from steadyphi.inference.generate import Options, generate
from steadyphi.inference.http_client import Client
from steadyphi.inference.language_model import LanguageModel
from steadyphi.inference.load import load_model
from steadyphi.inference.quantized import quantize
from steadyphi.prompts.dialogue import chat_template
from steadyphi.prompts.formats import FORMATS
from steadyphi.tokenizer import TextTokenizer
from tests.checkpoint import quantize_program
from tests.conftest import ROOT, hub_config, make_hub_folder

gguf = pytest.importorskip("gguf", reason="needs the package gguf: pip install gguf")
xllamacpp = pytest.importorskip("xllamacpp", reason="needs llama.cpp: pip install xllamacpp")
pytestmark = pytest.mark.slow
TINY = ROOT / "assets" / "phi-tiny"
TEXTS = [
    "Instruct: Who has the red box?\nOutput:",
    "What is 7 + 15?\n\nAnswer:\n",
    "  Größe\t→ 3\n\n",
    "def f(x):\n        return x1234",
    "日本 🙂 it's 3.5%, isn't IT'S",
    "a\u00a0b  c   ",
    "<|endoftext|>",
]


class Llama:
    """llama.cpp's server in this process, with one thread."""

    def __init__(self, path: Path) -> None:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = 512, 1, 1
        parameters.use_jinja, parameters.warmup, parameters.verbosity = True, False, 0
        self.server = xllamacpp.Server(parameters)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            self.server.listening_address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            return json.loads(response.read())

    def tokens(self, text: str) -> list[int]:
        return self.post("/tokenize", content=text, add_special=False, parse_special=False)["tokens"]

    def logprobs(self, ids: list[int], size: int) -> torch.Tensor:
        """Return the log-probability of every token after `ids`."""
        settings = {"n_predict": 1, "n_probs": size, "temperature": 0, "cache_prompt": False}
        answer = self.server.handle_completions({"prompt": ids, **settings})
        found = torch.full((size,), float("nan"))
        for entry in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            found[entry["id"]] = entry["logprob"]
        return found


def converted(folder: Path, path: Path, kind: str = "f16", style: str = "phi2") -> Llama:
    gguf_file.write(folder, path, kind, "phi", Chat(style, chat_template(FORMATS[style])))
    return Llama(path)


def phi_2_in_small(folder: Path, tokenizer: Path) -> Path:
    """Write a random Phi with Phi-2's head size and tokenizer, and the 51,200 rows of its embedding."""
    import transformers

    values = hub_config(vocab_size=51200, bos_token_id=50256, eos_token_id=50256)
    torch.manual_seed(3)
    transformers.PhiForCausalLM(transformers.PhiConfig(**values)).half().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(values))
    for path in tokenizer.glob("*token*.json"):
        shutil.copyfile(path, folder / path.name)
    return folder


@pytest.mark.parametrize(("kind", "bound"), [("f16", 0.02), ("bf16", 0.05), ("q8_0", 0.6), ("q4_0", 1.0)])
@pytest.mark.parametrize("source", ["tiny", "wide"])
def test_log_probabilities(source: str, kind: str, bound: float, tmp_path: Path) -> None:
    """phi-tiny has head size 64 and half of each rotated, as Phi-1.5, and the other 80 and 0.4, as Phi-2."""
    folder = TINY
    if source == "wide":
        folder = tmp_path / "hub"
        make_hub_folder(folder)
    theirs, tokenizer = converted(folder, tmp_path / "m.gguf", kind), TextTokenizer(folder)
    ours = load_model(folder, None, torch.float32)
    if kind == "q4_0":  # of the whole model, llama.cpp's four bits may be far away
        ours = quantize(ours, 4)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        with torch.no_grad():
            expected = ours(torch.tensor(ids), [len(ids)])[-1].log_softmax(-1)
        found = theirs.logprobs(ids, len(expected))
        likely = expected > -12
        torch.testing.assert_close(found[likely], expected[likely], atol=bound, rtol=0)


@pytest.mark.parametrize("name", ["phi-tiny", "phi-2"])
def test_tokens(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = TINY
    if name == "phi-2":
        folder = phi_2_in_small(tmp_path / "hub", request.getfixturevalue("shared") / "hub" / name)
    theirs, tokenizer = converted(folder, tmp_path / "m.gguf"), TextTokenizer(folder)
    for text in TEXTS:
        assert theirs.tokens(text) == tokenizer.encode(text), text


@pytest.mark.parametrize("style", FORMATS)
def test_chat_template(style: str, tmp_path: Path) -> None:
    """llama.cpp renders it with its own Jinja."""
    theirs, format_ = converted(TINY, tmp_path / "m.gguf", style=style), FORMATS[style]
    user, assistant = ({"role": role, "content": role.title()} for role in ("user", "assistant"))
    told = {"role": "system", "content": "Be short."}
    one = format_.prompt("User")
    for messages, prompt in (
        ([user], one),
        ([told, user, assistant, user], f"Be short.\n\n{one}{format_.answer('Assistant')}\n\n{one}"),
    ):
        assert theirs.post("/apply-template", messages=messages)["prompt"] == prompt


def test_greedy_answers(tmp_path: Path) -> None:
    items = textbook.material(textbook.settings(items=20)).items
    theirs, tokenizer = converted(TINY, tmp_path / "m.gguf"), TextTokenizer(TINY)
    ours = load_model(TINY, None, torch.float32)
    prompts = [tokenizer.encode(FORMATS["phi2"].prompt(item.question)) for item in items]
    expected = generate(ours, tokenizer, prompts, Options(16))
    assert len(items) == 20
    for item, result in zip(items, expected, strict=True):
        messages = [{"role": "user", "content": item.question}]
        settings = {"max_tokens": 16, "temperature": 0}
        answer = theirs.server.handle_chat_completions({"messages": messages, **settings})
        assert answer["choices"][0]["message"]["content"] == result.text, item.question


def test_accuracy_through_its_server(tmp_path: Path) -> None:
    """The questions of the evaluation, asked of llama.cpp's HTTP server, and of our own engine."""
    chosen = textbook.settings(items=10)
    found = textbook.material(chosen)
    settings = dataclasses.replace(chosen.evaluate, formats=("phi2", "qa", "bare"), unseen=0, families=None)
    theirs, tokenizer = converted(TINY, tmp_path / "m.gguf"), TextTokenizer(TINY)
    client = Client(f"{theirs.server.listening_address}/v1")
    endpoint = Endpoint(client, tokenizer, 512)
    endpoint.connect()
    assert endpoint.way == "next"
    models = (endpoint, LanguageModel(load_model(TINY, None, torch.float32), tokenizer, 4096))
    by_them, by_us = (
        choices.evaluate(model, found.items, [], variants_of(settings), settings) for model in models
    )
    assert len(by_us) == 30
    for row, expected in zip(by_them, by_us, strict=True):
        assert row["logprobs"] == pytest.approx(expected["logprobs"], abs=0.1)
        assert (row["variant"], row["item"], row["correct"]) == tuple(
            expected[key] for key in ("variant", "item", "correct")
        )
    prompts = [row["prompt"] for row in by_us]
    texts = [[each.text for each in model.generate(prompts, 8, "texts")] for model in models]
    assert texts[0] == texts[1]


@pytest.fixture
def quantizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put `llama-quantize` on the PATH, if it is not there: a program that calls llama.cpp's function."""
    if shutil.which("llama-quantize"):
        return
    command = [sys.executable, quantize_program.__file__]
    loaded = subprocess.run(command, capture_output=True, text=True, check=False)
    if loaded.returncode:
        pytest.skip(loaded.stderr.strip().splitlines()[-1])
    program = tmp_path / "bin" / "llama-quantize"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def divergence(path: Path, folder: Path) -> float:
    """Return the largest Kullback-Leibler divergence of llama.cpp's next token from ours, of all texts."""
    theirs, ours, tokenizer = Llama(path), load_model(folder, None, torch.float32), TextTokenizer(folder)
    found = []
    for text in TEXTS:
        ids = tokenizer.encode(text)
        with torch.no_grad():
            expected = ours(torch.tensor(ids), [len(ids)])[-1].log_softmax(-1)
        likely = expected > -12
        difference = expected - theirs.logprobs(ids, len(expected))
        found.append(float((expected.exp() * difference)[likely].sum()))
    return max(found)


# Measured divergences: 0.39, 0.031, 0.022 and 0.059.
@pytest.mark.usefixtures("quantizer")
@pytest.mark.parametrize(
    ("kind", "types", "bound"),
    [
        ("q4_k_m", {"F32", "Q4_K", "Q6_K"}, 0.8),
        ("q5_k_m", {"F32", "Q5_K", "Q6_K"}, 0.06),
        ("q6_k", {"F32", "Q6_K"}, 0.04),
        ("iq4_nl", {"F32", "IQ4_NL", "Q6_K"}, 0.12),
    ],
)
def test_types_of_its_own_quantizer(
    kind: str, types: set[str], bound: float, lit_tiny: Path, tmp_path: Path
) -> None:
    main(["export", str(lit_tiny), str(tmp_path / "out"), "--style", "phi2", "--gguf", kind])
    (path,) = (tmp_path / "out").glob("*.gguf")
    assert path.name == f"model-{kind}.gguf"
    assert {tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors} == types
    assert 0 < divergence(path, TINY) < bound


@pytest.mark.usefixtures("quantizer")
def test_rows_that_are_no_multiple_of_256_get_other_types(tmp_path: Path) -> None:
    """As llama.cpp says: 13 of 14 matrices of this model with rows of 160 and 640 numbers."""
    make_hub_folder(tmp_path / "hub")
    gguf_file.write(tmp_path / "hub", tmp_path / "f16.gguf", "f16", "phi")
    llama_quantize.quantize(tmp_path / "f16.gguf", tmp_path / "m.gguf", "q4_k_m")
    types = {tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert types == {"F32", "Q5_0", "Q8_0"}
    assert 0 < divergence(tmp_path / "m.gguf", tmp_path / "hub") < 0.001
