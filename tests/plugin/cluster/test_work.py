"""A worker that is not set up for a case leaves the next ones to others for a while."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, call

import pytest

from orthanc_liver.cluster import work
from orthanc_liver.cluster.answers import ending_of
from orthanc_liver.cluster.fetching import CannotFetch, NotLetIn
from orthanc_liver.cluster.orthancs import Address
from orthanc_liver.cluster.work import Means, Work
from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.host.errors import EngineGone, EngineUnavailable
from tests.plugin.cluster.test_fetching import CASE

NORTH = Address("north", "https://north.example")


class Scene:
    """A worker that is given CASE, and how long it rested before it answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rests_s: list[float] = []
        self.engine = Mock()
        self.engine.wait_ready.return_value = Mock(model_sha256=CASE.model_sha256)
        self.ahead = Mock()
        self.answers = Mock()
        monkeypatch.setattr(work, "EngineProcess", lambda _: self.engine)
        clock = SimpleNamespace(sleep=self.rests_s.append, monotonic=lambda: 0.0)
        monkeypatch.setattr(work, "time", clock)

    def reason(self, *orthancs: Address) -> str:
        """Why the case failed."""
        means = Means({one.name: one for one in orthancs}, ["engine"], CASE.model_sha256)
        Work(means, self.answers, self.ahead).do(CASE.as_text(), "a task")
        [(_, messages, _)] = [one.args for one in self.answers.deliver.call_args_list]
        ending = ending_of(messages)
        assert ending
        assert ending.outcome is Outcome.FAILED
        return str(ending.reason)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_a_worker_without_the_orthanc_rests_and_says_so(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    reason = scene.reason(Address("south", "https://south.example"))
    assert "no Orthanc north" in reason
    assert scene.rests_s == [30.0]
    errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert errors == [f"job {CASE.job}: {reason}"]


def test_what_was_read_ahead_of_a_case_goes_with_it_however_it_ends(scene: Scene) -> None:
    scene.engine.wait_ready.side_effect = EngineUnavailable("no weights")
    scene.reason(NORTH)
    assert scene.ahead.forget.call_args_list == [call(CASE)]
    scene.ahead.files_of.assert_not_called()


def test_a_worker_of_another_model_rests(scene: Scene) -> None:
    scene.engine.wait_ready.return_value.model_sha256 = "b" * 64
    assert "model" in scene.reason(NORTH)
    assert scene.rests_s == [30.0]


@pytest.mark.parametrize(
    ("error", "rests_s"),
    [
        (NotLetIn("HTTP status 401"), [30.0]),
        (EngineUnavailable("no weights"), [30.0]),
        (CannotFetch("HTTP status 404"), []),
        (EngineGone("killed"), []),
        (ValueError("Secret^Patient"), []),
    ],
)
def test_it_rests_after_what_the_next_case_would_meet_as_well(
    scene: Scene, caplog: pytest.LogCaptureFixture, error: Exception, rests_s: list[float]
) -> None:
    def files(*_: Any) -> Any:
        raise error

    scene.ahead.files_of = files
    reason = scene.reason(NORTH)
    assert scene.rests_s == rests_s
    assert reason in caplog.text
    assert "Secret" not in reason + caplog.text
