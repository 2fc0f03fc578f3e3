"""The real inference process, spoken to over its pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pydicom
import pytest

from liver_unet.volume import Volume
from orthanc_liver.engine.protocol import read_frame, write_frame
from orthanc_liver.host.settings import Settings
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.patience import patience_s
from tests.support.phantom import abdomen

CHECKOUT = Path(__file__).resolve().parents[3]


class Child:
    """The engine as the host starts it."""

    def __init__(self, *arguments: str) -> None:
        path = os.pathsep.join([str(CHECKOUT / "plugin"), str(CHECKOUT / "model")])
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "orthanc_liver.engine.inference_process",
                "--device",
                "cpu",
                *arguments,
            ],
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.stdin = cast(BinaryIO, self.process.stdin)
        self.stdout = cast(BinaryIO, self.process.stdout)

    def job(self, instances: list[bytes]) -> list[tuple[dict[str, Any], bytes]]:
        """Every frame that comes back, the last one "done"."""
        head = {"type": "job", "id": "j", "instances": len(instances)}
        write_frame(self.stdin, {**head, "settings": Settings().for_engine()})
        for instance in instances:
            write_frame(self.stdin, {"type": "instance"}, instance)
        frames = [read_frame(self.stdout)]
        while frames[-1][0]["type"] != "done":
            frames.append(read_frame(self.stdout))
        return frames


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    engine = Child()
    ready, _ = read_frame(engine.stdout)
    assert ready["type"] == "ready"
    yield engine
    engine.stdin.close()
    assert engine.process.wait(patience_s(10)) == 0


@pytest.fixture(scope="module")
def patient() -> list[bytes]:
    phantom = abdomen((44, 130, 170), (6.5, 2.5, 2.3))
    return [to_bytes(instance) for instance in write_ct_series(phantom.volume)]


def test_a_job_gives_the_same_object_whenever_and_in_whatever_order(
    child: Child, patient: list[bytes]
) -> None:
    first = child.job(patient)
    again = child.job(patient[::-1])
    uids = []
    for frames in (first, again):
        by_type = {head["type"]: (head, payload) for head, payload in frames}
        done, _ = by_type["done"]
        assert done["outcome"] == "segmented"
        assert done["report"]["liver_ml"] > 500
        assert by_type["preview"][1].startswith(b"\x89PNG")
        rtstruct = pydicom.dcmread(pydicom.filebase.DicomBytesIO(by_type["object"][1]))
        uids.append(rtstruct.SOPInstanceUID)
    assert uids[0] == uids[1]
    stages = [head["stage"] for head, _ in first if head["type"] == "progress"]
    assert list(dict.fromkeys(stages)) == [
        *("read", "resample", "localise", "infer"),
        *("back to the CT grid", "clean", "contour", "write"),
    ]


def test_a_refused_series_leaves_the_process_ready_for_the_next(
    child: Child, patient: list[bytes]
) -> None:
    ((done, _),) = [f for f in child.job([b"nonsense", *patient]) if f[0]["type"] == "done"]
    assert done["outcome"] == "refused"
    assert done["reason"]
    ((done, _),) = [f for f in child.job(patient[:5]) if f[0]["type"] == "done"]
    assert done["outcome"] == "refused"
    assert "5 slices" in done["reason"]


def test_an_empty_table_holds_no_liver(child: Child) -> None:
    hu = np.full((30, 90, 120), -1000, dtype=np.int16)
    hu[:, 80:84, 10:110] = 150
    grid = abdomen((30, 90, 120), (8.0, 3.0, 3.0)).volume.grid
    frames = child.job([to_bytes(i) for i in write_ct_series(Volume(hu, grid))])
    assert [head["type"] for head, _ in frames].count("object") == 0
    assert frames[-1][0]["outcome"] == "no liver found"


def test_the_process_gives_way_to_orthanc(child: Child) -> None:
    assert os.getpriority(os.PRIO_PROCESS, child.process.pid) == 10
    assert os.getpriority(os.PRIO_PROCESS, 0) == 0
    group = Path(f"/proc/{child.process.pid}/autogroup")
    if group.exists():
        assert group.read_text().endswith("nice 10\n")


def test_weights_that_are_not_there_are_told_instead_of_ready(tmp_path: Path) -> None:
    engine = Child("--weights", str(tmp_path))
    failed, _ = read_frame(engine.stdout)
    assert failed["type"] == "failed"
    assert "cannot be read" in failed["reason"]
    assert engine.process.wait(patience_s(10)) == 0


def test_the_process_is_gone_when_nobody_is_left_to_work_for(patient: list[bytes]) -> None:
    engine = Child()
    read_frame(engine.stdout)
    write_frame(
        engine.stdin,
        {"type": "job", "id": "j", "instances": len(patient), "settings": {}},
        b"",
    )
    engine.stdin.close()
    engine.process.wait(patience_s(5))
