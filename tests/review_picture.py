"""Draw docs/review.png: the review page with a made-up patient. `make review-picture`"""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.browser import Browser, browser
from tests.support.ct_writer import write_ct_series
from tests.support.orthanc_server import CHECKOUT, OrthancServer
from tests.support.patience import wait_for
from tests.support.phantom import abdomen

SIZE = (1180, 990)
COLOURS = 96  # as many as keep the picture small and the text sharp


def main() -> None:
    """Send the patient, wait for the outline and for the page that shows it."""
    series = write_ct_series(abdomen().volume, patient_name="Made-up^Patient")
    with (
        tempfile.TemporaryDirectory(prefix="orthanc-liver-picture-") as folder,
        OrthancServer(Path(folder), {"StableAge": 2}) as server,
        browser(Path(folder) / "profile") as window,
    ):
        server.send(series)
        job = wait_for("the outline", lambda: ended_job(server), 600)
        window.resize(SIZE)
        window.open(f"{server.url}/liver/series/{job['Series']}/review")
        window.see("#place", "Slice")
        window.see("#outline", "Result")
        wait_for("slice and outline", lambda: not still_loading(window))
        picture = window.driver.get_screenshot_as_png()
    image = Image.open(BytesIO(picture)).convert("RGB")
    image.quantize(COLOURS).save(CHECKOUT / "docs" / "review.png", optimize=True)


def still_loading(window: Browser) -> bool:
    """Whether the slice or the outline is still on its way."""
    return bool(window.visible("#waiting") or window.visible("p", "Choose the result"))


def ended_job(server: OrthancServer) -> dict[str, Any] | None:
    """The job of the one series that is there, once it has ended."""
    jobs = [job["Content"] for job in server.get("/liver/jobs?expand")]
    return next((job for job in jobs if job["Outcome"]), None)


if __name__ == "__main__":
    main()
