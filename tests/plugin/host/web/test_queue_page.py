"""The queue page in a real browser: finding, order, outcomes in words, first use, languages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.plugin.host.conftest import ENDED, Host
from tests.plugin.host.series import small_ct
from tests.support.axe import serious_faults
from tests.support.browser import DESKTOP, PHONE, Browser, needs_browser
from tests.support.orthanc_server import merged
from tests.support.patience import wait_for

pytestmark = needs_browser
ARABIC = "بطن"


@pytest.fixture(scope="module")
def quiet_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("queue page"), Automatic=False, Retries=0)
    with host.orthanc.until_killed():
        host.ready()
        yield host


@pytest.fixture
def host(quiet_host: Host, window: Browser) -> Iterator[Host]:
    window.resize(DESKTOP)
    window.speak("en-GB,en")
    window.dim(is_dark=False)
    with quiet_host.left_as_it_was():
        yield quiet_host
        for job in quiet_host.orthanc.get("/liver/jobs?expand"):
            if job["State"] not in ENDED:
                quiet_host.orthanc.call("POST", f"/liver/jobs/{job['ID']}/cancel")


def stored(host: Host, name: str, patient_id: str, seed: str = "", **tags: Any) -> str:
    ct = small_ct(f"{seed} {patient_id} {name}", slices=7)
    for one in ct:
        one.SpecificCharacterSet = "ISO_IR 192"
        one.PatientName, one.PatientID = name, patient_id
        for keyword, value in tags.items():
            setattr(one, keyword, value)
    return host.store(ct)


def card(series_id: str) -> str:
    return f"[data-series='{series_id}']"


def filled(host: Host) -> dict[str, str]:
    """A series of each outcome, one that runs and three that wait."""
    found: dict[str, str] = {}
    for outcome, name in (
        ("segmented", "Lovelace^Ada"),
        ("no liver found", "Hopper^Grace"),
        ("refused", "Franklin^Rosalind"),
        ("failed", "Curie^Marie"),
    ):
        host.engine.behave(outcome)  # type: ignore[arg-type]
        found[outcome] = stored(host, name, f"ID-{len(found)}", SeriesDescription="S3 PORTAL")
        host.job(host.segment(found[outcome]), "Success", "Failure")
    host.engine.behave("hang", times=2)
    found["cancelled"] = stored(host, "Noether^Emmy", "ID-9")
    job = host.segment(found["cancelled"])
    host.job_in_engine(job)
    host.orthanc.post(f"/liver/jobs/{job}/cancel")
    host.job(job, "Failure")
    found["running"] = stored(host, "Meitner^Lise", "ID-10")
    host.job_in_engine(host.segment(found["running"]))
    for n in range(3):
        found[f"waiting {n}"] = stored(host, f"Waits^{n}", f"ID-2{n}", SeriesDescription=ARABIC)
        host.segment(found[f"waiting {n}"])
    return found


def open_page(host: Host, window: Browser) -> None:
    window.open(f"{host.orthanc.url}/liver/app")
    window.see("#status", "scripted")


def test_every_outcome_in_its_own_words_and_the_queue_in_its_order(
    host: Host, window: Browser
) -> None:
    series = filled(host)
    open_page(host, window)
    for outcome, css, words in (
        ("segmented", ".segmented", "Segmented: liver 1500 mL"),
        ("no liver found", ".none", "No liver found"),
        ("refused", ".refused", "Refused"),
        ("failed", ".failed", "Failed"),
        ("cancelled", ".cancelled", "Cancelled"),
    ):
        window.see(f"#finished {card(series[outcome])} .state{css}", words)
    window.see(f"{card(series['segmented'])} .times", "asked for")
    window.see(f"{card(series['segmented'])} .times", "took")
    assert window.visible(f"{card(series['refused'])} .resubmit") == []
    assert window.visible(f"{card(series['failed'])} .resubmit")
    window.see(f"#running {card(series['running'])} .state", "%")
    window.see("#waiting-head", "Waiting (3)")
    window.see(f"{card(series['waiting 0'])} .state", "Next")
    window.see(f"{card(series['waiting 2'])} .state", "3rd of 3")
    button = window.see(f"{card(series['waiting 2'])} .next")
    assert button.get_attribute("aria-label") == "Next: Waits, 2 · ID-22"
    # Each text keeps its own direction.
    about = window.see(f"{card(series['waiting 2'])} .about")
    assert [one.text for one in about.find_elements(By.TAG_NAME, "bdi")][-2:] == [
        ARABIC,
        "7 slices",
    ]
    window.screenshot("queue-desktop")
    assert serious_faults(window) == []
    button.click()
    window.see(f"{card(series['waiting 2'])} .state", "Next")
    window.see(f"{card(series['waiting 1'])} .state", "3rd of 3")
    window.see("#outcome").send_keys("Ref")
    wait_for("the refused alone", lambda: len(window.visible("#finished > li")) == 1)
    window.see(f"#finished {card(series['refused'])}")
    assert "(1)" in window.see("#finished-head").text
    window.see("#all").click()
    wait_for("all of them", lambda: len(window.visible("#finished > li")) == 5)
    window.dim(is_dark=True)
    window.screenshot("queue-dark")
    assert serious_faults(window) == []
    window.resize(PHONE)
    assert window.fits(PHONE)
    assert serious_faults(window) == []
    window.screenshot("queue-phone")
    window.speak("de-DE,de,en")
    window.dim(is_dark=False)
    window.resize(DESKTOP)
    open_page(host, window)
    window.see(f"{card(series['no liver found'])} .state", "Keine Leber gefunden")
    window.see(f"{card(series['waiting 1'])} .state", "3. von 3")
    assert window.see(f"{card(series['running'])} .cancel").text == "Abbrechen"
    assert window.driver.find_element(By.TAG_NAME, "html").get_attribute("lang") == "de"
    window.screenshot("queue-german")


@pytest.mark.parametrize(
    "text",
    ["lovelace", "Ada Lovelace", "LOVELACE, ada", "ID-4711", "d-47", "ACC-1", "Lovelace^Ada"],
)
def test_a_patient_is_found_and_segmented(host: Host, window: Browser, text: str) -> None:
    series_id = stored(host, "Lovelace^Ada", "ID-4711", text, AccessionNumber="ACC-1")
    other = stored(host, "Byron^Ada", "ID-5", text, AccessionNumber="ACC-2")
    host.job(host.segment(other), "Success")
    open_page(host, window)
    window.see(card(other))
    window.see("#wanted").send_keys(text + Keys.ENTER)
    window.see("#others li", "Lovelace, Ada · ID-4711")
    wait_for("no other", lambda: not window.visible(card(other)))
    assert len(window.visible("#others li")) == 1
    button = window.see("#others button")
    assert button.get_attribute("aria-label") == "Segment: Lovelace, Ada"
    button.click()
    window.see(f"#finished {card(series_id)} .state", "Segmented")
    button.click()
    window.see("#message", "Already segmented")
    jobs = len(host.engine.jobs())
    window.see("#message button", "Run it again").click()
    wait_for("another run", lambda: len(host.engine.jobs()) == jobs + 1)
    window.see("#all").click()
    window.see(card(other))


def test_two_pages_of_finished_ones(host: Host, window: Browser) -> None:
    series = [stored(host, f"Many^{n}", f"ID-{n}", "pages") for n in range(21)]
    for job in [host.segment(one) for one in series]:
        host.job(job, "Success")
    open_page(host, window)
    window.see("#wanted").send_keys("many" + Keys.ENTER)
    window.see("#finished-head", "Finished (21)")
    window.see("#finished-pages", "Page 1 of 2")
    assert len(window.visible("#finished > li")) == 20
    assert window.visible(card(series[0])) == []
    window.see("#finished-pages button:last-child").click()
    window.see(card(series[0]))
    window.see("#finished-pages", "Page 2 of 2")
    assert len(window.visible("#finished > li")) == 1


def test_first_use_and_what_arrives(window: Browser, tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.orthanc.overrides = merged(host.orthanc.overrides, {"StableAge": 600})
    window.resize(DESKTOP)
    with host.orthanc.until_killed():
        host.ready()
        open_page(host, window)
        system = host.orthanc.get("/system")
        window.see("#hint", "No series has been segmented yet.")
        window.see("#hint", str(system["DicomPort"]))
        window.see("#hint", system["DicomAet"])
        window.screenshot("queue-first-use")
        assert serious_faults(window) == []
        host.upload("arriving", slices=9)
        host.upload("of no interest", modality="MR")
        window.see("#arriving", "1 series is arriving, 9 slices so far")
        assert window.visible("#hint") == []


def test_first_use_where_nothing_is_segmented_by_itself(window: Browser, tmp_path: Path) -> None:
    host = Host(tmp_path, Automatic=False)
    window.resize(PHONE)
    window.speak("en-GB,en")
    with host.orthanc.until_killed():
        host.ready()
        open_page(host, window)
        window.see("#hint", "find it above and press Segment")
        assert window.visible("#by-itself") == []
        window.see("#hint", str(host.orthanc.get("/system")["DicomPort"]))
        assert window.fits(PHONE)
        window.screenshot("queue-first-use-phone")


def test_with_a_wrong_setting_it_says_so(window: Browser, tmp_path: Path) -> None:
    host = Host(tmp_path, Retries=-1)
    window.resize(DESKTOP)
    with host.orthanc.until_killed():
        window.open(f"{host.orthanc.url}/liver/app")
        window.see("#summary", "Stopped: settings")
        window.see("#problems", "LiverSegmentation.Retries: must be a whole number")


def test_who_is_not_signed_in_any_more_is_told_so(host: Host, window: Browser) -> None:
    open_page(host, window)
    window.driver.execute_script("window.fetch = async () => new Response('', { status: 401 })")
    window.see("#problems", "You are not signed in any more: reload this page.")


def test_without_scripts_the_page_says_what_it_needs(host: Host, window: Browser) -> None:
    def allow(is_allowed: bool) -> None:
        command = "Emulation.setScriptExecutionDisabled"
        window.driver.execute_cdp_cmd(command, {"value": not is_allowed})

    allow(False)
    try:
        window.driver.get(f"{host.orthanc.url}/liver/app")
        told = window.driver.find_elements(By.CSS_SELECTOR, "noscript p.wrong")
        assert len(told) == 1
        window.screenshot("queue-without-scripts")
    finally:
        allow(True)


NAMES = {
    "Lovelace^Ada": "Lovelace, Ada",
    "Byron^Augusta Ada^King^Countess": "Byron, Augusta Ada King Countess",
    "=山田^太郎=やまだ^たろう": "山田, 太郎",
    "^^^^=김^희중": "김, 희중",
    "^Only Given": "Only Given",
    " ^ ": "",
    "": "",
    "<b>Bobby</b>^Tables": "<b>Bobby</b>, Tables",
}


def test_names_as_people_write_them(host: Host, window: Browser) -> None:
    open_page(host, window)
    told = window.driver.execute_script("return arguments[0].map(person)", list(NAMES))
    assert dict(zip(NAMES, told, strict=True)) == NAMES


SLOW = """
const real = window.fetch;
window.asked = 0;
window.fetch = async (...what) => {
  window.asked += 1;
  await new Promise((done) => { setTimeout(done, 7000); });
  return real(...what);
};
"""


def test_a_slow_orthanc_is_not_asked_again_before_it_answered(host: Host, window: Browser) -> None:
    open_page(host, window)
    window.driver.execute_script(SLOW)
    script = "return performance.now()"
    began_ms = window.driver.execute_script(script)
    wait_for("three polls' time", lambda: window.driver.execute_script(script) > began_ms + 6500)
    assert window.driver.execute_script("return window.asked") == 2  # status and queue, once


EXPLAIN = """
const line = Object.assign(document.createElement('p'), { id: 'explained' });
document.body.append(line);
explain(line, arguments[0]);
"""


def test_a_refusal_names_images_by_number_instead_of_uid(host: Host, window: Browser) -> None:
    ct = small_ct("named by number", slices=7)
    host.store(ct)
    unknown = "1.2.826.0.1.3680043.8.498.99"
    open_page(host, window)
    reason = f"Slice 4 (instance {ct[3].SOPInstanceUID}) holds no image, nor does {unknown}."
    window.driver.execute_script(EXPLAIN, reason)
    number = ct[3].InstanceNumber
    told = f"Slice 4 (instance image {number}) holds no image, nor does {unknown}."
    window.see("#explained", told)
