"""The one exception whose text is written for people."""


class SteadyPhiError(Exception):
    """Bad input, said in one line: what is wrong, where (file, key, row), and what to do.

    Stages and the command line print its text alone and exit with 1; every other
    exception is a defect of ours and keeps its traceback.
    """
