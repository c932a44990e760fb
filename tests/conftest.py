"""What many tests need: phi-tiny in both layouts, the shared real data, a small random Hub folder."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from steadyphi.prompts.formats import FORMATS

ROOT = Path(__file__).parent.parent
BUILT_IN = dict(FORMATS)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Several test processes share the cores, and OpenMP's threads would wait for one another by spinning.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
torch.set_num_threads(1)
# A shell starts what runs in the background deaf to Ctrl-C, and so would be all that the tests start.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def built_in_formats() -> Iterator[None]:
    """Undo what a test may have defined: the commands define the formats of conf/prompts."""
    yield
    FORMATS.clear()
    FORMATS.update(BUILT_IN)


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Undo what a test may have set: `mlflow.set_tracking_uri` sets a variable, which processes inherit."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Undo what a test before may have set: the last digits depend on the number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; a newcomer's clone has none."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"needs the real data sets in {folder}, which this clone does not have")
    return folder


@pytest.fixture(scope="session")
def phi_tiny() -> Path:
    return ROOT / "assets" / "phi-tiny"


@pytest.fixture(scope="session")
def lit_tiny(phi_tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """phi-tiny, fetched and converted."""
    from steadyphi.checkpoint import manifest
    from steadyphi.checkpoint.convert import convert
    from steadyphi.hub import fetch

    base = tmp_path_factory.mktemp("tiny")
    weights, lit = base / "weights", base / "lit"
    weights.mkdir()
    lit.mkdir()
    manifest.write(weights, fetch.fetch(str(phi_tiny), None, weights, base / "cache"))
    convert(weights, lit, "keep")
    return lit


def hub_config(**changes: Any) -> dict[str, Any]:
    """A config.json as Phi-2's, at small width: head size 80, rotary 0.4."""
    config = json.loads((ROOT / "assets" / "phi-tiny" / "config.json").read_text())
    return {
        **config,
        "hidden_size": 160,
        "intermediate_size": 640,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "partial_rotary_factor": 0.4,
        "vocab_size": 1280,
        **changes,
    }


def make_hub_folder(folder: Path, dtype: torch.dtype = torch.float16, shards: int = 2) -> Any:
    """Write a random transformers Phi into `folder` as the Hub has it, phi-tiny's tokenizer beside it.

    Returns the transformers model.
    """
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    values = hub_config()
    torch.manual_seed(3)
    model = transformers.PhiForCausalLM(transformers.PhiConfig(**values)).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    size = sum(p.nbytes for p in model.parameters())
    model.save_pretrained(folder, max_shard_size=size // shards + 1 if shards > 1 else "10GB")
    (folder / "config.json").write_text(json.dumps(values))
    for path in (ROOT / "assets" / "phi-tiny").glob("*token*.json"):
        shutil.copyfile(path, folder / path.name)
    return model


@pytest.fixture
def flash_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU take the branches of a GPU whose torch attends to packed documents in one call."""
    from steadyphi import model
    from tests import flash

    flash.register()
    monkeypatch.setattr(model, "FLASH_DEVICES", {"cpu", "cuda"})
