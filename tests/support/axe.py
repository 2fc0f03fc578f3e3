"""axe-core, which looks for faults of accessibility in the page that a browser shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.browser import Browser

_VENVS = Path(os.environ.get("JUDGES_VENV") or Path(__file__).parents[2] / ".venv-judges")
_SCRIPT = _VENVS / "axe" / "axe.min.js"
_RUN = """
const tell = arguments[0];
axe.run().then((found) => tell(found.violations.map((one) =>
  `${one.impact}: ${one.id}: ${one.help}: ${one.nodes.map((node) => node.target).join(' ')}`)));
"""


def serious_faults(window: Browser) -> list[str]:
    """What axe-core calls serious or critical; the test skips where it is not there."""
    if not _SCRIPT.exists():
        pytest.skip("needs axe-core: make browser")
    window.driver.execute_script(_SCRIPT.read_text(encoding="utf-8"))
    found: list[str] = window.driver.execute_async_script(_RUN)
    return [one for one in found if one.startswith(("serious", "critical"))]
