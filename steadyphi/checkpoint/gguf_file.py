"""Writes a checkpoint as one GGUF file for llama.cpp, Ollama and LM Studio, through the package `gguf`.

The tensor names and the metadata are those that llama.cpp reads for its architecture `phi2`, which Phi-1.5
has too. Matrices get the chosen type, but embedding and output head at least eight bits; biases and norms are
float32, as llama.cpp requires.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadyphi.checkpoint import layouts
from steadyphi.checkpoint.chat_files import Chat
from steadyphi.checkpoint.convert import source_runs
from steadyphi.checkpoint.copying import Run
from steadyphi.checkpoint.source import Checkpoint, open_folder
from steadyphi.checkpoint.tensors import elements
from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object
from steadyphi.model_config import PhiConfig
from steadyphi.progress import Progress
from steadyphi.tokenizer import TextTokenizer

TYPES = ("f16", "bf16", "q8_0", "q4_0")
ARCHITECTURE = "phi2"
BLOCK = 1 << 22  # numbers that are converted at a time
_STORED = {"float16": np.float16, "float32": np.float32, "bfloat16": np.uint16}
_SAME = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
# The names that llama.cpp has for the ways to split a text before byte-level BPE.
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}
_SPLITS = {"phi-2": [_BYTES], "refact": [_DIGITS, _BYTES]}  # Phi's own, and phi-tiny's


def load_package() -> Any:
    """Return the package `gguf`. Raises SteadyPhiError with the remedy if it is not installed."""
    try:
        import gguf
    except ImportError:
        raise SteadyPhiError("--gguf: needs the package gguf; pip install gguf") from None
    return gguf


def write(source: Path, path: Path, kind: str, name: str, chat: Chat | None = None) -> None:
    """Write the checkpoint in the folder `source`, of any layout, to the new file `path`.

    kind: one of `TYPES`. name: of the model. chat: its chat template.
    Tensors are read, converted and written one after the other, so the peak memory is that of one tensor.
    Raises SteadyPhiError for a tokenizer that llama.cpp does not have, and for numbers that the type cannot
    hold.
    """
    gguf = load_package()
    opened = open_folder(source)
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    _add_settings(writer, opened.config, name, gguf.LlamaFileType[f"MOSTLY_{kind.upper()}"])
    _add_tokenizer(writer, source, opened.config.padded_vocab_size)
    if kind.startswith("q"):
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if chat:
        writer.add_chat_template(chat.template)
    _write_tensors(writer, opened, kind)
    writer.close()


def _add_settings(writer: Any, config: PhiConfig, name: str, file_type: int) -> None:
    writer.add_name(name)
    writer.add_context_length(config.block_size)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.n_layer)
    writer.add_head_count(config.n_head)
    writer.add_head_count_kv(config.n_head)
    writer.add_layer_norm_eps(config.norm_eps)
    writer.add_rope_dimension_count(config.rope_n_elem)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_vocab_size(config.padded_vocab_size)
    writer.add_file_type(file_type)


def _add_tokenizer(writer: Any, folder: Path, rows: int) -> None:
    """Add the byte-level BPE tokenizer of a folder. Rows of the embedding without a token get a name."""
    types = load_package().TokenType
    values, tokenizer = read_object(folder / "tokenizer.json", "a tokenizer"), TextTokenizer(folder)
    names = {number: text for text, number in values["model"]["vocab"].items()}
    kinds = dict.fromkeys(names, types.NORMAL)
    for token in values["added_tokens"]:
        names[token["id"]] = token["content"]
        kinds[token["id"]] = types.CONTROL if token["special"] else types.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_split(values, folder))
    writer.add_token_list([names.get(number, f"[PAD{number}]") for number in range(rows)])
    writer.add_token_types([kinds.get(number, types.UNUSED) for number in range(rows)])
    merges = values["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.eos_id)
    writer.add_eos_token_id(tokenizer.eos_id)
    for other in tokenizer.eos_ids[1:2]:
        writer.add_eot_token_id(other)
    writer.add_add_bos_token(False)


def _split(values: dict[str, Any], folder: Path) -> str:
    """Return llama.cpp's name for the way in which a tokenizer splits a text before it merges bytes."""
    before = values.get("pre_tokenizer") or {}
    steps = before.get("pretokenizers", []) if before.get("type") == "Sequence" else [before]
    kept = [{key: value for key, value in step.items() if key != "trim_offsets"} for step in steps]
    for name, known in _SPLITS.items():
        if kept == known and not values.get("normalizer") and values["model"].get("type") == "BPE":
            return name
    raise SteadyPhiError(
        f"{folder / 'tokenizer.json'}: splits texts in a way for which llama.cpp has no name; export without "
        "--gguf"
    )


