"""LoRA and DoRA adapters in peft's format, as their files describe them: without torch and without the base.

The tensors in the file decide which modules are changed, and by which rank. Most of peft's settings only
say how an adapter was made. The few that change the result are used, or refused by name.
"""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steadyphi.checkpoint import causes, layouts
from steadyphi.checkpoint.tensors import WEIGHT_BYTES, Stored
from steadyphi.errors import SteadyPhiError
from steadyphi.files import atomic_file, write_json

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")  # peft takes the first that exists
LARGEST = 2**31  # no rank or alpha is larger
_USED = {"peft_type", "r", "lora_alpha", "alpha_pattern", "use_rslora", "use_dora", "init_lora_weights"}
# How the adapter was made: which modules and ranks were chosen, and how they were initialized. peft itself
# ignores fan_in_fan_out where the layer is torch's Linear, as all of Phi's are.
MAKING = {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "rank_pattern"}
MAKING |= {"loftq_config", "eva_config", "corda_config", "lora_ga_config", "fan_in_fan_out", "merge_weights"}
# Other settings that change nothing in a merged model.
_NEUTRAL = {"lora_dropout", "task_type", "base_model_name_or_path", "revision", "inference_mode"}
_NEUTRAL |= {"auto_mapping", "peft_version", "megatron_core", "qalora_group_size", "ensure_weight_tying"}
_NEUTRAL |= {"runtime_config"}
_OFF: tuple[object, ...] = (None, False, "none", [], {})
# Initializations that leave the base weights as they are. The others (PiSSA, OLoRA, LoftQ, …) change them.
_SAFE_INITS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
_TENSOR = re.compile(r"(.+)\.lora_(?:(embedding_)?([AB])(?(2)|\.weight)|magnitude_vector)", re.DOTALL)
_NAMED = re.compile(r".+\.lora_(embedding_)?([AB]|magnitude_vector)\..+", re.DOTALL)
_PLAIN = re.compile(r"\^?[\w.]+")  # a module's name or the end of it, of all the regular expressions
ADVICE = "merge it with merge_and_unload() of peft, save_pretrained() the result, and convert that"


@dataclass(frozen=True)
class Module:
    """The tensors of one adapted module.

    a, b, magnitude: their names in the file. Without DoRA there is no magnitude.
    r: the rank. table: whether it is an embedding, whose A and B are transposed.
    """

    a: str
    b: str
    magnitude: str | None
    r: int
    table: bool


def weights_file(names: Collection[str], where: Path) -> str:
    """Return which of the files in a folder has the tensors. Raises SteadyPhiError if there is none."""
    for name in WEIGHTS:
        if name in names:
            return name
    raise SteadyPhiError(f"{where}: has no weights; looked for {' and '.join(WEIGHTS)}")


def write(folder: Path, values: Mapping[str, Any], tensors: Mapping[str, "Tensor"]) -> None:
    """Write the two files of an adapter. The same settings and tensors give the same bytes."""
    from safetensors.torch import save

    with atomic_file(folder / WEIGHTS[0]) as path:  # save_file of safetensors would set mode 0600
        path.write_bytes(save(dict(tensors), metadata={"format": "pt"}))
    write_json(folder / CONFIG, dict(sorted(values.items())))


def modules(tensors: Mapping[str, Stored]) -> dict[str, Module]:
    """Return the adapted modules by name, without peft's prefix. A half of a pair is left out."""
    before, adapted = prefix(tensors), dict[str, Module]()
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None or match[3] != "A" or len(tensor.shape) != 2:
            continue
        magnitude = f"{match[1]}.lora_magnitude_vector"
        if (b := _counterpart(name)) in tensors:
            length = magnitude if magnitude in tensors else None
            adapted[match[1][len(before) :]] = Module(name, b, length, tensor.shape[0], bool(match[2]))
    return adapted


