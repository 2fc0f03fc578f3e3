"""What a client is told of an error, without an Orthanc: the domain raises, routes translate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from orthanc_liver.host import errors
from orthanc_liver.host.server.api import Missing, OrthancError, ServerStopping
from orthanc_liver.host.web.routes import Routes
from orthanc_liver.sirt.inputs import ActivityRefused

PATH = "jobs/5a3c0f0e-0000-4000-8000-00000000000b/cancel"


def answer_to(error: Exception) -> tuple[int, dict[str, Any], str]:
    """The status and JSON that a client gets, and what the log says, where a call raises."""
    service, output = Mock(), Mock()
    service.cancel.side_effect = error
    Routes(service).answer(output, f"/liver/{PATH}", method="POST", groups=(PATH,))
    ((status, text, _), _) = output.SendHttpStatus.call_args
    said = [call.args[0] for call in service.orthanc.log_error.call_args_list]
    return status, json.loads(text), "".join(said)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UnknownJob("why"), 404),
        (errors.UnknownDelivery("why"), 404),
        (Missing("why"), 404),
        (errors.NotOurs("why"), 404),
        (errors.NotAllowed("why"), 409),
        (errors.NoResult("why"), 409),
        (errors.NotAdmitted("why"), 400),
        (errors.BackfillRefused("why"), 400),
        (errors.PullRefused("why"), 400),
        (ActivityRefused("why"), 400),
        (errors.NotRunning("why"), 503),
        (ServerStopping("why"), 503),
        (OrthancError("why"), 500),
        (errors.NothingStored("why"), 500),
    ],
)
def test_each_error_of_the_domain_has_its_status(error: Exception, status: int) -> None:
    answered, body, said = answer_to(error)
    assert (answered, body["HttpStatus"], body["Message"], said) == (status, status, "why", "")
    assert (body["Method"], body["Uri"]) == ("POST", f"/liver/{PATH}")


def test_what_nobody_foresaw_is_an_honest_500_with_its_place_in_the_log() -> None:
    service, output = Mock(), Mock()
    service.queue.show_all.return_value = [{"Secret^Patient": "Content is missing"}]
    asked = {"expand": "", "series": "-".join(["0123abcd"] * 5)}
    Routes(service).answer(output, "/liver/jobs", method="GET", groups=("jobs",), get=asked)
    ((status, text, _), _) = output.SendHttpStatus.call_args
    [[said]] = [call.args for call in service.orthanc.log_error.call_args_list]
    assert (status, json.loads(text)["HttpStatus"]) == (500, 500)
    place = f"KeyError at {Path(errors.__file__).parent}/web/routes.py:"
    for told in (json.loads(text)["Message"], said):
        assert place in told
        assert told.rpartition(":")[2].isdigit()
        assert "Secret" not in told
        assert "Content" not in told