def _write_tensors(writer: Any, opened: Checkpoint, kind: str) -> None:
    gguf = load_package()
    renamed = gguf.get_tensor_name_map(gguf.MODEL_ARCH.PHI2, opened.config.n_layer)
    shapes, parts = layouts.part_shapes(opened.config), source_runs(opened)
    types = {part: _type(part, shape, kind) for part, shape in shapes.items()}
    for part, shape in shapes.items():
        if shape[-1] % gguf.GGML_QUANT_SIZES[types[part]][0]:
            raise SteadyPhiError(f"{opened.folder}: {part} has rows of {shape[-1]}, which {kind} cannot hold")
        size = math.prod(gguf.quant_shape_to_byte_shape(shape, types[part]))
        name = renamed.get_name(part, try_suffixes=(".weight", ".bias"))
        writer.add_tensor_info(name, shape, np.dtype(np.float32), size, raw_dtype=types[part])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    progress = Progress("gguf", sum(map(elements, shapes.values())), "numbers")
    for part, shape in shapes.items():
        writer.write_tensor_data(_converted(parts[part], shape, types[part]))
        progress.add(elements(shape))
    progress.close()


def _type(part: str, shape: tuple[int, ...], kind: str) -> Any:
    if len(shape) == 1:
        name = "f32"
    else:
        name = "q8_0" if kind == "q4_0" and not part.startswith("model.layers.") else kind
    return load_package().GGMLQuantizationType[name.upper()]


def _converted(runs: Sequence[Run], shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
    """Return the bytes of a tensor in a type of GGUF. The bytes of the same type are only mapped."""
    gguf = load_package()
    if len(runs) == 1 and _SAME[runs[0].dtype] == kind.name:
        return _mapped(runs[0])
    columns = shape[-1]
    row = gguf.quant_shape_to_byte_shape((columns,), kind)[0]
    made = np.empty((elements(shape) // columns, row), np.uint8)
    at = 0
    for block in _blocks(runs, columns):
        with np.errstate(over="ignore"):
            new = gguf.quants.quantize(block, kind)
        if new.dtype == np.float16 and not np.isfinite(new).all():
            raise SteadyPhiError(f"{runs[0].path}: {runs[0].part} has NaN or numbers beyond float16")
        made[at : at + len(block)] = np.ascontiguousarray(new).view(np.uint8)
        at += len(block)
    return made


def _blocks(runs: Sequence[Run], columns: int) -> Iterator[NDArray[np.float32]]:
    """Yield the numbers of a tensor in float32, some rows at a time."""
    pieces = [_mapped(run) for run in runs]  # several in lit-gpt's previous layout, head by head
    numbers = (pieces[0] if len(pieces) == 1 else np.concatenate(pieces)).reshape(-1, columns)
    rows = max(1, BLOCK // columns)
    for start in range(0, len(numbers), rows):
        block = numbers[start : start + rows]
        if runs[0].dtype == "bfloat16":
            block = (block.astype(np.uint32) << 16).view(np.float32)
        yield block.astype(np.float32, copy=False)


def _mapped(run: Run) -> NDArray[Any]:
    stored = np.dtype(_STORED[run.dtype])
    count = run.nbytes // stored.itemsize
    return np.memmap(run.path, stored, "r", run.offset, (count,))
