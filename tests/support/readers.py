"""Other people's readers of RTSTRUCT, SEG and SR, each asked for the name and the mask or volume.

Each runs in a virtual environment of its own, as tests/support/judges.py says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.judges import in_venv, program, succeed

# Masks are given as (slice, row, column), the feet first.
_SCRIPTS: Mapping[str, str] = {
    "dicompyler_core": """
from dicompylercore.dicomparser import DicomParser
structure_set = DicomParser(given["rtstruct"])
[(number, structure)] = structure_set.GetStructures().items()
planes = structure_set.GetStructureCoordinates(number)
thickness_mm = structure_set.CalculatePlaneThickness(planes)
tell(structure["name"], ml=structure_set.CalculateStructureVolume(planes, thickness_mm))
""",
    "rt_utils": """
from rt_utils import RTStructBuilder
structure_set = RTStructBuilder.create_from(
    dicom_series_path=given["ct"], rt_struct_path=given["rtstruct"])
[name] = structure_set.get_roi_names()
# It takes rows for columns, of which only square images and pixels know nothing.
drawn = structure_set.get_roi_mask_by_name(name).transpose(2, 0, 1)
image = structure_set.series_data[0]
mask = np.zeros((len(drawn), image.Rows, image.Columns), dtype=bool)
mask[:, :, : image.Rows] = drawn[:, : image.Rows]
tell(name, mask=mask)
""",
    "dicomrttool": """
from DicomRTTool.ReaderWriter import DicomReaderWriter
reader = DicomReaderWriter(description="one", arg_max=True, verbose=False)
reader.walk_through_folders(given["study"])
[name] = reader.return_rois(print_rois=False)
reader.set_contour_names_and_associations(contour_names=[name])
reader.get_images_and_mask()
tell(name, mask=reader.mask)
""",
    "platipy": """
from pathlib import Path
import SimpleITK
from platipy.dicom.io.rtstruct_to_nifti import convert_rtstruct
convert_rtstruct(given["ct"], given["rtstruct"], prefix="", output_dir=given["work"])
[image] = Path(given["work"]).glob("*.nii.gz")
mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(image)))
tell(image.name.removesuffix(".nii.gz"), mask=mask)
""",
    "pydicom_seg": """
import SimpleITK, pydicom, pydicom_seg
read = pydicom_seg.SegmentReader().read(pydicom.dcmread(given["seg"]))
[number] = read.available_segments
files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(given["ct"])
onto = SimpleITK.Resample(read.segment_image(number), SimpleITK.ReadImage(files),
                          SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0)
tell(read.segment_infos[number].SegmentLabel, mask=SimpleITK.GetArrayFromImage(onto))
""",
}
_FRAME = """
import json, sys
import numpy as np
given = json.loads(sys.argv[1])
def tell(name, mask=None, ml=None):
    if mask is not None:
        np.save(given["mask"], np.asarray(mask) > 0)
    print("told:" + json.dumps({"name": name, "ml": ml}))
"""


@dataclass(frozen=True)
class Told:
    """What a reader makes of the one outline; of mask and ml it gives one."""

    name: str
    mask: NDArray[np.bool_] | None = None
    ml: float | None = None


def ask(reader: str, study: Path, work: Path) -> Told:
    """Ask one of the readers above.

    study: a folder with ct/, rtstruct.dcm and seg.dcm; work: an empty one.
    """
    given = {"study": study, "ct": study / "ct", "work": work, "mask": work / "mask.npy"}
    given |= {"rtstruct": study / "rtstruct.dcm", "seg": study / "seg.dcm"}
    paths = json.dumps({name: str(path) for name, path in given.items()})
    output = succeed([in_venv(reader, "python"), "-c", _FRAME + _SCRIPTS[reader], paths])
    [line] = [line for line in output.splitlines() if line.startswith("told:")]
    told = json.loads(line.removeprefix("told:"))
    mask = np.load(given["mask"]) if given["mask"].exists() else None
    return Told(told["name"], mask, told["ml"])


def dcmqi_segments(seg: Path, work: Path) -> list[dict[str, Any]]:
    """Take a SEG apart by dcmqi's segimage2itkimage; its masks are then N.nrrd in work."""
    command = [in_venv("dcmqi", "segimage2itkimage"), "--inputDICOM", str(seg)]
    succeed([*command, "--outputDirectory", str(work), "--outputType", "nrrd"])
    told = json.loads((work / "meta.json").read_text(encoding="utf-8"))
    return [segment for group in told["segmentAttributes"] for segment in group]


def dcmqi_measurements(report: Path, work: Path) -> dict[str, Any]:
    """Read a structured report by dcmqi's tid1500reader."""
    told = work / "report.json"
    command = [in_venv("dcmqi", "tid1500reader"), "--inputDICOM", str(report)]
    succeed([*command, "--outputMetadata", str(told)])
    return dict(json.loads(told.read_text(encoding="utf-8")))


def dsrdump_volume_ml(report: Path) -> float:
    """Read the volume in a structured report as DCMTK prints it."""
    printed = succeed([program("dsrdump"), str(report)])
    [number] = re.findall(r'NUM:\(,,"Volume"\)="([0-9.]+)" \(mL,', printed)
    return float(number)
