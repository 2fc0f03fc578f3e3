"""OHIF as its npm package brings it, served beside an Orthanc, and a person who works in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.remote.webelement import WebElement

from tests.support.browser import Browser
from tests.support.nginx import documented_server, nginx
from tests.support.orthanc_server import CHECKOUT, OrthancServer, free_port
from tests.support.patience import wait_for

_VENVS = Path(os.environ.get("JUDGES_VENV") or Path(__file__).parents[2] / ".venv-judges")
_PANE_S = 60.0
# OHIF puts what it is made of into its window, for people who look for faults.
_VIEWPORT = "const viewport = cornerstone.getEnabledElements()[0].viewport;"
_SHOWN = (
    _VIEWPORT
    + """
const box = viewport.canvas.getBoundingClientRect();
const place = [[0, 0], [1, 0], [0, 1]].map((point) => [...viewport.canvasToWorld(point)]);
return {image: viewport.getCurrentImageId(), place,
        box: [box.left, box.top, box.right, box.bottom].map(Math.round)};
"""
)
_GO = (
    "const tell = arguments[1];"
    + _VIEWPORT
    + """
viewport.setImageIdIndex(arguments[0]).then(() => {
  viewport.render();
  requestAnimationFrame(() => requestAnimationFrame(() => tell(true)));
});
"""
)
_COUNT = _VIEWPORT + "return viewport.getImageIds().length;"
# Whoever comes for the first time is shown round, and told that it is no medical device.
_KNOWS_OHIF = """
localStorage.setItem('shownTours', '["basicViewerTour"]');
sessionStorage.setItem('investigationalUseDialog', 'hidden');
"""
_SEGMENTS = """
return services.segmentationService.getSegmentations().flatMap(
  (one) => Object.values(one.segments).map((segment) => segment.label));
