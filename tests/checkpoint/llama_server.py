"""A program: llama.cpp's HTTP server for one model, with one thread, until its standard input ends.

It prints the address. The tests run it as a process of its own, because the destructor of `xllamacpp.Server`
can wait for ever for its thread on a machine under load.
"""

import os
import sys


def main() -> None:
    """Serve the model whose path is the argument."""
    import xllamacpp  # not above, because the tests import this file without it

    parameters = xllamacpp.CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = 512, 1, 1
    parameters.use_jinja, parameters.warmup, parameters.verbosity = True, False, 0
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)  # without the destructor


if __name__ == "__main__":
    main()
