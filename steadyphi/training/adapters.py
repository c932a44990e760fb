"""Load a Phi for full or adapter training, and save the trained weights."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from steadyphi.checkpoint import adapter_format
from steadyphi.model import WEIGHTS, Phi
from steadyphi.settings.schema import Finetune, Lora
from steadyphi.training.lora import adapt
from steadyphi.training.quantized import check_method, quantize


def load_for_training(folder: Path, settings: Finetune, dtype: torch.dtype, device: torch.device) -> Phi:
    """Load a checkpoint and set the trained parameters to require gradients.

    Full: every weight is trained. Weights are kept in float32 and rounded to `dtype` only within a step,
    because small updates vanish in bfloat16. LoRA: the base stays frozen in `dtype`, and the adapters are
    float32. QLoRA: as LoRA, but the matrices of the base's layers are stored in four bits, and their
    products are computed in `dtype`.
    Raises SteadyPhiError if the machine does not support the method.
    """
    method = settings.method
    if not isinstance(method, Lora):
        return Phi.load(folder, torch.float32, device).requires_grad_(True)
    check_method(method)
    four_bits = method.name == "qlora"
    model = Phi.load(folder, dtype, "cpu" if four_bits else device)
    if four_bits:  # loaded on the CPU, so that the device never holds the whole unquantized base
        quantize(model, dtype, device)
    adapt(model, method)
    return model


def save(state: Mapping[str, Tensor], base: Path, folder: Path, settings: Finetune) -> None:
    """Write an adapter in peft's format or a full checkpoint into the empty `folder`.

    `state` holds the model's tensors by name; for an adapted model only the adapter tensors are needed.
    A full checkpoint keeps the dtype of `base` and copies its configuration and tokenizer files. Its weights
    are averaged with those of the base if the method has a `base_share`.
    """
    if isinstance(settings.method, Lora):
        tensors = {name: tensor.detach().cpu() for name, tensor in state.items() if ".lora_" in name}
        adapter_format.write(folder, _peft_settings(settings.method), tensors)
        return
    stored = torch.load(base / WEIGHTS, mmap=True, weights_only=True)
    share = settings.method.base_share
    rounded = {
        name: torch.lerp(tensor.cpu().float(), stored[name].float(), share).to(stored[name].dtype)
        for name, tensor in state.items()
    }
    torch.save(rounded, folder / WEIGHTS)
    for path in sorted(base.iterdir()):
        if path.is_file() and path.name not in (WEIGHTS, "manifest.json"):  # it describes the base's weights
            shutil.copyfile(path, folder / path.name)


def _peft_settings(method: Lora) -> dict[str, object]:
    """Return the contents of peft's adapter_config.json; settings left out have peft's defaults."""
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
