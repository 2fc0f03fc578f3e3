"""A person cuts the outline on the review page, in a real browser; other readers read the parts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.select import Select

from liver_unet.metrics import dice
from tests.plugin.host.conftest import RealEngineHost
from tests.plugin.host.review.test_parts import MIDDLE, alone, fetched
from tests.plugin.host.web.test_review_page import look_at, slice_shown
from tests.support import judges
from tests.support.browser import DESKTOP, PHONE, Browser, needs_browser
from tests.support.ct_writer import write_ct_series, write_files
from tests.support.patience import wait_for
from tests.support.threshold_engine import LIVER_HU, with_liver

pytestmark = needs_browser
CT = with_liver()
SLICES, ROWS, COLUMNS = CT.grid.shape
ACROSS_MM, DOWN_MM, STEP_MM = 4.4, 4.0, 5.0
X, Y, _ = MIDDLE
# In mm of the patient; z of a slice each.
CLICKED = [(X, Y, 60.0), (X + 12, Y + 30, 60.0), (X + 8, Y, 90.0)]


@pytest.fixture
def host(real_engine_host: RealEngineHost, window: Browser) -> Iterator[RealEngineHost]:
    window.resize(DESKTOP)
    window.speak("en-GB,en")
    window.dim(is_dark=False)
    with real_engine_host.left_as_it_was():
        yield real_engine_host


def opened(host: RealEngineHost, window: Browser, uid_seed: str) -> tuple[str, list[Any]]:
    """The page of a series that was outlined, ready to cut."""
    series = write_ct_series(CT, uid_seed=uid_seed)
    for one in series:
        one.PatientID = uid_seed
    series_id = host.store(series)
    host.job(host.segment(series_id), "Success")
    look_at(host, window, series_id)
    window.see("#decide button[value=accepted]:enabled")  # the outline is there
    window.see("#cutting summary").click()
    window.see("#by").send_keys("Ada")
    return series_id, series


def offset_of(window: Browser, x_mm: float, y_mm: float) -> tuple[int, int]:
    """From the middle of the stage, where the middle of the picture is."""
    stage = window.see("#stage").rect
    width_mm, height_mm = COLUMNS * ACROSS_MM, ROWS * DOWN_MM
    per_mm = min(stage["width"] / width_mm, stage["height"] / height_mm)
    from_corner = x_mm + ACROSS_MM / 2, y_mm + DOWN_MM / 2  # the first pixel's centre is at 0
    right, down = from_corner[0] - width_mm / 2, from_corner[1] - height_mm / 2
    return round(right * per_mm), round(down * per_mm)


def go_to(window: Browser, z_mm: float) -> None:
    number = round(z_mm / STEP_MM) + 1
    window.driver.execute_script("choose(arguments[0] - 1)", number)
    wait_for("that slice", lambda: slice_shown(window) == number)


def click(window: Browser, place: tuple[float, float, float]) -> None:
    go_to(window, place[2])
    stage = window.see("#stage")
    ActionChains(window.driver).move_to_element_with_offset(
        stage, *offset_of(window, *place[:2])
    ).click().perform()


def drag_around(window: Browser, z_mm: float, half_mm: float) -> None:
    go_to(window, z_mm)
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -0.9)]
    places = [offset_of(window, X + i * half_mm, Y + j * half_mm) for i, j in corners]
    pointer = ActionChains(window.driver, duration=50)
    pointer.move_to_element_with_offset(window.see("#stage"), *places[0]).click_and_hold()
    for before, after in pairwise(places):
        pointer.move_by_offset(after[0] - before[0], after[1] - before[1])
    pointer.release().perform()


def stored_cuts(host: RealEngineHost, series_id: str) -> list[dict[str, Any]]:
    return list(host.orthanc.get(f"/liver/series/{series_id}/cuts"))


def test_three_clicks_make_lobes_that_others_read_and_the_activity_takes(
    host: RealEngineHost, window: Browser, tmp_path: Path
) -> None:
    series_id, series = opened(host, window, "cut in the browser")
    for number, place in enumerate(CLICKED, start=1):
        window.see("#cut-hint", f"point {number} of 3")
        click(window, place)
    window.see("#cut-hint", "The plane is set")
    click(window, (X + 30, Y - 30, 100.0))  # moves the third point
    window.see("#undo").click()
    go_to(window, 60.0)
    window.screenshot("cut-plane")
    window.see("#cut-store:enabled").click()
    window.see("#cut-told", "Stored: Right lobe")
    window.see("#outline", "Right lobe")
    window.screenshot("cut-stored")
    [stored] = stored_cuts(host, series_id)
    assert np.array(stored["Plane"]).reshape(3, 3) == pytest.approx(np.array(CLICKED), abs=0.6)

    z, y, x = np.indices(CT.grid.shape)
    places = np.stack([x * ACROSS_MM, y * DOWN_MM, z * STEP_MM], axis=-1)
    first, second, third = np.array(CLICKED)
    normal = np.cross(second - first, third - first)
    is_right = (places - first) @ normal * normal[0] < 0
    low, high = LIVER_HU
    outlined = (low < CT.hu) & (high > CT.hu)
    expected = {"Right lobe": outlined & is_right, "Left lobe": outlined & ~is_right}
    folder = tmp_path / "ct"
    write_files(folder, series)
    parts = fetched(host, stored["Instance"])
    for name, mask in expected.items():
        work = tmp_path / f"read {name}"
        work.mkdir()
        file = alone(parts, name, tmp_path / f"{name}.dcm")
        read = judges.dcmrtstruct2nii_mask(file, folder, CT.grid, work)
        assert dice(read, mask) > 0.95, name
        ml = np.count_nonzero(read) * CT.grid.voxel_ml
        assert stored["PartsMl"][name] == pytest.approx(ml, rel=0.01)
    asked = {"Method": "glass", "DoseGy": 120.0, "PerfusedRoi": "Right lobe"}
    activity = host.orthanc.post(f"/liver/series/{series_id}/activity", asked)
    [perfused] = [one["Value"] for one in activity["Inputs"] if one["Name"] == "PerfusedMl"]
    assert perfused == pytest.approx(stored["PartsMl"]["Right lobe"], rel=0.02)

    click(window, (X + 30, Y, 90.0))
    window.see("#cut-store:enabled").click()  # while a part is shown: the liver is cut again
    wait_for("the changed lobes", lambda: stored_cuts(host, series_id)[-1]["SupersededBy"])
    window.see("#cut-told", "Stored: Right lobe")
    window.see("#by").clear()
    window.see("#cut-store:enabled").click()
    window.see("#cut-told.wrong", "Type your name")


def test_lassos_are_drawn_undone_stored_and_opened_for_change(
    host: RealEngineHost, window: Browser
) -> None:
    series_id, _ = opened(host, window, "lassos in the browser")
    window.see("[name=cut][value=lassos]").click()
    window.see("#cut-hint", "Drag around the region")
    region = Select(window.see("#region"))
    region.select_by_index(1)
    drag_around(window, 45.0, 20.0)
    window.see("#cut-store:enabled").click()
    window.see("#cut-told.wrong", "Draw Perfused 1 first.")
    window.see("#undo").click()
    region.select_by_index(0)
    for z_mm, half_mm in ((45.0, 20.0), (80.0, 30.0), (60.0, 10.0)):
        drag_around(window, z_mm, half_mm)
    window.see("#cut-hint", "Drawn on slices 10, 13, 17")
    window.see("#undo").click()
    window.see("#cut-hint", "Drawn on slices 10, 17")
    window.see("#cut-store:enabled").click()
    window.see("#cut-told", "Stored: Perfused 1")
    [first] = stored_cuts(host, series_id)
    assert list(first["PartsMl"]) == ["Perfused 1", "Not perfused"]
    # A box from 40 mm to 60 mm wide on 8 slices, all within the liver.
    assert first["PartsMl"]["Perfused 1"] == pytest.approx(8 * 5 * 50**2 / 1000, rel=0.15)

    window.driver.refresh()
    window.see("#decide button[value=accepted]:enabled")
    window.see("#by").send_keys("Ada")
    window.see("#cutting summary").click()
    window.see("#cuts", "Perfused 1")
    window.see("#reopen").click()
    window.see("#cut-hint", "Drawn on slices 10, 17")
    drag_around(window, 80.0, 15.0)
    window.see("#cut-hint", "Drawn on slices 10, 17")
    window.screenshot("cut-lasso")
    window.see("#cut-store:enabled").click()
    wait_for("the changed parts", lambda: stored_cuts(host, series_id)[-1]["SupersededBy"])
    changed, former = stored_cuts(host, series_id)
    assert former == first | {"SupersededBy": changed["SopInstanceUid"]}
    assert changed["PartsMl"]["Perfused 1"] < 0.7 * first["PartsMl"]["Perfused 1"]
    assert changed["Lassos"][0][0] == first["Lassos"][0][0]
    window.see("#cuts", "replaced by newer")
    window.resize(PHONE)
    assert window.fits(PHONE)
    window.screenshot("cut-phone")
