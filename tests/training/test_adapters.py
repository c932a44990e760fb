"""What is trained and saved, by every method, and read back by us and by peft."""

import json
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from steadyphi.errors import SteadyPhiError
from steadyphi.inference.load import load_tuned
from steadyphi.model import Phi
from steadyphi.runtime.device import make_repeatable
from steadyphi.settings.groups import Full, Lora
from steadyphi.settings.schema import Finetune
from steadyphi.training import adapters, quantized
from steadyphi.training.loop import fit
from tests.conftest import ROOT
from tests.training.made import TARGETS, examples, settings
from tests.training.test_lora import peft_model, randomized, trained

CPU = torch.device("cpu")
TOKENS, LENGTHS = torch.arange(40) + 60, [15, 25]
LORA = Lora("lora", 4, 8, 0.0, TARGETS)
EVERYWHERE = (*TARGETS, "lm_head", "wte")
METHODS = {
    "full": Full(name="full"),
    "lora": LORA,
    "everywhere": replace(LORA, targets=EVERYWHERE),
    "rslora": replace(LORA, rslora=True, r=9),
    "dora": replace(LORA, dora=True),
    "dora everywhere": replace(LORA, dora=True, targets=EVERYWHERE),
}
needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="needs bitsandbytes: python -m pip install -e '.[qlora]'"
)


def fine_tuned(base: Path, folder: Path, chosen: Finetune, dtype: torch.dtype = torch.float32) -> Phi:
    """Train a little and save what was trained into `folder`."""
    make_repeatable(chosen.seed, chosen.threads)
    model = adapters.load_for_training(base, chosen, dtype, CPU)
    fit(model, examples(), examples(4), chosen, dtype)
    folder.mkdir()
    adapters.save(model.state_dict(), base, folder, chosen)
    return model


def test_the_result_may_be_an_average_with_the_base(lit_tiny: Path, tmp_path: Path) -> None:
    chosen = settings(method=Full("full", base_share=0.25), lr=1e-2, epochs=1)
    model = fine_tuned(lit_tiny, tmp_path / "tuned", chosen)
    base, saved = (Phi.load(folder, torch.float32).state_dict() for folder in (lit_tiny, tmp_path / "tuned"))
    for name, trained_weight in model.state_dict().items():
        expected = 0.75 * trained_weight + 0.25 * base[name]
        assert torch.allclose(saved[name], expected, rtol=1e-3, atol=1e-4)  # rounded to float16
    assert not torch.allclose(saved["lm_head.weight"], base["lm_head.weight"], atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_saved_is_what_was_trained(name: str, lit_tiny: Path, tmp_path: Path) -> None:
    chosen = settings(method=METHODS[name], lr=1e-2)
    plain = Phi.load(lit_tiny, torch.float32)
    model = fine_tuned(lit_tiny, tmp_path / "tuned", chosen)
    frozen = {n.replace(".base.", "."): p for n, p in model.named_parameters() if not p.requires_grad}
    assert bool(frozen) == (name != "full")
    for key, tensor in plain.state_dict().items():
        assert key not in frozen or torch.equal(frozen[key], tensor), key
    loaded = load_tuned(lit_tiny, tmp_path / "tuned", torch.float32)
    assert type(loaded) is Phi and not [n for n, _ in loaded.named_modules() if "lora" in n]
    with torch.no_grad():
        was, read, before = (m(TOKENS, LENGTHS) for m in (model, loaded, plain))
    # full: saved in the base's float16, three digits; else only the order of additions differs
    tolerance = 2e-2 if name == "full" else 1e-4
    torch.testing.assert_close(read, was, atol=tolerance, rtol=tolerance)
    assert (read - before).abs().max() > 20 * tolerance


@pytest.mark.parametrize("name", ["everywhere", "dora everywhere"])
def test_twice_gives_the_same_bytes(name: str, lit_tiny: Path, tmp_path: Path) -> None:
    chosen = settings(method=replace(METHODS[name], dropout=0.1))  # type: ignore[type-var]
    for which in ("one", "two"):
        fine_tuned(lit_tiny, tmp_path / which, chosen, torch.bfloat16)
    files = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors"]
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_adapter_equals_the_formula(lit_tiny: Path, tmp_path: Path) -> None:
    """W + alpha / r · B A (Hu et al. 2021, arXiv 2106.09685, eq. 3), read from the files by hand."""
    chosen = settings(method=replace(LORA, targets=("attn.qkv",)), lr=1e-2)
    fine_tuned(lit_tiny, tmp_path / "tuned", chosen)
    merged = load_tuned(lit_tiny, tmp_path / "tuned", torch.float32).state_dict()
    state = load_file(tmp_path / "tuned" / "adapter_model.safetensors")
    original = Phi.load(lit_tiny, torch.float32).state_dict()
    assert len(state) == 8
    for n in range(4):
        name = f"transformer.h.{n}.attn.qkv"
        a, b = (state[f"{name}.lora_{which}.weight"] for which in "AB")
        expected = original[f"{name}.weight"] + 8 / 4 * b @ a
        torch.testing.assert_close(merged[f"{name}.weight"], expected, atol=1e-6, rtol=1e-5)
        assert b.abs().max() > 0


def test_dora_equals_the_formula(lit_tiny: Path, tmp_path: Path) -> None:
    """m · (W + s B A) / ‖W + s B A‖ (Liu et al. 2024, arXiv 2402.09353, eq. 5), row by row."""
    chosen = settings(method=replace(LORA, targets=("mlp.fc", "wte"), dora=True), lr=1e-2)
    fine_tuned(lit_tiny, tmp_path / "tuned", chosen)
    merged = load_tuned(lit_tiny, tmp_path / "tuned", torch.float32).state_dict()
    state = load_file(tmp_path / "tuned" / "adapter_model.safetensors")
    original = Phi.load(lit_tiny, torch.float32).state_dict()
    for name, matrices in (
        ("transformer.h.2.mlp.fc", ("lora_A.weight", "lora_B.weight")),
        ("transformer.wte", ("lora_embedding_A", "lora_embedding_B")),
    ):
        a, b = (state[f"{name}.{matrix}"] for matrix in matrices)
        weight = original[f"{name}.weight"]
        weight = (weight.t() if name.endswith("wte") else weight) + 2 * b @ a
        magnitude = state[f"{name}.lora_magnitude_vector"]
        expected = magnitude[:, None] * weight / weight.square().sum(1, keepdim=True).sqrt()
        adapted = merged[f"{name}.weight"]
        adapted = adapted.t() if name.endswith("wte") else adapted
        torch.testing.assert_close(adapted, expected, atol=1e-6, rtol=1e-5)
        assert b.abs().max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in METHODS if name != "full"])
