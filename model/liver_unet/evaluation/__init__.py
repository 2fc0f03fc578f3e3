"""Statistics and figures of an evaluation: numbers in, no images, no DICOM."""
