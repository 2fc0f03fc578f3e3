"""What a training minimises, by the name a configuration calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from liver_unet.liver import LIVER
from liver_unet.training.patches import Sample
from liver_unet.training.tissues import REST
from liver_unet.without_pictures import without_pictures

with without_pictures():
    from monai.losses.dice import DiceFocalLoss

_ORGANS_WEIGHT = 0.5


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples; image: (patch, 1, slice, row, column), the other tensors without the 1."""

    image: torch.Tensor
    classes: torch.Tensor
    known: torch.Tensor
    outlined: tuple[frozenset[int], ...]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Batch:
        return cls(
            torch.stack([s.image for s in samples])[:, None],
            torch.stack([s.classes for s in samples]),
            torch.stack([s.known for s in samples]),
            tuple(s.outlined for s in samples),
        )


class DiceFocal(nn.Module):
    """The published loss, over all classes. Source: Li et al. 2025."""

    def __init__(self) -> None:
        super().__init__()
        self._loss = DiceFocalLoss(to_onehot_y=True, softmax=True)

    def forward(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        loss: torch.Tensor = self._loss(logits, batch.classes[:, None])
        return loss


class DiceCrossEntropyOrgans(nn.Module):
    """Dice and cross-entropy on liver against all else, cross-entropy on all outlined organs.

    Where the truth is not known nothing counts. An organ that nobody outlined in a case is neither
    right nor wrong there: it and the rest are one class.
    """

    def forward(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        # Class by class in memory, the sums over classes take half of the time.
        logits = logits.contiguous()
        first, liver, others = torch.tensor_split(logits, (LIVER, LIVER + 1), dim=1)
        rest = torch.logaddexp(first[:, 0], others.logsumexp(dim=1))
        known, margin = batch.known.float(), liver[:, 0] - rest
        truth = (batch.classes == LIVER).float()
        probability, truth_known = margin.sigmoid() * known, truth * known
        overlap = 2 * (probability * truth_known).sum() + 1
        dice = 1 - overlap / (probability.sum() + truth_known.sum() + 1)
        loss: torch.Tensor = dice + functional.binary_cross_entropy_with_logits(
            margin, truth, known
        )
        told = [i for i, outlined in enumerate(batch.outlined) if outlined - {LIVER}]
        if not told:
            return loss
        total = torch.logaddexp(rest, liver[:, 0])
        organs = [known[i] * (total[i] - _right(logits[i], batch, i)) for i in told]
        return loss + _ORGANS_WEIGHT * torch.stack(organs).mean()


def _right(logits: torch.Tensor, batch: Batch, sample: int) -> torch.Tensor:
    """The logit of each voxel's true class; of rest with all that may hide in it."""
    classes = batch.classes[sample].long()
    right = logits.gather(0, classes[None])[0]
    hidden = sorted(set(range(len(logits))) - batch.outlined[sample])
    if hidden == [REST]:
        return right
    return torch.where(classes == REST, logits[hidden].logsumexp(dim=0), right)


LOSSES: dict[str, type[nn.Module]] = {
    "dice_focal": DiceFocal,
    "dice_ce_organs": DiceCrossEntropyOrgans,
}
