"""Exports a fine-tuned model for other tools, as a full Hub model or an adapter for peft and transformers.

The adapter uses the current module names on the Hub, with separate q, k and v. See `adapter`.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steadyphi.checkpoint import (
    adapter,
    adapter_base,
    adapter_format,
    causes,
    chat_files,
    configs,
    layouts,
    manifest,
)
from steadyphi.checkpoint.adapter import Update
from steadyphi.checkpoint.chat_files import Chat
from steadyphi.checkpoint.convert import convert, unchanged_files
from steadyphi.checkpoint.copying import Edit, Run
from steadyphi.checkpoint.indexes import LIT_WEIGHTS
from steadyphi.checkpoint.source import Checkpoint, open_folder
from steadyphi.errors import SteadyPhiError
from steadyphi.files import sha256
from steadyphi.model_config import PhiConfig


def export(
    tuned: Path, base: Path, target: Path, as_adapter: bool, chat: Chat | None = None
) -> dict[str, Any]:
    """Export the output of the stage `finetune` in `tuned` to the empty folder `target`.

    base: the checkpoint, in any layout, on which the adapter in `tuned` was trained.
    as_adapter: True writes an adapter for peft on PhiForCausalLM of transformers. False writes a full Hub
        folder with the adapter merged, in the dtype of the base.
    chat: the prompt format to record in `target`, together with the tokenizer. None records none.
    returns: the manifest, which is also written to `target`.
    Raises SteadyPhiError when the adapter in `tuned` does not fit the base, and when `as_adapter` is true
    but `tuned` has no adapter.
    """
    if adapter.is_adapter(tuned):
        opened = open_folder(base)
        updates = adapter.read_updates(tuned, opened)
        if as_adapter:
            return _write_adapter(tuned, updates, opened, target, chat)
        content = _write_merged(tuned, updates, base, target)
        chat_files.write(target, chat, base)
        return content
    if not (tuned / LIT_WEIGHTS).exists():
        raise SteadyPhiError(
            f"{tuned}: has neither {adapter_format.CONFIG} nor {LIT_WEIGHTS}; run dvc repro finetune"
        )
    if as_adapter:
        raise SteadyPhiError(f"{tuned}: has a full model, in which every weight was trained, but no adapter")
    content = convert(tuned, target, layout=layouts.HUB)
    chat_files.write(target, chat, tuned)
    return content


def _write_merged(tuned: Path, updates: Mapping[str, Update], base: Path, target: Path) -> dict[str, Any]:
    edit = Edit(updates, lambda run, data: _merge(updates[run.part], run, data))
    content = convert(base, target, layout=layouts.HUB, edit=edit)
    scales = {update.scale for update in updates.values()}
    scale = scales.pop() if len(scales) == 1 else None
    content["adapter"] = {"sha256": sha256(adapter.weights_path(tuned)), "scale": scale}
    manifest.write(target, content)
    return content


def _merge(update: Update, run: Run, data: memoryview) -> memoryview:
    """Merge whole rows of a weight in place. Computes in float32, then rounds to nearest even."""
    weight = torch.frombuffer(data, dtype=getattr(torch, run.dtype)).view(-1, update.a.shape[1])
    for at, new in update.merged(weight, run.first // weight[0].nbytes):
        weight[at] = new
        if not torch.stack(torch.aminmax(weight[at])).isfinite().all():
            raise SteadyPhiError(
                f"{run.path}: {run.part}, merged with the adapter, has NaN or numbers beyond {run.dtype}"
            )
    return data


def _write_adapter(
    tuned: Path, updates: Mapping[str, Update], base: Checkpoint, target: Path, chat: Chat | None
) -> dict[str, Any]:
    origin = manifest.origin(base.folder, str(base.folder))
    tensors: dict[str, Tensor] = {}
    for part, update in updates.items():
        tensors |= update.tensors(causes.PEFT + part.removesuffix(".weight"))
    values = {
        **_settings(configs.values(tuned / adapter_format.CONFIG), updates),
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": origin["source"],
        "revision": origin["revision"],
        "target_modules": _targets(updates, base.config),
    }
    adapter_format.write(target, values, tensors)
    if chat:
        for path in unchanged_files(base.folder):
            shutil.copyfile(path, target / path.name)
        chat_files.write(target, chat, base.folder)
    facts: dict[str, Any] = {
        "layout": "peft",
        "tensors": len(tensors),
        "adapter": {"sha256": sha256(adapter.weights_path(tuned))},
        adapter_base.KEY: adapter_base.digest(base),
    }
    content = manifest.make(target, **origin, **facts)
    manifest.write(target, content)
    return content


def _settings(values: Mapping[str, Any], updates: Mapping[str, Update]) -> dict[str, Any]:
    """Return the settings of an adapter, with those that name modules written for the modules' new names."""
    of_module = {part.removesuffix(".weight"): update for part, update in updates.items()}
    changes = {
        "init_lora_weights": True,
        "rank_pattern": {name: len(u.a) for name, u in of_module.items() if len(u.a) != values["r"]},
        "alpha_pattern": {name: u.alpha for name, u in of_module.items() if u.alpha != values["lora_alpha"]},
    }
    return {key: value for key, value in values.items() if key not in adapter_format.MAKING} | changes


def _targets(updates: Mapping[str, Update], config: PhiConfig) -> list[str]:
    """Return peft's `target_modules` for exactly these parts, as short names if those are unambiguous."""
    modules = {part.removesuffix(".weight") for part in updates}
    short = {module.rpartition(".")[2] for module in modules}
    every = {part.rpartition(".")[0] for part in layouts.part_shapes(config)}
    return sorted(short if {m for m in every if layouts.is_target(m, short)} == modules else modules)
