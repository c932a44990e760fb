"""The digest of a checkpoint's numbers, and whether all of them are finite, in one pass over its files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steadyphi.checkpoint import copying, manifest
from steadyphi.checkpoint.copying import Run
from steadyphi.errors import SteadyPhiError
from steadyphi.progress import Progress


def digest(
    folder: Path,
    parts: Mapping[str, Sequence[Run]],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: str | None,
    problems: list[str],
) -> dict[str, Any] | None:
    """Return the digest in the form of a manifest. Add each part with NaN or Inf to `problems`.

    dtype: the dtype of all parts, or None if they differ, because then there is no digest.
    """
    progress = Progress("inspect", sum(run.nbytes for runs in parts.values() for run in runs), "B")
    try:
        content = copying.digest(parts, progress.add)
    except SteadyPhiError as error:
        problems.append(str(error))
        return None
    progress.close()
    problems += [f"{folder}: {part} has NaN or infinite numbers" for part in sorted(content.not_finite)]
    if dtype is None:
        return None
    value = manifest.content(dtype, shapes, content.digests)["digest"]
    return {"kind": "content", "value": value, "manifest": None, "agrees": None}
