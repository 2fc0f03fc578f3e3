"""The browser of the tests that look at pages: one for each module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.browser import Browser


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    # Only here: the tests of other_orthanc.sh go without a browser.
    from tests.support.browser import browser  # noqa: PLC0415

    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one
