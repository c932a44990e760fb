"""GGUF, read back by the package `gguf`."""

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steadyphi.checkpoint import gguf_file, layouts, llama_quantize
from steadyphi.checkpoint.chat_files import Chat
from steadyphi.checkpoint.convert import convert
from steadyphi.cli import export
from steadyphi.cli.main import main
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.dialogue import chat_template, ollama_template
from steadyphi.prompts.formats import FORMATS
from tests.checkpoint import by_hand
from tests.conftest import ROOT, make_hub_folder
from tests.prompts import go_template

gguf = pytest.importorskip("gguf", reason="needs the package gguf: pip install gguf")
TINY = ROOT / "assets" / "phi-tiny"
CHAT = Chat("qa", chat_template(FORMATS["qa"]))
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.final_layernorm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
    "self_attn.dense": "attn_output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "input_layernorm": "attn_norm",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}


def written(source: Path, path: Path, kind: str) -> Path:
    gguf_file.write(source, path, kind, "a phi", CHAT)
    return path


def fields(reader: Any) -> dict[str, Any]:
    return {key: field.contents() for key, field in reader.fields.items()}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Phi of Phi-2's head size 80, in bfloat16."""
    folder = tmp_path_factory.mktemp("wide") / "hub"
    make_hub_folder(folder, torch.bfloat16)
    return folder


@pytest.mark.parametrize("kind", gguf_file.TYPES)
@pytest.mark.parametrize("source", ["tiny", "wide"])
def test_tensors(source: str, kind: str, wide: Path, tmp_path: Path) -> None:
    folder = TINY if source == "tiny" else wide
    reader = gguf.GGUFReader(written(folder, tmp_path / "m.gguf", kind))
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    expected = by_hand.load(folder)
    assert len(tensors) == len(expected)
    for name, tensor in expected.items():
        for old, new in NAMES.items():
            name = name.replace(old, new)
        numbers = gguf.quants.dequantize(tensors[name].data, tensors[name].tensor_type)
        inside = kind if kind != "q4_0" or name.startswith("blk.") else "q8_0"
        assert tensors[name].tensor_type.name == ("F32" if tensor.ndim == 1 else inside.upper())
        exact = tensor.float()
        # Of a type with a mantissa of n bits the error is half a unit; of Q8_0 half a 127th of the largest
        # of 32 numbers, and its scale is a float16; of Q4_0 an eighth, because there is no +8.
        largest = (
            exact.abs().unflatten(-1, (-1, 32)).amax(-1, keepdim=True).expand(-1, -1, 32).flatten(-2)
            if exact.ndim > 1
            else exact.abs()
        )
        bound = {
            "f16": exact.abs() / 2048 + 3e-8,
            "bf16": exact.abs() / 256,
            "q8_0": largest / 220 + 1e-6,
            "q4_0": largest / 7.9 + 1e-6,
        }
        error = (torch.from_numpy(np.array(numbers)).view(exact.shape) - exact).abs()
        assert (error <= (bound[inside] if exact.ndim > 1 else 0)).all(), name


def test_settings_and_tokenizer(wide: Path, tmp_path: Path) -> None:
    """The real Phi's embedding has 905 rows without a token; here it is the last."""
    folder = Path(shutil.copytree(wide, tmp_path / "hub"))
    values = json.loads((folder / "tokenizer.json").read_text())
    values["model"]["merges"] = [pair for pair in values["model"]["merges"] if "".join(pair) != "wagon"]
    assert values["model"]["vocab"].pop("wagon") == 1279
    (folder / "tokenizer.json").write_text(json.dumps(values))
    metadata = fields(gguf.GGUFReader(written(folder, tmp_path / "m.gguf", "f16")))
    expected = {
        "general.architecture": "phi2",
        "phi2.context_length": 512,
        "phi2.embedding_length": 160,
        "phi2.feed_forward_length": 640,
        "phi2.block_count": 2,
        "phi2.attention.head_count": 2,
        "phi2.rope.dimension_count": 32,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHAT.template,
    }
    assert {key: metadata[key] for key in expected} == expected
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    assert tokens[:1279] == sorted(values["model"]["vocab"], key=values["model"]["vocab"].__getitem__)
    assert tokens[1279:] == ["[PAD1279]"] and types[-1] == gguf.TokenType.UNUSED
    assert types[0] == gguf.TokenType.CONTROL and set(types[1:1279]) == {gguf.TokenType.NORMAL}
    assert len(metadata["tokenizer.ggml.merges"]) == len(values["model"]["merges"])


