"""Workers outline an Orthanc's series, and whatever is killed meanwhile nothing is lost."""

from __future__ import annotations

import json
import os
import signal
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydicom.uid import RLELossless

from tests.cluster.conftest import Cluster, Worker, check_each_stored_once
from tests.plugin.host.conftest import ENDED, Host
from tests.plugin.host.series import small_ct
from tests.support.gate import Gate
from tests.support.patience import wait_for


def broker_of(host: Host) -> str:
    """How Orthanc says that the broker is."""
    return str(host.orthanc.get("/liver/status")["Broker"]["State"])


def cases_of(host: Host, worker: str) -> float:
    """How many cases of this Orthanc's the worker has answered, by Orthanc's metrics."""
    families = text_string_to_metric_families(host.orthanc.call("GET", "/liver/metrics").text)
    of_workers = [one for one in families if one.name == "liver_worker_cases"]
    names = {s.labels["worker"]: s.value for one in of_workers for s in one.samples}
    return float(next((n for name, n in names.items() if name.startswith(f"{worker}@")), 0))


def test_a_worker_outlines_what_arrives(cluster: Cluster) -> None:
    host = cluster.start_host("north")
    cluster.start_worker("one")
    before = len(cluster.engine.jobs())
    series = [host.upload(f"arrives {n}") for n in range(3)]
    check_each_stored_once(host, series)
    assert len(cluster.engine.jobs()) - before == 3
    wait_for("workers", lambda: host.orthanc.get("/liver/status")["Broker"]["Workers"] == 1)
    assert broker_of(host) == "serves"
    wait_for("its figures", lambda: cases_of(host, "one") == 3)
    assert host.jobs_of(series[0])[0]["Content"]["Model"]["Sha256"] == cluster.engine_sha256


def test_a_worker_fetches_by_dicomweb_what_orthanc_stored(cluster: Cluster) -> None:
    host = cluster.start_host("dicomweb")
    with closing(Gate(host.orthanc.http_port)) as gate:
        by_dicom_web = {"Url": f"http://127.0.0.1:{gate.port}", "DicomWeb": "/dicom-web"}
        cluster.orthancs_file.write_text(json.dumps({"dicomweb": by_dicom_web}))
        cluster.start_worker("one")
        datasets = small_ct("by dicomweb", slices=7)
        for one in datasets[::2]:
            one.compress(RLELossless, generate_instance_uid=False)
        gate.hold(b"GET /dicom-web/studies/")
        series = host.store(datasets)
        wait_for("its request", gate.is_held.is_set)
        gate.open()
        check_each_stored_once(host, [series])


@pytest.mark.parametrize("who", ["worker", "pool child", "inference process"])
def test_kill9_of_who_computes_loses_nothing(cluster: Cluster, who: str) -> None:
    host = cluster.start_host(f"kills-{who.replace(' ', '-')}")
    workers = [cluster.start_worker("one"), cluster.start_worker("two")]
    before = len(cluster.engine.jobs())
    cluster.behave(seconds=3)
    series = [host.upload(f"kill of {who} {n}") for n in range(4)]
    pid = cluster.at_work(before)
    [at_it] = [one for one in workers if one.has_below(pid)]
    match who:
        case "worker":
            at_it.kill9()
        case "pool child":
            os.kill(at_it.pool_child(), signal.SIGKILL)
        case _:
            os.kill(pid, signal.SIGKILL)
    check_each_stored_once(host, series)
    assert len(cluster.engine.jobs()) - before == 5


def test_kill9_of_the_broker_loses_nothing_and_is_shown(cluster: Cluster) -> None:
    host = cluster.start_host("without-broker")
    cluster.start_worker("one")
    cluster.start_worker("two")
    before = len(cluster.engine.jobs())
    cluster.behave(seconds=3)
    series = [host.upload(f"no broker {n}") for n in range(4)]
    cluster.at_work(before)
    cluster.broker.kill9()
    wait_for("away", lambda: broker_of(host) == "away")
    assert "does not serve" in host.orthanc.get("/liver/status")["EngineProblem"]
    series.append(host.upload("no broker at all"))
    late = Worker(cluster, "late")
    cluster.workers.append(late)
    wait_for("its waiting", lambda: "Cannot connect" in late.log(), timeout_s=30)
    cluster.broker.start()
    late.wait_ready()
    check_each_stored_once(host, series)
    assert broker_of(host) == "serves"


def test_the_broker_may_be_lost_while_workers_are_told_of_a_case(cluster: Cluster) -> None:
    with closing(Gate(cluster.broker.port)) as gate:
        url = cluster.broker.url.replace(str(cluster.broker.port), str(gate.port))
        host = cluster.start_host("tells", broker_url=url)
        wait_for("the broker", lambda: broker_of(host) == "serves")
        gate.hold(b"liver_look")
        series = host.upload("told of when the broker is lost")
        wait_for("its word", gate.is_held.is_set)
        cluster.broker.kill9()
        gate.open()
        wait_for("away", lambda: broker_of(host) == "away")
        cluster.broker.start()
        cluster.start_worker("one")
        check_each_stored_once(host, [series])


def test_kill9_of_orthanc_loses_nothing(cluster: Cluster) -> None:
    host = cluster.start_host("killed")
    cluster.start_worker("one")
    cluster.start_worker("two")
    before = len(cluster.engine.jobs())
    cluster.behave(seconds=3)
    series = [host.upload(f"orthanc killed {n}") for n in range(4)]
    cluster.at_work(before)
    host.orthanc.kill9()
    host.orthanc.start()
    check_each_stored_once(host, series)


def test_a_cancelled_case_stops_at_the_worker_at_once(cluster: Cluster) -> None:
    host = cluster.start_host("cancels")
    cluster.start_worker("one")
    before = len(cluster.engine.jobs())
    cluster.behave("hang", times=1)
    series = host.upload("cancelled")
    pid = cluster.at_work(before)
    [job] = host.jobs_of(series)
    host.orthanc.post(f"/liver/jobs/{job['ID']}/cancel")
    # Two seconds on a fast machine that does nothing else.
    wait_for("the end of its process", lambda: pid not in cluster.engine.alive(), timeout_s=2)
    assert host.jobs_of(series)[0]["Content"]["Outcome"] == "cancelled"
    check_each_stored_once(host, [host.upload("after the cancelled one")])
    host.orthanc.post(f"/liver/jobs/{job['ID']}/resubmit")
    check_each_stored_once(host, [series])


def test_a_case_that_ends_every_worker_is_put_aside(cluster: Cluster) -> None:
    host = cluster.start_host("poisoned", Retries=5)
    worker = cluster.start_worker("one")
    before = len(cluster.engine.jobs())
    cluster.behave("hang", times=3)
    series = host.upload("poison")
    for n in range(3):
        cluster.at_work(before + n)
        os.kill(worker.pool_child(), signal.SIGKILL)
    # For 30 s a word of one of them is waited for.
    wait_for("its end", lambda: host.jobs_of(series)[0]["State"] in ENDED, timeout_s=60)
    job = host.ended_job_of(series)
    assert job["State"] == "Failure"
    assert "every worker that had it was lost" in job["ErrorDescription"]
    assert len(cluster.engine.jobs()) - before == 3
    check_each_stored_once(host, [host.upload("no poison")])
