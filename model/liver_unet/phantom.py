"""A made-up abdomen in portal venous phase whose liver is known.

Drawn in patient millimetres (LPS) around a point between the kidneys' upper poles, so that another
shape or spacing shows the same patient. It tells whether all is connected, and the same as before;
never how accurate it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from liver_unet.volume import AIR_HU, Grid, Volume

Point = tuple[float, float, float]
ROOM_HU = -1000


@dataclass(frozen=True, eq=False)
class Phantom:
    """volume: int16 HU; liver (tumours included) and tumours: masks on the volume's grid."""

    volume: Volume
    liver: NDArray[np.bool_]
    tumours: NDArray[np.bool_]


def abdomen(
    shape: tuple[int, int, int] = (60, 200, 256),
    spacing_mm: tuple[float, float, float] = (5.0, 1.6, 1.5),
    seed: int = 1,
) -> Phantom:
    """Return the patient head first, supine; (slice, row, column) shape and spacing.

    The patient fills about 300 x 320 x 384 mm. The seed moves tumours, vessels and noise.
    """
    rng = np.random.default_rng(seed)
    canvas = Canvas(shape, spacing_mm)
    _draw_body(canvas)
    _draw_lungs_and_heart(canvas)
    liver = _liver_shape(canvas)
    canvas.hu[liver] = 108
    _draw_liver_vessels(canvas, liver, rng)
    tumours = _draw_tumours(canvas, liver, rng)
    _draw_other_organs(canvas, liver)
    _draw_bones(canvas)
    _draw_table(canvas)
    hu = scanned(canvas.hu, spacing_mm, rng)
    return Phantom(Volume(hu, canvas.grid), liver, tumours)


class Canvas:
    """HU on an upright grid, painted shape by shape; later shapes cover earlier ones."""

    def __init__(self, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> None:
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2] = spacing_mm
        half_mm = (np.array(shape) - 1) / 2 * spacing_mm
        affine[:3, 3] = -half_mm[::-1] + (0.0, 12.0, 5.0)  # the table needs room behind the back
        affine[3, 3] = 1
        self.grid = Grid(shape, affine)
        self.hu = np.full(shape, ROOM_HU, dtype=np.float32)
        z, y, x = (
            (first + np.arange(n) * step).astype(np.float32)
            for first, n, step in zip(affine[2::-1, 3], shape, spacing_mm, strict=True)
        )
        self.z, self.y, self.x = z[:, None, None], y[None, :, None], x[None, None, :]

    def box(self, low: ArrayLike, high: ArrayLike) -> tuple[slice, slice, slice]:
        """Return the part of the array between two (x, y, z) corners."""
        corners = np.array([low, high]).T
        parts = [
            slice(*np.searchsorted(axis.ravel(), corners[i]))
            for i, axis in ((2, self.z), (1, self.y), (0, self.x))
        ]
        return parts[0], parts[1], parts[2]

    def part(self, box: tuple[slice, slice, slice]) -> tuple[NDArray[np.float32], ...]:
        return self.x[:, :, box[2]], self.y[:, box[1]], self.z[box[0]]

    def ellipsoid(self, centre: Point, radii: Point, wobble: float = 0.0) -> NDArray[np.bool_]:
        """Return the mask of an ellipsoid, its surface waved by a fraction of its radius."""
        reach = np.array(radii) * (1 + wobble)
        box = self.box(np.subtract(centre, reach), np.add(centre, reach))
        x, y, z = self.part(box)
        u, v, w = ((a - c) / r for a, c, r in zip((x, y, z), centre, radii, strict=True))
        level = u * u + v * v + w * w
        if wobble:
            level = level + wobble * np.sin(3 * u + 2 * w) * np.sin(3 * v - 2 * u + 1)
        mask = np.zeros(self.hu.shape, dtype=bool)
        mask[box] = level < 1
        return mask

    def tube(self, start: Point, end: Point, radius_mm: float) -> NDArray[np.bool_]:
        low = np.minimum(start, end) - radius_mm
        box = self.box(low, np.maximum(start, end) + radius_mm)
        d = np.subtract(end, start)
        x, y, z = (a - s for a, s in zip(self.part(box), start, strict=True))
        along = np.clip((x * d[0] + y * d[1] + z * d[2]) / (d @ d), 0, 1)
        away = (x - along * d[0]) ** 2 + (y - along * d[1]) ** 2 + (z - along * d[2]) ** 2
        mask = np.zeros(self.hu.shape, dtype=bool)
        mask[box] = away < radius_mm**2
        return mask

    def inside_body(self, depth_mm: float) -> NDArray[np.bool_]:
        """Return the torso, shrunk by a depth; wider at the hips, flatter at the back."""
        width = 168 - depth_mm - 10 * np.exp(-(((self.z + 40) / 60) ** 2))
        height = np.where(self.y > 0, 98, 112) - depth_mm
        level = np.abs(self.x / width) ** 2.3 + np.abs(self.y / height) ** 2.3
        return np.asarray(level < 1)


