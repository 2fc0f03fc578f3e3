"""Series that a hospital's network may bring, and what must become of each: one line per case.

Each case changes twelve sound slices. REFUSED: what the refusal must say, and what to do. READ: the
series is read, and the slices that the case returns (None: all of them) are its volume.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from liver_unet.volume import Grid, Volume
from tests.support.ct_writer import write_ct_series

PATIENT = "Secret^Patient"


def tiny_volume(slices: int = 12, slice_mm: float = 4.0) -> Volume:
    """Return noise on an oblique grid: no voxel like another, no axis like another."""
    hu = np.random.default_rng(7).integers(-1024, 1500, (slices, 7, 9)).astype(np.int16)
    affine = np.eye(4)
    affine[:3, 0] = np.array([0, 0.6, 0.8]) * slice_mm
    affine[:3, 1] = np.array([0, 0.8, -0.6]) * 1.5
    affine[:3, 2] = np.array([1, 0, 0]) * 1.25
    affine[:3, 3] = -120.5, 33.25, 801
    return Volume(hu, Grid((slices, 7, 9), affine))


def tiny_slices(uid_seed: str = "phantom", volume: Volume | None = None) -> list[FileDataset]:
    return write_ct_series(
        volume or tiny_volume(),
        patient_name=PATIENT,
        pixel_format="16-bit signed",
        uid_seed=uid_seed,
    )


def body_sized(slices: int = 12, slice_mm: float = 4.0) -> Volume:
    """The same in few large voxels that could be a body's, for whoever looks at them too."""
    tiny = tiny_volume(slices, slice_mm)
    affine = tiny.grid.affine.copy()
    affine[:3, 1:3] *= 20
    hu = (tiny.hu.astype(int) * 2 // 3 - 320).astype(np.int16)
    return Volume(hu, Grid(tiny.grid.shape, affine))


def crossing(image: FileDataset) -> FileDataset:
    renamed(image, "1.2.3")
    image.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    return image


def renamed(image: FileDataset, uid: str) -> FileDataset:
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    return image


Change = Callable[[list[FileDataset]], None]
Kept = list[FileDataset] | None
Reading = Callable[[list[FileDataset]], Kept]


def _missing(s: list[FileDataset]) -> None:
    del s[5]


def _two_missing(s: list[FileDataset]) -> None:
    del s[4:6]


def _uneven(s: list[FileDataset]) -> None:
    _move(s[6], 0.8, along=np.array([0, 0.6, 0.8]))


def _sideways(s: list[FileDataset]) -> None:
    _move(s[6], 0.5, along=np.array([1, 0, 0]))


def _move(image: FileDataset, mm: float, along: NDArray[np.float64]) -> None:
    image.ImagePositionPatient = [
        f"{float(p) + mm * a:.6f}" for p, a in zip(image.ImagePositionPatient, along, strict=True)
    ]


def _leaning(s: list[FileDataset]) -> None:
    """By 45 degrees: positions of another orientation than the images'."""
    for number, image in enumerate(s):
        _move(image, 4.0 * number, along=np.array([1, 0, 0]))


def _three_wide_gaps(s: list[FileDataset]) -> None:
    """Fewer than make a run of slices with a spacing of its own."""
    for number, image in enumerate(s[-3:]):
        _move(image, 3.0 * (number + 1), along=np.array([0, 0.6, 0.8]))


def _mixed_frames_of_reference(s: list[FileDataset]) -> None:
    s[4].FrameOfReferenceUID = generate_uid(entropy_srcs=["another"])


def _second_acquisition(s: list[FileDataset]) -> None:
    late = renamed(deepcopy(s[4]), "1.2.3")
    late.PixelData = bytes(reversed(late.PixelData))
    s.append(late)


def _two_phases(s: list[FileDataset]) -> None:
    for number, image in enumerate(deepcopy(s)):
        image.PixelData = bytes(reversed(image.PixelData))
        s.append(renamed(image, f"1.2.3.{number}"))


def _shared_uid(s: list[FileDataset]) -> None:
    renamed(s[7], s[3].SOPInstanceUID)


def _mr(s: list[FileDataset]) -> None:
    for image in s:
        image.Modality = "MR"
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = MRImageStorage


def _wrong_modality(s: list[FileDataset]) -> None:
    s[2].Modality = "PT"


def _screenshot(s: list[FileDataset]) -> None:
    s[2].SOPClassUID = s[2].file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage


def _enhanced(s: list[FileDataset]) -> None:
    del s[1:]
    s[0].SOPClassUID = s[0].file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    s[0].NumberOfFrames = 2


def _frames(s: list[FileDataset]) -> None:
    s[3].NumberOfFrames = 2


def _few(s: list[FileDataset]) -> None:
    del s[9:]


def _only_localizers(s: list[FileDataset]) -> None:
    for image in s:
        image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def _nothing(s: list[FileDataset]) -> None:
    s.clear()


def _no_pixels(s: list[FileDataset]) -> None:
    del s[8].PixelData


def _short_pixels(s: list[FileDataset]) -> None:
    s[8].PixelData = s[8].PixelData[:-10]


def _wrong_rows(s: list[FileDataset]) -> None:
    s[8].Rows = 6


def _wrong_rows_everywhere(s: list[FileDataset]) -> None:
    for image in s:
        image.Rows = 6


def _no_rows(s: list[FileDataset]) -> None:
    del s[8].Rows


def _mixed_sizes(s: list[FileDataset]) -> None:
    s[8].Rows, s[8].Columns = 9, 7


def _mixed_pixel_spacing(s: list[FileDataset]) -> None:
    s[8].PixelSpacing = [1.5, 1.26]


def _other_series(s: list[FileDataset]) -> None:
    s[8].SeriesInstanceUID = generate_uid(entropy_srcs=["another"])


def _other_patient(s: list[FileDataset]) -> None:
    s[8].PatientID = "PHANTOM-2"


def _no_position(s: list[FileDataset]) -> None:
    del s[3].ImagePositionPatient


def _empty_orientation(s: list[FileDataset]) -> None:
    s[3].ImageOrientationPatient = None


def _nan_position(s: list[FileDataset]) -> None:
    s[3].ImagePositionPatient = ["0", "NaN", "0"]


def _two_coordinates(s: list[FileDataset]) -> None:
    s[3].ImagePositionPatient = [0, 1]


def _infinite_intercept(s: list[FileDataset]) -> None:
    s[3].RescaleIntercept = "inf"


def _no_slope(s: list[FileDataset]) -> None:
    del s[3].RescaleSlope


def _zero_slope(s: list[FileDataset]) -> None:
    s[3].RescaleSlope = 0


def _negative_slope(s: list[FileDataset]) -> None:
    for image in s:
        image.RescaleSlope = -image.RescaleSlope


def _long_cosines(s: list[FileDataset]) -> None:
    s[3].ImageOrientationPatient = [2, 0, 0, 0, 1, 0]


def _skewed_cosines(s: list[FileDataset]) -> None:
    s[3].ImageOrientationPatient = [1, 0, 0, 0.6, 0.8, 0]


def _zero_spacing(s: list[FileDataset]) -> None:
    s[3].PixelSpacing = [0, 1]


def _one_tilted(s: list[FileDataset]) -> None:
    s[3].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def _two_stacks(s: list[FileDataset]) -> None:
    s.extend(crossing(renamed(image, f"1.2.3.{n}")) for n, image in enumerate(deepcopy(s)))
    for number, image in enumerate(s[12:]):
        renamed(image, f"1.2.3.{number}")


def _no_frame_of_reference(s: list[FileDataset]) -> None:
    s[3].FrameOfReferenceUID = ""


def _electron_density(s: list[FileDataset]) -> None:
    s[3].RescaleType = "ED"


def _philips_own_compression(s: list[FileDataset]) -> None:
    block = s[3].private_block(0x07A1, "ELSCINT1", create=True)
    block.add_new(0x0A, "OB", bytes(100))
    block.add_new(0x11, "CS", "PMSCT_RLE1")
    del s[3].PixelData


def _transfer_syntax_of_a_maker(s: list[FileDataset]) -> None:
    s[3].file_meta.TransferSyntaxUID = UID("1.2.840.113619.5.2")


def _row_of_zeros_too_many(s: list[FileDataset]) -> None:
    s[3].PixelData += bytes(2 * s[3].Columns)


def _a_little_too_many_pixels(s: list[FileDataset]) -> None:
    s[3].PixelData += b"\1\0"


def _colour(s: list[FileDataset]) -> None:
    s[3].SamplesPerPixel, s[3].PhotometricInterpretation = 3, "RGB"
    s[3].PlanarConfiguration = 0
    s[3].PixelData = s[3].PixelData * 3


def _palette(s: list[FileDataset]) -> None:
    s[3].PhotometricInterpretation = "PALETTE COLOR"


def _single(s: list[FileDataset]) -> None:
    del s[1:]


def _interleaved_acquisitions(s: list[FileDataset]) -> None:
    for number, image in enumerate(deepcopy(s[2:8])):
        s.append(renamed(image, f"1.2.3.{number}"))
        _move(image, 1.3, along=np.array([0, 0.6, 0.8]))


def _pet(s: list[FileDataset]) -> None:
    for image in s:
        image.Modality = "PT"
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = (
            PositronEmissionTomographyImageStorage
        )


def _secondary_captures(s: list[FileDataset]) -> None:
    for image in s:
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage


def _no_rescale(s: list[FileDataset]) -> None:
    for image in s:
        del image.RescaleSlope, image.RescaleIntercept


def _nan_intercept(s: list[FileDataset]) -> None:
    s[3].RescaleIntercept = "NaN"


def _huge_slope(s: list[FileDataset]) -> None:
    s[3].RescaleSlope = "1e308"


def _large_slope(s: list[FileDataset]) -> None:
    s[3].RescaleSlope = "100000"


def _huge_position(s: list[FileDataset]) -> None:
    s[3].ImagePositionPatient = ["0", "0", "1e308"]


def _huge_positions(s: list[FileDataset]) -> None:
    for number, image in enumerate(s):
        image.ImagePositionPatient = ["0", f"{number * 6}e7", f"{number * 8}e7"]


def _huge_pixels(s: list[FileDataset]) -> None:
    for image in s:
        image.PixelSpacing = ["1e30", "1e30"]


def _wrong_columns(s: list[FileDataset]) -> None:
    s[8].Columns = 10


def _wrong_high_bit(s: list[FileDataset]) -> None:
    s[8].BitsStored = 12


def _impossible_bits(s: list[FileDataset]) -> None:
    s[8].BitsStored, s[8].HighBit = 20, 19


def _no_bits(s: list[FileDataset]) -> None:
    del s[8].BitsStored


def _cut(image: FileDataset) -> None:
    frame = next(generate_frames(image.PixelData, number_of_frames=1))
    image.PixelData = encapsulate([frame[: len(frame) * 2 // 3]])


def _corrupted_rle(s: list[FileDataset]) -> None:
    _rle(s)
    _cut(s[8])


def _corrupted_jpeg_ls(s: list[FileDataset]) -> None:
    _jpeg_ls(s)
    _cut(s[8])


def _corrupted_jpeg2000(s: list[FileDataset]) -> None:
    _jpeg2000(s)
    _cut(s[8])


def _corrupted_jpeg_lossless(s: list[FileDataset]) -> None:
    _jpeg_lossless(s)
    _cut(s[8])


def _alternating(keyword: str, values: Sequence[str | int | None], name: str) -> Change:
    """Slices whose attribute takes the values in turn, from the first slice to the last; None:
    without it."""

    def change(s: list[FileDataset]) -> None:
        for number, image in enumerate(s):
            setattr(image, keyword, values[number % len(values)])
            if values[number % len(values)] is None:
                delattr(image, keyword)

    change.__name__ = f"_{name}"
    return change


def _two_passes_dated_slice_by_slice(s: list[FileDataset]) -> None:
    for number, image in enumerate(s):
        image.AcquisitionTime = f"1015{number // 2 + 40 * (number % 2):02}.5"


def _two_passes_over_midnight(s: list[FileDataset]) -> None:
    for number, image in enumerate(s):
        image.AcquisitionTime = ("235958.25", "000013.25")[number % 2]


def _one_undated_among_two_passes(s: list[FileDataset]) -> None:
    for number, image in enumerate(s):
        image.AcquisitionTime = ("101500", "101535")[number % 2]
    s[4].AcquisitionTime = ""


def _two_types_in_turn(s: list[FileDataset]) -> None:
    for image in s[::2]:
        image.ImageType = ["DERIVED", "PRIMARY", "AXIAL", "VMI"]


def _of_type(*image_type: str) -> Change:
    def change(s: list[FileDataset]) -> None:
        for image in s:
            image.ImageType = list(image_type)

    change.__name__ = "_type_" + "_".join(image_type).lower().replace(" ", "_")
    return change


def _one_projection_among_slices(s: list[FileDataset]) -> None:
    s[5].ImageType = ["DERIVED", "SECONDARY", "MIP"]


# Those that are read.


def _each_slice(keyword: str, values: Sequence[str | int], name: str) -> Reading:
    """Slices whose attribute has the values in order."""

    def change(s: list[FileDataset]) -> Kept:
        for image, value in zip(s, values, strict=True):
            setattr(image, keyword, value)
        return None

    change.__name__ = f"_{name}"
    return change


def _read_type(*image_type: str) -> Reading:
    def change(s: list[FileDataset]) -> Kept:
        _of_type(*image_type)(s)
        return None

    change.__name__ = _of_type(*image_type).__name__
    return change


def _padding_value_within_tissue(s: list[FileDataset]) -> Kept:
    """0 HU stands in the middle of the slices, and as padding in a corner of one."""
    for image in s:
        image.PixelPaddingValue = 1024
        stored = np.frombuffer(image.PixelData, "<i2").reshape(7, 9).copy()
        stored[stored == 1024] = 1025
        stored[2:4, 3:6] = 1024
        image.PixelData = stored.tobytes()
    return None


def _sound(s: list[FileDataset]) -> Kept:
    return None


def _zeros_behind_the_pixels(s: list[FileDataset]) -> Kept:
    kept = deepcopy(s)
    for image in s:
        image.PixelData += bytes(2 * image.Columns - 2)
    return kept


def _no_rescale_type(s: list[FileDataset]) -> Kept:
    for image in s:
        del image.RescaleType
    return None


def _duplicate_of_same_pixels(s: list[FileDataset]) -> Kept:
    s.append(renamed(deepcopy(s[5]), "9.9"))
    return s[:12]


def _localizer(s: list[FileDataset]) -> Kept:
    scout = crossing(deepcopy(s[3]))
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    s.insert(0, scout)
    return s[1:]


def _unnamed_localizer(s: list[FileDataset]) -> Kept:
    s.insert(4, crossing(deepcopy(s[3])))
    return [*s[:4], *s[5:]]


def _gantry_tilt(s: list[FileDataset]) -> Kept:
    """Of 16.7 degrees, 1.2 mm in 4."""
    for image in s:
        image.GantryDetectorTilt = "-16.5"
    return _lean(s)


def _lean(s: list[FileDataset]) -> Kept:
    for number, image in enumerate(s):
        _move(image, 1.2 * number, along=np.array([0, 0.8, -0.6]))
    return None


def _small_matrix(s: list[FileDataset]) -> Kept:
    s[:] = _of_size(s, 64, 64)
    return None


def _large_matrix(s: list[FileDataset]) -> Kept:
    s[:] = _of_size(s, 1024, 520)
    return None


def _rows_unlike_columns(s: list[FileDataset]) -> Kept:
    s[:] = _of_size(s, 40, 110)
    return None


def _of_size(s: list[FileDataset], rows: int, columns: int) -> list[FileDataset]:
    noise = np.random.default_rng(8).integers(-1024, 1500, (rows, columns))
    for image in s:
        image.Rows, image.Columns = rows, columns
        image.PixelSpacing = ["0.3", "0.25"]
        image.PixelData = noise.astype("<i2").tobytes()
        noise = np.roll(noise, 7)
    return s


def _unsigned(s: list[FileDataset]) -> Kept:
    for image in s:
        stored = np.frombuffer(image.PixelData, "<i2").astype(int) + 1024
        image.PixelRepresentation, image.RescaleIntercept = 0, -2048
        image.PixelData = stored.astype("<u2").tobytes()
    return None


def _twelve_bits_in_sixteen(s: list[FileDataset]) -> Kept:
    _unsigned(s)
    for image in s:
        image.BitsStored, image.HighBit = 12, 11
    return None


def _rescale_per_slice(s: list[FileDataset]) -> Kept:
    for number, image in enumerate(s):
        image.RescaleSlope, image.RescaleIntercept = 1 + number % 3, -1024 - number
    return None


def _fractional_rescale(s: list[FileDataset]) -> Kept:
    for image in s:
        image.RescaleSlope = "0.731"
    return None


def _implicit(s: list[FileDataset]) -> Kept:
    for image in s:
        image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return None


def _deflated(s: list[FileDataset]) -> Kept:
    for image in s:
        image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return None


def _big_endian(s: list[FileDataset]) -> Kept:
    return _through(["dcmconv", "+tb"], s)


def _rle(s: list[FileDataset]) -> Kept:
    return _compressed(RLELossless, s)


def _jpeg_ls(s: list[FileDataset]) -> Kept:
    return _compressed(JPEGLSLossless, s)


def _jpeg2000(s: list[FileDataset]) -> Kept:
    return _compressed(JPEG2000Lossless, _of_size(s, 64, 70))


def _jpeg_lossless(s: list[FileDataset]) -> Kept:
    return _through(["dcmcjpeg", "+e1"], s)


def _jpeg_lossless_process_14(s: list[FileDataset]) -> Kept:
    return _through(["dcmcjpeg", "+el"], s)


def _compressed(syntax: str, s: list[FileDataset]) -> Kept:
    for image in s:
        image.compress(syntax, generate_instance_uid=False)
    return None


def _through(command: list[str], s: list[FileDataset]) -> Kept:
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "in.dcm", Path(folder) / "out.dcm"
        for number, image in enumerate(s):
            image.save_as(source, enforce_file_format=True)
            subprocess.run([*command, str(source), str(result)], check=True)
            s[number] = pydicom.dcmread(BytesIO(result.read_bytes()))
    return None


def _private_tags(s: list[FileDataset]) -> Kept:
    for image in s:
        block = image.private_block(0x0009, "SOMEBODY", create=True)
        block.add_new(0x01, "LO", "Secret")
        block.add_new(0x02, "OB", bytes(1000))
        block.add_new(0x03, "SQ", [pydicom.Dataset()])
        image.add_new(0x00210099, "UN", b"no creator")
    return None


def _empty_name(s: list[FileDataset]) -> Kept:
    return _named("", "ISO_IR 100", s)


def _no_name(s: list[FileDataset]) -> Kept:
    for image in s:
        del image.PatientName, image.SpecificCharacterSet
    return None


def _absurd_name(s: list[FileDataset]) -> Kept:
    return _named("Secret/../../etc/passwd^\x1b[31m$(reboot)^;--^" + "x" * 150, "ISO_IR 100", s)


def _japanese_name(s: list[FileDataset]) -> Kept:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    return _named(name, ["", "ISO 2022 IR 87"], s)


def _korean_name(s: list[FileDataset]) -> Kept:
    return _named("Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"], s)


def _russian_name(s: list[FileDataset]) -> Kept:
    return _named("Иванов^Пётр", "ISO_IR 144", s)


def _arabic_name(s: list[FileDataset]) -> Kept:
    return _named("قباني^لنزار", "ISO_IR 127", s)


def _chinese_name(s: list[FileDataset]) -> Kept:
    return _named("Wang^XiaoDong=王^小东", "GB18030", s)


def _utf_8_name(s: list[FileDataset]) -> Kept:
    return _named("Ζωή^Ödön=🫀^肝", "ISO_IR 192", s)


def _named(name: str, character_set: str | list[str], s: list[FileDataset]) -> Kept:
    for image in s:
        image.SpecificCharacterSet = character_set
        image.PatientName = name
    return None


def _name_in_another_character_set_than_it_says(s: list[FileDataset]) -> Kept:
    for image in s:
        image.SpecificCharacterSet = "ISO_IR 192"
        image.PatientName = pydicom.valuerep.PersonName(b"M\xfcller^J\xf6rg")
    return None


REFUSED: list[tuple[Change, str, str]] = [
    (_missing, "A slice is missing between", "send the complete series"),
    (_two_missing, "2 slices are missing between", "send the complete series"),
    (_uneven, "spacing is uneven", "reconstruct"),
    (_sideways, "off the line", "reconstruct"),
    (_three_wide_gaps, "spacing is uneven", "reconstruct"),
    (_leaning, "lean by 45 degrees", "export"),
    (_mixed_frames_of_reference, "mixes frames of reference", "each as its own series"),
    (_second_acquisition, "share one slice position", "two acquisitions"),
    (_two_phases, "share one slice position", "two acquisitions"),
    (_shared_uid, "share one SOPInstanceUID", "export"),
    (_mr, "not a CT image (Modality MR", "choose"),
    (_wrong_modality, "not a CT image (Modality PT", "choose"),
    (_screenshot, "Secondary Capture Image Storage", "choose"),
    (_enhanced, "Enhanced CT Image Storage", "single-frame"),
    (_frames, "multi-frame", "single-frame"),
    (_few, "has 9 slices and at least 10", "send the complete series"),
    (_only_localizers, "only localizers", "choose"),
    (_nothing, "no images", "choose"),
    (_no_pixels, "no pixel data", "send"),
    (_short_pixels, "damaged", "send"),
    (_wrong_rows, "damaged", "send"),
    (_wrong_rows_everywhere, "damaged", "send"),
    (_no_rows, "damaged", "send"),
    (_mixed_sizes, "mixes image sizes", "each as its own series"),
    (_mixed_pixel_spacing, "mixes pixel spacings", "each as its own series"),
    (_other_series, "more than one patient, study or series", "give"),
    (_other_patient, "more than one patient, study or series", "give"),
    (_no_position, "ImagePositionPatient", "is missing"),
    (_empty_orientation, "ImageOrientationPatient", "is missing"),
    (_nan_position, "ImagePositionPatient", "finite numbers"),
    (_two_coordinates, "ImagePositionPatient", "3 finite numbers"),
    (_infinite_intercept, "RescaleIntercept", "finite number"),
    (_no_slope, "RescaleSlope", "is missing"),
    (_zero_slope, "RescaleSlope", "is 0"),
    (_negative_slope, "RescaleSlope", "is -"),
    (_long_cosines, "direction cosines", "export"),
    (_skewed_cosines, "right angles", "export"),
    (_zero_spacing, "PixelSpacing", "not positive"),
    (_one_tilted, "not parallel", "series of its own"),
    (_two_stacks, "not parallel", "series of its own"),
    (_no_frame_of_reference, "FrameOfReferenceUID", "export"),
    (_electron_density, "RescaleType ED", "choose"),
    (_philips_own_compression, "PMSCT_RLE1", "export"),
    (_transfer_syntax_of_a_maker, "1.2.840.113619.5.2", "uncompressed"),
    (_row_of_zeros_too_many, "damaged", "send"),
    (_a_little_too_many_pixels, "damaged", "send"),
    (_colour, "not one grey image", "choose"),
    (_palette, "not one grey image", "choose"),
    (_single, "has 1 slice and at least 10", "send the complete series"),
    (_interleaved_acquisitions, "spacing is uneven", "reconstruct"),
    (_pet, "not a CT image (Modality PT", "choose"),
    (_secondary_captures, "Secondary Capture Image Storage", "choose"),
    (_no_rescale, "RescaleSlope", "is missing"),
    (_nan_intercept, "RescaleIntercept", "finite number"),
    (_huge_slope, "beyond 1,000,000 HU", "export"),
    (_large_slope, "beyond 1,000,000 HU", "export"),
    (_huge_position, "no scanner reaches", "export"),
    (_huge_positions, "no scanner reaches", "export"),
    (_huge_pixels, "no scanner reaches", "export"),
    (_wrong_columns, "damaged", "send"),
    (_wrong_high_bit, "HighBit", "export"),
    (_impossible_bits, "damaged", "send"),
    (_no_bits, "damaged", "send"),
    (_corrupted_rle, "damaged", "send"),
    (_corrupted_jpeg_ls, "damaged", "send"),
    (_corrupted_jpeg2000, "damaged", "send"),
    (_corrupted_jpeg_lossless, "damaged", "send"),
    (_alternating("AcquisitionNumber", [1, 2], "two_numbered_passes"), "two passes", "each pass"),
    (_alternating("AcquisitionNumber", [3, 1, 2], "three_passes"), "two passes", "each pass"),
    (_alternating("AcquisitionTime", ["101500", "101535"], "two_times"), "two passes", "each pass"),
    (_alternating("ConvolutionKernel", ["B30f", "B60f"], "two_kernels"), "two passes", "each pass"),
    (_alternating("ConvolutionKernel", ["", "B60f"], "kernel_or_none"), "two passes", "each pass"),
    (_alternating("KVP", [80, 140], "two_tube_voltages"), "two passes", "each pass"),
    (_alternating("TemporalPositionIdentifier", [1, 2], "two_phases_in_turn"), "two", "each pass"),
    (_alternating("TemporalPositionIndex", [1, 2], "two_indices_in_turn"), "two", "each pass"),
    (_two_passes_dated_slice_by_slice, "AcquisitionTime", "each pass"),
    (
        _alternating("AcquisitionDateTime", ["20250304101500", "20250304101535+0100"], "dated"),
        "AcquisitionDateTime",
        "each pass",
    ),
    (_two_passes_over_midnight, "AcquisitionTime", "each pass"),
    (_alternating("AcquisitionNumber", [1, None], "number_or_none"), "AcquisitionNumber", "each p"),
    (
        _alternating("AcquisitionTime", ["101500", None], "time_or_none"),
        "Time alternates",
        "each p",
    ),
    (_alternating("AcquisitionTime", ["1015", "1016"], "minutes"), "Time alternates", "each pass"),
    (_alternating("AcquisitionTime", ["10:15:00", "10:15:35"], "colons"), "Time alt", "each pass"),
    (
        _alternating("AcquisitionDateTime", ["20250304101500", "20250311101500"], "days_apart"),
        "AcquisitionDateTime",
        "each pass",
    ),
    (
        _alternating("AcquisitionDate", ["20250304", "20250311"], "two_days"),
        "Date alt",
        "each pass",
    ),
    (_one_undated_among_two_passes, "AcquisitionTime", "each pass"),
    (_two_types_in_turn, "ImageType alternates", "each pass"),
    (_alternating("SliceThickness", ["5", "1.25"], "two_thicknesses"), "SliceThi", "each pass"),
    (_alternating("ReconstructionDiameter", ["350", "500"], "two_fields"), "Diam", "each pass"),
    (_alternating("FilterType", ["BODY", "HEAD"], "two_filters"), "FilterType", "each pass"),
    (_alternating("ContrastBolusAgent", ["I", None], "contrast_or_none"), "Agent", "each pass"),
    (_alternating("ProtocolName", ["ART", "PV"], "two_protocols"), "ProtocolName", "each pass"),
    (_alternating("SeriesDescription", ["A", "P"], "two_descriptions"), "Description", "each pass"),
    (_of_type("DERIVED", "SECONDARY", "MIP"), "a projection", "made from"),
    (_of_type("DERIVED", "SECONDARY", "REFORMATTED", "MIN IP"), "a projection", "made from"),
    (_of_type("DERIVED", "PRIMARY", "VOLUME", "MAX_IP"), "a projection", "made from"),
    (_of_type("DERIVED", "SECONDARY", "PROJECTION IMAGE"), "a projection", "made from"),
    (_of_type("DERIVED", "SECONDARY", "AXIAL", "SUBTRACTION"), "not of HU", "made from"),
    (_of_type("DERIVED", "PRIMARY", "AXIAL", "MAT_SPECIFIC"), "not of HU", "made from"),
    (_of_type("DERIVED", "SECONDARY", "AXIAL", "DE_IODINE"), "not of HU", "made from"),
    (_one_projection_among_slices, "a projection", "made from"),
]

# The warning that the report must hold, "" for none.
READ: list[tuple[Reading, str]] = [
    (_sound, ""),
    (_zeros_behind_the_pixels, ""),
    (_no_rescale_type, ""),
    (_each_slice("RescaleType", ["hu", "Hounsfield", "HU_MOD", "HU"] * 3, "words_for_hu"), ""),
    (_duplicate_of_same_pixels, "identical duplicates (1)"),
    (_localizer, "localizers (1)"),
    (_unnamed_localizer, "images across the slices, as scout views are (1)"),
    (_gantry_tilt, ""),
    (_lean, "lean by 17 degrees, and GantryDetectorTilt says nothing"),
    (_each_slice("GantryDetectorTilt", ["12"] * 12, "tilt"), "lean by 0 degrees, and GantryD"),
    (_each_slice("GantryDetectorTilt", ["1.5"] * 12, "rounded_tilt"), ""),
    (_small_matrix, ""),
    (_large_matrix, ""),
    (_rows_unlike_columns, ""),
    (_unsigned, ""),
    (_twelve_bits_in_sixteen, ""),
    (_rescale_per_slice, ""),
    (_fractional_rescale, ""),
    (_implicit, ""),
    (_deflated, ""),
    (_big_endian, ""),
    (_rle, ""),
    (_jpeg_ls, ""),
    (_jpeg2000, ""),
    (_jpeg_lossless, ""),
    (_jpeg_lossless_process_14, ""),
    (_private_tags, ""),
    (_empty_name, ""),
    (_no_name, ""),
    (_absurd_name, ""),
    (_japanese_name, ""),
    (_korean_name, ""),
    (_russian_name, ""),
    (_arabic_name, ""),
    (_chinese_name, ""),
    (_utf_8_name, ""),
    (_name_in_another_character_set_than_it_says, ""),
    (_each_slice("AcquisitionNumber", list(range(3, 15)), "step_and_shoot"), ""),
    (_each_slice("AcquisitionNumber", [9, 9, 9, 8, 8, 8, 7, 7, 7, 6, 6, 6], "steps_downwards"), ""),
    (_each_slice("AcquisitionTime", [f"1015{n}.4" for n in range(10, 22)], "steps_in_time"), ""),
    (_each_slice("AcquisitionTime", [f"10150{n % 2}.1" for n in range(12)], "rotation_dates"), ""),
    (_each_slice("KVP", ["120", "120.0"] * 6, "one_voltage"), ""),
    (
        _each_slice("InstanceNumber", [1, 61, 2, 62, 3, 63, 4, 64, 5, 65, 6, 66], "in_turn"),
        "second",
    ),
    (
        _each_slice("InstanceNumber", [9, 5, 1, 10, 6, 2, 11, 7, 3, 12, 8, 4], "thirds"),
        "every third",
    ),
    (_each_slice("InstanceNumber", list(range(12, 0, -1)), "numbered_downwards"), ""),
    (
        _each_slice(
            "AcquisitionDateTime",
            [f"2025030{4 + (n > 5)}{'235958' if n < 6 else '000003'}.{n}" for n in range(12)],
            "over_midnight",
        ),
        "AcquisitionDateTime changes",
    ),
    (_each_slice("AcquisitionTime", ["101500"] * 11 + [""], "last_undated"), "Time changes"),
    (_each_slice("AcquisitionNumber", [1] * 7 + [2] * 5, "joined"), "AcquisitionNumber changes"),
    (_each_slice("AcquisitionNumber", [1] * 4 + [2] * 4 + [1] * 4, "slab_again"), "joined there"),
    (_each_slice("AcquisitionTime", ["101500"] * 7 + ["101540"] * 5, "joined_later"), "joined"),
    (_each_slice("ConvolutionKernel", ["B30f"] * 7 + ["B60f"] * 5, "joined_kernel"), "joined"),
    (
        _each_slice("ConvolutionKernel", [f"B{n // 4}" for n in range(12)], "three_kernels"),
        "joined",
    ),
    (_read_type("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"), ""),
    (_read_type("DERIVED", "SECONDARY", "MPR"), ""),
    (_read_type("DERIVED", "PRIMARY", "AXIAL", "VMI"), ""),
    (_read_type("DERIVED", "SECONDARY", "AXIAL", "MONO_70KEV"), ""),
    (_read_type("DERIVED", "PRIMARY", "AXIAL", "MAT_REMOVED"), ""),
    (_read_type("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"), ""),
    (_padding_value_within_tissue, "left as they are"),
    (_each_slice("PatientName", ["A^B"] * 7 + ["C^D"] * 5, "two_names"), "PatientName differs"),
    (_each_slice("PatientBirthDate", ["19500101"] * 11 + [""], "birth"), "PatientBirthDate dif"),
    (_each_slice("PatientSex", ["M"] * 3 + ["F"] * 9, "two_sexes"), "PatientSex differs"),
    (_each_slice("IssuerOfPatientID", ["A"] * 7 + ["B"] * 5, "two_issuers"), "IssuerOfPatientID d"),
    (_each_slice("ReconstructionDiameter", ["20"] * 12, "wide"), "20 mm wide: one of them is"),
    (_each_slice("ReconstructionDiameter", ["768"] * 12, "cut_out_of_512"), ""),
    (_each_slice("SpacingBetweenSlices", ["2"] * 12, "spacing"), "SpacingBetweenSlices it is 2 mm"),
    (_each_slice("SpacingBetweenSlices", ["-4.1"] * 12, "rounded"), ""),
    (_each_slice("SliceLocation", [f"{n * 8}" for n in range(12)], "places"), "it is 8 mm"),
    (_each_slice("SliceLocation", [f"{-n * 4.4}" for n in range(12)], "backwards"), ""),
    (_each_slice("SliceThickness", ["2"] * 12, "thin"), "2 mm thick and 4 mm apart"),
    (_each_slice("SliceThickness", ["8"] * 12, "overlapping"), ""),
]
