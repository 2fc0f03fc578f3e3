"""SimpleITK's registrations as they are used here: fixed is the new CT, moving an atlas.

Transforms take points of the fixed CT (LPS, mm) to points of the atlas.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from liver_unet.volume import Grid

Image = Any  # SimpleITK's classes have no types
Transform = Any

_SEED = 1
# What in a clipped CT is body and not air.
BODY_HU = -115.0
_BINS = 32
# A first guess compares the CTs at every such offset along the body.
_SEARCH_MM = np.arange(-240.0, 241.0, 12.0)
# The least share of the fixed body that must lie inside the atlas' field of view.
_LEAST_OVERLAP = 0.3
_GUESSES = 3
_OUTSIDE_HU = -10_000.0
# Points at which two CTs are compared in one step.
_SAMPLES = 30_000
# Voxels of 3 mm in one, and iterations.
_DEMONS = ((4, 60), (2, 40), (1, 15))
# In voxels of each level: how stiff the tissue is.
_FIELD_SMOOTHING = 1.0


def to_image(array: NDArray[np.int16] | NDArray[np.float32], grid: Grid) -> Image:
    """An image of SimpleITK from an array on an upright grid."""
    image = sitk.GetImageFromArray(array.astype(np.float32))
    image.SetSpacing([float(s) for s in grid.spacing_mm[::-1]])
    image.SetOrigin([float(x) for x in grid.affine[:3, 3]])
    return image


def moved(moving: Image, fixed: Image, transform: Transform, outside: float) -> Image:
    """The atlas' image as it lies on the fixed CT."""
    return sitk.Resample(moving, fixed, transform, sitk.sitkLinear, outside)


def affine(fixed: Image, moving: Image) -> Transform | None:
    """Align whole bodies: the best offsets along the body, then affine at 12 and 6 mm.

    None where the two show no common part of a body.
    """
    coarse = _shrunk(fixed, 4), _shrunk(moving, 4)
    fine = _shrunk(fixed, 2), _shrunk(moving, 2)
    tried = [_optimised(*coarse, guess) for guess in _first_guesses(*coarse)]
    if not tried:
        return None
    best, _ = min(tried, key=lambda found: found[1])
    return _optimised(*fine, best)[0]


def affine_here(fixed: Image, moving: Image, start: Transform) -> Transform:
    """Improve an affine alignment on a fixed image that shows only the part that matters."""
    return _optimised(_shrunk(fixed, 2), _shrunk(moving, 2), start)[0]


def _first_guesses(fixed: Image, moving: Image) -> list[Transform]:
    """Bodies one upon the other, moved along each other to where they are most alike."""
    middle_mm = _middle_of_body(fixed)
    offset_mm = _middle_of_body(moving) - middle_mm
    body = sitk.GetArrayViewFromImage(fixed) > BODY_HU
    scored: list[tuple[float, float, Transform]] = []
    for along_mm in _SEARCH_MM:
        guess = sitk.AffineTransform(3)
        guess.SetCenter(middle_mm.tolist())
        guess.SetTranslation([*offset_mm[:2], offset_mm[2] + along_mm])
        there = sitk.GetArrayFromImage(moved(moving, fixed, guess, _OUTSIDE_HU))
        inside = body & (there > _OUTSIDE_HU / 2)
        if inside.sum() >= _LEAST_OVERLAP * body.sum():
            scored.append((_correlation(fixed, there, inside), -abs(along_mm), guess))
    scored.sort(key=lambda one: one[:2], reverse=True)
    return [guess for _, _, guess in scored[:_GUESSES]]


def _correlation(fixed: Image, there: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    here = sitk.GetArrayViewFromImage(fixed)[inside]
    return float(np.corrcoef(here, there[inside])[0, 1])


def _middle_of_body(image: Image) -> NDArray[np.float64]:
    body = sitk.GetArrayViewFromImage(image) > BODY_HU
    across = ((0, 1), (0, 2), (1, 2))
    index = np.array([np.flatnonzero(body.any(axis=axes)).mean() for axes in across])
    return np.array(image.TransformContinuousIndexToPhysicalPoint(index.tolist()))


def _shrunk(image: Image, factor: int) -> Image:
    return sitk.BinShrink(image, [factor] * 3)


def _optimised(fixed: Image, moving: Image, start: Transform) -> tuple[Transform, float]:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, _SAMPLES / fixed.GetNumberOfPixels()), _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=4.0, minStep=0.05, numberOfIterations=100, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    found = sitk.AffineTransform(start)
    method.SetInitialTransform(found, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # it moved one image off the other
        return start, np.inf
    return found, float(method.GetMetricValue())


def deformed(fixed: Image, moving: Image, start: Transform) -> Transform:
    """Bend an atlas that is aligned already, by demons at 12, 6 and 3 mm.

    Demons compare HU directly, so the atlas' are first given the fixed CT's distribution.
    """
    there = moved(moving, fixed, start, float(sitk.GetArrayViewFromImage(moving).min()))
    there = sitk.HistogramMatching(there, fixed, 256, 15, True)
    field: Image = None
    for shrink, iterations in _DEMONS:
        here, moving_here = _shrunk(fixed, shrink), _shrunk(there, shrink)
        demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfIterations(iterations)
        demons.SetStandardDeviations(_FIELD_SMOOTHING)
        demons.SetSmoothUpdateField(True)
        demons.SetUpdateFieldStandardDeviations(1.0)
        begin: list[Image] = [] if field is None else [sitk.Resample(field, here)]
        field = demons.Execute(here, moving_here, *begin)
    field = sitk.Cast(sitk.Resample(field, fixed), sitk.sitkVectorFloat64)
    return sitk.CompositeTransform([start, sitk.DisplacementFieldTransform(field)])
