"""Hypothesis strategies for grids as scanners make them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from liver_unet.volume import Grid


@st.composite
def grids(draw: st.DrawFn, shear: float = 0.6, min_slices: int = 3) -> Grid:
    """Draw an oblique grid, its slice axis leaning by up to `shear` mm per mm against the normal.

    Rows are square to columns, as DICOM wants; any axis may run backwards.
    """
    shape = draw(
        st.tuples(st.integers(min_slices, min_slices + 4), st.integers(2, 8), st.integers(2, 8))
    )
    spacing_mm = [draw(st.floats(0.4, 8)) for _ in range(3)]
    turn = Rotation.from_euler("xyz", [draw(st.floats(-3.1, 3.1)) for _ in range(3)]).as_matrix()
    along_row, along_column, normal = turn.T
    lean = (
        draw(st.floats(-shear, shear)) * along_row + draw(st.floats(-shear, shear)) * along_column
    )
    affine = np.eye(4)
    affine[:3, 0] = (draw(st.sampled_from([-1.0, 1.0])) * normal + lean) * spacing_mm[0]
    affine[:3, 1] = along_column * spacing_mm[1]
    affine[:3, 2] = along_row * spacing_mm[2]
    affine[:3, 3] = [draw(st.floats(-900, 900)) for _ in range(3)]
    return Grid(shape, affine)
