"""How the loss divides the supervised tokens: it sets how much memory the logits take.

A module without torch, because the estimate of memory (`footprint`) is made before torch is imported.
"""

CHUNK = 1024  # supervised tokens whose logits are in memory at the same time: 105 MB in bfloat16 for Phi
ROWS = 32  # tokens of a chunk that are widened to float32 at the same time on a CPU
