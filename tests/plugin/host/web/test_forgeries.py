"""What a page of another site can make a signed-in browser send, and what it can show of ours."""

from __future__ import annotations

import pytest

from tests.plugin.host.conftest import Host, error_of
from tests.plugin.host.web.test_routes import NO_RESOURCE, every_route
from tests.support.fake_orthanc import HOST, FakeServer

# A foreign page's form posts this as text/plain: JSON, were it not for the type.
BACKFILL = b'{"From": "19000101", "To": "20991231"}'
POSTS = [path for method, path in every_route() if method == "POST"]


def own_address(host: Host) -> str:
    orthanc = host.orthanc
    return HOST if isinstance(orthanc, FakeServer) else orthanc.url.removeprefix("http://")


@pytest.mark.parametrize("path", POSTS)
def test_every_post_refuses_a_page_of_another_site(host: Host, path: str) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": f"http://{own_address(host)}"},
        {"Origin": "http://evil.example", "Authorization": "Basic ZG9jdG9yOnNlY3JldA=="},
    ):
        status, message = error_of(host.orthanc.call("POST", path, headers=headers))
        assert status == 403, headers
        assert "another site" in message
    assert host.orthanc.get("/liver/status")["Backfill"] is None


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize("path", POSTS)
def test_every_post_takes_a_body_as_json_only(host: Host, path: str, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    status, message = error_of(host.orthanc.call("POST", path, BACKFILL, headers=headers))
    assert status == 415
    assert "application/json" in message


def test_our_own_page_and_programs_are_served(host: Host) -> None:
    address = own_address(host)
    path = f"/liver/series/{NO_RESOURCE}/segment"
    for headers in (
        {},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Origin": f"http://{address}", "Sec-Fetch-Site": "same-origin"},
        {"Origin": f"HTTP://{address}"},
        {"Sec-Fetch-Site": "none"},
        # A proxy for TLS that passes the browser's address on, and one that does not.
        {"Host": "pacs.example", "Origin": "https://pacs.example"},
        {"Host": "pacs.example:443", "Origin": "https://pacs.example"},
        {"Host": "pacs.example:8443", "Origin": "https://pacs.example:8443"},
        {"X-Forwarded-Host": "pacs.example", "Origin": "https://pacs.example"},
        {"Origin": "https://pacs.example", "Sec-Fetch-Site": "same-origin"},
    ):
        status, _ = error_of(host.orthanc.call("POST", path, b'{"Force": true}', headers=headers))
        assert status == 404, headers
    # Nothing is sent, so it need not say of what type.
    empty = host.orthanc.call("POST", path, headers={"Content-Type": "text/plain"})
    assert error_of(empty)[0] == 404


def test_a_key_that_is_given_twice_is_refused(host: Host) -> None:
    path = f"/liver/series/{NO_RESOURCE}/segment"
    answer = host.orthanc.call("POST", path, b'{"Force": false, "Force": true}')
    assert error_of(answer) == (400, "the body gives a key twice")
    within = b'{"Method": "resin", "Spheres": {"a": 1, "a": 2}}'
    answer = host.orthanc.call("POST", f"/liver/series/{NO_RESOURCE}/activity", within)
    assert error_of(answer) == (400, "the body gives a key twice")


def test_page_and_pictures_are_framed_and_kept_by_nobody(host: Host) -> None:
    series_id = host.upload("framed")
    host.ended_job_of(series_id)
    for path, status in (
        ("/liver/app", 200),
        (f"/liver/series/{series_id}/preview", 200),
        (f"/liver/series/{NO_RESOURCE}/preview", 404),
    ):
        answer = host.orthanc.call("GET", path)
        assert answer.status_code == status
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'self'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
