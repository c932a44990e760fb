"""The exception for errors that the user can fix."""


class SteadyPhiError(Exception):
    """Bad input. The message is one line: what is wrong, where (file, key, row), and what to do.

    Stages and the command line print only the message and exit with status 1. Every other
    exception is a bug in SteadyPhi and keeps its traceback.
    """
