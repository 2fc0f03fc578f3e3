"""Where patches are laid so that all of a liver is seen well, by as few of them as can be found.

A grid of patches that overlap by half sees most of a liver eight times, and how many of them meet
it depends on where the scan begins. What counts is that each voxel lies well inside a patch once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from liver_unet.volume import Box, Shape

Mask = NDArray[np.bool_]

# Of a patch along each axis: what is seen there is seen well. Further out a patch weighs little.
_MIDDLE = 0.75
# Reckoned in blocks of voxels, so many along the shortest side of a patch.
_BLOCKS = 12


class Cover:
    """What of an image patches have seen well; patch: no longer than the image along any axis.

    patches: how many that took.
    """

    def __init__(self, image: Shape, patch: Shape) -> None:
        self._image, self._patch = np.array(image), np.array(patch)
        self._block = max(1, min(patch) // _BLOCKS)
        self._inner = np.maximum(1, (self._patch * _MIDDLE / self._block).astype(int))
        self._rim = (self._patch - self._inner * self._block) // 2
        self.patches = 0
        self._seen = np.zeros(-(-self._image // self._block), dtype=bool)

    def patches_for(self, liver: Mask) -> list[Box]:
        """Return the patches that see all of it that none has seen well, and count them as done.

        Always the one next that sees most of what is left: at most a few more than it takes.
        """
        left = self._in_blocks(liver) & ~self._seen
        patches = []
        while left.any():
            start, inside = self._best(left)
            self._seen[inside] = True
            left[inside] = False
            z, y, x = (slice(n, n + m) for n, m in zip(start, self._patch.tolist(), strict=True))
            patches.append((z, y, x))
        self.patches += len(patches)
        return patches

    def _best(self, left: Mask) -> tuple[list[int], Box]:
        """The first voxel of a patch, and the blocks that it sees well; at the image's border all
        up to there."""
        counts = _counts(left, self._inner)
        first = np.array(np.unravel_index(counts.argmax(), counts.shape))
        found = np.argwhere(left[_box(first, first + self._inner)]) + first
        # In the middle of what it is for, so that there is as much beyond on either side.
        first = (found.min(axis=0) + found.max(axis=0) + 1 - self._inner) // 2
        last_start = self._image - self._patch
        start = np.clip(first * self._block - self._rim, 0, last_start)
        low = np.where(start == 0, 0, -(-(start + self._rim) // self._block))
        stop = (start + self._patch - self._rim) // self._block
        high = np.where(start == last_start, self._seen.shape, stop)
        return start.tolist(), _box(low, high)

    def _in_blocks(self, liver: Mask) -> Mask:
        for axis in (2, 1, 0):
            starts = np.arange(0, liver.shape[axis], self._block)
            liver = np.logical_or.reduceat(liver, starts, axis=axis)
        more = zip(self._seen.shape, liver.shape, strict=True)
        return np.pad(liver, [(0, n - have) for n, have in more])


def _counts(left: Mask, inner: NDArray[np.intp]) -> NDArray[np.int32]:
    """How much is left in the blocks that begin at each and are so many."""
    counts = left.astype(np.int32)
    for axis, length in enumerate(inner.tolist()):
        size = counts.shape[axis]
        edge = [(int(i == axis), 0) for i in range(3)]
        summed = np.cumsum(np.pad(counts, edge), axis=axis, dtype=np.int32)
        begin = np.arange(size)
        end = np.minimum(begin + length, size)
        counts = summed.take(end, axis) - summed.take(begin, axis)
    return counts


def _box(low: NDArray[np.intp], high: NDArray[np.intp]) -> Box:
    z, y, x = (slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    return z, y, x
