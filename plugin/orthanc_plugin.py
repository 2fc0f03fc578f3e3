"""The script that "PythonScript" in orthanc.json names."""

import orthanc

from orthanc_liver.host.plugin import register

register(orthanc)
