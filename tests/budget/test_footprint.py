"""The parameters of adapters, beside what peft and our own layers have."""

import warnings

import pytest

from steadyphi.budget import footprint
from steadyphi.model import Phi
from steadyphi.settings.groups import Lora
from steadyphi.training.lora import adapt
from tests.inspection.test_sizes import TARGETS, shape


@pytest.mark.slow
@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize(
    ("r", "targets"),
    [(8, TARGETS), (5, ["attn.proj"]), (16, ["mlp.proj", "attn.qkv"]), (4, ["wte", "lm_head", "mlp.fc"])],
)
def test_adapter_parameters_are_pefts_and_ours(r: int, targets: list[str], dora: bool) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    config, counts = shape(), []
    for adapted in ("ours", "theirs"):
        model = Phi(config)
        if adapted == "ours":
            adapt(model, Lora("lora", r, r, 0.0, tuple(targets), dora=dora))  # type: ignore[arg-type]
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                inject_adapter_in_model(LoraConfig(r=r, target_modules=targets, use_dora=dora), model)
        counts.append(sum(p.numel() for p in model.parameters() if p.requires_grad))
    assert counts == [footprint.adapter_parameters(config, r, targets, dora)] * 2