def prefix(names: Mapping[str, Stored]) -> str:
    """Return the prefix that peft, and other wrappers of the model, left on every name."""
    outer = causes.prefix(names) + causes.PEFT
    if not all(name.startswith(outer) for name in names):
        return causes.prefix(names)
    return outer + causes.prefix([name[len(outer) :] for name in names])


def scale(module: str, r: int, values: Mapping[str, Any]) -> tuple[float, float]:
    """Return alpha of a module of rank r, and the factor of B A. `values` must have passed `problems`."""
    alpha = values["lora_alpha"]
    for key, value in (values.get("alpha_pattern") or {}).items():
        whole = key.removeprefix("^")
        if module == whole or (whole == key and module.endswith(f".{key}")):
            alpha = value  # the first that matches, as in peft's get_pattern_key
            break
    return alpha, alpha / (math.sqrt(r) if values.get("use_rslora") else r)


def listed_targets(values: Mapping[str, Any]) -> set[str] | None:
    """Return the names of the target modules, or None if the settings have a regular expression for them."""
    targets = values.get("target_modules")
    return {name for name in targets if isinstance(name, str)} if isinstance(targets, list) else None


def problems(
    path: Path,
    values: Mapping[str, Any] | None,
    tensors: Mapping[str, Stored] | None,
    rows: int | None = None,
) -> Iterator[str]:
    """Yield a message for each reason why an adapter cannot be merged or exported, the main reason first.

    path: the file of the tensors. values, tensors: the settings and the tensors, None if they were not read.
    rows: the number of rows of the base's embedding, if it is known.
    """
    refused = [] if values is None else list(_settings(path.parent / CONFIG, values))
    yield from refused
    if refused or tensors is None:  # tensors of another kind of adapter would only repeat the reason
        return
    if cause := causes.placeholders(path, tensors):
        yield cause
        return
    problems = [*_others(tensors, rows), *_pairs(tensors), *_contradictions(values or {}, tensors)]
    yield from (f"{path}: {message}" for message in _by_kind(problems))
    if not problems and not modules(tensors):
        yield f"{path}: has no LoRA tensors (lora_A, lora_B)"


