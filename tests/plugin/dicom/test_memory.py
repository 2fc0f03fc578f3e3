"""What a job takes: the estimate, and the real inference process held to it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from pydicom.uid import generate_uid

from liver_unet.volume import Grid, Volume
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.engine.protocol import Done, Instance, Order, Outcome, read, write
from orthanc_liver.host.settings import Settings
from orthanc_liver.liver_errors import SeriesRefused
from tests.plugin.engine.test_inference_process import Child
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.patience import patience_s
from tests.support.phantom import abdomen
from tests.support.processes import peak_mib

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
    limit = MemoryLimit(4000, 1000)  # 900 + 250 x 8 + 977
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
    child.stdin.close()
    child.process.wait(patience_s(10))
    reckoned = MemoryLimit(100_000, slices).needed_mib(512, 512)
    print(f"512 x 512 x {slices}: peak {peak:.0f} MiB, reckoned {reckoned:.0f} MiB")  # noqa: T201
    assert peak < 4096
    assert peak < reckoned
