"""The types of GGUF that only llama.cpp's own quantizer writes, by its program `llama-quantize`."""

import os
import shutil
import subprocess
from pathlib import Path

from steadyphi.errors import SteadyPhiError, printable

PROGRAM = "llama-quantize"
TYPES = ("q2_k", "q3_k_m", "q4_k_s", "q4_k_m", "q5_k_m", "q6_k", "iq4_nl", "iq4_xs")


def find_program(kind: str) -> str:
    """Return the path of the quantizer. Raises SteadyPhiError with the remedy if it is not installed."""
    if program := shutil.which(PROGRAM):
        return program
    raise SteadyPhiError(
        f"--gguf {kind}: needs llama.cpp's {PROGRAM}, which is not on the PATH; install llama.cpp, or choose "
        "q8_0 or q4_0"
    )


def quantize(source: Path, target: Path, kind: str) -> None:
    """Write the GGUF file `source`, in float16, to the new file `target` in one of `TYPES`.

    Raises SteadyPhiError if the program fails, with its last line.
    """
    command = [find_program(kind), str(source), str(target), kind.upper(), str(os.cpu_count() or 1)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or not target.is_file():
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it wrote no file"]
        raise SteadyPhiError(f"--gguf {kind}: {PROGRAM} failed: {printable(lines[-1][:200])}")
