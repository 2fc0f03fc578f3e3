"""An outline is measured once, as long as neither its file nor its CT is another."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest

from orthanc_liver.host.activity.roi_of_series import outline_of, roi_named
from orthanc_liver.host.server.api import Orthanc
from orthanc_liver.sirt import roi_volume
from tests.plugin.host.activity.test_rois import BOX_ML, structures
from tests.plugin.host.series import small_ct
from tests.support.ct_writer import to_bytes
from tests.support.fake_archive import Archive, OrthancException


class Desk:
    """An archive whose calls for contours are counted."""

    def __init__(self) -> None:
        self.archive = Archive()
        self.archive.settings = {"OverwriteInstances": True}
        self.contours_read = self.tags_read = 0
        self.keeps_check_sums = True
        module: Any = SimpleNamespace(
            RestApiGet=self._get,
            GetDicomForInstance=lambda one: self.archive.rest("GET", f"/instances/{one}/file"),
            OrthancException=OrthancException,
        )
        self.orthanc = Orthanc(module)

    def store(self, dataset: pydicom.Dataset) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            self.archive.rest("POST", "/instances", to_bytes(dataset))
        )
        return answer

    def measured_ml(self, series_id: str) -> float:
        series = self.orthanc.series(series_id)
        return outline_of(
            self.orthanc, series, roi_named(self.orthanc, series, "GTV", None)
        ).volume_ml

    def _get(self, uri: str) -> bytes:
        self.contours_read += uri.endswith("3006-0050")
        self.tags_read += uri.endswith("simplified-tags")
        if uri.endswith("/md5") and not self.keeps_check_sums:
            raise OrthancException(7, "no check sum")
        return self.archive.rest("GET", uri)


@pytest.mark.parametrize("keeps_check_sums", [True, False])
def test_a_second_request_costs_nothing_and_another_file_is_read(
    keeps_check_sums: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, ct = Desk(), small_ct(f"kept outlines {keeps_check_sums}")
    desk.keeps_check_sums = keeps_check_sums
    [series_id] = {desk.store(image)["ParentSeries"] for image in ct}
    drawn = structures(ct, "GTV")
    desk.store(drawn)
    assert desk.measured_ml(series_id) == pytest.approx(BOX_ML, rel=1e-6)
    assert (desk.contours_read, desk.tags_read) == (2, 2)
    with monkeypatch.context() as patched:
        patched.setattr(roi_volume, "enclosed", None)
        assert desk.measured_ml(series_id) == pytest.approx(BOX_ML, rel=1e-6)
    assert (desk.contours_read, desk.tags_read) == (2, 2)
    wider = structures(ct, "GTV", slices=3)
    wider.SeriesInstanceUID, wider.SOPInstanceUID = drawn.SeriesInstanceUID, drawn.SOPInstanceUID
    wider.file_meta.MediaStorageSOPInstanceUID = wider.SOPInstanceUID
    desk.store(wider)
    assert desk.measured_ml(series_id) == pytest.approx(1.5 * BOX_ML, rel=1e-6)
    assert desk.contours_read == 5
    desk.archive.settle(series_id)  # something came: the CT may lie elsewhere now
    assert desk.measured_ml(series_id) == pytest.approx(1.5 * BOX_ML, rel=1e-6)
    assert desk.contours_read == 8
