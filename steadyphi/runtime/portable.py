"""The precision `portable`: float32, with the same bytes on every x86-64 CPU that has AVX2.

The libraries that torch computes with choose their instructions by the CPU, and so sums are split differently
on different CPUs. Here all of them are held to one choice. This module does not import torch.
"""

import os
import sys

PORTABLE = "portable"
# On AMD's CPUs MKL ignores a choice of AVX2. COMPATIBLE is the only one that all CPUs share.
INSTRUCTIONS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}


def fix_instructions(precision: str) -> None:
    """Hold torch to AVX2 in this process if `precision` is `portable`; call it before torch is imported."""
    if precision != PORTABLE or INSTRUCTIONS.items() <= os.environ.items():
        return
    if "torch" in sys.modules:
        raise RuntimeError(
            "torch has chosen its instructions already: call fix_instructions before importing it"
        )
    os.environ.update(INSTRUCTIONS)
