"""Several processes that train one model, on one machine or many: what PyTorch's distributed package adds to the loop.

    gradient of the batch = Σ over processes of the gradient of its rows

DDP (Li et al. 2020, arXiv:2006.15704) gives every process the whole model and averages gradients during the backward
pass. FSDP (Zhao et al. 2023, arXiv:2304.11277) gives each a part of every parameter, gradient and moment, and gathers a
layer when it computes.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from clearformer.blocks.decoder import DecoderLayer
from clearformer.blocks.encoder import EncoderLayer
from clearformer.config import Config, TrainConfig
from clearformer.data.batches import Batch
from clearformer.engine import engine_name
from clearformer.errors import ClearformerError, ConfigError, TrainingError
from clearformer.models.build import build_unfilled
from clearformer.training.device import choose_device
from clearformer.training.processes import Processes, share

SECONDS_FOR_FIRST = 5.0
"""that another process waits after an error for rank 0 to report its own"""


class Group(Processes):
    """All processes of a training. Numbers and texts go through the CPU; gradients through the model's device."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size

    def sums(self, *numbers: float) -> tuple[float, ...]:
        tensor = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(tensor)
        return tuple(tensor.tolist())

    def largest(self, number: int) -> int:
        tensor = torch.tensor(number, dtype=torch.int64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def texts(self, text: str) -> list[str]:
        own = torch.tensor(list(text.encode()), dtype=torch.uint8)
        padded = torch.zeros(self.largest(len(own)), dtype=torch.uint8)
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(found, padded)
        return [bytes(tensor.tolist()).rstrip(b"\0").decode() for tensor in found]

    def model_to_load(self, config: Config) -> Any:
        return build_unfilled(config.model) if config.train.parallel == "fsdp" else super().model_to_load(config)

    def distribute(self, model: Any, config: TrainConfig) -> None:
        if engine_name(model) != "torch":
            raise ConfigError(
                f"a run of the engine torch was expected in several processes, found one of {engine_name(model)}; "
                "train it without torchrun"
            )
        device = choose_device(config.device)
        _require_device(device)
        model.processes = self
        if config.parallel == "fsdp":
            shard(model, self.size, device)

    def wrap(self, objective: Any, batch: Batch) -> nn.Module:
        if isinstance(objective.model, FSDPModule):
            return objective
        wrapped = DistributedDataParallel(objective)
        # after its first pass DDP orders its buffers anew, and so the sums: a resumed run would round otherwise
        wrapped(share(batch, self)).backward()
        objective.zero_grad()
        return wrapped

    def exchange(self, objective: Any, now: bool) -> AbstractContextManager[None]:
        # FSDP cannot wait: it would hold the gradients of all parts meanwhile
        waits = isinstance(objective, DistributedDataParallel) and not now
        return objective.no_sync() if waits else nullcontext()


def shard(model: nn.Module, size: int, device: torch.device) -> None:
    """Divide every parameter among the processes; a layer gathers its own when it computes, and drops them again.

    Of parameters without memory, each process then has its parts alone in memory, without values.
    """
    mesh = init_device_mesh(device.type, (size,))
    layers = [module for module in model.modules() if isinstance(module, EncoderLayer | DecoderLayer)]
    for module in (*layers, model):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    if next(model.parameters()).is_meta:
        buffers = [buffer.clone() for buffer in model.buffers()]
        model.to_empty(device=device)
        for empty, buffer in zip(model.buffers(), buffers, strict=True):
            empty.copy_(buffer)
    if hasattr(model, "token_logits"):
        register_fsdp_forward_method(model, "token_logits")


@contextmanager
def group() -> Iterator[Group]:
    """Join the processes that torchrun started. An error that rank 0 has too is raised there alone; the others exit."""
    shared, rank, size = next(rendezvous("env://"))
    store = PrefixStore(f"attempt-{os.environ['TORCHELASTIC_RESTART_COUNT']}", shared)  # it outlives a restart
    has_gpu = int(os.environ["LOCAL_RANK"]) < torch.cuda.device_count()
    if has_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo", store=store, rank=rank, world_size=size)
    try:
        yield Group(rank, size)
    except (ClearformerError, RuntimeError) as error:
        if rank == 0:
            store.set("failed", "")
        elif _has_failed(store):
            raise SystemExit(1) from error
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise TrainingError(
                "an answer of every process of this training was expected, but one has ended or cannot be reached; see "
                "what it says, and resume the run"
            ) from error
        raise
    dist.destroy_process_group()


def _has_failed(store: dist.Store) -> bool:
    """Whether rank 0 reports an error now or soon."""
    try:
        store.wait(["failed"], timedelta(seconds=SECONDS_FOR_FIRST))
    except RuntimeError:
        return False
    return True


def _require_device(device: torch.device) -> None:
    local_rank = int(os.environ["LOCAL_RANK"])
    if device.type == "cuda" and local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"one GPU for each process of a machine was expected, found {torch.cuda.device_count()} for "
            f"{os.environ['LOCAL_WORLD_SIZE']}; lower --nproc-per-node or add --train.device cpu"
        )
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"processes on cpu or cuda were expected, found {device.type}; add --train.device cpu")
