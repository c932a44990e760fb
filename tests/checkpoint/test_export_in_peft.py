"""What was fine-tuned, exported, against the pipeline itself, transformers and peft."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from steadyphi.checkpoint.convert import convert
from steadyphi.checkpoint.export import export
from steadyphi.inference.load import load_tuned
from steadyphi.model import Phi
from steadyphi.settings.groups import Lora
from steadyphi.training import adapters
from tests.checkpoint.adapters_by_hand import EVERYWHERE, folder, weights
from tests.conftest import make_hub_folder
from tests.training.made import TARGETS, settings
from tests.training.test_lora import randomized, trained

TOKENS = torch.tensor([5, 900, 17, 17, 1279, 64, 3, 250, 31, 0, 77])
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Exported:
    """A Hub folder, its lit-gpt form, an adapter that the pipeline saved, and both exports of it."""

    hub: Path
    lit: Path
    tuned: Path
    merged: Path
    adapter: Path


def export_both(path: Path, dtype: torch.dtype, **kind: Any) -> Exported:
    """A, B and lengths random, for with B of zeros nothing could go wrong."""
    made = Exported(*(path / name for name in ("hub", "lit", "tuned", "merged", "adapter")))
    make_hub_folder(made.hub, dtype)
    convert(made.hub, folder(made.lit))
    chosen = settings(method=Lora("lora", 6, 15, 0.1, **{"targets": TARGETS, **kind}))
    model = randomized(adapters.load_for_training(made.lit, chosen, torch.float32, CPU), seed=4)
    adapters.save(model.state_dict(), made.lit, folder(made.tuned), chosen)
    export(made.tuned, made.lit, folder(made.merged), as_adapter=False)
    export(made.tuned, made.lit, folder(made.adapter), as_adapter=True)
    return made


KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora everywhere": {"rslora": True, "targets": EVERYWHERE},
    "dora": {"dora": True},
    "dora, rslora everywhere": {"dora": True, "rslora": True, "targets": EVERYWHERE},
}


@pytest.fixture(scope="module", params=KINDS)
def wide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_both(tmp_path_factory.mktemp("wide"), torch.float32, **KINDS[request.param])


@pytest.fixture(scope="module", params=[torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def narrow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_both(tmp_path_factory.mktemp("narrow"), request.param)


def transformers_phi(path: Path) -> Any:
    import transformers

    model, problems = transformers.PhiForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not any(problems.values()), problems
    return model


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(TOKENS[None]).logits[0]


@pytest.mark.slow
def test_merged_has_the_logits_that_the_pipeline_evaluates(wide: Exported) -> None:
    ours = load_tuned(wide.lit, wide.tuned, torch.float32)
    with torch.no_grad():
        expected = ours(TOKENS, [len(TOKENS)])
    exported = logits(transformers_phi(wide.merged))
    torch.testing.assert_close(exported, expected, atol=1e-5, rtol=0)
    assert (exported - logits(transformers_phi(wide.hub))).abs().max() > 0.1


@pytest.mark.slow
def test_adapter_has_the_merged_models_logits_in_peft(wide: Exported) -> None:
    from peft import PeftModel

    expected = logits(transformers_phi(wide.merged))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # peft warns of keys that it misses
        model = PeftModel.from_pretrained(transformers_phi(wide.hub), str(wide.adapter))
    torch.testing.assert_close(logits(model), expected, atol=1e-5, rtol=0)
    with model.disable_adapter():
        assert (logits(model) - expected).abs().max() > 0.1


@pytest.mark.slow
def test_adapter_can_be_trained_further(wide: Exported) -> None:
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = PeftModel.from_pretrained(transformers_phi(wide.hub), str(wide.adapter), is_trainable=True)
    stored = load_file(wide.adapter / "adapter_model.safetensors")
    theirs = trained(model)
    assert theirs.keys() == stored.keys() and len(stored) >= 2 * 6 * 2
    for name, parameter in theirs.items():
        assert torch.equal(parameter, stored[name]), name
    assert model.active_peft_config.lora_dropout == 0.1
    model.train()(TOKENS[None], labels=TOKENS[None]).loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in theirs.values())


@pytest.mark.slow
def test_merged_bits_are_those_of_peft(narrow: Exported) -> None:
    """Merged by peft in transformers, in float32, then rounded: by way of the exported adapter."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(transformers_phi(narrow.hub), str(narrow.adapter))
    expected = model.merge_and_unload().state_dict()
    merged = weights(narrow.merged)
    assert merged.keys() == expected.keys()
    for name, tensor in merged.items():
        assert torch.equal(tensor, expected[name].to(tensor.dtype)), name


@pytest.mark.slow
def test_merged_bits_are_those_that_the_pipeline_evaluates(narrow: Exported, tmp_path: Path) -> None:
    """Merged in our own model, where q, k and v are one."""
    convert(narrow.merged, folder(tmp_path / "lit"))
    stored = torch.load(tmp_path / "lit" / "lit_model.pth", weights_only=True)
    dtype = next(iter(stored.values())).dtype
    expected = load_tuned(narrow.lit, narrow.tuned, dtype).state_dict()
    before = Phi.load(narrow.lit, dtype).state_dict()
    assert stored.keys() == expected.keys()
    for name, tensor in stored.items():
        assert torch.equal(tensor, expected[name]), name
        adapted = name.endswith("weight") and (".attn." in name or ".mlp." in name)
        assert torch.equal(tensor, before[name]) != adapted, name
