"""Converts a checkpoint folder from any layout to any other by copying bytes, without building the model."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from steadyphi.checkpoint import configs, copying, layouts, manifest, safetensors_file, torch_zip
from steadyphi.checkpoint.copying import Edit, Job, Run
from steadyphi.checkpoint.indexes import INDEXES, LIT_WEIGHTS
from steadyphi.checkpoint.layouts import Layout, Piece
from steadyphi.checkpoint.source import Checkpoint, open_folder
from steadyphi.checkpoint.tensors import WEIGHT_BYTES, elements
from steadyphi.errors import SteadyPhiError
from steadyphi.files import check_copyable, write_json
from steadyphi.progress import Progress, sized
from steadyphi.tokenizer import END_OF_TEXT_ID, TextTokenizer, missing

SHARD_BYTES = 5_000_000_000  # the size of the Phi-2 files on the Hub
# Files that are copied unchanged.
KEPT = ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json"]
KEPT += ["added_tokens.json", "chat_template.jinja", "generation_config.json", "LICENSE*", "NOTICE*"]


Shape = tuple[str, tuple[int, ...]]  # dtype and shape


def convert(
    source: Path,
    target: Path,
    dtype: str = "keep",
    layout: Layout = layouts.LIT,
    *,
    from_safetensors: bool | None = None,
    check_finite: bool = True,
    edit: Edit = Edit(),  # noqa: B008 - Edit is frozen
) -> dict[str, Any]:
    """Write the checkpoint in the folder `source` into the empty folder `target`, in another layout.

    dtype: `keep`, or float16, bfloat16 or float32, to which all numbers are rounded.
    from_safetensors: which weights of the source to read, as in `open_folder`.
    check_finite: whether NaN or Inf in the weights is an error.
    edit: a change to some parts, applied during the copy.
    returns: the manifest, which is also written to `target`.
    Raises SteadyPhiError when the source is incomplete or contradicts itself, or the target cannot be
    written. The contents of `target` are then unusable.
    """
    opened = open_folder(source, from_safetensors)
    kept = opened.dtype if dtype == "keep" else dtype
    unchanged, origin = unchanged_files(source), manifest.origin(source, source.name)
    check_tokenizer(source, opened.config.padded_vocab_size)
    target_tensors = layouts.tensors(layout, opened.config)
    shapes = {name: (kept, tensor.shape) for name, tensor in target_tensors.items()}
    parts = source_runs(opened)
    total = sum(run.nbytes for runs in parts.values() for run in runs)
    progress = Progress("convert", total, "B")
    with open_writers(target, layout, shapes) as writers:
        jobs = (
            Job(name, _pick(target_tensors[name].pieces, parts, opened), fd, writer.places[name])
            for writer, fd in writers
            for name in writer.places
        )
        copied = copying.copy(jobs, kept, check_finite, progress.add, edit)
        for writer, fd in writers:
            writer.finish(fd, copied.checksums)
    progress.close()
    for path in unchanged:
        shutil.copyfile(path, target / path.name)
    content = {**origin, **_facts(opened, layout, kept, target, copied.digests)}
    _write_settings(opened, target, layout, content)
    manifest.write(target, content)
    return content


def source_runs(checkpoint: Checkpoint) -> dict[str, list[Run]]:
    """Return the byte ranges of each part in the source files, in order, by the part's name on the Hub."""
    parts: dict[str, list[Run]] = {}
    for name, tensor in layouts.tensors(checkpoint.layout, checkpoint.config).items():
        stored = checkpoint.tensors[name]
        offset, row = stored.offset, stored.nbytes // tensor.shape[0]
        for piece in tensor.pieces:
            size = (piece.stop - piece.start) * row
            run = Run(piece.part, piece.start * row, stored.path, offset, size, stored.dtype)
            parts.setdefault(piece.part, []).append(run)
            offset += size
    return parts


def _pick(pieces: Iterable[Piece], parts: Mapping[str, list[Run]], opened: Checkpoint) -> list[Run]:
    """Return the runs for the pieces: the runs of each part, cut to the rows of the piece."""
    shapes = layouts.part_shapes(opened.config)
    picked = []
    for piece in pieces:
        runs = parts[piece.part]
        row = elements(shapes[piece.part][1:]) * WEIGHT_BYTES[runs[0].dtype]
        start, stop = piece.start * row, piece.stop * row
        for run in runs:
            first, end = max(start, run.first), min(stop, run.first + run.nbytes)
            if first < end:
                offset = run.offset + first - run.first
                picked.append(Run(run.part, first, run.path, offset, end - first, run.dtype))
    return picked


