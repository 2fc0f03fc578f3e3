"""A worker's file of Orthancs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orthanc_liver.cluster.orthancs import Address, OrthancsRefused, read_orthancs


def written(folder: Path, content: Any) -> Path:
    path = folder / "orthancs.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_file_of_two(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.touch()
    told = {
        "north": {"Url": "https://north.example/orthanc/", "Username": "u", "Password": "p"},
        "south": {"Url": "http://10.0.0.7:8042", "CaFile": str(ca), "DicomWeb": "/dicom-web"},
    }
    assert read_orthancs(written(tmp_path, told)) == {
        "north": Address("north", "https://north.example/orthanc", "u", "p"),
        "south": Address("south", "http://10.0.0.7:8042", ca_file=str(ca), dicom_web="/dicom-web"),
    }


@pytest.mark.parametrize(
    "told",
    [
        "not JSON",
        [],
        {},
        {"north": "https://north.example"},
        {"north": {"Username": "u"}},
        {"north": {"Url": "https://north.example", "Secret": "s3cret"}},
        {"north": {"Url": "https://north.example", "Password": 7}},
        {"north": {"Url": "https://north.example", "Password": "s3cret\n"}},
        {"north": {"Url": "https://u:s3cret@north.example"}},
        {"north": {"Url": "https://north.example:99999"}},
        {"north": {"Url": "https://[north"}},
        {"north": {"Url": "ftp://north.example"}},
        {"north": {"Url": "https://north.example", "DicomWeb": "dicom-web/"}},
        {"north": {"Url": "https://north.example", "CaFile": "/nowhere/ca.pem"}},
        {"nor/th": {"Url": "https://north.example"}},
    ],
)
def test_a_file_that_is_wrong_is_refused_without_its_secrets(tmp_path: Path, told: Any) -> None:
    with pytest.raises(OrthancsRefused) as refused:
        read_orthancs(written(tmp_path, told))
    assert "s3cret" not in str(refused.value)


def test_what_may_be_there_is_named_in_the_same_order_each_time(tmp_path: Path) -> None:
    with pytest.raises(OrthancsRefused, match="Username, Password, CaFile, DicomWeb"):
        read_orthancs(written(tmp_path, {"north": {"Secret": "s3cret"}}))


def test_a_file_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(OrthancsRefused, match="cannot be read"):
        read_orthancs(tmp_path / "nowhere.json")
