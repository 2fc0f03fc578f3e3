"""Weights of fewer classes as weights of more: P(liver) is the same at first."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from liver_unet.liver import LIVER
from liver_unet.training.tissues import REST

Weights = Mapping[str, torch.Tensor]
# Of three classes the last one, the neighbours, is the parent of every organ.
_NEIGHBOURS = 2


def widened(old: Weights, new: Weights, classes: int) -> dict[str, torch.Tensor]:
    """Return the old weights in the new network's shapes, its classes counted by `classes`.

    Each new class begins as a copy of an old one, and the copies share its probability. The last
    two layers alone have a channel a class: the transposed convolution, and the residual unit
    that adds to it.
    """
    transposed, unit = "model.2.0.conv", "model.2.1.conv.unit0.conv"
    before = len(old[f"{unit}.bias"])
    if before == classes:
        return dict(old)
    organs = _NEIGHBOURS if before > _NEIGHBOURS else REST
    parent = torch.tensor([REST, LIVER] + [organs] * (classes - 2))
    grown = dict(old)
    grown[f"{transposed}.weight"] = old[f"{transposed}.weight"][:, parent]
    grown[f"{transposed}.bias"] = old[f"{transposed}.bias"][parent]
    # Each class looks at the first copy of every class that it looked at before.
    weight = torch.zeros_like(new[f"{unit}.weight"])
    weight[:, :before] = old[f"{unit}.weight"][parent]
    grown[f"{unit}.weight"] = weight
    copies = torch.bincount(parent)[parent]
    grown[f"{unit}.bias"] = old[f"{unit}.bias"][parent] - copies.log()
    return grown
