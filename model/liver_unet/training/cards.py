"""One card or several: torchrun starts a process for each, and says so in the environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

Result = TypeVar("Result")
# While the first one validates, the others wait.
_PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class Cards:
    """This process's place among those that learn together; device: its card, or the CPU."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls, device: torch.device) -> Cards:
        """Join the others where torchrun started several."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls(device)
        rank = int(os.environ["RANK"])
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        backend = "nccl" if device.type == "cuda" else "gloo"
        if not distributed.is_initialized():
            distributed.init_process_group(backend, timeout=_PATIENCE)
        return cls(device, rank, count)

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def processor(self) -> str:
        """What it computes on."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"

    def first_alone(self, work: Callable[[], Result]) -> Result:
        """Let the first do the work, then the others, who find it done."""
        if self.count == 1:
            return work()
        if not self.first:
            distributed.barrier()
        result = work()
        if self.first:
            distributed.barrier()
        return result

    def own(self, patches: int, batch: int) -> range:
        """Which patches come next for this card, after so many of all cards."""
        first = patches + self.rank * batch
        return range(first, first + batch)

    def learning(self, network: nn.Module) -> nn.Module:
        """The network as it is to be called: all cards' gradients become their mean."""
        return network if self.count == 1 else DistributedDataParallel(network)

    def leave(self) -> None:
        """At the end of all."""
        if self.count > 1:
            distributed.destroy_process_group()

    def agreed(self, value: float) -> float:
        """The first one's value, for all."""
        if self.count == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(told, 0)
        return float(told)