def test_peft_reads_what_is_saved(name: str, lit_tiny: Path, tmp_path: Path) -> None:
    """By its own settings and loader, on our model; and merged it is what we merge."""
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
    from peft.tuners.tuners_utils import BaseTunerLayer

    chosen = settings(method=METHODS[name])
    model = adapters.load_for_training(lit_tiny, chosen, torch.float32, CPU)
    randomized(model)
    adapters.save(model.state_dict(), lit_tiny, tmp_path, chosen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig.from_pretrained(str(tmp_path))
        theirs: Any = inject_adapter_in_model(config, Phi.load(lit_tiny, torch.float32))
    problems = set_peft_model_state_dict(theirs, load_file(tmp_path / "adapter_model.safetensors"))
    assert not problems.unexpected_keys and not [k for k in problems.missing_keys if "lora_" in k]
    for key, parameter in trained(peft_model(Phi.load(lit_tiny, torch.float32), METHODS[name])).items():
        assert parameter.shape == trained(model)[key].shape  # type: ignore[arg-type]
    with torch.no_grad():
        torch.testing.assert_close(theirs(TOKENS, LENGTHS), model(TOKENS, LENGTHS), atol=2e-5, rtol=1e-5)
    merged = load_tuned(lit_tiny, tmp_path, torch.float32).state_dict()
    for key, module in theirs.named_modules():
        if isinstance(module, BaseTunerLayer):
            module.merge()
            weight = module.get_base_layer().weight
            torch.testing.assert_close(merged[f"{key}.weight"], weight.data, atol=1e-6, rtol=1e-5, msg=key)


def test_an_adapter_for_another_model_is_refused(lit_tiny: Path, tmp_path: Path) -> None:
    chosen = settings(method=LORA)
    model = adapters.load_for_training(lit_tiny, chosen, torch.float32, CPU)
    adapters.save(model.state_dict(), lit_tiny, tmp_path, chosen)
    path = tmp_path / "adapter_model.safetensors"
    state = load_file(path)
    state.pop(min(state))
    save_file(state, path)
    with pytest.raises(SteadyPhiError, match=r"has no counterpart .*\.lora_A\.weight$"):
        load_tuned(lit_tiny, tmp_path, torch.float32)


def test_training_needs_no_peft() -> None:
    """It takes seconds to import."""
    program = "import sys, steadyphi.training.adapters; print([m for m in sys.modules if m in sys.argv])"
    done = subprocess.run(
        [sys.executable, "-c", program, "peft", "transformers", "bitsandbytes"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == "[]\n"


def test_qlora_without_bitsandbytes_is_refused(lit_tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = replace(LORA, name="qlora")
    monkeypatch.setattr(quantized, "find_spec", lambda _: None)
    message = (
        r"^conf/method/qlora\.yaml: needs bitsandbytes, .* python -m pip install -e '\.\[qlora\]', .*lora$"
    )
    for refused in (
        lambda: quantized.check_method(method),
        lambda: adapters.load_for_training(lit_tiny, settings(method=method), torch.float32, CPU),
    ):
        with pytest.raises(SteadyPhiError, match=message):
            refused()
    quantized.check_method(LORA)
    quantized.check_method(Full(name="full"))


def test_qlora_with_a_broken_bitsandbytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("no library for\n this machine")

    monkeypatch.setattr(quantized, "find_spec", lambda _: object())
    monkeypatch.setattr(quantized, "import_module", broken)
    quantized._bitsandbytes.cache_clear()
    with pytest.raises(
        SteadyPhiError, match=r"cannot run on cpu here \(no library for this machine\); choose"
    ):
        quantized.check_method(replace(LORA, name="qlora"))


@needs_bitsandbytes
@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_qlora_trains_adapters_on_a_base_in_four_bits(
    dora: bool, dtype: torch.dtype, lit_tiny: Path, tmp_path: Path
) -> None:
    quantized._bitsandbytes.cache_clear()
    method = Lora("qlora", 4, 8, 0.05, EVERYWHERE, dora=dora)
    chosen = settings(method=method, lr=1e-2)
    model = fine_tuned(lit_tiny, tmp_path / "tuned", chosen, dtype)
    kinds = {n: type(m).__name__ for n, m in model.named_modules() if n.endswith(".base")}
    assert kinds["lm_head.base"] == "Linear" and kinds["transformer.wte.base"] == "Embedding"
    assert kinds["transformer.h.3.mlp.fc.base"] == "Linear4bit" and len(kinds) == 18
    packed = sum(p.nbytes for n, p in model.named_parameters() if ".base.weight" in n and ".h." in n)
    numbers = sum(
        p.numel() for n, p in Phi.load(lit_tiny, dtype).named_parameters() if ".h." in n and p.ndim > 1
    )
    assert packed == numbers / 2
    state = load_file(tmp_path / "tuned" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert {n.rpartition(".lora_")[1] for n in state} == {".lora_"}
    assert all(t.abs().max() > 0 for n, t in state.items())
    config = json.loads((tmp_path / "tuned" / "adapter_config.json").read_text())
    assert config["use_dora"] == dora and "quant" not in json.dumps(config)
    # On the full base it is nearly what it is on the rounded one, and better than the base alone.
    plain, merged = (load_tuned(lit_tiny, t, torch.float32) for t in (None, tmp_path / "tuned"))
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        was, read, before = (m.eval()(TOKENS, LENGTHS).float() for m in (model, merged, plain))
    assert (read - was).norm() < 0.5 * (before - was).norm()


@needs_bitsandbytes
def test_four_bits_are_bitsandbytes_own() -> None:
    """NF4 in blocks of 64 with double quantization, beside its own layer; the product has no bias."""
    import bitsandbytes as bnb

    torch.manual_seed(0)
    linear, x = torch.nn.Linear(128, 64), torch.randn(5, 128)
    layer = quantized.quantized(linear, torch.float32, CPU)
    weight, state = bnb.functional.quantize_4bit(
        linear.weight.data, quant_type="nf4", compress_statistics=True
    )
    expected = bnb.functional.dequantize_4bit(weight, state)
    assert torch.equal(quantized.weight_of(layer), expected) and layer.weight.quant_state.nested
    assert (expected - linear.weight).norm() < 0.12 * linear.weight.norm()
    torch.testing.assert_close(quantized.product(layer, x), x @ expected.t(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer(x), x @ expected.t() + linear.bias, atol=1e-5, rtol=1e-5)


def test_a_folder_beside_the_weights_is_left_out(lit_tiny: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(lit_tiny, tmp_path / "base"))
    (base / ".ipynb_checkpoints").mkdir()
    chosen = settings(method=Full("full"))
    state = Phi.load(base, torch.float32).state_dict()
    (tmp_path / "tuned").mkdir()
    adapters.save(state, base, tmp_path / "tuned", chosen)
    names = {path.name for path in lit_tiny.iterdir()} - {"manifest.json"}
    assert {path.name for path in (tmp_path / "tuned").iterdir()} == names
