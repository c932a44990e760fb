"""Time several implementations of the same work in turn."""

import statistics
import time
from collections.abc import Callable
from typing import Any


def alternate(ways: dict[str, Callable[[], Any]], repeats: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Run each implementation once to warm up, then all of them in turn `repeats` times.

    ways: the implementations by name. Returns the median seconds and the result of each, by name.
    """
    results = {name: way() for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}, results
