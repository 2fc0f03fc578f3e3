"""What the methods of the activity ask for, as a form shows it."""

from __future__ import annotations

from typing import Any

from orthanc_liver.host.activity.activity_of_series import DICOM_TAGS
from orthanc_liver.sirt.activity import taken_by
from orthanc_liver.sirt.inputs import CHOICES, QUANTITIES, ROIS
from orthanc_liver.sirt.methods import METHODS


def form() -> dict[str, Any]:
    """Methods, numbers and words by their names; Roi: what names an outline in a number's place."""
    rois = {quantity: roi for roi, quantity in ROIS.items()}
    return {
        "Methods": {
            name: {
                "Title": method.title,
                "Needs": list(method.needs),
                "Takes": [one for one in taken_by(method) if one in QUANTITIES],
                "Chooses": list(method.chooses),
            }
            for name, method in METHODS.items()
        },
        "Inputs": {
            name: {
                "Meaning": one.meaning,
                "Unit": one.unit,
                "Low": one.low,
                "High": one.high,
                "Roi": rois.get(name),
                "DicomTag": DICOM_TAGS.get(name),
            }
            for name, one in QUANTITIES.items()
        },
        "Choices": {
            name: {"Meaning": one.meaning, "Options": list(one.options)}
            for name, one in CHOICES.items()
        },
    }
