"""Two ways of doing the same work, timed in turn."""

import statistics
import time
from collections.abc import Callable
from typing import Any


def alternate(ways: dict[str, Callable[[], Any]], repeats: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Run each way once to warm up, then all in turn `repeats` times.

    returns: the median seconds of each way, and each way's result.
    """
    results = {name: way() for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}, results
