"""From an image at the model's spacing to the probability of liver there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from liver_unet.liver import LIVER
from liver_unet.model_errors import NoNumbers
from liver_unet.volume import Box, Shape

_LEAST_WEIGHT = 1e-3
# NVIDIA's cards from this compute capability on; torch calls emulation on older ones support.
_FIRST_WITH_BF16 = (8, 0)
# Threads of a CPU, each with a patch of its own.
_MOST_PATCHES_AT_ONCE = 4
# On an H200 a patch took 2.7 ms alone and 1.5 ms in a batch of eight.
_MOST_IN_A_BATCH = 8
_ROOM_FOR_A_BATCH_BYTES = 4 * 2**30


def fastest_precision(device: torch.device) -> torch.dtype:
    """Half precision only where the processor computes in it, not where it is emulated."""
    if device.type == "cuda":
        is_fast = torch.cuda.get_device_capability(device) >= _FIRST_WITH_BF16
        return torch.bfloat16 if is_fast else torch.float16
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32


def patches_at_once(device: torch.device) -> int:
    """How many patches one call of the network takes; a small or full GPU takes one."""
    if device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _MOST_IN_A_BATCH if free + kept >= _ROOM_FOR_A_BATCH_BYTES else 1


class Patches:
    """Patches of one (slice, row, column) image, blended with a Gaussian as they are computed.

    An image smaller than the patch is continued with air, up to padded_shape.
    """

    def __init__(
        self,
        network: nn.Module,
        image: torch.Tensor,
        patch: Shape,
        *,
        precision: torch.dtype = torch.float32,
    ) -> None:
        z, y, x = image.shape
        self.shape: Shape = (z, y, x)
        padding = [max(0, p - n) for p, n in zip(patch, self.shape, strict=True)]
        if any(padding):
            image = functional.pad(image, (0, padding[2], 0, padding[1], 0, padding[0]))
        z, y, x = image.shape
        self.padded_shape: Shape = (z, y, x)
        self.patch = patch
        self._network = network
        self._precision = precision
        self._image = image
        self._blend = _gaussian(patch).to(image.device)
        self._total = torch.zeros_like(image)
        self._weights = torch.zeros_like(image)

    def compute(self, boxes: Sequence[Box]) -> Iterator[Box]:
        """Take patches in, in this order; yields each when it is."""
        at_once = patches_at_once(self._image.device)
        groups = [boxes[first : first + at_once] for first in range(0, len(boxes), at_once)]
        with _side_by_side(self._network, self._image.device, self._precision) as mapped:
            for group, livers in zip(groups, mapped(self._livers, groups), strict=True):
                for box, liver in zip(group, livers, strict=True):
                    with torch.inference_mode():
                        self._weights[box] += self._blend
                        if liver is not None:
                            self._total[box].addcmul_(self._blend, liver)
                    yield box

    @torch.inference_mode()
    def _livers(self, boxes: Sequence[Box]) -> list[torch.Tensor | None]:
        """None where nothing but air is: there is no liver in it, and nothing to do."""
        batch = torch.stack([self._image[box] for box in boxes])
        is_body = (batch > 0).flatten(1).any(dim=1)
        if not bool(is_body.any()):
            return [None] * len(boxes)
        livers = iter(_liver(self._network, batch[is_body], self._precision))
        return [next(livers) if one else None for one in is_body.tolist()]

    @torch.inference_mode()
    def probability(self, box: Box | None = None) -> torch.Tensor:
        """Return P(liver) in a box of the image, or in all of it; 0 where no patch has been."""
        part = box or tuple(slice(0, n) for n in self.shape)
        return self._total[part] / self._weights[part].clamp_min(_LEAST_WEIGHT)


def liver_probability(
    network: nn.Module,
    image: torch.Tensor,
    patch: Shape,
    *,
    precision: torch.dtype = torch.float32,
    progress: Callable[[float], None] = lambda fraction: None,
) -> torch.Tensor:
    """Slide the patch over all of a (slice, row, column) image; return P(liver) of its shape.

    Patches overlap by half (Li et al. 2025).
    """
    patches = Patches(network, image, patch, precision=precision)
    boxes = list(_half_apart(patches.padded_shape, patch))
    for done, _ in enumerate(patches.compute(boxes), start=1):
        progress(done / len(boxes))
    return patches.probability()


def evenly_apart(shape: Shape, patch: Shape, least_overlap: float) -> list[Box]:
    """As few patches as cover the shape, each overlapping the next by that share or more of it."""
    starts = []
    for size, length in zip(shape, patch, strict=True):
        steps = math.ceil((size - length) / (length * (1 - least_overlap)))
        starts.append([round(n * (size - length) / max(1, steps)) for n in range(steps + 1)])
    return list(_boxes(starts, patch))


@contextmanager
def _side_by_side(
    network: nn.Module, device: torch.device, precision: torch.dtype
) -> Iterator[Callable[..., Any]]:
    """Yield a map that shares the CPU's threads out between patches instead of within one.

    Threads that meet at every layer lose most of their time as soon as another program takes one
    of their cores. torch in float32 keeps them together: it has no fast convolution for one.
    """
    threads = torch.get_num_threads()
    workers = 1
    if device.type == "cpu":
        of_torch = 1 if precision == torch.float32 else min(threads, _MOST_PATCHES_AT_ONCE)
        workers = getattr(network, "streams", of_torch)
    if workers == 1:
        yield map
        return
    with ThreadPoolExecutor(
        workers, initializer=lambda: torch.set_num_threads(max(1, threads // workers))
    ) as pool:
        yield pool.map


def _liver(network: nn.Module, patches: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
    batch = patches[:, None].contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast(batch.device.type, precision, enabled=precision != torch.float32):
        logits = network(batch)
    # On a CPU slice by slice: what the processor's cache holds takes a quarter of the time.
    at_once = 1 if batch.device.type == "cpu" else logits.shape[2]
    liver = batch.new_empty((len(logits), *logits.shape[2:]), dtype=torch.float32)
    parts = zip(torch.split(logits, at_once, 2), torch.split(liver, at_once, 1), strict=True)
    for part, out in parts:
        exact = part.float().contiguous()
        # The softmax of one class alone, a third of the time of all classes'.
        torch.sum((exact - exact[:, LIVER, None]).exp_(), dim=1, out=out)
    # What is no number is no liver either, and would raise no doubt.
    if bool(liver.isnan().any()):
        raise NoNumbers(
            f"the network answered with what is no number (on {liver.device}): try the CPU, or "
            "other weights"
        )
    return liver.reciprocal_()


def _half_apart(shape: Shape, patch: Shape) -> Iterator[Box]:
    """Boxes half a patch apart that cover the shape; the last one ends at its end."""
    starts = []
    for size, length in zip(shape, patch, strict=True):
        along = list(range(0, size - length, length // 2))
        starts.append([*along, size - length])
    return _boxes(starts, patch)


def _boxes(starts: Sequence[Sequence[int]], patch: Shape) -> Iterator[Box]:
    for z, y, x in itertools.product(*starts):
        yield slice(z, z + patch[0]), slice(y, y + patch[1]), slice(x, x + patch[2])


def _gaussian(patch: Shape) -> torch.Tensor:
    """Weight 1 at the patch's centre, sigma an eighth of its length, never below the least."""
    profiles = []
    for length in patch:
        offset = torch.arange(length) - (length - 1) / 2
        profiles.append(torch.exp(-0.5 * (offset / (length / 8)) ** 2))
    z, y, x = profiles
    return (z[:, None, None] * y[:, None] * x).clamp_min(_LEAST_WEIGHT)
