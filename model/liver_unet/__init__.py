"""Liver segmentation on CT: arrays and torch only, no DICOM and no Orthanc."""
