"""Every number of how training patches are drawn; a recipe's [augmentation] may set any of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import get_type_hints

from liver_unet.model_errors import TrainingRefused
from liver_unet.training.bounds import FINITE, NOT_NEGATIVE, POSITIVE, SHARE, Bounds, check

Range = tuple[float, float]
# What is divided by, or drawn evenly in its logarithm, by the end of its name.
_ABOVE_0 = ("_ratio", "_radius_mm", "_reach_mm", "_fade_mm", "_at_mm", "_edge_share")
# Beyond these a growth folds over; see growth.py.
_GROWN, _GROWN_SHARE = "grown_", Bounds(-2, 1, without_low=True, without_high=True)


@dataclass(frozen=True)
class Augmentation:
    """A float without a unit in its name is the share of patches in which that is painted.

    A pair of numbers is the range that one is drawn from, evenly; a single number with a unit is a
    standard deviation, a limit or a size, as its comment says.
    """

    # Where a patch lies. What is not near the liver lies anywhere within a share of the scan.
    near_liver: float = 0.7
    near_liver_mm: float = 45.0
    anywhere_share: Range = (0.12, 0.88)
    # One resampling: standard deviations of the turns about z, y, x; size of the body, of each of
    # its axes; a smooth displacement (below 0 mm: none).
    turn_deg: tuple[float, float, float] = (9.0, 6.0, 6.0)
    size_ratio: Range = (0.7, 1.42)
    stretch_ratio: Range = (0.92, 1.08)
    bend_mm: Range = (-3.0, 6.0)
    # Spleens, and parts of the liver, grow to 1 / (1 - share) times their size; or shrink.
    grown_spleen: float = 0.25
    grown_spleen_share: Range = (0.2, 0.65)
    grown_spleen_reach_mm: Range = (60.0, 120.0)
    grown_spleen_off_mm: float = 10.0
    grown_lobe: float = 0.15
    grown_lobe_share: Range = (-0.4, 0.45)
    grown_lobe_reach_mm: Range = (25.0, 70.0)
    near_grown: float = 0.5
    near_grown_mm: float = 60.0
    # The scan ends within the patch: after this share of its slices at most.
    scan_end: float = 0.2
    scan_end_share: Range = (0.0, 0.5)

    # Contrast, organ by organ, towards a phase's typical HU; each organ's and all organs' own shift
    # (standard deviations); fat makes the liver darker.
    as_scanned: float = 0.3
    phase: float = 0.5
    phase_share: Range = (0.3, 1.0)
    organ_hu: float = 12.0
    all_organs_hu: float = 8.0
    fat: float = 0.25
    fat_darker_hu: Range = (10.0, 75.0)
    organ_limits_hu: Range = (-120.0, 200.0)
    # Contrast agent taken away: what is brighter than unenhanced tissue is pressed towards it.
    contrast_lost: float = 0.3
    unenhanced_hu: Range = (30.0, 60.0)
    enhanced_hu: float = 250.0
    contrast_kept_share: Range = (0.05, 0.6)
    # How much stronger the liver's vessels and tumours stand out.
    liver_texture_ratio: Range = (0.3, 1.6)

    # Lesions within the liver; a share of them of any brightness, a share with a bright rim.
    lesions: float = 0.55
    lesion_count: Range = (1.0, 5.0)
    lesion_radius_mm: Range = (4.0, 60.0)
    lesion_hu: Range = (-80.0, -10.0)
    lesion_any: float = 0.3
    lesion_any_hu: Range = (-95.0, 60.0)
    lesion_rim: float = 0.3
    lesion_rim_hu: Range = (10.0, 60.0)
    # A mass against the liver; a share of them about as bright as it, from necrotic to bright else.
    mass: float = 0.25
    mass_radius_mm: Range = (15.0, 60.0)
    mass_within_mm: float = 12.0
    mass_like_liver: float = 0.35
    mass_darker_hu: Range = (0.0, 45.0)
    mass_hu: Range = (10.0, 130.0)
    mass_texture_hu: float = 10.0
    mass_rim: float = 0.3
    mass_rim_hu: Range = (10.0, 50.0)
    # Their shape: a lumpy ellipsoid with a soft edge, in shares of its radius.
    blob_axes_ratio: Range = (0.7, 1.3)
    blob_lumps_share: float = 0.25
    blob_edge_share: Range = (0.04, 0.12)

    # Fluid in place of lung: near the liver or everywhere; at the back or around; lung collapsed.
    effusion: float = 0.22
    effusion_near_liver: float = 0.8
    effusion_reach_mm: Range = (10.0, 70.0)
    effusion_at_back: float = 0.5
    effusion_level_share: Range = (-0.3, 0.35)
    effusion_hu: Range = (-5.0, 28.0)
    collapsed: float = 0.35
    collapsed_hu: Range = (30.0, 100.0)
    # Lung as a hospital's CT has it, where the training's was clipped to what air has.
    aerated: float = 0.08
    aerated_hu: Range = (-900.0, -600.0)
    aerated_texture_hu: float = 60.0
    ascites: float = 0.12
    ascites_reach_mm: Range = (8.0, 30.0)
    ascites_hu: Range = (-2.0, 25.0)
    fat_below_hu: float = -25.0
    full_stomach: float = 0.15
    full_stomach_hu: Range = (0.0, 45.0)
    fluid_texture_hu: float = 4.0

    # The scanner. Stored CT end at different HU: what is as dark as air becomes darker.
    darker_air: float = 0.7
    air_below_hu: float = -115.0
    darker_air_hu: Range = (0.0, 90.0)
    thick_slices: float = 0.35
    thick_slices_mm: Range = (3.0, 8.0)
    blur: float = 0.15
    # Standard deviation of the noise: half a bell curve's, or loud; larger voxels average it.
    noise: float = 0.75
    noise_hu: float = 14.0
    loud_noise: float = 0.12
    loud_noise_hu: Range = (30.0, 80.0)
    grainy_noise: float = 0.5
    noise_at_mm: float = 1.5
    # Parallel streaks; rays that fade with the distance from one or two points; bands of arms.
    streaks: float = 0.15
    streaks_hu: Range = (8.0, 35.0)
    rays: float = 0.15
    rays_hu: Range = (15.0, 80.0)
    rays_count: Range = (40.0, 220.0)
    rays_fade_mm: Range = (60.0, 250.0)
    arms: float = 0.08
    arms_hu: Range = (8.0, 35.0)
    arms_bands: Range = (4.0, 12.0)
    # Calibration, and the lower bound of the window.
    gain_ratio: Range = (0.9, 1.1)
    offset_hu: float = 8.0
    higher_bound: float = 0.5
    higher_bound_hu: float = -110.0

    def __post_init__(self) -> None:
        check(self, _bounds())
        types = get_type_hints(Augmentation)
        for field in fields(self):
            value = getattr(self, field.name)
            if types[field.name] == Range and value[0] > value[1]:
                raise TrainingRefused(
                    f"{field.name} = {list(value)}: the lower end must come first"
                )


@cache
def _bounds() -> dict[str, Bounds]:
    """By the names' units. What is below 0 here may be so; so may the HU that one is drawn from."""
    types = get_type_hints(Augmentation)
    bounds = {}
    for field in fields(Augmentation):
        name, is_range = field.name, types[field.name] == Range
        default = getattr(Augmentation, name)
        least = min(default) if isinstance(default, tuple) else default
        if name.endswith(_ABOVE_0):
            bounds[name] = POSITIVE
        elif name.startswith(_GROWN) and name.endswith("_share"):
            bounds[name] = _GROWN_SHARE
        elif types[name] is float and not name.endswith(("_hu", "_mm")):
            bounds[name] = SHARE
        elif least < 0 or (is_range and name.endswith("_hu")):
            bounds[name] = FINITE
        else:
            bounds[name] = NOT_NEGATIVE
    return bounds
