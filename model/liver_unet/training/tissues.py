"""The network's classes, and what else painting must know of a voxel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from liver_unet.liver import LIVER
from liver_unet.perturbations import Patient, body_of, lung_of

REST, SPLEEN, KIDNEYS, STOMACH, GALLBLADDER, AORTA, PANCREAS = 0, 2, 3, 4, 5, 6, 7
CLASS_NAMES = (
    "rest",
    "liver",
    "spleen",
    "kidneys",
    "stomach",
    "gallbladder",
    "aorta",
    "pancreas",
)
CLASSES = len(CLASS_NAMES)
# Painted differently, the same class.
LUNG, OUTSIDE = 8, 9

_ORGANS = {
    "spleen": SPLEEN,
    "kidney": KIDNEYS,
    "stomach": STOMACH,
    "gallbladder": GALLBLADDER,
    "aorta": AORTA,
    "pancreas": PANCREAS,
}
_ONE_SIDE = ("left", "right")


def outlined_classes(names: Mapping[int, str]) -> frozenset[int]:
    """The classes that a case's organs.json names, and the liver; one kidney alone is not both."""
    found: dict[int, set[str]] = {}
    for name in names.values():
        for word, number in _ORGANS.items():
            if word in name.lower():
                side = next((side for side in _ONE_SIDE if side in name.lower()), "both")
                found.setdefault(number, set()).add(side)
    whole = {n for n, sides in found.items() if sides & {"both"} or sides == set(_ONE_SIDE)}
    return frozenset(whole | {LIVER})


def classes_of(organs: NDArray[np.uint8], names: Mapping[int, str]) -> NDArray[np.uint8]:
    """A case's organ numbers as the network's classes; rest where it has none for them."""
    table = np.zeros(256, dtype=np.uint8)
    for number, name in names.items():
        table[number] = next((n for word, n in _ORGANS.items() if word in name.lower()), REST)
    return np.asarray(table[organs])


def with_lung_and_outside(classes: NDArray[np.uint8], patient: Patient) -> NDArray[np.uint8]:
    """Tell lung and what is outside the body from the rest, and put the liver over all."""
    tissue = classes.copy()
    rest = classes == REST
    tissue[rest & lung_of(patient)] = LUNG
    tissue[rest & ~body_of(patient.ct)] = OUTSIDE
    tissue[patient.liver] = LIVER
    return tissue
