"""What a training minimises, by the name a configuration calls it."""

from __future__ import annotations

import torch
from monai.losses.dice import DiceFocalLoss, DiceLoss
from torch import nn
from torch.nn import functional

from liver_unet.liver import LIVER


class DiceFocal(nn.Module):
    """The published loss, over all classes. Source: Li et al. 2025."""

    def __init__(self) -> None:
        super().__init__()
        self._loss = DiceFocalLoss(to_onehot_y=True, softmax=True)

    def forward(
        self, logits: torch.Tensor, classes: torch.Tensor, neighbours_known: torch.Tensor
    ) -> torch.Tensor:
        loss: torch.Tensor = self._loss(logits, classes)
        return loss


class DiceCrossEntropyNeighbours(nn.Module):
    """Dice and cross-entropy on liver against all else; cross-entropy on neighbours where known."""

    def __init__(self) -> None:
        super().__init__()
        self._dice = DiceLoss(batch=True)

    def forward(
        self, logits: torch.Tensor, classes: torch.Tensor, neighbours_known: torch.Tensor
    ) -> torch.Tensor:
        rest = torch.cat([logits[:, :LIVER], logits[:, LIVER + 1 :]], dim=1)
        liver = (classes == LIVER).float()
        margin = logits[:, LIVER : LIVER + 1] - rest.logsumexp(dim=1, keepdim=True)
        loss: torch.Tensor = self._dice(torch.sigmoid(margin), liver)
        loss = loss + functional.binary_cross_entropy_with_logits(margin, liver)
        if bool(neighbours_known.any()):
            every = functional.cross_entropy(logits[neighbours_known], classes[neighbours_known, 0])
            loss = loss + 0.5 * every
        return loss


LOSSES: dict[str, type[nn.Module]] = {
    "dice_focal": DiceFocal,
    "dice_ce_neighbours": DiceCrossEntropyNeighbours,
}
