"""What a job takes: the estimate, and the real inference process held to it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from pydicom.uid import generate_uid

from liver_unet.lungs import Lungs, measure_lungs, sampled_voxels
from liver_unet.volume import Grid, Volume
from orthanc_liver import pipeline
from orthanc_liver.dicom.memory import _BYTES_PER_LUNG_VOXEL, MemoryLimit
from orthanc_liver.dicom.secondary_capture import MOST_SLICES
from orthanc_liver.engine.protocol import Done, Instance, Kind, Order, Outcome, read, write
from orthanc_liver.host.settings import Settings
from orthanc_liver.liver_errors import SeriesRefused
from orthanc_liver.pipeline import segment_series
from tests.model.test_lungs import chest
from tests.plugin.dicom.test_secondary_capture import captured, ct, outlined
from tests.plugin.engine.test_inference_process import Child
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.phantom import abdomen
from tests.support.processes import peak_mib
from tests.support.threshold_engine import on_cpu, with_liver

DEFAULT_MIB = Settings().maximum_memory_mib


def scan(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Volume:
    """Of one value, which takes no memory."""
    grid = Grid(shape, np.diag([*spacing_mm, 1.0])[[2, 1, 0, 3]])
    return Volume(np.broadcast_to(np.int16(0), shape), grid)


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [
        ((20, 512, 512), (1.0, 0.9, 0.95)),
        ((250, 512, 512), (1.0, 0.9, 0.95)),
        ((1000, 512, 512), (1.0, 0.9, 0.95)),
        ((560, 1024, 1024), (0.5, 0.37, 0.39)),  # of photon counting
    ],
)
def test_what_scanners_send_fits(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> None:
    limit = MemoryLimit(DEFAULT_MIB, shape[0])
    limit.check_images(*shape[1:])
    limit.check_field(scan(shape, spacing_mm), 1.5)


def test_float32_and_a_tilt_take_more() -> None:
    upright = scan((1000, 512, 512), (0.5, 0.8, 0.82))
    affine = upright.grid.affine.copy()
    affine[1, 0] = 0.1
    limit = MemoryLimit(4260, 1000)  # 1160 + 250 x 8 + 977
    limit.check_field(upright, 1.5)
    for volume in (
        Volume(np.broadcast_to(np.float32(0), upright.grid.shape), upright.grid),
        Volume(upright.hu, Grid(upright.grid.shape, affine)),
    ):
        with pytest.raises(SeriesRefused, match="would take about"):
            limit.check_field(volume, 1.5)


def test_a_field_that_would_not_fit_is_refused_with_its_sizes() -> None:
    huge = scan((100, 64, 64), (40.0, 45.0, 50.0))
    with pytest.raises(SeriesRefused) as refusal:
        MemoryLimit(DEFAULT_MIB, 100).check_field(huge, 1.5)
    sentence = str(refusal.value)
    assert "span 3150 x 2835 x 3960 mm" in sentence
    assert f"MaximumMemoryMib allows {DEFAULT_MIB}" in sentence


def test_the_lungs_are_reckoned_where_they_take_more_than_the_network() -> None:
    chest_ct = scan((300, 200, 220), (1.6, 1.7, 1.65))
    MemoryLimit(2060, 300).check_field(chest_ct, 4.0)
    with pytest.raises(SeriesRefused, match="would take about"):
        MemoryLimit(1960, 300).check_field(chest_ct, 4.0)


def test_the_lungs_take_no_more_than_is_reckoned() -> None:
    ct = chest()
    tracemalloc.start()
    found = measure_lungs(ct)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(found, Lungs)
    reckoned = sampled_voxels(ct.grid) * _BYTES_PER_LUNG_VOXEL
    assert 0.5 * reckoned < peak < reckoned


def test_a_field_is_refused_before_anything_is_measured_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[Volume] = []
    monkeypatch.setattr(pipeline, "measure_lungs", measured.append)
    files = [to_bytes(one) for one in write_ct_series(with_liver())]
    with pytest.raises(SeriesRefused, match="images span"):
        segment_series(
            files,
            on_cpu(),
            replace(Settings().for_engine(), minimum_slices=10),
            created=datetime.now(UTC),
            progress=lambda stage, fraction: None,
            limit=MemoryLimit(1161, len(files)),
        )
    assert not measured


def test_pictures_and_a_sheet_are_reckoned_with() -> None:
    plain, most = MemoryLimit(1660, 250), (Kind.RTSTRUCT, Kind.SEG, Kind.SC, Kind.PDF)
    for kinds, more_mib in (((Kind.SC,), 200), ((Kind.PDF,), 100), (most, 300)):
        reckoned_mib = MemoryLimit(1660, 250, kinds).needed_mib(512, 512)
        assert reckoned_mib == plain.needed_mib(512, 512) + more_mib == 1660 + more_mib
    plain.check_images(512, 512)
    with pytest.raises(SeriesRefused, match="about 1860 MiB of memory, and MaximumMemoryMib"):
        MemoryLimit(1660, 250, (Kind.SC,)).check_images(512, 512)
    field = scan((200, 512, 512), (2.0, 0.8, 0.8))
    MemoryLimit(2360, 200).check_field(field, 1.5)
    with pytest.raises(SeriesRefused, match="would take about"):
        MemoryLimit(2360, 200, most).check_field(field, 1.5)


def test_pictures_take_no_more_than_is_reckoned() -> None:
    """As many, and as large, as there are ever of them."""
    series, shape = ct(), (2 * MOST_SLICES, 512, 512)
    volume = scan(shape, (3.0, 0.8, 0.8))
    many = replace(series, volume=volume, sop_instance_uids=tuple(f"1.2.{n}" for n in range(100)))
    mask = np.zeros(shape, dtype=bool)
    mask[:, 90:400, 100:420] = True
    tracemalloc.start()
    captures = captured(replace(outlined(series), series=many, mask=mask, look_here=None))
    written = [to_bytes(one) for one in captures]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    reckoned = MemoryLimit(1, 1, (Kind.SC,)).needed_mib(1, 1) - MemoryLimit(1, 1).needed_mib(1, 1)
    assert len(written) == MOST_SLICES
    assert 0.4 * reckoned < peak / 2**20 < reckoned


def patient(slices: int, field_mm: tuple[float, float, float]) -> Iterator[bytes]:
    """The made-up patient in so many slices of 512 x 512; the datasets are made one by one."""
    drawn = write_ct_series(abdomen((60, 128, 128), (5.0, 3.0, 3.0)).volume)
    for index in range(slices):
        one = drawn[index * len(drawn) // slices]
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        one.ImagePositionPatient = [-190.0, -190.0, round(index * field_mm[0] / slices, 5)]
        one.PixelSpacing = [field_mm[1] / 512, field_mm[2] / 512]
        small = np.frombuffer(one.PixelData, "<u2").reshape(one.Rows, one.Columns)
        rows, columns, content = one.Rows, one.Columns, one.PixelData
        one.Rows = one.Columns = 512
        large = np.kron(small, np.ones((4, 4), dtype=small.dtype))
        one.PixelData = (large + index % 3).astype("<u2").tobytes()
        yield to_bytes(one)
        one.Rows, one.Columns, one.PixelData = rows, columns, content


def run_job(child: Child, slices: int, instances: Iterator[bytes]) -> Done:
    write(child.stdin, Order("j", slices, Settings().for_engine()))
    for instance in instances:
        write(child.stdin, Instance("j", instance))
    while not isinstance(message := read(child.stdout), Done):
        pass
    return message


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("slices", [250, 1000])
def test_peak_memory(slices: int) -> None:
    """512 x 512 x 1000 stays under 4 GiB, and under what is reckoned before it is read."""
    child = Child()
    read(child.stdout)
    done = run_job(child, slices, patient(slices, (300.0, 384.0, 384.0)))
    assert done.outcome is Outcome.SEGMENTED, done
    peak = peak_mib(child.process.pid)
    assert child.ends(timeout_s=10) == 0
    reckoned = MemoryLimit(100_000, slices).needed_mib(512, 512)
    print(f"512 x 512 x {slices}: peak {peak:.0f} MiB, reckoned {reckoned:.0f} MiB")  # noqa: T201
    assert peak < 4096
    assert peak < reckoned
