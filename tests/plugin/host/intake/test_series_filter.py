"""What the setting Filter admits, which series of a study is the best, and that nothing holds it
up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orthanc_liver.host.filter_conditions import problem_of_filter
from orthanc_liver.host.filter_pattern import is_found, problem_of
from orthanc_liver.host.intake.best_of_study import rank, sharpness
from orthanc_liver.host.intake.series_filter import SeriesFilter
from orthanc_liver.host.intake.series_tags import SeriesTags
from orthanc_liver.host.server.api import Missing, Series
from orthanc_liver.host.settings import Settings

AXIAL, CORONAL = "1\\0\\0\\0\\1\\0", "1\\0\\0\\0\\0\\-1"
SAGITTAL, TILTED = "0\\1\\0\\0\\0\\-1", "1\\0\\0\\0\\0.87\\-0.5"
IN_BETWEEN = "0.7071\\0.7071\\0\\0\\0\\-1"


class Archive:
    """One study; of each series its own attributes and those of its first image."""

    def __init__(self, **series: dict[str, Any]) -> None:
        self.held = series
        self.asked: list[str] = []

    def series(self, series_id: str) -> Series:
        if series_id not in self.held:
            raise Missing(series_id)
        tags = {"Modality": "CT"} | self.held[series_id].get("tags", {})
        slices = tuple(f"{series_id}-{n}" for n in range(self.held[series_id].get("slices", 20)))
        return Series(series_id, "study", slices, tags, True, datetime(2026, 1, 2, tzinfo=UTC))

    def study_tags(self, series: Series) -> dict[str, str]:
        return {"StudyDescription": self.held[series.id].get("study", "")}

    def get(self, path: str) -> Any:
        self.asked.append(path)
        if path.startswith("/studies/"):
            return {"Series": [*self.held, "deleted"]}
        if path.endswith("/instances"):
            where = {"ImagePositionPatient": "0\\0\\0"}
            held = self.series(path.split("/")[2]).instances
            return [{"ID": one, "MainDicomTags": where} for one in held]
        assert path.endswith("-0/tags")
        image = self.held[path.removeprefix("/instances/").removesuffix("-0/tags")]["image"]
        return {
            number: {"Name": name, "Type": "String", "Value": value}
            for number, (name, value) in image.items()
        } | {"0040,a730": {"Name": "ContentSequence", "Type": "Sequence", "Value": []}}


def image(**tags: str) -> dict[str, tuple[str, str]]:
    numbers = {
        "ImageType": "0008,0008",
        "SliceThickness": "0018,0050",
        "ConvolutionKernel": "0018,1210",
        "ImageOrientationPatient": "0020,0037",
    }
    return {numbers[name]: (name, value) for name, value in tags.items()}


def why(wanted: dict[str, Any], **series: Any) -> str | None:
    archive: Any = Archive(one=series)
    assert problem_of_filter(wanted) is None
    return SeriesFilter(archive, Settings(filter=wanted)).why_not(archive.series("one"))


def test_a_value_counts_up_to_its_256th_character() -> None:
    asked = {"StudyDescription": "venous$"}
    assert why(asked, study="x" * 250 + "venous") is None
    assert why({"StudyDescription": "venous"}, study="x" * 250 + "venous phase") is None
    said = why({"StudyDescription": "venous"}, study="x" * 251 + "venous")
    assert said == "StudyDescription of the series does not match the filter 'venous'"


@pytest.mark.parametrize(
    "pattern",
    [
        ".*?.*?x",
        "(.*)(.*)x",
        "(a|ab?|.)(a|.)(a|.).*x",
        "a?" * 17 + "x",
        "(|a)" * 16 + "x",
        "(?:a|aa|aaa|aaaa){8}x",
        "[ab]*[ab]*" + "[ab]" * 40 + "x",
    ],
)
def test_the_slowest_patterns_that_are_taken_end(pattern: str) -> None:
    assert problem_of(pattern) is None
    assert not is_found(pattern, "a" * 100_000)


THIN = image(
    ImageType="ORIGINAL\\PRIMARY\\AXIAL", SliceThickness="1.25", ConvolutionKernel="B30f\\3"
)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, None),
        ({"ImageType": "^ORIGINAL"}, None),
        ({"ImageType": "DERIVED"}, "ImageType of the series does not match the filter 'DERIVED'"),
        ({"SliceThickness": {"AtMost": 3}}, None),
        (
            {"SliceThickness": {"AtLeast": 1.5, "AtMost": 3}},
            "SliceThickness of the series is not at least 1.5 and at most 3",
        ),
        ({"KVP": {"AtLeast": 80}}, "KVP of the series is not at least 80"),  # missing
        ({"ImageType": {"AtLeast": 0}}, "ImageType of the series is not at least 0"),  # text
        ({"0018,1210": "^B30"}, None),
        ({"0018,1210": "^B40"}, "0018,1210 of the series does not match the filter '^B40'"),
        (
            {"ConvolutionKernel": {"AtLeast": 1}},
            "ConvolutionKernel of the series is not at least 1",
        ),
        ({"Slices": {"AtLeast": 20, "AtMost": 20}}, None),
        ({"Slices": {"AtLeast": 21}}, "Slices of the series is not at least 21"),
        ({"BodyPartExamined": "^(ABDOMEN|LIVER)?$"}, None),
        ({"AnyOf": [{"KVP": "1"}, {"ImageType": "AXIAL"}]}, None),
        (
            {"AnyOf": [{"KVP": "1"}, {"ImageType": "MIP"}]},
            "KVP of the series does not match the filter '1' and "
            "ImageType of the series does not match the filter 'MIP'",
        ),
        ({"AllOf": [{"ImageType": "AXIAL"}, {"ImageType": "PRIMARY"}]}, None),
        (
            {"AllOf": [{"ImageType": "AXIAL"}, {"ImageType": "MIP"}]},
            "ImageType of the series does not match the filter 'MIP'",
        ),
        ({"AnyOf": [{"AllOf": [{"KVP": "1"}]}, {"SliceThickness": "^1", "ImageType": "O"}]}, None),
    ],
    ids=str,
)
def test_conditions(wanted: dict[str, Any], said: str | None) -> None:
    assert why(wanted, image=THIN) == said


@pytest.mark.parametrize(
    ("cosines", "orientation"),
    [
        (AXIAL, "axial"),
        (TILTED, "axial"),
        (CORONAL, "coronal"),
        (SAGITTAL, "sagittal"),
        (IN_BETWEEN, "oblique"),
        ("", ""),
        ("1\\0", ""),
        ("a\\b\\c\\d\\e\\f", ""),
    ],
)
@pytest.mark.parametrize("told_by", ["index", "image"])
def test_orientation(cosines: str, orientation: str, told_by: str) -> None:
    tags = {"ImageOrientationPatient": cosines} if told_by == "index" else {}
    first = image(ImageOrientationPatient=cosines) if told_by == "image" else {}
    asked = {"Orientation": f"^{orientation}$"}
    assert why(asked, tags=tags, image=first) is None
    assert why({"Orientation": f"^(?!{orientation}$)"}, tags=tags, image=first) is not None


def test_an_image_is_read_only_where_a_condition_asks_for_it() -> None:
    archive: Any = Archive(one={"image": THIN})
    series = archive.series("one")
    for wanted, reads in (({"SeriesDescription": ""}, 0), ({"ImageType": "", "KVP": ""}, 1)):
        archive.asked.clear()
        SeriesFilter(archive, Settings(filter=wanted)).why_not(series)
        assert len(archive.asked) == reads


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        *((soft, 0) for soft in ("B30f", "Br40d\\3", "I31s", "STANDARD", "SOFT", "B", "FC08")),
        *((sharp, 2) for sharp in ("B70f", "Bl57", "LUNG", "BONEPLUS", "YC", "FC52", "D")),
        *((unknown, 1) for unknown in ("", "mystery", "UB")),
    ],
)
def test_kernels(kernel: str, expected: int) -> None:
    assert sharpness(kernel) == expected


def candidate(
    description: str = "PORTAL VENOUS",
    cosines: str = AXIAL,
    slices: int = 40,
    kind: str = "ORIGINAL\\PRIMARY",
    kernel: str = "B30f",
    thickness_mm: str = "3",
) -> dict[str, Any]:
    return {
        "tags": {"SeriesDescription": description, "ImageOrientationPatient": cosines},
        "slices": slices,
        "image": image(ImageType=kind, ConvolutionKernel=kernel, SliceThickness=thickness_mm),
    }


# From the best to the worst: each rule outweighs those that come after it.
IN_ORDER = {
    "b thinner": candidate(thickness_mm="1"),
    "h as thin, more slices": candidate(thickness_mm="2", slices=200),
    "a as thin": candidate(thickness_mm="2"),
    "z alike": candidate(thickness_mm="2"),
    "thicker than 3": candidate(thickness_mm="5"),
    "of unknown thickness": candidate(thickness_mm=""),
    "another phase": candidate("ARTERIAL", thickness_mm="1", slices=300),
    "arteriovenous is none": candidate("arteriovenous", thickness_mm="1.5"),
    "unknown kernel": candidate(kernel="", thickness_mm="1"),
    "sharp": candidate(kernel="B70f", thickness_mm="1"),
    "derived": candidate(kind="DERIVED\\SECONDARY", thickness_mm="1"),
    "coronal": candidate(cosines=CORONAL, thickness_mm="1"),
}


def test_the_best_of_a_study() -> None:
    archive: Any = Archive(**{name: IN_ORDER[name] for name in reversed(IN_ORDER)})
    ordered = sorted(IN_ORDER, key=lambda name: rank(SeriesTags(archive, archive.series(name))))
    assert ordered == list(IN_ORDER)


def test_one_per_study_takes_the_best_that_the_filter_admits() -> None:
    archive: Any = Archive(**IN_ORDER)
    settings = Settings(filter={"SliceThickness": {"AtLeast": 2}}, one_per_study=True)
    filter_ = SeriesFilter(archive, settings)
    best = "h as thin, more slices"
    assert filter_.wanted("study") == [best]
    assert filter_.why_not_by_itself(archive.series(best)) is None
    said = filter_.why_not_by_itself(archive.series("a as thin"))
    assert said == f"OnePerStudy: series {best} of its study is taken instead"
    thin = filter_.why_not_by_itself(archive.series("b thinner"))
    assert thin == "SliceThickness of the series is not at least 2"
    # A person may ask for any of them.
    assert filter_.why_not(archive.series("a as thin")) is None


def test_all_that_are_admitted_are_wanted_otherwise() -> None:
    archive: Any = Archive(**IN_ORDER)
    wanted = SeriesFilter(archive, Settings(filter={"ImageType": "DERIVED"})).wanted("study")
    assert wanted == ["derived"]
    assert len(SeriesFilter(archive, Settings()).wanted("study")) == len(IN_ORDER)
