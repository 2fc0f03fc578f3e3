"""A CT of runs of slices, each of one spacing: what is read, outlined, written and read again."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from liver_unet.metrics import dice
from liver_unet.volume import Grid, Volume
from orthanc_liver.dicom.contour_check import check_contours
from orthanc_liver.dicom.contours import on_own_slices, trace_contours
from orthanc_liver.dicom.ct_folder import read_ct
from orthanc_liver.dicom.ct_series import CtSeries, read_ct_series
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.dicom.result import Provenance, RoiStyle
from orthanc_liver.dicom.result import to_bytes as object_to_bytes
from orthanc_liver.dicom.roi_choice import ANY
from orthanc_liver.dicom.rtstruct import build_rtstruct
from orthanc_liver.dicom.rtstruct_reader import outline_of, read_outlines, roi_of
from orthanc_liver.engine.protocol import JobSettings, Kind
from orthanc_liver.evaluation.outlines import read_contour
from orthanc_liver.liver_errors import SeriesRefused
from orthanc_liver.pipeline import Segmentation, segment_series
from tests.plugin.dicom.test_judges import _agree, _blob, _in_order
from tests.support import judges
from tests.support.bad_input import tiny_volume
from tests.support.ct_writer import to_bytes, write_ct_series, write_files
from tests.support.phantom import Orientation, abdomen, oriented
from tests.support.real_data import real_ct
from tests.support.threshold_engine import on_cpu, with_liver

# Of evenly spaced slices, those that are kept: every one, then every second, then every third.
TWO_RUNS = [*range(12), *range(13, 24, 2)]
THREE_RUNS = [*range(0, 30, 2), *range(30, 44), *range(46, 80, 3)]
WARNING = "The slices are unevenly spaced"


def kept(volume: Volume, which: list[int], seed: str = "runs") -> list[pydicom.FileDataset]:
    slices = write_ct_series(volume, uid_seed=seed, pixel_format="16-bit signed")
    return [slices[number] for number in which]


def read(slices: list[pydicom.FileDataset], limit: MemoryLimit | None = None) -> CtSeries:
    return read_ct_series([to_bytes(one) for one in slices[::-1]], min_slices=5, limit=limit)


def test_own_slices_are_kept_and_what_lies_between_is_interpolated() -> None:
    """On an oblique grid, whose slices run along two axes."""
    fine = tiny_volume(24, 1.5)
    series = read(kept(fine, TWO_RUNS))
    assert series.volume.measured == tuple(TWO_RUNS)
    assert np.abs(series.volume.grid.affine - fine.grid.affine).max() < 1e-4
    own = list(series.volume.own_slices)
    assert (series.volume.hu[own] == fine.hu[TWO_RUNS]).all()
    middle = (fine.hu[13].astype(float) + fine.hu[15]) / 2
    assert np.abs(series.volume.hu[14] - middle).max() <= 0.5
    [warning] = [one for one in series.warnings if WARNING in one]
    assert "(gaps: 11 of 1.5 mm, then 6 of 3 mm): 6 slices were interpolated" in warning
    assert "1.5 mm apart" in warning


def test_spacings_in_no_whole_ratio() -> None:
    """Every second and every third of 1 mm: 2 and 3 mm have 1 mm in common."""
    fine = tiny_volume(31, 1.0)
    series = read(kept(fine, [*range(0, 13, 2), *range(15, 31, 3)]))
    assert series.volume.grid.shape[0] == 31
    assert np.abs(series.volume.grid.affine - fine.grid.affine).max() < 1e-4
    assert (series.volume.hu[15] == fine.hu[15]).all()


@pytest.mark.parametrize("left_out", [*range(1, 10), *range(11, 25)])
def test_a_slice_that_is_missing_is_refused_and_named(left_out: int) -> None:
    """But where the spacing changes: a missing slice 10 leaves two runs, one slice earlier."""
    slices = kept(tiny_volume(40, 1.5), [*range(12), *range(13, 40, 2)])
    lower, upper = (slices[left_out + n].SOPInstanceUID for n in (-1, 1))
    del slices[left_out]
    with pytest.raises(SeriesRefused, match=r"A slice is missing|slices are missing") as refusal:
        read(slices)
    assert f"instances {lower} and {upper}" in str(refusal.value)


def test_what_is_interpolated_counts_for_the_memory() -> None:
    """Six slices 5 mm apart and six 500 mm apart come to 606."""
    slices = kept(with_liver((12, 40, 50)), list(range(12)))
    for number, one in enumerate(slices[6:], start=1):
        x, y, z = one.ImagePositionPatient
        one.ImagePositionPatient = [x, y, f"{float(z) + number * 495:.6f}"]
    assert read(slices, MemoryLimit(1172, 12)).volume.grid.shape[0] == 606
    with pytest.raises(SeriesRefused, match="606 images of 40 x 50 pixels would take"):
        read(slices, MemoryLimit(1165, 12))


def fine_liver() -> Volume:
    """A body of fat in air with an ellipsoid of 1 L, every 2 mm."""
    shape, spacing_mm = (80, 40, 50), np.array([2.0, 4.0, 4.4])
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *spacing_mm, 1
    places = (np.indices(shape).transpose(1, 2, 3, 0) - np.array(shape) / 2) * spacing_mm
    hu = np.full(shape, -1000, dtype=np.int16)
    hu[(np.abs(places[..., 1:] / (77, 105)) ** 4).sum(axis=-1) < 1] = -100
    hu[(((places - (3.0, -12.0, -20.0)) / (60.0, 55.0, 75.0)) ** 2).sum(axis=-1) < 1] = 110
    noise = np.random.default_rng(5).integers(-6, 7, shape).astype(np.int16)
    return Volume(hu + noise, Grid(shape, affine))


def segmented(slices: list[pydicom.FileDataset]) -> Segmentation:
    return segment_series(
        [to_bytes(one) for one in slices],
        on_cpu(),
        JobSettings(minimum_slices=5, kinds=tuple(Kind)),
        created=datetime(2024, 2, 29, tzinfo=UTC),
        progress=lambda stage, fraction: None,
    )


def test_the_volume_is_right_and_every_object_lies_on_the_cts_own_slices(tmp_path: Path) -> None:
    """Right is what the same network makes of every slice; it takes off half of the edge."""
    slices = kept(fine_liver(), THREE_RUNS)
    right_ml = segmented(kept(fine_liver(), list(range(80)))).report["liver_ml"]
    found = segmented(slices)
    assert found.report["liver_ml"] == pytest.approx(right_ml, rel=0.02)
    assert any(WARNING in one for one in found.report["warnings"])
    rtstruct = pydicom.dcmread(BytesIO(found.objects[Kind.RTSTRUCT][0]))
    heights_mm = {one.SOPInstanceUID: float(one.ImagePositionPatient[2]) for one in slices}
    for contour in rtstruct.ROIContourSequence[0].ContourSequence:
        height_mm = heights_mm[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        assert contour.ContourData[2::3] == pytest.approx(
            [height_mm] * contour.NumberOfContourPoints
        )
    seg = pydicom.dcmread(BytesIO(found.objects[Kind.SEG][0]))
    for frame in seg.PerFrameFunctionalGroupsSequence:
        assert frame.PlanePositionSequence[0].ImagePositionPatient[2] in heights_mm.values()
    (tmp_path / "rs.dcm").write_bytes(found.objects[Kind.RTSTRUCT][0])
    (tmp_path / "seg.dcm").write_bytes(found.objects[Kind.SEG][0])
    assert judges.dciodvfy_errors(tmp_path / "seg.dcm") == []
    write_files(tmp_path / "ct", slices)
    ct = read_ct(tmp_path / "ct", min_slices=5)
    path, structures = read_outlines(tmp_path / "rs.dcm")
    outline = outline_of(roi_of(structures, path, ANY), ct, path)
    assert outline.volume_ml == pytest.approx(found.report["liver_ml"], rel=0.01)
    assert found.liver is not None
    ours, own = found.liver.mask_on_ct(), list(ct.volume.own_slices)
    for name in ("rs.dcm", "seg.dcm"):
        again = read_contour(tmp_path / name, ANY, ct).mask
        assert (again[own] == ours[own]).all()
        assert dice(again, ours) > 0.98


def test_where_to_look_is_told_by_the_cts_own_slices() -> None:
    volume = read(kept(tiny_volume(24, 1.5), TWO_RUNS)).volume
    assert [volume.number_of(n) for n in (0, 11, 12, 13, 14, 15, 23)] == [1, 12, 12, 13, 13, 14, 18]


@pytest.mark.parametrize("orientation", ["HFS", "FFP", "oblique", "reversed", "coronal"])
def test_readers_of_each_run_find_our_outline(orientation: Orientation, tmp_path: Path) -> None:
    stored = oriented(abdomen((60, 90, 110), (5, 3.5, 3.4)), orientation).volume
    count = stored.grid.shape[0]
    first = [*range(0, count // 2, 2)]
    _each_run_is_judged(write_ct_series(stored), [first, [*range(first[-1] + 1, count)]], tmp_path)


@pytest.mark.parametrize("name", ["cort_liver", "cptac_c3l_00189"])
def test_readers_of_each_run_of_a_real_series(name: str, tmp_path: Path) -> None:
    files = [path.read_bytes() for path in sorted(real_ct("dicom", name).glob("*.dcm"))]
    slices = [pydicom.dcmread(BytesIO(one)) for one in files]
    in_order = {str(one.SOPInstanceUID): one for one in slices}
    slices = [in_order[uid] for uid in read_ct_series(files).sop_instance_uids]
    half = len(slices) // 2
    first = [*range(half % 2, half + 1, 2)]
    _each_run_is_judged(slices, [first, [*range(half + 1, len(slices))]], tmp_path)


def _each_run_is_judged(
    slices: list[pydicom.FileDataset], runs: list[list[int]], tmp_path: Path
) -> None:
    """Each run alone is a CT as others know it, and the contours on it an outline of that."""
    files = [to_bytes(slices[number]) for run in runs for number in run]
    series = read_ct_series(files, min_slices=5)
    assert series.volume.measured
    probability = _blob(series.volume.grid)
    traced = trace_contours(probability, series.volume.grid)
    check_contours(traced, probability > 0.5, series.volume.grid)
    contours = on_own_slices(traced, series.volume)
    provenance = Provenance("1.2.3", "a model", "0123456789abcdef" * 4)
    built = build_rtstruct(series, contours, provenance, RoiStyle(), datetime(2025, 3, 4))
    dataset = pydicom.dcmread(BytesIO(object_to_bytes(built)))
    own = (probability > 0.5)[list(series.volume.own_slices)]
    _agree(judges.even_odd_mask(dataset, _in_order(series, files)), own)
    for number, run in enumerate(runs):
        folder = tmp_path / str(number)
        _judge(dataset, [to_bytes(slices[n]) for n in run], series, own, folder)


def _judge(
    dataset: pydicom.Dataset,
    files: list[bytes],
    whole: CtSeries,
    own: NDArray[np.bool_],
    folder: Path,
) -> None:
    run = read_ct_series(files, min_slices=5)
    (folder / "ct").mkdir(parents=True)
    for number, file in enumerate(files):
        (folder / "ct" / f"{number:04}.dcm").write_bytes(file)
    part = pydicom.dcmread(BytesIO(object_to_bytes(dataset)))
    drawn = part.ROIContourSequence[0]
    drawn.ContourSequence = [
        one
        for one in drawn.ContourSequence
        if one.ContourImageSequence[0].ReferencedSOPInstanceUID in run.sop_instance_uids
    ]
    path = folder / "rs.dcm"
    part.save_as(path)
    assert judges.dciodvfy_errors(path) == []
    expected = own[[whole.sop_instance_uids.index(uid) for uid in run.sop_instance_uids]]
    grid = run.volume.grid
    _agree(judges.plastimatch_mask(path, folder / "ct", grid, folder / "p"), expected)
    _agree(judges.dcmrtstruct2nii_mask(path, folder / "ct", grid, folder / "d"), expected)
