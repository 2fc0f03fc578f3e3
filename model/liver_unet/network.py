"""The network: MONAI's residual 3D U-Net in the published form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets.unet import UNet
from torch import nn


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
