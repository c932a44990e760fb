"""What was fine-tuned, for other tools: a whole model as on the Hub, or an adapter for transformers and peft.

An adapter has two small matrices beside a Linear's weight W, which together add scale · B A to it
(Hu et al. 2021, arXiv 2106.09685). Where q, k and v are one Linear they share A, and each has its own
rows of B: so the adapter of the three together is also one of each, with no rounding.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steadyphi.checkpoint import configs, layouts, manifest, safetensors_file
from steadyphi.checkpoint.convert import convert
from steadyphi.checkpoint.copying import Edit, Run
from steadyphi.checkpoint.indexes import LIT_WEIGHTS
from steadyphi.checkpoint.source import Checkpoint, open_folder
from steadyphi.errors import SteadyPhiError
from steadyphi.files import atomic_file, sha256, write_json
from steadyphi.model_config import PhiConfig

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BLOCK = 1 << 18  # numbers merged at a time; in float32 they still fit the processor's cache
PREFIX = "base_model.model."  # peft's, before a module's name in the model that it wraps
# Settings of peft that are understood here, or that say nothing about the numbers. Any other that is set
# (ranks of their own, DoRA, biases, …) changes what the tensors mean.
_KNOWN = {"peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "target_modules", "init_lora_weights"}
_KNOWN |= {"task_type", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping"}
_KNOWN |= {"peft_version", "megatron_core", "qalora_group_size"}


@dataclass(frozen=True, eq=False)
class Lora:
    """The update scale · b a of a part's weight: a is (r, columns), b (rows, r), both of the stored type."""

    a: Tensor
    b: Tensor
    scale: float

    def merge(self, run: Run, data: memoryview) -> memoryview:
        """Add to whole rows of the weight what is theirs; in float32, then rounded to nearest even."""
        weight = torch.frombuffer(data, dtype=getattr(torch, run.dtype)).view(-1, self.a.shape[1])
        start = run.first // weight[0].nbytes
        step = max(1, BLOCK // weight.shape[1])
        for rows, b in zip(weight.split(step), self.b[start : start + len(weight)].split(step), strict=True):
            update = b.float() @ self.a.float()
            rows.copy_(update.mul_(self.scale).add_(rows))  # in peft's order, to round as it does
            if not torch.stack(torch.aminmax(rows)).isfinite().all():
                raise SteadyPhiError(
                    f"{run.path}: {run.part}, merged with the adapter, has NaN or numbers beyond {run.dtype}"
                )
        return data


def export(tuned: Path, base: Path, target: Path, as_adapter: bool) -> dict[str, Any]:
    """Write what the stage `finetune` left in `tuned` into the empty folder `target`.

    base: the checkpoint, of any layout, that an adapter in `tuned` was trained on.
    as_adapter: write an adapter for peft on transformers' PhiForCausalLM, else a whole Hub folder with
    the adapter merged, of the base's type.
    returns: the manifest written into `target`.
    Raises SteadyPhiError when `tuned` is no adapter of the base, or, asked for an adapter, has none.
    """
    if (tuned / CONFIG).exists():
        opened = open_folder(base)
        values = read_settings(tuned / CONFIG)
        updates = read_updates(tuned, values, opened.config)
        if as_adapter:
            return _write_adapter(tuned, values, updates, opened, target)
        return _write_merged(tuned, updates, base, target)
    if not (tuned / LIT_WEIGHTS).exists():
        raise SteadyPhiError(f"{tuned}: has neither {CONFIG} nor {LIT_WEIGHTS}; run dvc repro finetune")
    if as_adapter:
        raise SteadyPhiError(f"{tuned}: has a whole model, in which every weight was trained, and no adapter")
    return convert(tuned, target, layout=layouts.HUB)


def _write_merged(tuned: Path, updates: Mapping[str, Lora], base: Path, target: Path) -> dict[str, Any]:
    edit = Edit(updates, lambda run, data: updates[run.part].merge(run, data))
    made = convert(base, target, layout=layouts.HUB, edit=edit)
    scale = next(iter(updates.values())).scale
    made["adapter"] = {"sha256": sha256(tuned / WEIGHTS), "scale": scale}
    manifest.write(target, made)
    return made


def _write_adapter(
    tuned: Path, values: Mapping[str, Any], updates: Mapping[str, Lora], base: Checkpoint, target: Path
) -> dict[str, Any]:
    from safetensors.torch import save

    fetched = manifest.read(base.folder)
    origin = {"source": fetched.get("source", str(base.folder)), "revision": fetched.get("revision")}
    tensors = {}
    for part, lora in updates.items():
        module = PREFIX + part.removesuffix(".weight")
        # Copies, for q, k and v share A, and a file has no shared tensors.
        tensors[f"{module}.lora_A.weight"] = lora.a.clone()
        tensors[f"{module}.lora_B.weight"] = lora.b.clone()
    with atomic_file(target / WEIGHTS) as path:  # safetensors' own save_file makes it 0600
        path.write_bytes(save(tensors, metadata={"format": "pt"}))
    changes = {
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": origin["source"],
        "revision": origin["revision"],
        "target_modules": _targets(updates, base.config),
    }
    write_json(target / CONFIG, dict(sorted({**values, **changes}.items())))
    adapter = {"sha256": sha256(tuned / WEIGHTS)}
    made = manifest.make(target, **origin, layout="peft", tensors=len(tensors), adapter=adapter)
    manifest.write(target, made)
    return made


def _targets(updates: Mapping[str, Lora], config: PhiConfig) -> list[str]:
    """Return what peft's `target_modules` must say for these parts alone: short names where those do."""
    modules = {part.removesuffix(".weight") for part in updates}
    short = {module.rpartition(".")[2] for module in modules}
    every = {part.rpartition(".")[0] for part in layouts.part_shapes(config)}
    return sorted(short if {m for m in every if _is_target(m, short)} == modules else modules)


def _is_target(module: str, targets: set[str]) -> bool:
    """Whether peft adapts a module: its name is a target, or ends with one."""
    return any(f".{module}".endswith(f".{target}") for target in targets)


def read_settings(path: Path) -> dict[str, Any]:
    """Read peft's settings; SteadyPhiError for those that are not understood here."""
    values = configs.values(path)

    def check(key: str, good: bool) -> None:
        if not good:
            raise SteadyPhiError(f"{path}: {key}: {values.get(key)!r} cannot be exported")

    check("peft_type", values.get("peft_type") == "LORA")
    check("r", type(values.get("r")) is int and values["r"] > 0)
    alpha = values.get("lora_alpha")
    check("lora_alpha", isinstance(alpha, int | float) and math.isfinite(alpha))
    targets = values.get("target_modules")
    check("target_modules", isinstance(targets, list) and all(isinstance(t, str) for t in targets))
    # Many a name that may stand there (PiSSA, OLoRA, LoftQ, …) says that the base's weights changed too.
    check("init_lora_weights", values.get("init_lora_weights") in (True, False, None))
    for key in values.keys() - _KNOWN:
        check(key, values[key] in (None, False, "none", [], {}))
    return values


def read_updates(tuned: Path, values: Mapping[str, Any], config: PhiConfig) -> dict[str, Lora]:
    """Return the update of each part, by its name on the Hub, once the adapter fits the model."""
    tensors = read_tensors(tuned / WEIGHTS)
    r, alpha = values["r"], values["lora_alpha"]
    scale = alpha / (math.sqrt(r) if values.get("use_rslora") else r)
    targets = set(values["target_modules"])
    updates: dict[str, Lora] = {}
    used: set[str] = set()
    for name, tensor in layouts.tensors(layouts.LIT, config).items():
        module, _, kind = name.rpartition(".")
        if kind == "bias" or len(tensor.shape) == 1 or not _is_target(module, targets):
            continue
        rows, columns = tensor.shape
        wanted = {f"{module}.lora_A.weight": (r, columns), f"{module}.lora_B.weight": (rows, r)}
        check_shapes(tuned / WEIGHTS, tensors, wanted)
        used |= wanted.keys()
        a, b = (tensors[key] for key in wanted)
        for piece, own in zip(tensor.pieces, b.split([p.stop - p.start for p in tensor.pieces]), strict=True):
            updates[piece.part] = Lora(a, own, scale)
    for key in tensors.keys() - used:
        raise SteadyPhiError(f"{tuned / WEIGHTS}: {key} belongs to no target of {CONFIG} in this model")
    if not updates:
        raise SteadyPhiError(f"{tuned / CONFIG}: target_modules: {sorted(targets)} are not in this model")
    return updates


def check_shapes(path: Path, tensors: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, int]]) -> None:
    """Raise SteadyPhiError unless these tensors of the file are there, of these shapes, and finite."""
    for key, shape in wanted.items():
        if key not in tensors:
            raise SteadyPhiError(f"{path}: {key} is missing; was it trained on this model?")
        if tensors[key].shape != shape:
            found = tuple(tensors[key].shape)
            raise SteadyPhiError(f"{path}: {key} has shape {found}, this model and rank need {shape}")
        if not tensors[key].isfinite().all():
            raise SteadyPhiError(f"{path}: {key} has NaN or infinite numbers")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read an adapter's tensors; SteadyPhiError when the file is absent or not whole."""
    from safetensors.torch import load_file

    try:
        with path.open("rb") as file:
            safetensors_file.read_header(file, path.stat().st_size, path)
        return dict(load_file(path))
    except OSError as error:
        raise SteadyPhiError(f"{path}: {error.strerror}; run dvc repro finetune") from None
