"""What orthanc-liver worker refuses before it speaks to anybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from orthanc_liver.cli.exit_status import REFUSED
from orthanc_liver.cli.main import main


@pytest.mark.parametrize("password", [None, ""])
def test_an_empty_password_is_refused_by_its_variables_name(
    password: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    variable = "ORTHANC_LIVER_BROKER_PASSWORD"
    monkeypatch.delenv(variable, raising=False)
    if password is not None:
        monkeypatch.setenv(variable, password)
    url = "amqps://worker@localhost:1/liver"
    command = ["worker", "--broker", url, "--orthancs", str(tmp_path / "orthancs.json")]
    assert main(command) == REFUSED
    assert f"set {variable}\n" in capsys.readouterr().err
