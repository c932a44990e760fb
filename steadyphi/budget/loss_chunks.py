"""The chunk sizes of the loss, which determine how much memory the logits take.

This module does not import torch, because the memory estimate (`footprint`) is made before torch is imported.
"""

CHUNK = 1024  # supervised tokens whose logits are in memory at the same time: 105 MB in bfloat16 for Phi
ROWS = 32  # tokens of a chunk that a CPU converts to float32 at the same time
