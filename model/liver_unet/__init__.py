"""Liver segmentation on CT: arrays and torch only, no DICOM and no Orthanc."""

from pathlib import Path

# In a checkout a link to model/weights, in an installed wheel a folder.
DEFAULT_WEIGHTS = Path(__file__).with_name("default_weights")
