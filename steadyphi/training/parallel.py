"""Distribute a training step over one or more processes, with one GPU or CPU each, started by torchrun."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from steadyphi.data.packing import Batch
from steadyphi.model import Phi
from steadyphi.runtime import ranks
from steadyphi.settings.schema import Finetune
from steadyphi.training.loss import loss_sum, validate


class Objective(nn.Module):
    """A model and its loss as one module, because FSDP and DDP act on what happens within `forward`."""

    def __init__(self, model: Phi, dtype: torch.dtype, consistency: float = 0.0) -> None:
        super().__init__()
        self.model, self.dtype, self.consistency = model, dtype, consistency

    def forward(self, batch: Batch) -> Tensor:
        """Return the summed loss of the supervised tokens of a batch."""
        with self.precision(batch.tokens.device):
            return loss_sum(self.model, batch, self.consistency)

    def validate(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the summed loss, and whether each target is the most likely token; see `loss.validate`."""
        with self.precision(batch.tokens.device):
            return validate(self.model, batch)

    def next_tokens(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return the most likely token after each packed document: (T,) token ids -> (documents,)."""
        ends = torch.tensor(lengths, device=tokens.device).cumsum(0) - 1
        with self.precision(tokens.device):
            return self.model.lm_head(self.model.hidden(tokens, lengths)[ends]).argmax(-1)

    def precision(self, device: torch.device) -> torch.autocast:
        """Return the context in which matrix products are computed in `dtype`."""
        return torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32)


def distribute(model: Phi, dtype: torch.dtype, settings: Finetune) -> nn.Module:
    """Return the model's objective, distributed over the run's processes; the model is changed in place.

    If all weights train, each process holds a shard of the weights, gradients and moments (FSDP2). If only
    adapters train, each process holds the whole model, and the adapters' gradients are averaged (DDP).
    """
    _arrange(model, settings, on_gpu=model.device.type == "cuda")
    objective = Objective(model, dtype, settings.consistency)
    if ranks.world_size() == 1:
        return objective
    if any(not p.requires_grad for p in model.parameters()):
        return DistributedDataParallel(objective)
    # The layers' weights are gathered rounded to `low`, including the weights of their norms, which a
    # single process computes with in float32. The embedding table, the head and the last norm stay float32.
    low = dtype if model.device.type == "cuda" and dtype != torch.float32 else None
    policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32, cast_forward_inputs=False)
    mesh = _mesh(model.device.type)
    for block in model.blocks():
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(objective, mesh=mesh)
    for method in ("next_tokens", "validate"):
        register_fsdp_forward_method(objective, method)
    return objective


def _mesh(device_type: str) -> DeviceMesh:
    """Return the processes among which weights are sharded: those of one machine, if it has several.

    Each machine then holds all weights, and only gradients travel between machines (hybrid sharding).
    """
    world, here = ranks.world_size(), ranks.shards()
    if here == world:
        return init_device_mesh(device_type, (world,))
    return init_device_mesh(device_type, (world // here, here), mesh_dim_names=("machine", "process"))


def unwrapped(objective: nn.Module) -> Objective:
    """Return the objective without its DDP wrapper."""
    inner = objective.module if isinstance(objective, DistributedDataParallel) else objective
    assert isinstance(inner, Objective)
    return inner


def _arrange(model: Phi, settings: Finetune, on_gpu: bool) -> None:
    """Apply the settings for dropout, compilation and checkpointing to the layers."""
    if not settings.dropout:
        model.config = dataclasses.replace(model.config, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0)
    for block in model.blocks():
        block.attn.config, block.resid_pdrop = model.config, model.config.resid_pdrop
        forward = block.forward
        if settings.compile and on_gpu:
            forward = torch.compile(forward, dynamic=True)
        if settings.checkpointing:  # outside the compiled function; inside, nothing would be compiled
            forward = functools.partial(checkpoint, forward, use_reentrant=False)
        block.forward = forward  # type: ignore[method-assign]


@contextlib.contextmanager
def gradient_sync(objective: nn.Module, now: bool) -> Iterator[None]:
    """Average gradients over the processes after this backward pass if `now` is true.

    Otherwise they are only accumulated. FSDP always averages them, because each process keeps only a shard.
    """
    if isinstance(objective, DistributedDataParallel) and not now:
        with objective.no_sync():
            yield
    else:
        yield


def free_gathered(objective: nn.Module) -> None:
    """Free the weights that FSDP keeps gathered after a forward pass without a backward pass."""
    if isinstance(objective, FSDPModule):
        objective.reshard()


def total(values: Sequence[float], device: torch.device) -> list[float]:
    """Return the sum of each value over all processes; every process receives the sums."""
    if ranks.world_size() == 1:
        return list(values)
    numbers = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(numbers)
    return numbers.tolist()


def whole(tensor: Tensor) -> Tensor:
    """Return the full tensor of a sharded one; all processes must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return full tensors on the CPU in the first process; the others must call it too and get none."""
    full_tensors = {}
    for name, tensor in tensors.items():
        full = whole(tensor)  # one at a time, so that only the first process holds all
        if ranks.rank() == 0:
            full_tensors[name] = full.cpu()
    return full_tensors
