"""What a DICOM file says of itself, without pydicom."""

from __future__ import annotations

import pytest
from pydicom.uid import UID

from orthanc_liver.host.errors import StoredElsewhere
from orthanc_liver.host.jobs.storing import sop_instance_uid
from tests.plugin.host.series import small_ct
from tests.support.ct_writer import to_bytes


@pytest.mark.parametrize("uid", ["1.2.840.99999.7", "1.2.840.99999.71"])  # one is padded
def test_the_uid_of_a_file(uid: str) -> None:
    ct = small_ct("uid of a file")[0]
    ct.SOPInstanceUID = ct.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    ct.file_meta.PrivateInformationCreatorUID = UID("1.2.3")
    assert sop_instance_uid("RTSTRUCT", to_bytes(ct)) == uid


@pytest.mark.parametrize("length", [0, 100, 132, 137, 141, 170, 200])
def test_what_is_cut_short_has_none(length: int) -> None:
    content = to_bytes(small_ct("cut short")[0])[:length]
    with pytest.raises(StoredElsewhere, match="the SEG is not a DICOM file"):
        sop_instance_uid("SEG", content)
