"""The network: MONAI's residual 3D U-Net in the published form."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from liver_unet.without_pictures import without_pictures

with without_pictures():
    from monai.networks.nets.unet import UNet


def build_network(channels: Sequence[int], classes: int) -> nn.Module:
    """Return a U-Net that halves the patch len(channels) - 1 times; logits out, class 1 is liver.

    Two convolutions per residual unit, strided down, transposed up, leaky ReLU, instance
    normalisation; dropout 0.1 from the middle level down. Source: Li et al. 2025.
    """
    network = UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=classes,
        channels=tuple(channels),
        strides=(2,) * (len(channels) - 1),
        num_res_units=2,
        act="LEAKYRELU",
        norm="INSTANCE",
        dropout=0.1,
    )
    _drop_only_in_deep_layers(network, shallow=set(channels[: len(channels) // 2]) | {classes})
    return network


def _drop_only_in_deep_layers(network: nn.Module, shallow: set[int]) -> None:
    """MONAI puts dropout into every block; a block's width tells how deep it lies."""
    for block in network.modules():
        convolution = getattr(block, "conv", None)
        adn = getattr(block, "adn", None)
        if isinstance(adn, nn.Module) and isinstance(convolution, nn.Module):
            width = getattr(convolution, "out_channels", None)
            for part in adn.modules():
                if isinstance(part, nn.Dropout) and width in shallow:
                    part.p = 0.0


def to_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Place the network with channels last, the layout in which 3D convolutions run fastest."""
    network.to(device=device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def for_inference(
    network: nn.Module, precision: torch.dtype, *, one_at_a_time: bool = True
) -> nn.Module:
    """Return a copy that gives the same answers in this precision sooner.

    Its numbers are cast once and not at every patch, and nothing leaves the channels-last layout.
    one_at_a_time: it takes batches of one patch alone, which is what a CPU is fastest with.
    """
    copied = copy.deepcopy(network).to(precision).eval()
    if one_at_a_time:
        _replace_slow_parts(copied)
    return copied


class _NormOfOne(nn.Module):
    """Instance normalisation of a batch of one: there it is batch normalisation, which torch
    computes in the layout it finds, where its instance normalisation copies twice."""

    def __init__(self, norm: nn.InstanceNorm3d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) != 1:
            raise ValueError("this copy of the network takes one patch at a time")
        return functional.batch_norm(
            batch, None, None, self.weight, self.bias, training=True, eps=self.eps
        )


def _replace_slow_parts(network: nn.Module) -> None:
    for name, part in network.named_children():
        if isinstance(part, nn.InstanceNorm3d):
            setattr(network, name, _NormOfOne(part))
        elif isinstance(part, nn.LeakyReLU):
            part.inplace = True
        else:
            _replace_slow_parts(part)
