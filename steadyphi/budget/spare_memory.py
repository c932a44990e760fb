"""The memory that a fine-tuning run leaves free, for a copy of its state while that is written."""

from steadyphi.budget.free_memory import FreeMemory, free_memory
from steadyphi.budget.memory import Estimate

UNPLANNED = 0.1  # the fraction of the host's free memory that copies leave free


def room(estimate: Estimate, available: FreeMemory) -> int:
    """Return the bytes of the host's memory that copies may take in this process of a run."""
    if available.gpu:
        return int((1 - UNPLANNED) * free_memory("cpu", estimate.ranks).free)
    return int((1 - UNPLANNED) * available.free) - estimate.total