def test_any_layout_gives_the_same_bytes(phi_tiny: Path, tmp_path: Path) -> None:
    first = written(phi_tiny, tmp_path / "a.gguf", "q8_0").read_bytes()
    for layout in (layouts.LIT, layouts.LAYOUTS["legacy"]):
        (tmp_path / layout.name).mkdir()
        convert(phi_tiny, tmp_path / layout.name, layout=layout)
        assert written(tmp_path / layout.name, tmp_path / f"{layout.name}.gguf", "q8_0").read_bytes() == first


@pytest.mark.parametrize("kind", gguf_file.TYPES)
def test_one_tensor_at_a_time_is_in_memory(
    phi_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    write, before = gguf_file._write_tensors, []

    def measured(*arguments: Any) -> None:
        before.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.reset_peak()
        write(*arguments)

    monkeypatch.setattr(gguf_file, "BLOCK", 1 << 12)
    written(phi_tiny, tmp_path / "first.gguf", kind)  # imports
    monkeypatch.setattr(gguf_file, "_write_tensors", measured)
    tracemalloc.start()
    written(phi_tiny, tmp_path / "m.gguf", kind)
    peak = tracemalloc.get_traced_memory()[1] - before[0]
    tracemalloc.stop()
    largest = 1280 * 256 * 2  # bytes
    whole = sum(path.stat().st_size for path in phi_tiny.glob("*.safetensors"))
    assert peak < 2 * largest < 0.2 * whole


def test_what_gguf_cannot_hold_is_refused(phi_tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(phi_tiny, tmp_path / "other"))
    values = json.loads((folder / "tokenizer.json").read_text())
    values["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = False
    (folder / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(SteadyPhiError, match=r"tokenizer\.json: splits texts in a way for which llama\.cpp"):
        written(folder, tmp_path / "m.gguf", "f16")
    model = make_hub_folder(tmp_path / "large", torch.bfloat16, shards=1)
    with torch.no_grad():
        model.lm_head.weight[3, 5] = 1e6
    model.save_pretrained(tmp_path / "large")
    with pytest.raises(SteadyPhiError, match=r"lm_head\.weight has NaN or numbers beyond float16"):
        written(tmp_path / "large", tmp_path / "large.gguf", "f16")


def test_the_command(lit_tiny: Path, tmp_path: Path) -> None:
    assert export.GGUF == (*gguf_file.TYPES, *llama_quantize.TYPES)
    main(["export", str(lit_tiny), str(tmp_path / "out"), "--style", "qa", "--gguf", "bf16"])
    values = fields(gguf.GGUFReader(tmp_path / "out" / "model-bf16.gguf"))
    assert values["tokenizer.chat_template"] == CHAT.template
    modelfile = dict(go_template.parse_modelfile((tmp_path / "out" / "Modelfile").read_text()))
    assert modelfile["FROM"] == "./model-bf16.gguf" and modelfile["stop"] == "\nQ:"
    assert modelfile["TEMPLATE"] == ollama_template(FORMATS["qa"])
    with pytest.raises(SystemExit, match="--gguf: has a merged model"):
        main(["export", str(lit_tiny), str(tmp_path / "no"), "--gguf", "f16", "--adapter"])


QUANTIZER = """#!/bin/sh
[ "$3" = Q6_K ] && { echo loading; printf 'main: no \\033[31mroom\\n' >&2; exit 3; }
[ -s "$1" ] && cp "$1" "$2" && echo "$1 $2 $3" > "$CALLED"
"""


def test_types_of_llama_cpps_own_quantizer(
    lit_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the program copies its input; the real one is in test_llama_cpp.py."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    arguments = ["export", str(lit_tiny), str(tmp_path / "out"), "--style", "qa", "--gguf"]
    with pytest.raises(
        SystemExit, match=r"q4_k_m: needs llama\.cpp's llama-quantize, which is not on the PATH"
    ):
        main([*arguments, "q4_k_m"])
    program = tmp_path / "bin" / "llama-quantize"
    program.parent.mkdir()
    program.write_text(QUANTIZER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("CALLED", str(tmp_path / "called"))
    with pytest.raises(SystemExit, match=r"--gguf q6_k: llama-quantize failed: main: no \\x1b\[31mroom$"):
        main([*arguments, "q6_k"])
    assert not (tmp_path / "out").exists()
    main([*arguments, "q4_k_m"])
    source, target, kind = (tmp_path / "called").read_text().split()
    assert (Path(source).suffix, Path(target).name, kind) == (".gguf", "model-q4_k_m.gguf", "Q4_K_M")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.gguf")) == ["model-q4_k_m.gguf"]
    read = gguf.GGUFReader(tmp_path / "out" / "model-q4_k_m.gguf")
    assert fields(read)["general.file_type"] == gguf.LlamaFileType.MOSTLY_F16
    assert "FROM ./model-q4_k_m.gguf" in (tmp_path / "out" / "Modelfile").read_text()