def _by_kind(problems: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the first message of each kind, and how many more there are."""
    messages: dict[str, list[str]] = {}
    for kind, message in problems:
        messages.setdefault(kind, []).append(message)
    for first, *more in messages.values():
        yield first + (f" ({len(more)} more like it)" if more else "")


def _settings(path: Path, values: Mapping[str, Any]) -> Iterator[str]:
    if not values:
        yield f"{path}: has no settings; an adapter's has at least peft_type, r and lora_alpha"
        return

    def shown(key: str) -> str:
        return f"{path}: {key}: {repr(values.get(key))[:60]}"

    if values.get("peft_type") != "LORA":
        yield f"{shown('peft_type')} is not LORA, which alone can be merged or exported; {ADVICE}"
        return
    if not _number(values.get("r")) or type(values["r"]) is not int or values["r"] < 1:
        yield f"{shown('r')} is not a rank, a whole number from 1"
    if not _number(values.get("lora_alpha")):
        yield f"{shown('lora_alpha')} is not a number"
    init = values.get("init_lora_weights")
    if (init.lower() if isinstance(init, str) else init) not in _SAFE_INITS:
        yield f"{shown('init_lora_weights')} may have changed the base weights too; {ADVICE}"
    patterns = values.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or not all(map(_number, patterns.values())):
        yield f"{shown('alpha_pattern')} does not map modules to numbers"
    elif not all(map(_PLAIN.fullmatch, patterns)):
        yield f"{shown('alpha_pattern')} has a regular expression; name the modules in full, or {ADVICE}"
    for key in sorted(values.keys() - _USED - MAKING - _NEUTRAL):
        if values[key] not in _OFF:
            yield f"{shown(key)} changes the result and cannot be merged or exported; {ADVICE}"


def _number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < LARGEST  # type: ignore[arg-type]


def _others(tensors: Mapping[str, Stored], rows: int | None) -> Iterator[tuple[str, str]]:
    """Yield the kind of each tensor that is not of LoRA or DoRA, and a message about it."""
    for name, tensor in sorted(tensors.items(), key=lambda item: (-len(item[1].shape), item[0])):
        if tensor.dtype not in WEIGHT_BYTES:
            yield "dtype", f"{name} has the dtype {tensor.dtype}; adapters are {', '.join(WEIGHT_BYTES)}"
        elif _TENSOR.fullmatch(name):
            continue
        elif name.endswith(".lora_B.bias"):
            yield "lora_bias", f"{name} is a bias of LoRA itself (lora_bias); {ADVICE}"
        elif _NAMED.fullmatch(name):
            yield "name", f"{name} has the adapter's name in it; write the file with peft's save_pretrained()"
        elif name.endswith(".bias") and f"{name.removesuffix('bias')}weight" not in tensors:
            yield "bias", f"{name} is a bias, not of LoRA (bias or modules_to_save); {ADVICE}"
        else:
            count = tensor.shape[0] if tensor.shape else 1
            other = rows is not None and count != rows
            size = f"{count:,} rows" + (f", where the base's embedding has {rows:,}" if other else "")
            first = f"call resize_token_embeddings({count}) of the base, " if other else ""
            made = "modules_to_save or save_embedding_layers"
            yield "layer", f"{name} is a whole layer of {size}, not of LoRA ({made}); {first}{ADVICE}"


def _pairs(tensors: Mapping[str, Stored]) -> Iterator[tuple[str, str]]:
    """Yield the tensors of LoRA and DoRA that do not belong to one pair of matrices, with a message."""
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            continue
        pairs = [end for end in ("A.weight", "embedding_A") if f"{match[1]}.lora_{end}" in tensors]
        if match[3] and _counterpart(name) not in tensors:
            yield "pair", f"{name} has no counterpart {_counterpart(name)}"
        elif match[3] and len(tensor.shape) != 2:
            yield "matrix", f"{name} has shape {tensor.shape}, but it should be a matrix"
        elif len(pairs) != 1:
            yield "module", f"{name}: its module has {len(pairs)} pairs of A and B"


def _contradictions(values: Mapping[str, Any], tensors: Mapping[str, Stored]) -> Iterator[tuple[str, str]]:
    """Yield the modules whose tensors contradict each other or the settings, with a message."""
    dora, targets = bool(values.get("use_dora")), listed_targets(values)
    for name, module in modules(tensors).items():
        a, b = tensors[module.a].shape, tensors[module.b].shape
        if len(b) != 2 or b[1] != module.r:
            yield "B", f"{module.b} has shape {b}, but {module.a} has {a}"
            continue
        if values and not values.get("rank_pattern") and module.r != values.get("r"):
            yield "r", f"{module.a} has shape {a}, but {CONFIG} says that r is {values.get('r')}"
        lengths = f"{module.a.rpartition('.lora_')[0]}.lora_magnitude_vector"
        if values and (module.magnitude is not None) != dora:
            has = "is missing" if dora else "exists"
            yield "dora", f"{lengths} {has}, but {CONFIG} says that use_dora is {dora}"
        elif module.magnitude and tensors[lengths].shape != b[:1]:
            yield "lengths", f"{lengths} has shape {tensors[lengths].shape}, but {module.b} has {b}"
        if targets is not None and not layouts.is_target(name, targets):
            yield "target", f"{module.a}: target_modules of {CONFIG} does not name its module; add it there"


def _counterpart(name: str) -> str:
    """Return the name of B for the name of A, and of A for B."""
    head, lora, tail = name.rpartition(".lora_")
    which = tail.removeprefix("embedding_")[0]
    return f"{head}{lora}{tail.replace(which, 'BA'['AB'.index(which)], 1)}"
