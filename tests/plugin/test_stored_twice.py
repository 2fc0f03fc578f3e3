"""The same result written twice, at two times, is the same to whoever compares the two."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO

import numpy as np
import pydicom
import pytest
from PIL import Image

from orthanc_liver.dicom.contours import trace_contours
from orthanc_liver.dicom.ct_series import read_ct_series
from orthanc_liver.dicom.result import Provenance, RoiStyle, to_bytes
from orthanc_liver.dicom.result_objects import BUILDERS, Objects, Source, build
from orthanc_liver.engine.protocol import Kind
from orthanc_liver.host.jobs.storing import store_beside
from orthanc_liver.host.server.api import Orthanc, Series
from tests.support.ct_writer import write_ct_series
from tests.support.fake_archive import Archive
from tests.support.fake_orthanc import FakeOrthanc
from tests.support.phantom import small_abdomen

TIMES = [datetime(2025, 3, 4, 5, 6, 7), datetime(2026, 4, 5, 16, 17, 18)]


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return [to_bytes(one) for one in write_ct_series(small_abdomen().volume)]


def picture() -> bytes:
    png = BytesIO()
    Image.new("RGB", (30, 20)).save(png, "PNG")
    return png.getvalue()


@pytest.fixture(scope="module")
def twice(files: list[bytes]) -> list[dict[Kind, bytes]]:
    """Every object, written at either time."""
    series = read_ct_series(files)
    mask = np.zeros(series.volume.grid.shape, dtype=bool)
    mask[2:6, 5:20, 7:15] = True
    contours = trace_contours(mask.astype(np.float32), series.volume.grid)
    provenance = Provenance("1.2.3", "liver-unet compact", "0123456789abcdef" * 4)
    written: list[dict[Kind, bytes]] = []
    asked = []

    def on_the_ct() -> np.ndarray:
        asked.append(len(written))
        return mask

    for time in TIMES:
        source = Source(
            *(series, contours, on_the_ct, 1234.5, provenance, RoiStyle(), time),
            planes_png=picture,
        )
        made: dict[Kind, Objects] = {}
        for kind in BUILDERS:
            made[kind] = build(kind, source, made)
        written.append({kind: to_bytes(several[0]) for kind, several in made.items()})
    assert asked == [0, 1]  # for SEG, pictures and PDF together
    return written


@pytest.fixture
def module() -> FakeOrthanc:
    return FakeOrthanc(Archive(), {})


def series_of(orthanc: Orthanc, files: list[bytes]) -> Series:
    stored = [orthanc.post("/instances", file) for file in files]
    return orthanc.series(stored[0]["ParentSeries"])


def test_at_two_times(
    module: FakeOrthanc, files: list[bytes], twice: list[dict[Kind, bytes]]
) -> None:
    orthanc = Orthanc(module)
    series = series_of(orthanc, files)
    assert all(twice[0][kind] != twice[1][kind] for kind in twice[0])
    kept = store_beside(orthanc, series, list(twice[0].items()))
    assert [one["Kind"] for one in kept] == list(Kind)
    assert store_beside(orthanc, series, list(twice[1].items())) == kept
    assert module.said == []


@pytest.mark.parametrize(
    ("kind", "keyword", "value"),
    [
        (Kind.RTSTRUCT, "StructureSetLabel", "edited"),
        (Kind.SEG, "NumberOfFrames", 3),
        (Kind.SR, "ContentSequence", []),
        (Kind.SC, "DerivationDescription", "edited"),
        (Kind.PDF, "EncapsulatedDocumentLength", 7),
    ],
)
def test_of_another_content(
    module: FakeOrthanc,
    files: list[bytes],
    twice: list[dict[Kind, bytes]],
    kind: Kind,
    keyword: str,
    value: object,
) -> None:
    orthanc = Orthanc(module)
    series = series_of(orthanc, files)
    edited = pydicom.dcmread(BytesIO(twice[0][kind]))
    setattr(edited, keyword, value)
    instance = orthanc.post("/instances", to_bytes(edited))["ID"]
    [kept] = store_beside(orthanc, series, [(kind, twice[1][kind])])
    assert (kept["Instance"], kept["DiffersIn"]) == (instance, [keyword])
    [said] = module.said
    assert said.endswith(f"it differs in {keyword}")
