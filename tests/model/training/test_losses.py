"""What does not count: what is not known, and organs that nobody outlined."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from liver_unet.liver import LIVER
from liver_unet.training.losses import LOSSES, Batch
from liver_unet.training.tissues import CLASSES, PANCREAS, SPLEEN, STOMACH

SHAPE = (5, 6, 7)
EVERY = frozenset(range(1, CLASSES))


def batch(*outlined: frozenset[int]) -> Batch:
    torch.manual_seed(1)
    count = len(outlined)
    classes = torch.randint(0, CLASSES, (count, *SHAPE), dtype=torch.uint8)
    image, known = torch.zeros(count, 1, *SHAPE), torch.ones(count, *SHAPE, dtype=torch.bool)
    return Batch(image, classes, known, outlined)


def logits(count: int) -> torch.Tensor:
    torch.manual_seed(2)
    return torch.randn(count, CLASSES, *SHAPE, requires_grad=True)


def loss_of(answer: torch.Tensor, truth: Batch) -> torch.Tensor:
    loss: torch.Tensor = LOSSES["dice_ce_organs"]()(answer, truth)
    return loss


def test_it_is_dice_and_two_cross_entropies() -> None:
    answer, truth = logits(2), batch(EVERY, EVERY)
    probability = answer.softmax(dim=1)[:, LIVER]
    liver = (truth.classes == LIVER).float()
    dice = 1 - (2 * (probability * liver).sum() + 1) / (probability.sum() + liver.sum() + 1)
    binary = functional.binary_cross_entropy(probability, liver)
    every = functional.cross_entropy(answer, truth.classes.long())
    torch.testing.assert_close(loss_of(answer, truth), dice + binary + 0.5 * every)


def test_what_is_not_known_does_not_count() -> None:
    answer, truth = logits(2), batch(EVERY, frozenset({LIVER}))
    truth.known[:, 3:] = False
    loss = loss_of(answer, truth)
    loss.backward()  # type: ignore[no-untyped-call]
    gradient = answer.grad
    assert gradient is not None
    assert not gradient[:, :, 3:].any()
    assert (gradient[:, :, :3] != 0).any()
    truth.classes[:, 3:] = LIVER
    torch.testing.assert_close(loss_of(answer, truth), loss)


def test_an_organ_that_nobody_outlined_is_neither_right_nor_wrong() -> None:
    """Where stomach to pancreas were not drawn, they and rest are one class."""
    outlined = frozenset({LIVER, SPLEEN})
    answer, truth = logits(1), batch(outlined)
    truth.classes[truth.classes > SPLEEN] = 0
    loss = loss_of(answer, truth)
    moved = answer.detach().clone()
    hidden = [0, *range(SPLEEN + 1, CLASSES)]
    moved[:, hidden] = moved[:, hidden].logsumexp(dim=1, keepdim=True) - torch.log(
        torch.tensor(float(len(hidden)))
    )
    torch.testing.assert_close(loss_of(moved, truth), loss)
    assert abs(float(loss_of(moved, batch(EVERY)).detach()) - float(loss.detach())) > 0.1


def test_a_liver_alone_says_nothing_of_organs() -> None:
    answer, truth = logits(1), batch(frozenset({LIVER}))
    truth.classes[truth.classes > LIVER] = 0
    loss = loss_of(answer, truth)
    swapped = answer.detach()[:, [0, 1, 2, STOMACH, 3, 5, PANCREAS, 6]]
    torch.testing.assert_close(loss_of(swapped, truth), loss.detach())


def test_of_two_samples_the_outlined_one_teaches_organs() -> None:
    answer, truth = logits(2), batch(EVERY, frozenset({LIVER}))
    one = Batch(truth.image[:1], truth.classes[:1], truth.known[:1], (EVERY,))
    alone = Batch(truth.image[:1], truth.classes[:1], truth.known[:1], (frozenset({LIVER}),))
    both = Batch(truth.image, truth.classes, truth.known, (frozenset({LIVER}),) * 2)
    organs = loss_of(answer[:1], one) - loss_of(answer[:1], alone)
    assert float(organs.detach()) == pytest.approx(
        float((loss_of(answer, truth) - loss_of(answer, both)).detach()), rel=1e-4
    )