def _draw_body(canvas: Canvas) -> None:
    canvas.hu[canvas.inside_body(0)] = 40  # skin
    canvas.hu[canvas.inside_body(2)] = -105  # fat below it
    canvas.hu[canvas.inside_body(18)] = 58  # muscle
    canvas.hu[canvas.inside_body(30)] = -98  # fat between the organs


def _diaphragm_z_mm(canvas: Canvas) -> NDArray[np.float32]:
    """Height of the diaphragm's two domes, the right one higher, over (row, column)."""
    x, y = canvas.x[0], canvas.y[0]
    right = 92 - ((x + 72) / 92) ** 2 * 75 - ((y - 0) / 92) ** 2 * 75
    left = 74 - ((x - 80) / 80) ** 2 * 75 - ((y - 0) / 92) ** 2 * 75
    return np.asarray(np.maximum(np.maximum(right, left), -12))


def _draw_lungs_and_heart(canvas: Canvas) -> None:
    chest = canvas.inside_body(36)
    above = canvas.z > _diaphragm_z_mm(canvas)[None] + 3
    mediastinum = (np.abs(canvas.x - 4) < 26 + 0.1 * canvas.y) & (canvas.y > -85)
    canvas.hu[chest & above & ~mediastinum] = -860
    canvas.hu[chest & above & mediastinum] = -85
    canvas.hu[canvas.tube((2, 32, 160), (6, 28, 60), 8) & above] = 40  # oesophagus
    for start, end, radius in (  # vessels of the lungs
        ((-60, 20, 160), (-75, 30, 85), 4),
        ((-60, 0, 160), (-100, -10, 80), 3),
        ((70, 15, 160), (85, 30, 75), 4),
        ((70, 0, 160), (110, 5, 60), 3),
    ):
        canvas.hu[canvas.tube(start, end, radius) & above] = 120
    heart = canvas.ellipsoid((28, -38, 112), (62, 48, 50), 0.08) & above
    canvas.hu[heart] = 60
    canvas.hu[heart & canvas.ellipsoid((34, -38, 116), (44, 33, 36))] = 165


def _liver_shape(canvas: Canvas) -> NDArray[np.bool_]:
    right = canvas.ellipsoid((-72, -2, 5), (80, 90, 92), 0.10)
    left = canvas.ellipsoid((0, -48, 34), (88, 42, 40), 0.12)
    tip = canvas.ellipsoid((-96, 10, -62), (38, 52, 48), 0.08)
    liver = right | left | tip
    liver &= canvas.inside_body(38)
    liver &= canvas.z < _diaphragm_z_mm(canvas)[None]
    # Its under side: a slanting plane with room for gallbladder, kidney, stomach and great vessels.
    liver &= (canvas.z > -0.55 * canvas.x - 92 + 0.25 * canvas.y) | tip
    for centre, radii in (
        ((-58, 62, -52), (40, 38, 62)),
        ((62, 0, 8), (52, 62, 70)),
        ((-38, -62, -62), (26, 34, 44)),
        ((10, 60, 20), (46, 46, 140)),
    ):
        liver &= ~canvas.ellipsoid(centre, radii)
    labels, count = ndimage.label(liver)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return np.asarray(labels == 1 + int(np.argmax(sizes)))


def _draw_liver_vessels(canvas: Canvas, liver: NDArray[np.bool_], rng: np.random.Generator) -> None:
    porta, cava = np.array([-32.0, 2.0, -8.0]), np.array([-22.0, 22.0, 62.0])
    for trunk, ends in (
        (porta, [(-75, 5, 0), (-20, -40, 25), (-90, 45, 15), (-80, -40, -5), (10, -55, 35)]),
        (cava, [(-95, 20, 20), (-70, -50, 30), (-5, -55, 45), (-110, 40, 0)]),
    ):
        for end in ends:
            fork = np.array(end) + rng.normal(0, 4, 3)
            canvas.hu[canvas.tube(tuple(trunk), tuple(fork), 4.5) & liver] = 165
            for _ in range(3):
                twig = fork + (fork - trunk) * 0.45 + rng.normal(0, 16, 3)
                canvas.hu[canvas.tube(tuple(fork), tuple(twig), 2.6) & liver] = 158


def _draw_tumours(
    canvas: Canvas, liver: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.bool_]:
    tumours = np.zeros_like(liver)
    for centre, radius in (((-100, 15, 28), 22), ((-62, -38, 18), 14), ((-105, 30, -40), 11)):
        moved = np.array(centre) + rng.normal(0, 3, 3)
        x, y, z = (float(v) for v in moved)
        tumour = canvas.ellipsoid((x, y, z), (radius, radius * 0.85, radius * 1.1), 0.15) & liver
        core = canvas.ellipsoid((x + 2, y, z), (radius * 0.55, radius * 0.5, radius * 0.6), 0.1)
        canvas.hu[tumour] = 72
        canvas.hu[core & tumour] = 38
        tumours |= tumour
    return tumours


