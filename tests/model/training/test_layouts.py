"""Each layout is read, each malformed one is refused by a sentence that names the file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from liver_unet.model_errors import TrainingRefused
from liver_unet.training.layouts import find_cases


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def decathlon(data: Path, labels: dict[str, str], pairs: list[dict[str, str]]) -> Path:
    index = data / "dataset.json"
    index.write_text(json.dumps({"labels": labels, "training": pairs}))
    return index


def test_lits_with_batches_in_folders(tmp_path: Path) -> None:
    touch(
        tmp_path / "batch 1" / "volume-0.nii",
        tmp_path / "batch 2" / "volume-10.nii.gz",
        tmp_path / "masks" / "segmentation-10.nii",
        tmp_path / "masks" / "segmentation-0.nii",
        tmp_path / "batch 1" / "volume-notes.txt",
    )
    cases = find_cases(tmp_path)
    assert [c.name for c in cases] == ["volume-0", "volume-10"]
    assert cases[1].liver == tmp_path / "masks" / "segmentation-10.nii"


def test_decathlon(tmp_path: Path) -> None:
    touch(tmp_path / "imagesTr" / "liver_7.nii.gz", tmp_path / "labelsTr" / "liver_7.nii.gz")
    pair = {"image": "./imagesTr/liver_7.nii.gz", "label": "./labelsTr/liver_7.nii.gz"}
    decathlon(tmp_path, {"0": "background", "1": "liver", "2": "cancer"}, [pair])
    (case,) = find_cases(tmp_path)
    assert case.name == "liver_7"
    assert case.ct == tmp_path / "imagesTr" / "liver_7.nii.gz"
    assert case.liver == tmp_path / "labelsTr" / "liver_7.nii.gz"


def test_case_folders_with_and_without_organs(tmp_path: Path) -> None:
    touch(*(tmp_path / "a" / n for n in ("ct.nii.gz", "liver.nii.gz")))
    touch(*(tmp_path / "b" / f"{n}.nii.gz" for n in ("ct", "liver", "organs")))
    touch(tmp_path / "b" / "organs.json", tmp_path / "notes" / "readme.txt")
    first, second = find_cases(tmp_path)
    assert (first.name, first.organs) == ("a", None)
    assert second.organs == tmp_path / "b" / "organs.nii.gz"


@pytest.mark.parametrize(
    ("present", "named", "missing"),
    [
        (["volume-3.nii"], "volume-3.nii", "segmentation-3.nii"),
        (["segmentation-3.nii"], "segmentation-3.nii", "volume-3.nii"),
        (["p/ct.nii.gz"], "p/ct.nii.gz", "p/liver.nii.gz"),
        (["p/liver.nii.gz"], "p/liver.nii.gz", "p/ct.nii.gz"),
        (
            ["p/ct.nii.gz", "p/liver.nii.gz", "p/organs.nii.gz"],
            "p/organs.nii.gz",
            "p/organs.json",
        ),
    ],
)
def test_half_a_case_is_refused(
    tmp_path: Path, present: list[str], named: str, missing: str
) -> None:
    touch(*(tmp_path / name for name in present))
    with pytest.raises(TrainingRefused, match="is missing") as refusal:
        find_cases(tmp_path)
    assert str(tmp_path / named) in str(refusal.value)
    assert missing in str(refusal.value)


def test_all_half_cases_are_named_at_once(tmp_path: Path) -> None:
    for layout, present in {
        "LiTS": ["volume-3.nii", "segmentation-5.nii", "volume-7.nii", "segmentation-7.nii"],
        "folders": ["p/ct.nii.gz", "q/liver.nii.gz", "r/ct.nii.gz", "r/liver.nii.gz"],
    }.items():
        touch(*(tmp_path / layout / name for name in present))
        with pytest.raises(TrainingRefused) as refusal:
            find_cases(tmp_path / layout)
        assert all(str(tmp_path / layout / name) in str(refusal.value) for name in present[:2])
        assert str(refusal.value).endswith("(2 cases are refused)")


def test_the_same_number_twice_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "volume-1.nii", tmp_path / "b" / "volume-1.nii.gz")
    with pytest.raises(TrainingRefused, match=r"volume-1.nii.* are the same number"):
        find_cases(tmp_path)


def test_a_name_that_no_table_can_hold_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"M\xfcller")  # of an old Windows disk
    touch(folder / "ct.nii.gz", folder / "liver.nii.gz")
    with pytest.raises(TrainingRefused, match=r"has a name that is not UTF-8: rename it") as told:
        find_cases(tmp_path)
    str(told.value).encode()
    folder.rename(tmp_path / "Müller")
    assert [case.name for case in find_cases(tmp_path)] == ["Müller"]


def test_two_decathlon_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = [f"{folder}/{kind}/1.nii" for folder in ("x", "y") for kind in ("image", "label")]
    touch(*(tmp_path / path for path in paths))
    pairs = [{"image": f"{f}/image/1.nii", "label": f"{f}/label/1.nii"} for f in ("x", "y")]
    decathlon(tmp_path, {"1": "liver"}, pairs)
    with pytest.raises(TrainingRefused, match=r"y/image/1.nii and .*x/image/1.nii are both case 1"):
        find_cases(tmp_path)


def test_a_decathlon_of_another_organ_is_refused(tmp_path: Path) -> None:
    index = decathlon(tmp_path, {"0": "background", "1": "spleen"}, [])
    with pytest.raises(TrainingRefused, match="calls label 1 'spleen', not liver") as refusal:
        find_cases(tmp_path)
    assert str(index) in str(refusal.value)


@pytest.mark.parametrize("content", ["{", "[]", '{"labels": {"1": "liver"}}', '{"labels": 3}'])
def test_a_broken_decathlon_index_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(TrainingRefused, match=r"dataset.json is not a Decathlon index"):
        find_cases(tmp_path)


def test_a_decathlon_image_that_is_not_there_is_refused(tmp_path: Path) -> None:
    decathlon(tmp_path, {"1": "liver"}, [{"image": "images/1.nii", "label": "labels/1.nii"}])
    with pytest.raises(TrainingRefused, match=r"images/1.nii is missing"):
        find_cases(tmp_path)


def test_all_decathlon_images_that_are_not_there_are_named(tmp_path: Path) -> None:
    pairs = [{"image": f"images/{n}.nii", "label": f"labels/{n}.nii"} for n in (1, 2)]
    decathlon(tmp_path, {"1": "liver"}, pairs)
    with pytest.raises(TrainingRefused, match=r"images/1.nii is missing.*; .*images/2.nii is mis"):
        find_cases(tmp_path)


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "readme.txt")
    with pytest.raises(TrainingRefused, match="holds no case: expected volume"):
        find_cases(tmp_path)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingRefused, match="nowhere is not a folder"):
        find_cases(tmp_path / "nowhere")


def test_two_layouts_at_once_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "volume-1.nii", tmp_path / "segmentation-1.nii")
    touch(tmp_path / "p" / "ct.nii.gz", tmp_path / "p" / "liver.nii.gz")
    with pytest.raises(TrainingRefused, match="two layouts, LiTS and case folders"):
        find_cases(tmp_path)
