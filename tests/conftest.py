"""Which tests need what, how long each may take, and that nothing they started outlives them."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import pytest_timeout

from tests.support.orthanc_server import orthanc_is_installed
from tests.support.patience import patience_s
from tests.support.processes import children_of

# What a test module uses says what its tests need, those on the fake Orthanc excepted.
_NEEDS = {
    "orthanc": {"Host", "RealEngineHost", "OrthancServer"},
    "browser": {"Browser"},
    "network": {"default_weights", "FOLD_0_WEIGHTS", "real_ct", "Child"},
}
_CORES = len(os.sched_getaffinity(0))
_BY_FOLDER = ("viewers", "cluster")
_NOT_UNIT = ("orthanc", "browser", "network", "long", *_BY_FOLDER)

# A time-out of Hypothesis' own would be one more that a slow machine breaks.
hypothesis.settings.register_profile("anywhere", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "anywhere")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected stays to the end: looking through it for what might be freed,
    again and again, takes half as long as all the rest."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        used = set(vars(item.module))
        on_fake = hasattr(item, "callspec") and "fake" in item.callspec.id.split("-")
        for need, names in _NEEDS.items():
            if used & names and not on_fake:
                item.add_marker(need)
        for name in _BY_FOLDER:
            if item.path.is_relative_to(Path(__file__).parent / name):
                item.add_marker(name)
        if not any(item.get_closest_marker(name) for name in _NOT_UNIT):
            item.add_marker("unit")


def pytest_runtest_setup(item: pytest.Item) -> None:
    _set_threads(1 if item.get_closest_marker("unit") else _CORES)
    if item.get_closest_marker("orthanc") and not orthanc_is_installed():
        reason = "needs Debian's packages orthanc, orthanc-python and orthanc-dicomweb"
        if os.environ.get("LIVER_REQUIRE") == "orthanc":  # make test
            pytest.fail(reason)
        pytest.skip(reason)


def _set_threads(count: int) -> None:
    """One for small networks: several would only wait for each other, at every layer."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> bool:
    """The time-out of a test is one for a fast machine, too."""
    longer = settings._replace(timeout=patience_s(settings.timeout))
    return bool(pytest_timeout.pytest_timeout_set_timer(item, longer))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that a test left running is ended, and is a failure."""
    for pid in children_of(os.getpid()):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        if command and "multiprocessing.resource_tracker" not in command:
            os.kill(pid, signal.SIGKILL)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            print(f"\nleft running by a test, and killed: {command}")  # noqa: T201
