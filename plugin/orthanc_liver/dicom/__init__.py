"""DICOM in, DICOM out."""
