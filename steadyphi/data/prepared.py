"""What `train.parquet` contains, read piece by piece: lengths, tokens with a loss, end tokens, samples."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from steadyphi.data.packing import Example
from steadyphi.errors import SteadyPhiError

BATCH = 4096  # examples that are in memory at once
STYLES, EACH = 6, 2  # for each source the styles that are shown, the most frequent first, and their samples
NAMES = [field.name for field in fields(Example)]


@dataclass(frozen=True)
class Prepared:
    """The examples of a file. lengths: `lengths[n]` is the number of examples of n tokens."""

    lengths: NDArray[np.int64]
    supervised: int  # tokens with a loss
    answers: int
    ended: int  # answers after which the end token is a target
    styles: Counter[tuple[str, str]]  # the number of examples of each source and style

    @property
    def tokens(self) -> int:
        """The number of tokens of all examples."""
        return int(self.lengths @ np.arange(len(self.lengths)))


def measures(path: Path, end: int, continued: int = 0) -> dict[str, float]:
    """Return the share of tokens with a loss, and the share of answers that end with the end token `end`.

    continued: the number of examples that the next one continues, so that no end token should follow.
    """
    contents = read(path, end)
    return {
        "supervised_share": round(contents.supervised / contents.tokens, 6),
        "end_token_coverage": round(contents.ended / (contents.answers - continued), 6),
    }


def read(path: Path, end: int, sources: Collection[str] = ()) -> Prepared:
    """Read a file that `tables.write_examples` wrote. Raises SteadyPhiError if it cannot be read.

    sources: the names of the sources of a mixture. Without them, all rows have the source "".
    """
    lengths = np.zeros(1, np.int64)
    supervised = answers = ended = 0
    styles: Counter[tuple[str, str]] = Counter()
    for batch in _batches(path):
        tokens, sizes = batch.column("tokens"), _sizes(batch.column("tokens"))
        inner = _sizes(batch.column("later")) // 2  # later prompts, and so answers before the last
        bounds = batch.column("later").flatten().to_numpy(zero_copy_only=False)
        prompts = np.maximum(batch.column("prompt").to_numpy(zero_copy_only=False), 1)
        ends = np.cumsum(sizes) - 1
        is_end = tokens.flatten().to_numpy(zero_copy_only=False)[ends] == end
        counted = np.bincount(sizes, minlength=len(lengths))
        counted[: len(lengths)] += lengths
        lengths = counted
        supervised += int((sizes - prompts + inner).sum() - (bounds[1::2] - bounds[::2]).sum())
        answers += int((inner + 1).sum())
        ended += int((inner + 1)[is_end].sum())
        styles.update(zip(_sources(batch, sources), batch.column("style").to_pylist(), strict=True))
    return Prepared(lengths, supervised, answers, ended, styles)


def samples(
    path: Path, contents: Prepared, sources: Collection[str] = ()
) -> dict[tuple[str, str], list[tuple[str, Example]]]:
    """Return the first examples, with the ids of their rows, of each source's most frequent styles."""
    wanted: dict[tuple[str, str], list[tuple[str, Example]]] = {}
    for source in dict.fromkeys(source for source, _ in contents.styles):
        counts = Counter({key: count for key, count in contents.styles.items() if key[0] == source})
        wanted |= {key: [] for key, _ in counts.most_common(STYLES)}
    missing = sum(min(EACH, contents.styles[key]) for key in wanted)
    for batch in _batches(path):
        keys = zip(_sources(batch, sources), batch.column("style").to_pylist(), strict=True)
        for number, key in enumerate(keys):
            if key in wanted and len(wanted[key]) < EACH:
                (row,) = batch.slice(number, 1).to_pylist()
                wanted[key].append((row["id"], Example(**{name: row[name] for name in NAMES})))
                missing -= 1
        if not missing:
            break
    return wanted


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            yield from file.iter_batches(BATCH)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise SteadyPhiError(f"{path}: cannot be read ({reason}); run dvc repro") from None


def _sizes(lists: pa.ListArray) -> NDArray[np.int64]:
    return pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)


def _sources(batch: pa.RecordBatch, names: Collection[str]) -> list[str]:
    """Return the source of each example: its row's id is `NAME-row-7`, or `NAME/FILE-row-7`."""
    if not names:
        return [""] * len(batch)
    begins = {name: (f"{name}-row-", f"{name}/") for name in sorted(names, key=len, reverse=True)}
    ids = batch.column("id").to_pylist()
    return [next((name for name in begins if id_.startswith(begins[name])), "") for id_ in ids]
