"""How often each case is drawn from: every kind of case has its share of the patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from liver_unet.training.bounds import POSITIVE, check
from liver_unet.training.held import HeldCase
from liver_unet.training.tissues import GALLBLADDER, SPLEEN, STOMACH

# Coarser than this along two axes a CT shows what a liver is, and less where it ends.
_COARSE_MM = 3.0
# Those most often taken for liver.
_NEIGHBOURS = frozenset({SPLEEN, STOMACH, GALLBLADDER})


@dataclass(frozen=True)
class Shares:
    """coarse: voxels of more than 3 mm; cut: the liver goes on beyond the scan; outlined: the
    neighbours that are most often taken for liver are; alone: the liver alone is."""

    coarse: float = 0.08
    cut: float = 0.28
    outlined: float = 0.5
    alone: float = 0.14

    def __post_init__(self) -> None:
        check(self, {field.name: POSITIVE for field in fields(self)})


def kind_of(case: HeldCase) -> str:
    """The first that holds."""
    if case.scanned_mm > _COARSE_MM:
        return "coarse"
    if case.cut.any():
        return "cut"
    return "outlined" if case.outlined >= _NEIGHBOURS else "alone"


def chances(
    cases: Mapping[str, HeldCase], patients: Mapping[str, str], shares: Shares
) -> dict[str, float]:
    """Of each case: a kind's share is dealt evenly to its patients, a patient's to the volumes.

    The share of a kind without cases goes to the others.
    """
    kinds: dict[str, dict[str, list[str]]] = {}
    for name, case in cases.items():
        kinds.setdefault(kind_of(case), {}).setdefault(patients[name], []).append(name)
    whole = sum(getattr(shares, kind) for kind in kinds)
    return {
        name: getattr(shares, kind) / whole / len(of_kind) / len(volumes)
        for kind, of_kind in kinds.items()
        for volumes in of_kind.values()
        for name in volumes
    }
