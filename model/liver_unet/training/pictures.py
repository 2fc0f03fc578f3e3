"""Pictures of a training: its curves, and where its validation cases go wrong."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from liver_unet.liver import LIVER
from liver_unet.training.curves import Curve
from liver_unet.training.patches import Sample
from liver_unet.volume import fullest_sections
from liver_unet.whole_file import whole_file

_PANEL = 400
_TRUTH_RGB = (60, 220, 90)
_NETWORK_RGB = (240, 70, 60)


def overlay(
    image: NDArray[np.float32], truth: NDArray[np.bool_], mask: NDArray[np.bool_]
) -> Image.Image:
    """Show the axial and the coronal plane with most wrong voxels, truth green, network red.

    Arrays are on the model's grid: slices to the head, rows to the back, columns to the left.
    """
    z, y, _ = fullest_sections(truth ^ mask)
    axial = _panel(image[z], truth[z], mask[z])
    coronal = _panel(image[::-1, y], truth[::-1, y], mask[::-1, y])
    return montage([[axial, coronal]])


def pictures_of(samples: Sequence[Sample]) -> Image.Image:
    """Show of each training patch the fullest axial and coronal plane of the liver, four a row."""
    panels = []
    for sample in samples:
        image, liver = sample.image.cpu().numpy(), (sample.classes == LIVER).cpu().numpy()
        panels.append(overlay(image, liver, np.zeros_like(liver)))
    return montage([panels[first : first + 4] for first in range(0, len(panels), 4)])


def montage(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Put pictures into rows, top left first."""
    width = max(sum(picture.width for picture in row) for row in rows)
    height = sum(max(picture.height for picture in row) for row in rows)
    whole = Image.new("RGB", (width, height))
    top = 0
    for row in rows:
        left = 0
        for picture in row:
            whole.paste(picture, (left, top))
            left += picture.width
        top += max(picture.height for picture in row)
    return whole


def save_picture(picture: Image.Image, path: Path) -> None:
    """As PNG."""
    with whole_file(path) as part:
        picture.save(part, format="PNG")


def _panel(
    plane: NDArray[np.float32], truth: NDArray[np.bool_], mask: NDArray[np.bool_]
) -> Image.Image:
    # Enlarge first, so that outlines stay one pixel thin.
    times = max(1, _PANEL // max(plane.shape))
    grey = plane.repeat(times, 0).repeat(times, 1)
    true, found = (region.repeat(times, 0).repeat(times, 1) for region in (truth, mask))
    rgb = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=2)
    for region, colour in ((true, _TRUTH_RGB), (found, _NETWORK_RGB)):
        rgb[region & ~binary_erosion(region)] = colour
    panel = Image.new("RGB", (_PANEL, _PANEL))
    picture = Image.fromarray(rgb)
    picture.thumbnail((_PANEL, _PANEL))
    panel.paste(picture, ((_PANEL - picture.width) // 2, (_PANEL - picture.height) // 2))
    return panel


def draw_curves(loss: Curve, validation: Curve, path: Path) -> None:
    """Draw loss and validation DSC over the patches; needs matplotlib, the "train" extra."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  an extra, not needed to train
    except ImportError:
        logging.getLogger(__name__).warning(
            "%s is not drawn: install orthanc-liver[train] for curves as a picture", path.name
        )
        return
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = loss.rows()
    left.plot([int(r["patches"]) for r in rows], [float(r["loss"]) for r in rows])
    left.set(xlabel="patches", ylabel="loss")
    by_case: dict[str, list[tuple[int, float]]] = {}
    for row in validation.rows():
        by_case.setdefault(row["case"], []).append((int(row["patches"]), float(row["dsc"])))
    for case, points in by_case.items():
        right.plot(*zip(*points, strict=True), marker=".", label=case)
    right.set(xlabel="patches", ylabel="DSC on the CT's grid")
    if by_case:
        right.legend(fontsize="small")
    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=110)
