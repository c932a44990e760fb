"""What of a Phi is trained: all of it, or low-rank adapters on a frozen base; and its files."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from steadyphi.checkpoint import adapter
from steadyphi.model import WEIGHTS, Phi
from steadyphi.settings.schema import Finetune, Lora
from steadyphi.training.lora import adapt
from steadyphi.training.quantized import check_method, quantize


def load_for_training(folder: Path, settings: Finetune, dtype: torch.dtype, device: torch.device) -> Phi:
    """Load a checkpoint with the parameters that train set to require gradients.

    Full: every weight, kept in float32 and rounded to `dtype` only within a step, for small
    updates vanish in bfloat16. LoRA: the base stays frozen in `dtype`, the adapters are float32.
    QLoRA: of the base, the layers' matrices are in four bits, and computed with in `dtype`.
    Raises SteadyPhiError where the machine cannot do it.
    """
    method = settings.method
    if not isinstance(method, Lora):
        return Phi.load(folder, torch.float32, device).requires_grad_(True)
    check_method(method)
    four_bits = method.name == "qlora"
    model = Phi.load(folder, dtype, "cpu" if four_bits else device)
    if four_bits:  # by way of the CPU, so that the device never holds the whole base
        quantize(model, dtype, device)
    adapt(model, method)
    return model


def save(state: Mapping[str, Tensor], base: Path, folder: Path, settings: Finetune) -> None:
    """Write what was trained into the empty `folder`: an adapter in peft's format, or a whole checkpoint.

    state: the model's tensors by name; of an adapted model all but the adapters' may be left out. The
    whole checkpoint keeps the dtype of `base`, and its configuration and tokenizer files.
    """
    if isinstance(settings.method, Lora):
        tensors = {name: tensor.detach().cpu() for name, tensor in state.items() if ".lora_" in name}
        adapter.write(folder, _peft_settings(settings.method), tensors)
        return
    stored = torch.load(base / WEIGHTS, mmap=True, weights_only=True)
    rounded = {name: tensor.cpu().to(stored[name].dtype) for name, tensor in state.items()}
    torch.save(rounded, folder / WEIGHTS)
    for path in sorted(base.iterdir()):
        if path.name not in (WEIGHTS, "manifest.json"):  # the manifest speaks of the base's weights
            shutil.copyfile(path, folder / path.name)


def _peft_settings(method: Lora) -> dict[str, object]:
    """Return what peft must know; a setting that is not there has peft's default."""
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": method.r,
        "lora_alpha": method.alpha,
        "lora_dropout": method.dropout,
        "target_modules": sorted(method.targets),
        "use_rslora": method.rslora,
        "use_dora": method.dora,
        "bias": "none",
        "init_lora_weights": True,
    }
