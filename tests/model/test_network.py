"""The network is the published one: its size, its reach, where it drops."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from liver_unet.network import build_network, for_inference

PUBLISHED = (16, 32, 64, 128, 256)


def test_parameter_count() -> None:
    """4.8 million for 16 to 256 channels, as MONAI's residual U-Net has."""
    network = build_network(PUBLISHED, classes=2)
    assert sum(p.numel() for p in network.parameters()) == 4_806_464


@pytest.mark.parametrize("classes", [2, 3])
def test_output_shape(classes: int) -> None:
    network = build_network((4, 8, 8, 16, 16), classes).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, 16, 32, 48)).shape == (1, classes, 16, 32, 48)


@pytest.mark.network
def test_receptive_field() -> None:
    """An output voxel sees 187 to 203 voxels along each axis, depending on where it lies.

    Measured without normalisation, through which every voxel sees all others a little, and with
    linear activations, so that no path is closed. The width of the layers does not matter.
    """
    network = build_network((2, 2, 2, 2, 2), classes=2).eval().double()
    _replace(network, (nn.InstanceNorm3d, nn.LeakyReLU))
    image = torch.zeros(1, 1, 224, 16, 16, dtype=torch.double, requires_grad=True)
    answer = network(image)[0, 1, :, 8, 8]
    seen = []
    for voxel in range(104, 120):
        (gradient,) = torch.autograd.grad(answer[voxel], image, retain_graph=True)
        reached = gradient[0, 0].abs().sum(dim=(1, 2)).nonzero().flatten()
        seen.append(int(reached[-1] - reached[0]) + 1)
    assert (min(seen), max(seen)) == (187, 203)


def _replace(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, kinds):
                setattr(module, name, nn.Identity())


def test_dropout_lies_in_the_deeper_layers_only() -> None:
    """0.1 where the image is an eighth of its size or less, none where it is larger."""
    network = build_network(PUBLISHED, classes=3)
    seen: dict[int, set[float]] = {}

    def note(module: nn.Dropout, inputs: tuple[torch.Tensor], _output: torch.Tensor) -> None:
        seen.setdefault(inputs[0].shape[2], set()).add(module.p)

    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(note)
    with torch.inference_mode():
        network(torch.zeros(1, 1, 64, 32, 32))
    assert seen == {64: {0.0}, 32: {0.0}, 16: {0.0}, 8: {0.1}, 4: {0.1}}


def test_the_copy_for_inference_answers_as_the_network_does() -> None:
    torch.manual_seed(4)
    network = build_network((4, 8, 8, 16, 16), classes=3).eval()
    patch = torch.rand(1, 1, 16, 32, 48).contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        copied = for_inference(network, torch.float32)(patch)
        torch.testing.assert_close(copied, network(patch), atol=1e-5, rtol=0)


def test_a_copy_for_batches_takes_one() -> None:
    torch.manual_seed(1)
    network = build_network((4, 8, 8), classes=2).eval()
    patches = torch.rand(3, 1, 16, 24, 32)
    copied = for_inference(network, torch.float32, one_at_a_time=False)
    with torch.inference_mode():
        torch.testing.assert_close(copied(patches), network(patches), atol=1e-5, rtol=0)


def test_the_copy_for_inference_refuses_a_batch() -> None:
    """Its normalisation would mix the patches."""
    copied = for_inference(build_network((4, 8), classes=2), torch.float32)
    with pytest.raises(ValueError, match="one patch at a time"):
        copied(torch.zeros(2, 1, 8, 8, 8))
