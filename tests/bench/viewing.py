"""The review page in a browser: how soon the first slice is there, and how scrolling keeps up."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from tests.plugin.host.conftest import Host
from tests.support.browser import DESKTOP, Browser, browser
from tests.support.case_writer import write_rtstruct
from tests.support.patience import wait_for

_LINE_MBIT_S, _LATENCY_MS = 100, 5
STEPS_A_SECOND = 20
# On each frame: since when the first slice is to be seen, and what is, as soon as it is another.
_WATCH = """
const seen = { firstMs: 0, at: [] };
window.seen = seen;
function look() {
  try {
    if (pictures.get(view.slice)?.bitmap && !frame) {
      seen.firstMs ||= performance.now();
      if (seen.at.at(-1)?.[0] !== view.slice) { seen.at.push([view.slice, performance.now()]); }
    }
  } catch { /* the page's own scripts have not run yet */ }
  requestAnimationFrame(look);
}
requestAnimationFrame(look);
"""
_SCROLL = """
const [eachMs, done] = arguments, asked = [];
const last = shown.Stack.Slices.length - 1;
const slices = [...Array(last - view.slice).keys()].map((n) => view.slice + 1 + n);
slices.push(...[...Array(last).keys()].map((n) => last - 1 - n));
const step = () => {
  if (!slices.length) { setTimeout(() => done({ asked, at: seen.at }), 500); return; }
  choose(slices.shift());
  asked.push([view.slice, performance.now()]);
  setTimeout(step, eachMs - (performance.now() - began) % eachMs);
};
const began = performance.now();
step();
"""


@dataclass(frozen=True)
class Viewed:
    """delays_ms: from each step to its slice, in order; infinite where the next step came first."""

    first_slice_ms: float
    delays_ms: list[float]
    picture_kb: float


def viewed(instances: Sequence[pydicom.FileDataset], liver: NDArray[np.bool_]) -> list[Viewed]:
    """A series with an outline, looked at three times, each time with nothing kept from before."""
    with tempfile.TemporaryDirectory(prefix="orthanc-liver-bench-") as folder:
        host = Host(Path(folder) / "host", Automatic=False)
        with host.orthanc.until_killed():
            host.ready()
            series_id = host.store(instances)
            write_rtstruct(Path(folder) / "rs.dcm", list(instances), liver, "Liver")
            host.orthanc.call("POST", "/instances", (Path(folder) / "rs.dcm").read_bytes())
            with _on_a_line(Path(folder) / "profile") as window:
                return [_view(host, window, series_id, instances) for _ in range(3)]


@contextmanager
def _on_a_line(profile: Path) -> Iterator[Browser]:
    with browser(profile) as window:
        window.resize(DESKTOP)
        per_second = _LINE_MBIT_S * 1_000_000 / 8
        line = {
            "offline": False,
            "latency": _LATENCY_MS,
            "downloadThroughput": per_second,
            "uploadThroughput": per_second,
        }
        ask = window.driver.execute_cdp_cmd
        ask("Network.enable", {})
        ask("Network.emulateNetworkConditions", line)
        ask("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})
        window.driver.set_script_timeout(300)
        yield window


def _view(
    host: Host, window: Browser, series_id: str, instances: Sequence[pydicom.FileDataset]
) -> Viewed:
    window.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
    window.open(f"{host.orthanc.url}/liver/series/{series_id}/review")

    def first_ms() -> float:
        return float(window.driver.execute_script("return window.seen?.firstMs || 0"))

    wait_for("the first slice", first_ms, 60)
    told = window.driver.execute_async_script(_SCROLL, 1000 / STEPS_A_SECOND)
    sizes = window.driver.execute_script("return [...pictures.values()].map((one) => one.png.size)")
    return Viewed(first_ms(), _delays_ms(told), float(np.mean(sizes)) / 1000)


def _delays_ms(told: dict[str, Any]) -> list[float]:
    asked, seen = told["asked"], told["at"]
    ends = [at for _, at in asked[1:]] + [asked[-1][1] + 1000 / STEPS_A_SECOND]
    return [
        min((at - began for one, at in seen if one == number and began <= at < end), default=np.inf)
        for (number, began), end in zip(asked, ends, strict=True)
    ]
