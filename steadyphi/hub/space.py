"""Checks the free disk space before a download."""

import os
import shutil
from pathlib import Path

from steadyphi.errors import SteadyPhiError
from steadyphi.progress import sized


def check(source: str, needs: list[tuple[Path, int]]) -> None:
    """Raise SteadyPhiError if a file system has less free space, in bytes, than its folders need."""
    folders: dict[int, tuple[Path, int]] = {}
    for folder, size in needs:
        device = folder.stat().st_dev
        first, sum_so_far = folders.get(device, (folder, 0))
        folders[device] = (first, sum_so_far + size)
    for folder, size in folders.values():
        free = shutil.disk_usage(folder).free
        if size > free:
            raise SteadyPhiError(
                f"{source}: needs {sized(size)} more on the disk of {folder}, "
                f"where {sized(free)} are free; free {sized(size - free)} and run it again"
            )


def can_link(source: Path, target: Path) -> bool:
    """Whether files in `source` can be hard-linked into `target`. Some file systems do not support links."""
    probe, link = source / f".probe-{os.getpid()}", target / f".probe-{os.getpid()}"
    try:
        probe.touch()
        link.hardlink_to(probe)
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
        link.unlink(missing_ok=True)
    return True
