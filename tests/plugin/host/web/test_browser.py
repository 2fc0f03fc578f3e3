"""What a person sees and does in a real browser: Orthanc Explorer and the plugin's own page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.plugin.host.conftest import Host
from tests.plugin.host.series import small_ct
from tests.support.browser import DESKTOP, PHONE, Browser, needs_browser
from tests.support.nginx import nginx_as_documented
from tests.support.orthanc_server import merged
from tests.support.patience import wait_for

pytestmark = needs_browser
EVIL = "<img src=x onerror=document.title='ran'>"
SIGNED_IN = {"AuthenticationEnabled": True, "RegisteredUsers": {"doctor": "secret"}}


@pytest.fixture(scope="module")
def quiet_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """An Orthanc that segments nothing by itself."""
    host = Host(
        tmp_path_factory.mktemp("browsed"),
        Automatic=False,
        Destinations=[{"Modality": "nowhere"}],
        BackfillPauseSeconds=0,
    )
    with host.orthanc.until_killed():
        host.ready()
        yield host


@pytest.fixture
def host(quiet_host: Host, window: Browser) -> Iterator[Host]:
    window.resize(DESKTOP)
    with quiet_host.left_as_it_was():
        yield quiet_host


def explorer(host: Host, level: str, resource: str) -> str:
    return f"{host.orthanc.url}/app/explorer.html#{level}?uuid={resource}"


@pytest.mark.parametrize("level", ["series", "study"])
def test_orthanc_explorer_segments_a_ct(host: Host, window: Browser, level: str) -> None:
    host.engine.behave(seconds=1.5)
    series_id = host.upload(f"explored by {level}")
    resource = series_id
    if level == "study":
        resource = host.orthanc.get(f"/series/{series_id}")["ParentStudy"]
    window.open(explorer(host, level, resource))
    window.see(f"#liver-segment-{level}", "Segment liver").click()
    window.see(f"#liver-{level} .liver-line", "Running infer")
    window.screenshot(f"explorer-{level}-running")
    window.see(f"#liver-{level} .liver-line a", "liver 1500 mL")
    window.screenshot(f"explorer-{level}-done")
    [rtstruct] = host.rtstructs_beside(series_id)
    window.see(f"#liver-{level} .liver-line a").click()
    window.see("#instance")
    assert window.driver.current_url.endswith(f"#instance?uuid={rtstruct}")


def test_orthanc_explorer_shows_what_was_found_before(host: Host, window: Browser) -> None:
    host.engine.behave("refused")
    series_id = host.upload("explored later")
    host.job(host.segment(series_id), "Failure")
    window.open(explorer(host, "series", series_id))
    line = window.see("#liver-series .liver-line", "refused: the scripted engine was told so")
    # A refusal has a sentence or two, of which jQuery Mobile would show the first words alone.
    window.resize(PHONE)
    assert line.value_of_css_property("white-space") == "normal"
    window.screenshot("explorer-refused-phone")
    window.see("#liver-series .liver-line a", "Look at the slices").click()
    window.see("#outcome", "Refused")


def test_orthanc_explorer_offers_nothing_where_there_is_no_ct(host: Host, window: Browser) -> None:
    ct, mr = host.upload("offered"), host.upload("not offered", modality="MR")
    for series_id, offered in ((ct, True), (mr, False)):
        study = host.orthanc.get(f"/series/{series_id}")["ParentStudy"]
        for level, resource in (("series", series_id), ("study", study)):
            window.open(explorer(host, level, resource))
            window.see(f"#{level}-info li", "abdomen" if level == "series" else "StudyDate")
            if offered:
                window.see(f"#liver-segment-{level}")
            wait_until_quiet(window)
            assert bool(window.visible(f"#liver-segment-{level}")) is offered
            window.screenshot(f"explorer-{level}-{'ct' if offered else 'mr'}")


def test_orthanc_explorer_says_why_a_series_is_refused(host: Host, window: Browser) -> None:
    series_id = host.upload("too short to explore", slices=4)
    window.open(explorer(host, "series", series_id))
    window.see("#liver-segment-series").click()
    window.see("#liver-series .liver-line", "the series has 4 instances, fewer than MinimumSlices")
    study = host.orthanc.get(f"/series/{series_id}")["ParentStudy"]
    window.open(explorer(host, "study", study))
    window.see("#liver-segment-study").click()
    window.see("#liver-study .liver-line", "No series of this study passes the settings.")


def test_the_page_shows_a_job_from_beginning_to_end(host: Host, window: Browser) -> None:
    ct = small_ct("on the page", description=EVIL)
    for dataset in ct:
        dataset.PatientName = "Page^Patient"
    series_id = host.store(ct)
    host.engine.behave(seconds=2.5)
    window.open(f"{host.orthanc.url}/liver/app")
    window.see("#status", "scripted")
    window.see("#wanted").send_keys(str(ct[0].SeriesInstanceUID) + Keys.ENTER)
    window.see("#others li", "Page, Patient · on the page")
    window.see("#others button", "Segment").click()
    window.see("#message", "1 series asked for.")
    card = f"[data-series='{series_id}']"
    window.see(f"#running {card} .state", "Running: outlining the liver")
    window.see(f"{card} progress")
    window.screenshot("page-running")
    window.see(f"#finished {card} .state.segmented", "Segmented: liver 1500 mL")
    window.see(f"{card} h3", "Page, Patient · on the page")
    window.see(f"{card} .about", EVIL)
    window.see(f"{card} .warnings li", "a scripted warning")
    window.see(f"{card} .deliveries li", "Modality nowhere: failed, is sent again")
    width = wait_for("the picture", lambda: naturally_wide(window, f"{card} .preview img"))
    assert width == 1
    assert window.visible(f"{card} .cancel, {card} .resubmit, {card} progress") == []
    assert "ran" not in window.driver.title
    window.screenshot("page-success")


def naturally_wide(window: Browser, css: str) -> int:
    script = "return document.querySelector(arguments[0]).naturalWidth"
    return int(window.driver.execute_script(script, css))


def wait_until_quiet(window: Browser) -> None:
    """Until the page has no request of its own under way."""
    wait_for("a quiet page", lambda: window.driver.execute_script("return jQuery.active") == 0)


def test_the_page_by_keyboard_alone(host: Host, window: Browser) -> None:
    series_id = host.upload("by keyboard")
    host.engine.behave("hang", times=1)
    host.job_in_engine(host.segment(series_id))
    window.open(f"{host.orthanc.url}/liver/app")
    card = f"[data-series='{series_id}']"
    window.see(f"{card} .cancel")
    tab_to(window, "Cancel")
    window.press(Keys.ENTER)
    window.see(f"{card} .state.cancelled", "Cancelled")
    # The button is gone; whoever works by keyboard is still at the same card.
    assert window.focused().text == "Orthanc Explorer"
    tab_to(window, "Try again", Keys.SHIFT + Keys.TAB)
    window.press(Keys.SPACE)
    window.see(f"{card} .state", "Segmented: liver 1500 mL")
    assert [job["State"] for job in host.jobs_of(series_id)] == ["Success"]


def tab_to(window: Browser, text: str, key: str = Keys.TAB) -> None:
    for _ in range(40):
        window.press(key)
        if window.focused().text == text:
            return
    raise AssertionError(f"the keyboard does not reach {text}")


def test_the_page_on_a_phone(host: Host, window: Browser) -> None:
    series_id = host.upload("on a phone", description="a" * 60)
    host.job(host.segment(series_id), "Success")
    window.resize(PHONE)
    window.open(f"{host.orthanc.url}/liver/app")
    window.see(f"[data-series='{series_id}'] .state", "Segmented")
    assert window.fits(PHONE)
    [picture] = window.visible(f"[data-series='{series_id}'] .preview")
    assert picture.rect["width"] > 0.8 * PHONE[0]  # below the text, not squeezed beside it
    heights = [one.rect["height"] for one in window.visible("button, select, input")]
    assert min(heights) >= 44
    window.screenshot("page-phone")


def test_the_page_tells_what_is_wrong(host: Host, window: Browser) -> None:
    window.open(f"{host.orthanc.url}/liver/app")
    window.see("#wanted").send_keys("1.2.3.4" + Keys.ENTER)
    window.see("#message", "Orthanc has no such patient, study or series.")
    window.see("summary").click()
    window.see("#backfill", "None has been asked for.")
    window.see("#from").send_keys("01012031")
    window.see("#to").send_keys("01012030" + Keys.ENTER)
    window.see("#message", "From must not be after To")
    window.see("#from").send_keys("01012030")
    window.see("#to").send_keys(Keys.ENTER)
    window.see("#backfill", "Done: 0 of 0 studies")


def test_studies_are_fetched_from_another_server(host: Host, window: Browser) -> None:
    host.orthanc.call("PUT", "/modalities/away", b'["AWAY", "127.0.0.1", 1]')
    window.open(f"{host.orthanc.url}/liver/app")
    window.see("#elsewhere summary").click()
    window.see("#pull", "None has been asked for.")
    window.see("#source", "away (Modality)")
    window.see("#studies").send_keys("A1\n\n A2 ")
    window.see("#pull-form button", "Fetch").click()
    window.see("#pull", "Running: 0 of 2 studies, 0 of them could not be fetched. Tried again: ")
    window.see("#pull", "modality away cannot be reached or refuses our C-FIND")
    for size, name in ((DESKTOP, "desktop"), (PHONE, "phone")):
        window.resize(size)
        window.screenshot(f"pull-{name}")
    window.see("#pull-cancel", "Stop").click()
    window.see("#pull", "Cancelled: 0 of 2 studies")
    window.see("#studies").send_keys("A*")
    window.see("#pull-form button", "Fetch").click()
    message = window.see("#message", "AccessionNumbers must be texts")
    place = "const { top, bottom } = arguments[0].getBoundingClientRect(); "
    is_in_view = f"{place} return -1 <= top && bottom <= innerHeight"
    assert window.driver.execute_script(is_in_view, message)


ILL_THREAD = """
const real = window.call;
window.call = async (path, ...rest) => {
  const answer = await real(path, ...rest);
  if (path.endsWith('status')) { answer.Threads.worker = 'ended'; }
  return answer;
};
"""


AWAY = ILL_THREAD.replace("answer.Threads.worker = 'ended'", "answer.ArrivedWhileAway = 17")


def test_the_page_tells_what_arrived_while_the_plugin_was_away(host: Host, window: Browser) -> None:
    window.open(f"{host.orthanc.url}/liver/app")
    window.see("#status", "scripted")
    assert "was away" not in window.see("#status").text
    window.driver.execute_script(AWAY)
    window.see("#status", "Arrived while the plugin was away\n17")


def test_page_and_explorer_tell_why_there_is_no_liver(host: Host, window: Browser) -> None:
    host.engine.behave("no liver found")
    series_id = host.upload("without a liver")
    host.job(host.segment(series_id), "Success")
    window.open(f"{host.orthanc.url}/liver/app")
    card = f"[data-series='{series_id}']"
    window.see(f"{card} .state.none", "No liver found")
    window.see(f"{card} .reason", "all is as dark as fat")
    window.open(f"{host.orthanc.url}/liver/series/{series_id}/review")
    window.see("#reason", "all is as dark as fat")
    window.open(explorer(host, "series", series_id))
    window.see("#liver-series .liver-line", "no liver found: all is as dark as fat")


def test_the_page_tells_of_a_thread_that_does_not_work(host: Host, window: Browser) -> None:
    window.open(f"{host.orthanc.url}/liver/app")
    window.driver.execute_script(ILL_THREAD)
    window.see("#problems", "The worker ended.")
    assert "running" not in window.see("#problems").text


# What the page gets is ours and then, once, what somebody else put there.
ALSO_GET = """
const more = arguments[0], real = window.call;
window.call = async (path, ...rest) => {
  const answer = await real(path, ...rest);
  const { Finished } = answer;
  if (Finished) { Finished.Jobs = [...more, ...Finished.Jobs, ...more]; }
  return answer;
};
"""


def test_one_bad_card_hides_no_other_and_no_bad_id_becomes_an_address(
    host: Host, window: Browser
) -> None:
    series_id = host.upload("beside bad ones")
    good = host.job(host.segment(series_id), "Success")
    foreign = "01234567-01234567-01234567-01234567-01234567"
    content = good["Content"] | {"Series": foreign, "Deliveries": [{"Destination": 7}]}
    bad = [
        good | {"ID": "../../tools/shutdown?x="},
        good | {"Content": content | {"Series": "../../tools/shutdown?x="}},
        good | {"Content": content | {"Study": "../tools/shutdown?x="}},
        good | {"Content": None},
        None,
        good | {"Content": content},
        good | {"CreationTime": 7, "Content": content | {"Report": None}},
    ]
    window.open(f"{host.orthanc.url}/liver/app")
    window.driver.execute_script(ALSO_GET, bad)
    window.see(f"[data-series='{foreign}'] .reason", "This job cannot be shown")
    window.see("#problems", "10 of the jobs are not shown")
    window.see(f"[data-series='{series_id}'] .state", "Segmented: liver 1500 mL")
    assert "shutdown" not in window.driver.page_source.partition("<script>")[0]
    assert host.orthanc.answers()


def test_behind_nginx_with_tls_a_prefix_and_a_password(window: Browser, tmp_path: Path) -> None:
    """The configuration is the one that the documentation shows."""
    host = Host(tmp_path / "host", Automatic=False)
    host.orthanc.overrides = merged(host.orthanc.overrides, SIGNED_IN)
    host.orthanc._session.auth = ("doctor", "secret")
    window.resize(DESKTOP)
    with host.orthanc.until_killed(), nginx_as_documented(tmp_path, host.orthanc) as url:
        host.ready()
        series_id = host.upload("behind nginx")
        window.open(url.replace("https://", "https://doctor:secret@") + "/orthanc/liver/app")
        window.see("#status", "scripted")
        window.open(f"{url}/orthanc/app/explorer.html#series?uuid={series_id}")
        window.see("#liver-segment-series").click()
        window.see("#liver-series .liver-line a", "liver 1500 mL")
        window.open(f"{url}/orthanc/liver/app")
        window.see(f"[data-series='{series_id}'] .state", "Segmented: liver 1500 mL")
        picture = f"[data-series='{series_id}'] .preview img"
        wait_for("the picture", lambda: naturally_wide(window, picture))
        window.see(f"[data-series='{series_id}'] .explore").click()
        window.see("#liver-series .liver-line a", "liver 1500 mL")
        assert window.driver.current_url.startswith(f"{url}/orthanc/app/explorer.html")
