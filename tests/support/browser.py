"""Headless Chromium from Debian's packages, and where its screenshots go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.orthanc_server import CHECKOUT
from tests.support.patience import wait_for

SCREENSHOTS = CHECKOUT / "build" / "screenshots"
_CHROMIUM, _DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
DESKTOP, PHONE = (1280, 900), (390, 844)

_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",  # the tests' own certificate is nobody's
]
_NO_GRAPHICS = ["--disable-gpu"]
# WebGL without a graphics card, for viewers that draw with it.
_WEBGL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


class Browser:
    """One window, as a person has it in front of them."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Go there from a blank page, for Orthanc Explorer's pages differ after the # only."""
        self.driver.get("about:blank")
        self.driver.get(url)

    def resize(self, size: tuple[int, int]) -> None:
        """Give the page itself this many pixels, which a window of this size would not."""
        width, height = size
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )

    def speak(self, languages: str) -> None:
        """Prefer these languages, as the header Accept-Language has them."""
        agent = self.driver.execute_script("return navigator.userAgent")
        asked = {"userAgent": agent, "acceptLanguage": languages}
        self.driver.execute_cdp_cmd("Network.setUserAgentOverride", asked)

    def dim(self, *, is_dark: bool) -> None:
        """Prefer dark pages, or light ones."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether nothing of the page lies beyond the width of a window of this size."""
        root = "document.documentElement"
        script = f"return [window.innerWidth, {root}.scrollWidth - {root}.clientWidth]"
        return bool(self.driver.execute_script(script) == [size[0], 0])

    def see(self, css: str, text: str = "", timeout_s: float = 20.0) -> WebElement:
        """The first visible element that matches and holds the text, as soon as there is one."""

        found = wait_for(f"{css} with {text!r}", lambda: self.visible(css, text), timeout_s)
        return found[0]

    def visible(self, css: str, text: str = "") -> list[WebElement]:
        """Every visible element that matches and holds the text, all at one moment: a page may
        take an element away between two questions about it."""
        found: list[WebElement] = self.driver.execute_script(
            "return [...document.querySelectorAll(arguments[0])]"
            ".filter(e => e.checkVisibility() && e.innerText.includes(arguments[1]))",
            css,
            text,
        )
        return found

    def focused(self) -> WebElement:
        """What the keyboard acts on."""
        return self.driver.switch_to.active_element

    def press(self, *keys: str) -> None:
        """Press keys wherever the focus is."""
        self.focused().send_keys(*keys)

    def body(self) -> WebElement:
        """The page's body."""
        return self.driver.find_element(By.TAG_NAME, "body")

    def screenshot(self, name: str) -> None:
        """Leave a picture of the page as it is now in build/screenshots."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))


def browser_is_installed() -> bool:
    """Whether Debian's packages are there; Ubuntu has none of these names."""
    return Path(_CHROMIUM).exists() and Path(_DRIVER).exists()


needs_browser = pytest.mark.skipif(
    not browser_is_installed(), reason="needs Debian's chromium and chromium-driver"
)


@contextmanager
def browser(profile: Path, *, webgl: bool = False) -> Iterator[Browser]:
    """A browser with an empty profile in a folder."""
    options = webdriver.ChromeOptions()
    options.binary_location = _CHROMIUM
    graphics = _WEBGL if webgl else _NO_GRAPHICS
    for flag in [*_FLAGS, *graphics, f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(_DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
