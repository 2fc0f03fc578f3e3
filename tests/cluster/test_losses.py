"""Connections lost, a broker that takes nothing or has lost all, and a name that is taken twice."""

from __future__ import annotations

from orthanc_liver.cluster.broker import Access, case_queue, new_app
from orthanc_liver.engine.protocol import Rank
from tests.cluster.conftest import Cluster, Gates, Worker, check_each_stored_once
from tests.plugin.host.conftest import Host
from tests.support.patience import wait_for

# One more than what ends a case that ends its workers.
LOSSES = 4


def broker_of(host: Host) -> dict[str, object]:
    """How Orthanc says that the broker stands."""
    return dict(host.orthanc.get("/liver/status")["Broker"])


def problem_of(host: Host) -> str:
    """What Orthanc says that keeps its jobs."""
    return str(host.orthanc.get("/liver/status")["EngineProblem"])


def test_a_worker_whose_connection_is_lost_again_and_again_still_answers(cluster: Cluster) -> None:
    host = cluster.start_host("loses-connections", Retries=0)
    gates = Gates(cluster)
    worker = cluster.start_worker("one", gates)
    before = len(cluster.engine.jobs())
    cluster.hold_cases()
    series = host.upload("computed while connections are lost")
    cluster.at_work(before)
    for loss in range(1, LOSSES + 1):
        gates.broker.cut()
        wait_for("its case again", lambda loss=loss: worker.log().count(" received") > loss, 60)  # type: ignore[misc]
    assert [job["State"] for job in host.jobs_of(series)] == ["Running"]
    cluster.let_go()
    check_each_stored_once(host, [series])


def test_a_broker_that_takes_nothing_is_shown_and_each_case_is_computed_once(
    cluster: Cluster,
) -> None:
    host = cluster.start_host("alarmed")
    worker = cluster.start_worker("one")
    cluster.broker.alarm(is_on=True)
    try:
        series = [host.upload(f"while the broker takes nothing {n}") for n in range(2)]
        wait_for("its word", lambda: "refuses messages" in problem_of(host), 60)
        assert broker_of(host)["State"] == "away"
    finally:
        cluster.broker.alarm(is_on=False)
    check_each_stored_once(host, series)
    jobs = [job["ID"] for one in series for job in host.jobs_of(one)]
    assert [worker.log().count(f"job {job}: segmented") for job in jobs] == [1, 1]
    wait_for("serving", lambda: broker_of(host)["State"] == "serves")


def test_what_a_broker_has_lost_with_its_disk_is_sent_again(cluster: Cluster) -> None:
    host = cluster.start_host("loses-the-disk", Retries=0)
    series = host.upload("lost with the disk")
    wait_for("its case", lambda: broker_of(host)["Waiting"] == 1)
    cluster.broker.kill9()
    cluster.broker.lose_all()
    cluster.broker.start()
    cluster.start_worker("one")
    check_each_stored_once(host, [series])


def test_a_second_orthanc_of_one_name_says_so(cluster: Cluster) -> None:
    first = cluster.start_host("twice")
    wait_for("the first", lambda: broker_of(first)["State"] == "serves")
    second = cluster.start_host("twice-other", broker_name="twice")
    wait_for("its word", lambda: "another Orthanc is" in problem_of(second), 60)
    assert "by the name twice: Broker.Orthanc must differ" in second.orthanc.log()
    cluster.start_worker("one")
    check_each_stored_once(first, [first.upload("of the first of two of one name")])
    first.orthanc.kill9()
    wait_for("its turn", lambda: broker_of(second)["State"] == "serves", 60)


def test_a_queue_that_was_made_otherwise_is_told_in_one_sentence(cluster: Cluster) -> None:
    sha256 = cluster.engine_sha256
    app = new_app(Access(cluster.broker.url, cluster.broker.password))
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        name = case_queue(sha256, Rank.BACKFILL).name
        channel.queue_delete(name)
        channel.queue_declare(name, durable=True, auto_delete=False)
        worker = Worker(cluster, "refused")
        cluster.workers.append(worker)
        wait_for("its end", lambda: worker.process.poll() is not None, 60)
        channel.queue_delete(name)
    assert worker.process.poll() != 0
    said = worker.log().strip().splitlines()[-1]
    assert "a queue that another version or a person made otherwise" in said
    assert name in said
