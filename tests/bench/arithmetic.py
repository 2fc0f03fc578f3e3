"""How near the networks come to what the processor or card can do: its own large matrix product.

Both are measured in one run, each at its quickest, in the precision and with the threads that the
networks run with, so that the ratio holds on a slow machine and beside other work.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from liver_unet import gpu
from liver_unet.model import Model
from liver_unet.network import build_network
from liver_unet.segmenter import Segmenter
from liver_unet.weights import ModelSpec, default_weights
from tests.bench.child import tell
from tests.bench.machine import processor

_SIDE = {"cpu": 2048, "cuda": 8192}
_TRIES = 5
# As a case has: enough that several threads have some each.
_PATCHES = 8


def described(segmenter: Segmenter) -> dict[str, Any]:
    """What computes: processor, instruction set, card, runtime, precision, weights."""
    fine = segmenter.fine
    return {
        **processor(),
        "threads": torch.get_num_threads(),
        "card": gpu.name_and_driver(segmenter.device),
        "runtime": fine.runtime,
        "precision": str(fine.precision).removeprefix("torch."),
        "model_sha256": fine.spec.sha256,
    }


def limit_gflops(device: torch.device, precision: torch.dtype) -> float:
    """The most that a product of two large matrices came to, of some tries."""
    side = _SIDE[device.type]
    left, right = (torch.rand(side, side, device=device).to(precision) for _ in range(2))

    def work() -> None:
        (left @ right)[0, 0].item()

    return 2 * side**3 / min(seconds_of(work)) / 1e9


def gflop_of_a_patch(spec: ModelSpec) -> float:
    """Of multiplying and adding, by the network's shape; nothing is computed."""
    with torch.device("meta"), FlopCounterMode(display=False) as counted:
        build_network(spec.channels, spec.classes)(torch.empty(1, 1, *spec.patch))
    return float(counted.get_total_flops()) / 1e9


def patch_s(model: Model) -> float:
    """Seconds of one, where many are computed as those of a case are."""
    image = torch.rand(model.spec.patch, device=model.device)
    everywhere = (slice(None), slice(None), slice(None))

    def work() -> None:
        patches = model.patches(image)
        list(patches.compute([everywhere] * _PATCHES))
        patches.probability().sum().item()

    return min(seconds_of(work)) / _PATCHES


def seconds_of(work: Callable[[], object]) -> list[float]:
    """Of some tries, after one that prepares."""
    work()
    seconds = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds


def of_the_limit(model: Model) -> dict[str, float]:
    """One network's patch: what it costs, what it takes, and the share of the limit."""
    gflop, taken_s = gflop_of_a_patch(model.spec), patch_s(model)
    limit = limit_gflops(model.device, model.precision)
    return {
        "gmac": gflop / 2,
        "patch_ms": 1000 * taken_s,
        "gflops": gflop / taken_s,
        "limit_gflops": limit,
        "of_the_limit": gflop / taken_s / limit,
    }


def main() -> None:
    segmenter = Segmenter.load(default_weights())
    networks = {"fine": segmenter.fine, "coarse": segmenter.coarse}
    found = {name: of_the_limit(model) for name, model in networks.items() if model}
    assert all(math.isfinite(one) for network in found.values() for one in network.values())
    tell([], machine=described(segmenter), networks=found)


if __name__ == "__main__":
    main()
