"""Weights of fewer classes begin a network of eight: it sees the same liver at first."""

from __future__ import annotations

import pytest
import torch

from liver_unet.liver import LIVER
from liver_unet.network import build_network
from liver_unet.training.tissues import CLASSES
from liver_unet.training.widened import widened

CHANNELS = (4, 8, 16)


@pytest.mark.parametrize("classes", [2, 3, CLASSES])
def test_the_probability_of_liver_is_the_same(classes: int) -> None:
    torch.manual_seed(3)
    old, new = build_network(CHANNELS, classes).eval(), build_network(CHANNELS, CLASSES).eval()
    new.load_state_dict(widened(old.state_dict(), new.state_dict(), CLASSES))
    image = torch.rand(1, 1, 12, 16, 20)
    with torch.no_grad():
        before, after = old(image).softmax(dim=1), new(image).softmax(dim=1)
    torch.testing.assert_close(after[:, LIVER], before[:, LIVER])
    if classes == 3:
        torch.testing.assert_close(after[:, 2:].sum(dim=1), before[:, 2])
    torch.testing.assert_close(after.sum(dim=1), torch.ones_like(after[:, 0]))
