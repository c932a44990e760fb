"""The workers that `dvc queue start --jobs N` has started here, which share this machine's cores and GPUs."""

import re

import psutil

NAME = re.compile(r"(dvc-exp-\w+)-(\d+)@")  # the repository, and the worker's number in it


def queue_place() -> tuple[int, int]:
    """Return the place of this process's worker among those of its repository, from 0, and their number.

    Outside a worker it is (0, 1).
    """
    mine = next(filter(None, map(_worker, psutil.Process().parents())), None)
    if mine is None:
        return 0, 1
    workers = {w for process in psutil.process_iter() if (w := _worker(process)) and w[0] == mine[0]}
    numbers = sorted(number for _, number in {*workers, mine})
    return numbers.index(mine[1]), len(numbers)


def _worker(process: psutil.Process) -> tuple[str, int] | None:
    """Return the repository and the number of a worker; None if the process is none."""
    try:
        words = process.cmdline()
    except psutil.Error:  # it has ended, or belongs to somebody else
        return None
    if "queue-worker" not in words:
        return None
    found = next(filter(None, map(NAME.match, words)), None)
    return (found[1], int(found[2])) if found else None
