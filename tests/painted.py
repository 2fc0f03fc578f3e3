"""Draw docs/painted.png: what a training paints, each on the made-up abdomen. `make painted`"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from liver_unet.training.augmentation import Augmentation
from liver_unet.training.cases import Case
from liver_unet.training.geometry import draw_patch
from liver_unet.training.held import HeldCase, held_case
from liver_unet.training.patches import paint
from liver_unet.training.scanner import scan, to_network_input
from liver_unet.volume import fullest_sections
from tests.model.training.plain_patch import CPU, chance, only
from tests.support.phantom import abdomen

SHAPE, SPACING_MM = (112, 128, 160), 2.5
WINDOW_HU = (-200.0, 250.0)
ROW = 5
ALWAYS = {"bend_mm": (-1.0, 0.0), "turn_deg": (0.0, 0.0, 0.0), "size_ratio": (1.0, 1.0)}
# Each with the seed that shows it well.
PAINTED: dict[str, tuple[int, dict[str, object]]] = {
    "as it is": (1, {}),
    "another phase": (3, {"as_scanned": 0.0, "phase": 1.0, "phase_share": (1.0, 1.0)}),
    "contrast taken away": (1, {"contrast_lost": 1.0, "contrast_kept_share": (0.1, 0.1)}),
    "fat": (1, {"as_scanned": 0.0, "fat": 1.0, "fat_darker_hu": (75.0, 75.0)}),
    "tumours": (5, {"lesions": 1.0, "lesion_radius_mm": (20.0, 40.0), "lesion_rim": 1.0}),
    "a mass like the liver": (6, {"mass": 1.0, "mass_like_liver": 1.0}),
    "a necrotic mass": (2, {"mass": 1.0, "mass_hu": (10.0, 10.0), "mass_rim": 1.0}),
    "effusion": (1, {"effusion": 1.0, "collapsed": 1.0}),
    "effusion at the back": (
        1,
        {"effusion": 1.0, "effusion_at_back": 1.0, "effusion_level_share": (0.0, 0.0)},
    ),
    "ascites": (1, {"ascites": 1.0, "ascites_reach_mm": (30.0, 30.0)}),
    "a full stomach": (1, {"full_stomach": 1.0}),
    "a grown spleen": (1, {"grown_spleen": 1.0, "grown_spleen_share": (0.6, 0.6)}),
    "noise of 80 HU": (1, {"noise": 1.0, "loud_noise": 1.0, "loud_noise_hu": (80.0, 80.0)}),
    "thick slices": (1, {"thick_slices": 1.0, "thick_slices_mm": (12.5, 12.5)}),
    "streaks": (1, {"streaks": 1.0, "streaks_hu": (35.0, 35.0)}),
    "rays": (2, {"rays": 1.0, "rays_hu": (80.0, 80.0)}),
    "bands of arms": (1, {"arms": 1.0, "arms_hu": (35.0, 35.0)}),
    "lung is not outside air": (1, {"aerated": 1.0, "higher_bound": 0.0}),
    "the scan ends": (2, {"scan_end": 1.0, "scan_end_share": (0.4, 0.4)}),
    "all by chance": (7, {}),
}


def patient() -> HeldCase:
    """Clipped as the training CTs are, with the neighbours that the phantom draws where it does."""
    phantom = abdomen((60, 140, 176), (5.0, 2.3, 2.2))
    hu, grid = phantom.volume.hu.clip(-125, 275), phantom.volume.grid
    organs = phantom.liver.astype(np.uint8)
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    points = grid.to_mm(index.astype(float))
    for number, centre, radii in (
        (2, (104, 38, 22), (30, 48, 50)),
        (3, (58, -22, 14), (42, 46, 52)),
    ):
        inside = (((points - centre) / radii) ** 2).sum(axis=-1) < 1
        organs[inside & (organs == 0) & (hu > 20)] = number
    names = {1: "liver", 2: "spleen", 3: "stomach"}
    ct = type(phantom.volume)(hu.astype(np.int16), grid)
    return held_case(Case("made up", ct, phantom.liver, organs, names), SPACING_MM, 2000.0, CPU)


def tile(case: HeldCase, name: str, seed: int, numbers: Augmentation) -> Image.Image:
    """An axial and a coronal plane: where most is painted, else through the middle."""
    random = chance(seed)
    shift = case.grid.to_mm((np.array(case.grid.shape) - 1) / 2)
    middle = HeldCase(**{**vars(case), "liver_points_mm": shift[None]})
    patch = draw_patch(middle, SHAPE, SPACING_MM, numbers, random)
    before = patch.hu.clone()
    paint(patch, numbers, random)
    scan(patch, numbers, random)
    image = to_network_input(patch, WINDOW_HU, numbers, random)
    changed = ((patch.hu - before).abs() > 25) & ~patch.outside
    z, y = 60, 64
    if 0 < float(changed.float().mean()) < 0.1:
        z, y, _ = fullest_sections(changed.numpy())
    planes = torch.cat([image[z], image[:, y].flip(0)])
    grey = Image.fromarray((planes.numpy() * 255).astype(np.uint8))
    ImageDraw.Draw(grey).text((3, 2), name, fill=255)
    return grey


def main() -> None:
    """Write the picture."""
    case, tiles = patient(), []
    for name, (seed, painted) in PAINTED.items():
        numbers = only(near_liver=1.0, near_liver_mm=0.0, **{**ALWAYS, **painted})
        if name == "all by chance":
            numbers = Augmentation(near_liver=1.0, near_liver_mm=0.0)
        tiles.append(tile(case, name, seed, numbers))
    width, height = tiles[0].size
    whole = Image.new("L", (width * ROW, height * -(-len(tiles) // ROW)))
    for number, one in enumerate(tiles):
        whole.paste(one, (number % ROW * width, number // ROW * height))
    path = Path(__file__).resolve().parents[1] / "docs" / "painted.png"
    whole.quantize(48).save(path, optimize=True)


if __name__ == "__main__":
    main()