class _Writer(Protocol):
    path: Path
    size: int
    places: dict[str, int]

    def finish(self, fd: int, checksums: Mapping[str, int]) -> None: ...


@contextlib.contextmanager
def open_writers(
    target: Path, layout: Layout, shapes: Mapping[str, Shape]
) -> Iterator[list[tuple[_Writer, int]]]:
    """Plan the files of the target and open them. They are closed when the block ends."""
    writers: list[_Writer]
    if layout.files == "torch":
        writers = [torch_zip.Writer(target / LIT_WEIGHTS, shapes)]
    else:
        writers = list(_shards(target, shapes))
    needed, free = sum(writer.size for writer in writers), shutil.disk_usage(target).free
    if needed > free:
        remedy = f"free {sized(needed - free)} and run it again"
        raise SteadyPhiError(f"{target.parent}: {sized(needed)} are needed, {sized(free)} are free; {remedy}")
    with contextlib.ExitStack() as stack:
        opened = []
        for writer in writers:
            fd = os.open(writer.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            stack.callback(os.close, fd)
            opened.append((writer, fd))
        yield opened


def _shards(target: Path, shapes: Mapping[str, Shape]) -> Iterator[safetensors_file.Writer]:
    """Split the tensors into safetensors shards of at most `SHARD_BYTES`, and write their index."""
    groups: list[dict[str, Shape]] = [{}]
    sizes = [0]
    for name, (dtype, shape) in shapes.items():
        size = elements(shape) * WEIGHT_BYTES[dtype]
        if groups[-1] and sizes[-1] + size > SHARD_BYTES:
            groups.append({})
            sizes.append(0)
        groups[-1][name] = (dtype, shape)
        sizes[-1] += size
    if len(groups) == 1:
        yield safetensors_file.Writer(target / "model.safetensors", groups[0])
        return
    names = [f"model-{n:05}-of-{len(groups):05}.safetensors" for n in range(1, len(groups) + 1)]
    weight_map = {tensor: name for name, group in zip(names, groups, strict=True) for tensor in group}
    index = {"metadata": {"total_size": sum(sizes)}, "weight_map": weight_map}
    write_json(target / INDEXES["model.safetensors"], index)
    for name, group in zip(names, groups, strict=True):
        yield safetensors_file.Writer(target / name, group)


def _facts(
    opened: Checkpoint, layout: Layout, dtype: str, target: Path, digests: Mapping[str, str]
) -> dict[str, Any]:
    shapes = layouts.part_shapes(opened.config)
    weights = sorted(p for p in target.iterdir() if p.suffix in (".pth", ".safetensors"))
    return {
        "source_layout": opened.layout.name,
        "layout": layout.name,
        "dtype": dtype,
        "source_tensors": len(opened.tensors),
        "tensors": len(layouts.tensors(layout, opened.config)),
        "parameters": sum(map(elements, shapes.values())),
        "files": {path.name: {"size": path.stat().st_size} for path in weights},
        **manifest.content(dtype, shapes, digests),
    }


def unchanged_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are copied unchanged. Folders, such as LICENSES, are left out."""
    paths = [path for pattern in KEPT for path in sorted(folder.glob(pattern)) if not path.is_dir()]
    for path in paths:
        check_copyable(path)
    return paths


def _write_settings(opened: Checkpoint, target: Path, layout: Layout, content: Mapping[str, Any]) -> None:
    has_tokenizer = (opened.folder / "tokenizer.json").exists()
    eos_id = TextTokenizer(opened.folder).eos_id if has_tokenizer else END_OF_TEXT_ID
    names = {"name": str(content["source"]), "dtype": str(content["dtype"])}
    configs.write(target, layout, opened.config, opened.folder, eos_id=eos_id, **names)
    if layout.files == "safetensors" and not (target / "generation_config.json").exists():
        ids = {"bos_token_id": eos_id, "eos_token_id": eos_id}
        write_json(target / "generation_config.json", {"_from_model_config": True, **ids})


def check_tokenizer(source: Path, rows: int) -> None:
    """Raise SteadyPhiError if the tokenizer of the folder has a token id without an embedding row."""
    if problem := missing({path.name for path in source.iterdir()}, source):
        raise SteadyPhiError(problem)
    if not (source / "tokenizer.json").exists():
        return
    largest = TextTokenizer(source).size - 1
    if largest >= rows:
        raise SteadyPhiError(
            f"{source}: tokenizer.json has the token id {largest}, but the model has {rows:,} rows "
            f"(ids up to {rows - 1}); take the tokenizer that the weights were trained with"
        )
