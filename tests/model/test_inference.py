"""The sliding window against one pass, against MONAI's, and at the edges."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.inferers.utils import sliding_window_inference
from torch import nn

from liver_unet import inference
from liver_unet.inference import (
    evenly_apart,
    fastest_precision,
    liver_probability,
    patches_at_once,
)
from liver_unet.network import build_network

PATCH = (16, 32, 48)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(3)
    return build_network((4, 8, 8, 16, 16), classes=3).eval()


def image(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(shape, generator=generator)


def test_a_volume_of_one_patch_is_one_pass(network: nn.Module) -> None:
    volume = image(*PATCH)
    with torch.inference_mode():
        whole = torch.softmax(network(volume[None, None]), dim=1)[0, 1]
    torch.testing.assert_close(liver_probability(network, volume, PATCH), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "shape", [pytest.param((40, 50, 100), marks=pytest.mark.network), (16, 33, 97), (31, 32, 48)]
)
def test_patches_are_blended_as_monai_blends_them(
    network: nn.Module, shape: tuple[int, int, int]
) -> None:
    volume = image(*shape)

    def liver(batch: torch.Tensor) -> torch.Tensor:
        return torch.softmax(network(batch), dim=1)[:, 1:2]

    with torch.inference_mode():
        judged = sliding_window_inference(
            volume[None, None], PATCH, 1, liver, overlap=0.5, mode="gaussian"
        )
    assert isinstance(judged, torch.Tensor)
    ours = liver_probability(network, volume, PATCH)
    torch.testing.assert_close(ours, judged[0, 0], atol=2e-3, rtol=0)


def test_a_volume_smaller_than_the_patch_keeps_its_shape(network: nn.Module) -> None:
    probability = liver_probability(network, image(5, 40, 20), PATCH)
    assert probability.shape == (5, 40, 20)
    assert bool((probability > 0).all())


def test_air_holds_no_liver(network: nn.Module) -> None:
    volume = image(16, 32, 144)
    volume[:, :, 40:] = 0
    probability = liver_probability(network, volume, PATCH)
    assert float(probability[:, :, 97:].abs().max()) == 0
    assert float(probability[:, :, :24].min()) > 0


@pytest.mark.parametrize("at_once", [3, 8])
def test_batches_as_on_a_gpu_give_what_patches_one_by_one_give(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    volume = image(24, 40, 144)
    volume[:, :, 56:] = 0  # some patches of a batch hold nothing but air
    alone = liver_probability(network, volume, PATCH)
    monkeypatch.setattr(inference, "patches_at_once", lambda device: at_once)
    seen: list[float] = []
    together = liver_probability(network, volume, PATCH, progress=seen.append)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert len(seen) == len(set(seen)) > at_once


@pytest.mark.parametrize(
    ("free_gib", "kept_gib", "at_once"), [(20, 0, 8), (0.3, 0.1, 1), (1, 3, 8)]
)
def test_a_batch_needs_room_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch, free_gib: float, kept_gib: float, at_once: int
) -> None:
    gib = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(free_gib * gib), 80 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: int((2 + kept_gib) * gib))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2 * gib)
    assert patches_at_once(torch.device("cuda")) == at_once


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((9, 0), torch.bfloat16), ((8, 6), torch.bfloat16), ((7, 5), torch.float16)],
)
def test_a_card_without_bfloat16_is_not_asked_to_emulate_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: torch.dtype
) -> None:
    """Of two cards the very one is asked."""
    of_cards = {torch.device("cuda:0"): (10, 0), torch.device("cuda:1"): capability}
    monkeypatch.setattr(torch.cuda, "get_device_capability", of_cards.__getitem__)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert fastest_precision(torch.device("cuda:1")) == precision


def test_progress_ends_at_one(network: nn.Module) -> None:
    seen: list[float] = []
    liver_probability(network, image(40, 50, 100), PATCH, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1


class NotingThreads(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.threads = network, set[int]()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.threads.add(threading.get_ident())
        return torch.as_tensor(self.network(batch))


@pytest.mark.network  # as it is about several threads
def test_patches_side_by_side_give_what_patches_one_by_one_give(network: nn.Module) -> None:
    """To the bit, and this thread goes on with the threads that it had."""
    volume, before = image(40, 50, 100), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            noting = NotingThreads(network)
            found.append(liver_probability(noting, volume, PATCH, precision=torch.bfloat16))
            assert len(noting.threads) == threads
            assert (threading.get_ident() in noting.threads) == (threads == 1)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_what_fails_in_a_patch_fails_the_whole(network: nn.Module) -> None:
    class Failing(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        liver_probability(Failing(), image(40, 50, 100), PATCH, precision=torch.bfloat16)


sides = st.tuples(*(st.integers(n, 300) for n in PATCH))


@given(sides, st.sampled_from([0.0, 0.25, 0.5]))
def test_patches_evenly_apart_cover_all_and_overlap_enough(
    shape: tuple[int, int, int], least_overlap: float
) -> None:
    boxes = evenly_apart(shape, PATCH, least_overlap)
    for axis, (size, length) in enumerate(zip(shape, PATCH, strict=True)):
        starts = sorted({box[axis].start for box in boxes})
        steps = np.diff(starts)
        assert starts[0] == 0
        assert starts[-1] + length == size
        assert {box[axis].stop - box[axis].start for box in boxes} == {length}
        if steps.size:
            assert np.ptp(steps) <= 1
            assert steps.max() <= np.ceil(length * (1 - least_overlap))
            assert (len(steps) - 1) * length * (1 - least_overlap) < size - length
