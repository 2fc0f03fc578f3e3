"""What docs/OPERATE.md tells an administrator to do, done."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.plugin.host.conftest import Host
from tests.plugin.host.series import small_ct
from tests.support import postgresql
from tests.support.ct_writer import write_files
from tests.support.nginx import make_certificate
from tests.support.orthanc_server import CHECKOUT

BY_TLS = ("+tls", "key.pem", "certificate.pem", "+cf", "certificate.pem")
OPERATE = (CHECKOUT / "docs" / "OPERATE.md").read_text()


@pytest.mark.skipif(postgresql.port() is not None, reason="copies an index that is a file")
def test_a_backup_of_orthanc_is_one_of_the_plugin(tmp_path: Path) -> None:
    before = Host(tmp_path / "before")
    with before.orthanc:
        series_id = before.upload("backed up")
        job = before.ended_job_of(series_id)
        [rtstruct] = before.rtstructs_beside(series_id)
        decision = json.dumps(
            {"Verdict": "rejected", "Rtstruct": rtstruct, "By": "Dr A", "Reason": "x"}
        )
        path = f"/liver/series/{series_id}/decision"
        assert before.orthanc.call("POST", path, decision.encode()).status_code == 200
        decided = before.orthanc.get(f"/liver/jobs/{job['ID']}")
    (tmp_path / "after").mkdir()
    shutil.copytree(tmp_path / "before" / "storage", tmp_path / "after" / "storage")
    after = Host(tmp_path / "after")
    with after.orthanc.until_killed():
        restored = after.orthanc.get(f"/liver/jobs/{job['ID']}")
        assert restored["Content"] == decided["Content"]
        assert after.rtstructs_beside(series_id) == [rtstruct]
        later = after.ended_job_of(after.upload("after the backup"))
        assert later["State"] == "Success"
        assert len(after.jobs_of(series_id)) == 1


@pytest.mark.skipif(shutil.which("storescu") is None, reason="needs DCMTK's storescu")
def test_dicom_with_tls_as_documented(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    write_files(tmp_path / "ct", small_ct("by TLS"))
    [shown] = re.findall(r"```json\n(\{\n  \"DicomTls.*?)```", OPERATE, re.DOTALL)
    for name, here in (
        ("orthanc.key", "key.pem"),
        ("orthanc.crt", "certificate.pem"),
        ("trusted.crt", "certificate.pem"),
    ):
        shown = shown.replace(f"/etc/orthanc/tls/{name}", str(tmp_path / here))
    host = Host(tmp_path)
    host.orthanc.overrides = {**host.orthanc.overrides, **json.loads(shown)}
    with host.orthanc.until_killed():
        assert not succeeds(tmp_path, host, "echoscu")
        assert succeeds(tmp_path, host, "storescu", "+sd", *BY_TLS)
        [series_id] = host.orthanc.get("/series")
        assert host.ended_job_of(series_id)["State"] == "Success"
        pacs = host.orthanc.get("/modalities?expand")["pacs"]
        assert pacs["UseDicomTls"] is True
        itself = {**pacs, "AET": "ORTHANC", "Host": "127.0.0.1", "Port": host.orthanc.dicom_port}
        host.orthanc.call("PUT", "/modalities/pacs", json.dumps(itself).encode())
        host.orthanc.post("/modalities/pacs/echo", {})


def succeeds(folder: Path, host: Host, program: str, *options: str) -> bool:
    """Whether one of DCMTK's programs comes to a good end with this Orthanc."""
    here = ["127.0.0.1", str(host.orthanc.dicom_port)]
    images = ["ct"] if program == "storescu" else []
    command = [program, *options, "-aec", "ORTHANC", *here, *images]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0