"""


@dataclass(frozen=True, eq=False)
class Slice:
    """What the viewport shows of one image. place_mm: of the pixels (0, 0), (1, 0) and (0, 1)."""

    sop_instance_uid: str
    rgb: NDArray[np.uint8]
    place_mm: NDArray[np.float64]

    def coloured(self, colour: tuple[int, ...]) -> NDArray[np.bool_]:
        """Where the pixels have this colour, over whatever grey, and what they enclose."""
        strongest, weakest = int(np.argmax(colour)), int(np.argmin(colour))
        difference = self.rgb[..., strongest].astype(int) - self.rgb[..., weakest]
        line = difference > (max(colour) - min(colour)) / 4
        closed = ndimage.binary_closing(np.pad(line, 2), np.ones((3, 3), dtype=bool))
        return np.asarray(ndimage.binary_fill_holes(closed)[2:-2, 2:-2])

    def mm(self) -> NDArray[np.float64]:
        """Where each pixel lies in the patient."""
        height, width = self.rgb.shape[:2]
        rows, columns = np.mgrid[:height, :width]
        start, right, down = self.place_mm
        return np.asarray(
            start + columns[..., None] * (right - start) + rows[..., None] * (down - start)
        )


class Ohif:
    """One window with OHIF in it."""

    def __init__(self, window: Browser, url: str) -> None:
        self.window, self.url = window, url

    def open(self, study_uid: str, mode: str = "viewer") -> None:
        """Open a study; returns as soon as an image and the list of series are there."""
        self.window.open(f"{self.url}/app-config.js")
        self.window.driver.execute_script(_KNOWS_OHIF)
        self.window.open(f"{self.url}/{mode}?StudyInstanceUIDs={study_uid}")
        wait_for("an image", lambda: self._count() > 1 and self.slice_now(), _PANE_S)

    def modalities(self) -> list[str]:
        """Of the series that are listed."""
        shown = self.window.visible("[data-cy=series-modality-label]")
        return [label.text for label in shown]

    def load(self, modality: str) -> None:
        """Open the one series of a modality as a person does, and say yes."""
        wait_for("the list", lambda: modality in self.modalities(), _PANE_S)
        row = self.window.see("[data-cy^=study-browser-thumbnail]", modality)
        ActionChains(self.window.driver).double_click(row).perform()
        self.see("yes-hydrate-btn", timeout_s=_PANE_S).click()
        wait_for("its segments", self.segments, _PANE_S)

    def segments(self) -> list[str]:
        """The names of what is loaded."""
        return list(self.window.driver.execute_script(_SEGMENTS))

    def see(self, name: str, timeout_s: float = 20.0) -> WebElement:
        """The visible element that OHIF's own tests know by this name."""
        return self.window.see(f"[data-cy='{name}']", timeout_s=timeout_s)

    def slices(self) -> Iterator[Slice]:
        """Every image of the stack, as it looks when nothing changes any more."""
        for number in range(self._count()):
            yield self.go(number)

    def go(self, number: int) -> Slice:
        """Show one image of the stack."""
        assert self.window.driver.execute_async_script(_GO, number)
        seen = [self.slice_now()]

        def settled() -> bool:
            seen.append(self.slice_now())
            return bool(np.array_equal(seen[-1].rgb, seen[-2].rgb))

        wait_for("a picture that stays", settled)
        return seen[-1]

    def slice_now(self) -> Slice:
        """What the viewport shows at this moment."""
        shown: dict[str, Any] = self.window.driver.execute_script(_SHOWN)
        picture = Image.open(BytesIO(self.window.driver.get_screenshot_as_png())).convert("RGB")
        [uid] = re.findall(r"/instances/([0-9.]+)/", shown["image"])
        return Slice(uid, np.asarray(picture.crop(shown["box"])), np.array(shown["place"]))

    def draw(self, points: list[tuple[int, int]]) -> None:
        """Draw a closed line with the freehand tool; points: of the viewport's pixels."""
        self.see("PlanarFreehandContourSegmentationTool-btn").click()
        left, top, *_ = self.window.driver.execute_script(_SHOWN)["box"]
        drag = ActionChains(self.window.driver, duration=20)
        pointer: Any = drag.w3c_actions.pointer_action  # its methods have no types
        for number, (x, y) in enumerate([*points, points[0]]):
            pointer.move_to_location(left + x, top + y)
            if number == 0:
                pointer.pointer_down()
        pointer.pointer_up()
        drag.perform()

    def export_rtstruct(self) -> None:
        """Save the contours to Orthanc as OHIF proposes it."""
        self.see("segmentation-collapsed-more-btn-Contour").click()
        for entry in ("Export", "DICOM RTSS"):
            wait_for(entry, partial(self._chosen, entry))
        self.see("input-dialog-save-button").click()

    def _chosen(self, entry: str) -> bool:
        """Click a menu's entry; not yet, where the menu is still drawn anew."""
        try:
            self.window.see("[role=menuitem]", entry).click()
        except (StaleElementReferenceException, ElementClickInterceptedException):
            return False
        return True

    def _count(self) -> int:
        there = "return !!(window.cornerstone && cornerstone.getEnabledElements().length);"
        driver = self.window.driver
        return int(driver.execute_script(_COUNT)) if driver.execute_script(there) else 0


@contextmanager
def ohif_as_documented(version: str, folder: Path, orthanc: OrthancServer) -> Iterator[str]:
    """Yield the address of OHIF with the two files that docs/VIEWERS.md shows."""
    dist = _VENVS / f"ohif-{version}" / "dist"
    if not dist.exists():
        pytest.skip(f"OHIF {version} is not there: `make viewers` fetches it by npm")
    guide = (CHECKOUT / "docs" / "VIEWERS.md").read_text()
    [settings] = re.findall(r"```js\n(window\.config.*?)```", guide, re.DOTALL)
    (folder / "app-config.js").write_text(settings)
    port = free_port()
    server = documented_server(
        "VIEWERS.md",
        {
            "listen 8080": f"listen 127.0.0.1:{port}",
            "/srv/ohif/app-config.js": f"{folder}/app-config.js",
            "/srv/ohif/dist": f"{dist}",
            "http://127.0.0.1:8042/": f"{orthanc.url}/",
        },
    )
    with nginx(folder, server):
        yield f"http://127.0.0.1:{port}"
