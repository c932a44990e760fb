"""What of a Phi is trained: all of it, or low-rank adapters that the peft library adds; and its files."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from steadyphi.config import Finetune, Lora
from steadyphi.errors import SteadyPhiError
from steadyphi.model import WEIGHTS, Phi

ADAPTER = "adapter_config.json"


def load_for_training(folder: Path, settings: Finetune, dtype: torch.dtype, device: torch.device) -> Phi:
    """Load a checkpoint with the parameters that train set to require gradients.

    Full: every weight, kept in float32 and rounded to `dtype` only within a step, for small
    updates vanish in bfloat16. LoRA: the base stays frozen in `dtype`, the adapters are float32.
    """
    if not isinstance(settings.method, Lora):
        return Phi.load(folder, torch.float32, device).requires_grad_(True)
    from peft import LoraConfig, inject_adapter_in_model

    model = Phi.load(folder, dtype, device).requires_grad_(False)
    method = settings.method
    lora = LoraConfig(
        r=method.r,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        target_modules=list(method.targets),
    )
    with _quiet():
        inject_adapter_in_model(lora, model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def save(model: Phi, base: Path, folder: Path, settings: Finetune) -> None:
    """Write what was trained into the empty `folder`: an adapter in peft's format, or a whole checkpoint.

    The whole checkpoint keeps the dtype of `base`, and its configuration and tokenizer files.
    """
    if isinstance(settings.method, Lora):
        _save_adapter(model, folder)
        return
    stored = torch.load(base / WEIGHTS, mmap=True, weights_only=True)
    state = {name: tensor.cpu().to(stored[name].dtype) for name, tensor in model.state_dict().items()}
    torch.save(state, folder / WEIGHTS)
    for path in sorted(base.iterdir()):
        if path.name not in (WEIGHTS, "manifest.json"):  # the manifest speaks of the base's weights
            shutil.copyfile(path, folder / path.name)


def load_for_inference(base: Path, tuned: Path | None, dtype: torch.dtype, device: torch.device) -> Phi:
    """Load a checkpoint to run it; `tuned` is what `save` wrote, None for the base alone.

    An adapter is merged into the weights in float32, before they are rounded to `dtype`.
    """
    if tuned is None:
        return Phi.load(base, dtype, device)
    if not (tuned / ADAPTER).exists():
        return Phi.load(tuned, dtype, device)
    model = Phi.load(base, torch.float32, "cpu")
    _merge(model, tuned)
    return model.to(device=device, dtype=dtype).eval()


def _save_adapter(model: Any, folder: Path) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in state.items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = next(iter(model.peft_config.values()))
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules)  # a set, whose order changes from run to run
    config.save_pretrained(str(folder))


def _merge(model: Any, folder: Path) -> None:
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
    from peft.tuners.tuners_utils import BaseTunerLayer
    from safetensors.torch import load_file

    with _quiet():
        inject_adapter_in_model(LoraConfig.from_pretrained(str(folder)), model)
    problems = set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
    missing = [name for name in problems.missing_keys if "lora_" in name]
    if missing or problems.unexpected_keys:
        names = ", ".join((missing + problems.unexpected_keys)[:3])
        raise SteadyPhiError(
            f"{folder}: the adapter does not fit the model ({names}); run dvc repro finetune"
        )
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                child.merge()
                setattr(parent, name, child.get_base_layer())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep peft from warning that a plain module has no transformers config."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