def _draw_other_organs(canvas: Canvas, liver: NDArray[np.bool_]) -> None:
    room = canvas.inside_body(32) & ~liver & (canvas.z < _diaphragm_z_mm(canvas)[None])
    for hu, centre, radii in (
        (62, (-42, 68, -100), (24, 24, 80)),  # psoas and back muscles
        (62, (42, 68, -100), (24, 24, 80)),
        (12, (-38, -60, -58), (15, 19, 28)),  # gallbladder
        (95, (14, -8, -22), (52, 13, 14)),  # pancreas
        (125, (104, 38, 22), (30, 48, 50)),  # spleen
        (60, (58, -22, 14), (42, 46, 52)),  # stomach's wall
        (250, (58, -20, 12), (38, 42, 48)),  # contrast in it
        (185, (-60, 58, -55), (29, 28, 54)),  # right kidney
        (150, (-55, 56, -55), (15, 14, 34)),
        (190, (66, 56, -38), (28, 28, 56)),  # left kidney
        (150, (61, 54, -38), (14, 14, 36)),
    ):
        canvas.hu[canvas.ellipsoid(centre, radii, 0.06) & room] = hu
    bubble = canvas.ellipsoid((58, -20, 12), (38, 42, 48)) & (canvas.y < -44)
    canvas.hu[bubble & room] = -950
    _draw_bowel(canvas, room)
    canvas.hu[canvas.tube((12, 46, -160), (16, 50, 160), 11)] = 170  # aorta
    canvas.hu[canvas.tube((-20, 34, -160), (-22, 20, 66), 12) & ~liver] = 150  # vena cava
    canvas.hu[canvas.tube((30, 4, -30), (-32, 2, -8), 6.5)] = 168  # portal vein


def _draw_bowel(canvas: Canvas, room: NDArray[np.bool_]) -> None:
    loops: tuple[tuple[Point, Point, float], ...] = (
        ((-108, -12, -170), (-104, -24, -142), 22),  # colon, ascending
        ((-95, -55, -108), (20, -82, -95), 20),
        ((20, -82, -95), (108, -30, -60), 20),
        ((112, 0, -60), (110, 10, -150), 18),
        ((-60, -20, -120), (30, -35, -135), 17),  # small bowel
        ((40, -30, -110), (80, 0, -120), 16),
        ((-30, 10, -140), (60, 15, -145), 17),
        ((60, -10, -80), (10, -45, -75), 14),
    )
    for number, (start, end, radius) in enumerate(loops):
        canvas.hu[canvas.tube(start, end, radius) & room] = 65
        inside = canvas.tube(start, end, radius - 3) & room
        canvas.hu[inside] = (210, 25, 180, 30)[number % 4]
        gas_level = min(start[1], end[1]) - radius * 0.2
        canvas.hu[inside & (canvas.y < gas_level)] = -900


def _draw_bones(canvas: Canvas) -> None:
    bone_z = (canvas.z + 200) % 34
    spine = canvas.tube((0, 74, -170), (0, 74, 170), 22)
    canvas.hu[spine & (bone_z < 28)] = 480
    canvas.hu[canvas.tube((0, 74, -170), (0, 74, 170), 18.5) & (bone_z < 28)] = 210
    canvas.hu[spine & (bone_z >= 28)] = 85  # discs
    arch = canvas.tube((0, 92, -170), (0, 92, 170), 12) & ~spine
    canvas.hu[arch & (bone_z < 20)] = 420
    canvas.hu[canvas.tube((0, 90, -170), (0, 90, 170), 7.5)] = 30  # spinal canal
    cage = canvas.inside_body(20) & ~canvas.inside_body(30)
    height = canvas.z - 0.45 * canvas.y + 0.1 * np.abs(canvas.x)
    costal_margin = -70 + 0.9 * np.maximum(-canvas.y, 0)
    ribs = cage & (height % 30 < 12) & (canvas.z > costal_margin)
    canvas.hu[ribs] = 430
    canvas.hu[ribs & canvas.inside_body(22.5) & ~canvas.inside_body(27.5)] = 180
    canvas.hu[canvas.tube((0, -94, 60), (0, -92, 170), 9)] = 350  # sternum


def _draw_table(canvas: Canvas) -> None:
    bed = np.abs(canvas.y - (112 - (canvas.x / 45) ** 2)) < 5
    canvas.hu[(bed & (np.abs(canvas.x) < 170)) & (canvas.hu == ROOM_HU)] = -780
    rail = (np.abs(canvas.y - 140) < 4) & (np.abs(canvas.x + 20) < 130)
    canvas.hu[np.broadcast_to(rail, canvas.hu.shape)] = 60


def scanned(
    hu: NDArray[np.float32], spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> NDArray[np.int16]:
    """Blur in-plane by what a soft kernel does, add the grainy noise that goes with it."""
    sigma = (0.0, 0.9 / spacing_mm[1], 0.9 / spacing_mm[2])
    blurred = ndimage.gaussian_filter(hu, sigma, truncate=3)
    noise = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), sigma)
    noise *= 11 / max(float(noise.std()), 1e-6)
    return np.asarray(np.clip(np.rint(blurred + noise), AIR_HU, 3071).astype(np.int16))
