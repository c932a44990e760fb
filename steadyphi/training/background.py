"""Saving beside training: copies of tensors in the host's memory, and a thread that writes them."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from torch import Tensor
from torch.distributed.tensor import DTensor


class Copies:
    """Copies of tensors in the host's memory, which the next copies overwrite."""

    def __init__(self) -> None:
        self._copies: dict[str, Tensor] = {}

    def of(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return copies of `tensors` on the CPU; of sharded tensors, this process's shards."""
        for name, tensor in tensors.items():
            if name in self._copies:
                local(self._copies[name]).copy_(local(tensor))
            else:
                self._copies[name] = tensor.detach().to("cpu", copy=True)
        return {name: self._copies[name] for name in tensors}


def local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that is in this process."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


class Background:
    """A thread that does one job at a time; the process can be ended without waiting for it."""

    def __init__(self) -> None:
        self._job: Future[None] | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Start a job. The one before must have been waited for."""
        assert self._job is None
        self._job = Future()
        threading.Thread(target=_do, args=(job, self._job), daemon=True).start()

    def wait(self) -> None:
        """Wait for the job, if there is one, and raise its error."""
        job, self._job = self._job, None
        if job:
            job.result()


def _do(job: Callable[[], None], done: Future[None]) -> None:
    try:
        job()
    except BaseException as error:  # torch's CheckpointException is not an Exception
        done.set_exception(error)
    else:
        done.set_result(None)
