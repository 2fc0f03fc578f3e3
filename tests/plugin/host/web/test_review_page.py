"""The page on which a person looks at an outline and decides, in a real browser."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from liver_unet.volume import Grid, Volume
from tests.plugin.host.conftest import Host
from tests.plugin.host.review.test_outlines import TURN, drawn_on, store
from tests.plugin.host.series import small_ct
from tests.plugin.host.web.test_browser import EVIL, explorer, tab_to
from tests.support.axe import serious_faults
from tests.support.browser import DESKTOP, PHONE, Browser, needs_browser
from tests.support.ct_writer import write_ct_series
from tests.support.patience import wait_for

pytestmark = needs_browser
SHAPE, SPACING_MM = (7, 64, 90), (4.0, 2.1, 1.3)


@pytest.fixture(scope="module")
def careful_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """An Orthanc that segments nothing by itself and sends nothing by itself."""
    host = Host(
        tmp_path_factory.mktemp("reviewed"),
        Automatic=False,
        Destinations=[{"Modality": "nowhere"}],
        SendAfter="accepted",
        Viewer="{orthanc}/ohif/viewer?StudyInstanceUIDs={StudyInstanceUID}",
    )
    with host.orthanc.until_killed():
        host.ready()
        yield host


@pytest.fixture
def host(careful_host: Host, window: Browser) -> Iterator[Host]:
    window.resize(DESKTOP)
    window.speak("en-GB,en")
    window.dim(is_dark=False)
    with careful_host.left_as_it_was():
        yield careful_host
        window.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {}})


def look_at(host: Host, window: Browser, series_id: str) -> None:
    window.open(f"{host.orthanc.url}/liver/series/{series_id}/review")
    window.see("#place", " mm")
    wait_for("the first picture", lambda: not window.visible("#waiting"))


def bent(number: int) -> NDArray[np.bool_]:
    """A shape like an L, elsewhere on every slice; no mirror image of it is the same."""
    mask = np.zeros(SHAPE[1:], dtype=bool)
    mask[10 + 3 * number : 40 + number, 8 + 4 * number : 20 + 4 * number] = True
    mask[30 + number : 40 + number, 8 + 4 * number : 60 + 2 * number] = True
    return mask


def around(number: int) -> list[tuple[float, float]]:
    """The corners of that shape in (row, column), half a pixel outside its outermost centres."""
    top, middle, bottom = 9.5 + 3 * number, 29.5 + number, 39.5 + number
    left, inner, right = 7.5 + 4 * number, 19.5 + 4 * number, 59.5 + 2 * number
    return [(top, left), (top, inner), (middle, inner), (middle, right), (bottom, right),
            (bottom, left)]  # fmt: skip


def bent_ct(uid_seed: str) -> list[pydicom.FileDataset]:
    """Planes that lie askew, bright where the shape is."""
    affine = np.eye(4)
    for axis, (column, sign) in enumerate(((2, -1), (1, 1), (0, 1))):
        affine[:3, axis] = sign * SPACING_MM[axis] * TURN[:, column]
    affine[:3, 3] = (-31.0, 12.0, 250.0)
    hu = np.full(SHAPE, -40, dtype=np.float32)
    for number in range(SHAPE[0]):
        hu[number][bent(number)] = 200
    series = write_ct_series(Volume(hu, Grid(SHAPE, affine)), uid_seed=uid_seed)
    for dataset in series:
        dataset.PatientID = uid_seed
    return series


def drawing(window: Browser, canvas: str = "picture") -> NDArray[np.int16]:
    """What is drawn of slice and outline: (row, column, colour)."""
    script = "return document.getElementById(arguments[0]).toDataURL()"
    encoded = window.driver.execute_script(script, canvas).partition(",")[2]
    return np.asarray(Image.open(BytesIO(base64.b64decode(encoded))).convert("RGB"), np.int16)


def slice_shown(window: Browser) -> int:
    found = re.search(r"Slice (\d+) of", window.see("#place").text)
    assert found
    return int(found[1])


def picture_edges(grey: NDArray[np.int16]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the CT's picture, which is nowhere black."""
    rows, columns = (np.flatnonzero((grey > 20).any(axis=axis)) for axis in (1, 0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def test_the_outline_lies_where_the_shape_is(host: Host, window: Browser) -> None:
    series = bent_ct("bent and askew")
    series_id = host.store([series[n] for n in (2, 6, 0, 1, 5, 3, 4)])
    rtstruct = drawn_on(series, [(series[n], around(n), 0.0) for n in range(SHAPE[0])])
    rtstruct.StructureSetLabel = "by hand"
    rtstruct.StructureSetROISequence[0].ROIName = EVIL
    store(host, rtstruct)
    look_at(host, window, series_id)
    window.see("#outline", "by hand, 2025-03-04, approved")
    for key in (Keys.HOME, Keys.ARROW_UP, Keys.END):
        window.see("#stage").send_keys(key)
        wait_for("slice and outline", lambda: is_drawn(window))
        # Slices are counted along their normal, against which the writer's axis runs.
        check_drawing(drawing(window), bent(SHAPE[0] - slice_shown(window)))
    window.screenshot("review-askew")
    assert "ran" not in window.driver.title
    edges = {edge: window.see(f".{edge}").text for edge in ("left", "right", "top", "bottom")}
    assert edges == {"right": "LP", "left": "RA", "bottom": "FA", "top": "HP"}
    cm = float(window.see("#scale").text.split()[0])
    _, _, left, right = picture_edges(drawing(window).min(axis=2))
    px_per_mm = (right - left) / (SHAPE[2] * SPACING_MM[2])
    assert window.see("#scale").rect["width"] == pytest.approx(cm * 10 * px_per_mm, rel=0.02)
    window.see("#visible").click()
    wait_for("no outline", lambda: not is_drawn(window))


def test_it_opens_where_the_doubt_is_and_marks_the_slices(host: Host, window: Browser) -> None:
    left = [-50, -50, 200, -50, 200, 350, -50, 350]  # columns 0 to 2 of 6, and all rows
    host.engine.behave(grade="look", look_at=((3, 4), (6, 7)), unsure={"2": [left]})
    series_id = host.store(small_ct("doubt on some slices", slices=7))
    host.job(host.segment(series_id), "Success")
    host.engine.behave()
    look_at(host, window, series_id)
    wait_for("the most doubtful slice", lambda: slice_shown(window) == 3)
    window.see("#doubt", "Look here first")
    window.see("#facts", "signs of doubt: look at the slices marked below")
    assert "to be looked at" in (window.see("#picture").get_attribute("aria-label") or "")
    window.see("#doubt", "at what is shaded")
    picture = drawing(window)
    _, _, first, last = picture_edges(picture.max(axis=2))
    shaded = (picture[..., 0] - picture[..., 2] > 25)[:, first:last].mean(axis=0)
    third = (last - first) // 3
    assert shaded[:third].min() > 0.9
    assert np.median(shaded[-third:]) < 0.1  # the outline's own line may run there
    strip = drawing(window, "strip")
    marked = strip[0, :, 0] - strip[0, :, 2] > 100
    seventh = [marked[round((n + 0.5) / 7 * len(marked))] for n in range(7)]
    assert seventh == [False, False, True, True, False, True, True]
    window.screenshot("review-doubt")
    seen = {}
    for number in range(1, 7 + 1):
        window.see("#stage").send_keys(Keys.HOME if number == 1 else Keys.ARROW_UP)
        wait_for(f"slice {number}", lambda: slice_shown(window) == number)  # noqa: B023
        seen[number] = window.visible("#doubt")
    assert [number for number, told in seen.items() if told] == [3, 4, 6, 7]


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_the_other_planes_show_the_same(host: Host, window: Browser, plane: str) -> None:
    series = bent_ct(f"askew and {plane}")
    series_id = host.store(series)
    store(host, drawn_on(series, [(series[n], around(n), 0.0) for n in range(SHAPE[0])]))
    look_at(host, window, series_id)
    window.see("#planes summary").click()
    # The middle row, or the middle column: what it meets of the shape on each slice, from
    # the slice at the top, which is nearest to the head.
    cut = [bent(n)[31] if plane == "coronal" else bent(n)[:, 44] for n in range(SHAPE[0])]
    expected = np.array(cut if TURN[2, 2] > 0 else cut[::-1])
    wait_for("what is bright", lambda: np.array_equal(plane_of(window, plane)[0], expected))
    wait_for("the outline on it", lambda: np.array_equal(plane_of(window, plane)[1], expected))
    window.screenshot(f"review-{plane}")


def plane_of(window: Browser, plane: str) -> NDArray[np.bool_]:
    """What is bright and what is tinted, by slice and pixel."""
    picture = drawing(window, f"{plane}-picture")
    pixels = SHAPE[2] if plane == "coronal" else SHAPE[1]
    rows = ((np.arange(SHAPE[0]) + 0.25) / SHAPE[0] * picture.shape[0]).astype(int)
    columns = ((np.arange(pixels) + 0.5) / pixels * picture.shape[1]).astype(int)
    sampled = picture[rows][:, columns]
    return np.array([sampled[..., 0] > 140, sampled[..., 0] - sampled[..., 2] > 40])


def line_of(picture: NDArray[np.int16]) -> NDArray[np.bool_]:
    return np.asarray(picture[..., 0] - picture[..., 2] > 80)


def is_drawn(window: Browser) -> bool:
    return not window.visible("#waiting") and bool(line_of(drawing(window)).any())


def check_drawing(picture: NDArray[np.int16], mask: NDArray[np.bool_]) -> None:
    """The picture shows the mask's slice, and the line runs around what is bright in it."""
    grey, line = picture.min(axis=2), line_of(picture)
    top, bottom, left, right = picture_edges(grey)
    rows, columns = mask.shape
    height, width = rows * SPACING_MM[1], columns * SPACING_MM[2]
    assert (right - left) / (bottom - top) == pytest.approx(width / height, rel=0.01)
    inside = ndimage.binary_fill_holes(ndimage.binary_closing(line, iterations=2)) & ~line
    far_in = ndimage.binary_erosion(inside, iterations=4)
    far_out = ~ndimage.binary_dilation(inside | line, iterations=4)
    far_out[:top], far_out[bottom:], far_out[:, :left], far_out[:, right:] = (False,) * 4
    assert far_in.sum() > 0.5 * mask.mean() * (bottom - top) * (right - left)
    assert grey[far_in].min() > 200
    assert grey[far_out].max() < 120
    centres = [
        (top + (r + 0.5) / rows * (bottom - top), left + (c + 0.5) / columns * (right - left))
        for r in range(rows)
        for c in range(columns)
    ]
    sampled = np.array([[int(y), int(x)] for y, x in centres])
    seen = inside[sampled[:, 0], sampled[:, 1]].reshape(mask.shape)
    wrong = seen != mask
    assert not wrong.any() or not ndimage.binary_erosion(wrong).any()
    assert wrong.mean() < 0.001


def test_wheel_keys_and_slider_change_the_slice(host: Host, window: Browser) -> None:
    series_id = host.upload("scrolled", slices=15)
    look_at(host, window, series_id)
    stage = window.see("#stage")
    opened = slice_shown(window)
    assert opened == 8  # the middle, where there is no outline
    for keys, slice_number in (
        (Keys.ARROW_UP, 9),
        (Keys.ARROW_DOWN * 2, 7),
        (Keys.PAGE_DOWN, 1),
        (Keys.PAGE_UP, 11),
        (Keys.END, 15),
        (Keys.ARROW_UP, 15),
        (Keys.HOME, 1),
    ):
        stage.send_keys(keys)
        assert slice_shown(window) == slice_number
    slider = window.see("#slice")
    slider.send_keys(Keys.ARROW_RIGHT * 2)
    assert slice_shown(window) == 3
    assert "Slice 3 of 15, " in str(slider.get_attribute("aria-valuetext"))
    wheel = ActionChains(window.driver)
    wheel.scroll_from_origin(ScrollOrigin.from_element(stage), 0, -80).perform()
    wait_for("two slices on", lambda: slice_shown(window) == 5)


def test_a_drag_sets_the_window_and_zoom_keeps_the_place(host: Host, window: Browser) -> None:
    series = bent_ct("windowed")
    look_at(host, window, host.store(series))
    stage = window.see("#stage")
    before = drawing(window)
    window.see("[name=drag][value=window]").click()
    ActionChains(window.driver).drag_and_drop_by_offset(stage, 40, 100).perform()
    window.see("#levels", "Level 160\nWidth 480")
    assert window.see("#level").get_attribute("value") == "160"
    wait_for("another window", lambda: drawing(window).max() < before.max() - 20)
    stage.send_keys("2")
    window.see("#levels", "Level 100\nWidth 160")
    wait_for("white", lambda: drawing(window).max() == 255)
    small = bright_height(window)
    stage.send_keys("++")
    wait_for("a larger picture", lambda: bright_height(window) > 1.4 * small)
    stage.send_keys("0")
    wait_for("the former size", lambda: bright_height(window) == small)


def bright_height(window: Browser) -> int:
    rows = np.flatnonzero((drawing(window).min(axis=2) > 200).any(axis=1))
    return int(rows[-1] - rows[0])


def test_accepting_and_rejecting(host: Host, window: Browser) -> None:
    series_id = host.upload("decided in the browser")
    job = host.job(host.segment(series_id), "Success")
    look_at(host, window, series_id)
    window.see("#outcome", "Segmented: liver 1500 mL")
    window.see("#warnings", "a scripted warning")
    window.see("#sent", "Modality nowhere: waits: until a person accepts the outline")
    window.see("#decided", "Nobody has decided")
    window.see("#decide button[value=accepted]:enabled").click()
    window.see("#message", "Type your name to decide.")
    assert window.focused().get_attribute("id") == "by"
    window.press("Ada Lovelace")
    window.see("#decide button[value=rejected]:enabled").click()
    window.see("#message", "Say why the outline is rejected.")
    window.press(EVIL)
    tab_to(window, "Reject")
    window.press(Keys.ENTER)
    window.see("#decided", "Rejected by Ada Lovelace (a name as typed)")
    window.see("#decided", EVIL)
    window.see("#sent", "Modality nowhere: given up: the outline was rejected")
    window.screenshot("review-rejected")
    window.see("#decide button[value=accepted]:enabled").click()
    window.see("#decided.accepted", "Accepted by Ada Lovelace")
    window.see("#message", "Accepted by Ada Lovelace")
    window.see("#sent", "Modality nowhere: failed, is sent again")
    assert "ran" not in window.driver.title
    [shown] = host.jobs_of(series_id)
    assert shown["Content"]["Review"]["Verdict"] == "accepted"
    assert shown["ID"] == job["ID"]
    window.open(f"{host.orthanc.url}/liver/app")
    card = f"[data-series='{series_id}']"
    window.see(f"{card} .decision", "Accepted by Ada Lovelace")
    window.see(f"{card} .review", "Review").click()
    window.see("#decided", "Accepted by Ada Lovelace")


def test_only_the_result_that_is_to_be_seen_can_be_decided_on(host: Host, window: Browser) -> None:
    series = small_ct("two outlines")
    series_id = host.store(series)
    host.job(host.segment(series_id), "Success")
    store(host, drawn_on(series, [(series[2], [(0.5, 0.5), (0.5, 3.5), (2.5, 3.5)], 0.0)]))
    look_at(host, window, series_id)
    wait_for("both outlines", lambda: len(options(window)) == 3)
    window.see("#decide button[value=accepted]:enabled")
    window.see("#outline").send_keys("GTV")
    window.see("#hint", "Choose the result")
    wait_for("the other outline", lambda: is_drawn(window))
    assert window.visible("#decide button:enabled") == []
    assert len(window.visible("#decide button:disabled")) == 2


def options(window: Browser) -> list[WebElement]:
    """Of a closed list, none of which is to be seen."""
    return window.driver.find_elements(By.CSS_SELECTOR, "#outline option")


def test_whom_orthanc_knows_types_no_name(host: Host, window: Browser) -> None:
    series_id = host.upload("decided by whom Orthanc knows")
    host.job(host.segment(series_id), "Success")
    basic = {"Authorization": "Basic " + base64.b64encode(b"doctor:secret").decode()}
    window.driver.execute_cdp_cmd("Network.enable", {})
    window.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": basic})
    look_at(host, window, series_id)
    window.see("#decide")
    assert window.visible("#by") == []
    window.see("#decide button[value=accepted]:enabled").click()
    window.see("#decided", "Accepted by doctor,")


def test_a_series_without_a_job_is_shown_too_and_links_lead_on(host: Host, window: Browser) -> None:
    series_id = host.upload("only looked at")
    look_at(host, window, series_id)
    window.see("#outcome", "This series has not been segmented")
    assert window.visible("#decide") == []
    study = host.orthanc.get(f"/series/{series_id}/study")["MainDicomTags"]["StudyInstanceUID"]
    viewer = f"{host.orthanc.url}/ohif/viewer?StudyInstanceUIDs={study}"
    assert window.see("#viewer").get_attribute("href") == viewer
    host.engine.behave(seconds=1.0)
    host.segment(series_id)
    window.see("#outcome", "Segmented: liver 1500 mL")
    window.see("#outline", "Result: Liver")
    host.engine.behave()
    window.see("#queue").click()
    assert window.see(f"[data-series='{series_id}'] .viewer").get_attribute("href") == viewer
    window.open(explorer(host, "series", series_id))
    window.see("#liver-series .liver-line a", "Review the outline").click()
    window.see("#place", "Slice")


def test_the_review_on_a_phone(host: Host, window: Browser) -> None:
    series_id = host.upload("reviewed on a phone", slices=12, description="a" * 60)
    host.job(host.segment(series_id), "Success")
    window.resize(PHONE)
    look_at(host, window, series_id)
    assert window.fits(PHONE)
    controls = window.visible(
        "button, select, input:not([type=range], [type=checkbox], [type=radio])"
    )
    assert min(one.rect["height"] for one in controls) >= 44
    window.screenshot("review-phone")
    window.see("[name=drag][value=scroll]").click()
    opened = slice_shown(window)
    stage = window.see("#stage").rect
    x, y = stage["x"] + 100, stage["y"] + 150
    points = [{"x": x, "y": y - 8 * n} for n in range(4)]
    touch(window, "touchStart", points[:1])
    for point in points[1:]:
        touch(window, "touchMove", [point])
    touch(window, "touchEnd", [])
    wait_for("three slices on", lambda: slice_shown(window) == opened + 3)


def touch(window: Browser, kind: str, points: list[dict[str, float]]) -> None:
    event = {"type": kind, "touchPoints": points}
    window.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)


ARABIC = "بطن"


def test_in_german_in_the_dark_and_on_a_phone_nothing_keeps_anybody_out(
    host: Host, window: Browser
) -> None:
    host.engine.behave(grade="doubtful", look_at=((2, 3),))
    series = small_ct("judged by axe", slices=7)
    for one in series:
        one.SpecificCharacterSet, one.PatientName = "ISO_IR 192", f"{ARABIC}^Ada"
        one.SeriesDescription = ARABIC
    series_id = host.store(series)
    host.job(host.segment(series_id), "Success")
    host.engine.behave()
    drawn = drawn_on(series, [(series[2], [(0.5, 0.5), (0.5, 3.5), (2.5, 3.5)], 0.0)])
    drawn.SpecificCharacterSet = "ISO_IR 192"
    drawn.StructureSetLabel = ARABIC
    store(host, drawn)
    for languages, is_dark, size in (
        ("en-GB,en", False, DESKTOP),
        ("de-DE,de", True, DESKTOP),
        ("de-DE,de", False, PHONE),
        ("en-GB,en", True, PHONE),
    ):
        name = f"review-{languages[:2]}-{'dark' if is_dark else 'light'}-{size[0]}"
        window.speak(languages)
        window.dim(is_dark=is_dark)
        window.resize(size)
        look_at(host, window, series_id)
        window.see("#warnings li")
        window.see("#activity summary").click()
        window.see("#activity-form button")
        window.see("#planes summary").click()
        window.see("#cutting summary").click()
        window.see("#cut-hint")
        wait_for("both outlines", lambda: len(options(window)) == 3)
        window.screenshot(name)
        assert serious_faults(window) == [], name
        assert window.fits(size), name
    window.speak("de-DE,de")
    look_at(host, window, series_id)
    window.see("#outcome", "Zweifelhaft: Leber 1500 mL")
    window.see("#place", "Schicht 2 von 7")
    window.see("#doubt", "Hier zuerst ansehen")
    window.see("#decide button", "Annehmen")
    assert "unapproved" not in options(window)[0].text
    assert window.driver.title == "Prüfung eines Leberumrisses"
    # Each text of others keeps its own direction within ours.
    assert window.see("#who").find_element(By.TAG_NAME, "bdi").text == f"{ARABIC}, Ada"
    assert f"\u2068{ARABIC}\u2069" in str(options(window)[1].get_attribute("textContent"))


def test_the_activity_without_curl(host: Host, window: Browser) -> None:
    series = small_ct("computed in the browser")
    for one in series:
        one.PatientSize = "1.82"
    series_id = host.store(series)
    host.job(host.segment(series_id), "Success")
    box = [(0.5, 0.5), (0.5, 3.5), (2.5, 3.5), (2.5, 0.5)]
    store(host, drawn_on(series, [(series[n], box, 0.0) for n in (1, 2, 3)]))
    look_at(host, window, series_id)
    wait_for("both outlines", lambda: len(options(window)) == 3)
    window.see("#activity summary").click()
    height = window.see("#activity [name=HeightM]")
    assert height.get_attribute("placeholder") == "1.82, as the CT says"
    weight = window.see("#activity [name=WeightKg]")
    assert weight.get_attribute("placeholder") == ""  # the CT does not say it
    height.send_keys("175")
    window.see("#activity [name=WeightKg]").send_keys("70")
    window.see("#activity [name=TumourRoi]").send_keys("GTV")
    window.see("#activity-form button").click()
    refused = window.driver.execute_script(
        "return document.querySelector('[name=HeightM]:invalid')"
    )
    assert refused is not None  # metres, says the browser itself
    height = window.see("#activity [name=HeightM]")
    height.clear()
    height.send_keys("1.75")
    window.see("#activity-form button").click()
    sheet = window.see("#sheet", "Y-90 activity, resin by body surface area").text
    assert "ROI 'GTV' of structure set 'by hand'" in sheet
    assert "segmentation, job" in sheet
    window.screenshot("review-activity")
    window.see("#method").send_keys("glass")
    assert window.visible("#activity [name=HeightM]") == []
    window.see("#activity [name=DoseGy]").send_keys("120")
    window.see("#activity-form button").click()
    window.see("#table").click()
    window.see("#activity-form button").click()
    window.see("#sheet", "Vials by the hour after calibration")
    window.screenshot("review-vials")
    dose = window.see("#activity [name=DoseGy]")
    dose.clear()
    window.see("#activity-form button").click()
    window.see("#refusal", "also needs: planned mean dose")
    assert window.visible("#sheet") == []


def test_a_newcomer_gets_from_a_ct_to_a_printed_sheet(host: Host, window: Browser) -> None:
    """With nothing but what the pages offer, from the queue page on."""
    series = small_ct("a newcomer's CT")
    for one in series:
        one.PatientName, one.PatientSize, one.PatientWeight = "Newcomer^Ada", "1.75", "70"
    series_id = host.store(series)
    window.open(f"{host.orthanc.url}/liver/app")
    window.see("#wanted").send_keys("newcomer" + Keys.ENTER)
    window.see("#others button", "Segment").click()
    card = f"[data-series='{series_id}']"
    window.see(f"#finished {card} .state", "Segmented")
    window.see(f"{card} .review", "Review").click()
    window.see("#by").send_keys("Dr Newcomer")
    window.see("#decide button[value=accepted]:enabled").click()
    window.see("#decided.accepted", "Accepted by Dr Newcomer")
    window.see("#activity summary").click()
    window.see("#activity [name=TumourMl]").send_keys("150")
    window.see("#activity-form button").click()
    sheet = window.see("#sheet", "Y-90 activity, resin by body surface area").text
    assert "1.75" in sheet
    assert "DICOM PatientSize" in sheet
    window.screenshot("newcomer-sheet")
    a4 = {"paperWidth": 8.27, "paperHeight": 11.69}
    printed = window.driver.execute_cdp_cmd("Page.printToPDF", a4)["data"]
    pages = re.findall(rb"/Type\s*/Page\b", base64.b64decode(printed))
    assert len(pages) == 1
    window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        window.see(".sign", "Medical physicist, date")
        window.see(".sign", "Physician, date")
        window.see("#who", "Newcomer, Ada")
        assert window.visible("#stage, form, #decide, nav") == []
        window.screenshot("newcomer-printed")
    finally:
        window.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_two_reviewers_at_once_see_each_others_word(host: Host, window: Browser) -> None:
    series_id = host.upload("decided by two")
    job = host.job(host.segment(series_id), "Success")
    look_at(host, window, series_id)
    window.see("#decided", "Nobody has decided")
    other = {"Verdict": "rejected", "Reason": "it leaks", "By": "Grace"}
    other["Rtstruct"] = job["Content"]["Result"]["Instance"]
    host.orthanc.post(f"/liver/series/{series_id}/decision", other)
    window.see("#decided.rejected", "Rejected by Grace (a name as typed)")
    # A newer result: what is to be seen is no longer what could be decided on.
    host.job(host.segment(series_id, Force=True), "Success")
    window.see("#decided.rejected", "Rejected by Grace")
