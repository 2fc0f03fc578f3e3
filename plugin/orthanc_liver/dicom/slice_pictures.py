"""A CT's own slices as pictures, with the outline on them and what is to be said below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from liver_unet.picture import edge_of, grey_of
from orthanc_liver.dicom.captions import in_letters_of
from orthanc_liver.dicom.ct_series import CtSeries
from orthanc_liver.dicom.result import LOOK_HERE_COLOUR, RoiStyle

Picture = NDArray[np.uint8]
Line = tuple[str, tuple[int, ...]]

WHITE, ALARMING = (255, 255, 255), (255, 90, 60)
_MOST_PIXELS = 512
_FONT_PIXELS, _LINE_PIXELS, _MARGIN_PIXELS = 14, 18, 6
# Towards which side of the patient each axis of LPS goes.
_SIDES = (("R", "L"), ("A", "P"), ("F", "H"))


@dataclass(frozen=True, eq=False)
class OutlinedSlices:
    """The CT's own slices and, as (slice, row, column) of them, what is outlined on them; look_at:
    the first and the last, from 1, of those to look at first."""

    series: CtSeries
    mask: NDArray[np.bool_]
    look_here: NDArray[np.bool_] | None
    style: RoiStyle
    look_at: Sequence[tuple[int, int]] = ()

    def with_liver(self, most: int) -> range:
        """Those from the first to the last that hold liver, or one of so many where they are more
        than most."""
        holding = np.flatnonzero(self.mask.any(axis=(1, 2)))
        first, end = int(holding[0]), int(holding[-1]) + 1
        return range(first, end, -(-(end - first) // most))

    @property
    def every(self) -> int:
        """Which pixels of a large matrix are shown: one of so many, so that pictures stay small."""
        longest: int = max(self.mask.shape[1:])
        return -(-longest // _MOST_PIXELS)

    @property
    def sides(self) -> tuple[str, str]:
        """Towards which side of the patient rows and columns go."""
        axes = self.series.volume.grid.affine[:3, [2, 1]].T
        mains = [int(np.argmax(np.abs(axis))) for axis in axes]
        along, down = (_SIDES[m][int(a[m] > 0)] for m, a in zip(mains, axes, strict=True))
        return along, down

    def picture(self, number: int) -> Picture:
        """One slice with its outlines, which leave free what they surround."""
        volume, every = self.series.volume, self.every
        grey = grey_of(volume.hu[volume.own_slices[number], ::every, ::every])
        picture = np.repeat(grey[:, :, None], 3, axis=2)
        if self.look_here is not None:
            picture[edge_of(self.look_here[number, ::every, ::every])] = LOOK_HERE_COLOUR
        picture[edge_of(self.mask[number, ::every, ::every])] = self.style.colour
        return picture

    def picture_with_sides(self, number: int) -> Picture:
        """The same with the patient's sides at the borders."""
        image = Image.fromarray(self.picture(number))
        right, _ = self.sides
        left = next(one[one[0] == right] for one in _SIDES if right in one)
        middle, draw, font = image.height / 2, ImageDraw.Draw(image), _font()
        draw.text((_MARGIN_PIXELS, middle), left, WHITE, font, anchor="lm")
        draw.text((image.width - _MARGIN_PIXELS, middle), right, WHITE, font, anchor="rm")
        return np.asarray(image)


def with_text_below(pictures: Sequence[tuple[Picture, Sequence[Line]]]) -> list[Picture]:
    """Each with its lines in a band that is added below, so that nothing is covered; all alike in
    size."""
    bands = [_band(picture.shape[1], lines) for picture, lines in pictures]
    tallest = max(band.shape[0] for band in bands)
    return [
        np.concatenate([picture, np.pad(band, ((0, tallest - band.shape[0]), (0, 0), (0, 0)))])
        for (picture, _), band in zip(pictures, bands, strict=True)
    ]


def _band(width: int, lines: Sequence[Line]) -> Picture:
    font = _font()
    wrapped = [
        (part, colour)
        for text, colour in lines
        for part in _wrapped(in_letters_of("ascii", text), width - 2 * _MARGIN_PIXELS, font)
    ]
    height = len(wrapped) * _LINE_PIXELS + 2 * _MARGIN_PIXELS
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    for number, (text, colour) in enumerate(wrapped):
        place = _MARGIN_PIXELS, _MARGIN_PIXELS + number * _LINE_PIXELS
        draw.text(place, text, tuple(colour), font)
    return np.asarray(image)


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _font() -> ImageFont.FreeTypeFont:
    """Pillow's own, which has the letters of ASCII."""
    font = ImageFont.load_default(_FONT_PIXELS)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    return font
