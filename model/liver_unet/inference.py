"""From an image at the model's spacing to the probability of liver there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional

Shape = tuple[int, int, int]


def fastest_precision(device: torch.device) -> torch.dtype:
    """Half precision only where the processor computes in it, not where it is emulated."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32


@torch.inference_mode()
def liver_probability(
    network: nn.Module,
    image: torch.Tensor,
    patch: Shape,
    *,
    precision: torch.dtype = torch.float32,
    progress: Callable[[float], None] = lambda fraction: None,
) -> torch.Tensor:
    """Slide the patch over a (slice, row, column) image; return P(liver) of the same shape.

    Windows overlap by half and are blended with a Gaussian (Li et al. 2025). Windows that hold
    nothing but air are skipped: there is no liver in them.
    """
    shape = tuple(image.shape)
    padding = [max(0, p - n) for p, n in zip(patch, shape, strict=True)]
    padded = functional.pad(image, (0, padding[2], 0, padding[1], 0, padding[0]))
    total = torch.zeros_like(padded)
    weights = torch.zeros_like(padded)
    blend = _gaussian(patch).to(image.device)
    boxes = list(_windows(tuple(padded.shape), patch))
    for done, box in enumerate(boxes):
        window = padded[box]
        weights[box] += blend
        if bool((window > 0).any()):
            total[box] += blend * _liver(network, window, precision)
        progress((done + 1) / len(boxes))
    return (total / weights)[: shape[0], : shape[1], : shape[2]]


def _liver(network: nn.Module, window: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
    batch = window[None, None].contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast(batch.device.type, precision, enabled=precision != torch.float32):
        logits = network(batch)
    return torch.softmax(logits.float(), dim=1)[0, 1]


def _windows(shape: tuple[int, ...], patch: Shape) -> Iterator[tuple[slice, slice, slice]]:
    """Boxes half a patch apart that cover the shape; the last one ends at its end."""
    starts = []
    for size, length in zip(shape, patch, strict=True):
        along = list(range(0, size - length, length // 2))
        starts.append([*along, size - length])
    for z, y, x in itertools.product(*starts):
        yield slice(z, z + patch[0]), slice(y, y + patch[1]), slice(x, x + patch[2])


def _gaussian(patch: Shape) -> torch.Tensor:
    """Weight 1 at the window's centre, sigma an eighth of its length, never below 1/1000."""
    profiles = []
    for length in patch:
        offset = torch.arange(length) - (length - 1) / 2
        profiles.append(torch.exp(-0.5 * (offset / (length / 8)) ** 2))
    z, y, x = profiles
    return (z[:, None, None] * y[:, None] * x).clamp_min(1e-3)
