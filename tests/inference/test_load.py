"""Every layout loads as the same model. Tensors that need no change stay memory-mapped."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from steadyphi.checkpoint import manifest
from steadyphi.checkpoint.convert import convert
from steadyphi.checkpoint.export import export
from steadyphi.checkpoint.layouts import LAYOUTS
from steadyphi.cli.main import main
from steadyphi.errors import SteadyPhiError
from steadyphi.inference.generate import Options, generate
from steadyphi.inference.load import load_model, load_tuned, same_tokenizer
from steadyphi.model import Phi
from steadyphi.settings.groups import Lora
from steadyphi.tokenizer import TextTokenizer
from steadyphi.training import adapters
from tests.conftest import ROOT, make_hub_folder
from tests.training.made import settings as finetune_settings
from tests.training.test_lora import randomized


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random") / "hub"
    make_hub_folder(folder)
    return folder


@pytest.fixture(scope="module")
def lit(hub: Path) -> Path:
    folder = hub.parent / "lit"
    folder.mkdir()
    convert(hub, folder)
    return folder


def assert_same(model: Phi, other: Phi) -> None:
    theirs = other.state_dict()
    assert model.state_dict().keys() == theirs.keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, theirs[name]) and tensor.dtype == theirs[name].dtype, name


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_every_layout_is_one_model(layout: str, dtype: torch.dtype, hub: Path, lit: Path) -> None:
    folder = hub.parent / layout / str(dtype)
    folder.mkdir(parents=True)
    convert(hub, folder, layout=LAYOUTS[layout])
    assert_same(load_model(folder, None, dtype), Phi.load(lit, dtype))


def mapped(tensor: torch.Tensor, folder: Path) -> bool:
    """Return whether the memory of a tensor is a mapped file in the folder."""
    address = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(x, 16) for x in line.split()[0].split("-"))
        if start <= address < end:
            return str(folder) in line
    return False


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
def test_what_needs_no_change_stays_in_the_file(hub: Path, lit: Path) -> None:
    stored = load_model(lit, None, torch.float16).state_dict()
    assert all(mapped(tensor, lit) for tensor in stored.values())
    stored = load_model(hub, None, torch.float16).state_dict()
    assert {name.rpartition(".")[0][-8:] for name, t in stored.items() if not mapped(t, hub)} == {"attn.qkv"}
    assert not any(mapped(t, hub) for t in load_model(hub, None, torch.bfloat16).state_dict().values())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's figures")
def test_rounding_takes_no_more_than_the_model_and_one_tensor(tmp_path: Path) -> None:
    """A model of 100 MB in float16 becomes bfloat16. Twice that would mean that the file stays in memory."""
    from steadyphi.checkpoint import configs, layouts
    from steadyphi.checkpoint.convert import open_writers
    from steadyphi.files import write_json
    from steadyphi.model_config import PhiConfig

    config = PhiConfig(16, 8, 512, 2048, 1280, 64, 0.5, 10000.0, 1e-5)
    shapes = {n: ("float16", t.shape) for n, t in layouts.tensors(layouts.HUB, config).items()}
    folder = tmp_path / "hub"
    folder.mkdir()
    with open_writers(folder, layouts.HUB, shapes) as writers:
        for writer, fd in writers:
            size = writer.size
            os.ftruncate(fd, size)  # all zeros
            writer.finish(fd, {})
    write_json(folder / "config.json", configs.to_hub(config, 0))
    program = (
        "import re, sys, torch; from pathlib import Path\n"
        "from steadyphi.inference.load import load_model\n"
        "status = lambda: Path('/proc/self/status').read_text()\n"
        "peak = lambda: int(re.search('VmHWM:[^0-9]*([0-9]+)', status())[1]) * 1000\n"
        "first = load_model(Path(sys.argv[1]), None, torch.bfloat16)  # includes all imports\n"
        "before = peak(); second = load_model(Path(sys.argv[1]), None, torch.bfloat16)\n"
        "print(peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, cwd=ROOT
    )
    assert not done.returncode, done.stderr
    assert size > 90e6
    assert 0.9 * size < int(done.stdout) < 1.4 * size


TARGETS = ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj")
KINDS = {
    "lora": Lora("lora", 4, 8, 0.0, TARGETS),
    "dora": Lora("lora", 4, 8, 0.0, (*TARGETS, "lm_head", "wte"), rslora=True, dora=True),
}


def make_adapter(lit: Path, kind: str) -> Path:
    """Return an adapter of random numbers, as the stage finetune writes it."""
    folder = lit.parent / kind
    if not folder.exists():
        folder.mkdir()
        settings = finetune_settings(method=KINDS[kind])
        model = adapters.load_for_training(lit, settings, torch.float32, torch.device("cpu"))
        adapters.save(randomized(model).state_dict(), lit, folder, settings)
    return folder


@pytest.fixture(scope="module")
def adapter(lit: Path) -> Path:
    return make_adapter(lit, "lora")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_merged_adapter_computes_what_was_trained(
    kind: str, dtype: torch.dtype, hub: Path, lit: Path
) -> None:
    """The result is the same for every layout of the base, merged in float32 and rounded once."""
    settings = finetune_settings(method=KINDS[kind])
    trained = adapters.load_for_training(lit, settings, torch.float32, torch.device("cpu"))
    trained.load_state_dict(load_file(make_adapter(lit, kind) / "adapter_model.safetensors"), strict=False)
    wide = load_model(lit, make_adapter(lit, kind), torch.float32)
    tokens, lengths = torch.arange(30) * 7, [10, 20]
    with torch.no_grad():
        torch.testing.assert_close(wide(tokens, lengths), trained(tokens, lengths), atol=1e-5, rtol=1e-5)
    model = load_model(hub, make_adapter(lit, kind), dtype)
    assert_same(model, wide.to(dtype))
    assert_same(model, load_tuned(hub, make_adapter(lit, kind), dtype))
    plain = load_model(lit, None, dtype).state_dict()
    changed = [n for n, t in model.state_dict().items() if not torch.equal(t, plain[n])]
    assert len(changed) == 2 * 4 + len(KINDS[kind].targets) - 4  # four weights in each of two layers


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_for_transformers_is_the_same(kind: str, hub: Path, lit: Path, tmp_path: Path) -> None:
    manifest.write(hub, {"source": "random", "revision": None})
    made = make_adapter(lit, kind)
    export(made, hub, tmp_path, as_adapter=True)
    assert_same(load_model(hub, tmp_path, torch.float32), load_model(lit, made, torch.float32))


def test_what_was_fine_tuned_is_an_adapter_a_whole_model_or_nothing(lit: Path, adapter: Path) -> None:
    assert_same(load_tuned(lit, None, torch.float32), load_model(lit, None, torch.float32))
    assert_same(load_tuned(lit, adapter, torch.float32), load_model(lit, adapter, torch.float32))
    assert_same(load_tuned(lit.parent / "none", lit, torch.float32), load_model(lit, None, torch.float32))


def test_the_command_takes_an_adapter_in_two_ways(
    lit: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = TextTokenizer(lit)
    model = load_model(lit, adapter, torch.float32)
    (expected,) = generate(model, tokenizer, [tokenizer.encode("The old ship")], Options(max_new_tokens=12))
    (plain,) = generate(
        load_model(lit, None, torch.float32),
        tokenizer,
        [tokenizer.encode("The old ship")],
        Options(max_new_tokens=12),
    )
    assert expected.tokens != plain.tokens
    common = ["--json", "--dtype", "float32", "--max-new-tokens", "12"]
    for ways, tokens in (
        ([adapter, "The old ship", "--base", lit], expected.tokens),
        ([lit, "The old ship", "--tuned", adapter, "--mapped"], expected.tokens),
        ([adapter.parent / "nothing", "The old ship", "--tuned", lit], None),
        ([adapter.parent, "The old ship", "--tuned", lit], plain.tokens),  # a whole model, fine-tuned
    ):
        arguments = ["generate", *map(str, ways), *common]
        if tokens is None:
            with pytest.raises(SystemExit):
                main(arguments)
            continue
        main(arguments)
        assert json.loads(capsys.readouterr().out)["tokens"] == tokens


def test_what_does_not_fit_is_refused(hub: Path, adapter: Path, phi_tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(SteadyPhiError, match="shape"):
        load_model(phi_tiny, adapter, torch.float32)
    shutil.copytree(hub, tmp_path / "cut")
    shard = next((tmp_path / "cut").glob("*00002*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(SteadyPhiError, match="00002"):
        load_model(tmp_path / "cut", None, torch.float32)


def test_tokenizers_are_compared(hub: Path, phi_tiny: Path, tmp_path: Path) -> None:
    assert same_tokenizer(hub, phi_tiny)
    text = (phi_tiny / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(
        text.replace('"content": "<|endoftext|>"', '"content": "<|end|>"')
    )
    assert not same_tokenizer(tmp_path, phi_tiny)
