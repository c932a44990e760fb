"""llama.cpp's quantizer as the program `llama-quantize SOURCE TARGET KIND THREADS`, for systems without it.

The program is a thin wrapper of the function `llama_model_quantize` (tools/quantize/quantize.cpp in
llama.cpp). Here the function is that of the shared library in the package llama-cpp-py-sync. Without
arguments, the library is only loaded.
"""

import ctypes
import importlib.util
import sys
from pathlib import Path

# Members of `enum llama_ftype` in llama.h.
KINDS = {"Q2_K": 10, "Q3_K_M": 12, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25}
KINDS |= {"IQ4_XS": 30}


class Parameters(ctypes.Structure):
    """`llama_model_quantize_params`: its first two fields, and room for the others."""

    _fields_ = (("threads", ctypes.c_int32), ("kind", ctypes.c_int), ("others", ctypes.c_char * 248))


def main(*arguments: str) -> int:
    """Quantize one file; return the result of the function, which is 0 if it succeeded."""
    package = importlib.util.find_spec("llama_cpp_py_sync")
    if package is None or package.origin is None:
        sys.exit("needs llama.cpp's llama-quantize: pip install --no-deps llama-cpp-py-sync")
    llama = ctypes.CDLL(str(Path(package.origin).parent / "libllama.so"))
    if not arguments:
        return 0
    source, target, kind, threads = arguments
    llama.llama_model_quantize_default_params.restype = Parameters
    llama.llama_model_quantize.restype = ctypes.c_uint32
    parameters = llama.llama_model_quantize_default_params()
    parameters.threads, parameters.kind = int(threads), KINDS[kind]
    llama.llama_backend_init()
    return int(llama.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(parameters)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
