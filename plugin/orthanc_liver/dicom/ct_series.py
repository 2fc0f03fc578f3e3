"""The instances of one CT series -> Volume, or a refusal that says why."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.config import disable_value_validation
from pydicom.dataelem import RawDataElement

from liver_unet.model_errors import VolumeRefused
from liver_unet.plausible_hu import check_hu
from liver_unet.volume import AIRLIKE_HU, Grid, Volume
from orthanc_liver.dicom.copied_header import copied_header
from orthanc_liver.dicom.ct_image import CtImage, read_ct_image
from orthanc_liver.dicom.geometry import places_on_normal, stack_affine
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.dicom.passes import check_one_pass
from orthanc_liver.dicom.told_spacing import doubts_about_spacing
from orthanc_liver.dicom.uneven_slices import interpolate_hu, note_on_runs
from orthanc_liver.liver_errors import SeriesRefused

# Positions nearer than this are one position; the thinnest CT slices are ten times as far apart.
_SAME_POSITION_MM = 0.02
# Of whom the slices are, beside the PatientID.
_WHOSE = ("PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID")


@dataclass(frozen=True, eq=False)
class CtSeries:
    """One CT series as one volume.

    volume: slices ascend along row x column; int16 HU where every slice's rescale gives integers
    in range, else float32. sop_instance_uids: of volume.own_slices, in that order. header: the
    first slice's attributes without pixels, pixel description and private ones. warnings: sentences
    for the report.
    """

    volume: Volume
    sop_instance_uids: tuple[str, ...]
    header: pydicom.Dataset
    warnings: tuple[str, ...]


def read_ct_series(
    instances: Iterable[bytes],
    *,
    min_slices: int = 10,
    limit: MemoryLimit | None = None,
    projections: bool = False,
) -> CtSeries:
    """Build the volume from DICOM files in any order; each is decoded and let go.

    projections: read those too, with a warning.
    Raises SeriesRefused where the images do not make one trustworthy volume of CT, or would not
    fit the limit.
    """
    # pydicom's warnings quote values, and values may be the patient's.
    with disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images, notes = _read_images(instances, limit, projections=projections)
        images = _set_crossing_aside(images, notes)
        _check_alike(images)
        images = _set_duplicates_aside(_in_slice_order(images), notes)
        if len(images) < max(min_slices, 2):
            has = f"{len(images)} slice{'' if len(images) == 1 else 's'}"
            raise SeriesRefused(
                f"The series has {has} and at least {max(min_slices, 2)} are "
                "needed; send the complete series, or lower the minimum number of slices."
            )
        notes += check_one_pass(images)
        notes += _notes_on_the_patient(images)
        planes = [image.plane for image in images]
        places = places_on_normal(planes)
        affine = stack_affine(planes, places)
        notes += doubts_about_spacing(images, affine)
        notes += _notes_on_pixels(images)
        header = copied_header(images[0].header, notes)
    uids = tuple(plane.sop_instance_uid for plane in planes)
    is_uneven = places[-1] >= len(places)
    if is_uneven:
        notes.append(note_on_runs(planes, places, float(planes[0].normal @ affine[:3, 0])))
        if limit:
            replace(limit, instances=places[-1] + 1).check_images(*images[0].hu.shape)
    hu = _stacked(images, places)
    slices, rows, columns = hu.shape
    grid = Grid((slices, rows, columns), affine)
    measured = tuple(places) if is_uneven else ()
    return CtSeries(Volume(hu, grid, measured), uids, header, tuple(notes))


def doubts_about(series: CtSeries) -> tuple[str, ...]:
    """Return what is odd in the pixels; raises SeriesRefused where they are no CT in HU."""
    try:
        return tuple(check_hu(series.volume, [f"instance {u}" for u in series.sop_instance_uids]))
    except VolumeRefused as refusal:
        raise SeriesRefused(str(refusal)) from refusal


def _read_images(
    instances: Iterable[bytes], limit: MemoryLimit | None, *, projections: bool
) -> tuple[list[CtImage], list[str]]:
    images: list[CtImage] = []
    localizers = 0
    series = set()
    for file in instances:
        image = read_ct_image(file, limit, projections=projections)
        series.add(image.series)
        if len(series) > 1:
            raise SeriesRefused(
                "The images belong to more than one patient, study or series; "
                "give the images of one series."
            )
        if isinstance(image, CtImage):
            images.append(image)
        else:
            localizers += 1
    if not images:
        what = "only localizers" if localizers else "no images"
        raise SeriesRefused(f"The series holds {what}; choose a series of CT slices.")
    return images, [_aside(localizers, "localizers")] if localizers else []


def _aside(count: int, what: str) -> str:
    return f"Set aside: {what} ({count})."


def _set_crossing_aside(images: list[CtImage], notes: list[str]) -> list[CtImage]:
    """Keep the largest group of parallel images; scout views that do not say so cross it."""
    groups: list[list[CtImage]] = []
    for image in sorted(images, key=lambda i: i.plane.sop_instance_uid):
        for group in groups:
            if image.plane.is_parallel_to(group[0].plane):
                group.append(image)
                break
        else:
            groups.append([image])
    stack = max(groups, key=len)
    others = [image for group in groups if group is not stack for image in group]
    tilted = [image for image in others if not image.plane.crosses(stack[0].plane)]
    if tilted or len(others) * 2 >= len(images):
        odd = (tilted or others)[0].plane.sop_instance_uid
        raise SeriesRefused(
            f"The images are not parallel: {len(others)} of {len(images)} (such as instance {odd}) "
            "are oriented unlike the others; send each stack as a series of its own."
        )
    if others:
        notes.append(_aside(len(others), "images across the slices, as scout views are"))
    return stack


def _check_alike(images: Sequence[CtImage]) -> None:
    first = images[0]
    for image in images:
        pair = f"(instances {first.plane.sop_instance_uid} and {image.plane.sop_instance_uid})"
        if image.frame_of_reference_uid != first.frame_of_reference_uid:
            raise SeriesRefused(
                f"The series mixes frames of reference {pair}; send each as its own series."
            )
        if image.hu.shape != first.hu.shape:
            raise SeriesRefused(
                f"The series mixes image sizes {pair}; send each as its own series."
            )
        if not np.allclose(image.plane.spacing_mm, first.plane.spacing_mm, rtol=1e-4, atol=0):
            raise SeriesRefused(
                f"The series mixes pixel spacings {pair}; send each as its own series."
            )


def _in_slice_order(images: Sequence[CtImage]) -> list[CtImage]:
    normal = images[0].plane.normal
    return sorted(images, key=lambda i: (i.plane.position_mm @ normal, i.plane.sop_instance_uid))


def _set_duplicates_aside(images: Sequence[CtImage], notes: list[str]) -> list[CtImage]:
    """Keep one of identical images at one position; different ones there are two acquisitions."""
    normal = images[0].plane.normal
    kept: list[CtImage] = []
    for image in images:
        if kept:
            step_mm = image.plane.position_mm - kept[-1].plane.position_mm
            if step_mm @ normal < _SAME_POSITION_MM:
                if np.abs(step_mm).max() < _SAME_POSITION_MM and _same_pixels(image, kept[-1]):
                    continue
                raise SeriesRefused(
                    f"Two different images share one slice position (instances "
                    f"{kept[-1].plane.sop_instance_uid} and {image.plane.sop_instance_uid}): "
                    "the series holds two acquisitions; send each as its own series."
                )
        kept.append(image)
    if len({image.plane.sop_instance_uid for image in kept}) < len(kept):
        raise SeriesRefused(
            "Different images share one SOPInstanceUID; export the series again from its source."
        )
    if len(kept) < len(images):
        notes.append(_aside(len(images) - len(kept), "identical duplicates"))
    return kept


def _same_pixels(one: CtImage, other: CtImage) -> bool:
    return np.array_equal(one.hu, other.hu)


def _notes_on_the_patient(images: Sequence[CtImage]) -> list[str]:
    """The values themselves are never repeated."""
    notes = []
    for keyword in _WHOSE:
        uids = {_bytes(one, keyword): one.plane.sop_instance_uid for one in reversed(images)}
        if len(uids) > 1:
            pair = " and ".join(list(uids.values())[-1:-3:-1])
            notes.append(
                f"{keyword} differs within the series (as in instances {pair}): make sure that "
                "all slices are of one patient; the results carry the first slice's values."
            )
    return notes


def _bytes(image: CtImage, keyword: str) -> bytes:
    element = image.header.get_item(keyword)
    value = element.value if isinstance(element, RawDataElement) else None
    return (value or b"").strip(b" \0")


def _notes_on_pixels(images: Sequence[CtImage]) -> list[str]:
    notes = []
    lossy = sum(image.is_lossy for image in images)
    if lossy:
        notes.append(f"{lossy} of {len(images)} slices were compressed with loss; HU may be off.")
    projected = sum(image.is_projection for image in images)
    if projected:
        notes.append(
            f"{projected} of {len(images)} slices are projections (ImageType), in which organs "
            "have other sizes: the volume is not the organ's."
        )
    if any(image.unit == "US" for image in images):
        notes.append("RescaleType is US (unspecified); the rescaled values were taken as HU.")
    padding_hu = [image.padding_hu for image in images if image.padding_hu is not None]
    if padding_hu and max(padding_hu) > AIRLIKE_HU:
        notes.append(
            f"The padding value stands for {max(padding_hu):g} HU, which tissue may have too; "
            "pixels that hold it were set to air at the border of their slice."
        )
    unbelieved = sum(image.unbelieved_padding for image in images)
    if unbelieved:
        notes.append(
            f"{unbelieved} pixels away from the border of their slice hold the padding value, "
            "which is a value of tissue there; they were left as they are."
        )
    return notes


def _stacked(
    images: list[CtImage], places: Sequence[int]
) -> NDArray[np.int16] | NDArray[np.float32]:
    """Stack the HU and empty the list, so that each slice's memory is free once it is copied."""
    integers = all(image.hu.dtype == np.int16 for image in images)
    shape = (places[-1] + 1, *images[0].hu.shape)
    hu = np.empty(shape, dtype=np.int16 if integers else np.float32)
    while images:
        last = len(images) - 1
        hu[places[last]] = images.pop().hu
    interpolate_hu(hu, places)
    return hu
