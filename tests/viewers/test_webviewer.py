"""Orthanc Explorer with Debian's orthanc-webviewer: our button beside its own, and the CT in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.browser import DESKTOP, Browser, browser, browser_is_installed
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.orthanc_server import CHECKOUT, OrthancServer
from tests.support.patience import wait_for
from tests.support.phantom import small_abdomen

VENVS = Path(os.environ.get("JUDGES_VENV") or CHECKOUT / ".venv-judges")
PLUGIN = VENVS / "webviewer" / "usr/share/orthanc/plugins/libOrthancWebViewer.so"
pytestmark = [
    pytest.mark.skipif(not browser_is_installed(), reason="needs Chromium"),
    pytest.mark.skipif(not PLUGIN.exists(), reason="`make viewers` fetches orthanc-webviewer"),
]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    plugins = ["/usr/share/orthanc/plugins/libOrthancPython.so", str(PLUGIN)]
    overrides = {"Plugins": plugins, "LiverSegmentation": {"Automatic": False}}
    with OrthancServer(tmp_path_factory.mktemp("orthanc"), overrides) as server:
        yield server


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as one:
        one.resize(DESKTOP)
        yield one


def test_both_buttons_show_and_the_ct_opens(orthanc: OrthancServer, window: Browser) -> None:
    for one in write_ct_series(small_abdomen().volume):
        orthanc.call("POST", "/instances", to_bytes(one))
    [series] = orthanc.get("/series")
    window.open(f"{orthanc.url}/app/explorer.html#series?uuid={series}")
    window.see("#liver-segment-series", "Segment liver")
    window.see("a", "Orthanc Web Viewer")
    window.screenshot("explorer-with-webviewer")
    window.open(f"{orthanc.url}/web-viewer/app/viewer.html?series={series}")
    wait_for("the CT", lambda: spread_of_greys(window) > 20, 60)
    window.screenshot("webviewer")


def spread_of_greys(window: Browser) -> float:
    """How far the middle of the page is from one colour."""
    picture = Image.open(BytesIO(window.driver.get_screenshot_as_png())).convert("L")
    width, height = picture.size
    middle = picture.crop((width // 4, height // 4, 3 * width // 4, 3 * height // 4))
    return float(np.asarray(middle).std())
