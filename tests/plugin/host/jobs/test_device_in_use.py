"""What status and log say of a GPU that leaves series to the CPU."""

from __future__ import annotations

from orthanc_liver.host.jobs.worker import DeviceInUse


def test_the_cpu_in_place_of_a_gpu_is_logged_once_and_told_until_the_gpu_computes_again() -> None:
    logged: list[str] = []
    device = DeviceInUse(logged.append)
    device.begin("cuda:1")
    device.computed_on("cuda:1")
    assert (str(device), logged) == ("cuda:1", [])
    instead = "cuda:1, but the CPU computed the last series"
    for _ in range(3):
        device.computed_on("cpu")
        assert str(device) == instead
    assert logged == ["cuda:1 failed or was full: the CPU computed a series instead"]
    device.computed_on("cuda:1")
    assert str(device) == "cuda:1"
    device.computed_on("cpu")
    assert len(logged) == 2
    device.begin("cuda:1")
    assert str(device) == "cuda:1"


def test_a_process_on_the_cpu_and_workers_elsewhere_change_nothing() -> None:
    logged: list[str] = []
    device = DeviceInUse(logged.append)
    for name in ("cpu", "cpu, as the GPU has only 43 MiB free", "workers"):
        device.begin(name)
        device.computed_on("cpu")
        assert str(device) == name
    assert not logged
